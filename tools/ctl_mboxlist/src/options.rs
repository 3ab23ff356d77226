//! The command line.

use std::path::PathBuf;

use clap::{ArgGroup, Parser};
use client::conf::IMAPD_CONF;

/// Dump, restore and verify a mailbox list, or push a backend's list to the MUPDATE master
///
/// On a backend the list is Cyrus' mailboxes.db, which is read and never written; on a frontend or a
/// master it is the list of rookeryd or mupdate, which must not be running.
///
/// Exit status: 0 when the work was done, also when -m leaves something that only a person may
/// decide; 1 for a wrong command line, for a damaged list of ours, a broken dump, what would change Cyrus'
/// own database, and for differences with --check; 75 when the list or the master cannot be used at the
/// moment.
#[derive(Parser, Debug)]
#[command(name = "ctl_mboxlist", version, group = ArgGroup::new("operation").required(true).multiple(true))]
pub(crate) struct Cli {
    /// The configuration file
    #[arg(short = 'C', long, value_name = "FILE", default_value = IMAPD_CONF)]
    pub config: String,

    /// Write the list to the standard output as JSON
    #[arg(short, long, group = "operation", conflicts_with_all = ["undump", "sync_mupdate", "verify", "check"])]
    pub dump: bool,
    /// With -d: remove what was dumped from the list
    #[arg(short = 'x', long, requires = "dump", conflicts_with_all = ["undump", "sync_mupdate", "verify", "check"])]
    pub remove_dumped: bool,
    /// With -d: write placeholders of ancestors that do not exist, too
    #[arg(short = 'y', long, requires = "dump", conflicts_with_all = ["undump", "sync_mupdate", "verify", "check"])]
    pub include_intermediaries: bool,
    /// With -d: write only mailboxes on this partition
    #[arg(short, long, value_name = "PARTITION", requires = "dump", conflicts_with_all = ["undump", "sync_mupdate", "verify", "check"])]
    pub partition: Option<String>,

    /// Read a dump from the standard input into the list
    #[arg(short, long, group = "operation", conflicts_with_all = ["sync_mupdate", "verify", "check"])]
    pub undump: bool,
    /// With -u: the dump is the text of Cyrus 3.2 and before
    #[arg(short = 'L', long, requires = "undump", conflicts_with_all = ["dump", "sync_mupdate", "verify", "check"])]
    pub legacy: bool,

    /// Bring the MUPDATE master in step with this backend
    #[arg(short = 'm', long, group = "operation", conflicts_with = "verify")]
    pub sync_mupdate: bool,
    /// With -m: this backend is right also about mailboxes that the master has elsewhere
    #[arg(short = 'a', long, requires = "sync_mupdate", conflicts_with_all = ["dump", "undump", "verify"])]
    pub authoritative: bool,
    /// With -m: say what would be done, and change nothing
    #[arg(short = 'w', long, requires = "sync_mupdate", conflicts_with_all = ["dump", "undump", "verify"])]
    pub warn_only: bool,
    /// Ask before much of what the master has of this server is removed there
    #[arg(short, long)]
    pub interactive: bool,
    /// As -m -w, and exit with 1 when anything differs
    #[arg(long, group = "operation", conflicts_with = "verify")]
    pub check: bool,

    /// Compare the list with the folders of the partitions, also those named by ids, which Cyrus 3.6's own
    /// program does not find; of a list of ours: whether it can be read whole
    #[arg(short, long, group = "operation")]
    pub verify: bool,

    /// The mailboxes.db, or the folder of a list of ours, to use
    #[arg(short, long, value_name = "FILE")]
    pub filename: Option<PathBuf>,
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    Dump,
    Undump,
    Push(Mode),
    Verify,
}

/// What a push may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Change the master.
    Change,
    /// Say what would be changed.
    Warn,
    /// As `Warn`; differences are an exit status.
    Check,
}

impl Cli {
    pub(crate) fn operation(&self) -> Operation {
        match self {
            Cli { dump: true, .. } => Operation::Dump,
            Cli { undump: true, .. } => Operation::Undump,
            Cli { verify: true, .. } => Operation::Verify,
            Cli { check: true, .. } => Operation::Push(Mode::Check),
            Cli { warn_only: true, .. } => Operation::Push(Mode::Warn),
            Cli { .. } => Operation::Push(Mode::Change),
        }
    }
}

pub(crate) fn parse() -> Result<Cli, clap::Error> {
    Cli::try_parse()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn operation(arguments: &str) -> Option<Operation> {
        let words = std::iter::once("ctl_mboxlist").chain(arguments.split_ascii_whitespace());
        Cli::try_parse_from(words).ok().map(|cli| cli.operation())
    }

    #[test]
    fn command_lines_of_cyrus_are_understood() {
        assert_eq!(operation("-C x -d -x -y -p default -f /f"), Some(Operation::Dump));
        assert_eq!(operation("-dxyp default"), Some(Operation::Dump));
        assert_eq!(operation("-u -L"), Some(Operation::Undump));
        assert_eq!(operation("-m"), Some(Operation::Push(Mode::Change)));
        assert_eq!(operation("-mai"), Some(Operation::Push(Mode::Change)));
        assert_eq!(operation("-mw"), Some(Operation::Push(Mode::Warn)));
        assert_eq!(
            operation("--sync-mupdate --warn-only --authoritative"),
            Some(Operation::Push(Mode::Warn))
        );
        assert_eq!(operation("--check"), Some(Operation::Push(Mode::Check)));
        assert_eq!(operation("-m --check"), Some(Operation::Push(Mode::Check)));
        assert_eq!(operation("-v"), Some(Operation::Verify));
    }

    #[test]
    fn what_cyrus_refuses_is_refused() {
        for arguments in [
            "",
            "-d -u",
            "-d -m",
            "-m -v",
            "-d -a",
            "-u -w",
            "-m -x",
            "-v -y",
            "-u -p x",
            "-d -L",
            "-f a -f b -d",
            "-r",
        ] {
            assert_eq!(operation(arguments), None, "{arguments}");
        }
    }

    #[test]
    fn man_page_is_committed() {
        man::check(Cli::command());
    }
}

//! The command line, as Cyrus' master has it.

use std::path::PathBuf;

use clap::Parser;

/// The mail frontend of a Cyrus Murder: takes the place of Cyrus' master and of its services on a
/// frontend.
#[derive(Parser, Clone, Debug)]
#[command(name = "rookeryd", disable_version_flag = true)]
pub struct Options {
    /// Configuration file
    #[arg(short = 'C', value_name = "FILE", default_value = "/etc/imapd.conf")]
    pub config: PathBuf,
    /// Services file
    #[arg(short = 'M', value_name = "FILE", default_value = "/etc/cyrus.conf")]
    pub services: PathBuf,
    /// Write the process id here, locked while the daemon lives
    #[arg(short = 'p', value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Accepted as Cyrus' master has it; the listen queue is as long as the kernel allows
    #[arg(short = 'l', value_name = "LENGTH")]
    pub listen_queue: Option<u32>,
    /// Run in the background: the start is over when it listens and serves. Whether the list is live tell
    /// READY=1 to a service manager, `master_ready_file` and `rookery status`
    #[arg(short = 'd')]
    pub background: bool,
    /// Stay in the foreground and log to standard error
    #[arg(short = 'D')]
    pub foreground: bool,
    /// Show the version
    #[arg(short = 'V')]
    pub version: bool,
    /// Check the configuration and exit
    #[arg(long = "check")]
    pub check: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_those_of_cyrus_master() {
        let options =
            Options::try_parse_from(["rookeryd", "-C", "/a", "-M", "/b", "-p", "/c", "-l", "32", "-D"])
                .unwrap();
        assert_eq!(options.config, PathBuf::from("/a"));
        assert_eq!(options.services, PathBuf::from("/b"));
        assert_eq!(options.pid_file, Some("/c".into()));
        assert!(options.foreground && !options.background && !options.version);
        let options = Options::try_parse_from(["rookeryd"]).unwrap();
        assert_eq!(options.config, PathBuf::from("/etc/imapd.conf"));
        assert!(Options::try_parse_from(["rookeryd", "-x"]).is_err());
    }
}

//! The command line.

use clap::{Parser, Subcommand};

use crate::common::Common;
use crate::{audit, check, conflicts, demo, latency, list, locate, postfix_config, top};

/// What every command ends with.
const EXIT_STATUS: &str = "\
Exit status: 0 all is well; 1 something differs, is absent, or was refused; 64 usage; 75 a server or daemon could \
not be asked; 78 the configuration is wrong, or passes over something that guards security.";

/// The operator's tool of Rookery
///
/// Looks into the mailbox list of a running rookeryd or mupdate, checks configurations, compares all servers of a murder
/// and repairs what differs.
#[derive(Parser)]
#[command(name = "rookery", version, after_help = EXIT_STATUS)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) task: Task,
}

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Task {
    /// Say how the daemons of this host are: version, state of the list, sessions
    Status,
    /// Say where mailboxes are, and who may do what there
    Locate(locate::Options),
    /// List the mailboxes, or those whose names match
    List(list::Options),
    /// Take the list that was held back because it would delete too much
    Accept,
    /// Show what a Rookery master refused or overrode, old reservations, and unfinished moves
    Conflicts(conflicts::Options),
    /// Show how long commands took, and for whom they waited
    ///
    /// Since the daemon was started, over all shards, by verb and by backend, in the stages of a command: own is the
    /// frontend itself, from the wake-up with a line to the hand-over of what it caused to the kernel; client, backend,
    /// authentication and directory (the mailbox list) are waits; total is all of it.
    Latency(latency::Options),
    /// Watch a daemon at work: shards, commands per second, waits, the slowest commands
    ///
    /// On a terminal the view is renewed until q is pressed; otherwise --count samples are printed one below the other.
    /// Times are those of the commands that were answered since the sample before.
    Top(top::Options),
    /// Say of every line of imapd.conf and cyrus.conf whether it is honoured
    Check(check::Options),
    /// Compare what all backends hold with the master's list and with every frontend's
    ///
    /// Reads the master's list over MUPDATE, then every backend (those of serverlist, those that the master names,
    /// --backend) by LIST and GETACL as an administrator or from a file, then the frontends, then the master again; what
    /// changed meanwhile is not judged. Each difference is named with its likely cause, and a repair plan is made:
    /// double-owner (two backends hold it), move-interrupted, move-not-announced, not-activated and stale-reservation
    /// (what an unfinished move or creation leaves), wrong-server, still-flagged, missing-at-master, orphan (no backend
    /// holds it), wrong-partition, wrong-acl, stale-frontend.
    ///
    /// The steps stand in a safe order: what makes mailboxes reachable first, because Cyrus' ctl_mboxlist -m deletes the
    /// copy of every mailbox that the master has elsewhere. Which of two copies stays, and what becomes of a move that
    /// broke off in the middle, is left to you.
    Audit(audit::Options),
    /// Show a repair plan that audit has written, or carry it out
    Repair(audit::RepairOptions),
    /// Print main.cf lines with which a Postfix asks the live list where mail goes
    ///
    /// A rookery-map line of cyrus.conf makes rookeryd answer Postfix' socketmap and tcp_table look-ups: transport (where
    /// an address goes), exists, home (its server) and here=SERVER (the addresses of one server). Each is found, not
    /// found, or to be asked again while the list is not in step, so that no mail is refused on stale knowledge.
    PostfixConfig(postfix_config::Options),
    /// Run a whole murder in this process: a MUPDATE master, two backends, a frontend
    Demo(demo::Options),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
        let audit =
            Arguments::try_parse_from(["rookery", "audit", "--dump", "b1=/x", "--apply", "--yes", "--json"]);
        let audit = audit.unwrap();
        assert!(audit.common.json && matches!(audit.task, Task::Audit(_)));
        assert!(Arguments::try_parse_from(["rookery", "audit", "--yes"]).is_err(), "--yes goes with --apply");
        assert!(Arguments::try_parse_from(["rookery", "audit", "--dump", "b1"]).is_err());
    }

    /// One page for the program and one for each command.
    #[test]
    fn man_page_is_committed() {
        let mut rookery = Arguments::command();
        rookery.build();
        for task in rookery.get_subcommands().filter(|task| task.get_name() != "help") {
            // The name of a page lives as long as the program: clap borrows it.
            let name: &'static str = format!("rookery-{}", task.get_name()).leak();
            man::check(task.clone().name(name));
        }
        man::check(Arguments::command());
    }
}

//! `-m`: brings the MUPDATE master in step with this backend.
//!
//! ```text
//!   read mailboxes.db ──> LIST "server!" ──> DELETE what is not here ──> FIND what the master did
//!   not list ──> ACTIVATE what it has nowhere, or with another partition or ACL ──> tell the rest
//! ```
//!
//! Only differences are sent, many at once; who breaks off may begin again. What would need a change
//! of the local database, or cost mail, is told and left to a person.

mod local;
mod remains;

use std::io::{BufRead, Write, stderr, stdin, stdout};

use anyhow::{Context, bail};
use client::{Answer, Change, ClientError, Located, Mupdate, Row, conf};
use protocols::conf::Imapd;

use crate::options::{Cli, Mode};
use crate::place::{self, Place};
use crate::report::{Kind, Progress, Syslog};

use local::{Local, Locals, Standing};
use remains::Remains;

/// A removal of more than this share of what the master has of this server is held back.
const HOLD_BACK_PERCENT: usize = 20;

/// Removals of fewer names are never held back.
const HOLD_BACK_NAMES_MIN: usize = 100;

/// Internal names.
type Names = Vec<Box<[u8]>>;

/// What a push found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Outcome {
    removals: usize,
    activations: usize,
    remaining: usize,
}

impl Outcome {
    /// Whether anything was not as it should be.
    pub(crate) fn differs(self) -> bool {
        self != Outcome::default()
    }
}

/// One run.
struct Push<'a> {
    cli: &'a Cli,
    mode: Mode,
    master: Mupdate,
    locals: Locals,
    remains: Remains,
    syslog: Syslog,
    outcome: Outcome,
}

pub(crate) fn run(cli: &Cli, mode: Mode, imapd: &Imapd, place: &Place) -> anyhow::Result<Outcome> {
    let Place::Cyrus(path) = place else { bail!("-m is for a backend, whose list is a mailboxes.db") };
    let syslog = Syslog::open();
    let test = if mode == Mode::Change { "" } else { "test " };
    syslog.notice(&format!("{test}populating mupdate"));
    let own = local::Own::new(imapd);
    let locals = Locals::read(&place::read_cyrus(path)?, &own)?;
    let (endpoint, login) = conf::master(imapd)?.context("mupdate_server is not set")?;
    let master = Mupdate::connect(&endpoint, &login).context("couldn't connect to mupdate server")?;
    let remains = Remains::default();
    let mut push = Push { cli, mode, master, locals, remains, syslog, outcome: Outcome::default() };
    let (unknown, listed) =
        push.list(own.prefix.as_deref()).context("couldn't do LIST command on mupdate server")?;
    push.remove(unknown, listed)?;
    if !cli.authoritative {
        push.find()?;
    }
    push.activate(own.is_unified)?;
    push.outcome.remaining = push.remains.tell(&push.syslog, mode);
    push.syslog.notice(&format!("done {test}populating mupdate"));
    push.master.logout();
    Ok(push.outcome)
}

impl Push<'_> {
    /// Asks what the master has of this server: names that are not here, and how many there were.
    fn list(&mut self, prefix: Option<&[u8]>) -> Result<(Names, usize), ClientError> {
        let (mut unknown, mut listed) = (Vec::new(), 0);
        let locals = &mut self.locals;
        self.master.list(prefix, |row: Row<'_>| {
            listed += 1;
            if !locals.note_listed(&row) {
                unknown.push(row.name.into());
            }
        })?;
        // Cyrus works its stack off from the top.
        unknown.reverse();
        Ok((unknown, listed))
    }

    /// Removes from the master what is not here.
    fn remove(&mut self, unknown: Names, listed: usize) -> anyhow::Result<()> {
        self.outcome.removals = unknown.len();
        let mut kind = Kind::new(&self.syslog, "Remove from MUPDATE");
        if self.mode != Mode::Change {
            for name in &unknown {
                kind.log(name);
                say("Remove from MUPDATE", name)?;
            }
            kind.finish();
            return Ok(());
        }
        if !may_remove(self.cli, unknown.len(), listed, self.locals.rows.is_empty())? {
            self.remains.held_back = unknown.len();
            return Ok(());
        }
        let remains = &mut self.remains;
        let mut pipeline = self.master.pipeline(|name: Box<[u8]>, answer| {
            if let Answer::Refused(text) = answer {
                remains.refused.push((name, text));
            }
        });
        let mut progress = Progress::new("removing", unknown.len());
        for name in unknown {
            kind.log(&name);
            pipeline.submit(Change::Delete { name: &name }, name.clone())?;
            progress.step();
        }
        pipeline.finish()?;
        kind.finish();
        Ok(())
    }

    /// Asks where the mailboxes are that the master did not list for this server.
    fn find(&mut self) -> Result<(), ClientError> {
        let unlisted = self.locals.unlisted();
        let mut progress = Progress::new("looking up", unlisted.len());
        let mut found = Vec::new();
        let mut pipeline = self.master.pipeline(|at: usize, answer| {
            if let Answer::Found(Some(located)) = answer {
                found.push((at, located));
            }
        });
        for at in unlisted {
            pipeline.submit(Change::Find { name: &self.locals.rows[at].name }, at)?;
            progress.step();
        }
        pipeline.finish()?;
        for (at, located) in found {
            self.locals.note_found(at, located);
        }
        Ok(())
    }

    /// Goes through the local mailboxes in order: pushes what the master has not or has otherwise.
    fn activate(&mut self, is_unified: bool) -> anyhow::Result<()> {
        let mut activates = Vec::new();
        let mut kinds = ["Remove remote flag on", "Remove Local Mailbox", "Force Activate"]
            .map(|what| Kind::new(&self.syslog, what));
        for (at, local) in self.locals.rows.iter().enumerate() {
            let (kind, what) = match need(local) {
                Need::Nothing => continue,
                Need::Delete(_) if is_unified => continue,
                Need::Unflag(mailbox) => {
                    self.remains.moving.push(mailbox.clone());
                    (&mut kinds[0], "Remove remote flag on")
                }
                Need::Delete(located) => {
                    self.remains.elsewhere.push((local.name.clone(), located.clone()));
                    (&mut kinds[1], "Remove Local Mailbox")
                }
                Need::Activate => {
                    activates.push(at);
                    (&mut kinds[2], "Force Activate")
                }
            };
            kind.log(&local.name);
            if self.mode != Mode::Change {
                say(what, &local.name)?;
            }
        }
        kinds.into_iter().for_each(Kind::finish);
        self.outcome.activations = activates.len();
        if self.mode == Mode::Change { Ok(self.send_activates(&activates)?) } else { Ok(()) }
    }

    fn send_activates(&mut self, activates: &[usize]) -> Result<(), ClientError> {
        let (rows, remains) = (&self.locals.rows, &mut self.remains);
        let mut pipeline = self.master.pipeline(|at: usize, answer| {
            if let Answer::Refused(text) = answer {
                remains.refused.push((rows[at].name.clone(), text));
            }
        });
        let mut progress = Progress::new("activating", activates.len());
        for &at in activates {
            let Local { name, location, acl, .. } = &rows[at];
            pipeline.submit(Change::Activate { name, location, acl }, at)?;
            progress.step();
        }
        pipeline.finish()
    }
}

/// What has to be done about a local mailbox.
enum Need<'a> {
    Nothing,
    /// The local entry says that it is moving away, and the master that it is here.
    Unflag(&'a cyrusdb::Mailbox),
    /// It lives elsewhere.
    Delete(&'a Located),
    Activate,
}

fn need(local: &Local) -> Need<'_> {
    match (&local.standing, &local.moving) {
        (Standing::Elsewhere(located), _) => Need::Delete(located),
        (Standing::Agrees | Standing::Differs | Standing::Unlisted, Some(mailbox)) => Need::Unflag(mailbox),
        (Standing::Differs | Standing::Unlisted, None) => Need::Activate,
        (Standing::Agrees, None) => Need::Nothing,
    }
}

/// Whether so many names may be removed from the master. A database that was lost must not take the
/// master's knowledge with it.
fn may_remove(cli: &Cli, removals: usize, listed: usize, is_empty: bool) -> anyhow::Result<bool> {
    let is_much = removals >= HOLD_BACK_NAMES_MIN && removals * 100 > listed * HOLD_BACK_PERCENT;
    if removals == 0 || cli.authoritative || !(is_much || is_empty) {
        return Ok(true);
    }
    if !cli.interactive {
        return Ok(false);
    }
    eprint!("OK to remove {removals} of {listed} mailboxes of this server from MUPDATE? ");
    stderr().flush()?;
    let mut line = String::new();
    stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim_end_matches('\n'), "y" | "Y"))
}

/// A line as `-w` has it.
fn say(what: &str, name: &[u8]) -> std::io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(what.as_bytes())?;
    out.write_all(b": ")?;
    out.write_all(name)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn may(arguments: &str, removals: usize, listed: usize, is_empty: bool) -> bool {
        let words = ["ctl_mboxlist"].into_iter().chain(arguments.split_ascii_whitespace());
        may_remove(&Cli::parse_from(words), removals, listed, is_empty).unwrap()
    }

    #[test]
    fn a_lost_database_does_not_empty_the_master() {
        assert!(!may("-m", 3, 3, true));
        assert!(!may("-m", 100, 499, false));
        assert!(may("-m", 100, 500, false));
        assert!(may("-m", 99, 99, false));
        assert!(may("-m", 0, 0, true));
        assert!(may("-m -a", 1000, 1000, true));
    }
}

//! Renames mailboxes for a backend, as Cyrus does it: the session that asks waits for the master.
//!
//! ```text
//!  RESERVE of the new name ──OK──> the mailbox has its new name ──> ACTIVATE ──> DELETE of the old one ──> OK
//! ```
//! A step that the master did not answer is asked for again, also by a backend that died meanwhile.

use protocols::proxy::Instant;

use crate::backend::Backend;
use crate::dice::Dice;
use crate::link::{Link, News, literal};
use crate::net::{EndId, Net};
use crate::site::acl;
use crate::truth::Truth;

/// The renamer of one backend.
#[derive(Default)]
pub struct Renamer {
    link: Link,
    job: Option<Job>,
    /// Mailboxes that were renamed.
    pub renamed: usize,
    /// What must not happen and did.
    pub violations: Vec<String>,
}

struct Job {
    old: String,
    new: String,
    step: Step,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Reserving,
    Activating,
    Deleting,
}

impl Renamer {
    /// Whether it has no connection to the master and wants one.
    pub fn wants_connection(&self, backend: &Backend) -> bool {
        self.link.wants_connection() && (self.job.is_some() || backend.wants_rename())
    }

    /// A connection to the master stands.
    pub fn connected(&mut self, end: EndId) {
        self.link.connected(end);
    }

    /// Whether nothing is being renamed.
    pub fn is_idle(&self) -> bool {
        self.job.is_none()
    }

    /// Reads, goes on.
    pub fn turn(
        &mut self,
        net: &mut Net,
        now: Instant,
        dice: &mut Dice,
        backend: &mut Backend,
        truth: &mut Truth,
    ) {
        for news in self.link.read(net, now, dice) {
            match news {
                News::Answered(line) => self.answered(&line, backend, truth),
                News::Lost => {}
                News::Refused(line) => self.violations.push(format!("renamer: {line}")),
            }
        }
        if self.job.is_none()
            && let Some((old, new)) = backend.begin_rename()
        {
            self.job = Some(Job { old, new, step: Step::Reserving });
        }
        if self.link.is_ready() {
            self.ask(&backend.name);
        }
        let _ = self.link.send(net, now, dice);
    }

    fn ask(&mut self, server: &str) {
        let Some(Job { old, new, step }) = &self.job else { return };
        let place = literal(&format!("{server}!default"));
        self.link.ask(&match step {
            Step::Reserving => format!("RESERVE {} {place}", literal(new)),
            Step::Activating => format!("ACTIVATE {} {place} {}", literal(new), literal(&acl(new))),
            Step::Deleting => format!("DELETE {}", literal(old)),
        });
    }

    fn answered(&mut self, line: &str, backend: &mut Backend, truth: &mut Truth) {
        let Some(job) = &mut self.job else { return };
        // What is asked for again may have been done.
        let is_done = line.contains(" OK ") || (job.step == Step::Deleting && line.contains("doesn't exist"));
        if !is_done {
            self.violations.push(format!("renamer at {:?}: {line}", job.step));
        }
        job.step = match job.step {
            Step::Reserving => {
                backend.rename(&job.old, &job.new);
                truth.boxes.renamed(&job.new, truth.now);
                Step::Activating
            }
            Step::Activating => Step::Deleting,
            Step::Deleting => {
                self.job = None;
                self.renamed += 1;
                return backend.end_rename();
            }
        };
    }
}

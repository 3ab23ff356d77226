//! A server that changes the list at the master all the time, as backends do, and remembers what
//! was acknowledged.

use std::collections::BTreeMap;

use protocols::proxy::Instant;

use crate::dice::Dice;
use crate::link::{Link, News, literal};
use crate::net::{EndId, Net};

/// Names that it changes; none of them is a mailbox that a client uses.
const NAMES: usize = 12;

/// What the master may hold of a name, as far as its answers tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Truth {
    /// This was acknowledged last.
    Acknowledged(Option<String>),
    /// Changes were asked for and not answered: any of these.
    OneOf(Vec<Option<String>>),
}

/// The registrar.
#[derive(Default)]
pub struct Registrar {
    link: Link,
    /// The change in flight.
    asked: Option<(String, Option<String>)>,
    truth: BTreeMap<String, Truth>,
    /// Changes that were acknowledged.
    pub acknowledged: usize,
    /// What must not happen and did.
    pub violations: Vec<String>,
}

impl Registrar {
    /// Whether it has no connection and wants one.
    pub fn wants_connection(&self) -> bool {
        self.link.wants_connection()
    }

    /// A connection to the master stands.
    pub fn connected(&mut self, end: EndId) {
        self.link.connected(end);
    }

    /// What the list must hold of the names that were changed.
    pub fn truth(&self) -> &BTreeMap<String, Truth> {
        &self.truth
    }

    /// Reads, asks for the next change while `active`.
    pub fn turn(&mut self, net: &mut Net, now: Instant, dice: &mut Dice, active: bool) {
        for news in self.link.read(net, now, dice) {
            match news {
                News::Answered(line) => self.answered(&line),
                News::Lost => self.lost(),
                News::Refused(line) => self.violations.push(format!("registrar: {line}")),
            }
        }
        if active && self.link.is_ready() && dice.per_mille(300) {
            self.ask(dice);
        }
        if self.link.send(net, now, dice).is_some() {
            self.lost();
        }
    }

    /// What was in flight may have been done or not.
    fn lost(&mut self) {
        if let Some((name, new)) = self.asked.take() {
            let mut held = match self.truth.remove(&name) {
                Some(Truth::Acknowledged(old)) => vec![old],
                Some(Truth::OneOf(held)) => held,
                None => vec![None],
            };
            held.push(new);
            self.truth.insert(name, Truth::OneOf(held));
        }
    }

    fn answered(&mut self, line: &str) {
        let Some((name, new)) = self.asked.take() else { return };
        if line.contains(" OK ") {
            self.acknowledged += 1;
            self.truth.insert(name, Truth::Acknowledged(new));
        } else if new.is_none() && line.contains("doesn't exist") {
            // It was not there: then it is not there.
            self.truth.insert(name, Truth::Acknowledged(None));
        } else {
            self.violations.push(format!("registrar: {line}"));
        }
    }

    fn ask(&mut self, dice: &mut Dice) {
        let name = format!("churn.box{}", dice.below(NAMES));
        if dice.per_mille(300) {
            self.link.ask(&format!("DELETE {}", literal(&name)));
            self.asked = Some((name, None));
        } else {
            let acl = format!("anyone\tlrs\tu{}\tlr\t", dice.below(5));
            self.link.ask(&format!("ACTIVATE {} {} {}", literal(&name), literal("be1!churn"), literal(&acl)));
            self.asked = Some((name, Some(acl)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_changes_without_an_answer_any_or_none_was_made() {
        let mut registrar = Registrar::default();
        let (acl, other) = (Some("u4\tlr\t".to_owned()), Some("u2\tlr\t".to_owned()));
        registrar.truth.insert("box".into(), Truth::Acknowledged(acl.clone()));
        for asked in [None, other.clone()] {
            registrar.asked = Some(("box".into(), asked));
            registrar.lost();
        }
        assert_eq!(registrar.truth["box"], Truth::OneOf(vec![acl, None, other]));
    }
}

//! A server that changes the list at the master all the time, as backends do, and remembers what
//! was acknowledged.

use std::collections::BTreeMap;

use protocols::proxy::Instant;

use crate::dice::Dice;
use crate::net::{Broken, EndId, Net, Read};
use crate::units::{Unit, Units};

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
pub struct Registrar {
    end: Option<EndId>,
    units: Units,
    out: Vec<u8>,
    stage: Stage,
    tag: u32,
    /// The change in flight.
    asked: Option<(String, Option<String>)>,
    truth: BTreeMap<String, Truth>,
    /// Changes that were acknowledged.
    pub acknowledged: usize,
    /// What must not happen and did.
    pub violations: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    ExpectGreeting,
    ExpectAuthReply,
    Ready,
}

impl Default for Registrar {
    fn default() -> Registrar {
        Registrar {
            end: None,
            units: Units::default(),
            out: Vec::new(),
            stage: Stage::ExpectGreeting,
            tag: 0,
            asked: None,
            truth: BTreeMap::new(),
            acknowledged: 0,
            violations: Vec::new(),
        }
    }
}

impl Registrar {
    /// Whether it has no connection and wants one.
    pub fn wants_connection(&self) -> bool {
        self.end.is_none()
    }

    /// A connection to the master stands.
    pub fn connected(&mut self, end: EndId) {
        self.end = Some(end);
        self.units = Units::default();
        self.out.clear();
        self.stage = Stage::ExpectGreeting;
    }

    /// What the list must hold of the names that were changed.
    pub fn truth(&self) -> &BTreeMap<String, Truth> {
        &self.truth
    }

    /// Reads, asks for the next change while `active`.
    pub fn turn(&mut self, net: &mut Net, now: Instant, dice: &mut Dice, active: bool) {
        let Some(end) = self.end else { return };
        loop {
            match net.read(end, 8192, now, dice) {
                Read::Bytes(bytes) => self.units.push(&bytes),
                Read::Nothing => break,
                Read::Eof | Read::Reset => return self.lost(net, now),
            }
        }
        while let Unit::Whole(unit) = self.units.poll() {
            self.response(&String::from_utf8_lossy(&unit), dice);
        }
        if active && self.stage == Stage::Ready && self.asked.is_none() && dice.per_mille(300) {
            self.ask(dice);
        }
        match net.send(end, &self.out, now, dice) {
            Ok(n) => drop(self.out.drain(..n)),
            Err(Broken) => self.lost(net, now),
        }
    }

    /// What was in flight may have been done or not.
    fn lost(&mut self, net: &mut Net, now: Instant) {
        if let Some(end) = self.end.take() {
            net.close(end, now);
        }
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

    fn response(&mut self, line: &str, dice: &mut Dice) {
        match self.stage {
            Stage::ExpectGreeting if line.starts_with("* OK") => {
                use base64::Engine as _;
                let plain = base64::engine::general_purpose::STANDARD.encode(b"\0postman\0pw-postman");
                self.out.extend_from_slice(
                    format!("A01 AUTHENTICATE \"PLAIN\" {{{}+}}\r\n{plain}\r\n", plain.len()).as_bytes(),
                );
                self.stage = Stage::ExpectAuthReply;
            }
            Stage::ExpectAuthReply if line.starts_with("A01 ") => {
                if !line.starts_with("A01 OK") {
                    self.violations.push(format!("registrar: {line}"));
                }
                self.stage = Stage::Ready;
                self.ask(dice);
            }
            Stage::Ready if line.starts_with(&format!("X{} ", self.tag)) => self.answered(line),
            Stage::ExpectGreeting | Stage::ExpectAuthReply | Stage::Ready => {}
        }
    }

    fn answered(&mut self, line: &str) {
        let Some((name, new)) = self.asked.take() else { return };
        if line.contains(" OK ") {
            self.acknowledged += 1;
            self.truth.insert(name, Truth::Acknowledged(new));
        } else if new.is_none() && line.contains(" NO ") {
            // It was not there: then it is not there.
            self.truth.insert(name, Truth::Acknowledged(None));
        } else {
            self.violations.push(format!("registrar: {line}"));
        }
    }

    fn ask(&mut self, dice: &mut Dice) {
        let name = format!("churn.box{}", dice.below(NAMES));
        self.tag += 1;
        let tag = self.tag;
        let command = if dice.per_mille(300) {
            self.asked = Some((name.clone(), None));
            format!("X{tag} DELETE {{{}+}}\r\n{name}\r\n", name.len())
        } else {
            let acl = format!("anyone\tlrs\tu{}\tlr\t", dice.below(5));
            self.asked = Some((name.clone(), Some(acl.clone())));
            format!(
                "X{tag} ACTIVATE {{{}+}}\r\n{name} {{9+}}\r\nbe1!churn {{{}+}}\r\n{acl}\r\n",
                name.len(),
                acl.len()
            )
        };
        self.out.extend_from_slice(command.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::Weather;

    #[test]
    fn of_several_changes_without_an_answer_any_or_none_was_made() {
        let weather = Weather { delay_max: Duration::ZERO, short_sends: 0, split_reads: 0 };
        let (mut registrar, mut net) = (Registrar::default(), Net::new(weather));
        let (acl, other) = (Some("u4\tlr\t".to_owned()), Some("u2\tlr\t".to_owned()));
        registrar.truth.insert("box".into(), Truth::Acknowledged(acl.clone()));
        for asked in [None, other.clone()] {
            registrar.asked = Some(("box".into(), asked));
            registrar.lost(&mut net, Instant(0));
        }
        assert_eq!(registrar.truth["box"], Truth::OneOf(vec![acl, None, other]));
    }
}

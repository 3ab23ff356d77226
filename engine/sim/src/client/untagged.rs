//! What a client hears without having a tag for it: news of the selected mailbox, rows, quotas, go-aheads.

use super::command::Verb;
use super::{Client, Turn};
use crate::dialog::{copyuid, quota};
use crate::dice::Dice;
use crate::flags::Flags;
use crate::message;
use crate::picture::Picture;
use crate::truth::Truth;
use crate::typed::inner;

impl Client {
    /// Takes in a whole response.
    pub(super) fn response(&mut self, unit: &[u8], turn: &mut Turn<'_>) {
        let text = String::from_utf8_lossy(unit).into_owned();
        if text.starts_with("+ ") {
            return self.continued(turn.dice);
        }
        let Some(rest) = text.strip_prefix("* ") else { return self.tagged(&text, turn) };
        if rest.starts_with("BYE") {
            self.saw_bye = true;
        } else if let Some(user) = rest.strip_prefix("OK X-FOR ") {
            if user != self.user {
                self.violation(&format!("what was meant for {user}"));
            }
        } else if rest.starts_with("OK Mailbox is being moved") {
            self.waited += 1;
        } else if let Some(copies) = copyuid(rest) {
            self.copies = copies;
        } else if let Some(told) = quota(rest) {
            self.quota = Some(told);
        } else if let Some(row) = rest.strip_prefix("LIST ") {
            self.rows.extend(row.rsplit(' ').next().map(|name| inner(&self.user, name)));
        } else {
            self.untagged(rest, unit, turn.truth);
        }
    }

    /// News of the selected mailbox. While another one is selected it is not known whose they are, until a
    /// count begins it.
    fn untagged(&mut self, rest: &str, unit: &[u8], truth: &mut Truth) {
        let mut words = rest.splitn(3, ' ');
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let behind = words.next().unwrap_or_default();
        let selects = self.pending.first().is_some_and(|pending| pending.verb == Verb::Select);
        let Some(picture) = &mut self.selected else { return };
        let result = match (first.parse::<usize>(), second) {
            (Ok(count), "EXISTS") if selects => {
                *picture = Picture::new(picture.mailbox(), self.qresync, picture.since());
                picture.exists(count)
            }
            (Ok(count), "EXISTS") => picture.exists(count),
            (_, _) if selects => Ok(()),
            (Ok(number), "EXPUNGE") => picture.expunge(number, truth),
            (Ok(number), "FETCH") => return self.fetched(number, behind, unit, truth),
            (Err(_), _) if first == "VANISHED" => picture.vanished(second, truth),
            (Ok(_) | Err(_), _) => Ok(()),
        };
        self.check(result);
    }

    /// A message must be whole, and the one that has the number.
    fn fetched(&mut self, number: usize, items: &str, unit: &[u8], truth: &Truth) {
        let Some(picture) = &mut self.selected else { return };
        let told = items
            .split_once("UID ")
            .and_then(|(_, rest)| rest.split([' ', ')']).next().and_then(|word| word.parse::<u32>().ok()));
        // Numbers say which message it is where they are kept.
        let Some(uid) = told.or_else(|| picture.uid(number).filter(|_| !self.qresync)) else { return };
        let flags = items.split_once("FLAGS (").and_then(|(_, rest)| rest.split_once(')'));
        let flags = Flags::read(flags.map_or("", |(list, _)| list)).without_recent();
        let mut result = told.map_or(Ok(()), |uid| picture.fetched(number, uid));
        if let Some(seed) = truth.seed(picture.mailbox(), uid) {
            result = result.and(truth.flags.fetched(seed, &flags));
        }
        if told.is_some() || self.told.contains_key(&uid) {
            self.told.insert(uid, flags);
        }
        if let Some(start) = unit.windows(7).position(|at| at == b"Owner: ") {
            let seed = unit[start..]
                .strip_suffix(b")")
                .ok_or("no end")
                .and_then(message::check)
                .map(|(_, seed)| seed);
            if seed != Ok(truth.seed(picture.mailbox(), uid).unwrap_or(0)) {
                result = Err(format!("message {uid} of {} is {seed:?}", picture.mailbox()));
            }
        }
        self.check(result);
    }

    fn continued(&mut self, dice: &mut Dice) {
        if let Some((_, rest)) = self.held.take() {
            self.dialog.add(&rest);
        } else if self.pending.last().is_some_and(|pending| pending.verb == Verb::Idle) {
            self.idling = true;
            if dice.per_mille(700) {
                self.done();
            }
        } else {
            self.violation("a go-ahead that nobody waits for");
        }
    }
}

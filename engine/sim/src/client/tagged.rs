//! What a client is answered: whether it is in time, and whether it may be so.

use std::time::Duration;

use protocols::proxy::Instant;

use super::command::{Pending, Verb};
use super::{Client, Turn};
use crate::boxes::identity;
use crate::deed::Outcome;
use crate::dialog::{ANSWER_MAX, copyuid, tagged};
use crate::machines::{COMMAND_TIMEOUT, FAN_OUT_TIMEOUT, LOGIN_TIMEOUT};
use crate::truth::Truth;
use crate::typed::inner;

/// The list, the way to the client and the like.
const WAYS: Duration = Duration::from_secs(1);

/// How long a LIST with data of the backends may take: the way to the home and what that is asked, then what all
/// others are, for which connecting to them counts.
const LIST_STATUS_MAX: Duration =
    LOGIN_TIMEOUT.saturating_add(FAN_OUT_TIMEOUT).saturating_add(FAN_OUT_TIMEOUT).saturating_add(WAYS);

/// How long a search of several servers may take: the way to all at once, then the slowest of them.
const SEARCH_MAX: Duration = LOGIN_TIMEOUT.saturating_add(COMMAND_TIMEOUT).saturating_add(WAYS);

impl Client {
    /// Takes in the answer of the first command that waits.
    pub(super) fn tagged(&mut self, text: &str, turn: &mut Turn<'_>) {
        let (tag, status, rest) = tagged(text);
        if self.pending.first().is_none_or(|first| first.tag != tag) {
            let waits: Vec<_> = self.pending.iter().map(|pending| pending.tag.clone()).collect();
            return self.violation(&format!("answer {text:?} while {waits:?} wait"));
        }
        let Pending { verb, since, deed, keyword, named, renames, .. } = self.pending.remove(0);
        let ok = status == "OK";
        self.answered_ok += usize::from(ok);
        self.answered_no += usize::from(!ok);
        self.check_time(verb, since, turn.now);
        self.answered = turn.now;
        if let Some(deed) = deed {
            let (outcome, copies) = self.outcome(ok, rest);
            turn.truth.told(deed, outcome, copies);
        }
        if let (true, Some((keyword, uids)), Some(picture)) = (ok, keyword, &self.selected) {
            let ledger = &mut turn.truth.flags;
            uids.iter().for_each(|uid| ledger.is_stored(picture.mailbox(), *uid, &keyword, turn.now));
        }
        if let Some(number) = renames {
            turn.truth.boxes.told(number, self.outcome(ok, rest).0);
            self.renamed = match named.as_slice() {
                [old, new] if ok => Some((old.clone(), new.clone(), turn.now)),
                _ => None,
            };
        }
        let absent = named.iter().find(|name| !turn.truth.boxes.was_there(name, since, turn.now));
        if let (true, Some(name)) = (ok, absent) {
            self.violation(&format!("{verb:?} of {name} is answered OK, and it was never there"));
        }
        self.after(verb, ok, since, turn.truth);
        if !ok {
            self.held.take_if(|(held, _)| held == tag);
            let is_away = named.iter().any(|name| turn.truth.boxes.was_away(name, since, turn.now))
                || self.selected.as_ref().is_some_and(|picture| {
                    turn.truth.boxes.was_away(picture.mailbox(), picture.since(), turn.now)
                });
            self.refused(verb, status, rest, is_away);
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "nothing follows from the others")]
    fn after(&mut self, verb: Verb, ok: bool, since: Instant, truth: &Truth) {
        match verb {
            Verb::Select if !ok => self.selected = None,
            Verb::Select => {
                self.looks_around = self.selected.as_ref().is_some_and(|picture| !picture.is_empty())
            }
            Verb::Look if ok => {
                let told = std::mem::take(&mut self.told);
                let Some(picture) = &mut self.selected else { return };
                let mailbox = picture.mailbox().to_owned();
                let looked = told.iter().map(|(uid, flags)| truth.flags.looked(&mailbox, *uid, flags, since));
                let looked: Result<(), String> = looked.collect();
                let uids: Vec<u32> = told.keys().copied().collect();
                let all = picture.told_all(&uids, truth);
                self.check(looked.and(all));
            }
            Verb::Login if !ok => self.steps_left = 0,
            Verb::List | Verb::ListStatus => {
                let rows = std::mem::take(&mut self.rows);
                if ok {
                    self.check_renamed(&rows, since, truth);
                }
            }
            Verb::Quota if ok => {
                let result = match self.quota.take() {
                    Some((root, limit)) => {
                        truth.quotas.check(&inner(&self.user, &root), limit, since, truth.now)
                    }
                    None => Err("GETQUOTAROOT tells of no quota".to_owned()),
                };
                self.check(result);
            }
            Verb::Idle => self.idling = false,
            _ => {}
        }
    }

    /// It sees what it did: the box has the name that it was given and not the one before, unless somebody else
    /// gave it another. A stale list may show beside it a name that others took from it, and none that it never had.
    fn check_renamed(&mut self, rows: &[String], since: Instant, truth: &Truth) {
        let Some((old, new, told)) = self.renamed.clone().filter(|(.., told)| *told <= since) else { return };
        let is_last = truth.boxes.current(&new).is_some_and(|(at, name)| *at <= told && *name == new);
        let may_be_stale =
            |row: &str| row != old && row != new && truth.boxes.was_there(row, Instant(0), told);
        let names = rows.iter().filter(|row| identity(row) == identity(&new));
        let shown: Vec<&String> = names.filter(|row| !may_be_stale(row)).collect();
        if is_last && shown != [&new] {
            self.violation(&format!("renamed a mailbox {new}, and LIST tells of {shown:?}"));
        }
    }

    /// What is told of a command that changes something.
    fn outcome(&mut self, ok: bool, rest: &str) -> (Outcome, Vec<(u32, u32)>) {
        let before = std::mem::take(&mut self.copies);
        let copies = copyuid(rest).unwrap_or(before);
        let in_doubt = ["may have been", "messages were copied"].iter().any(|text| rest.contains(text));
        match ok {
            true => (Outcome::Done, copies),
            false if in_doubt => (Outcome::Doubtful, copies),
            false => (Outcome::Refused, Vec::new()),
        }
    }

    fn check_time(&mut self, verb: Verb, since: Instant, now: Instant) {
        let took = now.since(since.max(self.answered));
        // A selected mailbox that is away is waited for before anything else is done.
        let limit = match (&self.selected, verb) {
            (None, Verb::ListStatus) => LIST_STATUS_MAX,
            (None, Verb::Search) => SEARCH_MAX,
            (Some(_) | None, _) => ANSWER_MAX,
        };
        if took > limit && verb != Verb::Idle {
            self.violation(&format!("{verb:?} took {took:?}"));
        }
    }

    /// Every mailbox that is named exists all the time, so only a temporary refusal is true; but for boxes, whose
    /// names come and go.
    fn refused(&mut self, verb: Verb, status: &str, rest: &str, is_away: bool) {
        let temporary = rest.starts_with("[UNAVAILABLE]") || rest.starts_with("[INUSE]");
        let is_of_selected = matches!(
            verb,
            Verb::Fetch | Verb::Look | Verb::Copy | Verb::Move | Verb::Mark | Verb::Keyword | Verb::Expunge
        );
        let unselected = is_of_selected && (self.selected.is_none() || status == "BAD");
        // Messages that others took meanwhile.
        let is_gone = rest.contains("a message could not be read") || rest.contains("messages were copied");
        let excused =
            temporary || unselected || is_away || (is_gone && matches!(verb, Verb::Copy | Verb::Move));
        if !excused || status == "BAD" && !unselected {
            self.violation(&format!("{verb:?} refused for good: {status} {rest}"));
        }
        // A box that leaves while it is selected, or behind the server's go-ahead, takes its command along.
        if self.is_late && temporary && !is_away {
            self.violation(&format!("all is well, and {verb:?} is refused: {rest}"));
        }
    }
}

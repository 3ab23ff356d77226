//! A login waits for a mailbox that is being moved to another server.
//!
//! ```text
//!  looked up ──RESERVED──> again, behind a barrier ──RESERVED──> a pause ──> again ──> ... ──> elsewhere, or given up
//! ```

use std::time::Duration;

use crate::proxy::{Instant, Question};

/// How often the list is asked while the mailbox is reserved, each time behind a barrier; the second behind
/// [`OFTEN`].
const PAUSE: Duration = Duration::from_millis(300);
const PAUSE_LONG: Duration = Duration::from_secs(1);

/// Moves that take longer take so much longer that a second does not count.
const OFTEN: Duration = Duration::from_secs(30);

/// How long clients wait of whose protocol nothing says "still here" between a command and its answer: POP3,
/// ManageSieve, LMTP. The most impatient of them that are common give up after a minute, and connecting to the server
/// (`client_timeout`) comes on top, before and behind.
pub const SILENT_MAX: Duration = Duration::from_secs(30);

/// The wait of one login; fresh as long as there is none.
#[derive(Default)]
pub(crate) struct Waiting {
    /// Since when it is known that the mailbox is being moved.
    since: Option<Instant>,
    /// When the client was told last that he waits, or began to.
    told: Option<Instant>,
    /// What is asked next, and when.
    next: Option<(Instant, Question)>,
}

impl Waiting {
    /// Asks this behind a pause; false when he has waited for `longest`.
    pub(crate) fn ask_later(&mut self, question: Question, longest: Duration, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        self.told.get_or_insert(now);
        if since + longest <= now {
            return false;
        }
        let pause = if now < since + OFTEN { PAUSE } else { PAUSE_LONG };
        self.next = Some(((now + pause).min(since + longest), question));
        true
    }

    /// When there is something to ask.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.next.as_ref().map(|(at, _)| *at)
    }

    /// Whether the client waits for a move now.
    pub(crate) fn is_on(&self) -> bool {
        self.next.is_some()
    }

    /// What is to be asked now.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Question> {
        self.next.take_if(|(at, _)| *at <= now).map(|(_, question)| question)
    }

    /// Whether he is to be told that he waits, which he is then.
    pub(crate) fn is_to_be_told(&mut self, every: Duration, now: Instant) -> bool {
        let is_due = self.told.is_some_and(|told| told + every <= now);
        if is_due {
            self.told = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::Freshness;

    fn question() -> Question {
        Question::Find { name: (*b"user.fred").into(), freshness: Freshness::Barrier }
    }

    #[test]
    fn wait_has_an_end_however_the_list_is_asked() {
        let (mut waiting, mut now, longest) = (Waiting::default(), Instant(0), Duration::from_secs(90));
        let mut asked = 0;
        while waiting.ask_later(question(), longest, now) {
            let due = waiting.due().unwrap_or_default();
            assert!(due > now && waiting.take_due(now).is_none());
            now = due;
            assert!(waiting.take_due(now).is_some() && !waiting.is_on());
            asked += 1;
        }
        assert_eq!(now, Instant(0) + longest);
        assert!((100..200).contains(&asked), "asked {asked} times");
    }

    #[test]
    fn nobody_waits_where_he_is_not_to() {
        assert!(!Waiting::default().ask_later(question(), Duration::ZERO, Instant(7)));
    }
}

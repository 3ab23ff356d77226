//! Pages of the list, so many in a turn: a LIST that finds little looks at the whole list, page by page,
//! and nobody else of its shard may wait for all of it.

use std::time::{Duration, Instant};

use protocols::proxy::{self, Answer, ListPage};

use crate::helpers::Asker;
use crate::shard::Reply;

/// What pages may take of one turn. Behind it each session gets one more, in the next turn.
const TURN: Duration = Duration::from_micros(500);

/// How much of the turn pages have taken.
pub(crate) struct Paging {
    turn: proxy::Instant,
    spent: Duration,
}

impl Default for Paging {
    fn default() -> Paging {
        Paging { turn: proxy::Instant(u64::MAX), spent: Duration::ZERO }
    }
}

impl Paging {
    /// Makes a page and answers with it: at once, or in the next turn when this one has given enough.
    /// `now` is the time of the turn.
    pub(crate) fn reply(
        &mut self,
        asker: Asker,
        now: proxy::Instant,
        page: impl FnOnce() -> ListPage,
    ) -> Reply {
        if self.turn != now {
            *self = Paging { turn: now, spent: Duration::ZERO };
        }
        let is_over = self.spent >= TURN;
        let begun = Instant::now();
        let answer = Answer::Page(page());
        self.spent += begun.elapsed();
        if is_over {
            asker.answer(answer);
            return Reply::Later;
        }
        Reply::Now(answer)
    }
}

#[cfg(test)]
mod tests {
    use protocols::proxy::{Knowledge, QuestionId};

    use super::*;
    use crate::shard::{Inbox, SessionId};

    #[test]
    fn a_turn_gives_no_more_pages_than_it_has_time_for() {
        let (inbox, _reader) = Inbox::new().unwrap();
        let asker = || Asker {
            inbox: inbox.clone(),
            session: SessionId { slot: 0, generation: 0 },
            id: QuestionId(0),
        };
        let page = || ListPage { entries: Vec::new(), next: None, knowledge: Knowledge::Live };
        let slow = || {
            let begun = Instant::now();
            while begun.elapsed() <= TURN {
                std::hint::spin_loop();
            }
            page()
        };
        let (mut paging, turn) = (Paging::default(), proxy::Instant);
        assert!(matches!(paging.reply(asker(), turn(1), page), Reply::Now(_)));
        assert!(matches!(paging.reply(asker(), turn(1), slow), Reply::Now(_)), "what is begun is given");
        assert!(matches!(paging.reply(asker(), turn(1), page), Reply::Later));
        assert!(matches!(paging.reply(asker(), turn(2), page), Reply::Now(_)));
    }
}

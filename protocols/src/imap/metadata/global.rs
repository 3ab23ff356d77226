//! A metadata command about the server, for the user's home.

use crate::imap::agenda::{Agenda, Home, aside_of, home_news, result_of, seek_home};
use crate::imap::answers::{DENIED, UNREACHABLE};
use crate::imap::routed::Effect;
use crate::imap::task::{Context, Line, News, Task, Want};
use crate::proxy::{BackendId, Instant, Side};

/// A command about the server, to the user's home.
#[derive(Debug)]
pub(super) struct Global {
    /// What stands behind the tag, line end included.
    command: Vec<u8>,
    effect: Effect,
    phase: GlobalPhase,
    agenda: Agenda,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum GlobalPhase {
    Start,
    ExpectHome,
    /// A server of `serverlist`.
    ExpectAny,
    Relaying(BackendId),
    Over,
}

impl Global {
    pub(super) fn new(verb: &[u8], rest: &[u8], effect: Effect) -> Global {
        let command = [verb, b" \"\" ", rest, b"\r\n"].concat();
        Global { command, effect, phase: GlobalPhase::Start, agenda: Agenda::default() }
    }

    fn handle_home(&mut self, home: Home, cx: &Context<'_>) {
        match (home, cx.config.serverlist.first()) {
            (Home::At(backend), _) => {
                self.agenda.send(backend, [cx.tag, b" ", &self.command].concat());
                self.phase = GlobalPhase::Relaying(backend);
            }
            (Home::Unavailable, _) => self.finish(cx, UNREACHABLE),
            (Home::Nowhere, Some(server)) if self.phase == GlobalPhase::ExpectHome => {
                self.agenda.want(Want::Backend { server: server.as_bytes().to_vec() });
                self.phase = GlobalPhase::ExpectAny;
            }
            // There is nothing to read where nothing can be written.
            (Home::Nowhere, _) if self.effect == Effect::Reads => self.finish(cx, b"OK Completed"),
            (Home::Nowhere, _) => self.finish(cx, DENIED),
        }
    }

    fn finish(&mut self, cx: &Context<'_>, result: &[u8]) {
        self.agenda.finish(cx, result);
        self.phase = GlobalPhase::Over;
    }
}

impl Task for Global {
    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, _now: Instant) {
        match (self.phase, news) {
            (GlobalPhase::ExpectHome | GlobalPhase::ExpectAny, news) => {
                if let Some(home) = home_news(news, cx, &mut self.agenda) {
                    self.handle_home(home, cx);
                }
            }
            (GlobalPhase::Relaying(backend), News::Lost(lost)) if lost == backend => {
                self.finish(cx, UNREACHABLE);
            }
            (GlobalPhase::Start | GlobalPhase::Relaying(_) | GlobalPhase::Over, _) => {}
        }
    }

    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, _now: Instant) -> Line {
        let Side::Backend(backend) = from else { return Line::Hold };
        if self.phase != GlobalPhase::Relaying(backend) {
            return aside_of(backend, line, cx);
        }
        if result_of(line, cx.tag).is_some() {
            self.agenda.want(Want::Done);
            self.phase = GlobalPhase::Over;
        }
        Line::Relay
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        if self.phase == GlobalPhase::Start {
            self.phase = GlobalPhase::ExpectHome;
            seek_home(cx, &mut self.agenda);
        }
        self.agenda.poll(out)
    }
}

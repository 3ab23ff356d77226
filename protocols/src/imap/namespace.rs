//! NAMESPACE (RFC 2342): from the configuration; the personal one only for who has an INBOX.

use super::task::{Context, Line, News, Task, Want};
use super::text::push;
use crate::proxy::{Finding, Freshness, Instant, Side};

/// NAMESPACE.
pub(super) struct NamespaceTask {
    step: Step,
}

enum Step {
    AskInbox,
    ExpectInbox,
    Answer { has_inbox: bool },
    Over,
    End,
}

impl NamespaceTask {
    pub(super) fn new() -> NamespaceTask {
        NamespaceTask { step: Step::AskInbox }
    }
}

impl Task for NamespaceTask {
    fn handle_news(&mut self, news: News<'_>, _cx: &Context<'_>, _now: Instant) {
        if let (Step::ExpectInbox, News::Found(finding)) = (&self.step, news) {
            // Who cannot be told apart from having one is shown one.
            self.step = Step::Answer { has_inbox: !matches!(finding, Finding::Absent) };
        }
    }

    fn handle_line(&mut self, _from: Side, _line: &[u8], _cx: &Context<'_>, _now: Instant) -> Line {
        Line::Drop
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        match self.step {
            Step::AskInbox => {
                self.step = Step::ExpectInbox;
                let name = cx.config.namespace.inbox(&cx.identity.user);
                Some(Want::Find { name, freshness: Freshness::Snapshot })
            }
            Step::Answer { has_inbox } => {
                self.step = Step::Over;
                let namespaces = cx.config.namespace.namespace_response(cx.identity, has_inbox);
                push(out, &[b"* NAMESPACE ", &namespaces, b"\r\n", cx.tag, b" OK Completed\r\n"]);
                Some(Want::Reply)
            }
            Step::Over => {
                self.step = Step::End;
                Some(Want::Done)
            }
            Step::ExpectInbox | Step::End => None,
        }
    }
}

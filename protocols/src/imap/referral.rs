//! Mailbox referrals (RFC 2193): a client that asked for remote mailboxes is sent to their servers.
//!
//! RLIST, RLSUB and LIST (REMOTE) ask; then SELECT, EXAMINE, APPEND and DELETE of a mailbox that the list
//! has are answered with its URL, STATUS where `proxyd_allow_status_referral` says so, CREATE, SETACL and
//! DELETEACL for administrators.
//!
//! ```text
//! Ask ──> ExpectFound ──there──> (Leave) ──> Answer ──> Over, or the rest of an APPEND is read away
//!             └── not there, not known: the command itself
//! ```

use super::append::Append;
use super::grammar::Verb;
use super::session::Session;
use super::state::Phase;
use super::task::{Context, Line, News, Task, Want};
use super::text::push;
use crate::mailbox::utf7;
use crate::proxy::{BackendId, Finding, Freshness, Instant, Side};

impl Session {
    /// The client handles referrals from here on, as far as they are given to him.
    pub(super) fn refer(&mut self) {
        let is_given = self.config.capabilities.referrals;
        if let Phase::User(user) = &mut self.phase {
            // Cyrus gives none to who has his domain from the address that he came to: the server that he
            // is sent to has another address.
            user.referrals |= is_given && user.domain.is_none();
        }
    }

    /// Whether this command is answered with a referral.
    #[expect(clippy::wildcard_enum_match_arm, reason = "other commands are always carried out")]
    pub(super) fn refers(&self, verb: Verb) -> bool {
        let Some(user) = self.user().filter(|user| user.referrals) else { return false };
        match verb {
            Verb::Select | Verb::Examine | Verb::Append | Verb::Delete => true,
            Verb::Status => self.config.commands.status_referral,
            Verb::Create | Verb::SetAcl | Verb::DeleteAcl => user.identity.is_admin,
            _ => false,
        }
    }
}

/// ```text
/// tag NO [REFERRAL imap://;AUTH=*@server/mailbox] Remote mailbox.
/// ```
/// `mailbox` as typed. The user name is left out: `;AUTH=*` lets the client choose how it logs in (RFC 2192
/// section 3).
pub(super) fn referral(server: &[u8], mailbox: &[u8]) -> Vec<u8> {
    let mut text = b"NO [REFERRAL imap://;AUTH=*@".to_vec();
    text.extend_from_slice(server);
    text.push(b'/');
    let name = utf7::to_utf8(mailbox).map_or_else(|_| mailbox.to_vec(), String::into_bytes);
    for byte in name {
        if byte.is_ascii_alphanumeric() || b"-_.!*'(),&=~/:@".contains(&byte) {
            text.push(byte);
        } else {
            text.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    text.extend_from_slice(b"] Remote mailbox.");
    text
}

/// A command that is answered with a referral if the list has its mailbox.
pub(super) struct Refer {
    name: Vec<u8>,
    mailbox: Vec<u8>,
    /// The command itself, for what the list has not.
    command: Box<dyn Task>,
    kind: Kind,
    step: Step,
}

/// What is special about a command that is referred.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Nothing.
    Plain,
    /// SELECT and EXAMINE: whatever comes of it, the old mailbox is left (RFC 9051 section 6.3.2).
    Opens,
    /// APPEND: what stands behind the mailbox.
    Appends(Vec<u8>),
}

enum Step {
    Ask,
    ExpectFound,
    Leave(Vec<u8>),
    Answer(Vec<u8>),
    Command,
    Over,
    End,
}

impl Refer {
    /// `name` is internal, `mailbox` as typed.
    pub(super) fn new(name: Vec<u8>, mailbox: &[u8], command: Box<dyn Task>, kind: Kind) -> Refer {
        Refer { name, mailbox: mailbox.to_vec(), command, kind, step: Step::Ask }
    }

    fn found(&mut self, finding: &Finding, cx: &Context<'_>) {
        let server = match finding {
            Finding::Active(entry) => entry.location.server(),
            Finding::Reserved { .. } | Finding::Absent | Finding::Unknown => None,
        };
        self.step = match server.map(|server| referral(server, &self.mailbox)) {
            Some(text) if self.kind == Kind::Opens && cx.selected.is_some() => Step::Leave(text),
            Some(text) => Step::Answer(text),
            None => Step::Command,
        };
    }
}

impl Task for Refer {
    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, now: Instant) {
        match (&self.step, &news) {
            (Step::Command, _) => self.command.handle_news(news, cx, now),
            (Step::ExpectFound, News::Found(finding)) => self.found(finding, cx),
            _ => {}
        }
    }

    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, now: Instant) -> Line {
        match (&self.step, from) {
            (Step::Command, _) => self.command.handle_line(from, line, cx, now),
            (_, Side::Client) => Line::Hold,
            (_, Side::Backend(_)) => Line::Drop,
        }
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        match std::mem::replace(&mut self.step, Step::End) {
            Step::Ask => {
                self.step = Step::ExpectFound;
                Some(Want::Find { name: self.name.clone(), freshness: Freshness::BarrierIfAbsent })
            }
            Step::Leave(text) => {
                self.step = Step::Answer(text);
                Some(Want::Unselect)
            }
            Step::Answer(text) => {
                push(out, &[cx.tag, b" ", &text, b"\r\n"]);
                self.step = match &self.kind {
                    Kind::Plain | Kind::Opens => Step::Over,
                    Kind::Appends(rest) => {
                        self.command = Box::new(Append::answered(rest));
                        Step::Command
                    }
                };
                Some(Want::Reply)
            }
            Step::Command => {
                self.step = Step::Command;
                self.command.poll_want(cx, out)
            }
            Step::Over => Some(Want::Done),
            waiting @ (Step::ExpectFound | Step::End) => {
                self.step = waiting;
                None
            }
        }
    }

    fn reads_client(&self) -> bool {
        matches!(self.step, Step::Command) && self.command.as_ref().reads_client()
    }

    fn relays_untagged(&self, backend: BackendId) -> bool {
        matches!(self.step, Step::Command) && self.command.as_ref().relays_untagged(backend)
    }

    fn awaits(&self, backend: BackendId) -> bool {
        self.command.as_ref().awaits(backend)
    }

    fn reword(&mut self, out: &mut Vec<u8>) {
        self.command.reword(out);
    }

    fn forwards_to(&self, from: BackendId) -> Option<BackendId> {
        self.command.as_ref().forwards_to(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::folder;
    use crate::imap::testing::{Host, found};

    fn host(kind: Kind) -> Host<Refer> {
        let command = folder::delete(b"team02".to_vec(), b"team02");
        Host::new(Refer::new(b"team02".to_vec(), b"team02", command, kind))
    }

    #[test]
    fn mailbox_of_the_list_is_referred_to() {
        let mut host = host(Kind::Plain);
        assert_eq!(host.wants(), ["find team02"]);
        let answer = "C> A1 NO [REFERRAL imap://;AUTH=*@backend2/team02] Remote mailbox.\r\n";
        assert_eq!(host.news(found("team02", "backend2", "")), [answer, "done"]);
    }

    #[test]
    fn what_the_list_has_not_is_the_command_s_own_business() {
        let mut host = host(Kind::Plain);
        host.wants();
        assert_eq!(host.news(News::Found(Finding::Absent)), ["find team02"]);
        assert_eq!(host.news(found("team02", "backend2", "")), ["backend backend2"]);
        assert_eq!(host.news(News::Backend(Ok(BackendId(2)))), ["B2> A1 DELETE \"team02\"\r\n"]);
    }

    #[test]
    fn select_leaves_the_old_mailbox_and_an_append_is_read_to_its_end() {
        let mut opens = host(Kind::Opens).select("user.user001");
        opens.wants();
        assert_eq!(opens.news(found("team02", "backend2", ""))[0], "Unselect");
        let mut asks = host(Kind::Appends(b"{5}".to_vec()));
        asks.wants();
        assert_eq!(asks.news(found("team02", "backend2", "")).last().map(String::as_str), Some("done"));
        let mut sends = host(Kind::Appends(b"{5+}".to_vec()));
        sends.wants();
        let wants = sends.news(found("team02", "backend2", ""));
        assert_eq!(wants.last().map(String::as_str), Some("discard C 5"));
        assert!(sends.task.reads_client());
    }

    #[test]
    fn mailbox_is_utf_8_in_a_url() {
        let text = referral(b"be1", b"INBOX.Entw&APw-rfe a#b");
        let expected = "NO [REFERRAL imap://;AUTH=*@be1/INBOX.Entw%C3%BCrfe%20a%23b] Remote mailbox.";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}

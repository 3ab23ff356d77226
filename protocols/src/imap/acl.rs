//! GETACL, MYRIGHTS and LISTRIGHTS: answered from the mailbox list (RFC 4314).

use super::agenda::{Agenda, internal, located};
use super::answers::{ABSENT, DENIED};
use super::grammar::AclArgs;
use super::task::{Context, Line, News, Task, Want};
use crate::mailbox::acl::{self, Rights};
use crate::proxy::{Entry, Instant, Side};
use crate::wire::quote::{astring_out, mailbox_out};

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AclQuestion {
    /// GETACL.
    GetAcl,
    /// MYRIGHTS.
    MyRights,
    /// LISTRIGHTS.
    ListRights,
}

/// GETACL, MYRIGHTS or LISTRIGHTS.
#[derive(Debug)]
pub struct AclTask {
    question: AclQuestion,
    /// As typed, and so it is answered.
    mailbox: Box<[u8]>,
    identifier: Box<[u8]>,
    has_begun: bool,
    agenda: Agenda,
}

impl AclTask {
    /// Begins a command.
    pub fn new(question: AclQuestion, args: &AclArgs<'_>) -> AclTask {
        AclTask {
            question,
            mailbox: args.mailbox.as_ref().into(),
            identifier: args.identifier.as_ref().into(),
            has_begun: false,
            agenda: Agenda::default(),
        }
    }

    /// The untagged answer, or the refusal.
    ///
    /// ```text
    /// acl-data        = "ACL" SP mailbox *(SP identifier SP rights)
    /// listrights-data = "LISTRIGHTS" SP mailbox SP identifier SP rights *(SP rights)
    /// myrights-data   = "MYRIGHTS" SP mailbox SP rights      RFC 4314 section 6
    /// ```
    fn answer(&self, entry: &Entry, cx: &Context<'_>) -> Result<Vec<u8>, &'static [u8]> {
        let policy = &cx.config.acl;
        let rights = acl::rights(&entry.acl, &entry.name, cx.identity, policy);
        if !rights.intersects(acl::VISIBLE) {
            return Err(ABSENT);
        }
        let mut out = Vec::with_capacity(64 + entry.acl.len());
        match self.question {
            AclQuestion::MyRights => {
                self.begin(b"* MYRIGHTS ", &mut out);
                out.push(b' ');
                out.extend_from_slice(rights.text_with(policy.deleteright).as_bytes());
            }
            AclQuestion::GetAcl | AclQuestion::ListRights if !rights.contains(Rights::A) => {
                return Err(DENIED);
            }
            AclQuestion::GetAcl => {
                self.begin(b"* ACL ", &mut out);
                for (identifier, letters) in acl::entries(&entry.acl) {
                    out.push(b' ');
                    astring_out(&mut out, identifier);
                    out.push(b' ');
                    astring_out(&mut out, letters);
                }
            }
            AclQuestion::ListRights => {
                self.begin(b"* LISTRIGHTS ", &mut out);
                out.push(b' ');
                astring_out(&mut out, &self.identifier);
                let user = cx.config.namespace.canonical_user(&self.identifier).ok();
                out.push(b' ');
                let user = user.as_ref().map(|user| &*user.user);
                out.extend_from_slice(acl::list_rights(&entry.name, user, policy).as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
        Ok(out)
    }

    fn begin(&self, word: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(word);
        mailbox_out(out, &self.mailbox);
    }
}

impl Task for AclTask {
    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, _now: Instant) {
        let News::Found(finding) = news else { return };
        match located(finding).and_then(|entry| self.answer(&entry, cx)) {
            Ok(answer) => {
                self.agenda.reply(answer);
                self.agenda.finish(cx, b"OK Completed");
            }
            Err(refusal) => self.agenda.finish(cx, refusal),
        }
    }

    fn handle_line(&mut self, from: Side, _line: &[u8], _cx: &Context<'_>, _now: Instant) -> Line {
        match from {
            Side::Client => Line::Hold,
            Side::Backend(_) => Line::Relay,
        }
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        if !std::mem::replace(&mut self.has_begun, true) {
            match internal(&self.mailbox, cx) {
                Ok(name) => self.agenda.find(name),
                Err(refusal) => self.agenda.finish(cx, refusal),
            }
        }
        self.agenda.poll(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::grammar::{getacl_args, listrights_args, myrights_args};
    use crate::imap::testing::{Host, found};
    use crate::proxy::Finding;

    const OWN: &str = "user001\tlrswipkxtecdan\tuser002\tlrs\t";

    fn ask(question: AclQuestion, args: &str) -> Host<AclTask> {
        let args = match question {
            AclQuestion::GetAcl => getacl_args(args.as_bytes()),
            AclQuestion::MyRights => myrights_args(args.as_bytes()),
            AclQuestion::ListRights => listrights_args(args.as_bytes()),
        };
        Host::new(AclTask::new(question, &args.unwrap()))
    }

    /// What the client is told when the list has this.
    fn told(mut host: Host<AclTask>, name: &str, acl: &str) -> String {
        assert_eq!(host.wants(), [format!("find {name}")]);
        let mut wants = host.news(found(name, "backend1", acl));
        assert_eq!(wants.pop().as_deref(), Some("done"));
        wants.join("").replace("C> ", "")
    }

    #[test]
    fn owner_reads_the_acl_as_recorded() {
        let told = told(ask(AclQuestion::GetAcl, "INBOX"), "user.user001", OWN);
        assert_eq!(told, "* ACL INBOX user001 lrswipkxtecdan user002 lrs\r\nA1 OK Completed\r\n");
    }

    #[test]
    fn without_the_right_the_acl_is_denied_and_without_any_the_mailbox_is_not_there() {
        let denied = told(ask(AclQuestion::GetAcl, "team02"), "team02", "anyone\tlrswipkxtecd\t");
        assert_eq!(denied, "A1 NO Permission denied\r\n");
        let hidden = told(ask(AclQuestion::MyRights, "user.user002"), "user.user002", "user002\tlrs\t");
        assert_eq!(hidden, "A1 NO Mailbox does not exist\r\n");
    }

    #[test]
    fn rights_as_recorded() {
        let mine = told(ask(AclQuestion::MyRights, "team02"), "team02", "anyone\tlrswipkxtecd\t");
        assert_eq!(mine, "* MYRIGHTS team02 lrswipkxtecd\r\nA1 OK Completed\r\n");
        let admin = told(ask(AclQuestion::MyRights, "user.user001").admin(), "user.user001", OWN);
        assert_eq!(admin, "* MYRIGHTS user.user001 la\r\nA1 OK Completed\r\n");
        let list = told(ask(AclQuestion::ListRights, "INBOX user002"), "user.user001", OWN);
        let letters = "p l r s w i k x t e c d a n 0 1 2 3 4 5 6 7 8 9";
        assert_eq!(list, format!("* LISTRIGHTS INBOX user002 {letters}\r\nA1 OK Completed\r\n"));
        let own = told(ask(AclQuestion::ListRights, "user.user001 user001").admin(), "user.user001", OWN);
        let letters = "lkxcan r s w i p t e d 0 1 2 3 4 5 6 7 8 9";
        assert_eq!(own, format!("* LISTRIGHTS user.user001 user001 {letters}\r\nA1 OK Completed\r\n"));
    }

    #[test]
    fn unknown_is_temporary() {
        let mut host = ask(AclQuestion::GetAcl, "INBOX");
        host.wants();
        let wants = host.news(News::Found(Finding::Unknown));
        assert_eq!(wants, ["C> A1 NO [UNAVAILABLE] mailbox temporarily unavailable\r\n", "done"]);
    }
}

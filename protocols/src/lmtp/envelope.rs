//! MAIL and RCPT: who gets the message, and at which backend.
//!
//! ```text
//!   RCPT ──> Looking(First) ──> at a server ──> Asked ──> Taken
//!               │  └─ nobody ──> Fuzzy ──> Catchall ──> 550        │
//!               └─ reserved ──> Reserved ──> 451                   └─ "unknown" ──> Looking(Doubt)
//! ```

use super::address::{self, Recipient as Address, Target};
use super::backend::State;
use super::config::Verify;
use super::grammar::{Mail, Rcpt, from_xtext};
use super::session::{Reading, Session};
use super::text::{self, Text};
use super::transaction::{Fate, Look, RECIPIENTS_MAX, Recipient, Stage, Transaction};
use crate::imap;
use crate::login::desk::Purpose;
use crate::mailbox::Identity;
use crate::mailbox::acl::{self, Rights};
use crate::proxy::{
    self, Answer, BackendId, Entry, Errand, Finding, Freshness, Level, ListPage, ListQuery, Question,
    Reserved,
};

/// Recipients of one message that get a home at a time.
const HOMES_MAX: usize = 16;

/// Pages of the list that are looked through for a name like another.
const FUZZY_PAGES_MAX: u8 = 100;

impl Session {
    pub(super) fn mail(&mut self, mail: &Mail<'_>) {
        if self.transaction.is_some() {
            return self.reply(&text::NESTED_MAIL);
        }
        if self.config.message_bytes_max.is_some_and(|limit| mail.size.is_some_and(|size| size > limit)) {
            return self.reply(&text::TOO_LARGE);
        }
        self.transaction = Some(Box::new(Transaction {
            sender: mail.path.into(),
            size: mail.size,
            body: mail.body,
            auth: mail.auth.map(Box::from),
            recipients: Vec::new(),
            told: 0,
            delivered: 0,
            stage: Stage::Envelope,
        }));
        self.reply(&text::SENDER_OK);
    }

    pub(super) fn rcpt(&mut self, rcpt: &Rcpt<'_>) {
        let Some(transaction) = self.transaction.as_deref_mut() else {
            return self.reply(&text::NEED_MAIL);
        };
        let number = transaction.recipients.len();
        if number >= RECIPIENTS_MAX {
            return self.reply(&text::TOO_MANY_RECIPIENTS);
        }
        let policy = &self.config.address;
        let address = Address::parse(rcpt.path, policy);
        let target =
            address.as_ref().and_then(|address| address.target(policy, &self.config.common.namespace));
        transaction.recipients.push(Recipient {
            address: address.unwrap_or_else(|| Address::user(b"")),
            target: target.clone().unwrap_or(Target::User(Box::default())),
            ignore_quota: rcpt.ignore_quota,
            may_post: true,
            accepted: false,
            rerouted: false,
            fate: Fate::Looking(Look::First),
        });
        match target {
            Some(target) => self.find(number, target.name().into(), Freshness::BarrierOnce),
            None => self.look_for_catchall(number),
        }
    }

    fn find(&mut self, number: usize, name: Box<[u8]>, freshness: Freshness) {
        self.desk.ask(Purpose::Session(number), Question::Find { name, freshness });
    }

    pub(super) fn recipient(&mut self, number: usize) -> Option<&mut Recipient> {
        self.transaction.as_deref_mut()?.recipients.get_mut(number)
    }

    pub(super) fn decide(&mut self, number: usize, text: Text) {
        if let Some(recipient) = self.recipient(number) {
            recipient.fate = Fate::Over(text);
        }
    }

    fn look_up(&mut self, number: usize, look: Look, freshness: Freshness) {
        if let Some(recipient) = self.recipient(number) {
            recipient.fate = Fate::Looking(look);
            let name = recipient.target.name().into();
            self.find(number, name, freshness);
        }
    }

    /// An answer about a recipient.
    #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else is asked about him")]
    pub(super) fn handle_recipient_answer(&mut self, number: usize, answer: Answer) {
        let Some(recipient) = self.recipient(number) else { return };
        let Fate::Looking(look) = &recipient.fate else { return };
        let look = look.clone();
        match answer {
            Answer::Found(finding) => self.found(number, look, finding),
            Answer::Page(page) => self.look_through(number, look, &page),
            Answer::Barrier(_) if look == Look::Home => {
                self.look_up(number, Look::Housed, Freshness::Barrier);
            }
            _ => {}
        }
    }

    fn found(&mut self, number: usize, look: Look, finding: Finding) {
        match (finding, look) {
            (Finding::Active(entry), Look::Doubt { server }) => self.found_again(number, &server, &entry),
            (Finding::Active(entry), _) => self.route(number, &entry),
            (Finding::Reserved { .. }, Look::First | Look::Fuzzy { .. } | Look::Catchall) => {
                self.look_up(number, Look::Reserved, Freshness::Barrier);
            }
            (Finding::Reserved { .. }, Look::Reserved | Look::Doubt { .. } | Look::Home | Look::Housed) => {
                self.decide(number, text::MOVING);
            }
            (Finding::Absent, Look::First) if self.is_to_get_a_home(number) => self.give_home(number),
            (Finding::Absent, Look::First) => self.look_for_another(number),
            // No server could make it: another time.
            (Finding::Absent, Look::Home | Look::Housed) => self.decide(number, text::UNAVAILABLE),
            (Finding::Absent, Look::Fuzzy { .. }) => self.look_for_catchall(number),
            // A moment ago it was being moved or made: who asks again gets the last word on it.
            (Finding::Absent, Look::Reserved) => self.decide(number, text::MOVING),
            (Finding::Absent, Look::Catchall | Look::Doubt { .. }) => {
                self.decide(number, text::NO_MAILBOX);
            }
            (Finding::Unknown, _) => self.decide(number, text::UNKNOWN),
        }
    }

    /// Whether he is a user who gets what he does not have when mail comes (`autocreate_post`).
    fn is_to_get_a_home(&self, number: usize) -> bool {
        let Some((homes, recipient)) = self.config.homes.as_ref().zip(self.at(number)) else { return false };
        matches!(recipient.target, Target::User(_))
            && self.user_of(recipient).is_some_and(|who| imap::is_meant(&homes.autocreate, &who))
    }

    fn at(&self, number: usize) -> Option<&Recipient> {
        self.transaction.as_deref()?.recipients.get(number)
    }

    fn user_of(&self, recipient: &Recipient) -> Option<Identity> {
        let user = recipient.address.canonical_user(&self.config.address, &self.config.common.namespace)?;
        Some(Identity { user, ..Identity::default() })
    }

    /// A session in his name goes where his own would at his first login, and has it made as that does.
    fn give_home(&mut self, number: usize) {
        let is_many = self.transaction.as_deref().is_some_and(|transaction| {
            let at_work = |recipient: &&Recipient| matches!(recipient.fate, Fate::Looking(Look::Home));
            transaction.recipients.iter().filter(at_work).count() >= HOMES_MAX
        });
        let who = self.at(number).and_then(|recipient| self.user_of(recipient));
        let (Some(who), Some(config), false) = (who, self.config.homes.clone(), is_many) else {
            return self.decide(number, text::UNAVAILABLE);
        };
        let mut origin = self.desk.origin.clone();
        origin.random[..18].copy_from_slice(&self.desk.nonce());
        let errand =
            move || Box::new(imap::Session::at_errand(config, origin, who)) as Box<dyn proxy::Session>;
        self.desk.ask(Purpose::Session(number), Question::Errand(Errand(Box::new(errand))));
        if let Some(recipient) = self.recipient(number) {
            recipient.fate = Fate::Looking(Look::Home);
        }
    }

    /// A mailbox that a backend does not know, and the list does: it moved, or is about to.
    fn found_again(&mut self, number: usize, server: &str, entry: &Entry) {
        let Some(recipient) = self.recipient(number) else { return };
        let is_elsewhere = !entry.location.is_at(server.as_bytes());
        if is_elsewhere && !std::mem::replace(&mut recipient.rerouted, true) {
            self.route(number, entry);
        } else {
            self.decide(number, text::MOVING);
        }
    }

    /// A shared mailbox may be meant by a name that is like its own.
    fn look_for_another(&mut self, number: usize) {
        let is_fuzzy = self.config.address.fuzzy;
        let Some(recipient) = self.recipient(number) else { return };
        if !is_fuzzy || !matches!(recipient.target, Target::Shared(_)) {
            return self.look_for_catchall(number);
        }
        recipient.fate = Fate::Looking(Look::Fuzzy { best: None, pages: 0 });
        let prefix = domain_of(recipient.target.name());
        self.ask_page(number, Box::default(), prefix);
    }

    fn ask_page(&mut self, number: usize, after: Box<[u8]>, prefix: Box<[u8]>) {
        let query = ListQuery { after, prefix, visible_to: None, reserved: Reserved::Hidden };
        self.desk.ask(Purpose::Session(number), Question::List(query));
    }

    fn look_through(&mut self, number: usize, look: Look, page: &ListPage) {
        let Look::Fuzzy { mut best, pages } = look else { return };
        let Some(recipient) = self.recipient(number) else { return };
        let wanted = Box::from(recipient.target.name());
        let domain = domain_of(&wanted);
        let behind = &wanted[domain.len()..];
        for listed in &page.entries {
            let name = &listed.entry.name;
            let Some(boxes) = name.strip_prefix(&*domain) else { continue };
            if boxes.starts_with(b"user.") || memchr::memchr(b'!', boxes).is_some() {
                continue;
            }
            let likeness = address::likeness(behind, boxes);
            // What is like a part of the name is where Cyrus delivers, if the part is all of the mailbox's.
            let is_whole = likeness == boxes.split(|byte| *byte == b'.').count();
            if likeness > best.as_ref().map_or(0, |(_, best)| *best) && is_whole {
                best = Some((name.clone(), likeness));
            }
        }
        let next = page.next.clone().filter(|_| pages < FUZZY_PAGES_MAX);
        match (next, best) {
            (Some(after), best) => {
                recipient.fate = Fate::Looking(Look::Fuzzy { best, pages: pages + 1 });
                // Users' mailboxes are passed over at once: their names sort behind `user.`.
                let beyond = [&domain[..], b"user.\xff"].concat();
                let is_user = after.strip_prefix(&*domain).is_some_and(|name| name.starts_with(b"user."));
                let after = if is_user { beyond.into() } else { after };
                self.ask_page(number, after, domain);
            }
            (None, Some((name, _))) => self.mean(number, &name),
            (None, None) => self.look_for_catchall(number),
        }
    }

    /// The recipient is this shared mailbox.
    fn mean(&mut self, number: usize, name: &[u8]) {
        let config = std::sync::Arc::clone(&self.config);
        let Some(recipient) = self.recipient(number) else { return };
        recipient.address = Address::shared(name, &config.address, &config.common.namespace);
        recipient.target = Target::Shared(name.into());
        self.look_up(number, Look::Catchall, Freshness::BarrierOnce);
    }

    fn look_for_catchall(&mut self, number: usize) {
        let config = std::sync::Arc::clone(&self.config);
        let address = config.address.catchall.as_deref().map(Address::user);
        let target =
            address.as_ref().and_then(|address| address.target(&config.address, &config.common.namespace));
        let (Some(address), Some(target)) = (address, target) else {
            return self.decide(number, text::NO_MAILBOX);
        };
        if let Some(recipient) = self.recipient(number) {
            (recipient.address, recipient.target) = (address, target);
            self.look_up(number, Look::Catchall, Freshness::BarrierOnce);
        }
    }

    /// Sends a recipient to the server that has his mailbox.
    fn route(&mut self, number: usize, entry: &Entry) {
        let may_post = self.may_post(entry);
        let config = std::sync::Arc::clone(&self.config);
        let Some(recipient) = self.recipient(number) else { return };
        recipient.may_post = may_post || matches!(recipient.target, Target::User(_));
        if !recipient.may_post && config.verify == Verify::List {
            return self.decide(number, text::MAY_NOT_POST);
        }
        let named = entry.location.server().and_then(|server| std::str::from_utf8(server).ok());
        let any = config.common.serverlist.first().map(|server| &**server);
        match named.or(any.filter(|_| entry.location.server().is_none())) {
            Some(server) => self.assign(number, server),
            None => self.decide(number, text::UNAVAILABLE),
        }
    }

    /// Whether the ACL in the list lets the sender post.
    fn may_post(&self, entry: &Entry) -> bool {
        let sender = self.transaction.as_deref().and_then(|transaction| transaction.auth.as_deref());
        let sender = sender.filter(|sender| *sender != b"<>").map(from_xtext);
        let user = sender.unwrap_or_else(|| b"anonymous".as_slice().into()).into_owned().into();
        let who = Identity { user, ..Identity::default() };
        acl::rights(&entry.acl, &entry.name, &who, &self.config.common.acl).contains(Rights::P)
    }

    /// Tells backends what they were not told: the sender, recipients, and that the message comes.
    pub(super) fn tell_peer(&mut self, at: usize) {
        let Some(transaction) = self.transaction.as_deref_mut() else { return };
        let peer = &mut self.peers[at];
        if !matches!(peer.state, State::Envelope) {
            return;
        }
        let deadline = self.now + self.config.timeouts.envelope;
        while let Some(&number) = peer.recipients.get(peer.told) {
            peer.told += 1;
            if transaction.size.is_some_and(|size| peer.offer.size_max.is_some_and(|limit| size > limit)) {
                transaction.recipients[number].fate = Fate::Over(text::TOO_LARGE);
                continue;
            }
            if !std::mem::replace(&mut peer.has_sender, true) {
                let lines = peer.sender_lines(self.trace.as_deref(), transaction);
                self.desk.outbox.write(peer.side(), &[&lines]);
            }
            let recipient = &transaction.recipients[number];
            let path = recipient.address.path();
            let quota: &[u8] =
                if recipient.ignore_quota && peer.offer.ignore_quota { b" IGNOREQUOTA" } else { b"" };
            self.desk.outbox.write(peer.side(), &[b"RCPT TO:", &path, quota, b"\r\n"]);
            peer.awaited.push_back(super::backend::Awaited::Rcpt(number));
            peer.deadline = deadline;
        }
        let is_complete = transaction.stage == Stage::Wanted && transaction.is_routed();
        if is_complete && peer.has_sender && !peer.is_useless(transaction) {
            self.desk.outbox.write(peer.side(), &[b"DATA\r\n"]);
            peer.awaited.push_back(super::backend::Awaited::Data);
            peer.state = State::AwaitGo;
            peer.deadline = deadline;
        }
    }

    /// Answers RCPTs in order, as far as their answers are known.
    pub(super) fn advance_envelope(&mut self) {
        for at in 0..self.peers.len() {
            self.tell_peer(at);
        }
        let is_list = self.config.verify == Verify::List;
        let Some(transaction) = self.transaction.as_deref_mut() else { return };
        while let Some(recipient) = transaction.recipients.get_mut(transaction.told) {
            let reply: &Text = match &recipient.fate {
                Fate::Over(text) => text,
                Fate::Taken(_, text) => text,
                Fate::Asked(_) if is_list => &text::RECIPIENT_OK,
                Fate::Asked(_) | Fate::Looking(_) => return,
            };
            recipient.accepted = reply.starts_with(b"2");
            self.desk.outbox.write(proxy::Side::Client, &[reply]);
            transaction.told += 1;
        }
    }

    /// Ends a message that is not sent: backends that know of it are told to forget it.
    pub(super) fn abandon_transaction(&mut self) {
        if self.transaction.take().is_none() {
            return;
        }
        self.desk.forget_own();
        let ids: Vec<BackendId> = self.peers.iter().map(|peer| peer.id).collect();
        ids.into_iter().for_each(|id| self.leave_peer(id));
        self.reading = Reading::Command;
    }

    /// A backend says that there is no such mailbox although the list has it: look again, behind a barrier.
    pub(super) fn doubt(&mut self, number: usize, server: &str) {
        self.desk.log(
            Level::Debug,
            format!("lmtp backend {server}: does not know a mailbox that the list has there"),
        );
        self.look_up(number, Look::Doubt { server: server.into() }, Freshness::Barrier);
    }
}

/// `domain!` of an internal name; empty without one.
fn domain_of(name: &[u8]) -> Box<[u8]> {
    memchr::memchr(b'!', name).map_or_else(Box::default, |bang| name[..=bang].into())
}

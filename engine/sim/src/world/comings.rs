//! Who comes into a world: clients of all protocols, administrators, MTAs.

use protocols::imap;

use super::{CLIENTS, FRONTENDS, LINE_CLIENTS, LINE_CLIENTS_FROM, LMTP, OVERSEERS_FROM, World};
use crate::boxes::STEM;
use crate::client::Client;
use crate::lines::Kind;
use crate::lines::client::LineClient;
use crate::lmtp::Sender;
use crate::machines;
use crate::net::Owner;
use crate::overseer::Overseer;
use crate::site::{BACKENDS, RESIDENTS, USERS, resident, rooms, roots, user};

impl World {
    pub(super) fn late_client_comes(&mut self) {
        let frontend = self.dice.below(FRONTENDS);
        if self.frontends_up[frontend] {
            self.late_to_come -= 1;
            self.mail_client_comes(frontend);
            let late = self.clients.pop().map(Client::late);
            self.clients.extend(late);
        }
    }

    pub(super) fn client_comes(&mut self) {
        let frontend = self.dice.below(FRONTENDS);
        if !self.frontends_up[frontend] {
            return;
        }
        self.clients_to_come -= 1;
        let has_room = self.line_clients.len() < LINE_CLIENTS;
        if self.clients.len() == CLIENTS || (has_room && self.dice.per_mille(500)) {
            return self.line_client_comes(frontend);
        }
        self.mail_client_comes(frontend);
    }

    fn mail_client_comes(&mut self, frontend: usize) {
        let is_resident = self.dice.per_mille(500);
        let name =
            if is_resident { resident(self.dice.below(RESIDENTS)) } else { user(self.dice.below(USERS)) };
        let number = self.clients.len();
        let (ours, theirs) = self.net.connect(Owner::Client(number), Owner::Frontend(frontend));
        let session = imap::Session::new(self.config.clone(), self.origin());
        self.frontends[frontend].carrier.accept(Box::new(session), theirs, &mut self.net, self.now);
        let second = if is_resident { "INBOX.Team" } else { "INBOX.Sent" };
        let mut boxes = vec!["INBOX".to_owned(), second.to_owned()];
        if !is_resident {
            boxes.push(format!("INBOX.{STEM}"));
        }
        if !is_resident && self.dice.per_mille(300) {
            boxes.push(rooms(self.dice.below(RESIDENTS))[1].clone());
        }
        if self.dice.per_mille(600) {
            boxes.push(format!("shared{}", self.dice.below(BACKENDS)));
        }
        let steps = 10 + self.dice.below(50);
        self.clients.push(Client::new(&name, ours, boxes, steps, self.trace));
        self.wake(self.now, Owner::Frontend(frontend));
    }

    pub(super) fn overseer_comes(&mut self, is_late: bool) {
        let frontend = self.dice.below(FRONTENDS);
        if !self.frontends_up[frontend] {
            return;
        }
        let number = OVERSEERS_FROM + self.overseers.len();
        let (ours, theirs) = self.net.connect(Owner::Client(number), Owner::Frontend(frontend));
        let session = imap::Session::new(self.config.clone(), self.origin());
        self.frontends[frontend].carrier.accept(Box::new(session), theirs, &mut self.net, self.now);
        let steps = 10 + self.dice.below(30);
        self.overseers.push(Overseer::new(ours, roots(), steps, is_late, self.trace));
        self.wake(self.now, Owner::Frontend(frontend));
    }

    fn line_client_comes(&mut self, frontend: usize) {
        let kind = if self.dice.per_mille(500) { Kind::Pop3 } else { Kind::Sieve };
        let name = user(self.dice.below(USERS));
        let number = LINE_CLIENTS_FROM + self.line_clients.len();
        let (ours, theirs) = self.net.connect(Owner::Client(number), Owner::Frontend(frontend));
        let session = machines::line_session(kind, self.origin());
        self.frontends[frontend].carrier.accept(session, theirs, &mut self.net, self.now);
        let steps = 3 + self.dice.below(20);
        self.line_clients.push(LineClient::new(kind, &name, ours, steps));
        self.wake(self.now, Owner::Frontend(frontend));
    }

    pub(super) fn sender_comes(&mut self) {
        let frontend = self.dice.below(FRONTENDS);
        if !self.frontends_up[frontend] {
            return;
        }
        self.senders_to_come -= 1;
        let number = self.senders.len();
        let (ours, theirs) = self.net.connect(Owner::Client(LMTP + number), Owner::Frontend(frontend));
        let session = protocols::lmtp::Session::new(self.lmtp.clone(), self.origin());
        self.frontends[frontend].carrier.accept(Box::new(session), theirs, &mut self.net, self.now);
        let messages = 3 + self.dice.below(10);
        let users = (0..USERS).map(user).collect();
        self.senders.push(Sender::new(format!("mail{number}"), ours, users, messages));
        self.wake(self.now, Owner::Frontend(frontend));
    }
}

//! DATA: the message goes to all backends at once, and each recipient gets the answer of his.

use super::backend::{Awaited, Peer, State};
use super::grammar::Reply;
use super::message::{END, Fault, Piece, Scanner};
use super::peers::{judge, own};
use super::session::{Progress, Reading, Session};
use super::text::{self, Text};
use super::transaction::{Fate, Stage};
use crate::proxy::{BackendId, Close, Level, Side, Sides};

impl Session {
    /// A backend answered DATA.
    pub(super) fn handle_data_reply(&mut self, at: usize, reply: Reply<'_>) {
        let id = self.peers[at].id;
        if reply.code == 354 {
            self.peers[at].state = State::Go;
            return;
        }
        let numbers = self.peers[at].recipients.clone();
        let mut is_wanted = false;
        for number in numbers {
            let Some(recipient) = self.recipient(number) else { continue };
            if recipient.peer() == Some(id) {
                is_wanted = true;
                recipient.fate = Fate::Over(judge(reply));
            }
        }
        // Without recipients it says 503, and is where it was.
        self.peers[at].state = State::Envelope;
        if is_wanted {
            let server = self.peers[at].server.clone();
            self.desk.log(Level::Info, format!("lmtp backend {server}: takes no message: {}", reply.code));
        }
        self.leave_peer(id);
    }

    /// Goes on with a message that is wanted, or whose end was sent.
    pub(super) fn advance_delivery(&mut self) {
        match self.transaction.as_deref().map(|transaction| transaction.stage) {
            Some(Stage::Wanted) => self.begin_message(),
            Some(Stage::Ended) => self.tell_deliveries(),
            Some(Stage::Envelope | Stage::Streaming) | None => {}
        }
    }

    /// Asks the client for the message once every backend has said whether it takes it.
    fn begin_message(&mut self) {
        let Some(transaction) = self.transaction.as_deref_mut() else { return };
        let is_told = transaction.told == transaction.recipients.len();
        if !is_told || !transaction.is_resolved() {
            return;
        }
        if !transaction.recipients.iter().any(|recipient| recipient.accepted) {
            transaction.stage = Stage::Envelope;
            self.reading = Reading::Command;
            return self.reply(&text::NO_RECIPIENTS);
        }
        let is_asked = |peer: &Peer| matches!(peer.state, State::Envelope | State::AwaitGo);
        if self.peers.iter().any(|peer| is_asked(peer) && !peer.is_useless(transaction)) {
            return;
        }
        if self.peers.iter().any(|peer| matches!(peer.state, State::Go)) {
            transaction.stage = Stage::Streaming;
            self.let_useless_go();
            for peer in self.peers.iter_mut().filter(|peer| matches!(peer.state, State::Go)) {
                peer.state = State::Streaming;
            }
            self.reply(&text::GO_AHEAD);
            self.reading = Reading::Message(Scanner::default());
            return;
        }
        let refused = transaction.recipients.iter().find(|recipient| recipient.accepted);
        let reply = match refused.map(|recipient| &recipient.fate) {
            Some(Fate::Over(text)) => text.clone(),
            Some(_) | None => text::UNAVAILABLE,
        };
        self.reply(&reply);
        self.abandon_transaction();
    }

    /// Backends without a recipient do not get the message.
    fn let_useless_go(&mut self) {
        let Some(transaction) = self.transaction.as_deref() else { return };
        let useless: Vec<BackendId> =
            self.peers.iter().filter(|peer| peer.is_useless(transaction)).map(|peer| peer.id).collect();
        useless.into_iter().for_each(|id| self.leave_peer(id));
    }

    /// Passes bytes of the message on.
    pub(super) fn look_at_message(&mut self, input: &[u8]) -> Progress {
        let Reading::Message(scanner) = &mut self.reading else { return Progress::Hold };
        let was_faulty = scanner.fault().is_some();
        let piece = scanner.look(input);
        let (size, fault) = (scanner.size(), scanner.fault());
        if let Some(fault) = fault.filter(|_| !was_faulty) {
            self.cut_message(match fault {
                Fault::Nul => text::HAS_NUL,
                Fault::LongLine => text::LONG_LINE,
            });
        }
        self.cut_where_too_large(size);
        match piece {
            Piece::Pass(n) => self.pass(n),
            Piece::Instead(n, instead) => {
                for at in 0..self.peers.len() {
                    if matches!(self.peers[at].state, State::Streaming) {
                        self.desk.outbox.write(self.peers[at].side(), &[instead]);
                    }
                }
                Progress::Took(n)
            }
            Piece::End(n) => {
                self.end_message();
                Progress::Took(n)
            }
            Piece::More => Progress::More,
        }
    }

    fn pass(&mut self, n: usize) -> Progress {
        let streaming = self.peers.iter().filter(|peer| matches!(peer.state, State::Streaming));
        let sides: Sides = streaming.map(Peer::side).collect();
        if sides.is_empty() {
            return Progress::Took(n);
        }
        self.desk.outbox.forward_to(Side::Client, sides, n as u64);
        Progress::Claimed
    }

    /// The message is delivered nowhere: connections that have a part of it are closed, for nothing else
    /// keeps a backend from taking the part for the whole.
    fn cut_message(&mut self, text: Text) {
        let streaming = self.peers.iter().filter(|peer| matches!(peer.state, State::Streaming));
        let ids: Vec<BackendId> = streaming.map(|peer| peer.id).collect();
        ids.into_iter().for_each(|id| self.drop_peer(id, &text));
        let Some(transaction) = self.transaction.as_deref_mut() else { return };
        for recipient in transaction.recipients.iter_mut().filter(|recipient| recipient.accepted) {
            recipient.fate = Fate::Over(text.clone());
        }
    }

    /// The backend with the smallest limit is the first that is sent no more.
    fn cut_where_too_large(&mut self, size: u64) {
        if self.config.message_bytes_max.is_some_and(|limit| size > limit) {
            return self.cut_message(text::TOO_LARGE);
        }
        let is_over = |peer: &&Peer| {
            matches!(peer.state, State::Streaming) && peer.offer.size_max.is_some_and(|limit| size > limit)
        };
        let over: Vec<BackendId> = self.peers.iter().filter(is_over).map(|peer| peer.id).collect();
        over.into_iter().for_each(|id| self.drop_peer(id, &text::TOO_LARGE));
    }

    /// Ends the message at every backend that has all of it.
    fn end_message(&mut self) {
        self.reading = Reading::Wait;
        let Some(transaction) = self.transaction.as_deref_mut() else { return };
        transaction.stage = Stage::Ended;
        let deadline = self.now + self.config.timeouts.delivery;
        for peer in self.peers.iter_mut().filter(|peer| matches!(peer.state, State::Streaming)) {
            self.desk.outbox.write(peer.side(), &[END]);
            (peer.state, peer.deadline) = (State::AwaitDelivery, deadline);
            let taken = peer.recipients.iter().filter(
                |number| matches!(transaction.recipients[**number].fate, Fate::Taken(at, _) if at == peer.id),
            );
            peer.awaited.extend(taken.map(|number| Awaited::Delivery(*number)));
        }
    }

    /// A backend told what became of the message for a recipient.
    pub(super) fn handle_delivery(&mut self, at: usize, number: usize, reply: Reply<'_>) {
        let peer = &self.peers[at];
        let (id, server) = (peer.id, peer.server.clone());
        self.desk.watch_backend(id);
        if reply.is_too_large() {
            // Cyrus says it once for all recipients, and does not forget the message.
            let rest = judge(reply);
            return self.drop_peer(id, &rest);
        }
        let is_last = peer.awaited.is_empty();
        if let Some(recipient) = self.recipient(number) {
            if reply.is_positive() {
                recipient.fate = Fate::Over(own(reply));
            } else if reply.is_unknown_mailbox() && recipient.may_post {
                // It can be delivered nowhere else now; the list tells whether it ever can.
                recipient.rerouted = true;
                self.doubt(number, &server);
            } else {
                recipient.fate = Fate::Over(judge(reply));
            }
        }
        if is_last {
            self.finish_peer(id);
        }
    }

    /// Answers for recipients in order, as far as their answers are known.
    fn tell_deliveries(&mut self) {
        let Some(transaction) = self.transaction.as_deref_mut() else { return };
        while let Some(recipient) = transaction.recipients.get(transaction.delivered) {
            match &recipient.fate {
                Fate::Over(text) if recipient.accepted => self.desk.outbox.write(Side::Client, &[text]),
                Fate::Over(_) => {}
                Fate::Looking(_) | Fate::Asked(_) | Fate::Taken(..) => return,
            }
            transaction.delivered += 1;
        }
        self.abandon_transaction();
        if self.half_closed {
            self.desk.outbox.close(Side::Client, Close::Flush);
            self.close_peers();
            self.reading = Reading::Over;
        }
    }

    /// Backends that take nothing more of the message have had their time: the others go on.
    pub(super) fn message_stands_still(&mut self, to: &Sides) {
        for side in to {
            if let Side::Backend(id) = side {
                self.peer_is_late(*id);
            }
        }
    }
}

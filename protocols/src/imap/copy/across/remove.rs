//! Behind the messages: the server of both mailboxes copies what it told to be meant, and a MOVE takes from the
//! source what is copied: marks it, then expunges it by its UIDs.

use super::{APPEND, Across, Phase, REMOVE};
use crate::imap::agenda::{Agenda, result_line, string_for};
use crate::imap::answers::is_elsewhere;
use crate::imap::copy::Action;
use crate::imap::grammar::Status;
use crate::imap::task::{Context, Want};
use crate::proxy::Stage;

/// The text for a source that refuses what a MOVE takes beside the copy.
pub(super) const NOT_REMOVED: &[u8] = b"NO messages were copied, but the source server did not remove them";

impl Across {
    /// The server itself copies what it told to be meant.
    pub(super) fn begin_copy(&mut self, cx: &Context<'_>, agenda: &mut Agenda) {
        self.sets = self.ledger.sets();
        self.phase = Phase::ExpectCopied;
        self.copy(cx, agenda);
    }

    fn copy(&mut self, cx: &Context<'_>, agenda: &mut Agenda) {
        let mut line = Vec::new();
        cx.own_tag(APPEND, &mut line);
        line.extend_from_slice(b" UID COPY ");
        line.extend_from_slice(&self.sets[self.done]);
        line.push(b' ');
        string_for(self.source, &self.request.mailbox, cx, &mut line);
        line.extend_from_slice(b"\r\n");
        agenda.send(self.source, line);
    }

    pub(super) fn handle_copied(
        &mut self,
        status: Status,
        text: &[u8],
        cx: &Context<'_>,
        agenda: &mut Agenda,
    ) {
        if status != Status::Ok {
            self.is_elsewhere = self.done == 0 && status == Status::No && is_elsewhere(text);
            return self.finish(&result_line(status, text), cx, agenda);
        }
        self.ledger.note_copies(text);
        self.done += 1;
        if self.done < self.sets.len() {
            self.copy(cx, agenda);
        } else {
            self.done = 0;
            self.appended(cx, agenda);
        }
    }

    /// All is at the destination.
    pub(super) fn appended(&mut self, cx: &Context<'_>, agenda: &mut Agenda) {
        if self.request.action == Action::Copy {
            let result = [b"OK ", self.ledger.copy_uid().as_slice(), b"Completed"].concat();
            return self.finish(&result, cx, agenda);
        }
        if self.ledger.is_in_doubt() {
            return self.finish(
                b"NO messages were copied, but their number is in doubt: nothing was removed",
                cx,
                agenda,
            );
        }
        agenda.want(Want::Stage(Stage::Copied(self.ledger.told_of().into())));
        self.sets = self.ledger.undeleted_sets();
        self.phase = Phase::ExpectStored;
        self.store(cx, agenda);
    }

    /// Marks the next set, or goes on where all are marked.
    fn store(&mut self, cx: &Context<'_>, agenda: &mut Agenda) {
        if self.done < self.sets.len() {
            self.remove(b" UID STORE ", b" +FLAGS.SILENT (\\Deleted)\r\n", cx, agenda);
        } else {
            self.begin_expunge(cx, agenda);
        }
    }

    /// Takes back the mark of the next set: what stays must not vanish with the next EXPUNGE.
    pub(super) fn restore(&mut self, cx: &Context<'_>, agenda: &mut Agenda) {
        if self.done < self.sets.len() {
            self.phase = Phase::ExpectRestored;
            self.remove(b" UID STORE ", b" -FLAGS.SILENT (\\Deleted)\r\n", cx, agenda);
        } else {
            self.finish(NOT_REMOVED, cx, agenda);
        }
    }

    /// The next STORE or EXPUNGE.
    fn remove(&mut self, verb: &[u8], end: &[u8], cx: &Context<'_>, agenda: &mut Agenda) {
        let mut line = Vec::new();
        cx.own_tag(REMOVE, &mut line);
        line.extend_from_slice(verb);
        line.extend_from_slice(&self.sets[self.done]);
        line.extend_from_slice(end);
        agenda.send(self.source, line);
    }

    pub(super) fn stored(&mut self, cx: &Context<'_>, agenda: &mut Agenda) {
        self.done += 1;
        self.store(cx, agenda);
    }

    fn begin_expunge(&mut self, cx: &Context<'_>, agenda: &mut Agenda) {
        let code = self.ledger.copy_uid();
        if !code.is_empty() {
            agenda.reply([b"* OK ", code.as_slice(), b"Completed\r\n"].concat());
        }
        self.sets = self.ledger.sets();
        self.done = 0;
        self.phase = Phase::ExpectExpunged;
        self.remove(b" UID EXPUNGE ", b"\r\n", cx, agenda);
    }

    pub(super) fn expunged(&mut self, cx: &Context<'_>, agenda: &mut Agenda) {
        self.done += 1;
        if self.done < self.sets.len() {
            self.remove(b" UID EXPUNGE ", b"\r\n", cx, agenda);
        } else {
            agenda.want(Want::Stage(Stage::Done));
            self.finish(b"OK Completed", cx, agenda);
        }
    }
}

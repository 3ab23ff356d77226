//! What must hold at the end of a world.

use protocols::proxy::Change;

use super::{INBOX_BYTES_MAX, TURNS_MAX, World};
use crate::boxes::identity;
use crate::registrar::Truth;
use crate::stored::contents;

impl World {
    /// Looks at what is left of a world.
    pub(super) fn judge(&mut self) {
        let outcome = &mut self.outcome;
        if outcome.turns >= TURNS_MAX {
            outcome.violations.push(format!("{TURNS_MAX} turns and no end"));
        }
        for client in &mut self.clients {
            outcome.violations.append(&mut client.violations);
            outcome.answered_ok += client.answered_ok;
            outcome.waited += client.waited;
            outcome.answered_no += client.answered_no;
            if !client.over {
                let waits = client.pending();
                outcome
                    .violations
                    .push(format!("client of {} waits for {waits} answers for ever", client.user));
            }
        }
        for (n, overseer) in self.overseers.iter_mut().enumerate() {
            outcome.violations.append(&mut overseer.violations);
            outcome.answered_ok += overseer.answered_ok;
            outcome.answered_no += overseer.answered_no;
            if !overseer.over {
                outcome.violations.push(format!("administrator {n} waits for ever"));
            }
        }
        for backend in &mut self.backends {
            outcome.violations.append(&mut backend.violations);
        }
        outcome.violations.append(&mut self.mover.violations);
        if !self.mover.is_idle() {
            outcome.violations.push("somebody is on his way for ever".into());
        }
        for client in &mut self.line_clients {
            outcome.violations.append(&mut client.violations);
            outcome.answered_ok += client.answered_ok;
            if !client.over {
                outcome.violations.push(format!("{} waits for ever", client.mark));
            }
            if !client.quit && self.servers.iter().any(|server| server.quits.contains(&client.mark)) {
                outcome.violations.push(format!("{} did not say QUIT, and his server heard it", client.mark));
            }
        }
        for server in &mut self.servers {
            outcome.violations.append(&mut server.violations);
        }
        for renamer in &mut self.renamers {
            outcome.violations.append(&mut renamer.violations);
            outcome.renamed += renamer.renamed;
            if !renamer.is_idle() {
                outcome.violations.push("a mailbox is renamed for ever".into());
            }
        }
        outcome.violations.append(&mut self.registrar.violations);
        outcome.moves = self.mover.moves;
        outcome.changes = self.registrar.acknowledged;
        if self.net.inbox_bytes_seen_max > INBOX_BYTES_MAX {
            outcome.violations.push(format!("{} bytes stood unread", self.net.inbox_bytes_seen_max));
        }
        self.outcome.resumed = self.frontends.iter().map(|frontend| frontend.resumed).sum();
        self.judge_messages();
        self.judge_mail();
        self.judge_lists();
        self.judge_leaks();
    }

    /// Nothing is lost or doubled without a word.
    fn judge_messages(&mut self) {
        for frontend in &mut self.frontends {
            self.outcome.counts.add(frontend.counts);
            frontend.reports.drain(..).for_each(|report| self.truth.reported(report));
        }
        let holds = |mailbox: &str, uid| self.backends.iter().any(|backend| backend.holds(mailbox, uid));
        self.outcome.violations.extend(self.truth.judge(holds));
        self.outcome.reports = self.truth.reports();
        self.outcome.copied = self.truth.copied();
    }

    /// Each message is there once for every recipient of whom that was confirmed, and never twice; one that
    /// was cut is nowhere.
    fn judge_mail(&mut self) {
        let outcome = &mut self.outcome;
        for store in &mut self.stores {
            outcome.violations.append(&mut store.violations);
            let doubled = store.kept.iter().filter(|(_, times)| **times > 1);
            outcome
                .violations
                .extend(doubled.map(|(what, times)| format!("{what:?} is there {times} times")));
        }
        for (n, sender) in self.senders.iter_mut().enumerate() {
            outcome.violations.append(&mut sender.violations);
            outcome.delivered += sender.confirmed.len();
            outcome.deferred += sender.deferred;
            if !sender.over {
                outcome.violations.push(format!("MTA {n} waits for {} replies for ever", sender.pending()));
            }
            for what in &sender.confirmed {
                if !self.stores.iter().any(|store| store.kept.contains_key(what)) {
                    outcome.violations.push(format!("{what:?} was confirmed and is nowhere"));
                }
            }
            if let Some(cut) = &sender.cut
                && self.stores.iter().any(|store| store.kept.keys().any(|(name, _)| name == cut))
            {
                outcome.violations.push(format!("{cut} was cut and is delivered"));
            }
        }
    }

    /// The master holds what it acknowledged; frontends hold what the master holds.
    fn judge_lists(&mut self) {
        let master = contents(&self.master.directory.published().load().list);
        for (n, frontend) in self.frontends.iter().enumerate() {
            let held = contents(&frontend.directory.published().load().list);
            if held != master {
                let (ours, theirs) = (held.len(), master.len());
                self.outcome
                    .violations
                    .push(format!("frontend {n} holds another list than the master: {ours} names, {theirs}"));
            }
        }
        let is_box = |name: &&[u8]| identity(&String::from_utf8_lossy(name)).len() < name.len();
        let held: Vec<&[u8]> = master.keys().map(|name| &**name).filter(is_box).collect();
        let called: Vec<&[u8]> = self.truth.boxes.all().map(str::as_bytes).collect();
        if held != called {
            let held: Vec<_> = held.iter().map(|name| name.escape_ascii().to_string()).collect();
            self.outcome.violations.push(format!("the master holds other boxes than there are: {held:?}"));
        }
        for (name, truth) in self.registrar.truth() {
            let held = match master.get(name.as_bytes()) {
                Some(Change::Active(entry)) => Some(String::from_utf8_lossy(&entry.acl).into_owned()),
                Some(Change::Reserved { .. } | Change::Deleted { .. }) | None => None,
            };
            let right = match truth {
                Truth::Acknowledged(told) => held == *told,
                Truth::OneOf(possible) => possible.contains(&held),
            };
            if !right {
                self.outcome.violations.push(format!("master holds {held:?} of {name}, expected {truth:?}"));
            }
        }
    }

    /// When all clients are gone a frontend has its connection to the master and no other.
    fn judge_leaks(&mut self) {
        for (n, frontend) in self.frontends.iter().enumerate() {
            let (sessions, connections) =
                (frontend.carrier.driver.sessions(), frontend.carrier.driver.connections());
            // Those that wait in the pool are nobody's.
            let connections = connections - frontend.carrier.driver.pooled();
            if sessions != 1 || connections != 1 {
                self.outcome.violations.push(format!(
                    "frontend {n} is left with {sessions} sessions and {connections} connections"
                ));
            }
        }
    }
}

//! Who connects to whom in a world: frontends to what they ask for, who changes the list to the master.

use protocols::proxy::{Instant, Origin, Service, Session};

use super::{FAULTS_END, LMTP, MOVER, REGISTRAR, RENAMERS_FROM, World};
use crate::host::Dial;
use crate::lines::Kind;
use crate::machines;
use crate::net::{EndId, Owner};
use crate::site::BACKENDS;

impl World {
    /// Makes a connection that a frontend asked for.
    pub(super) fn dial(&mut self, from: usize, dial: Dial) {
        let me = Owner::Frontend(from);
        let end = match dial.service {
            Service::Mupdate => self.master_up.then(|| self.connect_to_master(me, "127.0.0.1:1")),
            Service::Imap | Service::Pop3 | Service::Sieve | Service::Lmtp => {
                let to = self.backends.iter().position(|at| at.name == dial.server && at.is_up());
                to.map(|to| self.connect_to_backend(me, to, dial.service))
            }
        };
        self.frontends[from].dialled(dial, end, &mut self.net, self.now);
        self.wake(Instant(self.now.0 + 1), me);
    }

    fn connect_to_backend(&mut self, from: Owner, to: usize, service: Service) -> EndId {
        let owner = Owner::Backend(if service == Service::Lmtp { LMTP + to } else { to });
        let (ours, theirs) = self.net.connect(from, owner);
        match service {
            Service::Pop3 => self.servers[to].accept(Kind::Pop3, theirs),
            Service::Sieve => self.servers[to].accept(Kind::Sieve, theirs),
            Service::Lmtp => self.stores[to].accept(theirs),
            Service::Imap | Service::Mupdate => self.backends[to].accept(theirs),
        }
        self.wake(self.now, owner);
        ours
    }

    /// Who changes the list is known by his address.
    fn connect_to_master(&mut self, from: Owner, address: &str) -> EndId {
        let (ours, theirs) = self.net.connect(from, Owner::Master);
        let epoch = self.master.directory.epoch().map(Into::into);
        let origin = Origin { client_address: address.into(), ..self.origin() };
        let session: Box<dyn Session> = machines::master_connection(origin, epoch);
        self.master.carrier.accept(session, theirs, &mut self.net, self.now);
        self.wake(self.now, Owner::Master);
        ours
    }

    /// Gives who changes the list a connection to the master where he wants one.
    pub(super) fn link_to_master(&mut self) {
        if self.mover.wants_connection() && !self.mover.is_idle() && self.master_up {
            let end = self.connect_to_master(Owner::Client(MOVER), "127.0.0.3:1");
            self.mover.connected(end);
        }
        if self.registrar.wants_connection() && self.master_up && self.now < FAULTS_END {
            let end = self.connect_to_master(Owner::Client(REGISTRAR), "127.0.0.2:1");
            self.registrar.connected(end);
        }
        for n in 0..BACKENDS {
            let is_due = self.is_well(n) && self.renamers[n].wants_connection(&self.backends[n]);
            let who = Owner::Client(RENAMERS_FROM + n);
            if is_due && self.master_up {
                let end = self.connect_to_master(who, &format!("127.0.1.{n}:1"));
                self.renamers[n].connected(end);
            }
            if is_due || !self.renamers[n].is_idle() || self.backends[n].wants_rename() {
                self.wake(self.now, who);
            }
        }
    }
}

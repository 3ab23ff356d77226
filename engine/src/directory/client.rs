//! How other threads ask the directory.

use std::mem;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use mupdate::directory::{Directory, Published, Snapshot, Wait, WaitForBarrier};
use mupdate::list::{AccessPolicy, Locations};
use protocols::mailbox::acl::{self, Policy};
use protocols::mailbox::{Identity, Rights};
use protocols::proxy::{Answer, Event, Finding, Freshness, Knowledge, ListPage, ListQuery};

use crate::helpers::Asker;
use crate::shard::{Inbox, Reply, SessionId, ToShard};

/// What waits for the directory shard.
pub(super) enum Request {
    /// A look-up or barrier of another shard.
    Wait(Asker, Wait),
    /// The store thread is done with a write.
    Stored(Result<(), Box<str>>),
    /// An operator takes the dump that was held back.
    Accept,
    /// Somebody looks at what only the directory knows, or tidies it up.
    Look(Look),
}

/// A look at the directory, on its own thread.
pub(super) type Look = Box<dyn FnOnce(&mut Directory) + Send>;

/// The queue in front of the directory shard.
pub(super) struct Requests {
    inbox: Inbox,
    queue: Mutex<Vec<Request>>,
    /// The session that is woken for the queue; it empties it first when it is made.
    pub(super) desk: OnceLock<SessionId>,
    /// When the desk is to ask by itself, in nanoseconds of its shard's clock.
    pub(super) timer: Arc<AtomicU64>,
}

impl Requests {
    pub(super) fn new(inbox: Inbox) -> Requests {
        Requests {
            inbox,
            queue: Mutex::default(),
            desk: OnceLock::new(),
            timer: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }

    pub(super) fn push(&self, request: Request) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        self.wake();
    }

    /// Makes the directory shard look at its queue and timers.
    pub(super) fn wake(&self) {
        if let Some(desk) = self.desk.get() {
            self.inbox.send(ToShard::Event { session: *desk, event: Event::BarrierWanted });
        }
    }

    pub(super) fn take(&self) -> Vec<Request> {
        mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Asks the directory; cheap to clone.
#[derive(Clone)]
pub struct Client {
    published: Published,
    requests: Arc<Requests>,
    accept_empty: bool,
}

impl Client {
    pub(super) fn new(published: Published, requests: Arc<Requests>, accept_empty: bool) -> Client {
        Client { published, requests, accept_empty }
    }

    pub(super) fn requests(&self) -> &Arc<Requests> {
        &self.requests
    }

    /// Looks a name up: from the snapshot, or behind a barrier through the asker's inbox.
    pub fn find(&self, asker: Asker, name: Box<[u8]>, freshness: Freshness) -> Reply {
        let snapshot = self.published.load();
        match snapshot.find(&name, freshness) {
            Ok(finding) => Reply::Now(Answer::Found(temper(finding, &snapshot, self.accept_empty))),
            Err(WaitForBarrier) => {
                self.requests.push(Request::Wait(asker, Wait::Find { name, freshness }));
                Reply::Later
            }
        }
    }

    /// Waits for a barrier; at once unavailable when the master is not connected.
    pub fn barrier(&self, asker: Asker) -> Reply {
        match self.published.load().knowledge {
            Knowledge::Live => {
                self.requests.push(Request::Wait(asker, Wait::Barrier));
                Reply::Later
            }
            Knowledge::Stale | Knowledge::NeverSynced => {
                Reply::Now(Answer::Barrier(Err(protocols::proxy::Unavailable)))
            }
        }
    }

    /// A page of the current snapshot.
    pub fn page(&self, query: &ListQuery, policy: &Policy) -> ListPage {
        let snapshot = self.published.load();
        let page = snapshot.list.page(query, &Access(policy));
        ListPage { entries: page.entries, next: page.next, knowledge: snapshot.knowledge }
    }

    /// What is known about the list.
    pub fn knowledge(&self) -> Knowledge {
        self.published.load().knowledge
    }

    /// The number of the last change in the list.
    pub fn sequence(&self) -> u64 {
        self.published.load().sequence
    }

    /// Whether the directory shard works.
    pub fn is_served(&self) -> bool {
        self.requests.desk.get().is_some()
    }

    /// Where its mailboxes are.
    pub fn locations(&self) -> Locations {
        self.published.load().list.all_locations()
    }

    /// Mailboxes in the list.
    pub fn mailboxes(&self) -> usize {
        self.published.load().list.len()
    }

    /// The list and what is known about it, as it stands.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.load_full()
    }

    /// Looks at what only the directory knows, behind all requests before; `None` when it does not
    /// answer in time. Blocks: never called on a shard.
    pub fn inspect<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Directory) -> T + Send + 'static,
        within: Duration,
    ) -> Option<T> {
        self.visit(|directory| look(directory), within)
    }

    /// Forgets a master's conflicts, but for those that came up after a time (seconds since 1970);
    /// how many there were. `None` when the directory does not answer in time. Blocks: never called
    /// on a shard.
    pub fn forget_conflicts(&self, until_unix: u64, within: Duration) -> Option<usize> {
        self.visit(move |directory| directory.forget_conflicts(until_unix), within)
    }

    fn visit<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Directory) -> T + Send + 'static,
        within: Duration,
    ) -> Option<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.requests.push(Request::Look(Box::new(move |directory| {
            // Who asked may have given up.
            let _ = sender.try_send(look(directory));
        })));
        receiver.recv_timeout(within).ok()
    }

    /// Takes a dump that was held back because it deletes too much.
    pub fn accept_held_back(&self) {
        self.requests.push(Request::Accept);
    }
}

/// "Not there" in a list without any entry is nothing that mail may be refused for, unless the
/// operator says that his list may be empty.
pub(super) fn temper(finding: Finding, snapshot: &Snapshot, accept_empty: bool) -> Finding {
    match finding {
        Finding::Absent if snapshot.is_empty() && !accept_empty => Finding::Unknown,
        other @ (Finding::Absent | Finding::Active(_) | Finding::Reserved { .. } | Finding::Unknown) => other,
    }
}

/// How the ACLs of a page are read.
struct Access<'a>(&'a Policy);

impl AccessPolicy for Access<'_> {
    fn rights(&self, acl: &[u8], name: &[u8], who: &Identity) -> Rights {
        acl::rights(acl, name, who, self.0)
    }

    fn is_listed(&self, rights: Rights) -> bool {
        rights.contains(Rights::L)
    }
}

#[cfg(test)]
impl Client {
    /// A client of a directory that a thread of its own serves, for as long as there is a client.
    pub(crate) fn serving(mut directory: Directory) -> Client {
        let (inbox, _reader) = Inbox::new().expect("a pipe for the inbox");
        let requests = Arc::new(Requests::new(inbox));
        let client = Client::new(directory.published(), Arc::clone(&requests), false);
        std::thread::spawn(move || {
            while Arc::strong_count(&requests) > 1 {
                for request in requests.take() {
                    match request {
                        Request::Look(look) => look(&mut directory),
                        Request::Accept => {
                            directory.accept();
                        }
                        Request::Wait(..) | Request::Stored(_) => {}
                    }
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        client
    }
}

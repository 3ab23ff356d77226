//! The directory: the one writer of the mailbox list and what is known about it.
//!
//! It is told what the MUPDATE machines learn or ask, the time, and what became of writes to the
//! store; it gives effects. It runs on one thread; all others read what it publishes.
//!
//! ```text
//!   slave:   DumpBegins, Dump*, DumpEnds ──> builder ──diff──> publish        (or hold back)
//!            Learn ──> editor ──> publish at once, store behind
//!   master:  Commit ──> rules ──> store ──> publish, answer                   (group commit)
//!                         └──> ledger: conflicts, reservations, addresses ──> store
//! ```

mod absent;
mod commit;
mod dump;
mod history;
mod ledger;
mod log;
mod resume;
mod snapshot;
mod wait;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use protocols::proxy::{
    Answer, Change, DirectoryAnswer, DirectoryQuestion, Instant, Knowledge, Level, Location, Position,
    Unavailable,
};

use crate::list::{Editor, List, is_storable_change};
use crate::master::rules::Rules;

pub use history::{EPOCHS_MAX, Epoch, History};
pub use ledger::{
    ADDRESSES_MAX, CONFLICTS_MAX, Conflict, ConflictKind, ConflictOutcome, KeptNote, Note, RESERVATIONS_MAX,
    Reservation, ReservationCause, SERVERS_OF_ADDRESS_MAX, UnfinishedMove,
};
pub use log::{LOG_BYTES_MAX, LOG_CHANGES_MAX, keep_newest};
pub use snapshot::{Published, Snapshot, WaitForBarrier};
pub use wait::Wait;

use commit::Commits;
use dump::Dump;
use ledger::Ledger;
use log::Log;
use wait::Waiting;

/// Changes of a slave that wait for the store; past it the whole list is written instead.
pub const STORE_BACKLOG_MAX: usize = 100_000;

/// Whom an effect answers: chosen by the engine (session and question), never looked at here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// What the directory is.
#[derive(Clone, Debug)]
pub enum Role {
    /// It learns from a source.
    Slave {
        /// `mupdate_config: unified`: entries whose server is this one are kept without a server.
        own_server: Option<Box<[u8]>>,
    },
    /// It is the source.
    Master(Rules),
}

/// Settings of the directory.
#[derive(Clone, Debug)]
pub struct Config {
    /// Slave or master.
    pub role: Role,
    /// Changes are written to a store. A master answers only what is stored.
    pub has_store: bool,
    /// A dump that deletes more than this share of the list, in percent, is held back. 100: never.
    pub hold_back_percent: u8,
    /// Unless it deletes fewer names than this. An empty dump is held back in any case.
    pub hold_back_names_min: usize,
    /// How long a look-up waits for a barrier.
    pub barrier_deadline: Duration,
}

impl Config {
    /// A slave as it is unless something else is configured: 20 percent, at least 100 names, 2 s.
    pub fn slave() -> Config {
        Config {
            role: Role::Slave { own_server: None },
            has_store: true,
            hold_back_percent: 20,
            hold_back_names_min: 100,
            barrier_deadline: Duration::from_secs(2),
        }
    }

    /// A master as it is unless something else is configured.
    pub fn master() -> Config {
        Config { role: Role::Master(Rules::default()), ..Config::slave() }
    }
}

/// What the directory begins with.
pub struct Loaded {
    /// The list as the store had it, or [`Editor::empty`].
    pub list: Editor,
    /// The sequence number of the last change in it.
    pub sequence: u64,
    /// The store holds a list that was complete once.
    pub was_complete: bool,
    /// What a master remembered beside the list.
    pub notes: Vec<KeptNote>,
    /// The last changes, in order, up to `sequence`: as many as were kept without a gap.
    pub log: Vec<Change>,
    /// The epochs of the list's own sequence numbers.
    pub history: History,
    /// Where a slave's list stands in the history of its source.
    pub source: Option<Position>,
}

impl Loaded {
    /// Nothing was stored.
    pub fn nothing() -> Loaded {
        Loaded {
            list: Editor::empty(),
            sequence: 0,
            was_complete: false,
            notes: Vec::new(),
            log: Vec::new(),
            history: History::default(),
            source: None,
        }
    }
}

/// What the directory wants done.
#[derive(Debug)]
pub enum Effect {
    /// Answer a question.
    Answer {
        /// Whose.
        ticket: Ticket,
        /// The answer.
        answer: Answer,
    },
    /// Tell the slave session [`protocols::proxy::Event::BarrierWanted`].
    BarrierWanted,
    /// Tell the streaming sessions [`protocols::proxy::Event::ListChanged`].
    ListChanged,
    /// A line for the log.
    Log {
        /// How much it matters.
        level: Level,
        /// Lower case, no period.
        text: Box<str>,
    },
}

/// What the store is to write. One write is out at a time; [`Directory::stored`] ends it.
#[derive(Clone)]
pub enum StoreWrite {
    /// Changes in order; the last one has this sequence number.
    Append {
        /// In order of commit.
        changes: Vec<Change>,
        /// Of the last change.
        sequence: u64,
        /// What is written with them.
        beside: Beside,
        /// The list with them.
        list: Arc<List>,
    },
    /// This list in the place of all that was stored.
    Replace {
        /// The list.
        list: Arc<List>,
        /// Of the last change in it.
        sequence: u64,
        /// What is written with it.
        beside: Beside,
    },
}

/// What is written together with changes or a list.
#[derive(Clone, Default)]
pub struct Beside {
    /// What a master remembers, in any order.
    pub notes: Vec<Note>,
    /// Where a slave's list stands in the history of its source; `None`: it is not known.
    pub source: Option<Position>,
    /// Old lists, which take long to free: dropped by who writes.
    pub garbage: Vec<Arc<dyn Send + Sync>>,
}

/// A dump that would delete too much and waits for somebody to accept it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeldBack {
    /// Names that the dump would delete.
    pub deletes: usize,
    /// Names in the list that is kept.
    pub of: usize,
    /// Names that the dump brought.
    pub brought: usize,
}

/// The writer of the list.
pub struct Directory {
    config: Config,
    editor: Editor,
    published: Published,
    sequence: u64,
    knowledge: Knowledge,
    log: Log,
    dump: Dump,
    waiting: Waiting,
    commits: Commits,
    ledger: Ledger,
    history: History,
    /// Where the list stands in the history of its source.
    source: Option<Position>,
    backlog: Backlog,
    effects: VecDeque<Effect>,
}

/// What a slave has for its store.
#[derive(Default)]
struct Backlog {
    changes: Vec<Change>,
    /// The whole list is to be written.
    replace: bool,
    /// A write is out.
    writing: bool,
    /// The store has another position in the history of the source.
    moved: bool,
    /// To be dropped by who writes.
    garbage: Vec<Arc<dyn Send + Sync>>,
}

impl Directory {
    /// Begins with what was stored. A master's list is complete by definition.
    pub fn new(config: Config, loaded: Loaded) -> Directory {
        let knowledge = match (&config.role, loaded.was_complete) {
            (Role::Master(_), _) => Knowledge::Live,
            (Role::Slave { .. }, true) => Knowledge::Stale,
            (Role::Slave { .. }, false) => Knowledge::NeverSynced,
        };
        let list = loaded.list.publish();
        let ledger = match &config.role {
            Role::Master(_) => Ledger::load(&loaded.notes, &list),
            Role::Slave { .. } => Ledger::default(),
        };
        let published = snapshot::publication(Snapshot { list, knowledge, sequence: loaded.sequence });
        Directory {
            log: Log::new(loaded.sequence, loaded.log),
            waiting: Waiting::new(config.barrier_deadline),
            editor: loaded.list,
            sequence: loaded.sequence,
            published,
            knowledge,
            dump: Dump::None,
            commits: Commits::default(),
            ledger,
            history: loaded.history,
            source: loaded.source.filter(|_| loaded.was_complete),
            backlog: Backlog::default(),
            effects: VecDeque::new(),
            config,
        }
    }

    /// What the other threads read.
    pub fn published(&self) -> Published {
        self.published.clone()
    }

    /// What is known about the list.
    pub fn knowledge(&self) -> Knowledge {
        self.knowledge
    }

    /// The name of the epoch of this list's sequence numbers; `None` without a store.
    pub fn epoch(&self) -> Option<&str> {
        self.history.current()
    }

    /// The dump that waits to be accepted, if any.
    pub fn held_back(&self) -> Option<HeldBack> {
        self.dump.held_back()
    }

    /// Takes a question of a MUPDATE machine. The answer comes as an effect, at once or later.
    pub fn handle(&mut self, ticket: Ticket, question: DirectoryQuestion) {
        match question {
            DirectoryQuestion::DumpBegins => {
                self.begin_dump();
                self.answer(ticket, DirectoryAnswer::Done);
            }
            DirectoryQuestion::Dump(entries) => {
                self.take_dump(&entries);
                self.answer(ticket, DirectoryAnswer::Done);
            }
            DirectoryQuestion::DumpEnds => self.end_dump(ticket),
            DirectoryQuestion::Learn(changes) => {
                self.learn(&changes);
                self.effects.push_back(Effect::Answer { ticket, answer: Answer::Barrier(Ok(())) });
            }
            DirectoryQuestion::BarrierReached => {
                self.barrier_reached();
                self.answer(ticket, DirectoryAnswer::Done);
            }
            DirectoryQuestion::SourceLost { why } => {
                self.source_lost(why.as_deref());
                self.answer(ticket, DirectoryAnswer::Done);
            }
            DirectoryQuestion::Position => {
                let position = self.source.clone();
                self.answer(ticket, DirectoryAnswer::Position(position));
            }
            DirectoryQuestion::Reached(position) => {
                self.reached(position);
                self.answer(ticket, DirectoryAnswer::Done);
            }
            DirectoryQuestion::Resumed => {
                self.resumed();
                self.answer(ticket, DirectoryAnswer::Done);
            }
            DirectoryQuestion::Resume(position) => {
                let resumable = self.is_resumable(&position);
                self.answer(ticket, DirectoryAnswer::Resumable(resumable));
            }
            DirectoryQuestion::Commit { request, requester } => self.commit(ticket, &request, &requester),
            DirectoryQuestion::Listed { requester } => {
                self.listed(&requester);
                self.answer(ticket, DirectoryAnswer::Done);
            }
            DirectoryQuestion::Changes { since } => {
                let page = self.log.page(since, self.published.load().sequence);
                self.answer(ticket, DirectoryAnswer::Changes(page.ok_or(Unavailable)));
            }
            DirectoryQuestion::Sequence => {
                let sequence = self.published.load().sequence;
                self.answer(ticket, DirectoryAnswer::Sequence(sequence));
            }
        }
    }

    /// Gives the next effect.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The next moment at which [`Directory::handle_timeout`] is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.deadline()
    }

    /// Is called at or after the time that [`Directory::poll_timeout`] named.
    pub fn handle_timeout(&mut self, now: Instant) {
        for (ticket, wait) in self.waiting.expire(now) {
            self.answer_unproven(ticket, wait);
        }
    }

    /// Gives the next write, unless one is out.
    pub fn poll_store(&mut self) -> Option<StoreWrite> {
        if !self.config.has_store || self.backlog.writing {
            return None;
        }
        let write = match self.config.role {
            Role::Master(_) => self.next_commits()?,
            Role::Slave { .. } => self.next_backlog()?,
        };
        self.backlog.writing = true;
        Some(write)
    }

    /// Whether a write is out.
    pub fn is_storing(&self) -> bool {
        self.backlog.writing
    }

    /// Says what became of the write that is out: durable, or one sentence why not.
    pub fn stored(&mut self, result: Result<(), Box<str>>) {
        self.backlog.writing = false;
        match (&self.config.role, result) {
            (Role::Master(_), Ok(())) => self.commits_stored(),
            (Role::Master(_), Err(why)) => self.commits_lost(&why),
            (Role::Slave { .. }, Ok(())) => {}
            (Role::Slave { .. }, Err(why)) => {
                // What is in the store is unknown: the next write that succeeds is all of it.
                self.backlog.replace = true;
                self.say(Level::Warn, format!("cannot store the mailbox list: {why}"));
            }
        }
    }

    fn next_backlog(&mut self) -> Option<StoreWrite> {
        // A list that was never complete is not worth keeping.
        if self.knowledge == Knowledge::NeverSynced {
            return None;
        }
        let sequence = self.sequence;
        let changes = std::mem::take(&mut self.backlog.changes);
        let moved = std::mem::take(&mut self.backlog.moved);
        if std::mem::take(&mut self.backlog.replace) {
            return Some(StoreWrite::Replace {
                list: self.editor.publish(),
                sequence,
                beside: self.beside(),
            });
        }
        if changes.is_empty() && !moved {
            return None;
        }
        let list = self.editor.publish();
        Some(StoreWrite::Append { changes, sequence, beside: self.beside(), list })
    }

    /// What goes with the next write.
    fn beside(&mut self) -> Beside {
        Beside {
            notes: self.ledger.take_notes(),
            source: self.source.clone(),
            garbage: std::mem::take(&mut self.backlog.garbage),
        }
    }

    /// Applies changes of the stream and publishes them.
    fn learn(&mut self, changes: &[Change]) {
        let changes: Vec<Change> = changes.iter().map(|change| self.localised(change)).collect();
        if self.dump.learn(&changes) {
            return;
        }
        let mut changed = false;
        for change in changes {
            if !is_storable_change(&change) {
                self.say(
                    Level::Warn,
                    "mailbox name or data outside the limits in the stream: left out".into(),
                );
                continue;
            }
            self.editor.apply(&change);
            changed = true;
            self.sequence += 1;
            self.log.push(change.clone());
            self.remember(change);
        }
        if changed {
            self.publish();
        }
    }

    /// Keeps a change for the store.
    fn remember(&mut self, change: Change) {
        if !self.config.has_store || self.backlog.replace {
            return;
        }
        if self.backlog.changes.len() >= STORE_BACKLOG_MAX {
            self.backlog.changes = Vec::new();
            self.backlog.replace = true;
            return;
        }
        self.backlog.changes.push(change);
    }

    fn publish(&mut self) {
        let list = self.editor.publish();
        self.publish_list(list, self.sequence);
    }

    fn publish_list(&mut self, list: Arc<List>, sequence: u64) {
        self.published.store(Arc::new(Snapshot { list, knowledge: self.knowledge, sequence }));
        self.effects.push_back(Effect::ListChanged);
    }

    /// Publishes another knowledge about the same list.
    fn know(&mut self, knowledge: Knowledge) {
        self.knowledge = knowledge;
        let (list, sequence) = {
            let before = self.published.load();
            (before.list.clone(), before.sequence)
        };
        self.publish_list(list, sequence);
    }

    fn source_lost(&mut self, why: Option<&str>) {
        if self.dump.is_held() {
            // The next connection brings a dump of its own.
            self.say(Level::Info, "the dump that was held back is dropped with its source".into());
        }
        self.abandon_dump();
        if self.knowledge == Knowledge::Live {
            self.know(Knowledge::Stale);
        }
        match why {
            Some(why) => self.say(Level::Warn, format!("lost the mupdate master: {why}")),
            None => self.say(Level::Info, "left the mupdate master".into()),
        }
        for (ticket, wait) in self.waiting.abandon() {
            self.answer_unproven(ticket, wait);
        }
    }

    /// A unified server's own mailboxes have no server in its list.
    fn localised(&self, change: &Change) -> Change {
        let mut change = change.clone();
        let Role::Slave { own_server: Some(own) } = &self.config.role else { return change };
        let location = match &mut change {
            Change::Active(entry) => &mut entry.location,
            Change::Reserved { location, .. } => location,
            Change::Deleted { .. } => return change,
        };
        if location.server().is_some_and(|server| server.eq_ignore_ascii_case(own)) {
            *location = Location(location.partition().into());
        }
        change
    }

    fn answer(&mut self, ticket: Ticket, answer: DirectoryAnswer) {
        self.effects.push_back(Effect::Answer { ticket, answer: Answer::Directory(answer) });
    }

    fn say(&mut self, level: Level, text: String) {
        self.effects.push_back(Effect::Log { level, text: text.into() });
    }
}

//! What was begun in two steps and is not finished: MOVE between two servers, which copies and then
//! expunges. A crash in between leaves messages in both mailboxes; whoever looks for the reason finds it here.
//!
//! ```text
//!  {configdirectory}/rookery-moves              a line when a move begins, when all is copied, when it ends
//!  {configdirectory}/rookery-moves.unfinished   what a start found without an end, for operators
//! ```
//! One thread writes; a move begins when its line is on the disk. A shard costs it a push into a
//! bounded queue.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use protocols::proxy::{Answer, Intent, Level, QuestionId, Stage, Unavailable};

use crate::helpers::Asker;
use crate::log::Log;
use crate::shard::{Reply, SessionId};

/// Messages that may wait for the thread.
const QUEUE_MAX: usize = 4096;

/// Moves that may be under way; what is more is not kept.
const OPEN_MAX: usize = 8192;

/// The file is begun anew past this size, with what is not finished.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes of one line.
const LINE_BYTES_MAX: usize = 4096;

/// Bytes that are read back at a start.
const READ_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A question of a session of one shard.
type Key = (usize, SessionId, QuestionId);

enum Message {
    Begin(Asker, Key, Box<Intent>),
    Stage(Key, Stage),
    Ended(usize, SessionId),
}

/// Keeps what is not finished; cheap to clone.
#[derive(Clone)]
pub struct Intents(Option<SyncSender<Message>>);

impl Intents {
    /// Reports what an earlier process did not finish, and keeps what this one does.
    ///
    /// # Errors
    /// The file cannot be read or written, or there is no thread.
    pub fn start(folder: &Path, log: Log) -> io::Result<Intents> {
        let path = folder.join("rookery-moves");
        let unfinished = read(&path)?;
        for line in &unfinished {
            log.write(Level::Warn, &format!("move cut off by the end of this program: {line}"));
        }
        keep_unfinished(&path, &unfinished)?;
        let file = Journal::create(path)?;
        let (sender, receiver) = mpsc::sync_channel(QUEUE_MAX);
        thread::Builder::new().name("moves".into()).spawn(move || serve(file, &receiver, &log))?;
        Ok(Intents(Some(sender)))
    }

    /// As [`Intents::start`]; where that fails, nothing is kept, and the log says so.
    pub fn new(folder: &Path, log: &Log) -> Intents {
        Intents::start(folder, log.clone()).unwrap_or_else(|error| {
            log.write(Level::Warn, &format!("moves between servers are not kept over a crash: {error}"));
            Intents::nowhere()
        })
    }

    /// Keeps nothing.
    pub fn nowhere() -> Intents {
        Intents(None)
    }

    /// Answers `Question::Intend` when it is on the disk.
    pub(crate) fn begin(&self, shard: usize, asker: Asker, intent: Box<Intent>) -> Reply {
        let refused = Reply::Now(Answer::Intended(Err(Unavailable)));
        let Some(sender) = &self.0 else { return refused };
        let key = (shard, asker.session, asker.id);
        if sender.try_send(Message::Begin(asker, key, intent)).is_ok() { Reply::Later } else { refused }
    }

    /// Notes how far it is.
    pub(crate) fn stage(&self, shard: usize, session: SessionId, id: QuestionId, stage: Stage) {
        self.tell(Message::Stage((shard, session, id), stage));
    }

    /// A session has ended: what it had begun is not finished by anybody.
    pub(crate) fn ended(&self, shard: usize, session: SessionId) {
        self.tell(Message::Ended(shard, session));
    }

    fn tell(&self, message: Message) {
        if let Some(sender) = &self.0 {
            // A full queue leaves the line without an end, which is reported once too often.
            let _ = sender.try_send(message);
        }
    }
}

/// The thread: takes what waits, writes it in one go.
fn serve(mut journal: Journal, receiver: &Receiver<Message>, log: &Log) {
    while let Ok(first) = receiver.recv() {
        let mut begun = Vec::new();
        for message in std::iter::once(first).chain(receiver.try_iter().take(QUEUE_MAX)) {
            match message {
                Message::Begin(asker, key, intent) => {
                    journal.begin(key, &intent);
                    begun.push(asker);
                }
                Message::Stage(key, stage) => journal.stage(key, stage),
                Message::Ended(shard, session) => journal.ended(shard, session),
            }
        }
        journal.reports.drain(..).for_each(|(level, text)| log.write(level, &text));
        let result = journal.write(!begun.is_empty());
        if let Err(error) = &result {
            log.write(Level::Warn, &format!("cannot write {}: {error}", journal.path.display()));
        }
        for asker in begun {
            asker.answer(Answer::Intended(result.as_ref().map(drop).map_err(|_| Unavailable)));
        }
    }
}

/// The file, and what of it has no end.
struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    next: u64,
    open: BTreeMap<Key, Open>,
    /// Lines that are not written yet.
    lines: String,
    /// What the log is to say.
    reports: Vec<(Level, String)>,
}

struct Open {
    number: u64,
    text: String,
    copied: Option<String>,
}

impl Open {
    fn lines(&self) -> String {
        let begin = format!("begin {} {}\n", self.number, self.text);
        match &self.copied {
            Some(copied) => format!("{begin}copied {} {copied}\n", self.number),
            None => begin,
        }
    }

    fn report(&self) -> String {
        report(&self.text, self.copied.as_deref())
    }
}

impl Journal {
    fn create(path: PathBuf) -> io::Result<Journal> {
        let file = opened(&path, true)?;
        let (open, lines, reports) = (BTreeMap::new(), String::new(), Vec::new());
        Ok(Journal { path, file, bytes: 0, next: 1, open, lines, reports })
    }

    fn begin(&mut self, key: Key, intent: &Intent) {
        if self.open.len() >= OPEN_MAX {
            return;
        }
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string().replace(' ', "\\x20");
        let mut text = format!(
            "{} {} {} {}",
            text(&intent.user),
            text(&intent.source),
            text(&intent.destination),
            text(&intent.messages)
        );
        text.truncate(LINE_BYTES_MAX);
        let open = Open { number: self.next, text, copied: None };
        self.next += 1;
        self.lines += &open.lines();
        self.open.insert(key, open);
    }

    fn stage(&mut self, key: Key, stage: Stage) {
        match stage {
            Stage::Copied(what) => {
                let Some(open) = self.open.get_mut(&key) else { return };
                let mut copied = what.escape_ascii().to_string();
                copied.truncate(LINE_BYTES_MAX);
                self.lines += &format!("copied {} {copied}\n", open.number);
                open.copied = Some(copied);
            }
            Stage::Done => drop(self.end(key)),
            Stage::GivenUp => {
                let told = self.end(key).map(|open| format!("move not finished: {}", open.report()));
                self.reports.extend(told.map(|text| (Level::Notice, text)));
            }
        }
    }

    fn end(&mut self, key: Key) -> Option<Open> {
        let open = self.open.remove(&key)?;
        self.lines += &format!("end {}\n", open.number);
        Some(open)
    }

    fn ended(&mut self, shard: usize, session: SessionId) {
        let (first, last) = (QuestionId(0), QuestionId(u32::MAX));
        let keys: Vec<Key> =
            self.open.range((shard, session, first)..=(shard, session, last)).map(|(key, _)| *key).collect();
        for key in keys {
            let told = self.end(key).map(|open| format!("move cut off with its session: {}", open.report()));
            self.reports.extend(told.map(|text| (Level::Warn, text)));
        }
    }

    fn write(&mut self, durably: bool) -> io::Result<()> {
        if self.bytes > FILE_BYTES_MAX {
            self.begin_anew()?;
        }
        self.file.write_all(self.lines.as_bytes())?;
        self.bytes += self.lines.len() as u64;
        self.lines.clear();
        if durably { self.file.sync_data() } else { Ok(()) }
    }

    /// Writes what has no end to a new file in the place of the old one.
    fn begin_anew(&mut self) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = opened(&new, true)?;
        let lines: String = self.open.values().map(Open::lines).collect();
        file.write_all(lines.as_bytes())?;
        file.sync_data()?;
        std::fs::rename(&new, &self.path)?;
        (self.file, self.bytes) = (file, lines.len() as u64);
        self.lines.clear();
        Ok(())
    }
}

/// Opened for appending, for this user alone: mailbox names are nobody else's business.
fn opened(path: &Path, anew: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    if anew {
        options.write(true).truncate(true);
    } else {
        options.append(true);
    }
    options.open(path)
}

fn report(text: &str, copied: Option<&str>) -> String {
    let words: Vec<&str> = text.splitn(4, ' ').collect();
    let [user, source, destination, messages] = words[..] else { return text.to_owned() };
    match copied {
        Some(copied) => format!(
            "{user} moved {messages} from {source} to {destination}: all were copied ({copied}), some may still be in both"
        ),
        None => format!(
            "{user} moved {messages} from {source} to {destination}: none was removed, some may have been copied"
        ),
    }
}

/// What has no end in the file of an earlier process.
fn read(path: &Path) -> io::Result<Vec<String>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => drop(file.take(READ_BYTES_MAX).read_to_end(&mut bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    // The last line of a crash may be half a line.
    let whole = memchr::memrchr(b'\n', &bytes).map_or(0, |end| end + 1);
    let mut open: BTreeMap<u64, (String, Option<String>)> = BTreeMap::new();
    for line in String::from_utf8_lossy(&bytes[..whole]).lines() {
        let mut words = line.splitn(3, ' ');
        let (verb, number) = (words.next().unwrap_or_default(), words.next().and_then(|n| n.parse().ok()));
        let rest = words.next().unwrap_or_default().to_owned();
        match (verb, number) {
            ("begin", Some(number)) => drop(open.insert(number, (rest, None))),
            ("copied", Some(number)) => {
                open.entry(number).and_modify(|(_, copied)| *copied = Some(rest));
            }
            ("end", Some(number)) => drop(open.remove(&number)),
            _ => {}
        }
    }
    Ok(open.into_values().map(|(text, copied)| report(&text, copied.as_deref())).collect())
}

/// Keeps what was not finished for operators: the newest, when they let it grow.
fn keep_unfinished(path: &Path, lines: &[String]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let kept = path.with_extension("unfinished");
    let is_full = std::fs::metadata(&kept).is_ok_and(|kept| kept.len() > FILE_BYTES_MAX);
    let mut file = opened(&kept, is_full)?;
    for line in lines {
        writeln!(file, "{line}")?;
    }
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(user: &str) -> Intent {
        let bytes = |text: &str| text.as_bytes().into();
        Intent {
            user: bytes(user),
            source: bytes("user.fred"),
            destination: bytes("team 2"),
            messages: bytes("1:3"),
        }
    }

    fn key(session: u32, question: u32) -> Key {
        (0, SessionId { slot: session, generation: 0 }, QuestionId(question))
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("rookery-moves-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn what_has_no_end_is_found_at_the_next_start() {
        let folder = folder("start");
        let path = folder.join("rookery-moves");
        let mut journal = Journal::create(path.clone()).unwrap();
        for n in 1..=3 {
            journal.begin(key(n, n), &intent(&format!("user{n}")));
        }
        journal.stage(key(1, 1), Stage::Copied((*b"3 7,9 6:7").into()));
        journal.stage(key(2, 2), Stage::Done);
        journal.write(true).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"begin 4").unwrap();
        let found = read(&path).unwrap();
        assert_eq!(found.len(), 2);
        assert!(
            found[0].starts_with("user1 moved 1:3 from user.fred to team\\x202: all were copied"),
            "{found:?}"
        );
        assert!(found[1].contains("none was removed"), "{found:?}");
        keep_unfinished(&path, &found).unwrap();
        assert_eq!(
            std::fs::read_to_string(folder.join("rookery-moves.unfinished")).unwrap().lines().count(),
            2
        );
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn session_that_ends_takes_its_moves_along() {
        let folder = folder("session");
        let path = folder.join("rookery-moves");
        let mut journal = Journal::create(path.clone()).unwrap();
        journal.begin(key(1, 1), &intent("a"));
        journal.begin(key(1, 2), &intent("b"));
        journal.begin(key(2, 1), &intent("c"));
        journal.ended(0, SessionId { slot: 1, generation: 0 });
        assert_eq!(journal.reports.len(), 2);
        journal.write(true).unwrap();
        let found = read(&path).unwrap();
        assert!(found.len() == 1 && found[0].starts_with('c'), "{found:?}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn file_is_begun_anew_with_what_is_open() {
        let folder = folder("anew");
        let path = folder.join("rookery-moves");
        let mut journal = Journal::create(path.clone()).unwrap();
        journal.begin(key(9, 9), &intent("kept"));
        for n in 0..30_000 {
            journal.begin(key(1, n), &intent("short"));
            journal.stage(key(1, n), Stage::Done);
            journal.write(false).unwrap();
        }
        assert!(std::fs::metadata(&path).unwrap().len() < FILE_BYTES_MAX + 1000);
        let found = read(&path).unwrap();
        assert!(found.len() == 1 && found[0].starts_with("kept"), "{found:?}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}

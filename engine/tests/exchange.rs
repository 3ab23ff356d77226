//! Daemons of the host are asked on the ring, whatever they do.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use engine::shard::{
    Accepted, EXCHANGES_MAX, Exchange, Host, Inbox, Layer, ListenerId, PeerAddress, Reply, SessionId,
    ShardConfig, ToShard, run,
};
use protocols::proxy::{
    Answer, Event, Instant, LayerKind, Notice, Output, PasswordVerdict, Question, QuestionId, Session, Side,
    Taken, Then,
};
use zeroize::Zeroizing;

/// Longer than any test waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks so many questions at once, and tells the answers.
struct Asking {
    left: u32,
    told: mpsc::Sender<PasswordVerdict>,
}

impl Session for Asking {
    fn handle_input(&mut self, _: Side, input: &[u8], _: Instant) -> Taken {
        Taken { n: input.len(), then: Then::More }
    }

    fn handle_event(&mut self, event: Event, _: Instant) {
        if let Event::Answer { answer: Answer::Password(verdict), .. } = event {
            // Who listens may have seen enough.
            let _ = self.told.send(verdict);
        }
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_output(&mut self, _: &mut Vec<u8>) -> Option<Output> {
        self.left = self.left.checked_sub(1)?;
        Some(Output::Ask { id: QuestionId(self.left), question: Question::Barrier })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

/// Sends every question to one daemon.
struct OneDaemon {
    socket: Arc<Path>,
    deadline: Duration,
    failures: mpsc::Sender<String>,
}

fn read(answer: &[u8]) -> io::Result<Option<Answer>> {
    match answer {
        b"yes\n" => Ok(Some(Answer::Password(PasswordVerdict::Accepted))),
        _ if answer.ends_with(b"\n") => Err(io::Error::other("it does not say yes")),
        _ => Ok(None),
    }
}

impl Host for OneDaemon {
    fn accept(&mut self, _: ListenerId, _: &PeerAddress, _: BorrowedFd<'_>) -> Option<Accepted> {
        None
    }

    fn ask(&mut self, _: SessionId, _: QuestionId, _: Question, _: Instant) -> Reply {
        Reply::Exchange(Exchange {
            daemon: "oracle",
            socket: Arc::clone(&self.socket),
            question: Zeroizing::new(b"well?\n".to_vec()),
            read,
            failed: Answer::Password(PasswordVerdict::Unavailable),
            deadline: self.deadline,
        })
    }

    fn tell(&mut self, _: SessionId, _: Notice) {}

    fn exchange_failed(&mut self, daemon: &str, _: &Path, error: &io::Error) {
        assert_eq!(daemon, "oracle");
        // Who listens may have seen enough.
        let _ = self.failures.send(error.to_string());
    }

    fn layer(&mut self, _: &LayerKind) -> Result<Box<dyn Layer>, Box<str>> {
        Err("no layers here".into())
    }

    fn ended(&mut self, _: SessionId) {}
}

/// A shard that asks the daemon behind `socket`.
struct Shard {
    inbox: Inbox,
    thread: JoinHandle<()>,
    failures: mpsc::Receiver<String>,
}

impl Shard {
    fn start(socket: &Path, deadline: Duration) -> Shard {
        let (inbox, reader) = Inbox::new().expect("a descriptor");
        let (told, failures) = mpsc::channel();
        let host = OneDaemon { socket: socket.into(), deadline, failures: told };
        let thread = thread::spawn(move || run(ShardConfig::new(0), host, reader).expect("a shard"));
        Shard { inbox, thread, failures }
    }

    fn ask(&self, questions: u32) -> mpsc::Receiver<PasswordVerdict> {
        let (told, answers) = mpsc::channel();
        self.inbox.send(ToShard::Spawn(Box::new(move || Box::new(Asking { left: questions, told }))));
        answers
    }

    fn stop(self) {
        self.inbox.send(ToShard::Stop);
        self.thread.join().expect("the shard");
    }
}

/// What a daemon does with a connection.
type Serve = fn(UnixStream) -> io::Result<()>;

/// A daemon that does the same with every connection, `at_once` of them side by side.
fn daemon(at_once: usize, serve: Serve) -> (tempfile::TempDir, Box<Path>) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("oracle");
    let listener = UnixListener::bind(&path).expect("a socket");
    for _ in 0..at_once {
        let listener = listener.try_clone().expect("a descriptor");
        // They end with the process.
        thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(serve(stream))));
    }
    (dir, path.into())
}

fn question(stream: &mut UnixStream) -> io::Result<()> {
    let mut question = [0; 6];
    stream.read_exact(&mut question)?;
    assert_eq!(&question, b"well?\n");
    Ok(())
}

#[test]
fn answer_is_read_whole_and_in_pieces() {
    let (_dir, path) = daemon(1, |mut stream| {
        question(&mut stream)?;
        for byte in b"yes\n" {
            stream.write_all(&[*byte])?;
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    });
    let shard = Shard::start(&path, PATIENCE);
    assert_eq!(shard.ask(1).recv_timeout(PATIENCE), Ok(PasswordVerdict::Accepted));
    shard.stop();
}

#[test]
fn many_questions_are_all_answered_a_few_at_a_time() {
    let (_dir, path) = daemon(4, |mut stream| {
        question(&mut stream)?;
        stream.write_all(b"yes\n")
    });
    let shard = Shard::start(&path, PATIENCE);
    let questions = 20 * EXCHANGES_MAX as u32;
    let answers = shard.ask(questions);
    for n in 0..questions {
        assert_eq!(answers.recv_timeout(PATIENCE), Ok(PasswordVerdict::Accepted), "{n}");
    }
    shard.stop();
}

#[test]
fn daemon_that_is_absent_breaks_off_or_talks_nonsense_is_no_answer() {
    let nowhere = Shard::start(Path::new("/nowhere/oracle"), PATIENCE);
    assert_eq!(nowhere.ask(1).recv_timeout(PATIENCE), Ok(PasswordVerdict::Unavailable));
    let why = nowhere.failures.recv_timeout(PATIENCE).expect("a failure");
    assert!(why.contains("No such file"), "{why}");
    nowhere.stop();
    let cases: [(Serve, &str); 3] = [
        (|mut stream| question(&mut stream), "unexpected end of file"),
        (
            |mut stream| {
                question(&mut stream)?;
                stream.write_all(b"no\n")
            },
            "it does not say yes",
        ),
        (
            |mut stream| {
                question(&mut stream)?;
                stream.write_all(&[b'x'; 5000])
            },
            "the answer is too long",
        ),
    ];
    for (serve, expected) in cases {
        let (_dir, path) = daemon(1, serve);
        let shard = Shard::start(&path, PATIENCE);
        assert_eq!(shard.ask(1).recv_timeout(PATIENCE), Ok(PasswordVerdict::Unavailable), "{expected}");
        let why = shard.failures.recv_timeout(PATIENCE).expect("a failure");
        assert!(why.contains(expected), "{why}");
        shard.stop();
    }
}

/// Nobody accepts: first connections stand in the queue, and what comes then waits to connect.
#[test]
fn silent_daemon_costs_each_question_its_deadline_and_not_more() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("oracle");
    let listener =
        socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a socket");
    listener.bind(&socket2::SockAddr::unix(&path).expect("a path")).expect("a path");
    listener.listen(2).expect("a socket");
    let shard = Shard::start(&path, Duration::from_millis(200));
    let questions = 2 * EXCHANGES_MAX as u32;
    let answers = shard.ask(questions);
    for n in 0..questions {
        assert_eq!(answers.recv_timeout(PATIENCE), Ok(PasswordVerdict::Unavailable), "{n}");
        let why = shard.failures.recv_timeout(PATIENCE).expect("a failure");
        assert!(why.contains("timed out"), "{why}");
    }
    shard.stop();
}

#[test]
fn shard_that_stops_waits_for_no_daemon() {
    let (_dir, path) = daemon(2, |mut stream| {
        question(&mut stream)?;
        let _ = stream.read(&mut [0]);
        Ok(())
    });
    let shard = Shard::start(&path, Duration::from_secs(3600));
    let answers = shard.ask(3 * EXCHANGES_MAX as u32);
    // Some are under way, the others wait.
    assert_eq!(answers.recv_timeout(Duration::from_millis(50)), Err(mpsc::RecvTimeoutError::Timeout));
    shard.stop();
}

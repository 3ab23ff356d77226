use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use mupdate::directory::{Config, Directory, Loaded, Ticket};
use protocols::proxy::{Change, DirectoryQuestion, Entry, Location};
use tempfile::TempDir;

use super::*;
use crate::directory::Client;
use crate::log::{self, Log, Target};
use crate::shard::Measured;

#[test]
fn status_says_how_the_daemon_is() {
    let bed = Bed::new(&["user.ann", "user.bob"]);
    let status: Status = bed.ask().ask_one(&Ask::Status).unwrap();
    assert_eq!((status.program, &*status.knowledge, status.mailboxes), (Program::Rookeryd, "live", 2));
    assert_eq!(
        (status.source.as_deref(), status.held_back, status.sessions),
        (Some("master"), None, vec![3, 4])
    );
    assert_eq!(status.pid, std::process::id());
}

#[test]
fn locate_says_where_a_mailbox_is_or_that_it_is_not() {
    let bed = Bed::new(&["user.ann"]);
    let mut daemon = bed.ask();
    let mut state = |name: &str| {
        let mailbox: Mailbox = daemon.ask_one(&Ask::Locate { name: name.into() }).unwrap();
        (mailbox.state, mailbox.server, mailbox.partition, mailbox.acl)
    };
    let text = |text: &str| Some(text.to_owned());
    let acl = text("anyone\tlrs\t");
    assert_eq!(state("user.ann"), (State::Active, text("backend1"), text("default"), acl));
    assert_eq!(state("user.nobody"), (State::Absent, None, None, None));
}

#[test]
fn shards_tell_what_they_carry_and_how_long_commands_took() {
    let bed = Bed::new(&["user.ann"]);
    let loads: Vec<ShardLoad> = bed.ask().ask(&Ask::Shards).unwrap().map(Result::unwrap).collect();
    assert_eq!(loads.iter().map(|load| (load.shard, load.commands)).collect::<Vec<_>>(), [(0, 2), (1, 2)]);
    let rows: Vec<Latency> =
        bed.ask().ask(&Ask::Latency { times: true }).unwrap().map(Result::unwrap).collect();
    let noop = rows.iter().find(|row| (&*row.name, &*row.stage) == ("NOOP", "total")).unwrap();
    assert_eq!((noop.count, noop.times.iter().map(|(_, count)| *count).sum::<u32>()), (2, 2));
    assert!((495..=505).contains(&noop.p50_us), "{}", noop.p50_us);
    let backend = rows.iter().find(|row| row.kind == "backend").unwrap();
    assert_eq!((&*backend.name, &*backend.stage, backend.count), ("backend1", "backend", 2));
    let slow: Vec<SlowCommand> = bed.ask().ask(&Ask::Slowest).unwrap().map(Result::unwrap).collect();
    assert_eq!((&*slow[0].verb, slow[0].us), ("LOGIN", 9000));
}

#[test]
fn metrics_are_told_to_who_asks_by_http() {
    let watched = watched(&directory(&["user.ann"]));
    let metrics = Metrics::start((Ipv4Addr::LOCALHOST, 0).into(), watched).unwrap();
    let get = |request: &str| {
        let mut stream = TcpStream::connect(metrics.address()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = get("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    for line in [
        "rookery_list_knowledge 2",
        "rookery_list_mailboxes 1",
        "rookery_sessions{shard=\"1\"} 2",
        "rookery_commands_total{shard=\"0\"} 2",
        "rookery_command_seconds_count{verb=\"NOOP\",stage=\"total\"} 2",
        "rookery_backend_seconds_count{server=\"backend1\",stage=\"backend\"} 2",
    ] {
        assert!(body.lines().any(|at| at == line), "{line} in\n{body}");
    }
    assert!(get("GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
    assert!(get("PUT /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert!(get("\x16\x03\x01\r\n\r\n").starts_with("HTTP/1.1 400 "));
}

#[test]
fn a_list_that_was_never_complete_cannot_say_that_a_mailbox_is_not_there() {
    let bed = Bed::of(unsynced());
    let mailbox: Mailbox = bed.ask().ask_one(&Ask::Locate { name: "user.ann".into() }).unwrap();
    assert_eq!(mailbox.state, State::Unknown);
}

#[test]
fn list_gives_the_names_that_match_in_hierarchy_order() {
    let bed = Bed::new(&["user.ann-b", "user.ann.x", "user.ann", "team"]);
    let names = |pattern: &str| {
        let mut daemon = bed.ask();
        let rows = daemon.ask::<Mailbox>(&Ask::List { pattern: pattern.into() }).unwrap();
        rows.map(|row| row.unwrap().name).collect::<Vec<_>>()
    };
    assert_eq!(names("user.*"), ["user.ann", "user.ann.x", "user.ann-b"]);
    assert_eq!(names("user.%"), ["user.ann", "user.ann-b"]);
    assert_eq!(names("nothing*"), [""; 0]);
}

#[test]
fn list_is_longer_than_any_buffer() {
    let names: Vec<String> = (0..20_000).map(|n| format!("user.u{n:05}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bed = Bed::new(&names);
    let mut daemon = bed.ask();
    assert_eq!(daemon.ask::<Mailbox>(&Ask::List { pattern: "*".into() }).unwrap().count(), names.len());
    assert!(daemon.ask_one::<Status>(&Ask::Status).is_ok(), "the connection goes on");
}

#[test]
fn a_held_back_dump_is_shown_and_taken_once() {
    let bed = Bed::of(held_back());
    let mut daemon = bed.ask();
    let status: Status = daemon.ask_one(&Ask::Status).unwrap();
    let dump = HeldBackDump { deletes: 150, of: 150, brought: 0 };
    assert_eq!((status.held_back, status.mailboxes), (Some(dump), 150));
    let accepted: Accepted = daemon.ask_one(&Ask::Accept).unwrap();
    assert_eq!(accepted, Accepted { dump });
    let again = daemon.ask_one::<Accepted>(&Ask::Accept).unwrap_err();
    assert_eq!(again.to_string(), "no list is held back");
}

#[test]
fn what_is_no_question_is_refused_and_the_connection_goes_on() {
    let bed = Bed::new(&["user.ann"]);
    let mut stream = UnixStream::connect(&bed.path).unwrap();
    stream
        .write_all(b"{\"ask\":\"everything\"}\nnonsense\n{\"ask\":\"locate\",\"name\":\"user.ann\"}\n")
        .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let lines: Vec<String> = BufReader::new(stream).lines().map(Result::unwrap).collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[..2].iter().all(|line| line.starts_with("{\"end\":\"refused\"")), "{lines:?}");
    assert!(lines[2].contains("\"state\":\"active\"") && lines[3] == "{\"end\":\"done\"}", "{lines:?}");
}

#[test]
fn a_request_over_the_limit_ends_the_connection() {
    let bed = Bed::new(&[]);
    let mut stream = UnixStream::connect(&bed.path).unwrap();
    stream.write_all(&vec![b'x'; REQUEST_BYTES_MAX]).unwrap();
    let lines: Vec<String> = BufReader::new(stream).lines().map(Result::unwrap).collect();
    assert_eq!(lines, ["{\"end\":\"refused\",\"why\":\"request too long\"}"]);
}

#[test]
fn connections_over_the_limit_are_refused_until_one_ends() {
    let bed = Bed::new(&[]);
    let asked = |connection: &mut Connection| connection.ask_one::<Status>(&Ask::Status).map(drop);
    let mut connections: Vec<Connection> = (0..CONNECTIONS_MAX).map(|_| bed.ask()).collect();
    // An answer proves that each has its thread.
    assert!(connections.iter_mut().all(|connection| asked(connection).is_ok()));
    assert!(asked(&mut bed.ask()).is_err());
    connections.pop();
    while asked(&mut bed.ask()).is_err() {
        std::thread::yield_now();
    }
}

#[test]
fn the_socket_is_its_users_alone_and_goes_with_its_daemon() {
    let bed = Bed::new(&[]);
    assert_eq!(fs::metadata(&bed.path).unwrap().mode() & 0o777, 0o600);
    let path = bed.path.clone();
    drop(bed.control);
    assert!(!path.exists());
}

#[test]
fn a_successor_takes_the_place_and_keeps_it() {
    let before = Bed::new(&["user.ann"]);
    let after = start(&before.path, watched(&directory(&["user.bob"]))).unwrap();
    let inode = fs::metadata(&before.path).unwrap().ino();
    drop(before.control);
    assert_eq!(fs::metadata(&before.path).unwrap().ino(), inode);
    let mut daemon = Connection::open(&before.path).unwrap();
    let mailbox: Mailbox = daemon.ask_one(&Ask::Locate { name: "user.bob".into() }).unwrap();
    assert_eq!(mailbox.state, State::Active);
    drop(after);
}

/// A control socket over a directory.
struct Bed {
    control: Control,
    path: PathBuf,
    _folder: TempDir,
}

impl Bed {
    /// Over a live list of these mailboxes.
    fn new(names: &[&str]) -> Bed {
        Bed::over(&directory(names))
    }

    fn of(directory: Directory) -> Bed {
        Bed::over(&Client::serving(directory))
    }

    fn over(client: &Client) -> Bed {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("rookery");
        Bed { control: start(&path, watched(client)).unwrap(), path, _folder: folder }
    }

    fn ask(&self) -> Connection {
        Connection::open(&self.path).unwrap()
    }
}

fn watched(client: &Client) -> Arc<Watched> {
    let settings = log::Settings {
        ident: "test".into(),
        facility: log::Facility::default(),
        least: protocols::proxy::Level::Warn,
        target: Target::Stderr,
    };
    Arc::new(Watched {
        program: Program::Rookeryd,
        source: Some("master".into()),
        directory: client.clone(),
        sessions: Box::new(|| vec![3, 4]),
        measure: Box::new(|| vec![shard(0), shard(1)]),
        log: Log::start(settings).unwrap(),
    })
}

/// A shard that answered a NOOP of half a millisecond and a LOGIN.
fn shard(number: usize) -> Measured {
    let mut recorder = perf::Recorder::default();
    let noop = perf::Split { total_us: 500, own_us: 50, backend_us: 450, ..perf::Split::default() };
    recorder.record("NOOP", Some(perf::ServerId(0)), &noop);
    let login =
        perf::Split { total_us: 9000, own_us: 100, authentication_us: 8900, ..perf::Split::default() };
    recorder.record("LOGIN", None, &login);
    let snapshot = recorder.snapshot(|_| "backend1".into());
    Measured { shard: number, sessions: 2, connections: 4, refused: 0, waiting: 0, snapshot }
}

fn unsynced() -> Directory {
    Directory::new(Config { has_store: false, ..Config::slave() }, Loaded::nothing())
}

/// A directory that was told a complete list, and a client that is served by it.
fn directory(names: &[&str]) -> Client {
    let mut directory = unsynced();
    dump(&mut directory, names.iter().map(|name| active(name)).collect());
    Client::serving(directory)
}

/// A directory whose source brings an empty list behind a full one.
fn held_back() -> Directory {
    let mut directory = unsynced();
    dump(&mut directory, (0..150).map(|n| active(&format!("user.u{n}"))).collect());
    dump(&mut directory, Vec::new());
    directory
}

fn dump(directory: &mut Directory, entries: Vec<Change>) {
    for question in
        [DirectoryQuestion::DumpBegins, DirectoryQuestion::Dump(entries), DirectoryQuestion::DumpEnds]
    {
        directory.handle(Ticket(0), question);
    }
    while directory.has_work() {
        directory.work(1_000);
    }
}

fn active(name: &str) -> Change {
    Change::Active(Entry {
        name: name.as_bytes().into(),
        location: Location(b"backend1!default"[..].into()),
        acl: Arc::from(&b"anyone\tlrs\t"[..]),
    })
}

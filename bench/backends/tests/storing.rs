//! The storing backend over real sockets, as a client and as a master see it.

#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use backends::net::Stopper;
use backends::storing::{Account, Config, Master, Seed, Storing};

/// Nothing here takes longer unless it is broken.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn message_is_stored_found_copied_and_expunged() {
    let server = Running::start(None);
    let mut ann = server.login("ann");
    ann.ok("CREATE INBOX.Work");
    let lines = ann.ok("APPEND INBOX (\\Flagged mine) {30+}\r\nSubject: hello\r\n\r\nbody of it\r\n");
    assert!(lines[0].contains("[APPENDUID "), "{lines:?}");
    assert!(ann.ok("SELECT INBOX").iter().any(|l| l == "* 1 EXISTS"));
    assert_eq!(ann.ok("SEARCH SUBJECT hello KEYWORD mine")[0], "* SEARCH 1");
    let fetched = ann.ok("FETCH 1 (UID FLAGS RFC822.SIZE BODY.PEEK[TEXT])");
    assert_eq!(fetched[0], "* 1 FETCH (UID 1 FLAGS (\\Flagged mine) RFC822.SIZE 30 BODY[TEXT] {12}");
    let copied = ann.ok("UID COPY 1 INBOX.Work");
    assert!(copied[0].contains(" 1 1] "), "{copied:?}");
    let moved = ann.ok("MOVE 1 INBOX.Work");
    assert!(moved[0].contains("[COPYUID ") && moved[1] == "* 1 EXPUNGE", "{moved:?}");
    assert!(ann.ok("STATUS INBOX.Work (MESSAGES UNSEEN)")[0].ends_with("(MESSAGES 2 UNSEEN 2)"));
    ann.ok("SELECT INBOX.Work");
    assert_eq!(ann.ok("STORE 2 +FLAGS (\\Deleted)")[0], "* 2 FETCH (UID 2 FLAGS (\\Deleted \\Flagged mine))");
    assert_eq!(ann.ok("EXPUNGE")[0], "* 2 EXPUNGE");
}

#[test]
fn idle_is_told_what_another_session_does() {
    let server = Running::start(None);
    let (mut idle, mut other) = (server.login("ann"), server.login("bob"));
    idle.ok("SETACL INBOX bob lrsip");
    idle.ok("SELECT INBOX");
    idle.send("i IDLE\r\n");
    assert!(idle.line().starts_with("+ "));
    other.ok("APPEND user.ann {6+}\r\nA: b\r\n\r\n");
    assert_eq!(idle.line(), "* 1 EXISTS");
    assert_eq!(idle.line(), "* 0 RECENT");
    idle.send("DONE\r\n");
    assert_eq!(idle.line(), "i OK Completed");
}

#[test]
fn who_asked_by_notify_is_told_how_mailboxes_stand() {
    let server = Running::start(None);
    let (mut ann, mut bob) = (server.login("ann"), server.login("bob"));
    ann.ok("CREATE INBOX.Work");
    ann.ok("SETACL INBOX bob lrsip");
    let told = bob.ok("NOTIFY SET STATUS (mailboxes (user.ann user.ann.Work) (MessageNew MessageExpunge))");
    assert!(told[0].starts_with("* STATUS user.ann (MESSAGES 0 UIDNEXT 1 "), "{told:?}");
    assert_eq!(told.len(), 2, "one of them is not his to read: {told:?}");
    ann.ok("APPEND INBOX.Work {6+}\r\nA: b\r\n\r\n");
    ann.ok("APPEND INBOX {6+}\r\nA: b\r\n\r\n");
    assert!(bob.line().starts_with("* STATUS user.ann (MESSAGES 1 UIDNEXT 2 "));
    bob.ok("NOTIFY NONE");
    ann.ok("APPEND INBOX {6+}\r\nA: b\r\n\r\n");
    assert_eq!(bob.ok("NOOP").len(), 1);
}

#[test]
fn search_result_is_saved_and_named_by_a_dollar() {
    let server = Running::start(None);
    let mut ann = server.login("ann");
    for subject in ["a", "b", "a"] {
        ann.ok(&format!("APPEND INBOX {{14+}}\r\nSubject: {subject}\r\n\r\n"));
    }
    ann.ok("SELECT INBOX");
    assert_eq!(ann.ok("SEARCH RETURN (SAVE) SUBJECT a").len(), 1, "nothing but the result is told");
    let flagged = ann.ok("UID STORE $ +FLAGS (\\Flagged)");
    assert_eq!(flagged.iter().filter(|line| line.contains("FETCH")).count(), 2, "{flagged:?}");
    assert_eq!(ann.ok("SEARCH FLAGGED")[0], "* SEARCH 1 3");
    assert!(ann.command("SEARCH RETURN (MIN) ALL")[0].contains(" BAD "));
}

#[test]
fn mailbox_of_somebody_else_does_not_exist() {
    let server = Running::start(None);
    let mut bob = server.login("bob");
    for command in
        ["SELECT user.ann", "STATUS user.ann (MESSAGES)", "APPEND user.ann {1+}\r\nx", "GETACL user.ann"]
    {
        assert_eq!(bob.command(command).pop().as_deref(), Some("t NO Mailbox does not exist"), "{command}");
    }
    assert!(bob.ok("LIST \"\" *").iter().all(|l| !l.contains("ann")));
}

#[test]
fn only_a_proxy_may_log_in_as_another() {
    let server = Running::start(None);
    // ann NUL front NUL front, then ann NUL bob NUL bob
    assert!(server.connect().command("AUTHENTICATE PLAIN YW5uAGZyb250AGZyb250")[0].starts_with("t OK"));
    assert!(server.connect().command("AUTHENTICATE PLAIN YW5uAGJvYgBib2I=")[0].starts_with("t NO"));
    assert!(server.connect().command("LOGIN ann wrong")[0].starts_with("t NO"));
}

#[test]
fn literal_is_asked_for_and_pipelining_is_kept() {
    let server = Running::start(None);
    let mut ann = server.login("ann");
    ann.send("a APPEND INBOX {5}\r\n");
    assert!(ann.line().starts_with("+ "));
    ann.send("A: b\n\r\nb NOOP\r\nc SELECT INBOX\r\nd FETCH 1 UID\r\n");
    let mut seen = Vec::new();
    while !seen.last().is_some_and(|l: &String| l.starts_with("d ")) {
        seen.push(ann.line());
    }
    let tagged: String = seen.iter().filter(|l| !l.starts_with('*')).map(|l| &l[..4]).collect();
    assert_eq!(tagged, "a OKb OKc OKd OK");
}

#[test]
fn master_is_told_before_the_client() {
    let master = TcpListener::bind("127.0.0.1:0").unwrap();
    let account = Account { name: "postman".into(), password: "secret".into() };
    let server = Running::start(Some(Master { address: master.local_addr().unwrap(), account }));
    let mut told = MasterSide::accept(&master);
    assert_eq!(told.next(), ["ACTIVATE", "user.ann", &server.location(), "ann\tlrswipkxtecdan\t"]);
    assert_eq!(told.next()[1], "user.bob");
    let mut ann = server.login("ann");
    ann.send("c CREATE INBOX.New\r\n");
    assert_eq!(told.next(), ["RESERVE", "user.ann.New", &server.location()]);
    assert_eq!(told.next()[..2], ["ACTIVATE", "user.ann.New"]);
    assert_eq!(ann.line(), "c OK Completed");
    ann.send("d DELETE INBOX.New\r\n");
    assert_eq!(told.next(), ["DELETE", "user.ann.New"]);
    assert_eq!(ann.line(), "d OK Completed");
    told.answer = "NO \"mailbox already exists\"";
    ann.send("e CREATE INBOX.Other\r\n");
    assert_eq!(told.next()[0], "RESERVE");
    assert!(ann.line().starts_with("e NO "));
    assert!(ann.ok("LIST \"\" INBOX.Other").iter().all(|l| !l.starts_with('*')));
    drop(told);
    ann.send("f CREATE INBOX.Third\r\n");
    assert!(ann.line().starts_with("f NO "), "a change that no master heard of was accepted");
}

/// A backend in a thread of its own.
struct Running {
    address: SocketAddr,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(master: Option<Master>) -> Running {
        let seed = |user: &str| Seed {
            name: format!("user.{user}"),
            acl: vec![(user.to_owned(), "lrswipkxtecdan".to_owned())],
            messages: Vec::new(),
        };
        let account = |name: &str| Account { name: name.to_owned(), password: name.to_owned() };
        let server = Storing::bind(Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            name: None,
            accounts: ["ann", "bob", "front"].map(account).to_vec(),
            proxies: vec!["front".into()],
            admins: Vec::new(),
            seeds: ["ann", "bob"].map(seed).to_vec(),
            master,
        })
        .unwrap();
        let (address, stopper) = (server.address(), server.stopper());
        let thread = Some(std::thread::spawn(move || server.run().unwrap()));
        Running { address, stopper, thread }
    }

    fn location(&self) -> String {
        format!("{}!default", self.address)
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Client { reader: BufReader::new(stream) };
        assert!(client.line().starts_with("* OK "));
        client
    }

    fn login(&self, user: &str) -> Client {
        let mut client = self.connect();
        client.ok(&format!("LOGIN {user} {user}"));
        client
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    fn send(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// All lines up to the tagged one.
    fn command(&mut self, text: &str) -> Vec<String> {
        self.send(&format!("t {text}\r\n"));
        let mut lines = vec![self.line()];
        while !lines.last().is_some_and(|l| l.starts_with("t ") || l.is_empty()) {
            lines.push(self.line());
        }
        lines
    }

    fn ok(&mut self, text: &str) -> Vec<String> {
        let lines = self.command(text);
        assert!(lines.last().is_some_and(|l| l.starts_with("t OK") || l.is_empty()), "{text}: {lines:?}");
        lines
    }
}

/// The master's end of the registration.
struct MasterSide {
    reader: BufReader<TcpStream>,
    answer: &'static str,
}

impl MasterSide {
    fn accept(listener: &TcpListener) -> MasterSide {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"* AUTH \"PLAIN\"\r\n* OK MUPDATE \"m\" \"x\" \"y\" \"(master)\"\r\n").unwrap();
        let mut side = MasterSide { reader: BufReader::new(stream), answer: "OK \"done\"" };
        assert_eq!(side.next()[..2], ["AUTHENTICATE", "\"PLAIN\""]);
        side
    }

    /// The words of the next command, which is answered.
    fn next(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).unwrap();
            let line = line.trim_end();
            let Some((head, literal)) = line.rsplit_once('{') else {
                words.extend(line.split_ascii_whitespace().map(str::to_owned));
                break;
            };
            words.extend(head.split_ascii_whitespace().map(str::to_owned));
            let mut bytes = vec![0; literal.trim_end_matches("+}").parse().unwrap()];
            std::io::Read::read_exact(&mut self.reader, &mut bytes).unwrap();
            words.push(String::from_utf8(bytes).unwrap());
        }
        let tag = words.remove(0);
        let answer = format!("{tag} {}\r\n", self.answer);
        self.reader.get_mut().write_all(answer.as_bytes()).unwrap();
        words
    }
}

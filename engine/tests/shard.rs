//! A shard under clients that behave badly: bytes are conserved, nothing is left behind.
//!
//! `SHARD_SECONDS=300 cargo test --release -p engine --test shard` makes it a soak.

mod relay;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use driver::layer::Layer;
use driver::limits::{BUFFER_BYTES, BUFFERS_PER_TURN};
use engine::shard::{
    Accepted, Host, Inbox, Listener, ListenerId, PeerAddress, Reply, SessionId, ShardConfig, ToShard,
    TooMuch, listen_tcp, pipes, run,
};
use protocols::proxy::{
    Close, Event, Instant as Moment, LayerKind, Notice, Output, Question, QuestionId, Session, Side, Taken,
    Then,
};
use relay::{OneBackend, PIPED};
use socket2::SockRef;

/// Descriptors are counted per process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Numbers by a seed (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

/// A shard on a thread of its own, with a listener for lines and one for pipes.
struct Running {
    lines: SocketAddr,
    piped: SocketAddr,
    inbox: Inbox,
    thread: thread::JoinHandle<()>,
}

fn start(backend: SocketAddr) -> Running {
    start_with(OneBackend { backend, outcomes: None })
}

fn start_with(host: OneBackend) -> Running {
    let (inbox, reader) = Inbox::new().expect("a descriptor");
    let mut config = ShardConfig::new(0);
    config.pipes = pipes(8).expect("descriptors");
    // Few buffers, so that receives run out of them.
    config.receive_buffers = 64;
    let mut listen = |id| {
        let socket = listen_tcp("127.0.24.9:0".parse().expect("an address")).expect("a port");
        let address = TcpListener::from(socket.try_clone().expect("a descriptor")).local_addr();
        config.listeners.push(Listener { id, socket, deal: Vec::new() });
        address.expect("an address")
    };
    let (lines, piped) = (listen(ListenerId(0)), listen(PIPED));
    let thread = thread::spawn(move || run(config, host, reader).expect("a shard"));
    Running { lines, piped, inbox, thread }
}

/// A server that sends back what it gets, and ends when that does.
fn echo() -> SocketAddr {
    let listener =
        TcpListener::from(listen_tcp("127.0.24.8:0".parse().expect("an address")).expect("a port"));
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let mut buffer = [0; 16 * 1024];
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..n]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Lines, some with literals, some of these long enough to be spliced.
fn conversation(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..dice.below(20) + 1 {
        if dice.below(5) == 0 {
            let most = [10, 5000, 100_000, 400_000][dice.below(4)];
            let n = dice.below(most) + 1;
            bytes.extend_from_slice(format!("a APPEND x {{{n}}}\r\n").as_bytes());
            bytes.extend((0..n).map(|at| (at * 7 + n) as u8));
        }
        let n = dice.below(300);
        bytes.extend((0..n).map(|at| b'a' + (at % 26) as u8));
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Sends while another thread reads, at the pace that the dice give.
fn talk(to: SocketAddr, dice: &mut Dice, half_closes: bool) {
    let bytes = conversation(dice);
    let Ok(mut stream) = TcpStream::connect(to) else { panic!("no connection to the shard") };
    let mut reader = stream.try_clone().expect("a descriptor");
    let (slow, whole) = (dice.below(4) == 0, bytes.len());
    let reading = thread::spawn(move || {
        let mut got = Vec::new();
        let mut buffer = vec![0; if slow { 700 } else { 64 * 1024 }];
        while got.len() < whole || half_closes {
            match reader.read(&mut buffer) {
                Ok(n @ 1..) => got.extend_from_slice(&buffer[..n]),
                Ok(0) | Err(_) => break,
            }
        }
        got
    });
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let n = (dice.below(50_000) + 1).min(rest.len());
        stream.write_all(&rest[..n]).expect("the relay reads");
        rest = &rest[n..];
    }
    if half_closes {
        stream.shutdown(Shutdown::Write).expect("a half close");
    }
    let got = reading.join().expect("a reader");
    assert!(got == bytes, "{} of {} bytes came back, or others", got.len(), bytes.len());
}

/// Sends a part and breaks the connection.
fn break_off(to: SocketAddr, dice: &mut Dice) {
    let bytes = conversation(dice);
    let Ok(mut stream) = TcpStream::connect(to) else { panic!("no connection to the shard") };
    let n = dice.below(bytes.len());
    // The shard or its backend may have been faster.
    let _ = stream.write_all(&bytes[..n]);
    if dice.below(2) == 0 {
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc").count()
}

/// What the descriptors are, for a failed test.
fn named_descriptors() -> Vec<String> {
    let entries = std::fs::read_dir("/proc/self/fd").expect("proc").flatten();
    entries.filter_map(|entry| Some(std::fs::read_link(entry.path()).ok()?.display().to_string())).collect()
}

fn resident_kb() -> usize {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("proc");
    let line = text.lines().find(|line| line.starts_with("Pss:")).expect("Pss");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("a number")
}

#[test]
fn bytes_are_conserved_and_nothing_is_left_behind_by_clients_that_behave_badly() {
    let seconds = std::env::var("SHARD_SECONDS").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let backend = echo();
    let before = descriptors();
    let Running { lines, piped, inbox, thread } = start(backend);
    let until = Instant::now() + Duration::from_secs(seconds);
    let clients: Vec<_> = (1..=8u64)
        .map(|seed| {
            thread::spawn(move || {
                let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let mut rounds = 0;
                while rounds < 12 || Instant::now() < until {
                    rounds += 1;
                    match dice.below(4) {
                        0 => talk(piped, &mut dice, true),
                        1 => break_off(if dice.below(2) == 0 { lines } else { piped }, &mut dice),
                        _ => talk(lines, &mut dice, false),
                    }
                    if seed == 1 && rounds % 500 == 0 {
                        println!("round {rounds}: {} descriptors, {} KiB", descriptors(), resident_kb());
                    }
                }
                rounds
            })
        })
        .collect();
    let rounds: u64 = clients.into_iter().map(|client| client.join().expect("a client")).sum();
    println!("{rounds} conversations");
    inbox.send(ToShard::Drain { within: Duration::from_secs(20) });
    thread.join().expect("the shard");
    drop(inbox);
    let patience = Instant::now() + Duration::from_secs(20);
    // glommio keeps the eventfd of an executor for as long as the process lives.
    let before = before + 1;
    while descriptors() > before && Instant::now() < patience {
        thread::yield_now(); // The backend's threads see the ends of their connections.
    }
    assert!(descriptors() <= before, "{before} descriptors before, now {:?}", named_descriptors());
}

#[test]
fn a_drained_shard_accepts_what_is_queued_before_it_closes() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let backend = echo();
    let Running { lines, piped: _, inbox, thread } = start(backend);
    let mut stream = TcpStream::connect(lines).expect("a connection");
    stream.write_all(b"one\r\n").expect("sent");
    let mut line = [0; 5];
    stream.read_exact(&mut line).expect("echoed");
    inbox.send(ToShard::Drain { within: Duration::from_secs(20) });
    thread.join().expect("the relay ends its sessions when drained");
    assert_eq!(stream.read(&mut line).expect("an orderly end"), 0);
}

#[test]
fn outcome_of_every_connect_is_told() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dead = TcpListener::bind("127.0.24.8:0").expect("a port").local_addr().expect("an address");
    for (backend, stands) in [(echo(), true), (dead, false)] {
        let (outcomes, told) = mpsc::channel();
        let Running { lines, piped: _, inbox, thread } =
            start_with(OneBackend { backend, outcomes: Some(outcomes) });
        let mut stream = TcpStream::connect(lines).expect("a connection");
        stream.write_all(b"one\r\n").expect("sent");
        assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(stands));
        inbox.send(ToShard::Stop);
        thread.join().expect("the shard");
    }
}

#[test]
fn a_stopped_shard_cuts_what_is_there() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let backend = echo();
    let Running { lines, piped: _, inbox, thread } = start(backend);
    let mut stream = TcpStream::connect(lines).expect("a connection");
    stream.write_all(b"half a li").expect("sent");
    inbox.send(ToShard::Stop);
    thread.join().expect("the shard");
    assert!(matches!(stream.read(&mut [0; 5]), Ok(0) | Err(_)));
}

/// A session that wants nothing.
struct Idle;

impl Session for Idle {
    fn handle_input(&mut self, _: Side, input: &[u8], _: Moment) -> Taken {
        Taken { n: input.len(), then: Then::More }
    }

    fn handle_event(&mut self, _: Event, _: Moment) {}

    fn handle_timeout(&mut self, _: Moment) {}

    fn poll_output(&mut self, _: &mut Vec<u8>) -> Option<Output> {
        None
    }

    fn poll_timeout(&self) -> Option<Moment> {
        None
    }
}

#[test]
fn a_sleeping_shard_is_woken_by_its_inbox_every_time() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Running { inbox, thread, .. } = start(echo());
    let (woke, wakes) = mpsc::channel();
    for round in 0..20 {
        // Twice as long as it takes a shard to fall asleep.
        thread::sleep(Duration::from_millis(25));
        let woke = woke.clone();
        inbox.send(ToShard::Spawn(Box::new(move || {
            woke.send(round).expect("the test listens");
            Box::new(Idle)
        })));
        assert_eq!(wakes.recv_timeout(Duration::from_secs(10)), Ok(round), "the shard sleeps on");
    }
    inbox.send(ToShard::Stop);
    thread.join().expect("the shard");
}

/// A session that adds up what it is given at each moment, until its client ends.
struct Counting {
    seen: BTreeMap<Moment, usize>,
    told: mpsc::Sender<BTreeMap<Moment, usize>>,
    over: bool,
}

impl Session for Counting {
    fn handle_input(&mut self, _: Side, input: &[u8], now: Moment) -> Taken {
        *self.seen.entry(now).or_default() += input.len();
        Taken { n: input.len(), then: Then::More }
    }

    fn handle_event(&mut self, event: Event, _: Moment) {
        if matches!(event, Event::Eof(Side::Client)) {
            self.over = true;
            self.told.send(std::mem::take(&mut self.seen)).expect("the test listens");
        }
    }

    fn handle_timeout(&mut self, _: Moment) {}

    fn poll_output(&mut self, _: &mut Vec<u8>) -> Option<Output> {
        std::mem::take(&mut self.over).then_some(Output::Close { side: Side::Client, how: Close::Flush })
    }

    fn poll_timeout(&self) -> Option<Moment> {
        None
    }
}

struct Counter(mpsc::Sender<BTreeMap<Moment, usize>>);

impl Host for Counter {
    fn accept(&mut self, _: ListenerId, _: &PeerAddress, _: std::os::fd::BorrowedFd<'_>) -> Option<Accepted> {
        let session = Counting { seen: BTreeMap::new(), told: self.0.clone(), over: false };
        Some(Accepted { session: Box::new(session), layer: None })
    }

    fn ask(&mut self, _: SessionId, _: QuestionId, _: Question, _: Moment) -> Reply {
        Reply::Later
    }

    fn tell(&mut self, _: SessionId, _: Notice) {}

    fn layer(&mut self, _: &LayerKind) -> Result<Box<dyn Layer>, Box<str>> {
        Err("no layers here".into())
    }

    fn ended(&mut self, _: SessionId) {}
}

#[test]
fn what_one_enter_brings_beyond_a_share_waits_for_the_next_turn() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let socket = listen_tcp("127.0.24.9:0".parse().expect("an address")).expect("a port");
    SockRef::from(&socket).set_recv_buffer_size(1 << 20).expect("an option");
    let listening = TcpListener::from(socket.try_clone().expect("a descriptor"));
    let mut stream = TcpStream::connect(listening.local_addr().expect("an address")).expect("a connection");
    // Nobody reads yet: all that the sockets hold is there when the shard begins.
    stream.set_nonblocking(true).expect("an option");
    let (mut sent, share) = (0, usize::from(BUFFERS_PER_TURN) * BUFFER_BYTES);
    while let Ok(n) = stream.write(&[b'x'; 64 * 1024]) {
        sent += n;
    }
    assert!(sent > 2 * share, "the sockets hold {sent} bytes only");
    drop(stream);
    let (told, seen) = mpsc::channel();
    let (inbox, reader) = Inbox::new().expect("a descriptor");
    let mut config = ShardConfig::new(0);
    config.listeners.push(Listener { id: ListenerId(0), socket, deal: Vec::new() });
    let thread = thread::spawn(move || run(config, Counter(told), reader).expect("a shard"));
    let seen = seen.recv_timeout(Duration::from_secs(10)).expect("a session to the end");
    inbox.send(ToShard::Stop);
    thread.join().expect("the shard");
    assert_eq!(seen.values().sum::<usize>(), sent);
    let most = seen.values().max().copied().unwrap_or(0);
    assert!(most > share / 2 && most <= share, "{most} bytes in one turn, {share} are a share");
}

/// A session that says goodbye when its time is over.
struct Parting {
    after: Duration,
    until: Option<Moment>,
    says: usize,
}

impl Session for Parting {
    fn handle_input(&mut self, _: Side, input: &[u8], _: Moment) -> Taken {
        Taken { n: input.len(), then: Then::More }
    }

    fn handle_event(&mut self, _: Event, _: Moment) {}

    fn handle_timeout(&mut self, now: Moment) {
        match self.until {
            None => self.until = Some(now + self.after),
            Some(until) if until <= now => self.says = 2,
            Some(_) => {}
        }
    }

    fn poll_output(&mut self, scratch: &mut Vec<u8>) -> Option<Output> {
        self.says = self.says.checked_sub(1)?;
        if self.says == 0 {
            return Some(Output::Close { side: Side::Client, how: Close::Flush });
        }
        scratch.extend_from_slice(b"goodbye\n");
        Some(Output::Write { to: Side::Client })
    }

    fn poll_timeout(&self) -> Option<Moment> {
        Some(self.until.unwrap_or(Moment(0)))
    }
}

/// Each client has a little more time than the one before.
struct Hasty {
    next: Duration,
}

impl Host for Hasty {
    fn accept(&mut self, _: ListenerId, _: &PeerAddress, _: std::os::fd::BorrowedFd<'_>) -> Option<Accepted> {
        self.next += Duration::from_micros(10);
        Some(Accepted { session: Box::new(Parting { after: self.next, until: None, says: 0 }), layer: None })
    }

    fn ask(&mut self, _: SessionId, _: QuestionId, _: Question, _: Moment) -> Reply {
        Reply::Later
    }

    fn tell(&mut self, _: SessionId, _: Notice) {}

    fn layer(&mut self, _: &LayerKind) -> Result<Box<dyn Layer>, Box<str>> {
        Err("no layers here".into())
    }

    fn ended(&mut self, _: SessionId) {}
}

/// The shard waits for 10 ms, then sees that a time is over: what is said in the turn before it would sleep must be
/// out before the next one shuts the connection down.
#[test]
fn goodbye_of_a_session_whose_time_ends_as_the_shard_would_sleep_is_sent() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let socket = listen_tcp("127.0.24.9:0".parse().expect("an address")).expect("a port");
    let address =
        TcpListener::from(socket.try_clone().expect("a descriptor")).local_addr().expect("an address");
    let (inbox, reader) = Inbox::new().expect("a descriptor");
    let mut config = ShardConfig::new(0);
    config.listeners.push(Listener { id: ListenerId(0), socket, deal: Vec::new() });
    let host = Hasty { next: Duration::from_micros(9_500) };
    let thread = thread::spawn(move || run(config, host, reader).expect("a shard"));
    for n in 0..200 {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("an option");
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("an end");
        assert_eq!(said, "goodbye\n", "client {n}");
    }
    inbox.send(ToShard::Stop);
    thread.join().expect("the shard");
}

/// A session that says hello, and goes with its client.
struct Greeter {
    said: bool,
    over: bool,
}

impl Session for Greeter {
    fn handle_input(&mut self, _: Side, input: &[u8], _: Moment) -> Taken {
        Taken { n: input.len(), then: Then::More }
    }

    fn handle_event(&mut self, event: Event, _: Moment) {
        self.over = matches!(event, Event::Eof(_) | Event::Reset(_));
    }

    fn handle_timeout(&mut self, _: Moment) {}

    fn poll_output(&mut self, scratch: &mut Vec<u8>) -> Option<Output> {
        if std::mem::take(&mut self.over) {
            return Some(Output::Close { side: Side::Client, how: Close::Flush });
        }
        if std::mem::replace(&mut self.said, true) {
            return None;
        }
        scratch.extend_from_slice(b"hello\n");
        Some(Output::Write { to: Side::Client })
    }

    fn poll_timeout(&self) -> Option<Moment> {
        None
    }
}

/// Greets, and has words for who finds no place.
struct Full;

impl Host for Full {
    fn accept(&mut self, _: ListenerId, _: &PeerAddress, _: std::os::fd::BorrowedFd<'_>) -> Option<Accepted> {
        Some(Accepted { session: Box::new(Greeter { said: false, over: false }), layer: None })
    }

    fn refusal(&mut self, listener: ListenerId, what: TooMuch, _: Moment) -> Option<&'static [u8]> {
        assert_eq!(what, TooMuch::Connections);
        assert_eq!(listener, ListenerId(7));
        Some(b"full\n")
    }

    fn ask(&mut self, _: SessionId, _: QuestionId, _: Question, _: Moment) -> Reply {
        Reply::Later
    }

    fn tell(&mut self, _: SessionId, _: Notice) {}

    fn layer(&mut self, _: &LayerKind) -> Result<Box<dyn Layer>, Box<str>> {
        Err("no layers here".into())
    }

    fn ended(&mut self, _: SessionId) {}
}

/// The first line that a new client hears.
fn first_line(address: SocketAddr) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("an option");
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a line");
        line.push(byte[0]);
    }
    (stream, String::from_utf8(line).expect("a line"))
}

#[test]
fn who_finds_no_place_is_told_and_others_are_served_when_there_is_one() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let socket = listen_tcp("127.0.24.9:0".parse().expect("an address")).expect("a port");
    let address =
        TcpListener::from(socket.try_clone().expect("a descriptor")).local_addr().expect("an address");
    let (inbox, reader) = Inbox::new().expect("a descriptor");
    let mut config = ShardConfig::new(0);
    config.limits.connections_max = 32;
    config.listeners.push(Listener { id: ListenerId(7), socket, deal: Vec::new() });
    let thread = thread::spawn(move || run(config, Full, reader).expect("a shard"));
    let mut served = Vec::new();
    let mut refused = loop {
        let (stream, line) = first_line(address);
        match line.as_str() {
            "hello\n" => served.push(stream),
            _ => break stream,
        }
    };
    // Two are kept for who is there.
    assert_eq!(served.len(), 30);
    let mut rest = Vec::new();
    assert_eq!(refused.read_to_end(&mut rest).expect("an end"), 0);
    drop(served.pop());
    let end = Instant::now() + Duration::from_secs(60);
    while first_line(address).1 != "hello\n" {
        assert!(Instant::now() < end, "nobody is served when somebody has gone");
    }
    inbox.send(ToShard::Stop);
    thread.join().expect("the shard");
}

//! The driver under toy sessions and a carrier in memory, at random splits.

mod world;

use driver::deflate::Deflaters;
use driver::layer::Wire;
use driver::limits::{BACKLOG_BYTES_MAX, BUFFERS_PER_TURN, Limits};
use driver::{BufferId, Carriage, ConnId, Driver};
use protocols::proxy::{
    Answer, BackendId, Close, Event, Instant, LayerKind, Output, Question, QuestionId, Service, Session,
    Side, Taken, Then,
};
use smallvec::smallvec;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use world::{BACKEND, Peer, World, Xor, one_record, record, sends};

/// A session made of a function that is told news and queues outputs.
struct Toy<F> {
    act: F,
    queue: VecDeque<(Output, Vec<u8>)>,
    wake: Option<Instant>,
}

/// What a toy is told.
enum News<'a> {
    Begin,
    Input(Side, &'a [u8]),
    Event(Event),
    Time,
}

type Queue = VecDeque<(Output, Vec<u8>)>;

fn toy<F: FnMut(News<'_>, &mut Queue) -> Taken + 'static>(mut act: F) -> Box<dyn Session> {
    let mut queue = VecDeque::new();
    act(News::Begin, &mut queue);
    Box::new(Toy { act, queue, wake: None })
}

impl<F: FnMut(News<'_>, &mut Queue) -> Taken> Session for Toy<F> {
    fn handle_input(&mut self, side: Side, input: &[u8], _: Instant) -> Taken {
        (self.act)(News::Input(side, input), &mut self.queue)
    }
    fn handle_event(&mut self, event: Event, _: Instant) {
        (self.act)(News::Event(event), &mut self.queue);
    }
    fn handle_timeout(&mut self, _: Instant) {
        self.wake = None;
        (self.act)(News::Time, &mut self.queue);
    }
    fn poll_output(&mut self, scratch: &mut Vec<u8>) -> Option<Output> {
        let (output, bytes) = self.queue.pop_front()?;
        scratch.extend_from_slice(&bytes);
        Some(output)
    }
    fn poll_timeout(&self) -> Option<Instant> {
        self.wake
    }
}

const HOLD: Taken = Taken { n: 0, then: Then::Hold };
const MORE: Taken = Taken { n: 0, then: Then::More };

fn write(queue: &mut Queue, to: Side, bytes: &[u8]) {
    queue.push_back((Output::Write { to }, bytes.to_vec()));
}

fn open(queue: &mut Queue, side: u32) {
    let question =
        Question::OpenBackend { side: BackendId(side), server: "b".into(), service: Service::Imap };
    queue.push_back((Output::Ask { id: QuestionId(side), question }, Vec::new()));
}

fn forward(queue: &mut Queue, from: Side, to: Side, n: u64) {
    queue.push_back((Output::Forward { from, to: smallvec![to], n }, Vec::new()));
}

fn close(queue: &mut Queue, side: Side, how: Close) {
    queue.push_back((Output::Close { side, how }, Vec::new()));
}

/// Lines in which `!n` before the end announces n bytes, forwarded both ways.
fn relay() -> Box<dyn Session> {
    let mut open_yet = false;
    toy(move |news, queue| match news {
        News::Begin => {
            open(queue, 0);
            MORE
        }
        News::Input(_, _) if !open_yet => HOLD,
        News::Input(side, input) => {
            let Some(at) = input.iter().position(|byte| *byte == b'\n') else { return MORE };
            let literal = input[..at].split(|byte| *byte == b'!').nth(1);
            let n: u64 =
                literal.and_then(|n| std::str::from_utf8(n).ok()?.parse().ok()).unwrap_or(0) + at as u64 + 1;
            forward(queue, side, if side == Side::Client { BACKEND } else { Side::Client }, n);
            MORE
        }
        News::Event(Event::Answer { answer: Answer::Opened(Ok(_)), .. }) => {
            open_yet = true;
            MORE
        }
        News::Event(Event::Eof(Side::Client)) => {
            close(queue, BACKEND, Close::Flush);
            MORE
        }
        News::Event(Event::Eof(_)) => {
            close(queue, Side::Client, Close::Flush);
            MORE
        }
        News::Event(_) | News::Time => MORE,
    })
}

fn lines(count: usize, literal: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for i in 0..count {
        if i % 7 == 3 {
            bytes.extend_from_slice(format!("append {i} !{literal}\n").as_bytes());
            bytes.extend((0..literal).map(|at| (at * 31 + i) as u8));
        }
        bytes.extend_from_slice(format!("line {i} of many\n").as_bytes());
    }
    bytes
}

#[test]
fn lines_and_literals_reach_the_other_side_whole_and_in_order() {
    for carriage in [Carriage::Copied, Carriage::Spliceable] {
        for seed in 1..16 {
            let mut world = World::new(seed, Limits::default(), carriage);
            let (up, down) = (lines(60, 90_000), lines(50, 150_000));
            world.backends.push(sends(down.clone()));
            let client = world.client(relay(), sends(up.clone()));
            world.settle();
            let backend = world.opened[0];
            assert!(world.peer(backend).got == up, "seed {seed}");
            assert!(world.peer(client).got == down, "seed {seed}");
            assert_eq!(world.spliced > 0, carriage == Carriage::Spliceable);
            assert!(world.notices.is_empty());
        }
    }
}

#[test]
fn a_destination_that_takes_nothing_stops_its_source_and_memory_stays_bounded() {
    for seed in 1..10 {
        let mut world = World::new(seed, Limits::default(), Carriage::Copied);
        let down = lines(100, 90_000);
        let up = [b"put !200000\n".to_vec(), vec![b'u'; 200_000]].concat();
        world.backends.push(sends(down.clone()));
        let client = world.client(relay(), Peer { takes: 1000, ..sends(up.clone()) });
        let most = world.settle();
        assert!(most < 400 * 1024, "{most} bytes stood in between");
        assert!(most < BACKLOG_BYTES_MAX);
        let backend = world.opened[0];
        let got = world.peer(backend).got.len();
        assert!(got == 0 || got == up.len(), "a forward out of a full side goes on, {got} bytes came");
        world.peer(client).takes = usize::MAX;
        world.settle();
        assert!(world.peer(client).got == down, "seed {seed}");
        assert!(world.peer(backend).got == up, "seed {seed}");
    }
}

#[test]
fn a_broken_forward_is_told_with_what_is_left_and_the_rest_can_be_discarded() {
    for seed in 1..40 {
        let mut world = World::new(seed, Limits::default(), Carriage::Copied);
        let mut sent = b"put !5000\n".to_vec();
        sent.extend(vec![b'x'; 3000]);
        world.backends.push(sends(""));
        let session = toy({
            let mut relay = relay();
            move |news, queue| {
                let taken = match news {
                    News::Begin => MORE,
                    News::Event(Event::ForwardBroken { from, left, .. }) => {
                        queue.push_back((Output::Discard { from, n: left }, Vec::new()));
                        MORE
                    }
                    News::Event(Event::Reset(_)) => MORE,
                    News::Event(event) => {
                        relay.handle_event(event, Instant(0));
                        MORE
                    }
                    News::Input(side, input) if input.starts_with(b"after") => {
                        if input.ends_with(b"\n") {
                            write(queue, side, b"still here\n");
                            Taken { n: input.len(), then: Then::More }
                        } else {
                            MORE
                        }
                    }
                    News::Input(side, input) => relay.handle_input(side, input, Instant(0)),
                    News::Time => MORE,
                };
                let mut scratch = Vec::new();
                while let Some(output) = relay.poll_output(&mut scratch) {
                    queue.push_back((output, std::mem::take(&mut scratch)));
                }
                taken
            }
        });
        let client = world.client(session, sends(sent));
        // The toy polls its relay only when told something.
        world.driver.tell(first_session(), Event::ListChanged);
        world.settle();
        let backend = world.opened[0];
        assert_eq!(world.peer(backend).got.len(), 3010);
        world.reset(backend);
        world.peer(client).to_send.extend(vec![b'x'; 2000]);
        world.peer(client).to_send.extend_from_slice(b"after\n");
        world.settle();
        assert_eq!(world.peer(client).got, b"still here\n", "seed {seed}");
    }
}

/// A relay of lines that says so when its backend is gone, and stays.
fn outliving(relayed: Box<dyn Session>) -> Box<dyn Session> {
    let mut relay = relayed;
    toy(move |news, queue| {
        let taken = match news {
            News::Begin | News::Time => MORE,
            News::Event(Event::Reset(Side::Backend(_))) => {
                write(queue, Side::Client, b"gone\n");
                MORE
            }
            News::Event(event) => {
                relay.handle_event(event, Instant(0));
                MORE
            }
            News::Input(side, input) => relay.handle_input(side, input, Instant(0)),
        };
        let mut scratch = Vec::new();
        while let Some(output) = relay.poll_output(&mut scratch) {
            queue.push_back((output, std::mem::take(&mut scratch)));
        }
        taken
    })
}

/// A client who takes little of what a backend sends, which breaks then.
fn breaks_after(seed: u64, sent: Vec<u8>) -> (World, u32) {
    let mut world = World::new(seed, Limits::default(), Carriage::Copied);
    world.backends.push(sends(sent));
    let client = world.client(outliving(relay()), Peer { takes: 3, ..sends("") });
    world.driver.tell(first_session(), Event::ListChanged);
    world.settle();
    let backend = world.opened[0];
    world.reset(backend);
    world.peer(client).takes = usize::MAX;
    world.settle();
    (world, client)
}

#[test]
fn what_was_forwarded_whole_before_its_source_broke_arrives() {
    for seed in 1..40 {
        let (mut world, client) = breaks_after(seed, b"first line\n".repeat(100));
        let got = world.peer(client).got.escape_ascii().to_string();
        let lines = got.strip_suffix("gone\\n").unwrap_or_else(|| panic!("seed {seed}: {got}"));
        assert!(lines.len() >= 12 && lines.len() % 12 == 0, "seed {seed}: {got}");
    }
}

#[test]
fn half_a_forward_of_a_source_that_broke_cuts_its_destination_off() {
    for seed in 1..40 {
        let (world, client) = breaks_after(seed, [b"put !5000\n".as_slice(), &[b'x'; 3000]].concat());
        assert!(!world.peers.contains_key(&client), "seed {seed}: nothing could follow");
    }
}

/// Forwards whole lines, one after the other; once the backend is gone it takes them itself.
fn line_by_line(taken: Rc<RefCell<Vec<u8>>>) -> Box<dyn Session> {
    let (mut stands, mut gone) = (false, false);
    toy(move |news, queue| match news {
        News::Begin => {
            open(queue, 0);
            MORE
        }
        News::Event(Event::Answer { .. }) => {
            stands = true;
            MORE
        }
        News::Event(Event::Reset(BACKEND)) => {
            gone = true;
            MORE
        }
        News::Event(Event::ForwardBroken { from, left, .. }) => {
            queue.push_back((Output::Discard { from, n: left }, Vec::new()));
            MORE
        }
        News::Input(_, _) if !stands => HOLD,
        News::Input(_, input) => {
            assert!(b"line ".starts_with(&input[..input.len().min(5)]), "the rest of a line was offered");
            let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return MORE };
            if gone {
                taken.borrow_mut().extend_from_slice(&input[..=end]);
                return Taken { n: end + 1, then: Then::More };
            }
            forward(queue, Side::Client, BACKEND, end as u64 + 1);
            MORE
        }
        News::Event(_) | News::Time => MORE,
    })
}

#[test]
fn nothing_is_offered_between_the_break_of_a_forward_and_the_word_of_it() {
    for seed in 1..60 {
        let mut world = World::new(seed, Limits::default(), Carriage::Copied);
        let taken = Rc::default();
        let up: Vec<u8> = (0..4000).flat_map(|at| format!("line {at:050}\n").into_bytes()).collect();
        world.backends.push(Peer { takes: 3000, ..sends("") });
        let client = world.client(line_by_line(Rc::clone(&taken)), sends(up.clone()));
        world.settle();
        let backend = world.opened[0];
        world.reset(backend);
        world.settle();
        world.peer(client).to_send.extend_from_slice(b"line last\n");
        world.settle();
        let taken = taken.borrow();
        assert!(taken.ends_with(b"line last\n"), "seed {seed}: {}", taken.len());
        let lines = taken.strip_suffix(b"line last\n").unwrap_or_default();
        assert!(up.ends_with(lines), "seed {seed}: lines are missing among those that were taken");
    }
}

/// The only session of a fresh world.
fn first_session() -> driver::SessionId {
    driver::SessionId { slot: 0, generation: 0 }
}

#[test]
fn held_input_is_offered_again_after_an_event_and_untaken_heads_with_what_follows() {
    for seed in 1..40 {
        let mut world = World::new(seed, Limits::default(), Carriage::Copied);
        let mut free = false;
        let session = toy(move |news, queue| match news {
            News::Input(_, _) if !free => HOLD,
            News::Input(side, input) if input.len() >= 10 => {
                write(queue, side, &input[..10]);
                Taken { n: 10, then: Then::More }
            }
            News::Event(Event::ListChanged) => {
                free = true;
                MORE
            }
            News::Begin | News::Input(..) | News::Event(_) | News::Time => MORE,
        });
        let client = world.client(session, sends(lines(3, 0)));
        world.settle();
        assert!(world.peer(client).got.is_empty());
        world.driver.tell(first_session(), Event::ListChanged);
        world.settle();
        let whole = lines(3, 0).len() / 10 * 10;
        assert_eq!(world.peer(client).got, lines(3, 0)[..whole], "seed {seed}");
    }
}

#[test]
fn a_switch_comes_after_the_writes_before_it_and_what_follows_is_encoded() {
    for seed in 1..40 {
        let mut world = World::new(seed, Limits::default(), Carriage::Spliceable);
        let session = toy(|news, queue| match news {
            News::Input(side, b"STARTTLS\n") => {
                write(queue, side, b"OK\n");
                queue.push_back((Output::Switch { side, layer: LayerKind::TlsServer }, Vec::new()));
                write(queue, side, b"early\n");
                Taken { n: 9, then: Then::More }
            }
            News::Input(side, input) if input.ends_with(b"\n") && !input.starts_with(b"S") => {
                write(queue, side, &[b"echo ", input].concat());
                Taken { n: input.len(), then: Then::More }
            }
            News::Begin | News::Input(..) | News::Event(_) | News::Time => MORE,
        });
        let client = world.client(session, sends("STARTTLS\n"));
        world.settle();
        assert_eq!(world.peer(client).got, [b"OK\n".to_vec(), record(b"hello")].concat());
        world.peer(client).to_send.extend([record(b"hello"), record(b"se"), record(b"cret\n")].concat());
        world.settle();
        let got = world.peer(client).got.split_off(3 + 7);
        let plain: Vec<u8> = decode(&got);
        assert_eq!(plain, b"early\necho secret\n", "seed {seed}");
    }
}

/// A record longer than what may wait undecoded is no input that waits: its end has to be read.
#[test]
fn an_incomplete_record_is_read_on_however_long_it_is() {
    for seed in 1..20 {
        let mut world = World::new(seed, Limits::default(), Carriage::Copied);
        let session = toy(|news, queue| match news {
            News::Begin => {
                queue.push_back((
                    Output::Switch { side: Side::Client, layer: LayerKind::TlsServer },
                    Vec::new(),
                ));
                MORE
            }
            News::Input(side, input) => {
                write(queue, side, format!("{} octets\n", input.len()).as_bytes());
                Taken { n: input.len(), then: Then::More }
            }
            News::Event(_) | News::Time => MORE,
        });
        let sent = [record(b"hello"), one_record(&[b'x'; 20_000])].concat();
        let client = world.client(session, sends(sent));
        world.settle();
        assert_eq!(decode(&world.peer(client).got[7..]), b"20000 octets\n", "seed {seed}");
    }
}

fn decode(mut wire: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while let Some((len, rest)) = wire.split_first_chunk() {
        let (record, rest) = rest.split_at(usize::from(u16::from_be_bytes(*len)));
        plain.extend(record.iter().map(|byte| byte ^ 0x5a));
        wire = rest;
    }
    plain
}

#[test]
fn deflate_needs_no_handshake_and_goes_both_ways() {
    for seed in 1..20 {
        let mut world = World::new(seed, Limits::default(), Carriage::Copied);
        let session = toy(|news, queue| match news {
            News::Input(side, b"COMPRESS\n") => {
                write(queue, side, b"OK\n");
                queue.push_back((Output::Switch { side, layer: LayerKind::Deflate }, Vec::new()));
                Taken { n: 9, then: Then::More }
            }
            News::Event(Event::Switched { side, result: Ok(_) }) => {
                write(queue, side, b"switched\n");
                MORE
            }
            News::Input(side, input) if input.ends_with(b"\n") && !input.starts_with(b"C") => {
                write(queue, side, &[b"echo ", input].concat());
                Taken { n: input.len(), then: Then::More }
            }
            News::Begin | News::Input(..) | News::Event(_) | News::Time => MORE,
        });
        let client = world.client(session, sends("COMPRESS\n"));
        world.settle();
        let (mut end, mut wire) = (Deflaters::default().layer().unwrap(), Wire::default());
        end.encode(b"hello\n", &mut wire).unwrap();
        world.peer(client).to_send.extend(wire.bytes());
        world.settle();
        let got = world.peer(client).got.clone();
        assert!(got.starts_with(b"OK\n"));
        let (mut wire, mut plain) = (got[3..].to_vec(), Vec::new());
        while !wire.is_empty() {
            let mut own = Vec::new();
            let decoded = end.decode(&mut wire, &mut Wire::default()).unwrap();
            end.take_decoded(&mut own);
            wire.drain(..decoded.consumed);
            plain.extend(own);
        }
        assert_eq!(plain, b"switched\necho hello\n", "seed {seed}");
    }
}

#[test]
fn deflate_stands_over_another_layer_from_behind_the_ok_on() {
    for seed in 1..20 {
        let mut world = World::new(seed, Limits::default(), Carriage::Copied);
        let session = toy(|news, queue| match news {
            News::Begin => {
                let layer = LayerKind::TlsServer;
                queue.push_back((Output::Switch { side: Side::Client, layer }, Vec::new()));
                MORE
            }
            News::Input(side, b"COMPRESS\n") => {
                write(queue, side, b"OK\n");
                queue.push_back((Output::Switch { side, layer: LayerKind::Deflate }, Vec::new()));
                Taken { n: 9, then: Then::More }
            }
            News::Input(side, input) if input.ends_with(b"\n") && !input.starts_with(b"C") => {
                write(queue, side, &[b"echo ", input].concat());
                Taken { n: input.len(), then: Then::More }
            }
            News::Input(..) | News::Event(_) | News::Time => MORE,
        });
        let client = world.client(session, sends([record(b"hello"), one_record(b"COMPRESS\n")].concat()));
        world.settle();
        let (mut end, mut wire) = (Deflaters::default().layer().unwrap(), Wire::default());
        end.encode(b"hello\n", &mut wire).unwrap();
        world.peer(client).to_send.extend(one_record(wire.bytes()));
        world.settle();
        let plain = decode(&world.peer(client).got.clone()[7..]);
        assert!(plain.starts_with(b"OK\n"), "seed {seed}: {plain:?}");
        let (mut wire, mut told) = (plain[3..].to_vec(), Vec::new());
        while !wire.is_empty() {
            let decoded = end.decode(&mut wire, &mut Wire::default()).unwrap();
            end.take_decoded(&mut told);
            wire.drain(..decoded.consumed);
        }
        assert_eq!(told, b"echo hello\n", "seed {seed}");
    }
}

#[test]
fn bulk_into_a_layer_is_sealed_piece_by_piece_and_what_is_not_taken_stops_it() {
    for seed in 1..8 {
        let mut world = World::new(seed, Limits::default(), Carriage::Spliceable);
        let down = lines(12, 250_000);
        world.backends.push(sends(down.clone()));
        let session = toy({
            let mut relay = relay();
            move |news, queue| {
                let taken = match news {
                    News::Begin => {
                        queue.push_back((
                            Output::Switch { side: Side::Client, layer: LayerKind::TlsServer },
                            Vec::new(),
                        ));
                        MORE
                    }
                    News::Event(event) => {
                        relay.handle_event(event, Instant(0));
                        MORE
                    }
                    News::Input(side, input) => relay.handle_input(side, input, Instant(0)),
                    News::Time => MORE,
                };
                let mut scratch = Vec::new();
                while let Some(output) = relay.poll_output(&mut scratch) {
                    queue.push_back((output, std::mem::take(&mut scratch)));
                }
                taken
            }
        });
        let client = world.client(session, Peer { takes: 150_000, ..sends(record(b"hello")) });
        let most = world.settle();
        assert!(most < 400 * 1024, "{most} bytes stood in between");
        world.peer(client).takes = usize::MAX;
        world.settle();
        let got = world.peer(client).got.split_off(7);
        assert!(decode(&got) == down, "seed {seed}");
        assert!(world.sealed > 0 && world.spliced == 0, "nothing went the way of bulk");
        assert!(world.notices.is_empty());
    }
}

#[test]
fn a_destination_that_breaks_under_sealed_bulk_breaks_its_forward() {
    for seed in 1..8 {
        let mut world = World::new(seed, Limits::default(), Carriage::Spliceable);
        let told = Rc::new(Cell::new(None));
        let session = toy({
            let told = Rc::clone(&told);
            move |news, queue| match news {
                News::Begin => {
                    open(queue, 0);
                    queue.push_back((
                        Output::Switch { side: Side::Client, layer: LayerKind::TlsServer },
                        Vec::new(),
                    ));
                    MORE
                }
                News::Input(BACKEND, input) if told.get().is_none() && input.starts_with(b"bulk") => {
                    forward(queue, BACKEND, Side::Client, 500_000);
                    MORE
                }
                News::Event(Event::ForwardBroken { from, left, .. }) => {
                    told.set(Some(left));
                    queue.push_back((Output::Discard { from, n: left }, Vec::new()));
                    MORE
                }
                News::Input(side, b"after") => {
                    write(queue, side, b"heard");
                    Taken { n: 5, then: Then::More }
                }
                News::Input(..) | News::Event(_) | News::Time => MORE,
            }
        });
        let mut bulk = b"bulk".to_vec();
        bulk.resize(400_000, b'x');
        world.backends.push(sends(bulk));
        let client = world.client(session, Peer { takes: 150_000, ..sends(record(b"hello")) });
        world.settle();
        let backend = world.opened[0];
        world.reset(client);
        world.settle();
        assert!(told.get().is_some_and(|left| left >= 100_000), "seed {seed}: {:?}", told.get());
        world.peer(backend).to_send.extend(vec![b'x'; 100_000]);
        world.peer(backend).to_send.extend_from_slice(b"after");
        world.settle();
        assert_eq!(world.peer(backend).got, b"heard", "seed {seed}");
    }
}

#[test]
fn handshakes_beyond_the_share_of_a_turn_wait_in_order() {
    let mut driver = Driver::new(Limits::default());
    let established = Rc::new(RefCell::new(Vec::new()));
    let conns: Vec<ConnId> = (0..10)
        .map(|n| {
            let established = Rc::clone(&established);
            let session = toy(move |news, _| {
                if let News::Event(Event::Switched { result: Ok(_), .. }) = news {
                    established.borrow_mut().push(n);
                }
                MORE
            });
            driver.accept(session, Some(Box::new(Xor::default())), Carriage::Copied).expect("room")
        })
        .collect();
    driver.begin_turn(Instant(1));
    for conn in &conns[..9] {
        driver.received(*conn, BufferId(0), &mut record(b"hello"));
    }
    assert_eq!(*established.borrow(), [0, 1, 2, 3]);
    assert!(driver.is_restless());
    driver.begin_turn(Instant(2));
    driver.received(conns[9], BufferId(0), &mut record(b"hello"));
    assert_eq!(*established.borrow(), [0, 1, 2, 3, 4, 5, 6, 7]);
    driver.begin_turn(Instant(3));
    assert_eq!(*established.borrow(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn a_connection_has_a_share_of_buffers_in_each_turn() {
    let mut driver = Driver::new(Limits::default());
    let [greedy, other] = [(); 2].map(|()| driver.accept(echo(), None, Carriage::Copied).expect("room"));
    for turn in 1..4 {
        driver.begin_turn(Instant(turn));
        for n in 0..BUFFERS_PER_TURN {
            assert!(driver.has_share(greedy), "{n} buffers are no share");
            driver.received(greedy, BufferId(n), &mut b"x".to_vec());
        }
        assert!(!driver.has_share(greedy) && driver.has_share(other));
    }
}

#[test]
fn plain_bytes_behind_a_switch_close_the_side() {
    let mut world = World::new(5, Limits::default(), Carriage::Copied);
    let session = toy(|news, queue| match news {
        News::Input(side, input) if input.len() >= 9 => {
            queue.push_back((Output::Switch { side, layer: LayerKind::TlsServer }, Vec::new()));
            Taken { n: 9, then: Then::Hold }
        }
        News::Begin | News::Input(..) | News::Event(_) | News::Time => MORE,
    });
    let mut all = b"STARTTLS\n".to_vec();
    all.extend(vec![b'i'; 100_000]);
    let client = world.client(session, sends(all));
    for _ in 0..3000 {
        world.turn();
    }
    assert!(world.peers.get(&client).is_none_or(|(_, peer)| peer.got_eof || peer.closed));
    assert_eq!(world.ended, 1);
}

#[test]
fn a_pipe_passes_ends_on_as_half_closes_and_the_session_is_over_with_both() {
    for carriage in [Carriage::Copied, Carriage::Spliceable] {
        for seed in 1..40 {
            let mut world = World::new(seed, Limits::default(), carriage);
            let (up, down) = (lines(30, 200_000), lines(20, 100_000));
            world.backends.push(Peer { ends: true, ..sends(down.clone()) });
            let session = toy(|news, queue| match news {
                News::Begin => {
                    open(queue, 0);
                    MORE
                }
                News::Event(Event::Answer { .. }) => {
                    queue.push_back((Output::Pipe { a: Side::Client, b: BACKEND }, Vec::new()));
                    MORE
                }
                News::Input(..) | News::Event(_) | News::Time => HOLD,
            });
            let client = world.client(session, sends(up.clone()));
            world.settle();
            let backend = world.opened[0];
            assert!(world.peer(client).got == down && world.peer(client).got_eof, "seed {seed}");
            assert!(world.peer(backend).got == up && !world.peer(backend).got_eof);
            world.peer(client).to_send.extend_from_slice(b"goodbye");
            world.peer(client).ends = true;
            world.settle();
            assert!(world.peer(backend).got.ends_with(b"goodbye") && world.peer(backend).got_eof);
            assert_eq!((world.ended, world.driver.connections()), (1, 0), "seed {seed}");
        }
    }
}

#[test]
fn idleness_of_a_pipe_is_told_since_its_last_byte_and_half_a_pipe_is_cut() {
    let limits = Limits { stalled_after: Duration::from_secs(5), ..Limits::default() };
    let mut world = World::new(5, limits, Carriage::Copied);
    let told = Rc::new(RefCell::new(Vec::new()));
    world.backends.push(sends("hello\n"));
    let events = Rc::clone(&told);
    let session = toy(move |news, queue| match news {
        News::Begin => {
            open(queue, 0);
            MORE
        }
        News::Event(Event::Answer { .. }) => {
            queue.push_back((Output::Pipe { a: Side::Client, b: BACKEND }, Vec::new()));
            MORE
        }
        News::Event(Event::Idle { since }) => {
            events.borrow_mut().push(since);
            HOLD
        }
        News::Event(Event::Reset(side)) => {
            close(queue, if side == BACKEND { Side::Client } else { BACKEND }, Close::Abort);
            HOLD
        }
        News::Input(..) | News::Event(_) | News::Time => HOLD,
    });
    let client = world.client(session, sends(""));
    world.settle();
    let begun = world.now;
    for second in 1..=11 {
        world.now = begun + Duration::from_secs(second);
        if second == 3 {
            world.peer(client).to_send.extend_from_slice(b"byte");
        }
        world.settle();
    }
    // A turn of the world takes a while.
    let last_byte = |since: &Instant| (3..4).contains(&since.since(begun).as_secs());
    assert!(!told.borrow().is_empty() && told.borrow().iter().all(last_byte), "{told:?}");
    world.peer(client).ends = true;
    world.settle();
    assert_eq!((world.ended, world.driver.connections()), (0, 2));
    for second in 12..=24 {
        world.now = begun + Duration::from_secs(second);
        world.settle();
    }
    assert_eq!((world.ended, world.driver.connections()), (1, 0));
}

#[test]
fn a_forward_without_progress_is_stalled_and_a_flushed_side_lingers_for_a_moment() {
    let limits = Limits { stalled_after: Duration::from_secs(5), ..Limits::default() };
    let mut world = World::new(3, limits, Carriage::Copied);
    let session = toy(|news, queue| match news {
        News::Input(side, b"go\n") => {
            queue.push_back((Output::Discard { from: side, n: 10 }, Vec::new()));
            MORE
        }
        News::Event(Event::Stalled { from, .. }) => {
            write(queue, from, b"BYE\n");
            close(queue, from, Close::Flush);
            MORE
        }
        News::Begin | News::Input(..) | News::Event(_) | News::Time => MORE,
    });
    let client = world.client(session, sends("go\n"));
    // The discard of what was only looked at takes the line itself first.
    world.settle();
    assert!(world.peer(client).got.is_empty());
    world.now = Instant(world.now.0 + 6_000_000_000);
    world.settle();
    assert_eq!(world.peer(client).got, b"BYE\n");
    assert!(world.peer(client).got_eof && !world.peer(client).closed);
    world.now = Instant(world.now.0 + 3_000_000_000);
    world.settle();
    assert!(world.peer(client).closed);
    assert_eq!(world.driver.connections(), 0);
}

#[test]
fn a_panic_ends_its_session_alone() {
    let mut world = World::new(9, Limits::default(), Carriage::Copied);
    let other = world.client(echo(), sends("before\n"));
    let broken = world.client(
        toy(|news, _| if let News::Input(..) = news { panic!("a broken machine") } else { MORE }),
        sends("x"),
    );
    world.settle();
    assert!(world.peer(broken).closed);
    assert_eq!((world.ended, world.notices.len()), (1, 1));
    world.peer(other).to_send.extend_from_slice(b"after\n");
    world.settle();
    assert_eq!(world.peer(other).got, b"before\nafter\n");
}

fn echo() -> Box<dyn Session> {
    toy(|news, queue| match news {
        News::Input(side, input) => {
            write(queue, side, input);
            Taken { n: input.len(), then: Then::More }
        }
        News::Begin | News::Event(_) | News::Time => MORE,
    })
}

#[test]
fn a_session_that_leaves_more_than_a_head_untaken_is_ended() {
    let mut world = World::new(11, Limits::default(), Carriage::Copied);
    let client = world.client(toy(|_, _| MORE), sends(vec![b'a'; 20_000]));
    world.settle();
    assert!(world.peer(client).closed);
    assert_eq!(world.notices.len(), 1);
}

#[test]
fn drained_is_told_when_a_long_answer_has_gone_out() {
    for seed in 1..20 {
        let mut world = World::new(seed, Limits::default(), Carriage::Copied);
        let mut pages = 0;
        let session = toy(move |news, queue| match news {
            News::Input(side, input) => {
                write(queue, side, &[b'p'; 10_000]);
                Taken { n: input.len(), then: Then::Hold }
            }
            News::Event(Event::Drained { side }) if pages < 50 => {
                pages += 1;
                write(queue, side, &[b'p'; 10_000]);
                MORE
            }
            News::Begin | News::Event(_) | News::Time => MORE,
        });
        let client = world.client(session, sends("l"));
        world.settle();
        assert_eq!(world.peer(client).got.len(), 51 * 10_000, "seed {seed}");
    }
}

#[test]
fn drained_is_told_of_much_that_was_said_little_by_little() {
    let mut world = World::new(12, Limits::default(), Carriage::Copied);
    let told = Rc::new(RefCell::new(0));
    let count = Rc::clone(&told);
    let client = world.client(
        toy(move |news, queue| match news {
            News::Input(side, input) => {
                write(queue, side, &[b'p'; 100]);
                Taken { n: input.len(), then: Then::More }
            }
            News::Event(Event::Drained { .. }) => {
                *count.borrow_mut() += 1;
                MORE
            }
            News::Begin | News::Event(_) | News::Time => MORE,
        }),
        sends("l"),
    );
    for _ in 0..400 {
        world.settle();
        world.peer(client).to_send.push(b'l');
    }
    world.settle();
    // 40 KB are nine times 4 KiB and a rest; where something had to wait it is told once more.
    assert!((9..=20).contains(&*told.borrow()), "{}", told.borrow());
}

#[test]
fn the_drivers_share_of_a_connection_is_small() {
    let (conn, session) = Driver::record_bytes();
    assert!(conn + session / 2 <= 400, "a connection takes {conn} bytes and half a session {session}");
}

/// Sends what a client says to two backends.
fn to_both(events: Rc<RefCell<Vec<String>>>) -> Box<dyn Session> {
    let mut standing = 0;
    toy(move |news, queue| match news {
        News::Begin => {
            open(queue, 0);
            open(queue, 1);
            MORE
        }
        News::Event(Event::Answer { .. }) => {
            standing += 1;
            MORE
        }
        News::Input(Side::Client, input) if standing == 2 => {
            let to = smallvec![BACKEND, Side::Backend(BackendId(1))];
            let n = input.len() as u64;
            queue.push_back((Output::Forward { from: Side::Client, to, n }, Vec::new()));
            MORE
        }
        News::Event(Event::Stalled { to, .. }) => {
            events.borrow_mut().push(format!("stalled {to:?}"));
            to.into_iter().for_each(|side| close(queue, side, Close::Abort));
            MORE
        }
        News::Event(Event::ForwardBroken { from, left, .. }) => {
            events.borrow_mut().push("broken".into());
            queue.push_back((Output::Discard { from, n: left }, Vec::new()));
            MORE
        }
        News::Event(event) => {
            events.borrow_mut().push(format!("{event:?}"));
            MORE
        }
        News::Input(..) | News::Time => HOLD,
    })
}

#[test]
fn a_forward_to_a_set_goes_on_to_those_that_live() {
    for seed in 1..60 {
        let mut world = World::new(seed, Limits::default(), Carriage::Spliceable);
        let events = Rc::default();
        world.backends.extend([sends(""), Peer { takes: 3000, ..sends("") }]);
        let up = lines(40, 200_000);
        let client = world.client(to_both(Rc::clone(&events)), sends(up.clone()));
        world.settle();
        let (living, dead) = (world.opened[0], world.opened[1]);
        assert!(world.peer(living).got.len() < up.len(), "the slowest sets the pace");
        world.reset(dead);
        world.settle();
        assert!(world.peer(living).got == up, "seed {seed}");
        assert!(!events.borrow().iter().any(|event| event == "broken"), "seed {seed}");
        world.reset(living);
        world.peer(client).to_send.extend_from_slice(b"more");
        world.settle();
        assert_eq!(events.borrow().last().map(String::as_str), Some("broken"), "seed {seed}");
    }
}

#[test]
fn the_slowest_of_a_set_is_named_when_its_time_is_up() {
    let limits = Limits { slowest_after: Duration::from_secs(5), ..Limits::default() };
    let mut world = World::new(5, limits, Carriage::Copied);
    let events = Rc::default();
    world.backends.extend([sends(""), Peer { takes: 10, ..sends("") }]);
    let up = lines(41, 300_000);
    world.client(to_both(Rc::clone(&events)), sends(up.clone()));
    world.settle();
    world.now = Instant(world.now.0 + 6_000_000_000);
    world.settle();
    assert_eq!(events.borrow()[..], ["stalled [Backend(BackendId(1))]".to_owned()]);
    let living = world.opened[0];
    assert_eq!(world.peer(living).got, up);
}

/// Opens a connection, says a line there and releases it at the answer; `how` is told.
fn borrower(how: Rc<RefCell<Vec<&'static str>>>) -> Box<dyn Session> {
    toy(move |news, queue| match news {
        News::Begin => {
            open(queue, 0);
            MORE
        }
        News::Event(Event::Answer { answer, .. }) => {
            how.borrow_mut().push(if matches!(answer, Answer::Reused { .. }) { "reused" } else { "fresh" });
            write(queue, BACKEND, b"hello\n");
            MORE
        }
        News::Input(BACKEND, input) => {
            let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return MORE };
            let offer = Default::default();
            let release =
                Output::Release { side: BACKEND, server: "b".into(), service: Service::Imap, offer };
            queue.push_back((release, Vec::new()));
            close(queue, Side::Client, Close::Flush);
            Taken { n: end + 1, then: Then::More }
        }
        News::Input(..) | News::Event(_) | News::Time => MORE,
    })
}

#[test]
fn a_released_connection_serves_another_session() {
    for seed in 1..40 {
        let mut world = World::new(seed, Limits::default(), Carriage::Spliceable);
        let how = Rc::default();
        world.backends.push(sends(""));
        world.client(borrower(Rc::clone(&how)), sends(""));
        world.settle();
        let backend = world.opened[0];
        world.peer(backend).to_send.extend_from_slice(b"x\n");
        world.settle();
        assert_eq!((world.ended, world.driver.pooled()), (1, 1), "seed {seed}");
        world.client(borrower(Rc::clone(&how)), sends(""));
        world.settle();
        world.peer(backend).to_send.extend_from_slice(b"y\n");
        world.settle();
        assert_eq!(how.borrow()[..], ["fresh", "reused"], "seed {seed}");
        assert_eq!(world.peer(backend).got, b"hello\nhello\n");
        world.now = Instant(world.now.0 + 61_000_000_000);
        world.settle();
        assert!(world.peer(backend).got_eof && world.driver.pooled() == 0, "seed {seed}: it waits for ever");
    }
}

#[test]
fn a_pooled_connection_that_says_anything_or_ends_is_closed() {
    for seed in 1..40 {
        for what in ["unread", "late", "end", "drain"] {
            let mut world = World::new(seed, Limits::default(), Carriage::Spliceable);
            world.backends.push(sends(""));
            world.client(borrower(Rc::default()), sends(""));
            world.settle();
            let backend = world.opened[0];
            let said: &[u8] = if what == "unread" { b"x\nmore\n" } else { b"x\n" };
            world.peer(backend).to_send.extend_from_slice(said);
            world.settle();
            assert!(what == "unread" || world.driver.pooled() == 1, "seed {seed}, {what}");
            match what {
                "late" => world.peer(backend).to_send.extend_from_slice(b"?"),
                "end" => world.peer(backend).ends = true,
                "drain" => world.driver.drain(Instant(u64::MAX)),
                _ => {}
            }
            world.settle();
            assert_eq!(world.driver.pooled(), 0, "seed {seed}, {what}");
            assert!(world.peers.get(&backend).is_none_or(|(_, peer)| peer.closed || peer.got_eof), "{what}");
        }
    }
}

//! Forwards: whole, in order, broken, stalled, to several sides.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use driver::limits::{
    BACKLOG_BYTES_MAX, BUFFER_BYTES, Limits, SINGLES_AFTER_BULK, SPLICE_BYTES_MIN, SPLICE_BYTES_MIN_STOPPED,
};
use driver::{Carriage, Pace};
use protocols::proxy::{BackendId, Close, Event, Instant, Output, Session, Side, Taken, Then};
use smallvec::smallvec;

use super::toy::{HOLD, MORE, News, close, first_session, forward, lines, open, relay, toy, write};
use super::world::{BACKEND, Peer, World, sends};

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

/// A world in which a backend has brought these things in full buffers, its slot, and what was spliced of them.
fn brought(things: &[Vec<u8>]) -> (World, u32, u64) {
    let mut world = World::new(3, Limits::default(), Carriage::Spliceable);
    world.backends.push(Peer { fills: true, ..sends("") });
    let client = world.client(relay(), sends(""));
    world.settle();
    let backend = world.opened[0];
    let mut spliced = 0;
    for thing in things {
        spliced = world.spliced;
        world.peer(backend).to_send.extend_from_slice(thing);
        world.settle();
    }
    assert_eq!(world.peer(client).got, things.concat());
    spliced = world.spliced - spliced;
    (world, backend, spliced)
}

fn literal(bytes: usize) -> Vec<u8> {
    [format!("put !{bytes}\n").into_bytes(), vec![b'x'; bytes]].concat()
}

#[test]
fn bulk_makes_its_source_received_by_the_buffer_until_enough_came_that_is_none() {
    let full = |count: usize| vec![b"a line of 16 oc\n".repeat(count * BUFFER_BYTES / 16)];
    let after = |count| brought(&[vec![literal(200_000)], full(count)].concat());
    let few = usize::from(SINGLES_AFTER_BULK) - 1;
    for (count, pace) in [(0, Pace::Single), (few, Pace::Single), (few + 1, Pace::Burst)] {
        let (mut world, backend, _) = after(count);
        assert_eq!(world.peer(backend).pace, Some(pace), "behind {count} buffers");
    }
}

#[test]
fn what_is_worth_no_stop_is_spliced_where_the_receive_has_stopped() {
    let bytes = 20_000;
    assert!((SPLICE_BYTES_MIN_STOPPED..SPLICE_BYTES_MIN).contains(&(bytes as u64 - BUFFER_BYTES as u64)));
    assert_eq!(brought(&[literal(bytes)]).2, 0);
    let (_, _, spliced) = brought(&[literal(200_000), literal(bytes)]);
    assert_eq!(spliced, (literal(bytes).len() - BUFFER_BYTES) as u64);
}

#[test]
fn bulk_without_a_pipe_is_copied_by_the_buffer() {
    let mut world = World::new(3, Limits::default(), Carriage::Spliceable);
    world.has_pipes = false;
    world.backends.push(Peer { fills: true, ..sends(literal(200_000)) });
    let client = world.client(relay(), sends(""));
    world.settle();
    let backend = world.opened[0];
    assert_eq!(world.peer(client).got, literal(200_000));
    assert_eq!((world.spliced, world.peer(backend).pace), (0, Some(Pace::Single)));
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

//! Pipes: ends and idleness.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use driver::Carriage;
use driver::limits::Limits;
use protocols::proxy::{Close, Event, Instant, Output, Side};

use super::toy::{HOLD, MORE, News, close, lines, open, toy};
use super::world::{BACKEND, Peer, World, sends};

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

/// What a client gets whose pipe was quiet for long: its server sent `sent` and it said `said` behind it.
fn farewell(carriage: Carriage, sent: &str, said: &str) -> Vec<u8> {
    let limits = Limits { stalled_after: Duration::from_secs(5), ..Limits::default() };
    let mut world = World::new(7, limits, carriage);
    world.backends.push(sends(sent));
    let session = toy(move |news, queue| match news {
        News::Begin => {
            open(queue, 0);
            MORE
        }
        News::Event(Event::Answer { .. }) => {
            queue.push_back((Output::Pipe { a: Side::Client, b: BACKEND }, Vec::new()));
            MORE
        }
        News::Event(Event::Idle { .. }) => {
            queue.push_back((Output::Write { to: Side::Client }, b"goodbye\n".to_vec()));
            close(queue, Side::Client, Close::BetweenLines);
            close(queue, BACKEND, Close::Abort);
            HOLD
        }
        News::Input(..) | News::Event(_) | News::Time => HOLD,
    });
    let client = world.client(session, sends(""));
    world.settle();
    let begun = world.now;
    for second in 1..=15 {
        world.now = begun + Duration::from_secs(second);
        if second == 2 {
            world.peer(client).to_send.extend_from_slice(said.as_bytes());
        }
        world.settle();
    }
    world.peer(client).ends = true;
    world.settle();
    assert_eq!((world.ended, world.driver.connections()), (1, 0));
    std::mem::take(&mut world.peer(client).got)
}

#[test]
fn who_is_in_a_pipe_is_told_something_between_two_lines_alone() {
    for carriage in [Carriage::Copied, Carriage::Spliceable] {
        let got = |sent: &str, said: &str| String::from_utf8(farewell(carriage, sent, said)).unwrap();
        assert_eq!(got("hello\n", ""), "hello\ngoodbye\n");
        assert_eq!(got("", ""), "goodbye\n", "the line before the pipe was the machine's");
        assert_eq!(got("hello\nin the mid", ""), "hello\nin the mid");
        assert_eq!(got("hello\n", "RETR 1\n"), "hello\n", "it waits for an answer");
    }
}

//! Connections that go from one session to another.

use std::cell::RefCell;
use std::rc::Rc;

use driver::Carriage;
use driver::limits::Limits;
use protocols::proxy::{Answer, Close, Event, Instant, Output, Service, Session, Side, Taken, Then};

use super::toy::{MORE, News, close, open, toy, write};
use super::world::{BACKEND, World, sends};

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

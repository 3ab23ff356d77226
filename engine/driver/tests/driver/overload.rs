//! Too much that nobody takes: who is let in, and who is cut.

use driver::limits::{BUFFER_BYTES, Limits, TooMuch};
use driver::{BufferId, Carriage, Driver};
use protocols::proxy::{Instant, Session, Taken, Then};

use super::toy::{MORE, News, toy, write};
use super::world::{Peer, World, Xor, record, sends};

/// So much may wait.
const WAITING_MAX: usize = 1024 * 1024;

/// What a client that takes nothing sends, less than the part of the limit that is kept from new clients.
const STUCK: usize = 40 * 1024;

/// Says back what it is told.
fn echo() -> Box<dyn Session> {
    toy(|news, queue| match news {
        News::Input(side, input) => {
            write(queue, side, input);
            Taken { n: input.len(), then: Then::More }
        }
        News::Begin | News::Event(_) | News::Time => MORE,
    })
}

fn world(seed: u64) -> World {
    let limits = Limits { spill_bytes_max: WAITING_MAX, ..Limits::default() };
    World::new(seed, limits, Carriage::Copied)
}

/// A client that sends much and takes ten bytes of what comes back.
fn stuck() -> Peer {
    Peer { takes: 10, ..sends(vec![b'x'; STUCK]) }
}

/// Adds such clients until one more is not let in.
fn fill(world: &mut World, seed: u64) -> Vec<u32> {
    let mut all = Vec::new();
    while world.driver.full().is_none() {
        all.push(world.client(echo(), stuck()));
        world.settle();
        assert!(all.len() < 10_000, "seed {seed}: nothing fills it");
    }
    assert_eq!(world.driver.full(), Some(TooMuch::Unsent), "seed {seed}");
    assert!(world.driver.accept(echo(), None, Carriage::Copied).is_none(), "seed {seed}");
    all
}

fn is_cut(world: &World, slot: u32) -> bool {
    world.peers.get(&slot).is_none_or(|(_, peer)| peer.closed)
}

fn takes_all(world: &mut World, slots: &[u32], seed: u64) {
    for slot in slots {
        world.peer(*slot).takes = usize::MAX;
    }
    world.settle();
    for slot in slots {
        assert!(world.peer(*slot).got == vec![b'x'; STUCK], "seed {seed}");
    }
    assert_eq!(world.driver.full(), None, "seed {seed}");
}

#[test]
fn nobody_is_let_in_near_the_limit_and_all_is_there_when_it_is_taken() {
    for seed in 1..4 {
        let mut world = world(seed);
        let all = fill(&mut world, seed);
        assert!(all.iter().all(|slot| !is_cut(&world, *slot)), "seed {seed}");
        takes_all(&mut world, &all, seed);
        assert!(world.driver.accept(echo(), None, Carriage::Copied).is_some(), "seed {seed}");
    }
}

#[test]
fn who_takes_nothing_for_longest_is_cut_not_who_is_sent_something() {
    for seed in 1..4 {
        let mut world = world(seed);
        let reader = world.client(echo(), sends("r"));
        let all: Vec<u32> = (0..200).map(|_| world.client(echo(), Peer { takes: 10, ..sends("") })).collect();
        // Those who are there already ask for more than there is place for.
        for some in all.chunks(5) {
            some.iter().for_each(|slot| world.peer(*slot).to_send.extend(vec![b'x'; STUCK]));
            world.settle();
        }
        world.peer(reader).to_send.extend(vec![b'r'; 500 * 1024]);
        world.settle();
        assert!(is_cut(&world, all[0]), "seed {seed}: nobody is cut");
        assert!(!is_cut(&world, reader) && world.peer(reader).got.len() == 500 * 1024 + 1, "seed {seed}");
        // Of those who stand still since one moment any may be the first.
        let cut = all.chunks(5).take_while(|some| some.iter().all(|slot| is_cut(&world, *slot))).count() * 5;
        let later = all.iter().skip(cut + 5);
        assert!(later.clone().count() > 0 && later.clone().all(|slot| !is_cut(&world, *slot)), "seed {seed}");
    }
}

#[test]
fn input_that_waits_undecoded_counts_until_its_client_is_gone() {
    let limits = Limits { spill_bytes_max: WAITING_MAX, ..Limits::default() };
    let mut driver = Driver::new(limits);
    let sealed = [record(b"hello"), record(&vec![b'x'; STUCK])].concat();
    let mut all = Vec::new();
    while driver.full().is_none() {
        let deaf = toy(|news, _| match news {
            News::Input(..) => Taken { n: 0, then: Then::Hold },
            News::Begin | News::Event(_) | News::Time => MORE,
        });
        let conn = driver.accept(deaf, Some(Box::new(Xor::default())), Carriage::Copied).expect("room");
        driver.begin_turn(Instant(all.len() as u64));
        for piece in sealed.clone().chunks_mut(BUFFER_BYTES) {
            driver.received(conn, BufferId(0), piece);
        }
        all.push(conn);
        assert!(all.len() < 1000, "nothing fills it");
    }
    assert_eq!(driver.full(), Some(TooMuch::Unsent));
    assert!(all.len() * STUCK <= WAITING_MAX, "{} clients are let in", all.len());
    for conn in all {
        driver.failed(conn);
    }
    assert_eq!((driver.full(), driver.waiting()), (None, 0));
}

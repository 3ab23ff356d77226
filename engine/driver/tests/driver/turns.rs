//! What a session gets in a turn, and how it ends.

use std::cell::RefCell;
use std::rc::Rc;

use driver::limits::{BUFFERS_PER_TURN, Limits};
use driver::{BufferId, Carriage, Driver};
use protocols::proxy::{Event, Instant, Session, Taken, Then};

use super::toy::{HOLD, MORE, News, first_session, lines, toy, write};
use super::world::{World, sends};

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

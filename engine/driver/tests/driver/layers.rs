//! Layers: switches, records, deflate, bulk that is sealed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use driver::deflate::Deflaters;
use driver::layer::Wire;
use driver::limits::Limits;
use driver::{BufferId, Carriage, ConnId, Driver};
use protocols::proxy::{Event, Instant, LayerKind, Output, Side, Taken, Then};

use super::toy::{MORE, News, forward, lines, open, relay, toy, write};
use super::world::{BACKEND, Peer, World, Xor, one_record, record, sends};

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

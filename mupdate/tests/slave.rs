//! The slave against what masters send.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test that cannot go on fails")]

mod world;

use mupdate::directory::{Config, Loaded, StoreWrite, Wait};
use mupdate::list::Editor;
use mupdate::slave::{self, Starttls};
use protocols::proxy::{Answer, Event, Finding, Freshness, Knowledge, Position, Side, Unavailable};
use world::{Machine, World, master_config, slave_config};

const GREETING: &str = "* AUTH \"PLAIN\" \"LOGIN\" \"SCRAM-SHA-256\" \"DIGEST-MD5\"\r\n* COMPRESS \"DEFLATE\"\r\n* PARTIAL-UPDATE\r\n* OK MUPDATE \"mupdate\" \"Cyrus IMAP\" \"3.6.1-Debian-3.6.1-4+deb12u5\" \"(master)\"\r\n";

const DUMP: &str = "U01 MAILBOX {8+}\r\nuser.foo {11+}\r\nbackend1!p1 {11+}\r\nanyone\tlrs\t\r\nU01 RESERVE \"user.new\" \"backend2!p\"\r\n";

/// A world with a slave that is connected and was greeted.
fn greeted(config: Config) -> (World, usize) {
    let mut world = World::new(config);
    let slave =
        world.add(Machine::slave(slave::Config { mechanisms: Some(vec!["PLAIN".into()]), ..slave_config() }));
    world.pass(0);
    world.opened(slave);
    let said = world.send(slave, GREETING);
    assert_eq!(said, "A01 AUTHENTICATE \"PLAIN\" \"AHBvc3RtYW4AcHctcG9zdG1hbg==\"\r\n");
    (world, slave)
}

fn live(config: Config) -> (World, usize) {
    let (mut world, slave) = greeted(config);
    assert_eq!(world.send(slave, "A01 OK \"Authenticated\"\r\n"), "U01 UPDATE\r\n");
    assert_eq!(world.directory.knowledge(), Knowledge::NeverSynced);
    assert_eq!(world.send(slave, &format!("{DUMP}U01 OK \"streaming starts\"\r\n")), "");
    assert_eq!(world.directory.knowledge(), Knowledge::Live);
    (world, slave)
}

fn find(name: &str, freshness: Freshness) -> Wait {
    Wait::Find { name: name.as_bytes().into(), freshness }
}

/// Lets the slave connect and log in again.
fn reconnect(world: &mut World, slave: usize) {
    world.pass(30);
    world.opened(slave);
    world.send(slave, GREETING);
    assert_eq!(world.send(slave, "A01 OK \"Authenticated\"\r\n"), "U01 UPDATE\r\n");
}

/// What a slave says first to a master that offers STARTTLS and these mechanisms.
fn first_word(starttls: Starttls, mechanisms: &str) -> String {
    let mut world = World::new(Config::slave());
    let slave = world.add(Machine::slave(slave::Config { starttls, ..slave_config() }));
    world.pass(0);
    world.opened(slave);
    let said = world.send(
        slave,
        &format!("* AUTH {mechanisms}\r\n* STARTTLS\r\n* OK MUPDATE \"m\" \"C\" \"3\" \"(master)\"\r\n"),
    );
    said.split_inclusive(' ').take(2).collect::<String>().trim().into()
}

#[test]
fn tls_is_begun_when_it_is_needed_to_keep_the_password() {
    assert_eq!(first_word(Starttls::WhenNeeded, "\"PLAIN\" \"SCRAM-SHA-256\""), "A01 AUTHENTICATE");
    assert_eq!(first_word(Starttls::WhenNeeded, "\"PLAIN\""), "S01 STARTTLS");
    assert_eq!(first_word(Starttls::WhenNeeded, ""), "S01 STARTTLS");
    assert_eq!(first_word(Starttls::Offered, "\"SCRAM-SHA-256\""), "S01 STARTTLS");
    assert_eq!(first_word(Starttls::Never, "\"SCRAM-SHA-256\""), "A01 AUTHENTICATE");
}

#[test]
fn a_dump_counts_from_its_ok_on() {
    let (world, _) = live(Config::slave());
    assert_eq!(world.names(), ["user.foo", "user.new"]);
}

#[test]
fn every_cut_of_the_masters_bytes_gives_the_same_list() {
    let bytes = format!(
        "A01 OK \"Authenticated\"\r\n{DUMP}U01 OK \"streaming starts\"\r\nU01 DELETE {{8+}}\r\nuser.foo\r\nU01 MAILBOX \"x\" \"b!p\" \"\"\r\n"
    );
    for cut in 0..bytes.len() {
        let (mut world, slave) = greeted(Config::slave());
        world.send(slave, &bytes[..cut]);
        world.send(slave, &bytes[cut..]);
        assert_eq!(world.names(), ["user.new", "x"], "cut at {cut}");
    }
}

#[test]
fn recorded_dump_of_cyrus_is_learned() {
    let transcript = include_str!("transcripts/master-to-slave.txt");
    let (mut world, slave) = greeted(Config::slave());
    world.send(slave, "A01 OK \"Authenticated\"\r\n");
    for line in transcript.lines().filter(|line| !line.starts_with('#')) {
        if let Some(said) = line.strip_prefix("S: ") {
            world.send(slave, &format!("{said}\r\n"));
        }
    }
    assert_eq!(world.directory.knowledge(), Knowledge::Live);
    let names = world.names();
    assert!(names.contains(&"user.user001.#calendars.Default".to_owned()));
    assert!(names.contains(&"stream2".to_owned()) && !names.contains(&"stream".to_owned()));
    let list = world.directory.published().load_full();
    let mut cursor = list.list.iter_from(b"user.user001.#calendars.Inbox");
    let row = cursor.next().unwrap();
    assert_eq!(&*row.acl(), b"user001\tlrswipkxtecdan789\tanyone\t789\t");
}

#[test]
fn no_bad_bye_and_eof_in_a_dump_keep_the_old_list() {
    for end in [
        "U01 NO \"denied\"\r\n",
        "U01 BAD \"what\"\r\n",
        "* BYE \"going\"\r\n",
        "",
        "nonsense\0\r\n\r\n",
        "U01 MAILBOX x\r\n",
    ] {
        let (mut world, slave) = live(Config { hold_back_percent: 100, ..Config::slave() });
        world.machines[slave].event(Event::Eof(Side::Backend(protocols::proxy::BackendId(0))), world.now);
        world.run();
        assert_eq!(world.directory.knowledge(), Knowledge::Stale);
        reconnect(&mut world, slave);
        world.send(slave, &format!("U01 MAILBOX \"other\" \"b!p\" \"\"\r\n{end}"));
        if !world.machines[slave].closed {
            world.machines[slave]
                .event(Event::Reset(Side::Backend(protocols::proxy::BackendId(1))), world.now);
            world.run();
        }
        assert_eq!(world.names(), ["user.foo", "user.new"], "after {end:?}");
        assert_eq!(world.directory.knowledge(), Knowledge::Stale);
        reconnect(&mut world, slave);
    }
}

#[test]
fn noops_keep_the_stream_alive_and_their_loss_ends_it() {
    let (mut world, slave) = live(Config::slave());
    world.pass(20);
    assert_eq!(world.machines[slave].take_out(), "N0 NOOP\r\n");
    world.send(slave, "N0 OK \"Noop done\"\r\n");
    world.pass(20);
    assert_eq!(world.machines[slave].take_out(), "N1 NOOP\r\n");
    world.pass(20);
    assert!(world.machines[slave].closed);
    assert_eq!(world.directory.knowledge(), Knowledge::Stale);
    assert!(!world.wants_connection(slave));
    world.pass(1);
    assert!(world.wants_connection(slave), "it was in step for long: it comes back soon");
}

#[test]
fn attempts_that_fail_come_at_growing_intervals_up_to_the_configured_one() {
    let mut world = World::new(Config::slave());
    let slave = world.add(Machine::slave(slave_config()));
    let mut pauses = Vec::new();
    for _ in 0..10 {
        let mut pause = 0;
        while !world.wants_connection(slave) {
            world.pass_ms(100);
            pause += 100;
        }
        pauses.push(pause);
        world.refused(slave);
    }
    let most = |n: usize| (500 << (n - 1)).min(20_000);
    assert!((1..10).all(|n| pauses[n] <= most(n) + 100 && pauses[n] >= most(n) / 2), "{pauses:?}");
}

#[test]
fn a_push_is_published_by_the_call_that_brings_it() {
    let (mut world, slave) = live(Config::slave());
    assert_eq!(world.send(slave, "U01 MAILBOX \"pushed\" \"b!p\" \"\"\r\n"), "", "no NOOP is asked for it");
    assert_eq!(world.names(), ["pushed", "user.foo", "user.new"]);
    world.send(slave, "U01 DELETE \"pushed\"\r\nU01 DELETE \"user.new\"\r\n");
    assert_eq!(world.names(), ["user.foo"]);
}

#[test]
fn a_barrier_answers_what_began_before_its_noop() {
    let (mut world, slave) = live(Config::slave());
    world.wait(1, find("late", Freshness::BarrierIfAbsent));
    assert_eq!(world.machines[slave].take_out(), "N0 NOOP\r\n");
    world.wait(2, Wait::Barrier);
    assert_eq!(world.machines[slave].take_out(), "", "one NOOP is in flight at a time");
    world.send(slave, "U01 MAILBOX \"late\" \"b!p\" \"\"\r\nN0 OK \"Noop done\"\r\n");
    let answers = std::mem::take(&mut world.answers);
    assert!(matches!(&answers[..], [(1, Answer::Found(Finding::Active(entry)))] if &*entry.name == b"late"));
    let said = world.send(slave, "N1 OK \"Noop done\"\r\n");
    assert!(said.is_empty());
    assert!(matches!(world.answers[..], [(2, Answer::Barrier(Ok(())))]));
}

#[test]
fn a_name_that_was_absent_is_not_asked_for_again_within_a_second() {
    let (mut world, slave) = live(Config::slave());
    world.wait(1, find("user.no", Freshness::BarrierOnce));
    assert_eq!(world.machines[slave].take_out(), "N0 NOOP\r\n");
    world.send(slave, "N0 OK \"Noop done\"\r\n");
    world.pass_ms(500);
    world.wait(2, find("user.no", Freshness::BarrierOnce));
    assert_eq!(world.machines[slave].take_out(), "", "the barrier of before will do");
    assert!(matches!(world.answers[1], (2, Answer::Found(Finding::Absent))));
    world.wait(3, find("user.no", Freshness::BarrierIfAbsent));
    assert_eq!(world.machines[slave].take_out(), "N1 NOOP\r\n", "who must know asks");
    world.send(slave, "N1 OK \"Noop done\"\r\n");
    world.send(slave, "U01 MAILBOX \"user.no\" \"b!p\" \"\"\r\n");
    world.wait(4, find("user.no", Freshness::BarrierOnce));
    assert!(matches!(world.answers[3], (4, Answer::Found(Finding::Active(_)))), "it has been made meanwhile");
    world.send(slave, "U01 DELETE \"user.no\"\r\n");
    world.pass_ms(600);
    world.wait(5, find("user.no", Freshness::BarrierOnce));
    assert_eq!(world.machines[slave].take_out(), "N2 NOOP\r\n", "a second is over");
}

#[test]
fn an_absence_is_not_believed_without_the_master() {
    let (mut world, slave) = live(Config::slave());
    world.wait(1, find("user.no", Freshness::BarrierOnce));
    world.send(slave, "N0 OK \"Noop done\"\r\n");
    let now = world.now;
    world.machines[slave].event(Event::Eof(Side::Backend(protocols::proxy::BackendId(0))), now);
    world.run();
    world.wait(2, find("user.no", Freshness::BarrierOnce));
    assert!(matches!(world.answers[1], (2, Answer::Found(Finding::Unknown))));
}

#[test]
fn a_barrier_that_does_not_come_answers_unknown() {
    let (mut world, slave) = live(Config::slave());
    world.wait(1, find("late", Freshness::BarrierIfAbsent));
    world.wait(2, find("user.foo", Freshness::Barrier));
    world.pass(2);
    assert!(matches!(world.answers[0], (1, Answer::Found(Finding::Unknown))));
    assert!(matches!(world.answers[1], (2, Answer::Found(Finding::Active(_)))));
    world.answers.clear();
    world.wait(3, Wait::Barrier);
    let now = world.now;
    world.machines[slave].event(Event::Eof(Side::Backend(protocols::proxy::BackendId(0))), now);
    world.run();
    assert!(matches!(world.answers[..], [(3, Answer::Barrier(Err(Unavailable)))]));
    world.wait(4, find("late", Freshness::BarrierIfAbsent));
    assert!(matches!(world.answers[1], (4, Answer::Found(Finding::Unknown))));
    world.wait(5, find("user.foo", Freshness::Barrier));
    assert!(matches!(world.answers[2], (5, Answer::Found(Finding::Active(_)))));
    world.wait(6, find("user.foo", Freshness::Proven));
    assert!(matches!(world.answers[3], (6, Answer::Found(Finding::Unknown))), "it may have moved since");
}

#[test]
fn what_has_to_be_proven_is_unknown_when_the_barrier_does_not_come() {
    let (mut world, slave) = live(Config::slave());
    world.wait(1, find("user.foo", Freshness::Proven));
    assert_eq!(world.machines[slave].take_out(), "N0 NOOP\r\n");
    world.send(slave, "N0 OK \"Noop done\"\r\n");
    assert!(matches!(world.answers[0], (1, Answer::Found(Finding::Active(_)))));
    world.wait(2, find("user.foo", Freshness::Proven));
    world.pass(2);
    assert!(matches!(world.answers[1], (2, Answer::Found(Finding::Unknown))));
}

#[test]
fn a_dump_that_deletes_too_much_waits_to_be_accepted() {
    let config = Config { hold_back_percent: 20, hold_back_names_min: 2, ..Config::slave() };
    let (mut world, slave) = live(config);
    let now = world.now;
    world.machines[slave].event(Event::Eof(Side::Backend(protocols::proxy::BackendId(0))), now);
    reconnect(&mut world, slave);
    world.send(slave, "U01 OK \"streaming starts\"\r\n");
    assert_eq!(world.directory.held_back().map(|held| (held.deletes, held.of)), Some((2, 2)));
    assert_eq!(world.directory.knowledge(), Knowledge::Stale);
    world.send(slave, "U01 MAILBOX \"pushed\" \"b!p\" \"\"\r\n");
    assert_eq!(world.names(), ["pushed", "user.foo", "user.new"], "pushes apply to the kept list");
    assert!(world.directory.accept());
    world.run();
    assert_eq!(world.names(), ["pushed"]);
    assert_eq!(world.directory.knowledge(), Knowledge::Live);
    assert!(!world.directory.accept());
}

#[test]
fn a_login_that_is_refused_is_tried_again_later() {
    let (mut world, slave) = greeted(Config::slave());
    world.send(slave, "A01 NO \"only admins may authenticate\"\r\n");
    assert!(world.machines[slave].closed);
    assert_eq!(world.directory.knowledge(), Knowledge::NeverSynced);
    reconnect(&mut world, slave);
}

#[test]
fn a_silent_master_is_given_up() {
    let mut world = World::new(Config::slave());
    let slave = world.add(Machine::slave(slave_config()));
    world.pass(0);
    world.opened(slave);
    world.pass(11);
    assert!(world.machines[slave].closed);
}

#[test]
fn slave_and_master_of_ours_are_in_step() {
    let mut master = World::new(Config::master());
    let backend = master.add(Machine::server(master_config()));
    let server = master.add(Machine::server(master_config()));
    master.send(backend, "A AUTHENTICATE \"PLAIN\" \"AHBvc3RtYW4AcHctcG9zdG1hbg==\"\r\n");
    for n in 0..500 {
        master.send(backend, &format!("{n} ACTIVATE \"user.u{n}\" \"be{}!p\" \"u{n}\tlrs\t\"\r\n", n % 7));
    }
    let mut world = World::new(Config::slave());
    let slave = world.add(Machine::slave(slave_config()));
    world.pass(0);
    world.opened(slave);
    exchange(&mut master, server, &mut world, slave);
    assert_eq!(world.names(), master.names());
    for n in (0..500).step_by(3) {
        master.send(backend, &format!("{n} DELETE \"user.u{n}\"\r\n"));
        exchange(&mut master, server, &mut world, slave);
    }
    assert_eq!(world.names(), master.names());
    assert_eq!(world.directory.knowledge(), Knowledge::Live);
}

const LOGIN: &str = "* AUTH \"PLAIN\"\r\n* RESUME \"epoch2\"\r\n* OK MUPDATE \"m\"\r\n";

/// A slave whose list stands at 7 of an epoch, logged in at a master that offers RESUME.
fn resuming() -> (World, usize, String) {
    let mut list = Editor::empty();
    list.apply(&world::active("user.foo", "b!p"));
    let source = Some(Position { epoch: "epoch1".into(), sequence: 7 });
    let loaded = Loaded { list, source, was_complete: true, ..Loaded::nothing() };
    let mut world = World::with(Config::slave(), loaded);
    let slave = world.add(Machine::slave(slave_config()));
    world.pass(0);
    world.opened(slave);
    world.send(slave, LOGIN);
    let said = world.send(slave, "A01 OK \"Authenticated\"\r\n");
    (world, slave, said)
}

/// Where the list stands as the store has it.
fn stored_position(world: &World) -> Option<(String, u64)> {
    let (StoreWrite::Append { beside, .. } | StoreWrite::Replace { beside, .. }) = world.writes.last()?;
    beside.source.as_ref().map(|at| (at.epoch.to_string(), at.sequence))
}

#[test]
fn a_slave_goes_on_where_its_list_stands() {
    let (mut world, slave, said) = resuming();
    assert_eq!(said, "R01 RESUME \"epoch1\" \"7\"\r\n");
    world.send(slave, "R01 MAILBOX \"new\" \"b!p\" \"\"\r\nR01 POSITION \"9\"\r\n");
    assert_eq!(world.directory.knowledge(), Knowledge::Stale, "there may be more");
    assert_eq!(world.names(), ["new", "user.foo"]);
    world.send(slave, "R01 OK \"streaming resumes\"\r\nR01 DELETE \"new\"\r\nR01 POSITION \"10\"\r\n");
    assert_eq!(world.directory.knowledge(), Knowledge::Live);
    assert_eq!(world.names(), ["user.foo"]);
    assert_eq!(stored_position(&world), Some(("epoch2".into(), 10)));
}

#[test]
fn a_slave_that_cannot_go_on_takes_the_whole_list_and_its_position() {
    let (mut world, slave, _) = resuming();
    assert_eq!(world.send(slave, "R01 NO \"cannot\"\r\n"), "U01 UPDATE\r\n");
    world.send(slave, "U01 MAILBOX \"a\" \"b!p\" \"\"\r\nU01 OK \"streaming starts\"\r\n");
    assert_eq!(world.names(), ["a"]);
    assert_eq!(stored_position(&world), None, "until it is told");
    world.send(slave, "U01 POSITION \"3\"\r\n");
    assert_eq!(stored_position(&world), Some(("epoch2".into(), 3)));
}

#[test]
fn a_kept_list_has_no_position_until_the_dump_is_accepted() {
    let (mut world, slave, _) = resuming();
    world.send(slave, "R01 NO \"cannot\"\r\nU01 OK \"streaming starts\"\r\nU01 POSITION \"3\"\r\n");
    assert!(world.directory.held_back().is_some());
    world.send(slave, "U01 MAILBOX \"new\" \"b!p\" \"\"\r\nU01 POSITION \"4\"\r\n");
    assert_eq!(stored_position(&world), None);
    assert!(world.directory.accept());
    world.send(slave, "U01 MAILBOX \"newer\" \"b!p\" \"\"\r\n");
    assert_eq!(world.names(), ["new", "newer"]);
    assert_eq!(stored_position(&world), Some(("epoch2".into(), 4)));
}

#[test]
fn an_accepted_dump_takes_what_is_pushed_while_it_is_compared() {
    let (mut world, slave, _) = resuming();
    world.send(slave, "R01 NO \"cannot\"\r\nU01 OK \"streaming starts\"\r\n");
    assert!(world.directory.accept());
    let now = world.now;
    world.machines[slave].input(b"U01 MAILBOX \"user.foo\" \"other!p\" \"\"\r\n", now);
    world.run();
    let list = world.directory.published().load().list.clone();
    assert!(list.locate(b"user.foo").is_some_and(|(location, _)| location.is_at(b"other")));
}

/// Carries bytes between a master's connection and a slave until both are silent.
fn exchange(master: &mut World, server: usize, world: &mut World, slave: usize) {
    loop {
        let down = master.machines[server].take_out();
        let up = world.machines[slave].take_out();
        if down.is_empty() && up.is_empty() {
            return;
        }
        world.machines[slave].input(down.as_bytes(), world.now);
        world.run();
        master.machines[server].input(up.as_bytes(), master.now);
        master.run();
    }
}

#[test]
fn what_the_slave_asks_is_timed_with_its_master() {
    let (mut world, slave) = greeted(Config::slave());
    world.send(slave, "A01 OK \"Authenticated\"\r\n");
    world.pass_ms(40);
    world.send(slave, &format!("{DUMP}U01 OK \"streaming starts\"\r\n"));
    world.machines[slave].event(Event::BarrierWanted, world.now);
    world.pass_ms(3);
    world.send(slave, "N0 OK \"done\"\r\n");
    let timed = std::mem::take(&mut world.machines[slave].timed);
    let told: Vec<_> = timed.iter().map(|timing| (*timing.verb, timing.backend.is_some())).collect();
    assert_eq!(told, [("SLAVE UPDATE", true), ("SLAVE NOOP", true)]);
    assert_eq!(timed[0].waits.as_ref().unwrap().backend_us, 40_000);
    assert_eq!(timed[1].began.until(world.now.stamp()), 3000);
}

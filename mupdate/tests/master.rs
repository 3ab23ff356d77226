//! The master against what backends and slaves send.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test that cannot go on fails")]

mod world;

use mupdate::directory::{Config, History, Loaded, Role};
use mupdate::list::Editor;
use mupdate::master;
use mupdate::master::rules::{Rules, Takeover};
use protocols::places::Places;
use protocols::proxy::{Event, Instant, Origin, Side, TlsInfo};
use protocols::sasl::{Mechanism, base64_out};
use world::{Machine, World, master_config};

fn master() -> World {
    World::new(Config::master())
}

fn login(world: &mut World) -> usize {
    let machine = world.add(Machine::server(master_config()));
    world.machines[machine].take_out();
    let reply = world.send(machine, "A01 AUTHENTICATE \"PLAIN\" {28+}\r\nAHBvc3RtYW4AcHctcG9zdG1hbg==\r\n");
    assert_eq!(reply, "A01 OK \"Authenticated\"\r\n");
    machine
}

#[test]
fn greeting_has_the_ok_last() {
    let mut world = master();
    let machine = world.add(Machine::server(master_config()));
    assert_eq!(
        world.machines[machine].take_out(),
        "* AUTH \"PLAIN\" \"LOGIN\"\r\n* PARTIAL-UPDATE\r\n* OK MUPDATE \"mupdate\" \"Rookery\" \"0.1\" \"(master)\"\r\n"
    );
}

#[test]
fn plain_is_hidden_until_there_is_tls() {
    let config = master::Config { allow_plaintext: false, starttls: true, ..master_config() };
    let mut machine = Machine::server(config);
    assert!(machine.take_out().starts_with("* AUTH\r\n* STARTTLS\r\n"));
}

/// Recorded from a Cyrus 3.6.1 backend (tests/transcripts/backend-*.txt): what it says, and that it
/// is answered as by Cyrus.
#[test]
fn recorded_backends_are_answered_as_by_cyrus() {
    let transcript = include_str!("transcripts/backends-to-master.txt");
    let mut world = master();
    let (mut said, mut expected, mut machine) = (String::new(), String::new(), None);
    for line in transcript.lines().filter(|line| !line.starts_with('#')) {
        if line == "--" {
            check(&mut world, &mut machine, &mut said, &mut expected);
            machine = None;
        } else if let Some(reply) = line.strip_prefix("S: ") {
            expected.push_str(reply);
            expected.push_str("\r\n");
        } else if let Some(command) = line.strip_prefix("C: ") {
            if !expected.is_empty() {
                check(&mut world, &mut machine, &mut said, &mut expected);
            }
            said.push_str(command);
            said.push_str("\r\n");
        }
    }
    check(&mut world, &mut machine, &mut said, &mut expected);
    assert!(world.names().iter().any(|name| name == "DELETED.user.user001.Newer.6B0206B0"));
    assert!(world.names().iter().all(|name| name != "user.user001.Newer"));
}

fn check(world: &mut World, machine: &mut Option<usize>, said: &mut String, expected: &mut String) {
    let at = *machine.get_or_insert_with(|| login(world));
    assert_eq!(world.send(at, said), *expected, "answer to {said}");
    said.clear();
    expected.clear();
}

#[test]
fn commands_are_answered_however_they_are_cut() {
    let text = "X0 RESERVE {6+}\r\ntest.a {16+}\r\nbackend1!default\r\nX1 ACTIVATE \"test.a\" \"backend1!default\" {11+}\r\nanyone\tlrs\t\r\nX2 FIND \"test.a\"\r\nQ01 LOGOUT\r\n";
    let expected = "X0 OK \"done\"\r\nX1 OK \"done\"\r\nX2 MAILBOX \"test.a\" \"backend1!default\" \"anyone\tlrs\t\"\r\nX2 OK \"Search completed\"\r\nQ01 OK \"bye-bye\"\r\n";
    for cut in 0..text.len() {
        let mut world = master();
        let machine = login(&mut world);
        let first = world.send(machine, &text[..cut]);
        let second = world.send(machine, &text[cut..]);
        assert_eq!(first + &second, expected, "cut at {cut}");
        assert!(world.machines[machine].closed);
    }
    let mut world = master();
    let machine = login(&mut world);
    let bytes: String = text.chars().map(|c| world.send(machine, &c.to_string())).collect();
    assert_eq!(bytes, expected);
}

#[test]
fn a_synchronising_literal_gets_its_go_ahead() {
    let mut world = master();
    let machine = login(&mut world);
    assert_eq!(world.send(machine, "a RESERVE {1}\r\n"), "+ go ahead\r\n");
    assert_eq!(world.send(machine, "x {4}\r\n"), "+ go ahead\r\n");
    assert_eq!(world.send(machine, "be!p\r\n"), "a OK \"done\"\r\n");
}

#[test]
fn bad_is_said_as_by_cyrus() {
    let mut world = master();
    let machine = world.add(Machine::server(master_config()));
    world.machines[machine].take_out();
    assert_eq!(world.send(machine, "a FIND \"x\"\r\n"), "a BAD \"Please login first\"\r\n");
    assert_eq!(world.send(machine, "a STARTTLS\r\n"), "a BAD \"Unrecognized command\"\r\n");
    let machine = login(&mut world);
    for (line, text) in [
        ("\r\n", "* BAD \"Need command\"\r\n"),
        ("a \r\n", "a BAD \"Null command\"\r\n"),
        ("a BADCMD\r\n", "a BAD \"Unrecognized command\"\r\n"),
        ("a FIND\r\n", "a BAD \"Missing arguments\"\r\n"),
        ("a FIND user.x\r\n", "a BAD \"Extra arguments\"\r\n"),
        ("a FIND \"x\" \"y\"\r\n", "a BAD \"Extra arguments\"\r\n"),
        ("a UPDATE \"\"\r\n", "a BAD \"Badly formed arguments\"\r\n"),
        ("a AUTHENTICATE \"PLAIN\"\r\n", "a BAD \"already authenticated\"\r\n"),
        ("a NOOP\r\n", "a OK \"Noop done\"\r\n"),
    ] {
        assert_eq!(world.send(machine, line), text, "{line}");
    }
    world.send(machine, "U1 UPDATE\r\n");
    assert_eq!(world.send(machine, "a FIND \"x\"\r\n"), "a BAD \"not legal when streaming\"\r\n");
}

#[test]
fn only_admins_get_in_and_who_fails_waits() {
    let mut world = master();
    let machine = world.add(Machine::server(master_config()));
    world.machines[machine].take_out();
    for (user, password, text) in
        [("fred", "pw-fred", "only admins may authenticate"), ("postman", "bad", "authentication failure")]
    {
        let mut line = b"a AUTHENTICATE \"PLAIN\" \"".to_vec();
        base64_out(&mut line, format!("\0{user}\0{password}").as_bytes());
        line.extend_from_slice(b"\"\r\n");
        assert_eq!(world.send(machine, std::str::from_utf8(&line).unwrap()), "");
        assert_eq!(world.send(machine, "b NOOP\r\n"), "", "nothing is read during the pause");
        world.pass(3);
        let reply = world.machines[machine].take_out();
        assert_eq!(reply, format!("a NO \"{text}\"\r\nb BAD \"Please login first\"\r\n"));
    }
    assert_eq!(world.send(machine, "c AUTHENTICATE \"PLAIN\"\r\n"), "\r\n");
    assert_eq!(world.send(machine, "*\r\n"), "c NO \"Client canceled authentication\"\r\n");
}

#[test]
fn ok_is_said_when_the_change_is_stored_and_in_order() {
    let mut world = master();
    let machine = login(&mut world);
    world.store_is_quick = false;
    let said = world.send(
        machine,
        "1 RESERVE \"a\" \"be1!p\"\r\n2 DELETE \"none\"\r\n3 ACTIVATE \"a\" \"be1!p\" \"\"\r\n4 NOOP\r\n",
    );
    assert_eq!(said, "", "the store has not answered");
    assert!(world.names().is_empty(), "nothing is published before it is stored");
    while !world.machines[machine].out.ends_with(b"4 OK \"Noop done\"\r\n") {
        world.directory.stored(Ok(()));
        world.run();
    }
    assert_eq!(
        world.machines[machine].take_out(),
        "1 OK \"done\"\r\n2 NO \"mailbox doesn't exist\"\r\n3 OK \"done\"\r\n4 OK \"Noop done\"\r\n"
    );
}

#[test]
fn what_cannot_be_stored_is_not_done() {
    let mut world = master();
    let machine = login(&mut world);
    world.store_is_quick = false;
    world.send(machine, "1 RESERVE \"a\" \"be1!p\"\r\n");
    world.directory.stored(Err("disk full".into()));
    world.run();
    assert_eq!(world.machines[machine].take_out(), "1 NO \"cannot store the change\"\r\n");
    world.store_is_quick = true;
    assert_eq!(world.send(machine, "2 FIND \"a\"\r\n"), "2 OK \"Search completed\"\r\n");
}

#[test]
fn a_stream_hears_of_a_change_at_once() {
    let mut world = master();
    let (backend, slave) = (login(&mut world), login(&mut world));
    world.send(backend, "1 ACTIVATE \"old\" \"be1!p\" \"anyone\tlrs\t\"\r\n");
    assert_eq!(
        world.send(slave, "U01 UPDATE\r\n"),
        "U01 MAILBOX \"old\" \"be1!p\" \"anyone\tlrs\t\"\r\nU01 OK \"streaming starts\"\r\n"
    );
    world.send(backend, "2 RESERVE \"new\" \"be1!p\"\r\n3 DELETE \"old\"\r\n");
    let pushed = "U01 RESERVE \"new\" \"be1!p\"\r\nU01 DELETE \"old\"\r\n";
    assert_eq!(world.machines[slave].take_out(), pushed);
    assert_eq!(world.send(slave, "N0 NOOP\r\n"), "N0 OK \"Noop done\"\r\n");
}

#[test]
fn a_noop_tells_everything_before_its_ok() {
    let mut world = master();
    let (backend, slave) = (login(&mut world), login(&mut world));
    world.send(slave, "U01 UPDATE\r\n");
    world.store_is_quick = false;
    world.send(backend, "1 RESERVE \"a\" \"be1!p\"\r\n");
    assert_eq!(world.send(slave, "N0 NOOP\r\n"), "N0 OK \"Noop done\"\r\n", "not committed: not waited for");
    world.directory.stored(Ok(()));
    assert_eq!(world.send(slave, "N1 NOOP\r\n"), "U01 RESERVE \"a\" \"be1!p\"\r\nN1 OK \"Noop done\"\r\n");
}

#[test]
fn a_partial_stream_has_only_its_servers() {
    let lenient = Rules { takeover: Takeover::Allowed, ..Rules::default() };
    let mut world = World::new(Config { role: Role::Master(lenient), ..Config::master() });
    let (backend, slave) = (login(&mut world), login(&mut world));
    world.send(backend, "1 ACTIVATE \"a\" \"be1!p\" \"\"\r\n2 ACTIVATE \"b\" \"be2!p\" \"\"\r\n");
    assert_eq!(
        world.send(slave, "U01 UPDATE \"be2\" \"be3\"\r\n"),
        "U01 MAILBOX \"b\" \"be2!p\" \"\"\r\nU01 OK \"streaming starts\"\r\n"
    );
    world.send(backend, "3 ACTIVATE \"a\" \"be3!p\" \"\"\r\n4 ACTIVATE \"b\" \"be1!p\" \"\"\r\n");
    assert_eq!(world.machines[slave].take_out(), "U01 MAILBOX \"a\" \"be3!p\" \"\"\r\nU01 DELETE \"b\"\r\n");
}

#[test]
fn a_long_list_goes_out_in_pages() {
    let mut world = master();
    let backend = login(&mut world);
    let mut said = String::new();
    for n in 0..3000 {
        said.push_str(&format!("{n} ACTIVATE \"user.u{n:05}\" \"be{}!p\" \"u{n:05}\tlrs\t\"\r\n", n % 2));
    }
    let answers = world.send(backend, &said);
    assert_eq!(answers.lines().count(), 3000);
    assert!(world.writes.len() < 3000 / 8, "changes are stored in groups: {}", world.writes.len());
    let list = world.send(backend, "L LIST\r\n");
    assert_eq!(list.lines().count(), 3001);
    assert!(list.ends_with("L OK \"list complete\"\r\n"));
    let part = world.send(backend, "L LIST \"be1!\"\r\n");
    assert_eq!(part.lines().count(), 1501);
}

#[test]
fn a_slaves_face_is_read_only() {
    let mut world = World::new(Config::slave());
    let role = master::Role::Slave { master: "mupdate.example.net".into() };
    let machine = world.add(Machine::server(master::Config { role, ..master_config() }));
    assert!(world.machines[machine].take_out().contains("\"mupdate://mupdate.example.net\""));
    world.send(machine, "A AUTHENTICATE \"PLAIN\" \"AHBvc3RtYW4AcHctcG9zdG1hbg==\"\r\n");
    for verb in
        ["DELETE \"x\"", "RESERVE \"x\" \"y\"", "DEACTIVATE \"x\" \"y\"", "ACTIVATE \"x\" \"y\" \"z\""]
    {
        assert_eq!(world.send(machine, &format!("a {verb}\r\n")), "a BAD \"read-only session\"\r\n");
    }
    assert_eq!(world.send(machine, "a FIND \"x\"\r\n"), "a NO \"mailbox list is not complete\"\r\n");
}

#[test]
fn what_is_too_long_ends_the_connection() {
    for text in ["a FIND {99999999+}\r\n".to_owned(), "x".repeat(5000)] {
        let mut world = master();
        let machine = login(&mut world);
        assert_eq!(world.send(machine, &text), "* BYE \"command, string or word too long\"\r\n");
        assert!(world.machines[machine].closed);
    }
}

#[test]
fn who_says_nothing_is_let_go_but_a_stream_stays() {
    let mut world = master();
    let new = world.add(Machine::server(master_config()));
    world.pass(0);
    world.machines[new].take_out();
    world.pass(61);
    assert!(world.machines[new].closed);
    let stream = login(&mut world);
    world.send(stream, "U01 UPDATE\r\n");
    world.pass(4 * 3600);
    assert!(!world.machines[stream].closed);
}

/// What waits in a machine, and what was given to the driver, of who takes nothing.
const UNTAKEN_BYTES_MAX: usize = 64 * 1024;

#[test]
fn who_lists_and_never_reads_is_cut_off_and_costs_little() {
    let mut world = master();
    let backend = login(&mut world);
    let names: String = (0..3000).map(|n| format!("{n} RESERVE \"user.u{n:05}\" \"be!p\"\r\n")).collect();
    world.send(backend, &names);
    let deaf = login(&mut world);
    world.machines[deaf].is_deaf = true;
    let said = world.send(deaf, &"L LIST\r\n".repeat(1000));
    assert!((1..UNTAKEN_BYTES_MAX).contains(&said.len()), "{}", said.len());
    world.pass(master::STALL.as_secs() - 1);
    assert!(!world.machines[deaf].closed);
    assert_eq!(world.send(backend, "N NOOP\r\n"), "N OK \"Noop done\"\r\n");
    world.pass(2);
    assert!(world.machines[deaf].closed && !world.machines[backend].closed);
}

#[test]
fn who_does_not_read_his_goodbye_is_cut_off() {
    let mut world = master();
    let backend = login(&mut world);
    let names: String = (0..3000).map(|n| format!("{n} RESERVE \"user.u{n:05}\" \"be!p\"\r\n")).collect();
    world.send(backend, &names);
    let deaf = login(&mut world);
    world.machines[deaf].is_deaf = true;
    world.send(deaf, "L LIST\r\n");
    let now = world.now;
    world.machines[deaf].event(Event::Drain { deadline: now }, now);
    world.pass(master::STALL.as_secs() - 1);
    assert!(!world.machines[deaf].closed);
    world.pass(2);
    assert!(world.machines[deaf].closed);
}

#[test]
fn small_changes_wait_for_a_subscriber_that_reads_late() {
    let mut world = master();
    let (backend, stream) = (login(&mut world), login(&mut world));
    world.send(stream, "U01 UPDATE\r\n");
    world.machines[stream].is_deaf = true;
    for n in 0..2000 {
        world.send(backend, &format!("{n} ACTIVATE \"user.u{}\" \"be1!p\" \"u\tl{n}\t\"\r\n", n % 7));
    }
    let mut told = world.machines[stream].take_out();
    assert!((1..UNTAKEN_BYTES_MAX).contains(&told.len()), "{}", told.len());
    world.machines[stream].is_deaf = false;
    world.run();
    told += &world.send(stream, "N1 NOOP\r\n");
    let expected: String =
        (0..2000).map(|n| format!("U01 MAILBOX \"user.u{}\" \"be1!p\" \"u\tl{n}\t\"\r\n", n % 7)).collect();
    assert!(told == format!("{expected}N1 OK \"Noop done\"\r\n"));
}

#[test]
fn compress_has_its_places_and_under_tls_waits_for_the_login() {
    let places = Places::new(1);
    let config = || master::Config { compression: Some(places.clone()), ..master_config() };
    let mut world = master();
    let one = world.add(Machine::server(config()));
    assert!(world.machines[one].take_out().contains("* COMPRESS \"DEFLATE\"\r\n"));
    assert_eq!(world.send(one, "Z COMPRESS \"LZW\"\r\n"), "Z NO \"Unknown COMPRESS algorithm\"\r\n");
    assert_eq!(world.send(one, "Z COMPRESS \"deflate\"\r\n"), "Z OK \"DEFLATE active\"\r\n");
    let origin = Origin { tls: true, ..world::origin() };
    let other = world.add(Machine::server_of(config(), origin, None));
    assert!(world.machines[other].take_out().contains("* COMPRESS \"DEFLATE\"\r\n"));
    let zip = "Z COMPRESS \"DEFLATE\"\r\n";
    assert_eq!(world.send(other, zip), "Z NO \"under TLS log in first\"\r\n");
    world.send(other, "A AUTHENTICATE \"PLAIN\" \"AHBvc3RtYW4AcHctcG9zdG1hbg==\"\r\n");
    assert_eq!(world.send(other, zip), "Z NO \"too many compressed connections\"\r\n");
    world.machines.remove(one);
    assert_eq!(world.send(other - 1, zip), "Z OK \"DEFLATE active\"\r\n");
}

fn login_from(world: &mut World, address: &str) -> usize {
    let origin = Origin { client_address: address.into(), ..world::origin() };
    let machine = world.add(Machine::server_of(master_config(), origin, None));
    world.machines[machine].take_out();
    world.send(machine, "A AUTHENTICATE \"PLAIN\" \"AHBvc3RtYW4AcHctcG9zdG1hbg==\"\r\n");
    machine
}

#[test]
fn a_leftover_copy_does_not_take_a_mailbox_over_but_a_push_of_the_list_does() {
    let mut world = master();
    let one = login_from(&mut world, "192.0.2.1:40000");
    let two = login_from(&mut world, "[::ffff:192.0.2.2]:40000");
    assert_eq!(world.send(one, "1 ACTIVATE \"a\" \"be1!p\" \"\"\r\n"), "1 OK \"done\"\r\n");
    world.send(two, "1 ACTIVATE \"b\" \"be2!p\" \"\"\r\n");
    let no = "NO \"mailbox is active on another server\"\r\n";
    assert_eq!(world.send(two, "2 ACTIVATE \"a\" \"be2!p\" \"\"\r\n"), format!("2 {no}"));
    assert_eq!(world.send(two, "3 DEACTIVATE \"a\" \"be2!p\"\r\n"), format!("3 {no}"));
    assert_eq!(world.send(two, "4 DELETE \"a\"\r\n"), format!("4 {no}"));
    world.send(two, "5 LIST \"be2\"\r\n");
    assert_eq!(world.send(two, "6 ACTIVATE \"a\" \"be2!p\" \"\"\r\n"), format!("6 {no}"), "no server's list");
    world.send(two, "7 LIST \"BE2!\"\r\n");
    assert_eq!(world.send(two, "8 ACTIVATE \"a\" \"be2!p\" \"\"\r\n"), "8 OK \"done\"\r\n");
    let conflicts = world.directory.conflicts();
    assert_eq!(conflicts.len(), 3, "ACTIVATE, DEACTIVATE, DELETE");
    assert!(conflicts.iter().all(|conflict| conflict.address == "192.0.2.2".parse().ok()));
}

#[test]
fn a_backend_finds_its_own_in_any_case_of_letters() {
    let mut world = master();
    let machine = login(&mut world);
    world.send(machine, "1 ACTIVATE \"a\" \"BE1!p\" \"\"\r\n2 ACTIVATE \"b\" \"be10!p\" \"\"\r\n");
    let list = world.send(machine, "3 LIST \"be1!\"\r\n");
    assert_eq!(list, "3 MAILBOX \"a\" \"BE1!p\" \"\"\r\n3 OK \"list complete\"\r\n");
}

#[test]
fn a_source_that_lists_shows_its_unfinished_moves() {
    let mut world = master();
    let machine = login(&mut world);
    world.send(machine, "1 ACTIVATE \"a\" \"be1!p\" \"\"\r\n2 DEACTIVATE \"a\" \"be1!p\"\r\n");
    world.pass(30);
    assert_eq!(world.send(machine, "3 LIST \"be1!\"\r\n").lines().count(), 2);
    let unfinished = world.directory.unfinished_moves();
    assert_eq!(
        (unfinished.len(), unfinished[0].deactivated_unix, unfinished[0].listed_unix),
        (1, Some(0), 30)
    );
}

#[test]
fn certificate_logs_in_by_external_and_the_empty_response_may_have_a_stray_sign() {
    let mut config = master::Config { starttls: true, ..master_config() };
    config.offer.mechanisms.push(Mechanism::External);
    let mut machine = Machine::server(config);
    assert!(!machine.take_out().contains("EXTERNAL"), "nobody has shown a certificate");
    machine.input(b"S01 STARTTLS\r\n", Instant(1));
    machine.take_out();
    let info = TlsInfo { version: "TLSv1.3", client_subject: Some("postman".into()) };
    machine.event(Event::Switched { side: Side::Client, result: Ok(info) }, Instant(1));
    assert!(machine.take_out().contains("\"EXTERNAL\""));
    machine.input(b"A01 AUTHENTICATE \"EXTERNAL\" ={0+}\r\n\r\n", Instant(1));
    assert_eq!(machine.take_out(), "A01 OK \"Authenticated\"\r\n");
}

/// A master whose list went through an epoch from 0 to 2, and its connection.
fn resumable() -> (World, usize) {
    let mut history = History::default();
    history.begin("old".into(), 0);
    history.begin("new".into(), 2);
    let log = vec![world::active("a", "be1!p"), world::active("b", "be1!p")];
    let mut list = Editor::empty();
    for change in &log {
        list.apply(change);
    }
    let loaded = Loaded { list, log, history, sequence: 2, ..Loaded::nothing() };
    let mut world = World::with(Config::master(), loaded);
    let epoch = world.directory.epoch().map(Into::into);
    let machine = world.add(Machine::server_of(master_config(), world::origin(), epoch));
    assert!(
        world.machines[machine].take_out().contains("* PARTIAL-UPDATE\r\n* RESUME \"new\"\r\n* OK MUPDATE")
    );
    world.send(machine, "A AUTHENTICATE \"PLAIN\" \"AHBvc3RtYW4AcHctcG9zdG1hbg==\"\r\n");
    (world, machine)
}

#[test]
fn a_stream_goes_on_from_a_position_of_an_older_epoch() {
    let (mut world, machine) = resumable();
    assert_eq!(
        world.send(machine, "R RESUME \"old\" \"1\"\r\n"),
        "R MAILBOX \"b\" \"be1!p\" \"anyone\tlrs\t\"\r\nR POSITION \"2\"\r\nR OK \"streaming resumes\"\r\n"
    );
    assert_eq!(world.send(machine, "X FIND \"b\"\r\n"), "X BAD \"not legal when streaming\"\r\n");
    let backend = login(&mut world);
    world.send(backend, "1 DELETE \"a\"\r\n");
    assert_eq!(world.machines[machine].take_out(), "R DELETE \"a\"\r\nR POSITION \"3\"\r\n");
    assert_eq!(world.send(machine, "N0 NOOP\r\n"), "N0 OK \"Noop done\"\r\n");
}

#[test]
fn who_cannot_go_on_is_told_so_and_gets_the_list_with_its_position() {
    for position in ["\"\" \"0\"", "\"other\" \"1\"", "\"old\" \"3\"", "\"new\" \"3\""] {
        let (mut world, machine) = resumable();
        let no = "R NO \"cannot go on from there: ask for the list\"\r\n";
        assert_eq!(world.send(machine, &format!("R RESUME {position}\r\n")), no);
        let dump = world.send(machine, "U UPDATE\r\n");
        assert!(dump.ends_with("U OK \"streaming starts\"\r\nU POSITION \"2\"\r\n"), "{dump}");
    }
}

#[test]
fn resume_is_for_those_who_know_how() {
    let (mut world, machine) = resumable();
    for (line, text) in [
        ("a RESUME\r\n", "a BAD \"Missing arguments\"\r\n"),
        ("a RESUME \"x\" \"y\"\r\n", "a BAD \"Badly formed arguments\"\r\n"),
        ("a RESUME \"x\" \"-1\"\r\n", "a BAD \"Badly formed arguments\"\r\n"),
    ] {
        assert_eq!(world.send(machine, line), text);
    }
    let dump = world.send(machine, "U UPDATE\r\n");
    assert!(dump.ends_with("U OK \"streaming starts\"\r\n"), "no position is told unasked: {dump}");
    let mut world = master();
    let machine = login(&mut world);
    assert_eq!(world.send(machine, "a RESUME \"\" \"0\"\r\n"), "a BAD \"Unrecognized command\"\r\n");
}

/// Verbs with the milliseconds for which each waited for the directory, in the order in which they were told.
fn timed(world: &mut World, machine: usize) -> Vec<(&'static str, u32)> {
    let timed = std::mem::take(&mut world.machines[machine].timed);
    let ms = |timing: &protocols::proxy::Timing| timing.waits.as_ref().unwrap().directory_us / 1000;
    timed.iter().map(|timing| (*timing.verb, ms(timing))).collect()
}

#[test]
fn each_command_is_timed_once_with_its_wait_for_the_list() {
    let mut world = master();
    let machine = login(&mut world);
    assert_eq!(timed(&mut world, machine), [("MUPDATE AUTHENTICATE", 0)]);
    world.store_is_quick = false;
    world.send(machine, "a RESERVE \"test.a\" \"be!p\"\r\nb ACTIVATE \"test.a\" \"be!p\" \"x\tlrs\t\"\r\n");
    assert_eq!(timed(&mut world, machine), []);
    world.pass_ms(7);
    world.directory.stored(Ok(()));
    world.run();
    world.pass_ms(5);
    world.directory.stored(Ok(()));
    world.run();
    assert_eq!(timed(&mut world, machine).first(), Some(&("MUPDATE RESERVE", 7)));
    world.store_is_quick = true;
    world.send(machine, "c FIND \"test.a\"\r\nd NOOP\r\ne LIST\r\nf WHAT\r\ng UPDATE\r\nh NOOP\r\n");
    let told: Vec<&str> = timed(&mut world, machine).into_iter().map(|(verb, _)| verb).collect();
    let told = told.strip_prefix(&["MUPDATE ACTIVATE"]).unwrap_or(&told);
    assert_eq!(told, ["MUPDATE FIND", "MUPDATE NOOP", "MUPDATE LIST", "MUPDATE UPDATE", "MUPDATE NOOP"]);
}

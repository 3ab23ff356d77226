use super::*;

fn parsed(bytes: &[u8]) -> Command<'_> {
    let (command, n) = command(bytes).unwrap();
    assert_eq!(n, bytes.len());
    command
}

fn arguments(bytes: &[u8]) -> Vec<Vec<u8>> {
    match parsed(bytes).request {
        Request::Arguments(arguments) => arguments.into_iter().map(|a| a.into_owned()).collect(),
        other @ (Request::NoCommand | Request::NullCommand | Request::Extra | Request::Malformed) => {
            panic!("no arguments but {other:?}")
        }
    }
}

const COMMANDS: [&[u8]; 7] = [
    b"X0 ACTIVATE {12+}\r\nuser.user001 {16+}\r\nbackend1!default {35+}\r\nuser001\tlrswipkxtecdan\tuser002\tlrs\t\r\n",
    b"X1 RESERVE \"user.a\\\"b\" \"be!p\"\r\n",
    b"Q01 LOGOUT\r\n",
    b"U01 UPDATE\n",
    b"A01 AUTHENTICATE \"PLAIN\" {4+}\r\nAGEA\r\n",
    b"x find {3}\r\na\r\n \r\n",
    b"t LIST atom\r\n",
];

#[test]
fn commands_of_cyrus_are_read() {
    assert_eq!(
        arguments(COMMANDS[0]),
        [&b"user.user001"[..], b"backend1!default", b"user001\tlrswipkxtecdan\tuser002\tlrs\t"]
    );
    assert_eq!(parsed(COMMANDS[0]).verb, Verb::Activate);
    assert_eq!(arguments(COMMANDS[1]), [&b"user.a\"b"[..], b"be!p"]);
    assert_eq!((parsed(COMMANDS[2]).tag, parsed(COMMANDS[2]).verb), (&b"Q01"[..], Verb::Logout));
    assert_eq!(arguments(COMMANDS[3]), Vec::<Vec<u8>>::new());
    assert_eq!(arguments(COMMANDS[5]), [b"a\r\n"]);
    assert_eq!(parsed(COMMANDS[5]).verb, Verb::Find);
}

#[test]
fn the_front_of_a_command_is_incomplete_at_every_point() {
    for bytes in COMMANDS {
        let whole = command(bytes).unwrap();
        for cut in 0..bytes.len() {
            match command(&bytes[..cut]) {
                Err(Stop::Incomplete { bytes_min }) => assert!(bytes_min > cut && bytes_min <= bytes.len()),
                Err(Stop::GoAhead { at }) => assert_eq!(at, cut),
                other => panic!("cut at {cut}: {other:?}"),
            }
        }
        let more = [bytes, b"Z NOOP\r\n"].concat();
        assert_eq!(command(&more).unwrap(), whole);
    }
}

#[test]
fn a_synchronising_literal_waits_for_the_go_ahead_once() {
    assert_eq!(command(b"a FIND {3}\r\n"), Err(Stop::GoAhead { at: 12 }));
    assert!(matches!(command(b"a FIND {3}\r\nx"), Err(Stop::Incomplete { .. })));
    assert!(matches!(command(b"a FIND {3+}\r\n"), Err(Stop::Incomplete { bytes_min: 17 })));
    assert_eq!(arguments(b"a FIND {0}\r\n\r\n"), [b""]);
}

#[test]
fn senseless_lines_are_taken_whole_and_say_why() {
    assert_eq!(parsed(b"\r\n").request, Request::NoCommand);
    assert_eq!(parsed(b"a\r\n").request, Request::NoCommand);
    assert_eq!(parsed(b"a \r\n").request, Request::NullCommand);
    assert_eq!(parsed(b"a FIND user.x\r\n").request, Request::Extra);
    assert_eq!(parsed(b"a FIND \"x\"y\r\n").request, Request::Extra);
    assert_eq!(parsed(b"a FIND \"x\r\n").request, Request::Malformed);
    assert_eq!(parsed(b"a FIND {x}\r\n").request, Request::Malformed);
    assert_eq!(parsed(b"a FIND {1+}\r\n\0\r\n").request, Request::Malformed);
    let hosts = format!("a UPDATE{}\r\n", " \"h\"".repeat(31));
    assert_eq!(parsed(hosts.as_bytes()).request, Request::Extra);
    assert_eq!(arguments(format!("a UPDATE{}\r\n", " \"h\"".repeat(30)).as_bytes()).len(), 30);
}

#[test]
fn what_is_over_a_limit_is_refused_before_it_is_read() {
    assert_eq!(command(b"a FIND {65537+}\r\n"), Err(Stop::TooLong));
    assert_eq!(command(b"a FIND {99999999999999999999+}\r\n"), Err(Stop::TooLong));
    assert_eq!(command(b"a FIND {00000000000000"), Err(Stop::TooLong));
    assert_eq!(command(&[b'x'; WORD_BYTES_MAX + 1]), Err(Stop::TooLong));
    let quoted = [b"a FIND \"".to_vec(), vec![b'x'; STRING_BYTES_MAX + 2]].concat();
    assert_eq!(command(&quoted), Err(Stop::TooLong));
    let strings = format!("a UPDATE{}", format!(" {{60000+}}\r\n{}", "x".repeat(60_000)).repeat(3));
    assert_eq!(command(strings.as_bytes()), Err(Stop::TooLong));
}

const RESPONSES: [&[u8]; 8] = [
    b"M07 MAILBOX {11+}\r\nuser.foo.x\\ {16+}\r\nbackend1!default {11+}\r\nanyone\tlrs\t\r\n",
    b"U01 RESERVE \"test.a\" \"backend2!p2\"\r\n",
    b"U1 DELETE {6+}\r\nstream\r\n",
    b"N1 OK \"Noop done\"\r\n",
    b"A01 NO Client canceled authentication\r\n",
    b"* OK MUPDATE \"mupdate\" \"Cyrus IMAP\" \"3.6.1\" \"(master)\"\r\n",
    b"* AUTH \"PLAIN\" \"LOGIN\"\r\n",
    b"* BYE \"Server Unable\"\r\n",
];

#[test]
fn responses_of_cyrus_are_read() {
    let all: Vec<Response<'_>> = RESPONSES.iter().map(|bytes| response(bytes).unwrap().0).collect();
    let Response::Mailbox { name, location, acl, tag } = &all[0] else { panic!("MAILBOX") };
    assert_eq!((&**name, &**location), (&b"user.foo.x\\"[..], &b"backend1!default"[..]));
    assert_eq!((&**acl, *tag), (&b"anyone\tlrs\t"[..], &b"M07"[..]));
    assert!(matches!(&all[1], Response::Reserve { .. }));
    assert!(matches!(&all[2], Response::Delete { name, .. } if &**name == b"stream"));
    assert!(matches!(&all[3], Response::Status { status: Status::Ok, text, .. } if &**text == b"Noop done"));
    assert!(
        matches!(&all[4], Response::Status { status: Status::No, text, .. } if text.starts_with(b"Client"))
    );
    assert!(
        matches!(&all[5], Response::Status { tag: b"*", status: Status::Ok, text } if text.starts_with(b"MUPDATE"))
    );
    assert!(matches!(&all[6], Response::Other { keyword: b"AUTH", rest: b"\"PLAIN\" \"LOGIN\"", .. }));
    assert!(matches!(&all[7], Response::Status { status: Status::Bye, .. }));
}

#[test]
fn the_front_of_a_response_is_incomplete_at_every_point() {
    for bytes in RESPONSES {
        for cut in 0..bytes.len() {
            assert!(matches!(response(&bytes[..cut]), Err(Stop::Incomplete { .. })), "cut at {cut}");
        }
        let more = [bytes, b"Z OK \"x\"\r\n"].concat();
        assert_eq!(response(&more), response(bytes));
    }
}

#[test]
fn a_response_of_atoms_is_malformed() {
    assert!(matches!(response(b"a MAILBOX x y z\r\n"), Err(Stop::Malformed { .. })));
    assert!(matches!(response(b"a DELETE \"x\" \"y\"\r\n"), Err(Stop::Malformed { .. })));
}

#[test]
fn strings_are_quoted_unless_they_hold_line_ends() {
    let mut out = Vec::new();
    message_out(&mut out, b"U01", "MAILBOX", &[b"a\"\\b", b"\xc3\xa4", b"", b"x\r\ny"]);
    assert_eq!(out, b"U01 MAILBOX \"a\\\"\\\\b\" \"\xc3\xa4\" \"\" {4+}\r\nx\r\ny\r\n");
}

#[test]
fn what_was_understood_is_understood_again() {
    for bytes in COMMANDS.iter().chain(&RESPONSES) {
        fuzz(bytes);
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        fuzz(&bytes);
    }

    #[test]
    fn any_mixture_of_pieces_is_survived(pieces in proptest::collection::vec(0..14usize, 0..12)) {
        const PIECES: [&[u8]; 14] = [b"a", b" ", b"\r\n", b"\n", b"\"", b"\\", b"{3}", b"{3+}\r\n", b"abc",
            b"MAILBOX ", b"* OK ", b"FIND", b"\0", b"{"];
        let bytes: Vec<u8> = pieces.iter().flat_map(|&n| PIECES[n].iter().copied()).collect();
        fuzz(&bytes);
    }
}

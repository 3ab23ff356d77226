//! What reading a command and a response costs, for `cargo xtask bench instructions`.
//!
//! The one argument names the case; only functions whose name begins with `measured_` count.

use std::hint::black_box;

use protocols::imap::grammar::{Command, response};

const COMMANDS: [&[u8]; 8] = [
    b"a001 NOOP\r\n",
    b"a002 UID FETCH 1:* (FLAGS UID RFC822.SIZE)\r\n",
    b"a003 SELECT \"Shared Folders/sales\"\r\n",
    b"a004 UID STORE 17,19:24 +FLAGS.SILENT (\\Seen)\r\n",
    b"a005 IDLE\r\n",
    b"a006 STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)\r\n",
    b"a007 APPEND Sent (\\Seen) {1024+}\r\n",
    b"a008 UID SEARCH UNSEEN SUBJECT \"weekly report\"\r\n",
];

const RESPONSES: [&[u8]; 6] = [
    b"* 12 FETCH (UID 212 FLAGS (\\Seen) RFC822.SIZE 4286)\r\n",
    b"* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] Ok\r\n",
    b"a001 OK Completed\r\n",
    b"* SEARCH 2 3 5 7 11 13\r\n",
    b"+ go ahead\r\n",
    b"* LIST (\\HasNoChildren) \"/\" \"Archive/2026\"\r\n",
];

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("commands") => measured_commands(100),
        Some("responses") => measured_responses(100),
        // Called by `cargo bench` without a case: there is nothing to time here.
        Some(_) | None => {}
    }
}

#[inline(never)]
fn measured_commands(rounds: usize) {
    for _ in 0..rounds {
        for line in COMMANDS {
            let _ = black_box(Command::parse(black_box(line)));
        }
    }
}

#[inline(never)]
fn measured_responses(rounds: usize) {
    for _ in 0..rounds {
        for line in RESPONSES {
            let _ = black_box(response(black_box(line)));
        }
    }
}

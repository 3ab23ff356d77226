//! Plays transcripts through the session machines: IMAP's in `transcripts`, the others' in its folders.
//!
//! Each file is played four times: with commands that follow each other in one
//! piece, line by line, one byte at a time, and split at random. The driver below does what the
//! contract in `protocols::proxy` says, and nothing else: input left with `More` is offered again
//! only with new bytes, input left with `Hold` only after something else happened.
//!
//! ```text
//! C: text     the client sends a line          S: text     a line to the client, {*} matches anything
//! B1: text    backend 1 sends a line           P1: text    a line to backend 1
//! C| B1| P1|  without a line end; \r \n \0     Q: text     a question of the session
//! A: text     answers the oldest question      X: side     a side is closed: `client flush`, `1 abort`
//! E: event    `eof 1`, `posted x`, ...         T: 3        so many seconds pass
//! % option    of the configuration, first      L: text     was logged since the last L
//! @ file a b  includes a file, $1 is a         --          nothing else was said so far
//! W: layer    a side is switched to a layer    J: 1        the client is joined with backend 1 for good
//! ```

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod follow;
mod hostile;
mod lmtp;
mod options;
mod play;
mod script;
mod words;
mod world;

//! Properties of the IMAP grammar.

use std::num::NonZeroU32;

use crate::imap::grammar::responses::{self, Body, FetchItems};
use crate::imap::grammar::{Command, Response, SequenceSet, Verb, args, codes, response};
use crate::wire::line;
use crate::wire::literal::{self, Announced};
use crate::wire::quote::{LiteralStyle, astring_out_as, string_out};

use super::bounded;

/// Checks commands on any bytes: a command that is written again is the same command, in any case of
/// its verb, and so are the arguments of every parser.
///
/// # Panics
/// A property does not hold.
pub fn imap_grammar(input: &[u8]) {
    let input = bounded(input);
    for cut in 0..input.len() {
        let _ = Command::parse(&input[..cut]);
    }
    if let Ok(command) = Command::parse(input) {
        command_is_itself(input, &command);
        arguments(command.args);
    }
    arguments(input);
    sequence_set(input);
}

fn command_is_itself(input: &[u8], command: &Command<'_>) {
    assert_eq!(&line::without_end(input)[command.args_at..], command.args);
    assert!(input.starts_with(command.tag));
    if command.uid && command.verb == Verb::Unknown {
        return; // `UID` alone, or before what takes none.
    }
    for name in [command.name.to_ascii_lowercase(), command.name.to_ascii_uppercase()] {
        let prefix: &[u8] = if command.uid { b" uId " } else { b" " };
        let again = [command.tag, prefix, &name, b" ", command.args, b"\r\n"].concat();
        let again = Command::parse(&again).expect("it was a command");
        assert_eq!((again.tag, again.verb, again.uid), (command.tag, command.verb, command.uid));
        assert_eq!(again.args, command.args);
    }
}

/// Reads, writes and reads again. A macro, because what is read borrows from other bytes each time.
macro_rules! again {
    ($input:expr, $read:path, |$out:ident, $found:ident| $write:block) => {
        match $read($input) {
            Ok($found) => {
                let mut bytes = Vec::new();
                let $out = &mut bytes;
                $write
                assert_eq!($read(&bytes).as_ref(), Ok(&$found), "{}", bytes.escape_ascii());
            }
            Err(error) => assert!(error.at <= $input.len()),
        }
    };
}

/// Every parser on the same bytes. What it takes is written anew, with literals where they must be, and
/// read alike.
fn arguments(input: &[u8]) {
    again!(input, args::mailbox_args, |out, mailbox| {
        string(out, &mailbox);
    });
    again!(input, args::rename_args, |out, rename| {
        string(out, &rename.old);
        spaced(out, &rename.new);
        rename.location.iter().for_each(|location| spaced(out, location));
    });
    again!(input, args::copy_args, |out, copy| {
        out.extend_from_slice(copy.set);
        spaced(out, &copy.mailbox);
    });
    again!(input, args::status_args, |out, status| {
        string(out, &status.mailbox);
        raw(out, status.items);
    });
    again!(input, args::select_args, |out, select| {
        string(out, &select.mailbox);
        select.parameters.iter().for_each(|parameters| raw(out, parameters));
    });
    again!(input, args::setacl_args, |out, acl| {
        string(out, &acl.mailbox);
        spaced(out, &acl.identifier);
        spaced(out, &acl.rights);
    });
    again!(input, args::getmetadata_args, |out, get| {
        out.extend_from_slice(format!("(DEPTH {} ", depth(get.depth)).as_bytes());
        let size = get.max_size.map_or("DEPTH 0 ".to_owned(), |size| format!("MAXSIZE {size} "));
        out.extend_from_slice(size.as_bytes());
        out.extend_from_slice(format!("DEPTH {}) (", depth(get.depth)).as_bytes());
        list(out, &get.mailboxes);
        out.extend_from_slice(b") (");
        list(out, &get.entries);
        out.push(b')');
    });
    list_arguments(input);
    let _ = args::login_args(input);
    let _ = args::authenticate_args(input);
    let _ = args::enable_args(input);
    let _ = args::id_args(input);
    let _ = args::subscribe_args(input);
    let _ = args::annotation_args(input);
    let _ = args::setmetadata_args(input);
    let _ = args::setquota_args(input);
    let _ = args::create_args(input);
    if let Ok(head) = args::append_head(input) {
        assert_eq!(head.rest, &input[head.rest_at..]);
    }
}

fn list_arguments(input: &[u8]) {
    let Ok(found) = args::list_args(input) else { return };
    let mut out = Vec::new();
    string(&mut out, &found.reference);
    out.extend_from_slice(b" (");
    list(&mut out, &found.patterns);
    out.push(b')');
    let again = args::list_args(&out).expect("a list of patterns");
    assert_eq!((again.reference, again.patterns), (found.reference, found.patterns));
}

fn depth(depth: args::Depth) -> &'static str {
    match depth {
        args::Depth::Entry => "0",
        args::Depth::Children => "1",
        args::Depth::Infinity => "infinity",
    }
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    if out.len().is_multiple_of(2) {
        astring_out_as(out, bytes, LiteralStyle::NonSynchronising);
    } else {
        string_out(out, bytes, LiteralStyle::Synchronising);
    }
}

fn spaced(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b' ');
    string(out, bytes);
}

fn raw(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b' ');
    out.extend_from_slice(bytes);
}

fn list(out: &mut Vec<u8>, elements: &[impl AsRef<[u8]>]) {
    for (n, element) in elements.iter().enumerate() {
        if n > 0 {
            out.push(b' ');
        }
        string_out(out, element.as_ref(), LiteralStyle::Synchronising);
    }
}

fn sequence_set(input: &[u8]) {
    let Ok(set) = SequenceSet::parse(input) else { return };
    let mut written = Vec::new();
    set.encode(&mut written);
    assert_eq!(SequenceSet::parse(&written).as_ref(), Ok(&set));
    let mut normal = set.clone();
    normal.normalise();
    let once = normal.clone();
    normal.normalise();
    assert_eq!(normal, once);
    for largest in [1, 7, u32::MAX].into_iter().filter_map(NonZeroU32::new) {
        for number in [1, 2, 3, 7, 4096, u32::MAX - 1, u32::MAX].into_iter().filter_map(NonZeroU32::new) {
            assert_eq!(set.contains(number, largest), normal.contains(number, largest));
        }
        if set.count(largest) < 4096 {
            assert_eq!(set.numbers(largest).count() as u64, set.count(largest));
        }
    }
}

/// Checks responses on any bytes: a response code and the text behind it are all of a text, and a FETCH
/// is read alike with its literal inlined and without it.
///
/// # Panics
/// A property does not hold.
pub fn backend_response(input: &[u8]) {
    let input = bounded(input);
    for cut in 0..input.len() {
        let _ = response(&input[..cut]);
    }
    match response(input) {
        Response::Tagged { text, tag, .. } => {
            assert!(input.starts_with(tag));
            text_and_code(text);
        }
        Response::Continuation { text } => text_and_code(text),
        Response::Untagged { rest, .. } => {
            text_and_code(rest);
            list_and_status(rest);
        }
        Response::Invalid => {}
    }
    let (first, behind) = match line::first(input, input.len() + 1) {
        Ok(line) => (line.content, &input[line.len..]),
        Err(_) => (input, &b""[..]),
    };
    if let Response::Untagged { rest, .. } = response(first) {
        fetch(rest, behind);
    }
    text_and_code(input);
    list_and_status(input);
    fetch(first, behind);
}

fn text_and_code(text: &[u8]) {
    let human = codes::human_text(text);
    assert!(text.ends_with(human));
    let Some((name, args)) = codes::code(text) else {
        assert_eq!(human, text);
        return;
    };
    assert!(name.len() + args.len() + human.len() + 2 <= text.len());
    assert_eq!(
        codes::capabilities(args).map(<[u8]>::len).sum::<usize>(),
        args.iter().filter(|b| **b != b' ').count()
    );
    let _ = codes::nz_argument(args);
    let _ = codes::highest_modseq(args);
    if let Ok(append) = codes::append_uid(args) {
        assert!(!append.uids.is_empty());
    }
    if let Ok(copy) = codes::copy_uid(args) {
        assert!(!copy.source.is_empty() && !copy.destination.is_empty());
    }
}

fn list_and_status(rest: &[u8]) {
    if let Ok(found) = responses::list(rest) {
        let mut out = [b"(", found.flags, b") "].concat();
        let separator = found.separator.as_ref().map(std::slice::from_ref);
        crate::wire::quote::nstring_out(&mut out, separator, LiteralStyle::Synchronising);
        spaced(&mut out, &found.mailbox);
        found.extended.iter().for_each(|extended| raw(&mut out, extended));
        assert_eq!(responses::list(&out).as_ref(), Ok(&found));
        assert!(found.attributes().all(|attribute| found.has(attribute)));
    }
    if let Ok(found) = responses::status(rest) {
        let mut out = Vec::new();
        string(&mut out, &found.mailbox);
        raw(&mut out, &[b"(", found.items, b")"].concat());
        assert_eq!(responses::status(&out).as_ref(), Ok(&found));
        let _ = found.number(b"MESSAGES");
    }
}

/// `first` is a line without its end, `behind` what follows it.
fn fetch(first: &[u8], behind: &[u8]) {
    let Ok(head) = FetchItems::read_head(first) else { return };
    let Some(Body::Announced(announced)) = head.body else { return };
    assert_eq!(literal::at_line_end(first), Some(announced));
    let Announced { len, .. } = announced;
    let Some((bytes, tail)) = usize::try_from(len).ok().and_then(|len| behind.split_at_checked(len)) else {
        return;
    };
    if memchr::memchr(0, bytes).is_some() && !announced.binary {
        return;
    }
    let tail = line::without_end(tail);
    let mut in_parts = head.clone();
    let taken = in_parts.read_tail(tail);
    let whole = [first, b"\r\n", bytes, tail].concat();
    match FetchItems::read_head(&whole) {
        // A later body replaces the first one in both.
        Ok(at_once) => {
            assert_eq!(taken, Ok(()));
            let common = |items: &FetchItems<'_>| (items.uid, items.modseq, items.size);
            assert_eq!(common(&at_once), common(&in_parts));
            assert_eq!(at_once.flags, in_parts.flags);
            assert_eq!(at_once.internal_date, in_parts.internal_date);
        }
        Err(_) => assert!(taken.is_err()),
    }
}

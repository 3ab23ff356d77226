//! Generated inputs for what the fuzz targets state, and for what takes structure to reach.

use std::num::NonZeroU32;

use proptest::prelude::*;
use protocols::imap::grammar::responses::{Body, FetchItems};
use protocols::imap::grammar::{Command, SequenceSet, args, codes};
use protocols::wire::head::{self, Extent};
use protocols::wire::quote::{LiteralStyle, announce_out, astring_out_as, literal_out, string_out};
use protocols::wire::{Announced, Cursor};

/// Bytes of a name: everything but NUL.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(1_u8..=255, 0..40),
        "[a-zA-Z0-9. /&-]{0,20}".prop_map(String::into_bytes),
    ]
}

fn style() -> impl Strategy<Value = LiteralStyle> {
    prop_oneof![Just(LiteralStyle::Synchronising), Just(LiteralStyle::NonSynchronising)]
}

/// A head with some strings, each as its own literal or however it fits.
fn head(strings: &[(Vec<u8>, LiteralStyle, bool)]) -> Vec<u8> {
    let mut head = b"tag VERB".to_vec();
    for (string, style, as_literal) in strings {
        head.push(b' ');
        if *as_literal {
            literal_out(&mut head, string, *style);
        } else {
            string_out(&mut head, string, *style);
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn strings() -> impl Strategy<Value = Vec<(Vec<u8>, LiteralStyle, bool)>> {
    proptest::collection::vec((name(), style(), any::<bool>()), 0..5)
}

fn sequence_set() -> impl Strategy<Value = SequenceSet> {
    let bound = prop_oneof![4 => (1_u32..50).prop_map(|n| n.to_string()), 1 => Just("*".to_owned())];
    let range = (bound.clone(), proptest::option::of(bound)).prop_map(|(first, last)| match last {
        Some(last) => format!("{first}:{last}"),
        None => first,
    });
    proptest::collection::vec(range, 1..12)
        .prop_map(|ranges| SequenceSet::parse(ranges.join(",").as_bytes()).expect("built from the grammar"))
}

fn nz(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("not zero")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_head_is_complete_at_its_last_byte_and_not_before(strings in strings(), behind in name()) {
        let head = head(&strings);
        for cut in 0..head.len() {
            let is_complete = matches!(head::command(&head[..cut]), Ok(Extent::Complete { .. }));
            prop_assert!(!is_complete, "complete at {} of {}", cut, head.escape_ascii());
        }
        let whole = [&head[..], &behind].concat();
        prop_assert_eq!(head::command(&whole), Ok(Extent::Complete { len: head.len() }));
    }

    #[test]
    fn strings_of_a_head_are_read_as_they_were_written(strings in strings()) {
        let head = head(&strings);
        let command = Command::parse(&head).expect("a command");
        let mut cursor = Cursor::new(command.args);
        for (n, (string, _, _)) in strings.iter().enumerate() {
            if n > 0 {
                cursor.sp().expect("a space between strings");
            }
            let found = cursor.string().expect("a string");
            prop_assert_eq!(&*found, &string[..]);
        }
        prop_assert!(cursor.is_at_end());
    }

    #[test]
    fn arguments_are_read_as_they_were_written(names in proptest::collection::vec(name(), 3), style in style()) {
        let mut written = Vec::new();
        for (n, name) in names.iter().enumerate() {
            if n > 0 {
                written.push(b' ');
            }
            astring_out_as(&mut written, name, style);
        }
        let rename = args::rename_args(&written).expect("three names");
        prop_assert_eq!((&*rename.old, &*rename.new), (&names[0][..], &names[1][..]));
        prop_assert_eq!(rename.location.as_deref(), Some(&names[2][..]));
        let acl = args::setacl_args(&written).expect("three strings");
        prop_assert_eq!(&*acl.rights, &names[2][..]);
    }

    #[test]
    fn sets_survive_the_way_there_and_back(set in sequence_set()) {
        let mut written = Vec::new();
        set.encode(&mut written);
        prop_assert_eq!(SequenceSet::parse(&written), Ok(set));
    }

    #[test]
    fn normalising_keeps_the_members(set in sequence_set(), largest in 1_u32..60) {
        let members = |set: &SequenceSet| {
            let mut members: Vec<u32> = set.numbers(nz(largest)).map(NonZeroU32::get).collect();
            members.sort_unstable();
            members.dedup();
            members
        };
        let mut normal = set.clone();
        normal.normalise();
        prop_assert_eq!(members(&normal), members(&set));
        prop_assert_eq!(members(&set).len(), (1..=60).filter(|n| set.contains(nz(*n), nz(largest))).count());
    }

    #[test]
    fn numbers_in_any_order_come_back_from_a_set(numbers in proptest::collection::vec(1_u32..30, 1..40)) {
        let set = SequenceSet::from_numbers(numbers.iter().map(|number| nz(*number)));
        prop_assert_eq!(set.numbers(nz(1)).map(NonZeroU32::get).collect::<Vec<_>>(), numbers.clone());
        let mut code = b"1 ".to_vec();
        set.encode(&mut code);
        code.push(b' ');
        set.encode(&mut code);
        let copy = codes::copy_uid(&code).expect("two sets");
        prop_assert_eq!(copy.source.count(nz(1)), numbers.len() as u64);
        prop_assert_eq!(copy.source, copy.destination);
    }

    #[test]
    fn a_fetched_message_is_read_around_its_literal(
        uid in 1_u32..,
        flags in "(\\\\Seen|\\$Label1|x)( (\\\\Deleted|y)){0,3}",
        body in proptest::collection::vec(1_u8..=255, 0..60),
        body_first in any::<bool>(),
    ) {
        let mut first = b"(".to_vec();
        let others = format!("UID {uid} FLAGS ({flags}) INTERNALDATE \" 7-Jul-1996 02:44:25 -0700\"");
        if !body_first {
            first.extend_from_slice(others.as_bytes());
            first.push(b' ');
        }
        first.extend_from_slice(b"BODY[] ");
        announce_out(&mut first, body.len() as u64, LiteralStyle::Synchronising);
        let line = &first[..first.len() - 2];
        let tail = if body_first { format!(" {others})") } else { ")".to_owned() };
        let mut items = FetchItems::read_head(line).expect("a head");
        let announced = Announced { len: body.len() as u64, sync: true, binary: false };
        prop_assert_eq!(&items.body, &Some(Body::Announced(announced)));
        items.read_tail(tail.as_bytes()).expect("a tail");
        prop_assert_eq!(items.uid.map(NonZeroU32::get), Some(uid));
        prop_assert_eq!(items.flags, Some(flags.as_bytes()));
        prop_assert_eq!(items.internal_date.as_deref(), Some(&b" 7-Jul-1996 02:44:25 -0700"[..]));
        let whole = [&first[..], &body, tail.as_bytes()].concat();
        let at_once = FetchItems::read_head(&whole).expect("inlined");
        prop_assert_eq!(at_once.body, Some(Body::Inline(body.clone().into())));
        prop_assert_eq!(at_once.flags, Some(flags.as_bytes()));
    }

    #[test]
    fn any_bytes_hold_the_properties_of_all_targets(input in proptest::collection::vec(any::<u8>(), 0..200)) {
        protocols::fuzz::wire(&input);
        protocols::fuzz::imap_grammar(&input);
        protocols::fuzz::backend_response(&input);
        protocols::fuzz::sasl(&input);
    }

    #[test]
    fn bytes_of_the_grammar_hold_the_properties_of_all_targets(
        input in "([a-zA-Z*+$]{1,3}|[ ()\"\\\\{}\\[\\]<>,:.%=-]|[0-9]{1,2}|\\{[0-9]\\+?\\}\r\n|~|NIL|UID |LIST |\r\n){0,40}",
    ) {
        protocols::fuzz::wire(input.as_bytes());
        protocols::fuzz::imap_grammar(input.as_bytes());
        protocols::fuzz::backend_response(input.as_bytes());
        protocols::fuzz::sasl(input.as_bytes());
    }
}

//! What imap-codec takes as a command, our tokenizer takes with the same meaning. The other way round
//! is not asked for: a proxy passes on what a strict parser refuses.

use imap_codec::CommandCodec;
use imap_codec::decode::{CommandDecodeError, Decoder};
use imap_codec::imap_types::command::{Command as TheirCommand, CommandBody};
use imap_codec::imap_types::core::LiteralMode;
use imap_codec::imap_types::mailbox::{ListMailbox, Mailbox};
use proptest::prelude::*;
use protocols::imap::grammar::{
    Command, Verb, append_head, copy_args, create_args, list_args, login_args, lsub_args, mailbox_args,
    rename_args, select_args, status_args,
};
use protocols::wire::head::{self, Extent};

/// Checks one head. Nothing is asked when imap-codec refuses it.
fn check(head: &[u8]) {
    match CommandCodec::default().decode(head) {
        Ok((behind, theirs)) => accepted(&head[..head.len() - behind.len()], &theirs),
        Err(CommandDecodeError::LiteralFound { tag, length, mode }) => {
            let ours = Command::parse(head).expect("imap-codec found a tag");
            assert_eq!(ours.tag, tag.inner().as_bytes());
            announced(head, length, mode);
        }
        Err(CommandDecodeError::Incomplete | CommandDecodeError::Failed) => {}
    }
}

/// A command that they take whole.
fn accepted(head: &[u8], theirs: &TheirCommand<'_>) {
    let shown = head.escape_ascii().to_string();
    let Ok(ours) = Command::parse(head) else { panic!("we refuse {shown}") };
    assert_eq!(ours.tag, theirs.tag.inner().as_bytes(), "{shown}");
    assert_eq!((ours.verb, ours.uid), verb(&theirs.body), "{shown}");
    assert_eq!(head::extent(head, u64::MAX, usize::MAX), Ok(Extent::Complete { len: head.len() }), "{shown}");
    arguments(&ours, &theirs.body, &shown);
}

/// They stop at a literal whose bytes are missing: we see the same announcement.
fn announced(head: &[u8], length: u32, mode: LiteralMode) {
    let shown = head.escape_ascii();
    let extent = head::extent(head, u64::MAX, usize::MAX);
    // An empty literal is whole as soon as something stands behind it; they ask for it once more.
    if length == 0 && matches!(extent, Ok(Extent::Partial { .. } | Extent::Complete { .. })) {
        return;
    }
    let Ok(Extent::Literal { announced, begins }) = extent else { panic!("we see no literal in {shown}") };
    assert_eq!((announced.len, announced.sync), (u64::from(length), mode == LiteralMode::Sync), "{shown}");
    assert!(begins <= head.len(), "{shown}");
}

/// The verb of their command and whether UID stood before it.
fn verb(body: &CommandBody<'_>) -> (Verb, bool) {
    let plain = |verb| (verb, false);
    match body {
        CommandBody::Capability => plain(Verb::Capability),
        CommandBody::Noop => plain(Verb::Noop),
        CommandBody::Logout => plain(Verb::Logout),
        CommandBody::StartTLS => plain(Verb::Starttls),
        CommandBody::Authenticate { .. } => plain(Verb::Authenticate),
        CommandBody::Login { .. } => plain(Verb::Login),
        CommandBody::Select { .. } => plain(Verb::Select),
        CommandBody::Unselect => plain(Verb::Unselect),
        CommandBody::Examine { .. } => plain(Verb::Examine),
        CommandBody::Create { .. } => plain(Verb::Create),
        CommandBody::Delete { .. } => plain(Verb::Delete),
        CommandBody::Rename { .. } => plain(Verb::Rename),
        CommandBody::Subscribe { .. } => plain(Verb::Subscribe),
        CommandBody::Unsubscribe { .. } => plain(Verb::Unsubscribe),
        CommandBody::List { .. } => plain(Verb::List),
        CommandBody::Lsub { .. } => plain(Verb::Lsub),
        CommandBody::Status { .. } => plain(Verb::Status),
        CommandBody::Append { .. } => plain(Verb::Append),
        CommandBody::Check => plain(Verb::Check),
        CommandBody::Close => plain(Verb::Close),
        CommandBody::Expunge => plain(Verb::Expunge),
        CommandBody::ExpungeUid { .. } => (Verb::Expunge, true),
        CommandBody::Search { uid, .. } => (Verb::Search, *uid),
        CommandBody::Sort { uid, .. } => (Verb::Sort, *uid),
        CommandBody::Thread { uid, .. } => (Verb::Thread, *uid),
        CommandBody::Fetch { uid, .. } => (Verb::Fetch, *uid),
        CommandBody::Store { uid, .. } => (Verb::Store, *uid),
        CommandBody::Copy { uid, .. } => (Verb::Copy, *uid),
        CommandBody::Move { uid, .. } => (Verb::Move, *uid),
        CommandBody::Idle => plain(Verb::Idle),
        CommandBody::Enable { .. } => plain(Verb::Enable),
        CommandBody::Compress { .. } => plain(Verb::Compress),
        CommandBody::GetQuota { .. } => plain(Verb::GetQuota),
        CommandBody::GetQuotaRoot { .. } => plain(Verb::GetQuotaRoot),
        CommandBody::SetQuota { .. } => plain(Verb::SetQuota),
        CommandBody::Id { .. } => plain(Verb::Id),
        CommandBody::SetMetadata { .. } => plain(Verb::SetMetadata),
        CommandBody::GetMetadata { .. } => plain(Verb::GetMetadata),
        CommandBody::Namespace => plain(Verb::Namespace),
    }
}

/// What routes a command is read alike.
#[expect(clippy::wildcard_enum_match_arm, reason = "only what is routed is compared")]
fn arguments(ours: &Command<'_>, theirs: &CommandBody<'_>, shown: &str) {
    match theirs {
        CommandBody::Login { username, password } => {
            let args = login_args(ours.args).expect(shown);
            assert_eq!(&*args.user, username.as_ref(), "{shown}");
            assert_eq!(args.password.expose(), password.declassify().as_ref(), "{shown}");
        }
        CommandBody::Select { mailbox: theirs, .. } | CommandBody::Examine { mailbox: theirs, .. } => {
            same_mailbox(&select_args(ours.args).expect(shown).mailbox, theirs, shown);
        }
        CommandBody::Create { mailbox: theirs } => {
            same_mailbox(&create_args(ours.args).expect(shown).mailbox, theirs, shown);
        }
        CommandBody::Delete { mailbox: theirs }
        | CommandBody::Subscribe { mailbox: theirs }
        | CommandBody::Unsubscribe { mailbox: theirs }
        | CommandBody::GetQuotaRoot { mailbox: theirs } => {
            same_mailbox(&mailbox_args(ours.args).expect(shown), theirs, shown);
        }
        CommandBody::Rename { from, to } => {
            let args = rename_args(ours.args).expect(shown);
            same_mailbox(&args.old, from, shown);
            same_mailbox(&args.new, to, shown);
        }
        CommandBody::List { reference, mailbox_wildcard } => {
            let args = list_args(ours.args).expect(shown);
            same_mailbox(&args.reference, reference, shown);
            assert_eq!(&*args.patterns[0], list_mailbox(mailbox_wildcard), "{shown}");
        }
        CommandBody::Lsub { reference, mailbox_wildcard } => {
            let args = lsub_args(ours.args).expect(shown);
            same_mailbox(&args.reference, reference, shown);
            assert_eq!(&*args.patterns[0], list_mailbox(mailbox_wildcard), "{shown}");
        }
        CommandBody::Status { mailbox: theirs, .. } => {
            same_mailbox(&status_args(ours.args).expect(shown).mailbox, theirs, shown);
        }
        CommandBody::Append { mailbox: theirs, .. } => {
            same_mailbox(&append_head(ours.args).expect(shown).mailbox, theirs, shown);
        }
        CommandBody::Copy { mailbox: theirs, .. } | CommandBody::Move { mailbox: theirs, .. } => {
            same_mailbox(&copy_args(ours.args).expect(shown).mailbox, theirs, shown);
        }
        _ => {}
    }
}

fn same_mailbox(ours: &[u8], theirs: &Mailbox<'_>, shown: &str) {
    match theirs {
        Mailbox::Inbox => assert!(ours.eq_ignore_ascii_case(b"INBOX"), "{shown}"),
        Mailbox::Other(theirs) => assert_eq!(ours, theirs.as_ref(), "{shown}"),
    }
}

fn list_mailbox<'a>(mailbox: &'a ListMailbox<'_>) -> &'a [u8] {
    match mailbox {
        ListMailbox::Token(token) => token.as_ref(),
        ListMailbox::String(string) => string.as_ref(),
    }
}

#[test]
fn commands_of_all_kinds_are_taken_alike() {
    for head in include_str!("imap_codec/commands.txt").split("\n\n").filter(|head| !head.is_empty()) {
        let head = head.trim_end_matches('\n').replace('\n', "\r\n") + "\r\n";
        let decoded = CommandCodec::default().decode(head.as_bytes());
        let is_theirs = decoded.is_ok() || matches!(decoded, Err(CommandDecodeError::LiteralFound { .. }));
        assert!(is_theirs, "imap-codec refuses {}", head.escape_debug());
        check(head.as_bytes());
    }
}

/// One string of a command in one of its forms.
fn string() -> impl Strategy<Value = Vec<u8>> {
    let quoted = "[ !#-\\[\\]-~]{0,12}".prop_map(|text| format!("\"{text}\"").into_bytes());
    let escaped = Just(b"\"a\\\"b\\\\c\"".to_vec());
    let literal = (proptest::collection::vec(1_u8..=255, 0..12), any::<bool>()).prop_map(|(bytes, sync)| {
        let plus = if sync { "" } else { "+" };
        [format!("{{{}{plus}}}\r\n", bytes.len()).as_bytes(), &bytes[..]].concat()
    });
    let atom = "[a-zA-Z0-9.!#$&'+,/:;<=>?@^_`|~\\]\\[-]{1,12}".prop_map(String::into_bytes);
    prop_oneof![quoted, escaped, literal, atom]
}

fn command() -> impl Strategy<Value = Vec<u8>> {
    let verbs = proptest::sample::select(vec![
        "LOGIN $ $",
        "SELECT $",
        "EXAMINE $ (CONDSTORE)",
        "CREATE $",
        "delete $",
        "Rename $ $",
        "SUBSCRIBE $",
        "UNSUBSCRIBE $",
        "LIST $ $",
        "LSUB $ %",
        "STATUS $ (MESSAGES UIDNEXT)",
        "APPEND $ (\\Seen) {5+}\r\nhello",
        "UID COPY 1:*,7 $",
        "MOVE 3 $",
        "GETQUOTAROOT $",
        "GETQUOTA $",
        "SETQUOTA $ (STORAGE 5)",
        "UID SEARCH SUBJECT $ NOT FROM $",
        "SORT (REVERSE DATE) UTF-8 TEXT $",
        "UID FETCH 1:5 (FLAGS BODY.PEEK[HEADER.FIELDS ($)])",
        "ID (\"name\" \"x\")",
        "GETMETADATA $ /shared/comment",
        "NOOP",
    ]);
    (verbs, "[a-zA-Z0-9.]{1,6}", proptest::collection::vec(string(), 2)).prop_map(|(verb, tag, strings)| {
        let mut head = format!("{tag} ").into_bytes();
        let mut strings = strings.iter();
        for byte in verb.bytes() {
            match byte {
                b'$' => head.extend_from_slice(strings.next().expect("a verb has at most two strings")),
                byte => head.push(byte),
            }
        }
        head.extend_from_slice(b"\r\n");
        head
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_commands_are_taken_alike(head in command()) {
        check(&head);
    }

    #[test]
    fn damaged_commands_are_taken_alike(head in command(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut head = head;
        let at = at.index(head.len());
        head[at] = byte;
        check(&head);
        head.remove(at);
        check(&head);
        head.truncate(at);
        check(&head);
    }
}

//! Known answers of Cyrus 3.6.1, and names that survive the way out and back.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::*;
use crate::mailbox::Identity;

fn who(user: &str) -> Identity {
    Identity { user: user.as_bytes().into(), ..Identity::default() }
}

fn admin(user: &str) -> Identity {
    Identity { is_admin: true, ..who(user) }
}

fn standard() -> Namespace {
    Namespace { separator: b'.', alt: false, ..Namespace::default() }
}

fn virtual_domains() -> Namespace {
    Namespace { virtdomains: VirtDomains::UserId, default_domain: (*b"murder.test").into(), ..standard() }
}

fn internal(namespace: &Namespace, external: &str, who: &Identity) -> Result<String, NameError> {
    let internal = namespace.internal(external.as_bytes(), who)?;
    Ok(String::from_utf8(internal).unwrap())
}

fn external(namespace: &Namespace, internal: &str, who: &Identity) -> Option<String> {
    let external = namespace.external(internal.as_bytes(), who)?;
    Some(String::from_utf8(external).unwrap())
}

/// Checks that each name looks as given, and that what is shown leads back.
fn check_both_ways(namespace: &Namespace, who: &Identity, pairs: &[(&str, &str)]) {
    for (inside, outside) in pairs {
        assert_eq!(external(namespace, inside, who).as_deref(), Some(*outside), "{inside}");
        assert_eq!(internal(namespace, outside, who).as_deref(), Ok(*inside), "{outside}");
    }
}

#[test]
fn standard_namespace_shows_names_as_cyrus_does() {
    let pairs = [
        ("user.user001", "INBOX"),
        ("user.user001.Sent", "INBOX.Sent"),
        ("user.user001.Work.Projects", "INBOX.Work.Projects"),
        ("user.user001.d^t", "INBOX.d^t"),
        ("user.user002.x", "user.user002.x"),
        ("user.john^doe", "user.john^doe"),
        ("team01.docs", "team01.docs"),
        ("shared^x.y", "shared^x.y"),
    ];
    check_both_ways(&standard(), &who("user001"), &pairs);
}

#[test]
fn alternate_namespace_shows_names_as_cyrus_does() {
    let pairs = [
        ("user.user001", "INBOX"),
        ("user.user001.Sent", "Sent"),
        ("user.user001.a^b", "a.b"),
        ("user.user001.plain", "plain"),
        ("user.user001.user.user002", "user/user002"),
        ("user.user001.DELETED.x.y", "DELETED/x/y"),
        ("user.user001.INBOX.x", "INBOX/x"),
        ("user.user001.INBOX", "Alt Folders/INBOX"),
        ("user.user001.inbox.y", "Alt Folders/inbox/y"),
        ("user.user001.Other Users", "Alt Folders/Other Users"),
        ("user.user001.Shared Folders.z", "Alt Folders/Shared Folders/z"),
        ("user.user001.Alt Folders", "Alt Folders/Alt Folders"),
        ("user.user002.Sent", "Other Users/user002/Sent"),
        ("user.john^doe", "Other Users/john.doe"),
        ("team01.docs", "Shared Folders/team01/docs"),
    ];
    check_both_ways(&Namespace::default(), &who("user001"), &pairs);
}

#[test]
fn administrators_see_internal_names_with_the_domain_at_the_end() {
    let pairs = [
        ("user.user001.Sent", "user.user001.Sent"),
        ("example.org!user.user001.Sub", "user.user001.Sub@example.org"),
        ("example.org!news", "news@example.org"),
        ("DELETED.user.user001.Direct.6B0206B0", "DELETED.user.user001.Direct.6B0206B0"),
        ("example.org!DELETED.news.6B0206B0", "DELETED.news.6B0206B0@example.org"),
        ("user.fred.a@b", "user.fred.a@b@murder.test"),
    ];
    check_both_ways(&virtual_domains(), &admin("cyrus"), &pairs);
    let unix = [
        ("user.john^doe", "user/john.doe"),
        ("DELETED.user.user001.a^b.6B0227CC", "DELETED/user/user001/a.b/6B0227CC"),
    ];
    check_both_ways(&Namespace::default(), &admin("cyrus"), &unix);
}

#[test]
fn administrator_of_a_domain_means_his_domain() {
    let pairs = [("dom!user.joe", "user.joe@dom"), ("user.joe", "user.joe@murder.test")];
    check_both_ways(&virtual_domains(), &admin("boss@dom"), &pairs);
    assert_eq!(internal(&virtual_domains(), "user.joe", &admin("boss@dom")).as_deref(), Ok("dom!user.joe"));
}

#[test]
fn users_see_their_own_domain_and_no_other() {
    let namespace = virtual_domains();
    let pairs = [
        ("example.org!user.user001", "INBOX"),
        ("example.org!user.user001.Sub", "INBOX.Sub"),
        ("example.org!user.joe", "user.joe"),
        ("example.org!news", "news"),
    ];
    check_both_ways(&namespace, &who("user001@example.org"), &pairs);
    for hidden in ["news", "user.user001", "other.org!news", "other.org!user.joe"] {
        assert_eq!(external(&namespace, hidden, &who("user001@example.org")), None, "{hidden}");
    }
    let alt = Namespace { alt: true, ..namespace };
    assert_eq!(external(&alt, "other.org!news", &who("user001@example.org")), None);
}

#[test]
fn crossing_domains_stand_behind_the_user() {
    let crossing = Namespace { crossdomains: true, ..virtual_domains() };
    let joe = who("joe@dom");
    let pairs = [
        ("dom!user.joe.x", "INBOX.x"),
        ("dom!user.fred.x", "user.fred@dom.x"),
        ("user.fred.x", "user.fred@murder^test.x"),
    ];
    check_both_ways(&crossing, &joe, &pairs);
    let alt = Namespace { crossdomains: true, virtdomains: VirtDomains::UserId, ..Namespace::default() };
    let pairs = [
        ("other.org!user.fred.x", "Other Users/fred@other.org/x"),
        ("other.org!news.x", "Shared Folders/news@other.org/x"),
        ("news.x", "Shared Folders/news@internal/x"),
        ("dom!user.fred", "Other Users/fred@dom"),
        ("dom!user.joe.y", "y"),
    ];
    check_both_ways(&alt, &joe, &pairs);
    let only_other = Namespace { crossdomains_only_other: true, ..alt };
    let pairs = [
        ("other.org!user.fred.x", "Other Users/fred@other.org/x"),
        ("dom!user.fred", "Other Users/fred"),
        ("dom!news.x", "Shared Folders/news/x"),
        ("dom!user.fr@ed", "Other Users/fr@ed@dom"),
        ("news", "Shared Folders/news@internal"),
    ];
    check_both_ways(&only_other, &joe, &pairs);
}

#[test]
fn inbox_has_any_case_only_at_the_beginning() {
    for typed in ["INBOX", "inbox", "InBoX", "INBOX.", "user.user001"] {
        assert_eq!(internal(&standard(), typed, &who("user001")).as_deref(), Ok("user.user001"), "{typed}");
    }
    assert_eq!(internal(&standard(), "inbox..Sent", &who("u")).as_deref(), Ok("user.u.Sent"));
    assert_eq!(internal(&standard(), "inbox.sent", &who("u")).as_deref(), Ok("user.u.sent"));
    for typed in ["inbox", "INBOX/", "/INBOX/"] {
        assert_eq!(internal(&Namespace::default(), typed, &who("u")).as_deref(), Ok("user.u"), "{typed}");
    }
    assert_eq!(internal(&Namespace::default(), "Inbox/x", &who("u")).as_deref(), Ok("user.u.INBOX.x"));
    assert_eq!(external(&standard(), "inbox.x", &who("u")), None);
}

#[test]
fn names_that_name_no_mailbox_are_refused() {
    for typed in ["", ".", "..", "user", "user."] {
        assert_eq!(internal(&standard(), typed, &who("u")), Err(NameError::Empty), "{typed}");
    }
    for typed in ["Other Users", "Shared Folders", "Alt Folders", "Alt Folders/", "/"] {
        assert_eq!(internal(&Namespace::default(), typed, &who("u")), Err(NameError::Empty), "{typed}");
    }
    assert_eq!(internal(&standard(), "\\Sent", &who("u")), Err(NameError::SpecialUse));
}

#[test]
fn bytes_of_the_other_separator_and_of_domains_are_refused() {
    let byte = |byte, at| Err(NameError::Byte { byte, at });
    assert_eq!(internal(&standard(), "INBOX.x/y", &who("u")), byte(b'/', 7));
    assert_eq!(internal(&Namespace::default(), "a^b", &who("u")), byte(b'^', 1));
    assert_eq!(internal(&standard(), "evil.org!user.joe", &who("u")), byte(b'!', 8));
    assert_eq!(internal(&virtual_domains(), "evil.org!user.joe", &admin("cyrus")), byte(b'!', 8));
    assert_eq!(internal(&standard(), "a\0b", &who("u")), byte(0, 1));
    assert_eq!(external(&standard(), "a/b", &who("u")), None);
}

#[test]
fn deleted_mailboxes_are_for_administrators() {
    let name = "DELETED.user.fred.Foo.4F3A2B1C";
    for namespace in [standard(), Namespace::default()] {
        assert_eq!(external(&namespace, name, &who("fred")), None);
        assert!(namespace.is_deleted(name.as_bytes()));
        assert_eq!(namespace.owner(name.as_bytes()).as_deref(), Some(&b"fred"[..]));
    }
    assert_eq!(internal(&standard(), name, &who("fred")), Err(NameError::Kept));
    assert!(is_deleted(b"dom!DELETED.x.5E0") && !is_deleted(b"DELETED.x") && !is_deleted(b"DELETED.x.zz"));
    assert!(!is_deleted(b"DELETED.x.0") && !is_deleted(b"user.DELETED.x.5E0"));
}

#[test]
fn too_long_a_name_is_refused() {
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    let error = NameError::TooLong { length: NAME_BYTES_MAX + 1, limit: NAME_BYTES_MAX };
    assert_eq!(internal(&standard(), &long, &who("u")), Err(error));
    assert!(internal(&Namespace::default(), &long[1..], &who("u")).is_err());
}

#[test]
fn category_says_whose_a_mailbox_is() {
    let alt = Namespace::default();
    let category = |name: &str| alt.category(name.as_bytes(), &who("u"));
    assert_eq!(category("user.u"), Category::Inbox);
    assert_eq!(category("user.u.INBOX.x"), Category::InboxSub);
    assert_eq!(category("user.u.x"), Category::Own);
    assert_eq!(category("user.u.INBOX"), Category::AltInbox);
    assert_eq!(category("user.u.Inbox.x"), Category::AltPrefix);
    assert_eq!(category("user.v"), Category::OtherUser);
    assert_eq!(category("x"), Category::Shared);
    assert_eq!(category("DELETED.user.u.x.5E0"), Category::Deleted);
    assert_eq!(standard().category(b"user.u.INBOX", &who("u")), Category::Own);
}

#[test]
fn namespace_responses_are_those_of_cyrus() {
    let response = |namespace: &Namespace, who: &Identity, has_inbox| {
        String::from_utf8(namespace.namespace_response(who, has_inbox)).unwrap()
    };
    let user = who("user001");
    assert_eq!(response(&standard(), &user, true), r#"(("INBOX." ".")) (("user." ".")) (("" "."))"#);
    assert_eq!(response(&standard(), &admin("cyrus"), false), r#"NIL (("user." ".")) (("" "."))"#);
    let alt = Namespace::default();
    let expected = r#"(("" "/")) (("Other Users/" "/")) (("Shared Folders/" "/"))"#;
    assert_eq!(response(&alt, &user, true), expected);
    assert_eq!(response(&alt, &admin("cyrus"), false), r#"NIL (("user/" "/")) (("" "/"))"#);
    let closed = Namespace { disable_user: true, disable_shared: true, ..standard() };
    assert_eq!(response(&closed, &user, false), "NIL NIL NIL");
    let quoted = Namespace { user_prefix: (*b"a\"b").into(), ..alt };
    assert!(response(&quoted, &user, true).contains(r#""a\"b/""#));
}

#[test]
fn prefixes_that_cannot_be_told_apart_are_refused() {
    let bad = |user: &str, shared: &str| {
        let namespace = Namespace {
            user_prefix: user.as_bytes().into(),
            shared_prefix: shared.as_bytes().into(),
            ..Namespace::default()
        };
        namespace.check().map_err(|error| error.option)
    };
    assert_eq!(bad("Other Users", "Shared Folders"), Ok(()));
    assert_eq!(bad("Other/Users", "Shared"), Err("userprefix"));
    assert_eq!(bad("Shared too", "Shared"), Err("sharedprefix"));
    assert_eq!(bad("", "Shared"), Err("userprefix"));
    assert_eq!(bad("Other", &"x".repeat(PREFIX_BYTES_MAX + 1)), Err("sharedprefix"));
}

#[test]
fn user_ids_become_canonical() {
    let user = |namespace: &Namespace, typed: &str| {
        namespace.canonical_user(typed.as_bytes()).map(|user| String::from_utf8(user.user.into()).unwrap())
    };
    let domains = virtual_domains();
    assert_eq!(user(&domains, "User001").as_deref(), Ok("user001"));
    assert_eq!(user(&domains, "user001@Murder.Test").as_deref(), Ok("user001"));
    assert_eq!(user(&domains, "user001%example.org").as_deref(), Ok("user001@example.org"));
    assert_eq!(user(&domains, "ANYBODY@x").as_deref(), Ok("anyone"));
    assert_eq!(user(&domains, "a@b@c").as_deref(), Ok("a@b@c"));
    assert_eq!(user(&standard(), "joe@dom").as_deref(), Ok("joe@dom"));
    for bad in [
        "",
        "a%b",
        "a/b",
        "a*",
        "a\0",
        "a\u{e9}",
        "group:x",
        "a!b",
        "a^b",
        "@dom",
        &"x".repeat(USER_BYTES_MAX + 1),
    ] {
        assert_eq!(user(&standard(), bad), Err(NameError::User), "{bad}");
    }
    for bad in ["@dom", "joe@", "@murder.test"] {
        assert_eq!(user(&domains, bad), Err(NameError::User), "{bad}");
    }
    let cased = Namespace { username_tolower: false, ..standard() };
    assert_eq!(user(&cased, "User001").as_deref(), Ok("User001"));
}

#[test]
fn magic_plus_is_taken_off() {
    let magic = Namespace { imapmagicplus: true, ..virtual_domains() };
    let both = |typed: &str| {
        let user = magic.canonical_user(typed.as_bytes()).unwrap();
        (String::from_utf8(user.user.into()).unwrap(), user.magic_plus)
    };
    assert_eq!(both("fred+"), ("fred".into(), Some(MagicPlus::Subscribed)));
    assert_eq!(both("fred+dav@dom"), ("fred@dom".into(), Some(MagicPlus::Dav)));
    assert_eq!(both("fred+x"), ("fred".into(), Some(MagicPlus::Other((*b"x").into()))));
    assert_eq!(both("fred"), ("fred".into(), None));
    assert_eq!(magic.canonical_user(b"+dav"), Err(NameError::User));
    assert_eq!(&*standard().canonical_user(b"fred+x").unwrap().user, b"fred+x");
}

#[test]
fn inbox_and_owner_belong_together() {
    for (user, inbox) in
        [("fred", "user.fred"), ("john.doe", "user.john^doe"), ("joe@dom.org", "dom.org!user.joe")]
    {
        assert_eq!(virtual_domains().inbox(user.as_bytes()), inbox.as_bytes());
        assert_eq!(owner(inbox.as_bytes()).as_deref(), Some(user.as_bytes()));
        assert!(virtual_domains().is_owner(inbox.as_bytes(), user.as_bytes()));
    }
    assert_eq!(virtual_domains().inbox(b"joe@murder.test"), b"user.joe");
    assert_eq!(owner(b"team01.docs"), None);
    assert_eq!(owner(b"user"), None);
}

#[test]
fn order_is_that_of_the_mailbox_database() {
    let sorted = [
        "dom^a",
        "dom.a!user.joe",
        "dom.a!user.joe.x",
        "dom.a!user^x",
        "team",
        "team.x",
        "team-1",
        "team^x",
        "team01",
        "user.foo",
        "user.foo.x",
        "user.foo.x.y",
        "user.foo bar",
        "user.foo-bar",
        "user.foo^bar",
        "user.foo1",
    ];
    for (i, a) in sorted.iter().enumerate() {
        for (j, b) in sorted.iter().enumerate() {
            assert_eq!(compare(a.as_bytes(), b.as_bytes()), i.cmp(&j), "{a} {b}");
        }
    }
}

#[test]
fn parents_come_nearest_first_and_never_the_user_level() {
    let all = |name: &str| -> Vec<String> {
        parents(name.as_bytes()).map(|parent| String::from_utf8(parent.into()).unwrap()).collect()
    };
    assert_eq!(all("user.fred.a.b"), ["user.fred.a", "user.fred"]);
    assert_eq!(all("dom.org!user.fred.a"), ["dom.org!user.fred"]);
    assert_eq!(all("dom.org!a.b"), ["dom.org!a"]);
    assert_eq!(all("user.fred"), [""; 0]);
    assert_eq!(all("a"), [""; 0]);
}

#[test]
fn what_is_no_mail_is_known_by_name() {
    assert!(is_dav(b"user.fred.#calendars.Default") && is_dav(b"dom!user.fred.#addressbooks"));
    assert!(is_dav(b"#calendars.x") && is_dav(b"user.fred.#sieve"));
    assert!(!is_dav(b"user.fred.#x") && !is_dav(b"user.fred.a.#calendars") && !is_dav(b"user.fred"));
}

#[test]
fn new_names_are_judged_as_by_cyrus() {
    let check = |name: &str| valid_new_name(name.as_bytes(), &standard());
    for good in
        ["user.u", "user.u.#x", "user.u.~", "user.u.*", "user.u.&-", "user.u.&AOk-", "user.u.a b", "x@y"]
    {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    for bad in ["user.u.%", "user.u.;", "user.u.a\\b", "user.u.\u{e9}", "user.u.\"", "a!b"] {
        assert!(matches!(check(bad), Err(NameError::Byte { .. })), "{bad}");
    }
    for bad in ["$x", "~x", "user", "user.anyone", "user.anonymous", "user.%x"] {
        assert_eq!(check(bad), Err(NameError::Kept), "{bad}");
    }
    for bad in ["", ".a", "a.", "a..b"] {
        assert_eq!(check(bad), Err(NameError::Empty), "{bad}");
    }
    for bad in ["user.u.&AOk", "user.u.&AGE-", "user.u.&AOk-&AOk-"] {
        assert_eq!(check(bad), Err(NameError::Utf7), "{bad}");
    }
    assert_eq!(valid_new_name(b"dom.org!a", &virtual_domains()), Ok(()));
    assert_eq!(check(&format!("a.{}", "x".repeat(NEW_NAME_BYTES_MAX - 2))), Ok(()));
    assert!(check(&format!("a.{}", "x".repeat(NEW_NAME_BYTES_MAX - 1))).is_err());
    assert_eq!(check(&format!("DELETED.{}.5E0", "x".repeat(NEW_NAME_BYTES_MAX))), Ok(()));
}

/// All configurations that change how names look.
fn configurations() -> impl Strategy<Value = Namespace> {
    let virtdomains = prop_oneof![Just(VirtDomains::Off), Just(VirtDomains::UserId), Just(VirtDomains::On)];
    (any::<[bool; 4]>(), virtdomains).prop_map(|([unix, alt, cross, only_other], virtdomains)| Namespace {
        separator: if unix { b'/' } else { b'.' },
        alt,
        virtdomains,
        crossdomains: cross,
        crossdomains_only_other: only_other,
        ..Namespace::default()
    })
}

fn identities() -> impl Strategy<Value = Identity> {
    ("(a|joe|j\\.d)(@(dom|dom\\.org))?", any::<bool>())
        .prop_map(|(user, is_admin)| Identity { is_admin, ..who(&user) })
}

/// Internal names made of what is special somewhere.
fn internal_names() -> impl Strategy<Value = String> {
    let component = "(INBOX|inbox|user|joe|a|j\\^d|DELETED|Other Users|Shared Folders|Alt Folders|x@dom|@|5E0|#calendars|[a-c^@]{1,3})";
    let path = proptest::collection::vec(component, 1..5).prop_map(|path| path.join("."));
    ("((dom|dom\\.org|other)!)?(DELETED\\.)?(user\\.)?", path).prop_map(|(head, path)| head + &path)
}

proptest! {
    #[test]
    fn shown_names_lead_back(namespace in configurations(), who in identities(), name in internal_names()) {
        let parts = namespace.name(name.as_bytes());
        // Two names that are no mailboxes: the level of users, and one that only looks deleted.
        prop_assume!(parts.localpart.is_some() || parts.boxes != b"user");
        if let Some(shown) = external(&namespace, &name, &who) {
            prop_assert_eq!(internal(&namespace, &shown, &who), Ok(name), "{}", shown);
        }
    }

    #[test]
    fn own_mailboxes_are_always_shown(namespace in configurations(), who in identities(), sub in "[a-z]{1,5}") {
        let who = Identity { is_admin: who.is_admin && namespace.virtdomains != VirtDomains::Off, ..who };
        let mut name = namespace.inbox(&who.user);
        prop_assert!(namespace.external(&name, &who).is_some());
        name.extend_from_slice(format!(".{sub}").as_bytes());
        prop_assert!(namespace.external(&name, &who).is_some());
        prop_assert_eq!(namespace.owner(&name), Some(who.user.to_vec()));
    }

    #[test]
    fn users_without_crossing_domains_reach_only_their_own(
        namespace in configurations(), who in identities(), typed in "[a-c./@!^ ]{1,12}"
    ) {
        let (who, namespace) =
            (Identity { is_admin: false, ..who }, Namespace { crossdomains: false, ..namespace });
        if let Ok(name) = namespace.internal(typed.as_bytes(), &who) {
            let inbox = namespace.inbox(&who.user);
            prop_assert_eq!(namespace.name(&name).domain, namespace.name(&inbox).domain);
        }
    }

    #[test]
    fn order_is_that_of_the_keys(a in "(d\\.m!)?[ab.^!-]{0,6}", b in "(d\\.m!)?[ab.^!-]{0,6}") {
        let key = |name: &str| {
            let (domain, rest) = name.split_once('!').map_or((None, name), |(domain, rest)| (Some(domain), rest));
            let rest = rest.replace('.', "\x1f").replace('^', ".");
            domain.map_or(rest.clone(), |domain| format!("{domain}\x1d{rest}"))
        };
        let order = compare(a.as_bytes(), b.as_bytes());
        prop_assert_eq!(order, key(&a).cmp(&key(&b)));
        prop_assert_eq!(order == Ordering::Equal, a == b);
    }

    #[test]
    fn hostile_bytes_do_no_harm(
        namespace in configurations(), name: Vec<u8>, other: Vec<u8>, user: Vec<u8>, is_admin: bool
    ) {
        let who = Identity { user: user.into(), is_admin, ..Identity::default() };
        exercise(&namespace, &name, &other, &who);
    }

    #[test]
    fn near_names_do_no_harm(namespace in configurations(), who in identities(), a in "[user.!^@/A#0&\\-]{0,12}", b in "[.!^a]{0,8}") {
        exercise(&namespace, a.as_bytes(), b.as_bytes(), &who);
    }
}

/// Calls everything that takes names.
fn exercise(namespace: &Namespace, name: &[u8], other: &[u8], who: &Identity) {
    let _ = namespace.internal(name, who);
    let _ = namespace.external(name, who);
    let _ = namespace.category(name, who);
    let _ = namespace.canonical_user(name);
    let _ = valid_new_name(name, namespace);
    assert_eq!(compare(name, other), compare(other, name).reverse());
    assert_eq!(compare(name, name), Ordering::Equal);
    for parent in parents(name) {
        assert!(name.starts_with(parent) && parent.len() < name.len());
    }
    let _ = is_dav(name);
}

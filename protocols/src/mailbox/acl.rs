//! Access control lists as Cyrus keeps and evaluates them (RFC 4314 and Cyrus' own rights).
//!
//! An ACL travels as text: `id TAB rights TAB id TAB rights TAB ...`. An identifier that begins with
//! `-` takes rights away; what is taken away is taken after everything was given.

use std::fmt;

use super::names;
use super::{Identity, Namespace};

/// A set of rights letters (RFC 4314 and Cyrus' own `n` and digits).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Rights(pub u32);

/// Letter and bit, in the order in which Cyrus prints them. `c` and `d` are printed between `e` and `a`.
const LETTERS: [(u8, Rights); 22] = [
    (b'l', Rights::L),
    (b'r', Rights::R),
    (b's', Rights::S),
    (b'w', Rights::W),
    (b'i', Rights::I),
    (b'p', Rights::P),
    (b'k', Rights::K),
    (b'x', Rights::X),
    (b't', Rights::T),
    (b'e', Rights::E),
    (b'a', Rights::A),
    (b'n', Rights::N),
    (b'0', Rights(1 << 12)),
    (b'1', Rights(1 << 13)),
    (b'2', Rights(1 << 14)),
    (b'3', Rights(1 << 15)),
    (b'4', Rights(1 << 16)),
    (b'5', Rights(1 << 17)),
    (b'6', Rights(1 << 18)),
    (b'7', Rights(1 << 19)),
    (b'8', Rights(1 << 20)),
    (b'9', Rights(1 << 21)),
];

impl Rights {
    /// No right.
    pub const NONE: Rights = Rights(0);
    /// Lookup: the mailbox is visible to LIST.
    pub const L: Rights = Rights(1);
    /// Read: SELECT, FETCH, SEARCH, COPY from.
    pub const R: Rights = Rights(1 << 1);
    /// Keep `\Seen` across sessions.
    pub const S: Rights = Rights(1 << 2);
    /// Write flags other than `\Seen` and `\Deleted`.
    pub const W: Rights = Rights(1 << 3);
    /// Insert: APPEND, COPY into.
    pub const I: Rights = Rights(1 << 4);
    /// Post: send mail to the submission address of the mailbox.
    pub const P: Rights = Rights(1 << 5);
    /// Create mailboxes below.
    pub const K: Rights = Rights(1 << 6);
    /// Delete the mailbox.
    pub const X: Rights = Rights(1 << 7);
    /// Set `\Deleted`.
    pub const T: Rights = Rights(1 << 8);
    /// Expunge.
    pub const E: Rights = Rights(1 << 9);
    /// Administer: SETACL.
    pub const A: Rights = Rights(1 << 10);
    /// Write annotations of messages (RFC 5257).
    pub const N: Rights = Rights(1 << 11);
    /// RFC 2086 `create` as a group: `k` and `x`, what `c` means with the default `deleteright`.
    pub const C: Rights = Rights(Rights::K.0 | Rights::X.0);
    /// RFC 2086 `delete` as a group: `t` and `e`.
    pub const D: Rights = Rights(Rights::T.0 | Rights::E.0);
    /// All letters without the digits: `lrswipkxtecdan`.
    pub const ALL: Rights = Rights((1 << 12) - 1);
    /// All letters and digits.
    pub const FULL: Rights = Rights((1 << 22) - 1);

    /// Whether every right of `other` is in this set.
    pub fn contains(self, other: Rights) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether at least one right of `other` is in this set.
    pub fn intersects(self, other: Rights) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether no right is in this set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Both sets together.
    #[must_use]
    pub fn union(self, other: Rights) -> Rights {
        Rights(self.0 | other.0)
    }

    /// This set without the rights of `other`.
    #[must_use]
    pub fn remove(self, other: Rights) -> Rights {
        Rights(self.0 & !other.0)
    }

    /// Reads rights letters with the default `deleteright` (`c`).
    ///
    /// # Errors: [`RightsError`], the first letter that is none; answered to SETACL as BAD or NO.
    pub fn parse(letters: &[u8]) -> Result<Rights, RightsError> {
        Rights::parse_with(letters, DeleteRight::Create)
    }

    /// Reads rights letters as `deleteright` has them (RFC 4314 section 2.1.1: `c` and `d` count only
    /// where none of the rights they stand for is named).
    ///
    /// # Errors: [`RightsError`], the first letter that is none.
    pub fn parse_with(letters: &[u8], deleteright: DeleteRight) -> Result<Rights, RightsError> {
        match scan(letters, deleteright) {
            (rights, None) => Ok(rights),
            (_, Some(letter)) => Err(RightsError { letter }),
        }
    }

    /// Reads what of the letters are rights and passes over the rest, as the evaluation of a stored
    /// ACL does.
    pub fn lenient(letters: &[u8], deleteright: DeleteRight) -> Rights {
        scan(letters, deleteright).0
    }

    /// The letters in Cyrus' order, with `c` and `d` where one of their members is in the set.
    pub fn text_with(self, deleteright: DeleteRight) -> String {
        let mut text = String::with_capacity(24);
        let (create, delete) = deleteright.groups();
        for (letter, bit) in LETTERS {
            if letter == b'a' {
                if self.intersects(create) {
                    text.push('c');
                }
                if self.intersects(delete) {
                    text.push('d');
                }
            }
            if self.contains(bit) {
                text.push(char::from(letter));
            }
        }
        text
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text_with(DeleteRight::Create))
    }
}

/// What SETACL does with the rights of an identifier (RFC 4314 section 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// These and no others.
    Set(Rights),
    /// `+`: these too.
    Add(Rights),
    /// `-`: these no longer.
    Remove(Rights),
}

impl Change {
    /// Reads `mod-rights = astring`: `["+" / "-"] rights`.
    ///
    /// # Errors: [`RightsError`]; Cyrus answers BAD.
    pub fn parse(text: &[u8], deleteright: DeleteRight) -> Result<Change, RightsError> {
        match text.split_first() {
            Some((b'+', letters)) => Rights::parse_with(letters, deleteright).map(Change::Add),
            Some((b'-', letters)) => Rights::parse_with(letters, deleteright).map(Change::Remove),
            Some(_) | None => Rights::parse_with(text, deleteright).map(Change::Set),
        }
    }

    /// The rights after the change.
    pub fn apply(self, before: Rights) -> Rights {
        match self {
            Change::Set(rights) => rights,
            Change::Add(rights) => before.union(rights),
            Change::Remove(rights) => before.remove(rights),
        }
    }
}

/// The rights in `letters`, and the first letter that is none.
fn scan(letters: &[u8], deleteright: DeleteRight) -> (Rights, Option<u8>) {
    let (mut rights, mut create, mut delete) = (Rights::NONE, Rights::NONE, Rights::NONE);
    let mut unknown = None;
    let (create_group, delete_group) = deleteright.groups();
    for &letter in letters {
        match letter {
            b'c' => create = create_group,
            b'd' => delete = delete_group,
            _ => match LETTERS.iter().find(|(known, _)| *known == letter) {
                Some((_, bit)) => rights = rights.union(*bit),
                None if deleteright == DeleteRight::Other(letter) => {}
                None => unknown = unknown.or(Some(letter)),
            },
        }
        if deleteright == DeleteRight::Other(letter) {
            rights = rights.union(Rights::X);
        }
    }
    if !rights.intersects(create) {
        rights = rights.union(create);
    }
    if !rights.intersects(delete) {
        rights = rights.union(delete);
    }
    (rights, unknown)
}

/// A letter in SETACL that names no right; Cyrus answers `The q right is not supported`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the {} right is not supported", letter.escape_ascii())]
pub struct RightsError {
    /// The letter.
    pub letter: u8,
}

/// Option `deleteright`: which old right stands for deleting the mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DeleteRight {
    /// `c`: create and delete mailboxes. The default.
    #[default]
    Create,
    /// `d`: delete messages and mailboxes.
    Delete,
    /// Another letter, which grants `x` beside what it means itself.
    Other(u8),
}

impl DeleteRight {
    /// From the value of the option; only its first letter counts.
    pub fn from_option(value: &str) -> DeleteRight {
        match value.as_bytes().first() {
            Some(b'd') => DeleteRight::Delete,
            Some(b'c') | None => DeleteRight::Create,
            Some(other) => DeleteRight::Other(*other),
        }
    }

    /// What `c` and what `d` stand for.
    fn groups(self) -> (Rights, Rights) {
        match self {
            DeleteRight::Create => (Rights::C, Rights::D),
            DeleteRight::Delete => (Rights::K, Rights::D.union(Rights::X)),
            DeleteRight::Other(_) => (Rights::K, Rights::D),
        }
    }
}

/// What of the configuration bears on the evaluation of an ACL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Option `implicit_owner_rights`: what an owner has whatever the ACL says.
    pub implicit_owner_rights: Rights,
    /// Option `deleteright`.
    pub deleteright: DeleteRight,
    /// Option `acl_admin_implies_write`: `a` brings the rights to change messages.
    pub admin_implies_write: bool,
    /// Option `deletedprefix`, by which a deleted mailbox is told from a shared one.
    pub deleted_prefix: Box<[u8]>,
    /// Option `defaultdomain`.
    pub default_domain: Box<[u8]>,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            implicit_owner_rights: Rights(
                Rights::L.0 | Rights::K.0 | Rights::X.0 | Rights::A.0 | Rights::N.0,
            ),
            deleteright: DeleteRight::Create,
            admin_implies_write: false,
            deleted_prefix: (*names::DELETED_PREFIX).into(),
            default_domain: (*names::DEFAULT_DOMAIN).into(),
        }
    }
}

impl Policy {
    /// The policy that goes with a namespace, all else as by default.
    pub fn for_namespace(namespace: &Namespace) -> Policy {
        Policy {
            deleted_prefix: namespace.deleted_prefix.clone(),
            default_domain: namespace.default_domain.clone(),
            ..Policy::default()
        }
    }
}

/// What `who` may do with the mailbox `name`: the ACL's rights, and what an owner or an administrator
/// has without being named. An empty set means that the mailbox does not exist for him.
pub fn rights(acl: &[u8], name: &[u8], who: &Identity, policy: &Policy) -> Rights {
    granted(acl, who, policy).union(implicit(name, who, policy))
}

/// What the ACL alone grants: first all that is given, then all that is taken away.
pub fn granted(acl: &[u8], who: &Identity, policy: &Policy) -> Rights {
    let (mut given, mut taken) = (Rights::NONE, Rights::NONE);
    for (id, letters) in entries(acl) {
        let (bare, sum) = match id.strip_prefix(b"-") {
            Some(bare) => (bare, &mut taken),
            None => (id, &mut given),
        };
        if is_member(who, bare) {
            *sum = sum.union(Rights::lenient(letters, policy.deleteright));
        }
    }
    if policy.admin_implies_write && given.contains(Rights::A) {
        given = given
            .union(Rights(Rights::S.0 | Rights::W.0 | Rights::I.0 | Rights::T.0 | Rights::E.0 | Rights::N.0));
    }
    given.remove(taken)
}

/// What a user has without being named: an administrator `l` and `a`, else an owner the configured
/// rights.
pub fn implicit(name: &[u8], who: &Identity, policy: &Policy) -> Rights {
    if who.is_admin {
        return Rights::L.union(Rights::A);
    }
    let parts = names::Name::parse(name, &policy.deleted_prefix, &policy.default_domain);
    if parts.is_owned_by(&who.user, &policy.default_domain) {
        policy.implicit_owner_rights
    } else {
        Rights::NONE
    }
}

/// Whether an identifier of an ACL means this user.
fn is_member(who: &Identity, id: &[u8]) -> bool {
    if id == b"anyone" {
        return true;
    }
    match id.strip_prefix(b"group:") {
        Some(group) => who.groups.iter().any(|own| &**own == group),
        None if who.user.is_empty() => id == b"anonymous",
        None => id == &*who.user,
    }
}

/// Walks through the pairs of an ACL. A tail without its closing TAB is no pair.
pub fn entries(acl: &[u8]) -> Entries<'_> {
    Entries { rest: acl }
}

/// The iterator of [`entries`]: identifier and rights letters.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let id_end = memchr::memchr(b'\t', self.rest)?;
        let (id, behind) = (&self.rest[..id_end], &self.rest[id_end + 1..]);
        let rights_end = memchr::memchr(b'\t', behind)?;
        self.rest = &behind[rights_end + 1..];
        Some((id, &behind[..rights_end]))
    }
}

/// The rights of a LISTRIGHTS answer: what the identifier has whatever is set, then what else may be
/// granted, each right alone (RFC 4314 section 3.4).
///
/// `identifier` is canonical; `None`, no user, can be granted nothing. An owner always has the implicit
/// rights, and everybody may post to an INBOX.
pub fn list_rights(name: &[u8], identifier: Option<&[u8]>, policy: &Policy) -> String {
    let parts = names::Name::parse(name, &policy.deleted_prefix, &policy.default_domain);
    let is_inbox = parts.localpart.is_some() && parts.boxes.is_empty() && parts.deleted.is_none();
    let always = match identifier {
        Some(user) if parts.is_owned_by(user, &policy.default_domain) => policy.implicit_owner_rights,
        Some(_) if is_inbox => Rights::P,
        Some(_) | None => Rights::NONE,
    };
    let mut text = always.text_with(policy.deleteright);
    if text.is_empty() {
        text.push_str("\"\"");
    }
    if identifier.is_some() {
        for letter in Rights::FULL.remove(always).text_with(policy.deleteright).chars() {
            text.push(' ');
            text.push(letter);
        }
    }
    text
}

/// A right that says that the mailbox exists: with none of these it does not, to MYRIGHTS.
pub const VISIBLE: Rights =
    Rights(Rights::L.0 | Rights::R.0 | Rights::I.0 | Rights::K.0 | Rights::X.0 | Rights::A.0);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn who(user: &str) -> Identity {
        Identity { user: user.as_bytes().into(), ..Identity::default() }
    }

    fn admin() -> Identity {
        Identity { is_admin: true, ..who("cyrus") }
    }

    fn text(acl: &str, name: &str, who: &Identity) -> String {
        rights(acl.as_bytes(), name.as_bytes(), who, &Policy::default()).to_string()
    }

    #[test]
    fn rights_are_read_and_printed_as_by_cyrus() {
        // SETACL and what GETACL then showed, on Cyrus 3.6.1.
        let pairs = [
            ("lrcd", "lrkxtecd"),
            ("ld", "lted"),
            ("xc", "xc"),
            ("lrs", "lrs"),
            ("lrswipkxtecdan", "lrswipkxtecdan"),
            ("", ""),
            ("a0n9", "an09"),
        ];
        for (typed, shown) in pairs {
            assert_eq!(
                Rights::parse(typed.as_bytes()).map(|rights| rights.to_string()).as_deref(),
                Ok(shown)
            );
        }
    }

    #[test]
    fn unknown_letter_is_named_as_by_cyrus() {
        assert_eq!(Rights::parse(b"lrq"), Err(RightsError { letter: b'q' }));
        assert_eq!(RightsError { letter: b'X' }.to_string(), "the X right is not supported");
        assert_eq!(Change::parse(b"+q", DeleteRight::Create), Err(RightsError { letter: b'q' }));
        assert_eq!(Rights::lenient(b"lqr", DeleteRight::Create), Rights::L.union(Rights::R));
    }

    #[test]
    fn deleteright_decides_what_c_and_d_mean() {
        let d = DeleteRight::from_option("d");
        assert_eq!(Rights::parse_with(b"c", d), Ok(Rights::K));
        assert_eq!(Rights::parse_with(b"d", d), Ok(Rights::D.union(Rights::X)));
        assert_eq!(Rights::parse_with(b"a", DeleteRight::from_option("a")), Ok(Rights::A.union(Rights::X)));
        assert_eq!(Rights::X.text_with(d), "xd");
        assert_eq!(Rights::X.text_with(DeleteRight::Other(b'a')), "x");
    }

    #[test]
    fn change_adds_and_removes() {
        let before = Rights::L.union(Rights::R);
        let change = |text: &[u8]| Change::parse(text, DeleteRight::Create).unwrap().apply(before);
        assert_eq!(change(b"+k").to_string(), "lrkc");
        assert_eq!(change(b"-r").to_string(), "l");
        assert_eq!(change(b"s").to_string(), "s");
    }

    #[test]
    fn owner_has_the_implicit_rights_whatever_the_acl_says() {
        assert_eq!(text("", "user.fred.Sent", &who("fred")), "lkxcan");
        assert_eq!(text("", "user.fred.Sent", &who("joe")), "");
        assert_eq!(text("-fred\tlkxan\t", "user.fred", &who("fred")), "lkxcan");
        assert_eq!(text("", "dom!user.fred", &who("fred")), "");
        assert_eq!(text("", "dom!user.fred", &who("fred@dom")), "lkxcan");
        assert_eq!(text("", "user.john^doe", &who("john.doe")), "lkxcan");
    }

    #[test]
    fn administrator_sees_and_administers_and_no_more() {
        assert_eq!(text("user001\tlrswipkxtecdan\t", "user.user001", &admin()), "la");
        assert_eq!(text("cyrus\tr\t", "team01", &admin()), "lra");
    }

    #[test]
    fn rights_taken_away_are_taken_last() {
        let acl = "-joe\tr\tanyone\tlrs\tjoe\tw\t";
        assert_eq!(text(acl, "team", &who("joe")), "lsw");
        assert_eq!(text(acl, "team", &who("fred")), "lrs");
        assert_eq!(text("anyone\tlr\t-anyone\tr\t", "team", &who("joe")), "l");
    }

    #[test]
    fn groups_and_anonymous_are_meant_by_their_names() {
        let member = Identity { groups: Box::new([(*b"staff").into()]), ..who("joe") };
        let acl = "group:staff\tlr\tanonymous\tl\t";
        assert_eq!(text(acl, "team", &member), "lr");
        assert_eq!(text(acl, "team", &who("joe")), "");
        assert_eq!(text(acl, "team", &who("group:staff")), "");
        assert_eq!(text(acl, "team", &who("anonymous")), "l");
        assert_eq!(text(acl, "team", &who("")), "l");
    }

    #[test]
    fn admin_right_brings_writing_only_when_the_option_says_so() {
        let policy = Policy { admin_implies_write: true, ..Policy::default() };
        assert_eq!(granted(b"joe\ta\t", &who("joe"), &policy).to_string(), "switedan");
        assert_eq!(granted(b"joe\ta\t", &who("joe"), &Policy::default()).to_string(), "a");
    }

    #[test]
    fn entries_end_at_a_tail_without_tab() {
        let all: Vec<_> = entries(b"fred\tlr\tjoe\tl\tanyone\tp").collect();
        assert_eq!(all, [(&b"fred"[..], &b"lr"[..]), (b"joe", b"l")]);
        assert_eq!(entries(b"").count(), 0);
        assert_eq!(entries(b"\t\t").next(), Some((&b""[..], &b""[..])));
    }

    #[test]
    fn list_rights_are_those_of_cyrus() {
        let listed = |name: &str, id: Option<&[u8]>| list_rights(name.as_bytes(), id, &Policy::default());
        let digits = "0 1 2 3 4 5 6 7 8 9";
        let all = "l r s w i k x t e c d a n";
        assert_eq!(listed("user.user001", Some(b"user001")), format!("lkxcan r s w i p t e d {digits}"));
        assert_eq!(listed("user.user001", Some(b"user002")), format!("p {all} {digits}"));
        let others = format!("\"\" l r s w i p k x t e c d a n {digits}");
        assert_eq!(listed("user.user001.Sent", Some(b"user002")), others);
        assert_eq!(listed("team01", Some(b"anyone")), others);
        assert_eq!(listed("user.user001", None), "\"\"");
    }

    proptest! {
        #[test]
        fn printed_rights_are_read_as_the_same(bits in 0u32..1 << 22, letter in "[cdaz]") {
            let (rights, deleteright) = (Rights(bits), DeleteRight::from_option(&letter));
            let printed = rights.text_with(deleteright);
            let read = Rights::parse_with(printed.as_bytes(), deleteright);
            if let DeleteRight::Other(_) = deleteright {
                prop_assert!(read.is_ok_and(|read| read.remove(Rights::X) == rights.remove(Rights::X)));
            } else {
                prop_assert_eq!(read, Ok(rights));
            }
        }

        #[test]
        fn hostile_bytes_do_no_harm(acl: Vec<u8>, name: Vec<u8>, user: Vec<u8>) {
            let who = Identity { user: user.into(), ..Identity::default() };
            let _ = rights(&acl, &name, &who, &Policy::default());
            let _ = list_rights(&name, Some(&who.user), &Policy::default());
        }
    }
}

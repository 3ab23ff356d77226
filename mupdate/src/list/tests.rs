//! The list against a plain ordered map.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use protocols::mailbox::{Identity, Rights};
use protocols::proxy::{Change, Entry, ListQuery, Location, Reserved};

use super::generate::{Generator, Numbers};
use super::*;

/// Key to change: what the list should be.
#[derive(Default)]
struct Model(BTreeMap<Vec<u8>, Change>);

impl Model {
    fn apply(&mut self, change: &Change) {
        let key = key::key(change.name());
        match change {
            Change::Deleted { .. } => {
                self.0.remove(&key);
            }
            Change::Active(_) | Change::Reserved { .. } => {
                self.0.insert(key, change.clone());
            }
        }
    }

    fn check(&self, list: &List) {
        assert_eq!(list.len(), self.0.len());
        let mut cursor = list.iter_from(b"");
        for change in self.0.values() {
            assert_eq!(cursor.next().map(|row| row.change()).as_ref(), Some(change));
        }
        assert!(!cursor.advance());
        for change in self.0.values() {
            let found = list.find(change.name());
            match change {
                Change::Active(entry) => assert_eq!(found, Some(Found::Active(entry.clone()))),
                Change::Reserved { location, .. } => {
                    assert_eq!(found, Some(Found::Reserved { location: location.clone() }));
                }
                Change::Deleted { .. } => unreachable!("the model holds no deletions"),
            }
        }
    }
}

fn active(name: &[u8], location: &str, acl: &str) -> Change {
    Change::Active(Entry {
        name: name.into(),
        location: Location(location.as_bytes().into()),
        acl: acl.as_bytes().into(),
    })
}

fn deleted(name: &[u8]) -> Change {
    Change::Deleted { name: name.into() }
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let part = "[a-d^-]{1,2}";
    let name = proptest::collection::vec(part, 1..4).prop_map(|parts| parts.join("."));
    let name = prop_oneof![
        name.clone(),
        name.clone().prop_map(|name| format!("user.{name}")),
        name.prop_map(|name| format!("d.e!user.{name}")),
    ];
    let change = (name, 0..6u8, 0..3u8).prop_map(|(name, kind, place)| {
        let name = name.into_bytes();
        let location = format!("be{place}!p");
        match kind {
            0 | 1 => deleted(&name),
            2 => Change::Reserved { name: name.into(), location: Location(location.into_bytes().into()) },
            3 => active(&name, &location, "a\tlrswipkxtecdan\t"),
            4 => active(&name, &location, "a@d.e\tlrswipkxtecdan\tanyone\tl\t"),
            _ => active(&name, &location, "anyone\tlrs\t"),
        }
    });
    proptest::collection::vec(change, 0..600)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn list_is_an_ordered_map(changes in changes()) {
        let mut model = Model::default();
        let mut editor = Editor::empty();
        for change in &changes {
            editor.apply(change);
            model.apply(change);
        }
        model.check(&editor.publish());
    }

    #[test]
    fn builder_takes_any_order(changes in changes()) {
        let mut model = Model::default();
        let mut builder = Builder::new();
        for change in &changes {
            builder.push(change);
            model.apply(change);
        }
        let editor = builder.finish();
        model.check(&editor.publish());
        let recounted = Editor::new(&editor.publish());
        prop_assert_eq!(recounted.shared_values(), editor.shared_values());
    }

    #[test]
    fn differences_lead_from_the_old_list_to_the_new(a in changes(), b in changes(), slice in 1..50usize) {
        let (mut old, mut new, mut model) = (Editor::empty(), Builder::new(), Model::default());
        for change in &a {
            old.apply(change);
        }
        for change in &b {
            new.push(change);
            model.apply(change);
        }
        let mut diff = Diff::new(old.publish(), new.finish().publish(), usize::MAX);
        let outcome = loop {
            if let Some(outcome) = diff.step(&old, slice) {
                break outcome;
            }
        };
        let deletions = outcome.changes.iter().filter(|c| matches!(c, Change::Deleted { .. })).count();
        prop_assert_eq!(deletions, outcome.deleted);
        prop_assert_eq!(outcome.changes.len(), outcome.deleted + outcome.inserted + outcome.replaced);
        for change in &outcome.changes {
            prop_assert_ne!(old.apply(change), Applied::Unchanged);
        }
        model.check(&old.publish());
    }
}

#[test]
fn a_long_run_of_random_changes_keeps_the_tree_whole() {
    let mut numbers = Numbers::new(7);
    let pool: Vec<Change> = Generator::new(11, 9).take(20_000).collect();
    let (mut model, mut editor) = (Model::default(), Editor::empty());
    for phase in 0..4u64 {
        for _ in 0..30_000 {
            let change = &pool[numbers.below(pool.len() as u64) as usize];
            // Even phases grow the list, odd ones shrink it, so that pages split and merge.
            let change =
                if numbers.below(10) < 1 + 8 * (phase % 2) { deleted(change.name()) } else { change.clone() };
            editor.apply(&change);
            model.apply(&change);
        }
        model.check(&editor.publish());
    }
    for change in &pool {
        editor.apply(&deleted(change.name()));
    }
    assert!(editor.publish().is_empty());
    assert_eq!(editor.shared_values(), (0, 0));
}

#[test]
fn a_snapshot_does_not_see_later_changes() {
    let mut editor = Editor::empty();
    editor.apply(&active(b"user.a", "be1!p", "a\tlrs\t"));
    let before = editor.publish();
    editor.apply(&deleted(b"user.a"));
    editor.apply(&active(b"user.b", "be2!p", "a\tl\t"));
    assert!(before.find(b"user.a").is_some());
    assert!(before.find(b"user.b").is_none());
    assert!(editor.publish().find(b"user.a").is_none());
}

#[test]
fn ten_years_of_changed_acls_take_the_room_of_the_last() {
    let mut editor = Editor::empty();
    for round in 0..20_000 {
        editor.apply(&active(b"team", "be1!p", &format!("user{round}\tlrs\t")));
    }
    assert!(editor.publish().acls() <= 2);
}

#[test]
fn owners_of_many_mailboxes_share_one_acl() {
    let mut editor = Editor::empty();
    for n in 0..1000 {
        let name = format!("user.u{n}^x");
        editor.apply(&active(name.as_bytes(), "be1!p", &format!("u{n}.x\tlrswipkxtecdan\t")));
    }
    let list = editor.publish();
    assert_eq!(list.acls(), 1);
    let Some(Found::Active(entry)) = list.find(b"user.u77^x") else { panic!("user.u77^x is active") };
    assert_eq!(&*entry.acl, b"u77.x\tlrswipkxtecdan\t");
}

#[test]
fn an_owner_who_is_called_anyone_keeps_an_acl_of_his_own() {
    let mut editor = Editor::empty();
    editor.apply(&active(b"user.anyone", "be1!p", "anyone\tlrs\t"));
    editor.apply(&active(b"team", "be1!p", "anyone\tlrs\t"));
    assert_eq!(editor.publish().acls(), 1);
    let query = query("bob", b"", b"");
    assert_eq!(editor.publish().page(&query, &Plain).entries.len(), 2);
}

#[test]
fn children_are_those_below_in_the_hierarchy() {
    let mut editor = Editor::empty();
    for name in [&b"user.a"[..], b"user.a-b", b"user.c.d", b"ex!user.e.f"] {
        editor.apply(&active(name, "be1!p", ""));
    }
    let list = editor.publish();
    let has = |name: &[u8]| list.has_children(name);
    assert!(has(b"user") && has(b"user.c") && has(b"ex!user.e") && has(b"ex!user"));
    assert!(!has(b"user.a") && !has(b"user.c.d") && !has(b"ex") && !has(b"zzz"));
}

#[test]
fn what_cannot_be_stored_is_left_out() {
    let mut editor = Editor::empty();
    assert_eq!(editor.apply(&active(&[b'a'; 491], "be!p", "")), Applied::Unchanged);
    assert_eq!(editor.apply(&active(b"a\x1fb", "be!p", "")), Applied::Unchanged);
    assert_eq!(editor.apply(&active(b"", "be!p", "")), Applied::Unchanged);
    assert_eq!(editor.apply(&active(b"a", &"x".repeat(1024), "")), Applied::Unchanged);
    assert_eq!(editor.apply(&active(b"a", "be!p", &"x".repeat(ACL_BYTES_MAX + 1))), Applied::Unchanged);
    assert_eq!(editor.apply(&deleted(b"b")), Applied::Unchanged);
    assert!(editor.is_empty());
}

/// `l` is bit 0, the owner sees all, `anyone` counts.
struct Plain;

impl AccessPolicy for Plain {
    fn rights(&self, acl: &[u8], name: &[u8], who: &Identity) -> Rights {
        let mut id = Vec::new();
        if let Some(owner) = key::owner(name) {
            key::write_owner_id(&owner, &mut id);
        }
        let fields: Vec<&[u8]> = acl.split(|&byte| byte == b'\t').collect();
        let granted = fields.chunks(2).any(|pair| {
            pair.len() == 2 && (pair[0] == &*who.user || pair[0] == b"anyone") && pair[1].contains(&b'l')
        });
        Rights(u32::from(who.is_admin || granted || id == *who.user))
    }

    fn is_listed(&self, rights: Rights) -> bool {
        rights.0 & 1 == 1
    }
}

fn query(user: &str, prefix: &[u8], after: &[u8]) -> ListQuery {
    ListQuery {
        after: after.into(),
        prefix: prefix.into(),
        visible_to: Some(Arc::new(Identity { user: user.as_bytes().into(), ..Identity::default() })),
        reserved: Reserved::Hidden,
    }
}

fn all_pages(list: &List, mut query: ListQuery) -> Vec<Box<[u8]>> {
    let mut names = Vec::new();
    loop {
        let page = list.page(&query, &Plain);
        let bytes: usize = page.entries.iter().map(|listed| listed.entry.name.len()).sum();
        assert!(bytes <= protocols::proxy::PAGE_BYTES_MAX + NAME_BYTES_MAX);
        names.extend(page.entries.into_iter().map(|listed| listed.entry.name));
        match page.next {
            Some(next) => query.after = next,
            None => return names,
        }
    }
}

#[test]
fn pages_show_what_an_identity_may_look_up_and_nothing_else() {
    let mut editor = Editor::empty();
    let pool: Vec<Change> = Generator::new(5, 3).take(40_000).collect();
    for change in &pool {
        editor.apply(change);
    }
    editor.apply(&active(b"user.lone", "be1!p", "lone\tlrs\t"));
    editor.apply(&active(b"user.lone.sub", "be1!p", ""));
    editor.apply(&active(b"DELETED.user.lone.x.5E", "be1!p", "lone\tlrs\t"));
    editor.apply(&active(b"user.other.open", "be1!p", "other\tlrs\tlone\tl\t"));
    let list = editor.publish();
    for prefix in [&b""[..], b"user.", b"user.lone", b"DELETED", b"b", b"be.", b"team"] {
        for user in ["lone", "nobody"] {
            let who = Identity { user: user.as_bytes().into(), ..Identity::default() };
            let mut expected: Vec<Box<[u8]>> = Vec::new();
            let mut cursor = list.iter_from(b"");
            while let Some(row) = cursor.next() {
                if row.name.starts_with(prefix)
                    && !row.reserved
                    && Plain.rights(&row.acl(), row.name, &who).0 == 1
                {
                    expected.push(row.name.into());
                }
            }
            assert_eq!(all_pages(&list, query(user, prefix, b"")), expected, "{user} {prefix:?}");
        }
    }
}

#[test]
fn a_page_ends_after_its_share_of_names_even_if_none_is_shown() {
    let mut editor = Editor::empty();
    for n in 0..25_000 {
        editor.apply(&active(format!("x{n:05}").as_bytes(), "be1!p", &format!("u{}\tlrs\t", n % 50)));
    }
    let list = editor.publish();
    let page = list.page(&query("nobody", b"", b""), &Plain);
    assert!(page.entries.is_empty());
    assert_eq!(page.next.as_deref(), Some(&b"x09999"[..]));
}

#[test]
fn a_prefix_may_begin_a_domain() {
    let mut editor = Editor::empty();
    for name in [&b"ex.am!user.a"[..], b"ex.am.b", b"ex-am", b"ex"] {
        editor.apply(&active(name, "be1!p", "anyone\tl\t"));
    }
    let list = editor.publish();
    let names = all_pages(&list, query("u", b"ex.a", b""));
    assert_eq!(names, [b"ex.am.b"[..].into(), b"ex.am!user.a"[..].into()] as [Box<[u8]>; 2]);
    assert_eq!(all_pages(&list, query("u", b"", b"")).len(), 4);
}

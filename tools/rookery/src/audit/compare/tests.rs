use std::sync::Arc;

use mupdate::list::Builder;
use protocols::proxy::{Change, Entry};

use super::super::model::Frontend;
use super::*;

const ACL: &str = "fred\tlrswipkxtecdan\t";

#[test]
fn a_murder_that_agrees_has_no_findings() {
    let mut bed = Bed::new();
    bed.master(&["user.a@b1!p", "user.b@b2!p", "DELETED.user.c.4F3A2B1C@b1!p"]);
    bed.backend("b1", &["user.a@b1!p", "DELETED.user.c.4F3A2B1C@b1!p"]).backend("b2", &["user.b@b2!p"]);
    bed.frontend("f1", &["user.a@b1!p", "user.b@b2!p", "DELETED.user.c.4F3A2B1C@b1!p"]);
    let comparison = compare(&bed.murder);
    assert_eq!((comparison.findings.len(), comparison.judged, comparison.in_flux), (0, 3, 0));
}

#[test]
fn a_mailbox_that_the_master_never_heard_of_is_missing() {
    let mut bed = Bed::new();
    bed.backend("b1", &["user.a@b1!p"]);
    assert_eq!(bed.problems(), ["user.a missing-at-master"]);
}

#[test]
fn an_entry_that_no_backend_holds_is_an_orphan() {
    let mut bed = Bed::new();
    bed.master(&["user.a@b1!p"]).backend("b1", &[]).backend("b2", &[]);
    assert_eq!(bed.problems(), ["user.a orphan"]);
}

#[test]
fn an_entry_at_a_backend_that_was_not_read_is_nothing() {
    let mut bed = Bed::new();
    bed.master(&["user.a@B1!p", "user.b@b1!"]).backend("b2", &[]);
    bed.reserved("user.c@b1!p");
    bed.murder.unread.push("b1".into());
    assert_eq!(bed.problems(), [""; 0]);
}

#[test]
fn what_a_backend_that_was_not_read_may_explain_is_uncertain() {
    let mut bed = Bed::new();
    bed.master(&["user.wrong@b3!p", "user.orphan@b2!p", "user.acl@b2!p"]);
    bed.backend("b2", &["user.wrong@b2!p", "user.missing@b2!p", "user.acl@b2!other"]);
    bed.murder.unread.push("b3".into());
    let findings = compare(&bed.murder).findings;
    let uncertain =
        |problem| findings.iter().find(|finding| finding.problem == problem).map(|f| f.is_uncertain);
    assert_eq!(uncertain(Problem::WrongServer), Some(true));
    assert_eq!(uncertain(Problem::Orphan), Some(true));
    assert_eq!(uncertain(Problem::MissingAtMaster), Some(true));
    assert_eq!(uncertain(Problem::WrongPartition), Some(false));
}

#[test]
fn two_holders_are_two_owners_whatever_the_master_says() {
    for master in [&["user.a@b1!p"][..], &["user.a@b3!p"], &[]] {
        let mut bed = Bed::new();
        bed.master(master).backend("b1", &["user.a@b1!p"]).backend("b2", &["user.a@b2!p"]);
        assert_eq!(bed.problems(), ["user.a double-owner"], "{master:?}");
    }
    let mut bed = Bed::new();
    bed.reserved("user.a@b3!p").backend("b1", &["user.a@b1!p"]).backend("b2", &["user.a@b2!p"]);
    assert_eq!(bed.problems(), ["user.a double-owner"]);
}

#[test]
fn a_mailbox_on_another_server_than_the_master_says_is_on_the_wrong_one() {
    let mut bed = Bed::new();
    bed.master(&["user.a@b1!p"]).backend("b1", &[]).backend("b2", &["user.a@b2!p"]);
    assert_eq!(bed.problems(), ["user.a wrong-server"]);
}

#[test]
fn partitions_and_rights_are_compared_where_the_server_is_right() {
    let mut bed = Bed::new();
    bed.master(&["user.a@b1!p", "user.b@b1!p", "user.c@b1!"]);
    bed.backend("b1", &["user.a@b1!q", "user.b@b1!p@anyone\tp\t", "user.c@b1!p"]);
    assert_eq!(bed.problems(), ["user.a wrong-partition", "user.b wrong-acl"]);
    bed.murder.backends[0].depth = Depth::Names;
    assert_eq!(bed.problems(), ["user.a wrong-partition"]);
}

#[test]
fn every_stage_of_a_move_is_told_from_the_others() {
    let at = |holders: &[(&str, &str)]| {
        let mut bed = Bed::new();
        bed.reserved("user.a@b1!p");
        for server in ["b1", "b2"] {
            let held: Vec<&str> =
                holders.iter().filter(|(name, _)| *name == server).map(|(_, held)| *held).collect();
            bed.backend(server, &held);
        }
        compare(&bed.murder).findings.first().map(|finding| finding.problem)
    };
    assert_eq!(at(&[("b1", "user.a@b1!p")]), Some(Problem::NotActivated));
    assert_eq!(at(&[("b1", "user.a@b1!p"), ("b2", "user.a@b2!p")]), Some(Problem::MoveInterrupted));
    assert_eq!(at(&[("b2", "user.a@b2!p")]), Some(Problem::MoveNotAnnounced));
    assert_eq!(at(&[]), Some(Problem::StaleReservation));
}

#[test]
fn an_active_mailbox_that_its_backend_flags_as_moving_is_found() {
    let mut bed = Bed::new();
    bed.master(&["user.a@b1!p"]).backend("b1", &["user.a@b1!p"]);
    bed.murder.backends[0].moving.insert((*b"user.a").into(), (*b"b2").into());
    assert_eq!(bed.problems(), ["user.a still-flagged"]);
}

#[test]
fn frontends_are_compared_with_the_master_and_all_that_differ_are_named() {
    let mut bed = Bed::new();
    bed.master(&["user.a@b1!p", "user.b@b1!p"]).reserved("user.c@b1!p");
    bed.backend("b1", &["user.a@b1!p", "user.b@b1!p", "user.c@b1!p"]);
    bed.frontend("f1", &["user.a@b1!p", "user.b@b1!p@anyone\tp\t", "user.c@b1!p", "user.d@b1!p"]);
    bed.frontend("f2", &["user.a@b2!p", "user.b@B1!p"]);
    let stale = |name: &str| {
        let findings = compare(&bed.murder).findings;
        let its = |f: &&Finding| f.problem == Problem::StaleFrontend && *f.name == *name.as_bytes();
        let stale =
            findings.iter().find(its).map(|f| f.frontends.iter().map(|(at, _)| *at).collect::<Vec<_>>());
        stale.unwrap_or_default()
    };
    assert_eq!((stale("user.a"), stale("user.b")), (vec![1], vec![0]));
    assert_eq!((stale("user.c"), stale("user.d")), (vec![0, 1], vec![0]));
}

#[test]
fn a_unified_server_lists_its_own_mailboxes_without_a_server() {
    let mut bed = Bed::new();
    bed.master(&["user.a@b1!p", "user.b@b2!p"])
        .backend("b1", &["user.a@b1!p"])
        .backend("b2", &["user.b@b2!p"]);
    bed.frontend("b1", &["user.a@p", "user.b@b2!p"]);
    assert_eq!(bed.problems(), [""; 0]);
}

#[test]
fn replicated_backends_share_what_they_hold() {
    let mut bed = Bed::new();
    bed.murder.is_replicated = true;
    bed.master(&["user.a@p", "user.gone@p"]);
    bed.backend("b1", &["user.a@b1!p", "user.new@b1!p"]).backend("b2", &["user.a@b2!p", "user.new@b2!p"]);
    assert_eq!(bed.problems(), ["user.gone orphan", "user.new missing-at-master"]);
    let findings = compare(&bed.murder).findings;
    assert_eq!(&*findings[1].holders[0].location.0, b"p", "as replicated backends activate");
}

#[test]
fn what_changed_meanwhile_is_not_judged() {
    let mut bed = Bed::new();
    bed.master(&["user.a@b1!p"]).backend("b1", &[]);
    bed.murder.before = list(&["user.b@b1!p"], &[]);
    let comparison = compare(&bed.murder);
    assert_eq!((comparison.findings.len(), comparison.judged, comparison.in_flux), (0, 0, 2));
}

#[test]
fn names_are_met_in_every_list_whatever_order_bytes_have() {
    let names =
        ["user.foo@b1!p", "user.foo.x@b1!p", "user.foo-bar@b1!p", "user.zed@b1!p", "example.com!user.a@b1!p"];
    let mut bed = Bed::new();
    bed.master(&names);
    let mut turned = names;
    turned.reverse();
    bed.backend("b1", &turned).frontend("f1", &names);
    assert_eq!(bed.problems(), [""; 0]);
    assert_eq!(compare(&bed.murder).judged, names.len());
}

#[test]
fn findings_past_the_limit_are_counted() {
    let mut comparison = Comparison::default();
    let finding = Finding {
        name: (*b"a").into(),
        problem: Problem::Orphan,
        master: Said::Nothing,
        holders: Vec::new(),
        frontends: Vec::new(),
        is_uncertain: false,
    };
    for _ in 0..FINDINGS_MAX + 3 {
        comparison.add(finding.clone());
    }
    assert_eq!((comparison.findings.len(), comparison.omitted), (FINDINGS_MAX, 3));
}

/// A murder made of a few words: `name@location`, or `name@location@acl`.
pub(in super::super) struct Bed {
    pub(in super::super) murder: Murder,
    master: Vec<String>,
    reserved: Vec<String>,
}

impl Bed {
    pub(in super::super) fn new() -> Bed {
        let empty = List::empty();
        Bed {
            murder: Murder {
                before: empty.clone(),
                master: empty,
                backends: Vec::new(),
                unread: Vec::new(),
                frontends: Vec::new(),
                is_replicated: false,
            },
            master: Vec::new(),
            reserved: Vec::new(),
        }
    }

    pub(in super::super) fn master(&mut self, entries: &[&str]) -> &mut Bed {
        self.master.extend(entries.iter().map(|entry| (*entry).to_owned()));
        self.publish()
    }

    pub(in super::super) fn reserved(&mut self, entry: &str) -> &mut Bed {
        self.reserved.push(entry.to_owned());
        self.publish()
    }

    pub(in super::super) fn backend(&mut self, name: &str, entries: &[&str]) -> &mut Bed {
        self.murder.backends.push(Backend {
            name: name.into(),
            list: list(entries, &[]),
            moving: Default::default(),
            depth: Depth::Whole,
        });
        self
    }

    pub(in super::super) fn frontend(&mut self, name: &str, entries: &[&str]) -> &mut Bed {
        let list = list(entries, &[]);
        self.murder.frontends.push(Frontend { name: name.into(), list, state: None });
        self
    }

    fn publish(&mut self) -> &mut Bed {
        let active: Vec<&str> = self.master.iter().map(String::as_str).collect();
        let reserved: Vec<&str> = self.reserved.iter().map(String::as_str).collect();
        self.murder.master = list(&active, &reserved);
        self.murder.before = self.murder.master.clone();
        self
    }

    /// `name problem`, in hierarchy order.
    fn problems(&self) -> Vec<String> {
        let findings = compare(&self.murder).findings;
        let name = |finding: &Finding| String::from_utf8_lossy(&finding.name).into_owned();
        findings.iter().map(|finding| format!("{} {}", name(finding), finding.problem.word())).collect()
    }
}

fn list(active: &[&str], reserved: &[&str]) -> Arc<List> {
    let mut builder = Builder::new();
    let parts = |entry: &str| {
        let mut parts = entry.splitn(3, '@').map(str::to_owned);
        let (name, location) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        (
            name.into_bytes(),
            Location(location.into_bytes().into()),
            parts.next().unwrap_or_else(|| ACL.into()),
        )
    };
    for entry in active {
        let (name, location, acl) = parts(entry);
        builder.push(&Change::Active(Entry { name: name.into(), location, acl: acl.into_bytes().into() }));
    }
    for entry in reserved {
        let (name, location, _) = parts(entry);
        builder.push(&Change::Reserved { name: name.into(), location });
    }
    builder.finish().publish()
}

use protocols::proxy::{Entry, Location};

use super::*;

const STANDARD: Rules = Rules { mode: Mode::Standard, takeover: Takeover::Refused };
const SHARED: Rules = Rules { mode: Mode::Shared, takeover: Takeover::Refused };
const LENIENT: Rules = Rules { mode: Mode::Standard, takeover: Takeover::Allowed };

fn place(text: &str) -> Location {
    Location(text.as_bytes().into())
}

fn active_at(location: &str) -> Option<Standing> {
    Some(Standing { location: place(location), reserved: false })
}

fn reserved_at(location: &str) -> Option<Standing> {
    Some(Standing { location: place(location), reserved: true })
}

fn reserve(at: &str) -> MasterRequest {
    MasterRequest::Reserve { name: b"user.a".as_slice().into(), location: place(at) }
}

fn activate(at: &str) -> MasterRequest {
    MasterRequest::Activate(Entry {
        name: b"user.a".as_slice().into(),
        location: place(at),
        acl: Vec::from("anyone\tlrs\t").into(),
    })
}

fn deactivate(at: &str) -> MasterRequest {
    MasterRequest::Deactivate { name: b"user.a".as_slice().into(), location: place(at) }
}

fn delete() -> MasterRequest {
    MasterRequest::Delete { name: b"user.a".as_slice().into() }
}

fn text(decision: &Decision) -> String {
    let recorded = if decision.conflict { ", recorded" } else { "" };
    let what = match &decision.change {
        Err(no) => format!("NO {no}"),
        Ok(None) => "done already".into(),
        Ok(Some(Change::Active(entry))) => format!("active {}", String::from_utf8_lossy(&entry.location.0)),
        Ok(Some(Change::Reserved { location, .. })) => {
            format!("reserved {}", String::from_utf8_lossy(&location.0))
        }
        Ok(Some(Change::Deleted { .. })) => "deleted".into(),
    };
    format!("{what}{recorded}")
}

/// What an unknown client is told.
fn said(standing: Option<Standing>, request: MasterRequest, rules: &Rules) -> String {
    text(&decide(standing.as_ref(), &request, Claim::default(), rules))
}

/// What a client is told from an address that activates for these servers.
fn said_to(servers: &[&str], standing: Option<Standing>, request: MasterRequest) -> String {
    let servers: Vec<Box<[u8]>> = servers.iter().map(|server| server.as_bytes().into()).collect();
    text(&decide(standing.as_ref(), &request, Claim { servers: &servers, ..Claim::default() }, &STANDARD))
}

/// What a client is told that has sent LIST with this server's prefix.
fn said_to_lister(server: &str, standing: Option<Standing>, request: MasterRequest) -> String {
    let claim = Claim { listed: Some(server.as_bytes()), ..Claim::default() };
    text(&decide(standing.as_ref(), &request, claim, &STANDARD))
}

#[test]
fn reserve_never_demotes_an_active_mailbox() {
    for rules in [STANDARD, SHARED, LENIENT] {
        assert_eq!(said(active_at("be1!p"), reserve("be1!p"), &rules), "done already");
        assert_eq!(said(active_at("be1!p"), reserve("BE1!p"), &rules), "done already");
        assert_eq!(said(active_at("be1!p"), reserve("be1!"), &rules), "done already");
        assert_eq!(said(active_at("be1!"), reserve("be1!p"), &rules), "done already");
    }
}

#[test]
fn reserve_of_a_name_at_another_location_is_refused() {
    assert_eq!(said(active_at("be1!p"), reserve("be2!p"), &STANDARD), "NO mailbox already exists");
    assert_eq!(said(active_at("be1!p"), reserve("be1!q"), &STANDARD), "NO mailbox already exists");
    assert_eq!(said(reserved_at("be1!p"), reserve("be2!p"), &STANDARD), "NO mailbox already exists");
    assert_eq!(said(reserved_at("be1!p"), reserve("be2!p"), &SHARED), "reserved be2!p");
    assert_eq!(said(None, reserve("be2!p"), &STANDARD), "reserved be2!p");
}

#[test]
fn locations_without_a_server_are_compared_as_partitions() {
    assert_eq!(said(active_at("p"), reserve("p"), &SHARED), "done already");
    assert_eq!(said(active_at("p"), reserve("q"), &SHARED), "reserved q");
    assert_eq!(said(active_at("p"), activate("q"), &SHARED), "active q");
    assert_eq!(said(active_at("p"), delete(), &SHARED), "deleted");
}

#[test]
fn activate_does_not_take_another_servers_mailbox() {
    assert_eq!(
        said(active_at("be1!p"), activate("be2!p"), &STANDARD),
        "NO mailbox is active on another server, recorded"
    );
    assert_eq!(said(active_at("be1!p"), activate("be2!p"), &SHARED), "active be2!p, recorded");
    assert_eq!(said(active_at("be1!p"), activate("be2!p"), &LENIENT), "active be2!p, recorded");
}

#[test]
fn activate_at_the_same_server_is_done() {
    assert_eq!(said(active_at("be1!p"), activate("be1!q"), &STANDARD), "active be1!q");
    assert_eq!(said(active_at("be1!p"), activate("BE1!p"), &STANDARD), "active BE1!p");
    assert_eq!(said(active_at("be1!p"), activate("be1!"), &STANDARD), "active be1!");
}

#[test]
fn a_reserved_or_deactivated_name_is_activated_anywhere() {
    assert_eq!(said(reserved_at("be1!p"), activate("be2!p"), &STANDARD), "active be2!p");
    assert_eq!(said(None, activate("be2!p"), &STANDARD), "active be2!p");
}

#[test]
fn who_pushes_his_list_takes_what_he_says_is_his() {
    let taken = said_to_lister("be2", active_at("be1!p"), activate("BE2!p"));
    assert_eq!(taken, "active BE2!p, recorded");
    let other = said_to_lister("be3", active_at("be1!p"), activate("be2!p"));
    assert_eq!(other, "NO mailbox is active on another server, recorded");
}

#[test]
fn deactivate_is_for_the_owner() {
    assert_eq!(said(active_at("be1!p"), deactivate("be1!"), &STANDARD), "reserved be1!");
    let no = "NO mailbox is active on another server, recorded";
    assert_eq!(said(active_at("be1!p"), deactivate("be2!p"), &STANDARD), no);
    assert_eq!(said_to_lister("be2", active_at("be1!p"), deactivate("be2!p")), no);
    assert_eq!(said(active_at("be1!p"), deactivate("be2!p"), &SHARED), "reserved be2!p, recorded");
    assert_eq!(said(active_at("be1!p"), deactivate("be2!p"), &LENIENT), "reserved be2!p, recorded");
}

#[test]
fn delete_is_refused_only_to_who_is_known_as_another_server_alone() {
    let there = || active_at("be1!p");
    assert_eq!(said_to(&["be1"], there(), delete()), "deleted");
    assert_eq!(said_to(&["BE1", "be2"], there(), delete()), "deleted");
    assert_eq!(said_to(&["be2"], there(), delete()), "NO mailbox is active on another server, recorded");
    assert_eq!(said_to(&["be2", "be3"], there(), delete()), "deleted, recorded");
    assert_eq!(said_to(&[], there(), delete()), "deleted, recorded");
    assert_eq!(said_to(&["be2"], reserved_at("be1!p"), delete()), "deleted");
    assert_eq!(said_to_lister("be1", there(), delete()), "deleted");
}

/// The mailbox was moved away behind the LIST, perhaps to a server at the same address.
#[test]
fn who_pushes_its_list_deletes_nothing_of_others() {
    let servers: [Box<[u8]>; 2] = [b"be1".as_slice().into(), b"be2".as_slice().into()];
    let claim = Claim { listed: Some(b"be2"), servers: &servers, amid_move: false };
    let there = active_at("be1!p");
    assert_eq!(text(&decide(there.as_ref(), &delete(), claim, &STANDARD)), "done already, recorded");
    assert_eq!(text(&decide(there.as_ref(), &delete(), claim, &SHARED)), "deleted, recorded");
}

#[test]
fn the_old_behaviour_deletes_for_everybody() {
    let servers: [Box<[u8]>; 1] = [b"be2".as_slice().into()];
    let claim = Claim { servers: &servers, ..Claim::default() };
    for rules in [SHARED, LENIENT] {
        let there = active_at("be1!p");
        assert_eq!(text(&decide(there.as_ref(), &delete(), claim, &rules)), "deleted, recorded");
    }
}

#[test]
fn what_kills_cyrus_is_answered() {
    assert_eq!(said(None, delete(), &STANDARD), "NO mailbox doesn't exist");
    assert_eq!(said(None, delete(), &SHARED), "done already");
    assert_eq!(said(None, deactivate("be1!p"), &STANDARD), "NO mailbox doesn't exist");
    assert_eq!(said(reserved_at("be1!p"), deactivate("be1!p"), &STANDARD), "NO mailbox not currently active");
}

#[test]
fn a_name_that_cannot_be_stored_is_refused() {
    for name in [String::new(), "x".repeat(491)] {
        let request = MasterRequest::Reserve { name: name.as_bytes().into(), location: place("be1!p") };
        assert!(said(None, request, &STANDARD).starts_with("NO mailbox name"));
    }
}

/// Cyrus 3.8 to 3.12 activates a mailbox with annotations at the source while it moves it away.
#[test]
fn source_of_a_move_does_not_activate_what_it_has_deactivated() {
    let amid = Claim { amid_move: true, ..Claim::default() };
    let said = |standing: Option<Standing>, request: MasterRequest, claim: Claim<'_>, rules: &Rules| {
        text(&decide(standing.as_ref(), &request, claim, rules))
    };
    for rules in [STANDARD, LENIENT] {
        for at in ["be1!p", "be1!", "BE1!p"] {
            assert_eq!(said(reserved_at("be1!p"), activate(at), amid, &rules), "done already");
        }
        assert_eq!(said(reserved_at("be1!p"), activate("be2!p"), amid, &rules), "active be2!p");
    }
    assert_eq!(said(active_at("be1!p"), activate("be1!q"), amid, &STANDARD), "active be1!q");
    assert_eq!(said(reserved_at("p"), activate("p"), amid, &SHARED), "active p");
    let pushes = Claim { listed: Some(b"be1"), ..amid };
    assert_eq!(said(reserved_at("be1!p"), activate("be1!p"), pushes, &STANDARD), "active be1!p");
    let mover = Claim::default();
    assert_eq!(said(reserved_at("be1!p"), activate("be1!p"), mover, &STANDARD), "active be1!p");
}

use protocols::proxy::{Answer, DirectoryAnswer, DirectoryQuestion, Entry, MasterRequest, Requester};

use super::super::{Config, Directory, Effect, Loaded, Role, StoreWrite, Ticket};
use super::*;
use crate::list::Editor;
use crate::master::rules::{Mode, Rules, Takeover};

/// A master and what its store has of its memory.
struct Master {
    directory: Directory,
    notes: BTreeMap<Vec<u8>, Vec<u8>>,
}

fn master() -> Master {
    Master { directory: Directory::new(Config::master(), Loaded::nothing()), notes: BTreeMap::new() }
}

impl Master {
    /// Asks at a time; whether it was done.
    fn asks(&mut self, who: &str, unix_time: u64, request: MasterRequest) -> bool {
        let requester = Requester { address: who.parse().ok(), unix_time, ..Requester::default() };
        self.asks_as(requester, request)
    }

    fn asks_as(&mut self, requester: Requester, request: MasterRequest) -> bool {
        self.directory.handle(Ticket(0), DirectoryQuestion::Commit { request, requester });
        self.settle()
    }

    fn lists(&mut self, server: &str, unix_time: u64) {
        let requester =
            Requester { listed: Some(server.as_bytes().into()), unix_time, ..Requester::default() };
        self.directory.handle(Ticket(0), DirectoryQuestion::Listed { requester });
        self.settle();
    }

    /// Stores what is to be stored; whether the answer was OK.
    fn settle(&mut self) -> bool {
        let mut done = false;
        loop {
            while let Some(effect) = self.directory.poll_effect() {
                if let Effect::Answer {
                    answer: Answer::Directory(DirectoryAnswer::Committed(result)), ..
                } = effect
                {
                    done = result.is_ok();
                }
            }
            let Some(write) = self.directory.poll_store() else { return done };
            let (StoreWrite::Append { beside, .. } | StoreWrite::Replace { beside, .. }) = write;
            for (key, value) in beside.notes {
                match value {
                    Some(value) => drop(self.notes.insert(key, value)),
                    None => drop(self.notes.remove(&key)),
                }
            }
            self.directory.stored(Ok(()));
        }
    }

    /// Ends and begins again with what was stored.
    fn restart(&mut self) {
        let list = Editor::new(&self.directory.published().load().list);
        let notes = std::mem::take(&mut self.notes).into_iter().collect();
        self.directory = Directory::new(Config::master(), Loaded { list, notes, ..Loaded::nothing() });
    }
}

fn place(text: &str) -> Location {
    Location(text.as_bytes().into())
}

fn activate(name: &str, at: &str) -> MasterRequest {
    let acl = b"anyone\tlrs\t".as_slice().into();
    MasterRequest::Activate(Entry { name: name.as_bytes().into(), location: place(at), acl })
}

fn reserve(name: &str, at: &str) -> MasterRequest {
    MasterRequest::Reserve { name: name.as_bytes().into(), location: place(at) }
}

fn deactivate(name: &str, at: &str) -> MasterRequest {
    MasterRequest::Deactivate { name: name.as_bytes().into(), location: place(at) }
}

fn delete(name: &str) -> MasterRequest {
    MasterRequest::Delete { name: name.as_bytes().into() }
}

const BE1: &str = "192.0.2.1";
const BE2: &str = "192.0.2.2";

#[test]
fn a_conflict_is_kept_with_both_claimants_and_counted() {
    let mut master = master();
    assert!(master.asks(BE1, 10, activate("user.a", "be1!p")));
    assert!(master.asks(BE2, 15, activate("user.b", "be2!p")));
    assert!(!master.asks(BE2, 20, activate("user.a", "be2!p")));
    assert!(!master.asks(BE2, 30, activate("user.a", "be2!p")));
    master.restart();
    let conflicts = master.directory.conflicts();
    let expected = Conflict {
        name: b"user.a".as_slice().into(),
        kind: ConflictKind::Activate,
        outcome: ConflictOutcome::Refused,
        owner: place("be1!p"),
        claimed: Some(place("be2!p")),
        address: BE2.parse().ok(),
        servers: vec![b"be2".as_slice().into()],
        first_unix: 20,
        last_unix: 30,
        sequence: 2,
        times: 2,
    };
    assert_eq!(conflicts, [expected]);
}

#[test]
fn conflicts_are_forgotten_for_good_but_those_that_came_up_later() {
    let mut master = master();
    assert!(master.asks(BE1, 10, activate("user.a", "be1!p")));
    assert!(master.asks(BE1, 10, activate("user.b", "be1!p")));
    assert!(!master.asks(BE2, 20, activate("user.a", "be2!p")));
    assert!(!master.asks(BE2, 21, activate("user.b", "be2!p")));
    assert_eq!(master.directory.forget_conflicts(20), 1);
    master.settle();
    master.restart();
    let names: Vec<_> = master.directory.conflicts().into_iter().map(|known| known.name).collect();
    assert_eq!(names, [Box::from(b"user.b".as_slice())]);
    assert_eq!(master.directory.forget_conflicts(20), 0);
}

#[test]
fn a_delete_by_the_loser_of_a_double_is_refused_also_after_a_restart() {
    let mut master = master();
    master.asks(BE1, 1, activate("user.a", "be1!p"));
    master.asks(BE2, 2, activate("user.b", "be2!p"));
    master.restart();
    assert!(!master.asks(BE2, 3, delete("user.a")), "the address activates for be2 alone");
    assert!(master.asks(BE1, 4, delete("user.a")));
    assert!(!master.asks(BE1, 5, delete("user.b")));
    master.asks(BE1, 6, activate("user.c", "be2!p"));
    assert!(master.asks(BE1, 7, delete("user.b")), "two servers share the address");
    let kinds: Vec<_> = master.directory.conflicts().iter().map(|at| (at.kind, at.outcome)).collect();
    assert_eq!(kinds, [(ConflictKind::Delete, ConflictOutcome::Refused); 2]);
}

#[test]
fn a_push_of_the_own_list_takes_over_and_is_recorded() {
    let mut master = master();
    master.asks(BE1, 1, activate("user.a", "be1!p"));
    let pusher = Requester {
        address: BE2.parse().ok(),
        listed: Some(b"be2".as_slice().into()),
        unix_time: 2,
        connection: 0,
    };
    assert!(master.asks_as(pusher, activate("user.a", "be2!p")));
    let conflicts = master.directory.conflicts();
    assert_eq!((conflicts.len(), conflicts[0].outcome), (1, ConflictOutcome::Done));
}

#[test]
fn reservations_have_their_age_until_they_are_activated() {
    let mut master = master();
    master.asks(BE1, 100, reserve("user.a", "be1!p"));
    master.asks(BE1, 110, reserve("user.b", "be1!p"));
    master.asks(BE1, 120, reserve("user.a", "be1!p"));
    master.asks(BE1, 130, activate("user.b", "be1!p"));
    master.restart();
    let [one] = &master.directory.reservations()[..] else { panic!("one name is reserved") };
    assert_eq!(
        (&*one.name, one.since_unix, one.cause),
        (&b"user.a"[..], Some(100), ReservationCause::Reserve)
    );
    master.asks(BE1, 140, delete("user.a"));
    master.restart();
    assert_eq!(master.directory.reservations(), []);
}

#[test]
fn a_reservation_of_a_list_from_elsewhere_has_no_age() {
    let mut list = Editor::empty();
    list.apply(&Change::Reserved { name: b"user.a".as_slice().into(), location: place("be1!p") });
    let directory = Directory::new(Config::master(), Loaded { list, ..Loaded::nothing() });
    assert_eq!(directory.reservations()[0].since_unix, None);
}

#[test]
fn a_move_is_unfinished_when_its_source_lists_and_leaves_it() {
    let mut master = master();
    for name in ["user.a", "user.b", "user.c"] {
        master.asks(BE1, 1, activate(name, "be1!p"));
    }
    master.asks(BE1, 2, deactivate("user.a", "be1!p"));
    master.asks(BE1, 3, deactivate("user.b", "be1!p"));
    master.asks(BE1, 3, reserve("user.new", "be1!p"));
    assert_eq!(master.directory.unfinished_moves(), [], "they may be under way");
    master.lists("be2", 4);
    assert_eq!(master.directory.unfinished_moves(), [], "it is not the source that lists");
    master.lists("BE1", 5);
    master.asks(BE2, 6, activate("user.b", "be2!p"));
    master.restart();
    let expected = UnfinishedMove {
        name: b"user.a".as_slice().into(),
        source: place("be1!p"),
        deactivated_unix: Some(2),
        listed_unix: 5,
    };
    assert_eq!(master.directory.unfinished_moves(), [expected]);
}

#[test]
fn what_is_kept_is_bounded_and_the_newest_stays() {
    let mut master = master();
    master.asks(BE1, 1, activate("user.z", "be1!p"));
    master.asks(BE2, 1, activate("user.y", "be2!p"));
    for n in 0..CONFLICTS_MAX as u64 + 50 {
        master.asks(BE2, 10 + n, activate("user.z", &format!("be2!p{n}")));
    }
    let conflicts = master.directory.conflicts();
    assert_eq!(conflicts.len(), CONFLICTS_MAX);
    assert_eq!(conflicts[0].first_unix, 60, "the oldest fifty are forgotten");
    assert_eq!(master.notes.keys().filter(|key| key.starts_with(b"c")).count(), CONFLICTS_MAX);
}

#[test]
fn deletes_that_were_done_do_not_push_others_out() {
    let mut master = master();
    master.asks(BE1, 1, activate("user.z", "be1!p"));
    master.asks(BE2, 2, activate("user.y", "be2!p"));
    master.asks(BE2, 3, activate("user.z", "be2!p"));
    for n in 0..CONFLICTS_MAX as u64 + 5 {
        let name = format!("user.n{n}");
        master.asks(BE1, 10 + n, activate(&name, "be1!p"));
        assert!(master.asks("192.0.2.99", 10 + n, delete(&name)));
    }
    let conflicts = master.directory.conflicts();
    assert_eq!(conflicts.len(), CONFLICTS_MAX + 1);
    assert_eq!(conflicts[0].kind, ConflictKind::Activate);
}

#[test]
fn a_unified_master_does_and_records() {
    let rules = Rules { mode: Mode::Shared, takeover: Takeover::Refused };
    let config = Config { role: Role::Master(rules), ..Config::master() };
    let mut master = Master { directory: Directory::new(config, Loaded::nothing()), notes: BTreeMap::new() };
    assert!(master.asks(BE1, 1, activate("user.a", "be1!p")));
    assert!(master.asks(BE2, 2, activate("user.a", "be2!p")));
    assert!(master.asks(BE1, 3, delete("user.a")));
    assert!(master.asks(BE1, 3, delete("user.a")), "nothing is refused");
    assert_eq!(master.directory.conflicts().len(), 2);
}

#[test]
fn a_lost_write_leaves_no_reservation_behind_that_the_list_has_not() {
    let mut master = master();
    master.asks(BE1, 1, reserve("user.a", "be1!p"));
    let requester = Requester { address: BE1.parse().ok(), unix_time: 2, ..Requester::default() };
    let request = reserve("user.b", "be1!p");
    master.directory.handle(Ticket(0), DirectoryQuestion::Commit { request, requester });
    assert!(master.directory.poll_store().is_some());
    master.directory.stored(Err("disk full".into()));
    assert!(!master.settle());
    let names: Vec<_> = master.directory.reservations().into_iter().map(|at| at.name).collect();
    assert_eq!(names, [b"user.a".as_slice().into()]);
    assert_eq!(master.directory.reservations()[0].since_unix, Some(1));
    master.restart();
    assert_eq!(master.directory.reservations()[0].since_unix, Some(1), "the next write has all of it");
}

#[test]
fn notes_that_make_no_sense_are_left_out() {
    for key in [&b""[..], b"c", b"r", b"a", b"x", b"a\0\0\0\x01x"] {
        for value in [&b""[..], b"\0", b"A\0\0\0\0\x09x", b"\0\0\0\0\x02be"] {
            let notes = vec![(key.to_vec(), value.to_vec())];
            let directory = Directory::new(Config::master(), Loaded { notes, ..Loaded::nothing() });
            assert_eq!(directory.conflicts(), []);
        }
    }
}

/// A connection of a server.
fn on(connection: u64, unix_time: u64) -> Requester {
    Requester { address: BE1.parse().ok(), unix_time, connection, ..Requester::default() }
}

/// Cyrus 3.8 to 3.12 activates mailboxes with annotations once more while XFER deletes them at the source.
#[test]
fn a_move_ends_at_its_destination_though_the_source_activates_in_between() {
    let mut master = master();
    let [moves, changes, destination] = [1, 2, 3];
    assert!(master.asks_as(on(changes, 1), activate("user.a.Sent", "be1!p")));
    assert!(master.asks_as(on(moves, 10), deactivate("user.a.Sent", "be1!p")));
    assert!(master.asks_as(on(changes, 11), activate("user.a.Sent", "be1!")));
    assert_eq!(master.directory.reservations().len(), 1, "it is reserved still");
    assert!(master.asks_as(on(destination, 12), activate("user.a.Sent", "be2!p")));
    assert!(master.directory.conflicts().is_empty() && master.directory.reservations().is_empty());
    // What has arrived is nobody's in between any more.
    assert!(!master.asks_as(on(changes, 13), activate("user.a.Sent", "be1!p")));
}

#[test]
fn a_move_is_taken_back_by_who_began_it_or_when_it_is_too_old() {
    let [moves, changes] = [1, 2];
    for (connection, unix_time, is_back) in [(moves, 11, true), (changes, 11, false), (changes, 4_000, true)]
    {
        let mut master = master();
        assert!(master.asks_as(on(changes, 1), activate("user.a", "be1!p")));
        assert!(master.asks_as(on(moves, 10), deactivate("user.a", "be1!p")));
        assert!(master.asks_as(on(connection, unix_time), activate("user.a", "be1!p")));
        assert_eq!(master.directory.reservations().is_empty(), is_back, "{connection} at {unix_time}");
    }
    let mut master = master();
    assert!(master.asks_as(on(moves, 10), activate("user.b", "be1!p")));
    assert!(master.asks_as(on(moves, 11), deactivate("user.b", "be1!p")));
    master.restart();
    assert!(master.asks_as(on(changes, 12), activate("user.b", "be1!p")));
    assert!(master.directory.reservations().is_empty(), "no connection outlives the master");
}

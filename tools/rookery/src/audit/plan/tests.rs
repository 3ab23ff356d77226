use super::super::compare::compare;
use super::super::compare::tests::Bed;
use super::super::model::{FrontendState, Murder};
use super::*;

#[test]
fn what_one_backend_holds_is_activated_there_as_the_backend_has_it() {
    let mut bed = Bed::new();
    bed.master(&["user.acl@b1!p"]).backend("b1", &["user.acl@b1!p@anyone\tp\t", "user.new@b1!p"]);
    let plan = planned(&bed.murder);
    assert_eq!(words(&plan), ["activate user.new at b1!p", "activate user.acl at b1!p"]);
    let Step::Activate { was, acl, .. } = &plan.steps[1] else { panic!("{:?}", plan.steps) };
    assert_eq!(acl, "anyone\tp\t");
    assert!(matches!(was, Was::Active { acl, .. } if acl.starts_with("fred")), "{was:?}");
}

#[test]
fn a_move_that_ended_is_announced_and_never_repaired_at_its_destination_first() {
    let mut bed = Bed::new();
    bed.reserved("user.a@b1!p").backend("b1", &[]).backend("b2", &["user.a@b2!p"]);
    assert_eq!(words(&planned(&bed.murder)), ["activate user.a at b2!p"]);
}

#[test]
fn a_move_that_broke_off_in_the_middle_is_for_hands_at_its_source_first() {
    let mut bed = Bed::new();
    bed.reserved("user.a@b1!p").reserved("user.c@b1!p");
    bed.backend("b1", &["user.a@b1!p", "user.b@b1!p", "user.c@b1!p"]).backend("b2", &["user.a@b2!p"]);
    bed.murder.backends[0].moving.insert((*b"user.c").into(), (*b"b2").into());
    let plan = planned(&bed.murder);
    assert_eq!(words(&plan), ["activate user.b at b1!p", "by hand on b1 for 2"]);
    let Step::ByHand { what, .. } = &plan.steps[1] else { panic!("{:?}", plan.steps) };
    assert!(what.contains("here and not on the other") && what.contains("only copy"), "{what}");
}

#[test]
fn a_reservation_that_its_server_holds_is_activated_unless_it_is_being_moved() {
    let mut bed = Bed::new();
    bed.reserved("user.a@b1!p").backend("b1", &["user.a@b1!p"]);
    assert_eq!(words(&planned(&bed.murder)), ["activate user.a at b1!p"]);
}

#[test]
fn reservations_and_entries_without_a_mailbox_are_forgotten_behind_what_is_activated() {
    let mut bed = Bed::new();
    bed.master(&["user.gone@b1!p", "user.a@b1!p", "user.b@b1!p", "user.c@b1!q"]).reserved("user.never@b1!p");
    bed.backend("b1", &["user.a@b1!p", "user.b@b1!p", "user.c@b1!p"]);
    let expected = ["activate user.c at b1!p", "forget user.gone", "forget user.never"];
    assert_eq!(words(&planned(&bed.murder)), expected);
}

#[test]
fn a_backend_that_has_nothing_left_is_looked_at_before_anything_is_forgotten() {
    let mut bed = Bed::new();
    bed.master(&["user.a@b1!p", "user.b@B1!p", "user.c@b2!p"])
        .backend("b1", &[])
        .backend("b2", &["user.c@b2!p"]);
    assert_eq!(words(&planned(&bed.murder)), ["by hand on b1 for 2"]);
    let comparison = compare(&bed.murder);
    let allowed = plan("m", &bed.murder, &comparison, &Namespace::default(), Deletions::Any);
    assert_eq!(words(&allowed), ["forget user.a", "forget user.b"]);
}

#[test]
fn many_orphans_of_one_backend_are_too_many() {
    let names = |from: usize, to: usize| (from..to).map(|n| format!("user.u{n:04}@b1!p")).collect::<Vec<_>>();
    let (kept, gone) = (names(0, 300), names(300, 400));
    let all: Vec<&str> = kept.iter().chain(&gone).map(String::as_str).collect();
    let held: Vec<&str> = kept.iter().map(String::as_str).collect();
    let mut bed = Bed::new();
    bed.master(&all).backend("b1", &held);
    assert_eq!(words(&planned(&bed.murder)), ["by hand on b1 for 100"]);
    let mut fewer = Bed::new();
    fewer.master(&all[..399]).backend("b1", &held);
    assert_eq!(planned(&fewer.murder).steps.len(), 99);
}

#[test]
fn two_owners_are_never_decided_here_but_before_any_source_is_synchronised() {
    let mut bed = Bed::new();
    bed.master(&["user.a@b1!p"]).reserved("user.m@b2!p");
    bed.backend("b1", &["user.a@b1!p", "user.m@b1!p"]).backend("b2", &["user.a@b2!p", "user.m@b2!p"]);
    let plan = planned(&bed.murder);
    assert_eq!(words(&plan), ["by hand on b1 and b2 for 1", "by hand on b2 for 1"]);
    assert!(!plan.steps[0].is_automatic());
}

#[test]
fn nothing_is_done_about_what_a_backend_that_was_not_read_may_explain() {
    let mut bed = Bed::new();
    bed.master(&["user.a@b1!p"]).backend("b1", &["user.b@b1!p"]);
    bed.murder.unread.push("b2".into());
    let plan = planned(&bed.murder);
    assert_eq!((plan.steps.len(), plan.undecided), (0, 2));
}

#[test]
fn names_alone_are_not_enough_to_activate() {
    let mut bed = Bed::new();
    bed.backend("b1", &["user.a@b1!p"]).backend("b2", &["user.b@b2!"]);
    bed.murder.backends[0].depth = super::super::model::Depth::Names;
    assert_eq!(words(&planned(&bed.murder)), ["by hand on the master for 2"]);
}

#[test]
fn a_frontend_is_told_by_its_state_what_to_do() {
    let mut bed = Bed::new();
    bed.master(&["user.a@b1!p"]).backend("b1", &["user.a@b1!p"]).frontend("f1", &[]);
    let what = |bed: &Bed| match &planned(&bed.murder).steps[0] {
        Step::ByHand { at, what, .. } => format!("{at}: {what}"),
        Step::Activate { .. } | Step::Forget { .. } => panic!("by hand"),
    };
    assert!(what(&bed).starts_with("f1: restart"));
    let state = |is_held_back| Some(FrontendState { knowledge: "stale".into(), is_held_back });
    bed.murder.frontends[0].state = state(true);
    assert!(what(&bed).contains("rookery accept"));
    bed.murder.frontends[0].state = state(false);
    assert!(what(&bed).contains("rookery status"));
}

#[test]
fn a_plan_survives_its_file() {
    let mut bed = Bed::new();
    bed.master(&["user.gone@b1!p", "user.x@b1!p"]).reserved("user.r@b1!p").frontend("f1", &[]);
    bed.backend("b1", &["user.new@b1!p", "user.x@b1!p", "user.r@b1!p"]);
    let plan = planned(&bed.murder);
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    assert!(plan.steps.len() >= 4, "{plan:?}");
}

fn planned(murder: &Murder) -> Plan {
    plan("m", murder, &compare(murder), &Namespace::default(), Deletions::Few)
}

fn words(plan: &Plan) -> Vec<String> {
    let word = |step: &Step| match step {
        Step::Activate { name, location, .. } => format!("activate {name} at {location}"),
        Step::Forget { name, .. } => format!("forget {name}"),
        Step::ByHand { at, mailboxes, .. } => format!("by hand on {at} for {mailboxes}"),
    };
    plan.steps.iter().map(word).collect()
}

//! Carrying out a plan: each step only if the master still says what it said when it was made.

use client::{Answer, Change, ClientError, Located, Mupdate};

use super::gather::Servers;
use super::plan::{Plan, Step, Was};
use crate::exit::Failure;

/// What became of a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// Done.
    Done,
    /// It was so already.
    AlreadySo,
    /// The master says something else than when the plan was made.
    Changed,
    /// The master's NO.
    Refused(String),
}

impl Fate {
    /// Whether the master now says what the step wanted.
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Fate::Done | Fate::AlreadySo)
    }
}

/// Steps whose mailboxes are looked up before the first of them is done: what somebody changes in
/// between is told by the master's answer, or stands as he left it at the next audit.
const STEPS_AT_ONCE: usize = 1_000;

/// Does the automatic steps in their order; `each` is told what became of them.
///
/// # Errors
/// The master cannot be asked, or nobody reads what `each` prints.
pub(super) fn apply(
    plan: &Plan,
    servers: &Servers,
    mut each: impl FnMut(&Step, Fate) -> std::io::Result<()>,
) -> Result<(), Failure> {
    let mut master = servers.connect_master()?;
    let steps: Vec<&Step> = plan.steps.iter().filter(|step| step.is_automatic()).collect();
    for steps in steps.chunks(STEPS_AT_ONCE) {
        let fates = carry_out(&mut master, steps).map_err(Failure::cannot_ask)?;
        for (step, fate) in steps.iter().zip(fates) {
            each(step, fate)?;
        }
    }
    master.logout();
    Ok(())
}

/// Looks all mailboxes up, then changes those that are as they were, with many commands on their way.
fn carry_out(master: &mut Mupdate, steps: &[&Step]) -> Result<Vec<Fate>, ClientError> {
    let find = steps.iter().filter_map(|step| Some(Change::Find { name: step.subject()?.0 }));
    let found = run_all(master, find)?;
    let mut fates: Vec<Option<Fate>> =
        steps.iter().zip(found).map(|(step, found)| decided(step, found)).collect();
    let open: Vec<usize> = (0..steps.len()).filter(|at| fates[*at].is_none()).collect();
    run_all(master, open.iter().filter_map(|at| release(steps[*at])))?;
    let answers = run_all(master, open.iter().filter_map(|at| change(steps[*at])))?;
    for (at, answer) in open.into_iter().zip(answers) {
        fates[at] = Some(match answer {
            Answer::Done | Answer::Found(_) => Fate::Done,
            Answer::Refused(text) => insist(master, steps[at], &text)?,
        });
    }
    Ok(fates.into_iter().flatten().collect())
}

/// Runs commands and gives their answers in the same order.
fn run_all<'a>(
    master: &mut Mupdate,
    changes: impl Iterator<Item = Change<'a>>,
) -> Result<Vec<Answer>, ClientError> {
    let mut answers = Vec::new();
    let mut pipeline = master.pipeline(|at: usize, answer| answers.push((at, answer)));
    for (at, change) in changes.enumerate() {
        pipeline.submit(change, at)?;
    }
    pipeline.finish()?;
    answers.sort_by_key(|(at, _)| *at);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

/// What becomes of a step before anything is changed; `None` when it is to be done.
fn decided(step: &Step, found: Answer) -> Option<Fate> {
    let found = match found {
        Answer::Found(found) => found,
        Answer::Done => None,
        Answer::Refused(text) => return Some(Fate::Refused(text.into())),
    };
    if is_wanted(step, found.as_ref()) {
        return Some(Fate::AlreadySo);
    }
    let is_as_it_was = step.subject().is_some_and(|(_, was)| is_same(was, found.as_ref()));
    (!is_as_it_was).then_some(Fate::Changed)
}

/// The command of a step.
fn change(step: &Step) -> Option<Change<'_>> {
    match step {
        Step::Activate { name, location, acl, .. } => {
            let (name, location) = (name.as_bytes(), location.as_bytes());
            Some(Change::Activate { name, location, acl: acl.as_bytes() })
        }
        Step::Forget { name, .. } => Some(Change::Delete { name: name.as_bytes() }),
        Step::ByHand { .. } => None,
    }
}

/// What a step needs before its command: a name that is reserved is forgotten, for a master that still takes it for a
/// move under way would answer OK to its source's ACTIVATE and leave it reserved.
fn release(step: &Step) -> Option<Change<'_>> {
    match step {
        Step::Activate { name, was: Was::Reserved { .. }, .. } => {
            Some(Change::Delete { name: name.as_bytes() })
        }
        Step::Activate { .. } | Step::Forget { .. } | Step::ByHand { .. } => None,
    }
}

/// A master that guards owners gives a mailbox up in two steps: its owner deactivates it, which this
/// program knows to be right.
fn insist(master: &mut Mupdate, step: &Step, text: &str) -> Result<Fate, ClientError> {
    let (Some((name, Was::Active { location, acl })), Some(change)) = (step.subject(), change(step)) else {
        return Ok(Fate::Refused(text.to_owned()));
    };
    let location = location.as_bytes();
    if let Answer::Refused(text) = master.run(Change::Deactivate { name, location })? {
        return Ok(Fate::Refused(text.into()));
    }
    match master.run(change)? {
        Answer::Done | Answer::Found(_) => Ok(Fate::Done),
        Answer::Refused(text) => {
            // What cannot be repaired stays as it was.
            master.run(Change::Activate { name, location, acl: acl.as_bytes() })?;
            Ok(Fate::Refused(text.into()))
        }
    }
}

fn is_wanted(step: &Step, found: Option<&Located>) -> bool {
    match (step, found) {
        (Step::Activate { location, acl, .. }, Some(found)) => {
            *found.location == *location.as_bytes() && found.acl.as_deref() == Some(acl.as_bytes())
        }
        (Step::Forget { .. }, None) => true,
        (Step::Activate { .. } | Step::Forget { .. } | Step::ByHand { .. }, _) => false,
    }
}

/// Whether the master still says what it said.
fn is_same(was: &Was, found: Option<&Located>) -> bool {
    match (was, found) {
        (Was::Absent, None) => true,
        (Was::Reserved { location }, Some(Located { location: at, acl: None })) => {
            **at == *location.as_bytes()
        }
        (Was::Active { location, acl }, Some(Located { location: at, acl: Some(found) })) => {
            **at == *location.as_bytes() && **found == *acl.as_bytes()
        }
        (Was::Absent | Was::Reserved { .. } | Was::Active { .. }, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(location: &str, acl: Option<&str>) -> Located {
        Located { location: location.as_bytes().into(), acl: acl.map(|acl| acl.as_bytes().into()) }
    }

    #[test]
    fn a_step_is_done_only_where_all_is_as_it_was() {
        let active = Was::Active { location: "b1!p".into(), acl: "fred\tlrs\t".into() };
        let reserved = Was::Reserved { location: "b1!p".into() };
        assert!(is_same(&Was::Absent, None));
        assert!(is_same(&active, Some(&found("b1!p", Some("fred\tlrs\t")))));
        assert!(is_same(&reserved, Some(&found("b1!p", None))));
        for (was, now) in [
            (&Was::Absent, Some(found("b1!p", None))),
            (&active, None),
            (&active, Some(found("b1!p", None))),
            (&active, Some(found("b2!p", Some("fred\tlrs\t")))),
            (&active, Some(found("b1!p", Some("fred\tlr\t")))),
            (&reserved, Some(found("b1!p", Some("")))),
        ] {
            assert!(!is_same(was, now.as_ref()), "{was:?} {now:?}");
        }
    }

    #[test]
    fn what_the_master_says_decides_before_anything_is_changed() {
        let was = Was::Reserved { location: "b1!p".into() };
        let step = Step::Forget { name: "a".into(), was, why: String::new() };
        let reserved = |location| Answer::Found(Some(found(location, None)));
        assert_eq!(decided(&step, reserved("b1!p")), None);
        assert_eq!(decided(&step, reserved("b2!p")), Some(Fate::Changed));
        assert_eq!(decided(&step, Answer::Found(None)), Some(Fate::AlreadySo));
        assert_eq!(decided(&step, Answer::Refused("no".into())), Some(Fate::Refused("no".into())));
    }

    #[test]
    fn a_step_that_somebody_else_did_is_done() {
        let (name, why) = ("a".to_owned(), String::new());
        let forget = Step::Forget { name: name.clone(), was: Was::Absent, why: why.clone() };
        assert!(is_wanted(&forget, None) && !is_wanted(&forget, Some(&found("b1!p", None))));
        let location = "b1!p".to_owned();
        let activate = Step::Activate { name, location, acl: "x\tl\t".into(), was: Was::Absent, why };
        assert!(is_wanted(&activate, Some(&found("b1!p", Some("x\tl\t")))));
        assert!(!is_wanted(&activate, Some(&found("b1!p", None))));
    }
}

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
    for step in plan.steps.iter().filter(|step| step.is_automatic()) {
        let fate = carry_out(&mut master, step).map_err(Failure::cannot_ask)?;
        each(step, fate)?;
    }
    master.logout();
    Ok(())
}

fn carry_out(master: &mut Mupdate, step: &Step) -> Result<Fate, ClientError> {
    let (name, was) = match step {
        Step::Activate { name, was, .. } | Step::Forget { name, was, .. } => (name.as_bytes(), was),
        Step::ByHand { .. } => return Ok(Fate::Changed),
    };
    let found = master.find(name)?;
    if is_wanted(step, found.as_ref()) {
        return Ok(Fate::AlreadySo);
    }
    if !is_same(was, found.as_ref()) {
        return Ok(Fate::Changed);
    }
    let change = match step {
        Step::Activate { location, acl, .. } => {
            Change::Activate { name, location: location.as_bytes(), acl: acl.as_bytes() }
        }
        Step::Forget { .. } | Step::ByHand { .. } => Change::Delete { name },
    };
    match master.run(change)? {
        Answer::Done | Answer::Found(_) => Ok(Fate::Done),
        Answer::Refused(text) => insist(master, change, name, was, &text),
    }
}

/// A master that guards owners gives a mailbox up in two steps: its owner deactivates it, which this
/// program knows to be right.
fn insist(
    master: &mut Mupdate,
    change: Change<'_>,
    name: &[u8],
    was: &Was,
    text: &str,
) -> Result<Fate, ClientError> {
    let Was::Active { location, acl } = was else { return Ok(Fate::Refused(text.to_owned())) };
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

//! How a difference most likely came about.

use protocols::mailbox::Namespace;

use super::compare::{Finding, Problem};
use super::model::{Frontend, Said};
use crate::output::shown;

/// The likely cause, in one sentence without a period.
pub(crate) fn cause(finding: &Finding, frontends: &[Frontend], namespace: &Namespace) -> String {
    let is_deleted = namespace.is_deleted(&finding.name);
    match finding.problem {
        Problem::DoubleOwner => {
            "a move broke off, a copy was restored or left behind, or both created it while the master was away"
                .into()
        }
        Problem::MoveInterrupted => format!(
            "a move from {} broke off before its copy was given up, or is still running",
            source(finding)
        ),
        Problem::NotActivated => match finding.holders.first().and_then(|holder| holder.moving_to.as_deref())
        {
            Some(to) => {
                format!("a move to {} broke off before it had the mailbox, or is still running", shown(to))
            }
            None => "a creation or a move was given up between RESERVE and ACTIVATE".into(),
        },
        Problem::MoveNotAnnounced => format!(
            "a move from {} ended, but its last step (MUPDATEPUSH) did not reach the master",
            source(finding)
        ),
        Problem::StaleReservation => "a creation was given up behind its RESERVE".into(),
        Problem::WrongServer => {
            "it was moved while the master was away, or the master's list is an older copy".into()
        }
        Problem::StillFlagged => "a move was given up, and the backend still sends clients away".into(),
        Problem::MissingAtMaster if is_deleted => {
            "a backend that deletes by itself (LOCALDELETE, ctl_mboxlist -m) does not tell the master".into()
        }
        Problem::MissingAtMaster => "the master was away when it was created, or has lost its list".into(),
        Problem::Orphan if is_deleted => {
            "the last removal of a deleted mailbox by IMAP does not tell the master".into()
        }
        Problem::Orphan => "the backend removed it while the master was away, or has lost it".into(),
        Problem::WrongPartition => "it changed its partition while the master was away".into(),
        Problem::WrongAcl => {
            "its rights were set while the master was away: the backend keeps them and answers NO".into()
        }
        Problem::StaleFrontend => stale_frontend(finding, frontends),
    }
}

/// Where the master says that a move began.
fn source(finding: &Finding) -> String {
    shown(finding.master.location().and_then(|location| location.server()).unwrap_or_default())
}

fn stale_frontend(finding: &Finding, frontends: &[Frontend]) -> String {
    let state = |(at, _): &(usize, Said)| frontends.get(*at)?.state.as_ref();
    let states: Vec<_> = finding.frontends.iter().filter_map(state).collect();
    if states.iter().any(|state| state.is_held_back) {
        return "the master's list would delete too much: the frontend holds it back until it is accepted"
            .into();
    }
    if let Some(state) = states.iter().find(|state| &*state.knowledge != "live") {
        return format!("the frontend is not in step with the master: its list is {}", state.knowledge);
    }
    let is_lost = finding.frontends.iter().any(|(_, said)| *said == Said::Nothing);
    if is_lost && sorts_apart(&finding.name) {
        return "Cyrus' slave lost it in a resync: it compares lists that are sorted in two ways".into();
    }
    "the frontend's MUPDATE slave stands still, or has missed the change".into()
}

/// Whether a name sorts differently as bytes and in hierarchy order: it holds a byte below the dot.
fn sorts_apart(name: &[u8]) -> bool {
    name.iter().any(|byte| *byte < b'.')
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mupdate::list::List;
    use protocols::proxy::Location;

    use super::super::model::{FrontendState, Holding};
    use super::*;

    fn finding(name: &str, problem: Problem) -> Finding {
        let location = Location(b"backend1!default"[..].into());
        Finding {
            name: name.as_bytes().into(),
            problem,
            master: Said::Reserved { location: location.clone() },
            holders: vec![Holding { location, acl: None, moving_to: None }],
            frontends: vec![(0, Said::Nothing)],
            is_uncertain: false,
        }
    }

    fn frontend(state: Option<FrontendState>) -> Vec<Frontend> {
        vec![Frontend { name: "frontend1".into(), list: List::empty(), state }]
    }

    fn text(finding: &Finding, frontends: &[Frontend]) -> String {
        cause(finding, frontends, &Namespace::default())
    }

    #[test]
    fn a_deleted_mailbox_is_an_orphan_for_a_reason_of_its_own() {
        let deleted = text(&finding("DELETED.user.fred.4F3A2B1C", Problem::Orphan), &[]);
        assert!(deleted.contains("by IMAP"), "{deleted}");
        assert!(text(&finding("user.fred", Problem::Orphan), &[]).contains("has lost it"));
    }

    #[test]
    fn moves_are_told_by_their_servers() {
        assert!(text(&finding("a", Problem::MoveNotAnnounced), &[]).contains("from backend1"));
        let mut moving = finding("a", Problem::NotActivated);
        assert!(text(&moving, &[]).contains("RESERVE"));
        moving.holders[0].moving_to = Some(b"backend2"[..].into());
        assert!(text(&moving, &[]).contains("to backend2"));
    }

    #[test]
    fn a_frontend_is_stale_for_what_it_says_of_itself_first() {
        let state =
            |knowledge: &str, is_held_back| Some(FrontendState { knowledge: knowledge.into(), is_held_back });
        let finding = finding("user.foo-bar", Problem::StaleFrontend);
        assert!(text(&finding, &frontend(state("stale", true))).contains("accepted"));
        assert!(text(&finding, &frontend(state("stale", false))).contains("is stale"));
        assert!(text(&finding, &frontend(None)).contains("sorted in two ways"));
        let mut other = finding.clone();
        other.name = Arc::<[u8]>::from(&b"user.foo"[..]).to_vec().into();
        assert!(text(&other, &frontend(None)).contains("stands still"));
    }
}

//! What a master does with RESERVE, ACTIVATE, DEACTIVATE and DELETE.
//!
//! ```text
//!              unknown      reserved           active, same location   active, elsewhere
//!   RESERVE    reserve      same: done         done                    NO exists
//!                           elsewhere: NO
//!   ACTIVATE   activate     activate           activate                activate, or NO by option
//!   DEACTIVATE NO unknown   NO not active      reserve                 reserve
//!   DELETE     NO unknown   delete             delete                  delete
//! ```
//!
//! Deviates from Cyrus where that harms: RESERVE of an active mailbox at its own location leaves it
//! active (there it vanishes from all frontends), DELETE and DEACTIVATE of unknown names are
//! answered (there the master dies).

use protocols::proxy::{Change, MasterRequest};

use crate::list::{Editor, is_storable_change};

/// `mupdate_config` as the master reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// A name is at one server.
    #[default]
    Standard,
    /// `unified` or `replicated`: RESERVE is never refused, DELETE of an unknown name is done.
    Shared,
}

/// Whether a server may activate a name that is active at another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Takeover {
    /// As Cyrus: the last one has it.
    #[default]
    Allowed,
    /// NO: the name must be deactivated or deleted first, as XFER does.
    Refused,
}

/// The rules of a master.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rules {
    /// `mupdate_config`.
    pub mode: Mode,
    /// Whether a name can be taken from another server.
    pub takeover: Takeover,
}

/// Decides a request: the change that it makes, none when the list says so already.
///
/// # Errors
/// The text of the NO.
pub fn decide(list: &Editor, request: MasterRequest, rules: &Rules) -> Result<Option<Change>, &'static str> {
    let change = match request {
        MasterRequest::Reserve { name, location } => match list.locate(&name) {
            Some((there, _)) if there == location => return Ok(None),
            Some(_) if rules.mode == Mode::Standard => return Err("mailbox already exists"),
            Some(_) | None => Change::Reserved { name, location },
        },
        MasterRequest::Activate(entry) => {
            if let Some((there, reserved)) = list.locate(&entry.name)
                && !reserved
                && rules.takeover == Takeover::Refused
                && there.server() != entry.location.server()
            {
                return Err("mailbox already exists");
            }
            Change::Active(entry)
        }
        MasterRequest::Deactivate { name, location } => match list.locate(&name) {
            None => return Err("mailbox doesn't exist"),
            Some((_, true)) => return Err("mailbox not currently active"),
            Some((_, false)) => Change::Reserved { name, location },
        },
        MasterRequest::Delete { name } => match (list.locate(&name), rules.mode) {
            (Some(_), _) => Change::Deleted { name },
            (None, Mode::Standard) => return Err("mailbox doesn't exist"),
            (None, Mode::Shared) => return Ok(None),
        },
    };
    if !is_storable_change(&change) {
        return Err("mailbox name, location or acl outside the limits");
    }
    Ok(Some(change))
}

#[cfg(test)]
mod tests {
    use protocols::proxy::{Entry, Location};

    use super::*;

    const STANDARD: Rules = Rules { mode: Mode::Standard, takeover: Takeover::Allowed };
    const SHARED: Rules = Rules { mode: Mode::Shared, takeover: Takeover::Allowed };
    const CAREFUL: Rules = Rules { mode: Mode::Standard, takeover: Takeover::Refused };

    fn place(text: &str) -> Location {
        Location(text.as_bytes().into())
    }

    fn reserve(name: &str, at: &str) -> MasterRequest {
        MasterRequest::Reserve { name: name.as_bytes().into(), location: place(at) }
    }

    fn activate(name: &str, at: &str) -> MasterRequest {
        MasterRequest::Activate(Entry {
            name: name.as_bytes().into(),
            location: place(at),
            acl: Vec::from("anyone\tlrs\t").into(),
        })
    }

    fn deactivate(name: &str, at: &str) -> MasterRequest {
        MasterRequest::Deactivate { name: name.as_bytes().into(), location: place(at) }
    }

    fn delete(name: &str) -> MasterRequest {
        MasterRequest::Delete { name: name.as_bytes().into() }
    }

    /// `a` is active at be1, `r` is reserved there.
    fn list() -> Editor {
        let mut list = Editor::empty();
        for request in [activate("a", "be1!p"), reserve("r", "be1!p")] {
            let change = decide(&list, request, &STANDARD).unwrap().unwrap();
            list.apply(&change);
        }
        list
    }

    fn text(request: MasterRequest, rules: &Rules) -> String {
        match decide(&list(), request, rules) {
            Err(no) => format!("NO {no}"),
            Ok(None) => "done already".into(),
            Ok(Some(Change::Active(entry))) => {
                format!("active {}", String::from_utf8_lossy(&entry.location.0))
            }
            Ok(Some(Change::Reserved { location, .. })) => {
                format!("reserved {}", String::from_utf8_lossy(&location.0))
            }
            Ok(Some(Change::Deleted { .. })) => "deleted".into(),
        }
    }

    #[test]
    fn reserve_never_demotes_an_active_mailbox() {
        assert_eq!(text(reserve("a", "be1!p"), &STANDARD), "done already");
        assert_eq!(text(reserve("a", "be1!p"), &SHARED), "done already");
    }

    #[test]
    fn reserve_of_a_name_at_another_location_is_refused() {
        assert_eq!(text(reserve("a", "be2!p"), &STANDARD), "NO mailbox already exists");
        assert_eq!(text(reserve("r", "be2!p"), &STANDARD), "NO mailbox already exists");
        assert_eq!(text(reserve("r", "be2!p"), &SHARED), "reserved be2!p");
        assert_eq!(text(reserve("new", "be2!p"), &STANDARD), "reserved be2!p");
    }

    #[test]
    fn activate_takes_a_name_over_unless_that_is_forbidden() {
        assert_eq!(text(activate("a", "be2!p"), &STANDARD), "active be2!p");
        assert_eq!(text(activate("a", "be2!p"), &CAREFUL), "NO mailbox already exists");
        assert_eq!(text(activate("a", "be1!q"), &CAREFUL), "active be1!q");
        assert_eq!(text(activate("r", "be2!p"), &CAREFUL), "active be2!p");
    }

    #[test]
    fn what_kills_cyrus_is_answered() {
        assert_eq!(text(delete("none"), &STANDARD), "NO mailbox doesn't exist");
        assert_eq!(text(delete("none"), &SHARED), "done already");
        assert_eq!(text(deactivate("none", "be1!p"), &STANDARD), "NO mailbox doesn't exist");
        assert_eq!(text(deactivate("r", "be1!p"), &STANDARD), "NO mailbox not currently active");
        assert_eq!(text(deactivate("a", "be1!p"), &STANDARD), "reserved be1!p");
        assert_eq!(text(delete("r"), &STANDARD), "deleted");
    }

    #[test]
    fn a_name_that_cannot_be_stored_is_refused() {
        assert!(text(reserve("", "be1!p"), &STANDARD).starts_with("NO mailbox name"));
        assert!(text(activate(&"x".repeat(491), "be1!p"), &STANDARD).starts_with("NO mailbox name"));
    }
}

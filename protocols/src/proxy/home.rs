//! What a user's home server tells of him, kept for the time when it is away.

use std::sync::Arc;

use crate::mailbox::{Spelling, utf7};

/// What a user's home server told last of him, for the time when that server is away. `None`: nothing is
/// known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HomeCopy {
    /// His subscriptions, sorted, as he sees the names.
    pub subscribed: Option<Arc<[Box<[u8]>]>>,
    /// Mailboxes as he sees the names, sorted, with their special uses as they stand in a LIST.
    pub special: Option<Arc<[SpecialUse]>>,
}

/// A mailbox and its special uses (RFC 6154): `\Sent`, or several with spaces between them.
pub type SpecialUse = (Box<[u8]>, Box<[u8]>);

/// A part of a [`HomeCopy`], as it is learnt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HomeNews {
    /// All subscriptions, sorted.
    Subscriptions(Box<[Box<[u8]>]>),
    /// One more.
    Subscribed(Box<[u8]>),
    /// One less.
    Unsubscribed(Box<[u8]>),
    /// All special uses, sorted.
    SpecialUses(Box<[SpecialUse]>),
}

impl HomeCopy {
    /// For a client who spells names so; what is kept is in modified UTF-7.
    pub fn respelled(self, spelling: Spelling) -> HomeCopy {
        if spelling == Spelling::Utf7 {
            return self;
        }
        let name = |name: &[u8]| respelled(name, spelling);
        HomeCopy {
            subscribed: self.subscribed.map(|names| names.iter().map(|each| name(each)).collect()),
            special: self
                .special
                .map(|uses| uses.iter().map(|(each, special)| (name(each), special.clone())).collect()),
        }
    }
}

impl HomeNews {
    /// As it is kept, in modified UTF-7, when a client who spells names so learnt it.
    pub fn from_spelling(self, spelling: Spelling) -> HomeNews {
        if spelling == Spelling::Utf7 {
            return self;
        }
        let name = |name: &[u8]| respelled(name, Spelling::Utf7);
        match self {
            HomeNews::Subscriptions(names) => {
                HomeNews::Subscriptions(names.iter().map(|each| name(each)).collect())
            }
            HomeNews::Subscribed(one) => HomeNews::Subscribed(name(&one)),
            HomeNews::Unsubscribed(one) => HomeNews::Unsubscribed(name(&one)),
            HomeNews::SpecialUses(uses) => HomeNews::SpecialUses(
                uses.iter().map(|(each, special)| (name(each), special.clone())).collect(),
            ),
        }
    }
}

/// A name as spelled otherwise; what cannot be stays as it is.
fn respelled(name: &[u8], spelling: Spelling) -> Box<[u8]> {
    let other = match spelling {
        Spelling::Utf7 => utf7::from_utf8(name).ok(),
        Spelling::Utf8 => utf7::to_utf8(name).ok().map(String::into_bytes),
    };
    other.map_or_else(|| name.into(), Into::into)
}

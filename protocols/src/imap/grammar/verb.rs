//! The verbs that a frontend knows.

use crate::proxy::VerbName;

/// Bytes of the longest verb that has a fixed key.
const KEY_BYTES: usize = 16;

/// Stands behind a verb in its key; no verb has a space.
const PADDING: u8 = b' ';

/// Folds a verb to upper case, little end first; zero when it is longer than a key.
#[inline]
const fn key(name: &[u8]) -> u128 {
    if name.len() > KEY_BYTES {
        return 0;
    }
    let mut folded = [PADDING; KEY_BYTES];
    let mut at = 0;
    while at < name.len() {
        folded[at] = name[at].to_ascii_uppercase();
        at += 1;
    }
    u128::from_le_bytes(folded)
}

macro_rules! verbs {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The verb of a command, without its `UID` prefix.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum Verb {
            $($(#[$doc])* $variant,)*
            /// The replication protocol of Cyrus: every verb that begins with `SYNC`.
            Sync,
            /// XAPPLEPUSHSERVICE.
            XApplePushService,
            /// Anything else.
            Unknown,
        }

        #[allow(non_upper_case_globals, reason = "a constant per variant, named as the variant is")]
        mod keys {
            $(pub(super) const $variant: u128 = super::key($name.as_bytes());)*
        }

        impl Verb {
            /// Every verb that has one spelling, with it.
            pub const ALL: &'static [(Verb, &'static str)] = &[$((Verb::$variant, $name),)*];

            /// Its spelling; of a family or an unknown verb a word for all of them.
            #[inline]
            pub const fn name(self) -> VerbName {
                match self {
                    $(Verb::$variant => &$name,)*
                    Verb::Sync => &"SYNC",
                    Verb::XApplePushService => &"XAPPLEPUSHSERVICE",
                    Verb::Unknown => &"other",
                }
            }

            /// The verb that is spelled so, in any case.
            #[inline]
            pub fn parse(name: &[u8]) -> Verb {
                match key(name) {
                    $(keys::$variant => Verb::$variant,)*
                    _ => Verb::parse_rare(name),
                }
            }
        }
    };
}

verbs! {
    /// CAPABILITY.
    Capability = "CAPABILITY",
    /// NOOP.
    Noop = "NOOP",
    /// LOGOUT.
    Logout = "LOGOUT",
    /// ID (RFC 2971).
    Id = "ID",
    /// STARTTLS.
    Starttls = "STARTTLS",
    /// AUTHENTICATE.
    Authenticate = "AUTHENTICATE",
    /// LOGIN.
    Login = "LOGIN",
    /// COMPRESS (RFC 4978).
    Compress = "COMPRESS",
    /// ENABLE (RFC 5161).
    Enable = "ENABLE",
    /// UNAUTHENTICATE (RFC 8437).
    Unauthenticate = "UNAUTHENTICATE",
    /// NAMESPACE (RFC 2342).
    Namespace = "NAMESPACE",
    /// IDLE (RFC 2177).
    Idle = "IDLE",
    /// NOTIFY (RFC 5465).
    Notify = "NOTIFY",
    /// SELECT.
    Select = "SELECT",
    /// EXAMINE.
    Examine = "EXAMINE",
    /// UNSELECT (RFC 3691).
    Unselect = "UNSELECT",
    /// CLOSE.
    Close = "CLOSE",
    /// CHECK.
    Check = "CHECK",
    /// EXPUNGE.
    Expunge = "EXPUNGE",
    /// FETCH.
    Fetch = "FETCH",
    /// STORE.
    Store = "STORE",
    /// SEARCH.
    Search = "SEARCH",
    /// ESEARCH (RFC 7377).
    Esearch = "ESEARCH",
    /// SORT (RFC 5256).
    Sort = "SORT",
    /// THREAD (RFC 5256).
    Thread = "THREAD",
    /// UIDBATCHES.
    UidBatches = "UIDBATCHES",
    /// COPY.
    Copy = "COPY",
    /// MOVE (RFC 6851).
    Move = "MOVE",
    /// XMOVE, Cyrus' older MOVE.
    XMove = "XMOVE",
    /// APPEND.
    Append = "APPEND",
    /// REPLACE (RFC 8508).
    Replace = "REPLACE",
    /// CREATE.
    Create = "CREATE",
    /// DELETE.
    Delete = "DELETE",
    /// RENAME.
    Rename = "RENAME",
    /// XRENAME, Cyrus' RENAME with progress.
    XRename = "XRENAME",
    /// STATUS.
    Status = "STATUS",
    /// LIST.
    List = "LIST",
    /// XLIST.
    XList = "XLIST",
    /// RLIST (RFC 2193).
    RList = "RLIST",
    /// LSUB.
    Lsub = "LSUB",
    /// RLSUB (RFC 2193).
    RLsub = "RLSUB",
    /// SUBSCRIBE.
    Subscribe = "SUBSCRIBE",
    /// UNSUBSCRIBE.
    Unsubscribe = "UNSUBSCRIBE",
    /// SCAN.
    Scan = "SCAN",
    /// GETACL (RFC 4314).
    GetAcl = "GETACL",
    /// SETACL (RFC 4314).
    SetAcl = "SETACL",
    /// DELETEACL (RFC 4314).
    DeleteAcl = "DELETEACL",
    /// LISTRIGHTS (RFC 4314).
    ListRights = "LISTRIGHTS",
    /// MYRIGHTS (RFC 4314).
    MyRights = "MYRIGHTS",
    /// GETQUOTA (RFC 2087).
    GetQuota = "GETQUOTA",
    /// GETQUOTAROOT (RFC 2087).
    GetQuotaRoot = "GETQUOTAROOT",
    /// SETQUOTA (RFC 2087).
    SetQuota = "SETQUOTA",
    /// GETMETADATA (RFC 5464).
    GetMetadata = "GETMETADATA",
    /// SETMETADATA (RFC 5464).
    SetMetadata = "SETMETADATA",
    /// GETANNOTATION, the draft before METADATA.
    GetAnnotation = "GETANNOTATION",
    /// SETANNOTATION, the draft before METADATA.
    SetAnnotation = "SETANNOTATION",
    /// GENURLAUTH (RFC 4467).
    GenUrlAuth = "GENURLAUTH",
    /// RESETKEY (RFC 4467).
    ResetKey = "RESETKEY",
    /// URLFETCH (RFC 4467).
    UrlFetch = "URLFETCH",
    /// RECONSTRUCT.
    Reconstruct = "RECONSTRUCT",
    /// XFER: moves a mailbox to another server.
    Xfer = "XFER",
    /// DUMP.
    Dump = "DUMP",
    /// UNDUMP.
    Undump = "UNDUMP",
    /// MUPDATEPUSH.
    MupdatePush = "MUPDATEPUSH",
    /// LOCALAPPEND: how Cyrus frontends append.
    LocalAppend = "LOCALAPPEND",
    /// LOCALCREATE.
    LocalCreate = "LOCALCREATE",
    /// LOCALDELETE.
    LocalDelete = "LOCALDELETE",
    /// XWARMUP.
    XWarmup = "XWARMUP",
    /// SETUSERGROUP.
    SetUserGroup = "SETUSERGROUP",
    /// UNSETUSERGROUP.
    UnsetUserGroup = "UNSETUSERGROUP",
    /// GETUSERGROUP.
    GetUserGroup = "GETUSERGROUP",
    /// XMEID.
    XMeId = "XMEID",
    /// XBACKUP.
    XBackup = "XBACKUP",
    /// GETJMAPACCESS.
    GetJmapAccess = "GETJMAPACCESS",
    /// XRUNANNOTATOR.
    XRunAnnotator = "XRUNANNOTATOR",
    /// XCONVFETCH.
    XConvFetch = "XCONVFETCH",
    /// XCONVMETA.
    XConvMeta = "XCONVMETA",
    /// XCONVMULTISORT.
    XConvMultiSort = "XCONVMULTISORT",
    /// XCONVSORT.
    XConvSort = "XCONVSORT",
    /// XCONVUPDATES.
    XConvUpdates = "XCONVUPDATES",
    /// XSNIPPETS.
    XSnippets = "XSNIPPETS",
    /// XSTATS.
    XStats = "XSTATS",
}

impl Verb {
    /// Whether `UID` may stand before it.
    pub fn takes_uid(self) -> bool {
        matches!(
            self,
            Verb::Fetch
                | Verb::Store
                | Verb::Search
                | Verb::Sort
                | Verb::Thread
                | Verb::Copy
                | Verb::Move
                | Verb::XMove
                | Verb::Expunge
                | Verb::Replace
                | Verb::XRunAnnotator
        )
    }

    /// The verbs that a key does not tell.
    #[cold]
    fn parse_rare(name: &[u8]) -> Verb {
        if name.len() >= 4 && name[..4].eq_ignore_ascii_case(b"SYNC") {
            Verb::Sync
        } else if name.eq_ignore_ascii_case(b"XAPPLEPUSHSERVICE") {
            Verb::XApplePushService
        } else {
            Verb::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_read_in_any_case() {
        for (verb, name) in Verb::ALL {
            assert_eq!(Verb::parse(name.as_bytes()), *verb);
            assert_eq!(Verb::parse(name.to_ascii_lowercase().as_bytes()), *verb);
        }
    }

    #[test]
    fn part_of_a_verb_or_more_is_unknown() {
        for (_, name) in Verb::ALL {
            let longer = format!("{name}Q");
            assert_eq!(Verb::parse(longer.as_bytes()), Verb::Unknown);
        }
        assert_eq!(Verb::parse(b"NOO"), Verb::Unknown);
        assert_eq!(Verb::parse(b""), Verb::Unknown);
        assert_eq!(Verb::parse(b"NOOP\0"), Verb::Unknown);
    }

    #[test]
    fn families_and_long_verbs_are_known() {
        assert_eq!(Verb::parse(b"syncapply"), Verb::Sync);
        assert_eq!(Verb::parse(b"SYNCRESTART"), Verb::Sync);
        assert_eq!(Verb::parse(b"XApplePushService"), Verb::XApplePushService);
        assert_eq!(Verb::parse(b"XAPPLEPUSHSERVICES"), Verb::Unknown);
    }
}

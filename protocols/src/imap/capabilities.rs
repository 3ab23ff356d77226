//! What becomes of each capability that a backend offers, and why.
//!
//! What is not in the table is passed on where every server of the list offers it: a release that comes may offer
//! more, most of it of one mailbox, whose server serves it.

/// What becomes of a capability of a backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// Told where every server of the list offers it.
    Common,
    /// Told whatever they offer: this frontend answers it, or by commands that every server knows.
    Always,
    /// The frontend's own affair, told or not by its configuration.
    Own,
    /// Told to those whose home offers it.
    Home,
    /// Told to nobody.
    Withheld,
}

/// By name; one that ends with `=` stands for all that begin so and have no row themselves.
const TABLE: [(&str, Fate, &str); 79] = [
    ("IMAP4rev1", Fate::Own, "this frontend speaks it"),
    (
        "IMAP4rev2",
        Fate::Withheld,
        "owes clients LISTs with OLDNAME and of changes that no one server can tell",
    ),
    ("ACL", Fate::Common, "rights are the mailbox's, its server is asked"),
    ("ANNOTATE-EXPERIMENT-1", Fate::Common, "annotations of messages are the selected server's"),
    ("ANNOTATEMORE", Fate::Common, "as METADATA, by its old commands"),
    ("APPENDLIMIT", Fate::Own, "the lowest of all servers and ours is told, with its value"),
    ("APPENDLIMIT=", Fate::Own, "the lowest of all servers and ours is told"),
    (
        "AUTH=",
        Fate::Own,
        "passwords are checked here: what we have, as TLS and `allowplaintext` say, until the login",
    ),
    ("BINARY", Fate::Common, "literals of APPEND and FETCH go as they are"),
    ("CATENATE", Fate::Common, "parts on other servers are fetched from there"),
    ("CHILDREN", Fate::Always, "LIST is told from the mailbox list"),
    ("COMPRESS=DEFLATE", Fate::Own, "the client's connection ends here"),
    ("CONDSTORE", Fate::Common, "every server is told what the client enabled before it selects"),
    ("CREATE-SPECIAL-USE", Fate::Common, "goes with CREATE to the server of the mailbox"),
    ("DIGEST=SHA1", Fate::Common, "an item of FETCH"),
    ("ENABLE", Fate::Own, "ENABLED answers for all servers, those that come later, too"),
    ("ESEARCH", Fate::Common, "the selected server's"),
    ("ESORT", Fate::Common, "the selected server's"),
    ("ID", Fate::Own, "servers are told the client's, with what a proxy adds"),
    ("IDLE", Fate::Own, "without a mailbox we wait ourselves"),
    (
        "INPROGRESS",
        Fate::Own,
        "told by us of what waits for a mailbox; what a server tells goes by the client's tag",
    ),
    (
        "JMAPACCESS",
        Fate::Withheld,
        "says that JMAP reaches whatever IMAP does, and one backend has its own mailboxes alone",
    ),
    ("LIST-EXTENDED", Fate::Always, "LIST is told from the mailbox list"),
    ("LIST-METADATA", Fate::Common, "every server with rows of the LIST is asked"),
    ("LIST-MYRIGHTS", Fate::Always, "the mailbox list has the rights"),
    (
        "LIST-STATUS",
        Fate::Always,
        "every server with rows of the LIST is asked, by STATUS where it lacks this",
    ),
    ("LITERAL+", Fate::Own, "literals end here; to a server with LITERAL- long ones go as it takes them"),
    ("LITERAL-", Fate::Own, "as LITERAL+"),
    ("LOGIN-REFERRALS", Fate::Withheld, "would lead clients past the frontend"),
    ("LOGINDISABLED", Fate::Own, "of the client's connection; after the login always, as Cyrus says it"),
    ("MAILBOX-REFERRALS", Fate::Own, "referrals are made here (`proxyd_disable_mailbox_referrals`)"),
    ("METADATA", Fate::Common, "annotations are the mailbox's, those of the server a common one's"),
    ("MOVE", Fate::Common, "by COPY and UID EXPUNGE where a server lacks it, and across servers"),
    ("MULTIAPPEND", Fate::Common, "goes to the server of the mailbox"),
    (
        "MULTISEARCH",
        Fate::Common,
        "every server with a mailbox of the search is asked, who lacks it cannot be",
    ),
    ("MUPDATE=", Fate::Own, "of our own `mupdate_server`"),
    ("NAMESPACE", Fate::Always, "our own layout of names"),
    ("NOTIFY", Fate::Common, "every server with a mailbox concerned watches, who lacks it cannot"),
    ("NO_ATOMIC_RENAME", Fate::Common, "RENAME of a tree is the server's"),
    ("OBJECTID", Fate::Common, "ids go along in XFER; MAILBOXID in STATUS is asked apart (status.rs)"),
    ("PARTIAL", Fate::Common, "a part of what the selected server found"),
    ("PREVIEW", Fate::Common, "an item of FETCH"),
    ("QRESYNC", Fate::Common, "as CONDSTORE; the gap behind a reconnect is told by it"),
    ("QUOTA", Fate::Common, "of one server at a time; a root on several is refused"),
    ("QUOTA=", Fate::Common, "kinds of quota that every server knows"),
    ("QUOTASET", Fate::Common, "SETQUOTA goes to the server of the root"),
    (
        "REPLACE",
        Fate::Common,
        "APPEND and UID EXPUNGE across servers, which needs all of them to be alike within one",
    ),
    ("RIGHTS=", Fate::Common, "letters that every server knows"),
    ("SASL-IR", Fate::Own, "AUTHENTICATE ends here; told until the login"),
    ("SAVEDATE", Fate::Common, "an item of FETCH; a copy to another server is saved there and then"),
    ("SCAN", Fate::Withheld, "Cyrus' own, of which no client knows; the old LIST of one server"),
    ("SEARCH=FUZZY", Fate::Common, "the selected server's index"),
    ("SEARCHRES", Fate::Common, "`$` is the selected server's, resolved for what goes to another one"),
    ("SORT", Fate::Common, "the selected server's"),
    ("SORT=", Fate::Common, "the selected server's"),
    ("SPECIAL-USE", Fate::Common, "servers with mailboxes of the user are asked"),
    ("STARTTLS", Fate::Own, "TLS ends here; told until it is on"),
    ("STATUS=SIZE", Fate::Common, "an item of STATUS"),
    ("THREAD=", Fate::Common, "the selected server's"),
    ("UIDONLY", Fate::Common, "every server is told; what we author has no numbers then"),
    ("UIDPLUS", Fate::Common, "COPYUID is ours across servers, which needs the APPENDUID of the other"),
    ("UNAUTHENTICATE", Fate::Own, "servers that were logged in for the user are left"),
    ("UNSELECT", Fate::Common, "the selected server's"),
    ("URL-PARTIAL", Fate::Common, "of the server of the message"),
    ("URLAUTH", Fate::Common, "of the server of the mailbox"),
    ("URLAUTH=BINARY", Fate::Common, "of the server of the mailbox"),
    ("UTF8=ACCEPT", Fate::Common, "every server is told, who lacks it would tell other names"),
    ("UTF8=ONLY", Fate::Withheld, "clients without it are served, too"),
    ("WITHIN", Fate::Common, "the selected server's"),
    ("X-CREATEDMODSEQ", Fate::Common, "an item of STATUS"),
    ("X-QUOTA=", Fate::Common, "QUOTA= as Cyrus 3.6 and 3.8 say it"),
    ("X-REPLICATION", Fate::Withheld, "between servers"),
    ("X-REPLICATION-ARCHIVE", Fate::Withheld, "between servers"),
    ("X-SIEVE-MAILBOX", Fate::Withheld, "between servers"),
    ("XAPPLEPUSHSERVICE", Fate::Home, "the user's home sends the notes"),
    ("XCONVERSATIONS", Fate::Common, "the selected server's"),
    ("XLIST", Fate::Common, "LIST with special uses"),
    ("XMOVE", Fate::Withheld, "the draft of MOVE, which all that say it have"),
    ("XUSERGROUPS", Fate::Home, "groups are a file of the user's home"),
];

/// What this frontend answers itself, or by commands that every backend knows.
pub(super) fn always() -> impl Iterator<Item = &'static str> {
    TABLE.iter().filter(|(_, fate, _)| *fate == Fate::Always).map(|(name, ..)| *name)
}

/// Whether a capability that every server offers is the client's, too.
pub(super) fn is_passed(name: &str) -> bool {
    matches!(fate(name), None | Some(Fate::Common | Fate::Always))
}

fn fate(name: &str) -> Option<Fate> {
    let is_it = |known: &str| known.eq_ignore_ascii_case(name);
    let begins = |known: &str| {
        let beginning = name.get(..known.len());
        known.ends_with('=') && beginning.is_some_and(|beginning| beginning.eq_ignore_ascii_case(known))
    };
    let row = TABLE.iter().find(|(known, ..)| is_it(known));
    row.or_else(|| TABLE.iter().find(|(known, ..)| begins(known))).map(|(_, fate, _)| *fate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::AT_HOME;

    /// CAPABILITY of a user, recorded.
    const CYRUS_3_6_1: &str = "IMAP4rev1 LITERAL+ ID ENABLE ACL ANNOTATE-EXPERIMENT-1 BINARY CATENATE CHILDREN CONDSTORE \
        CREATE-SPECIAL-USE ESEARCH ESORT LIST-EXTENDED LIST-MYRIGHTS LIST-STATUS MAILBOX-REFERRALS \
        METADATA MOVE MULTIAPPEND NAMESPACE OBJECTID PREVIEW QRESYNC QUOTA RIGHTS=kxten SAVEDATE \
        SEARCH=FUZZY SORT SORT=DISPLAY SPECIAL-USE STATUS=SIZE THREAD=ORDEREDSUBJECT THREAD=REFERENCES \
        UIDPLUS UNSELECT URLAUTH URLAUTH=BINARY WITHIN DIGEST=SHA1 LIST-METADATA NO_ATOMIC_RENAME SCAN \
        SORT=MODSEQ SORT=UID THREAD=REFS X-CREATEDMODSEQ X-REPLICATION X-SIEVE-MAILBOX XLIST XMOVE \
        MUPDATE=mupdate://master.example.com/ LOGINDISABLED COMPRESS=DEFLATE X-QUOTA=STORAGE \
        X-QUOTA=MESSAGE X-QUOTA=X-ANNOTATION-STORAGE X-QUOTA=X-NUM-FOLDERS IDLE APPENDLIMIT=4294967295";
    const CYRUS_3_8_7: &str = "IMAP4rev1 LITERAL+ ID ENABLE ACL ANNOTATE-EXPERIMENT-1 BINARY CATENATE CHILDREN CONDSTORE \
        CREATE-SPECIAL-USE ESEARCH ESORT LIST-EXTENDED LIST-MYRIGHTS LIST-STATUS MAILBOX-REFERRALS \
        METADATA MOVE MULTIAPPEND MULTISEARCH NAMESPACE OBJECTID PREVIEW QRESYNC QUOTA RIGHTS=kxten \
        SAVEDATE SEARCH=FUZZY SEARCHRES SORT SORT=DISPLAY SPECIAL-USE STATUS=SIZE THREAD=ORDEREDSUBJECT \
        THREAD=REFERENCES UIDPLUS UNSELECT URL-PARTIAL URLAUTH URLAUTH=BINARY WITHIN DIGEST=SHA1 \
        LIST-METADATA NO_ATOMIC_RENAME SCAN SORT=MODSEQ SORT=UID THREAD=REFS X-CREATEDMODSEQ \
        X-REPLICATION X-SIEVE-MAILBOX X-REPLICATION-ARCHIVE XLIST XMOVE \
        MUPDATE=mupdate://master.example.com/ LOGINDISABLED COMPRESS=DEFLATE X-QUOTA=STORAGE \
        X-QUOTA=MESSAGE X-QUOTA=X-ANNOTATION-STORAGE X-QUOTA=X-NUM-FOLDERS IDLE APPENDLIMIT=2147483647";
    const CYRUS_3_10_3: &str = "IMAP4rev1 IMAP4rev2 ACL ANNOTATE-EXPERIMENT-1 APPENDLIMIT=2147483647 BINARY CATENATE CHILDREN \
        COMPRESS=DEFLATE CONDSTORE CREATE-SPECIAL-USE ENABLE ESEARCH ESORT ID IDLE LIST-EXTENDED \
        LIST-METADATA LIST-MYRIGHTS LIST-STATUS LITERAL+ LOGINDISABLED MAILBOX-REFERRALS METADATA MOVE \
        MULTIAPPEND MULTISEARCH NAMESPACE NOTIFY OBJECTID PREVIEW QRESYNC QUOTA QUOTA=RES-STORAGE \
        QUOTA=RES-MESSAGE QUOTA=RES-ANNOTATION-STORAGE QUOTA=RES-MAILBOX QUOTASET REPLACE RIGHTS=kxten \
        SAVEDATE SEARCH=FUZZY SEARCHRES SORT SORT=DISPLAY SPECIAL-USE STATUS=SIZE THREAD=ORDEREDSUBJECT \
        THREAD=REFERENCES UIDONLY UIDPLUS UNSELECT URL-PARTIAL URLAUTH URLAUTH=BINARY WITHIN \
        DIGEST=SHA1 MUPDATE=mupdate://master.example.com/ NO_ATOMIC_RENAME SCAN SORT=MODSEQ SORT=UID \
        THREAD=REFS X-CREATEDMODSEQ X-REPLICATION X-REPLICATION-ARCHIVE X-SIEVE-MAILBOX XLIST XMOVE";
    const CYRUS_3_12_3: &str = "IMAP4rev1 IMAP4rev2 ACL ANNOTATE-EXPERIMENT-1 APPENDLIMIT=2147483647 BINARY CATENATE CHILDREN \
        COMPRESS=DEFLATE CONDSTORE CREATE-SPECIAL-USE ENABLE ESEARCH ESORT ID IDLE INPROGRESS \
        LIST-EXTENDED LIST-METADATA LIST-MYRIGHTS LIST-STATUS LITERAL+ LOGINDISABLED MAILBOX-REFERRALS \
        METADATA MOVE MULTIAPPEND MULTISEARCH NAMESPACE NOTIFY OBJECTID PARTIAL PREVIEW QRESYNC QUOTA \
        QUOTA=RES-STORAGE QUOTA=RES-MESSAGE QUOTA=RES-ANNOTATION-STORAGE QUOTA=RES-MAILBOX QUOTASET \
        REPLACE RIGHTS=kxten SAVEDATE SEARCH=FUZZY SEARCHRES SORT SORT=DISPLAY SPECIAL-USE STATUS=SIZE \
        THREAD=ORDEREDSUBJECT THREAD=REFERENCES UIDONLY UIDPLUS UNSELECT URL-PARTIAL URLAUTH \
        URLAUTH=BINARY WITHIN DIGEST=SHA1 MUPDATE=mupdate://master.example.com/ NO_ATOMIC_RENAME \
        SORT=MODSEQ SORT=UID THREAD=REFS X-CREATEDMODSEQ X-REPLICATION X-REPLICATION-ARCHIVE \
        X-SIEVE-MAILBOX XLIST";

    #[test]
    fn all_that_cyrus_offers_has_its_reason() {
        let releases = [CYRUS_3_6_1, CYRUS_3_8_7, CYRUS_3_10_3, CYRUS_3_12_3];
        let further = "STARTTLS SASL-IR LITERAL- AUTH=SCRAM-SHA-256-PLUS UTF8=ACCEPT UNAUTHENTICATE JMAPACCESS XCONVERSATIONS \
            ANNOTATEMORE XAPPLEPUSHSERVICE XUSERGROUPS UTF8=ONLY LOGIN-REFERRALS";
        for name in releases.into_iter().chain([further]).flat_map(|offered| offered.split(' ')) {
            assert!(fate(name).is_some(), "{name}");
        }
    }

    #[test]
    fn what_is_withheld_of_each_release_is_known() {
        let withheld = |offered: &str| {
            let names = offered.split(' ').filter(|name| fate(name) == Some(Fate::Withheld));
            names.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(withheld(CYRUS_3_6_1), "SCAN X-REPLICATION X-SIEVE-MAILBOX XMOVE");
        assert_eq!(withheld(CYRUS_3_8_7), "SCAN X-REPLICATION X-SIEVE-MAILBOX X-REPLICATION-ARCHIVE XMOVE");
        assert_eq!(
            withheld(CYRUS_3_10_3),
            "IMAP4rev2 SCAN X-REPLICATION X-REPLICATION-ARCHIVE X-SIEVE-MAILBOX XMOVE"
        );
        assert_eq!(withheld(CYRUS_3_12_3), "IMAP4rev2 X-REPLICATION X-REPLICATION-ARCHIVE X-SIEVE-MAILBOX");
    }

    #[test]
    fn rows_are_unlike_in_order_and_say_why() {
        for pair in TABLE[2..].windows(2) {
            assert!(pair[0].0 < pair[1].0, "{} {}", pair[0].0, pair[1].0);
        }
        assert!(TABLE.iter().all(|(.., why)| why.len() > 8));
        let home: Vec<&str> =
            TABLE.iter().filter(|(_, fate, _)| *fate == Fate::Home).map(|(name, ..)| *name).collect();
        assert_eq!(home, AT_HOME);
    }

    #[test]
    fn beginnings_count_where_no_row_says_otherwise() {
        assert!(is_passed("quota=res-storage") && is_passed("THREAD=REFS") && is_passed("UTF8=ACCEPT"));
        assert!(!is_passed("auth=plain") && !is_passed("UTF8=ONLY") && !is_passed("APPENDLIMIT"));
        assert!(is_passed("FUTURE") && is_passed("LIST-STATUS") && is_passed("URLAUTH=BINARY"));
        assert!(!is_passed("compress=deflate") && !is_passed("imap4REV2"));
    }
}

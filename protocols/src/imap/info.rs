//! What the frontend says of itself: the greeting, and what it is capable of.

use super::agenda::{Agenda, aside_of};
use super::answers::INPROGRESS;
use super::capabilities::{always, is_passed};
use super::config::{Config, ServerInfo};
use super::task::{Context, Line, News, Task, Want};
use crate::proxy::{BackendCapabilities, Instant, Side};

/// What a backend offers that was never seen, by name and separated by spaces: Cyrus 3.6 after login,
/// without what is private to a backend or not built here.
pub const CYRUS_3_6: &str = "ACL ANNOTATE-EXPERIMENT-1 BINARY CATENATE CHILDREN CONDSTORE \
    CREATE-SPECIAL-USE ESEARCH ESORT LIST-EXTENDED LIST-MYRIGHTS LIST-STATUS METADATA MOVE MULTIAPPEND NAMESPACE \
    OBJECTID PREVIEW QRESYNC QUOTA RIGHTS=kxten SAVEDATE SEARCH=FUZZY SORT SORT=DISPLAY SPECIAL-USE STATUS=SIZE \
    THREAD=ORDEREDSUBJECT THREAD=REFERENCES UIDPLUS UNSELECT URLAUTH URLAUTH=BINARY WITHIN DIGEST=SHA1 LIST-METADATA NO_ATOMIC_RENAME SORT=MODSEQ \
    SORT=UID THREAD=REFS X-CREATEDMODSEQ XLIST X-QUOTA=STORAGE X-QUOTA=MESSAGE X-QUOTA=X-ANNOTATION-STORAGE \
    X-QUOTA=X-NUM-FOLDERS APPENDLIMIT=4294967295";

/// What a client gets of a mailbox whose server offers this: where a simple way round stands for what the
/// server lacks, that too.
pub fn with_shims(offered: &[Box<str>]) -> Vec<Box<str>> {
    let mut all = offered.to_vec();
    let has = |all: &[Box<str>], name: &str| all.iter().any(|known| known.eq_ignore_ascii_case(name));
    // MOVE by COPY, STORE and UID EXPUNGE.
    let is_moved = has(&all, "UIDPLUS").then_some("MOVE");
    for name in always().chain(is_moved) {
        if !has(&all, name) {
            all.push(name.into());
        }
    }
    all
}

/// What serves a user at his home, whatever the other servers have: push notifications and groups.
pub const AT_HOME: [&str; 2] = ["XAPPLEPUSHSERVICE", "XUSERGROUPS"];

/// RFC 7889: the largest message.
const APPEND_LIMIT: &str = "APPENDLIMIT=";

/// The greeting.
pub(super) fn greeting(config: &Config, tls: bool) -> Vec<u8> {
    let mut out = b"* OK [CAPABILITY ".to_vec();
    out.extend_from_slice(before_login(config, tls).as_bytes());
    out.extend_from_slice(b"]");
    if config.server_info != ServerInfo::Off {
        out.extend_from_slice(format!(" {}", config.servername).as_bytes());
    }
    match config.server_info {
        ServerInfo::On => out.extend_from_slice(format!(" Rookery {}", config.version).as_bytes()),
        ServerInfo::Min => out.extend_from_slice(b" Rookery"),
        ServerInfo::Off => {}
    }
    out.extend_from_slice(b" server ready\r\n");
    out
}

/// The capabilities of a client that has not logged in.
pub(super) fn before_login(config: &Config, tls: bool) -> String {
    let mut list = List::new(config);
    ["IMAP4rev1", "LITERAL+", "ID", "ENABLE"].into_iter().for_each(|name| list.push(name));
    if !tls && config.login.starttls {
        list.push("STARTTLS");
    }
    list.push_mupdate(config);
    if !config.login.allows_plaintext(tls) {
        list.push("LOGINDISABLED");
    }
    for mechanism in config.login.offered(tls) {
        list.push(&format!("AUTH={}", mechanism.name()));
    }
    list.push("SASL-IR");
    list.push(INPROGRESS);
    list.text
}

/// The capabilities of a logged-in client: what all backends offer, and what is the frontend's own.
pub(super) fn after_login(config: &Config, offered: &BackendCapabilities, compressed: bool) -> String {
    let mut list = List::new(config);
    ["IMAP4rev1", "LITERAL+", "ID", "ENABLE"].into_iter().for_each(|name| list.push(name));
    if offered.servers == 0 {
        CYRUS_3_6.split(' ').filter(|name| is_passed(name)).for_each(|name| list.push(name));
    } else {
        offered.common.iter().filter(|name| is_passed(name)).for_each(|name| list.push(name));
    }
    offered.home.iter().for_each(|name| list.push(name));
    if config.capabilities.referrals {
        list.push("MAILBOX-REFERRALS");
    }
    list.push_mupdate(config);
    list.push("LOGINDISABLED");
    if config.commands.idle {
        list.push("IDLE");
    }
    if let Some(limit) = append_limit(config, offered) {
        list.push(&format!("{APPEND_LIMIT}{limit}"));
    }
    list.push("UNAUTHENTICATE");
    if !compressed {
        list.push("COMPRESS=DEFLATE");
    }
    list.push(INPROGRESS);
    list.text
}

/// The limit that holds for every mailbox: where the backends' differ, ours alone can be told.
fn append_limit(config: &Config, offered: &BackendCapabilities) -> Option<u64> {
    let theirs = offered.common.iter().find_map(|name| name.strip_prefix(APPEND_LIMIT)?.parse().ok());
    config.capabilities.append_limit.into_iter().chain(theirs).min()
}

/// A list of capabilities without those that are suppressed.
struct List<'a> {
    text: String,
    suppressed: &'a [Box<str>],
}

impl<'a> List<'a> {
    fn new(config: &'a Config) -> List<'a> {
        List { text: String::with_capacity(1024), suppressed: &config.capabilities.suppressed }
    }

    fn push(&mut self, name: &str) {
        if self.suppressed.iter().any(|suppressed| **suppressed == *name) {
            return;
        }
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(name);
    }

    fn push_mupdate(&mut self, config: &Config) {
        if let Some(server) = &config.capabilities.mupdate_server {
            self.push(&format!("MUPDATE=mupdate://{server}/"));
        }
    }
}

/// CAPABILITY of a user: what servers offer at the moment, for one may have become another release since he
/// logged in.
#[derive(Debug, Default)]
pub(super) struct Capabilities {
    agenda: Agenda,
    is_asked: bool,
}

impl Task for Capabilities {
    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, _now: Instant) {
        if let News::Offered(capabilities) = news {
            self.agenda.reply([b"* CAPABILITY ", capabilities.as_bytes(), b"\r\n"].concat());
            self.agenda.finish(cx, b"OK Completed");
        }
    }

    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, _now: Instant) -> Line {
        match from {
            Side::Client => Line::Hold,
            Side::Backend(backend) => aside_of(backend, line, cx),
        }
    }

    fn poll_want(&mut self, _cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        if !std::mem::replace(&mut self.is_asked, true) {
            return Some(Want::Offered);
        }
        self.agenda.poll(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_private_to_a_backend_is_not_passed() {
        let offered = BackendCapabilities {
            common: [
                "IMAP4rev1",
                "AUTH=PLAIN",
                "QRESYNC",
                "MUPDATE=mupdate://x/",
                "COMPRESS=DEFLATE",
                "notify",
                "XUSERGROUPS",
            ]
            .map(Box::from)
            .into(),
            home: ["XAPPLEPUSHSERVICE".into()].into(),
            servers: 2,
        };
        let text = after_login(&Config::default(), &offered, false);
        assert_eq!(
            text,
            "IMAP4rev1 LITERAL+ ID ENABLE QRESYNC notify XAPPLEPUSHSERVICE LOGINDISABLED IDLE UNAUTHENTICATE COMPRESS=DEFLATE INPROGRESS"
        );
    }

    #[test]
    fn what_a_way_round_stands_for_is_offered() {
        let shown = |offered: &[&str]| {
            let offered: Vec<Box<str>> = offered.iter().map(|name| Box::from(*name)).collect();
            with_shims(&offered).join(" ")
        };
        let own = "CHILDREN LIST-EXTENDED LIST-MYRIGHTS LIST-STATUS NAMESPACE";
        assert_eq!(shown(&["IMAP4rev1"]), format!("IMAP4rev1 {own}"));
        assert_eq!(shown(&["uidplus", "list-status"]).matches("STATUS").count(), 0);
        assert!(shown(&["uidplus"]).ends_with("NAMESPACE MOVE"));
        assert_eq!(shown(&["MOVE", "UIDPLUS"]).matches("MOVE").count(), 1);
    }

    #[test]
    fn lowest_append_limit_is_told() {
        let told = |ours, theirs: &[&str]| {
            let mut config = Config::default();
            config.capabilities.append_limit = ours;
            let common = theirs.iter().map(|name| Box::from(*name)).collect();
            let offered = BackendCapabilities { common, servers: 2, ..BackendCapabilities::default() };
            let text = after_login(&config, &offered, false);
            text.split(' ').find(|name| name.starts_with("APPENDLIMIT")).map(str::to_owned)
        };
        assert_eq!(told(None, &["APPENDLIMIT=5000"]).as_deref(), Some("APPENDLIMIT=5000"));
        assert_eq!(told(Some(4000), &["APPENDLIMIT=5000"]).as_deref(), Some("APPENDLIMIT=4000"));
        assert_eq!(told(Some(6000), &["APPENDLIMIT=5000"]).as_deref(), Some("APPENDLIMIT=5000"));
        assert_eq!(told(Some(6000), &[]).as_deref(), Some("APPENDLIMIT=6000"));
        assert_eq!(told(None, &["APPENDLIMIT=x", "APPENDLIMIT"]), None);
    }

    #[test]
    fn suppressed_capabilities_are_left_out() {
        let mut config = Config::default();
        config.capabilities.suppressed = ["ID".into(), "ACL".into()].into();
        let text = after_login(&config, &BackendCapabilities::default(), true);
        assert!(text.starts_with("IMAP4rev1 LITERAL+ ENABLE ANNOTATE"));
    }

    #[test]
    fn passwords_are_offered_only_where_they_are_allowed() {
        let config = Config::default();
        assert!(before_login(&config, false).contains("LOGINDISABLED"));
        assert!(!before_login(&config, false).contains("AUTH=PLAIN"));
        assert!(before_login(&config, true).contains("AUTH=PLAIN AUTH=LOGIN"));
    }
}

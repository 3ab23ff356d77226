//! What the frontend says of itself: greeting, CAPABILITY, ID, and the session id.

use super::config::{Config, ServerInfo};
use super::grammar::id_args;
use super::session::{Phase, Session};
use crate::proxy::BackendCapabilities;
use crate::wire::LiteralStyle;
use crate::wire::quote::string_out;

/// What every backend offers as long as none was seen: Cyrus 3.6 after login, without what is
/// private to a backend or not built here.
const CYRUS_3_6: &str = "ACL ANNOTATE-EXPERIMENT-1 BINARY CATENATE CHILDREN CONDSTORE \
    CREATE-SPECIAL-USE ESEARCH ESORT LIST-EXTENDED LIST-MYRIGHTS LIST-STATUS METADATA MOVE MULTIAPPEND NAMESPACE \
    OBJECTID PREVIEW QRESYNC QUOTA RIGHTS=kxten SAVEDATE SEARCH=FUZZY SORT SORT=DISPLAY SPECIAL-USE STATUS=SIZE \
    THREAD=ORDEREDSUBJECT THREAD=REFERENCES UIDPLUS UNSELECT WITHIN DIGEST=SHA1 LIST-METADATA NO_ATOMIC_RENAME SORT=MODSEQ \
    SORT=UID THREAD=REFS X-CREATEDMODSEQ XLIST X-QUOTA=STORAGE X-QUOTA=MESSAGE X-QUOTA=X-ANNOTATION-STORAGE \
    X-QUOTA=X-NUM-FOLDERS";

/// What a backend offers that no client of a frontend gets: it is the frontend's own, or between
/// servers, or not built here.
const NOT_PASSED: [&str; 29] = [
    "IMAP4rev1",
    "IMAP4rev2",
    "LITERAL+",
    "LITERAL-",
    "ID",
    "ENABLE",
    "IDLE",
    "SASL-IR",
    "STARTTLS",
    "LOGINDISABLED",
    "COMPRESS=DEFLATE",
    "URLAUTH",
    "URLAUTH=BINARY",
    "NOTIFY",
    "REPLACE",
    "UTF8=ACCEPT",
    "UTF8=ONLY",
    "UIDONLY",
    "MULTISEARCH",
    "SEARCHRES",
    "UNAUTHENTICATE",
    "JMAPACCESS",
    "MAILBOX-REFERRALS",
    "LOGIN-REFERRALS",
    "SCAN",
    "XMOVE",
    "X-REPLICATION",
    "X-REPLICATION-ARCHIVE",
    "X-SIEVE-MAILBOX",
];

/// Beginnings of capabilities that are a backend's own.
const NOT_PASSED_PREFIXES: [&str; 4] = ["AUTH=", "MUPDATE=", "APPENDLIMIT", "XAPPLEPUSHSERVICE"];

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
    let plaintext = is_plaintext_allowed(config, tls);
    if !plaintext {
        list.push("LOGINDISABLED");
    }
    for mechanism in &config.login.offer.mechanisms {
        if plaintext || !mechanism.sends_password() {
            list.push(&format!("AUTH={}", mechanism.name()));
        }
    }
    list.push("SASL-IR");
    list.text
}

/// The capabilities of a logged-in client: what all backends offer, and what is the frontend's own.
pub(super) fn after_login(config: &Config, offered: &BackendCapabilities) -> String {
    let mut list = List::new(config);
    ["IMAP4rev1", "LITERAL+", "ID", "ENABLE"].into_iter().for_each(|name| list.push(name));
    if offered.servers == 0 {
        CYRUS_3_6.split(' ').for_each(|name| list.push(name));
    } else {
        offered.common.iter().filter(|name| is_passed(name)).for_each(|name| list.push(name));
    }
    list.push_mupdate(config);
    list.push("LOGINDISABLED");
    if config.commands.idle {
        list.push("IDLE");
    }
    if let Some(limit) = append_limit(config, offered) {
        list.push(&format!("{APPEND_LIMIT}{limit}"));
    }
    list.text
}

/// The limit that holds for every mailbox: where the backends' differ, ours alone can be told.
fn append_limit(config: &Config, offered: &BackendCapabilities) -> Option<u64> {
    let theirs = offered.common.iter().find_map(|name| name.strip_prefix(APPEND_LIMIT)?.parse().ok());
    config.capabilities.append_limit.into_iter().chain(theirs).min()
}

/// Whether a password may come over this connection as it is.
pub(super) fn is_plaintext_allowed(config: &Config, tls: bool) -> bool {
    tls || config.login.plaintext_allowed
}

fn is_passed(name: &str) -> bool {
    let is_named = NOT_PASSED.iter().any(|known| known.eq_ignore_ascii_case(name));
    let begins = |prefix: &&str| {
        name.get(..prefix.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(prefix))
    };
    !is_named && !NOT_PASSED_PREFIXES.iter().any(begins)
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

/// The host of an address with port: `192.0.2.1:143`, `[2001:db8::1]:143`.
pub(super) fn host_of(address: &str) -> &str {
    match address.strip_prefix('[') {
        Some(inside) => inside.split(']').next().unwrap_or(inside),
        None => address.rsplit_once(':').map_or(address, |(host, _)| host),
    }
}

impl Session {
    /// Whether the client's bytes are under TLS.
    pub(super) fn is_tls(&self) -> bool {
        match &self.phase {
            Phase::Guest(guest) => guest.is_tls(),
            Phase::User(_) => true,
        }
    }

    /// What CAPABILITY says at the moment.
    pub(super) fn capabilities(&self) -> String {
        match &self.phase {
            Phase::Guest(guest) => before_login(&self.config, guest.is_tls()),
            Phase::User(user) => after_login(&self.config, &user.offered),
        }
    }

    /// CAPABILITY.
    pub(super) fn capability(&mut self, tag: &[u8]) {
        let capabilities = self.capabilities();
        self.tell_client(&[b"* CAPABILITY ", capabilities.as_bytes(), b"\r\n", tag, b" OK Completed\r\n"]);
    }

    /// ID (RFC 2971).
    pub(super) fn id(&mut self, tag: &[u8], args: &[u8]) {
        if id_args(args).is_err() {
            self.bad(tag, b"BAD Invalid parameter list in Id");
            return;
        }
        let mut out = b"* ID (\"name\" \"Rookery\"".to_vec();
        if self.config.id_response {
            out.extend_from_slice(b" \"version\" ");
            string_out(&mut out, self.config.version.as_bytes(), LiteralStyle::Synchronising);
        }
        self.tell_client(&[&out, b")\r\n", tag, b" OK Completed\r\n"]);
    }

    /// The id by which logs of frontend and backends are joined.
    pub(super) fn session_id(&mut self) -> String {
        let nonce = self.nonce();
        let (number, _) = nonce.split_at(8);
        let random = number.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        format!("{}-{}-1-{random}", self.config.servername, self.origin.started_unix)
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
            ]
            .map(Box::from)
            .into(),
            servers: 2,
        };
        let text = after_login(&Config::default(), &offered);
        assert_eq!(text, "IMAP4rev1 LITERAL+ ID ENABLE QRESYNC LOGINDISABLED IDLE");
    }

    #[test]
    fn lowest_append_limit_is_told() {
        let told = |ours, theirs: &[&str]| {
            let mut config = Config::default();
            config.capabilities.append_limit = ours;
            let common = theirs.iter().map(|name| Box::from(*name)).collect();
            let text = after_login(&config, &BackendCapabilities { common, servers: 2 });
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
        let text = after_login(&config, &BackendCapabilities::default());
        assert!(text.starts_with("IMAP4rev1 LITERAL+ ENABLE ANNOTATE"));
    }

    #[test]
    fn passwords_are_offered_only_where_they_are_allowed() {
        let config = Config::default();
        assert!(before_login(&config, false).contains("LOGINDISABLED"));
        assert!(!before_login(&config, false).contains("AUTH=PLAIN"));
        assert!(before_login(&config, true).contains("AUTH=PLAIN AUTH=LOGIN"));
    }

    #[test]
    fn port_is_cut_off_an_address() {
        assert_eq!(host_of("192.0.2.1:4711"), "192.0.2.1");
        assert_eq!(host_of("[2001:db8::1]:4711"), "2001:db8::1");
        assert_eq!(host_of(""), "");
    }
}

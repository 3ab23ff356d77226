//! What the backends offer, as seen after login, and kept over restarts.
//!
//! ```text
//! file   = "rookery capabilities 1" LF *entry       ; {configdirectory}/rookery-capabilities
//! entry  = server TAB capability *(SP capability) LF
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use mupdate::list::Locations;
use protocols::imap::{AT_HOME, CYRUS_3_6, with_shims};
use protocols::proxy::BackendCapabilities;

/// Servers that are remembered; a murder has tens.
const SERVERS_MAX: usize = 4096;

/// Capabilities kept of one server.
const CAPABILITIES_MAX: usize = 512;

/// Bytes of the file that are read: what `SERVERS_MAX` servers of the longest kind that is known need.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// RFC 7889: the largest message.
const APPEND_LIMIT: &str = "APPENDLIMIT=";

/// First line of the file.
const HEADER: &str = "rookery capabilities 1";

/// What every server offered last, and what those of the list have in common.
#[derive(Default)]
pub struct Offered {
    by_server: Mutex<BTreeMap<Box<str>, Vec<Box<str>>>>,
    common: ArcSwap<Common>,
    /// Where it is kept; one writer at a time.
    file: Mutex<Option<PathBuf>>,
    /// What a server offers that was never seen; `None` is IMAP's.
    unseen: Option<fn() -> Vec<Box<str>>>,
}

/// What was worked out for a list.
#[derive(Default)]
struct Common {
    of: Option<Locations>,
    offered: Arc<BackendCapabilities>,
    /// With what users have at home, of each server that offers such.
    at_home: BTreeMap<Box<str>, Arc<BackendCapabilities>>,
}

impl Offered {
    /// What is kept in a file, which is written again with what is seen.
    ///
    /// # Errors
    /// Beside what could be had: the file is there and cannot be read or makes no sense.
    pub fn kept_in(path: PathBuf) -> (Offered, Option<io::Error>) {
        let (known, error) = match read(&path) {
            Ok(known) => (known, None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (BTreeMap::new(), None),
            Err(error) => (BTreeMap::new(), Some(error)),
        };
        let (by_server, file) = (Mutex::new(known), Mutex::new(Some(path)));
        (Offered { by_server, file, ..Offered::default() }, error)
    }

    /// Of a protocol in which a server that was never seen offers this; kept in no file.
    pub fn of(unseen: fn() -> Vec<Box<str>>) -> Offered {
        Offered { unseen: Some(unseen), ..Offered::default() }
    }

    /// Notes what a server offers; whether that is news, which somebody has to save.
    pub fn seen(&self, server: &str, mut capabilities: Vec<Box<str>>) -> bool {
        capabilities.truncate(CAPABILITIES_MAX);
        let mut by_server = lock(&self.by_server);
        if by_server.get(server) == Some(&capabilities)
            || (by_server.len() >= SERVERS_MAX && !by_server.contains_key(server))
        {
            return false;
        }
        by_server.insert(server.into(), capabilities);
        self.common.store(Arc::default());
        true
    }

    /// What the servers of a list have in common; of one that was never seen what Cyrus 3.6 offers.
    pub fn common(&self, locations: &Locations) -> Arc<BackendCapabilities> {
        self.told(locations, None)
    }

    /// As [`Offered::common`], with what the home of a user offers of his own.
    pub fn told(&self, locations: &Locations, home: Option<&[u8]>) -> Arc<BackendCapabilities> {
        let known = self.worked_out(locations);
        let home = home.and_then(|server| std::str::from_utf8(server).ok());
        let at_home = home.and_then(|server| known.at_home.get(server));
        Arc::clone(at_home.unwrap_or(&known.offered))
    }

    fn worked_out(&self, locations: &Locations) -> Arc<Common> {
        let known = self.common.load_full();
        if known.of.as_ref().is_some_and(|of| of.is_same(locations)) {
            return known;
        }
        let by_server = lock(&self.by_server);
        let offered = match self.unseen {
            Some(unseen) => common(&by_server, &servers(locations), unseen, <[Box<str>]>::to_vec),
            None => common(&by_server, &servers(locations), cyrus_3_6, with_shims),
        };
        let at_home = if self.unseen.is_none() { at_home(&by_server, &offered) } else { BTreeMap::new() };
        let worked_out =
            Arc::new(Common { of: Some(locations.clone()), offered: Arc::new(offered), at_home });
        // Under the lock, so that nothing older is stored behind what `seen` cleared.
        self.common.store(Arc::clone(&worked_out));
        worked_out
    }

    /// Writes the file in one step. Blocks.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self) -> io::Result<()> {
        let file = lock(&self.file);
        let Some(path) = &*file else { return Ok(()) };
        let mut text = format!("{HEADER}\n");
        for (server, capabilities) in lock(&self.by_server).iter() {
            if !server.contains(['\t', '\n']) {
                text.push_str(&format!("{server}\t{}\n", capabilities.join(" ")));
            }
        }
        replace(path, text.as_bytes())
    }
}

fn cyrus_3_6() -> Vec<Box<str>> {
    CYRUS_3_6.split_ascii_whitespace().map(Box::from).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The servers of a list, as their connections name them.
fn servers(locations: &Locations) -> BTreeSet<Box<str>> {
    let name = |server: &[u8]| String::from_utf8_lossy(server).into_owned().into_boxed_str();
    locations.iter().filter_map(|location| location.server().map(name)).collect()
}

/// The intersection in the order of the first server by name, of what each serves `as_served`. While a list
/// names no server, of all that were seen.
fn common(
    by_server: &BTreeMap<Box<str>, Vec<Box<str>>>,
    servers: &BTreeSet<Box<str>>,
    default: fn() -> Vec<Box<str>>,
    as_served: fn(&[Box<str>]) -> Vec<Box<str>>,
) -> BackendCapabilities {
    let (seen, unseen): (Vec<_>, Vec<_>) = servers.iter().partition(|server| by_server.contains_key(*server));
    let mut offers: Vec<&Vec<Box<str>>> = seen.iter().filter_map(|server| by_server.get(*server)).collect();
    if servers.is_empty() {
        offers.extend(by_server.values());
    }
    let Some((first, others)) = offers.split_first() else { return BackendCapabilities::default() };
    let mut common = as_served(first);
    let default = default();
    for other in others.iter().copied().chain((!unseen.is_empty()).then_some(&default)) {
        let other = as_served(other);
        common.retain_mut(|name| is_common(name, &other));
    }
    BackendCapabilities { common, home: Vec::new(), servers: offers.len() }
}

/// Whether another server offers it, too. Of limits the lower one is common: what both take (RFC 7889). Cyrus 3.6
/// says 4294967295 where nothing is configured, newer ones 2147483647.
fn is_common(name: &mut Box<str>, other: &[Box<str>]) -> bool {
    let Some(limit) = append_limit(name) else {
        return other.iter().any(|offered| offered.eq_ignore_ascii_case(name));
    };
    let lower = other.iter().find_map(|offered| append_limit(offered)).map(|theirs| theirs.min(limit));
    if let Some(lower) = lower {
        *name = format!("{APPEND_LIMIT}{lower}").into();
    }
    lower.is_some()
}

fn append_limit(name: &str) -> Option<u64> {
    let (keyword, limit) = name.split_at_checked(APPEND_LIMIT.len())?;
    keyword.eq_ignore_ascii_case(APPEND_LIMIT).then(|| limit.parse().ok())?
}

/// What is told to the users of each server that offers something to them alone.
fn at_home(
    by_server: &BTreeMap<Box<str>, Vec<Box<str>>>,
    common: &BackendCapabilities,
) -> BTreeMap<Box<str>, Arc<BackendCapabilities>> {
    let is_at_home = |name: &str| AT_HOME.iter().any(|known| known.eq_ignore_ascii_case(name));
    let own =
        |offer: &Vec<Box<str>>| offer.iter().filter(|name| is_at_home(name)).cloned().collect::<Vec<_>>();
    by_server
        .iter()
        .map(|(server, offer)| (server, own(offer)))
        .filter(|(_, home)| !home.is_empty())
        .map(|(server, home)| (server.clone(), Arc::new(BackendCapabilities { home, ..common.clone() })))
        .collect()
}

fn read(path: &Path) -> io::Result<BTreeMap<Box<str>, Vec<Box<str>>>> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("damaged: {what}"));
    let mut lines = text.split_terminator('\n');
    if lines.next() != Some(HEADER) || !text.ends_with('\n') {
        return Err(damaged("no file of capabilities, or not whole"));
    }
    let mut known = BTreeMap::new();
    for line in lines.take(SERVERS_MAX) {
        let (server, words) = line.split_once('\t').ok_or_else(|| damaged("expected a server and a TAB"))?;
        let capabilities = words.split(' ').filter(|word| !word.is_empty());
        known.insert(server.into(), capabilities.take(CAPABILITIES_MAX).map(Box::from).collect());
    }
    Ok(known)
}

/// A new file in the place of the old one, whole or not at all.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use mupdate::list::{Editor, List};
    use protocols::proxy::{Change, Location};

    use super::*;

    fn names(text: &str) -> Vec<Box<str>> {
        text.split(' ').map(Box::from).collect()
    }

    fn list(servers: &[&str]) -> Arc<List> {
        let mut editor = Editor::empty();
        for (n, server) in servers.iter().enumerate() {
            editor.apply(&Change::Active(protocols::proxy::Entry {
                name: format!("user.u{n}").into_bytes().into(),
                location: Location(format!("{server}!default").into_bytes().into()),
                acl: [].into(),
            }));
        }
        editor.finish()
    }

    fn common_of(offered: &Offered, servers: &[&str]) -> Vec<Box<str>> {
        offered.common(&list(servers).all_locations()).common.clone()
    }

    /// As [`common_of`], without what this frontend gives itself.
    fn told_of(offered: &Offered, servers: &[&str]) -> Vec<Box<str>> {
        let own = with_shims(&[]);
        common_of(offered, servers).into_iter().filter(|name| !own.contains(name)).collect()
    }

    #[test]
    fn common_is_what_every_server_of_the_list_offers() {
        let offered = Offered::default();
        assert_eq!(*offered.common(&list(&["be1"]).all_locations()), BackendCapabilities::default());
        assert!(offered.seen("be1", names("IMAP4rev1 IDLE MOVE QRESYNC")));
        assert!(!offered.seen("be1", names("IMAP4rev1 IDLE MOVE QRESYNC")));
        assert!(offered.seen("be2", names("MOVE IMAP4REV1 NOTIFY IDLE")));
        offered.seen("gone", names("IMAP4rev1"));
        assert_eq!(told_of(&offered, &["be1", "be2"]), names("IMAP4rev1 IDLE MOVE"));
        assert_eq!(told_of(&offered, &["be1"]), names("IMAP4rev1 IDLE MOVE QRESYNC"));
        assert_eq!(told_of(&offered, &[]), names("IMAP4rev1"));
        offered.seen("be2", names("IMAP4rev1"));
        assert_eq!(told_of(&offered, &["be1", "be2"]), names("IMAP4rev1"));
    }

    #[test]
    fn lowest_limit_of_messages_is_common() {
        let offered = Offered::default();
        offered.seen("be1", names("IMAP4rev1 APPENDLIMIT=4294967295"));
        offered.seen("be2", names("appendlimit=2147483647 IMAP4rev1"));
        assert_eq!(told_of(&offered, &["be1", "be2"]), names("IMAP4rev1 APPENDLIMIT=2147483647"));
        assert_eq!(told_of(&offered, &["be2"]), names("appendlimit=2147483647 IMAP4rev1"));
        offered.seen("be1", names("IMAP4rev1 APPENDLIMIT"));
        assert_eq!(told_of(&offered, &["be1", "be2"]), names("IMAP4rev1"));
    }

    #[test]
    fn server_that_was_never_seen_counts_as_cyrus_3_6() {
        let offered = Offered::default();
        offered.seen("be1", names("MOVE NOTIFY QRESYNC IMAP4rev2"));
        assert_eq!(told_of(&offered, &["be1"]), names("MOVE NOTIFY QRESYNC IMAP4rev2"));
        assert_eq!(told_of(&offered, &["be1", "be2"]), names("MOVE QRESYNC"));
        offered.seen("be2", names("NOTIFY MOVE"));
        assert_eq!(told_of(&offered, &["be1", "be2"]), names("MOVE NOTIFY"));
    }

    #[test]
    fn what_serves_a_user_at_home_is_his_home_s_word_alone() {
        let offered = Offered::default();
        offered.seen("be1", names("IMAP4rev1 MOVE XAPPLEPUSHSERVICE"));
        offered.seen("be2", names("IMAP4rev1 MOVE xusergroups"));
        offered.seen("be3", names("IMAP4rev1 MOVE"));
        let locations = list(&["be1", "be2", "be3"]).all_locations();
        let home_of = |server: Option<&str>| offered.told(&locations, server.map(str::as_bytes)).home.clone();
        assert_eq!(home_of(Some("be1")), names("XAPPLEPUSHSERVICE"));
        assert_eq!(home_of(Some("be2")), names("xusergroups"));
        for nothing in [Some("be3"), Some("unseen"), None] {
            assert!(home_of(nothing).is_empty(), "{nothing:?}");
        }
        let told = offered.told(&locations, Some(b"be1")).common.clone();
        assert_eq!(told, offered.common(&locations).common);
        offered.seen("be1", names("IMAP4rev1 MOVE"));
        assert!(home_of(Some("be1")).is_empty());
    }

    const RELEASES: &str = include_str!("../../tests/data/releases.txt");

    /// What a release offers.
    fn release(name: &str) -> Vec<Box<str>> {
        let (_, offer) = RELEASES
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .find(|(release, _)| *release == name)
            .unwrap();
        names(offer)
    }

    /// The oldest of them decides what is told.
    const SINCE: [(&str, &[&str]); 3] = [
        ("3.8.7", &["SEARCHRES", "MULTISEARCH", "URL-PARTIAL"]),
        ("3.10.3", &["REPLACE", "NOTIFY", "UIDONLY", "QUOTASET", "QUOTA=RES-STORAGE", "IMAP4rev2"]),
        ("3.12.3", &["UTF8=ACCEPT", "PARTIAL", "INPROGRESS"]),
    ];

    fn check(offered: &Offered, runs: &[&str], servers: &[&str]) {
        let common = common_of(offered, servers);
        let has = |name: &str| common.iter().any(|known| **known == *name);
        let order = ["3.6.1", "3.8.7", "3.10.3", "3.12.3"];
        let age = |release: &str| order.iter().position(|known| *known == release).unwrap();
        let oldest = runs.iter().map(|release| age(release)).min().unwrap();
        for (since, names) in SINCE {
            names.iter().for_each(|name| assert_eq!(has(name), age(since) <= oldest, "{name} with {runs:?}"));
        }
        for name in ["MOVE", "LIST-STATUS", "LIST-EXTENDED", "QRESYNC", "SPECIAL-USE", "LITERAL+"] {
            assert!(has(name), "{name} with {runs:?}");
        }
        let has_old_quota = runs.iter().all(|release| age(release) < age("3.10.3"));
        assert_eq!(has("X-QUOTA=STORAGE"), has_old_quota, "{runs:?}");
    }

    /// Three servers of each mixture of releases, every one of them upgraded or downgraded to every other.
    #[test]
    fn what_is_told_follows_the_oldest_server_in_any_order_of_upgrades() {
        let servers = ["be1", "be2", "be3"];
        let order = ["3.6.1", "3.8.7", "3.10.3", "3.12.3"];
        for mixture in 0..64_usize {
            let mut runs = [order[mixture & 3], order[mixture >> 2 & 3], order[mixture >> 4]];
            let offered = Offered::default();
            servers.iter().zip(runs).for_each(|(server, runs)| {
                offered.seen(server, release(runs));
            });
            check(&offered, &runs, &servers);
            for changed in 0..3 {
                let was = runs[changed];
                for next in order {
                    runs[changed] = next;
                    offered.seen(servers[changed], release(next));
                    check(&offered, &runs, &servers);
                }
                runs[changed] = was;
                offered.seen(servers[changed], release(was));
            }
        }
    }

    #[test]
    fn server_that_lacks_what_others_can_stand_in_for_takes_nothing_away() {
        let offered = Offered::default();
        offered.seen("be1", release("3.12.3"));
        let bare = |without: &[&str]| {
            release("3.6.1").into_iter().filter(|name| !without.contains(&&**name)).collect::<Vec<_>>()
        };
        offered.seen("be2", bare(&["MOVE", "LIST-STATUS"]));
        let common = common_of(&offered, &["be1", "be2"]);
        assert!(common.iter().any(|name| **name == *"MOVE"), "by COPY and UID EXPUNGE");
        assert!(common.iter().any(|name| **name == *"LIST-STATUS"), "by LIST and STATUS");
        offered.seen("be2", bare(&["MOVE", "UIDPLUS"]));
        let common = common_of(&offered, &["be1", "be2"]);
        assert!(!common.iter().any(|name| **name == *"MOVE"), "EXPUNGE takes others' messages along");
    }

    #[test]
    fn what_was_seen_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rookery-capabilities");
        let (offered, error) = Offered::kept_in(path.clone());
        assert!(error.is_none());
        offered.seen("be1:2143", names("IMAP4rev1 MOVE"));
        offered.seen("/run/cyrus/imap", names("IMAP4rev1 IDLE"));
        offered.save().unwrap();
        let (again, error) = Offered::kept_in(path.clone());
        assert!(error.is_none());
        assert_eq!(told_of(&again, &["be1:2143"]), names("IMAP4rev1 MOVE"));
        assert_eq!(told_of(&again, &["/run/cyrus/imap"]), names("IMAP4rev1 IDLE"));
        assert!(!again.seen("be1:2143", names("IMAP4rev1 MOVE")));
    }

    #[test]
    fn damaged_file_is_told_and_nothing_of_it_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rookery-capabilities");
        let whole = format!("{HEADER}\nbe1\tIMAP4rev1 MOVE\nbe2\tIMAP4rev1\n");
        for text in ["", "be1\tIMAP4rev1\n", &whole[..whole.len() - 1], "rookery capabilities 1\nbe1\n"] {
            fs::write(&path, text).unwrap();
            let (offered, error) = Offered::kept_in(path.clone());
            assert!(error.is_some_and(|error| error.to_string().starts_with("damaged")), "{text:?}");
            assert!(told_of(&offered, &["be1"]).is_empty());
        }
        fs::write(&path, b"\xff").unwrap();
        assert!(Offered::kept_in(path).1.is_some());
    }
}

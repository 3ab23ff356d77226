//! Made-up lists with names as irregular as real ones, for benchmarks and load tests.
//!
//! One seed gives one list: users with irregular names and 1 to 20 folders, folders with names in
//! modified UTF-7, shared trees, domains, DELETED mailboxes. No name comes twice.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use hashbrown::HashSet;
use protocols::proxy::{Change, Entry, Location};

/// Folders that mail programs create.
const FOLDERS: [&str; 24] = [
    "Archive",
    "Archive.2021",
    "Archive.2022",
    "Archive.2023",
    "Drafts",
    "Sent",
    "Trash",
    "Junk",
    "Spam",
    "Notes",
    "Templates",
    "Entw&APw-rfe",
    "Gesendet",
    "Gel&APY-scht",
    "&BB4EQgQ,BEAEMAQyBDsENQQ9BD0ESwQ1-",
    "&ZeVnLIqe-",
    "Projects",
    "Projects.alpha",
    "Projects.beta release",
    "lists.cyrus-devel",
    "lists.info-cyrus",
    "Work",
    "#calendars.Default",
    "#addressbooks.Default",
];

const SYLLABLES: [&str; 32] = [
    "an", "be", "chi", "da", "el", "fro", "ga", "hu", "is", "jo", "ka", "li", "mo", "ne", "ol", "pe", "qui",
    "ra", "se", "ti", "u", "va", "wen", "xa", "yl", "zo", "sch", "mar", "tin", "son", "berg", "ez",
];

/// A source of pseudo-random numbers (splitmix64): the same in every run.
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// Begins with a seed.
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }
}

/// Names that are drawn for a user or tree before a number makes one new.
const DRAWS_MAX: usize = 8;

/// An endless stream of entries, user after user, in no order, each name once.
pub struct Generator {
    /// Hashes of users and roots of trees.
    roots: HashSet<u64>,
    /// Names of the user or tree that waits.
    own: HashSet<String>,
    numbers: Numbers,
    servers: Vec<Location>,
    waiting: Vec<Change>,
}

impl Generator {
    /// Begins with a seed and a number of backends.
    pub fn new(seed: u64, servers: usize) -> Generator {
        let servers = (1..=servers.max(1))
            .map(|n| Location(format!("imap{n:02}.example.net!default").into_bytes().into()))
            .collect();
        Generator {
            roots: HashSet::new(),
            own: HashSet::new(),
            numbers: Numbers::new(seed),
            servers,
            waiting: Vec::new(),
        }
    }

    fn refill(&mut self) {
        self.own.clear();
        if self.numbers.below(50) == 0 {
            self.shared_tree()
        } else {
            self.user()
        }
        self.waiting.reverse();
    }

    fn user(&mut self) {
        let domain = match self.numbers.below(8) {
            0 => format!("{}.example!", self.word(2)),
            _ => String::new(),
        };
        let local = self.new_root(&domain, Generator::local_part);
        let id = match domain.strip_suffix('!') {
            Some(domain) => format!("{}@{domain}", local.replace('^', ".")),
            None => local.replace('^', "."),
        };
        let acl = match self.numbers.below(12) {
            0 => format!("{id}\tlrswipkxtecdan\t{}\tlrs\t", self.word(3)),
            1 => format!("{id}\tlrswipkxtecdan\tanyone\tp\t"),
            _ => format!("{id}\tlrswipkxtecdan\t"),
        };
        let location = self.server();
        let root = format!("{domain}user.{local}");
        self.entry(&root, &location, &acl);
        for _ in 0..self.numbers.below(20) {
            let name = match self.numbers.below(4) {
                0 => format!("{root}.{}.{}", self.word(2), self.word(3)),
                _ => format!("{root}.{}", FOLDERS[self.numbers.below(FOLDERS.len() as u64) as usize]),
            };
            self.entry(&name, &location, &acl);
        }
        if self.numbers.below(6) == 0 {
            let time = 0x6500_0000 + self.numbers.below(0x0200_0000);
            let name = format!("{domain}DELETED.user.{local}.{}.{time:08X}", self.word(2));
            self.entry(&name, &location, &acl);
        }
    }

    fn shared_tree(&mut self) {
        let root = self.new_root("", |generator| generator.word(3));
        let location = self.server();
        let acl = format!("anyone\tlrs\tgroup:{}\tlrswipkxte\t", self.word(2));
        self.entry(&root, &location, &acl);
        for _ in 0..self.numbers.below(40) {
            let name = format!("{root}.{}.{}", self.word(1), self.word(2));
            self.entry(&name, &location, &acl);
        }
    }

    /// A user or tree that did not come before.
    fn new_root(&mut self, domain: &str, draw: impl Fn(&mut Generator) -> String) -> String {
        for _ in 0..DRAWS_MAX {
            let name = draw(self);
            if self.is_new(domain, &name) {
                return name;
            }
        }
        loop {
            let name = format!("{}{}", draw(self), self.numbers.below(1 << 40));
            if self.is_new(domain, &name) {
                return name;
            }
        }
    }

    /// Of two names with one hash the second counts as known.
    fn is_new(&mut self, domain: &str, name: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        (domain, name).hash(&mut hasher);
        self.roots.insert(hasher.finish())
    }

    fn entry(&mut self, name: &str, location: &Location, acl: &str) {
        if !self.own.insert(name.to_owned()) {
            return;
        }
        let name = name.as_bytes().into();
        self.waiting.push(if self.numbers.below(10_000) == 0 {
            Change::Reserved { name, location: location.clone() }
        } else {
            Change::Active(Entry { name, location: location.clone(), acl: Arc::from(acl.as_bytes()) })
        });
    }

    fn server(&mut self) -> Location {
        self.servers[self.numbers.below(self.servers.len() as u64) as usize].clone()
    }

    fn local_part(&mut self) -> String {
        match self.numbers.below(5) {
            0 => format!("{}^{}", self.word(2), self.word(3)),
            1 => format!("{}{}", self.word(2), self.numbers.below(10_000)),
            2 => format!("s{:07}", self.numbers.below(10_000_000)),
            3 => format!("{}_{}-{}", self.word(1), self.word(2), self.numbers.below(1000)),
            _ => format!("{}{}", self.word(3), self.word(1)),
        }
    }

    fn word(&mut self, syllables: usize) -> String {
        (0..syllables).map(|_| SYLLABLES[self.numbers.below(SYLLABLES.len() as u64) as usize]).collect()
    }
}

impl Iterator for Generator {
    type Item = Change;

    fn next(&mut self) -> Option<Change> {
        if self.waiting.is_empty() {
            self.refill();
        }
        self.waiting.pop()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_name_comes_twice_and_a_seed_gives_one_list() {
        let changes: Vec<Change> = Generator::new(1, 3).take(100_000).collect();
        let names: BTreeSet<&[u8]> = changes.iter().map(Change::name).collect();
        assert_eq!(names.len(), changes.len());
        assert!(Generator::new(1, 3).take(1_000).eq(changes[..1_000].iter().cloned()));
    }
}

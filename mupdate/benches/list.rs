//! What the mailbox list costs: octets a mailbox, look-up, scan, publish, page, resync.
//!
//! `cargo bench -p mupdate --bench list [-- mailboxes...]`; 1,000,000 when none is given. One
//! thread, irregular names of `list::generate`, memory as growth of PSS. Times are time on the
//! processor, but for publish and the longest slice, which are by the clock.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark reads the clock and /proc"
)]

use std::hint::black_box;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mupdate::grammar::{Response, message_out, response};
use mupdate::list::generate::{Generator, Numbers};
use mupdate::list::{Builder, Diff, Editor, List, key};
use protocols::mailbox::{Identity, acl};
use protocols::proxy::{Change, Entry, ListQuery, Location, Reserved};

const SEED: u64 = 2026;
const LOOKUPS: usize = 1_000_000;
const PUBLISHES: usize = 20_000;

/// Says to the process that it is the maker.
const MAKE: &str = "LIST_BENCH_MAKE";

fn main() {
    if let Some(size) = std::env::var(MAKE).ok().and_then(|size| size.parse().ok()) {
        return make(size);
    }
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1_000_000] } else { sizes };
    for size in sizes {
        measure(size);
    }
}

fn measure(size: usize) {
    // Another process makes the entries, so that what grows here is the list and nothing else.
    let mut maker = std::process::Command::new("/proc/self/exe")
        .env(MAKE, size.to_string())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("this program starts again");
    let mut input = BufReader::with_capacity(1 << 16, maker.stdout.take().expect("it was piped"));
    let before = pss();
    let started = Cpu::now();
    let mut builder = Builder::new();
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        if let Some(change) = entry(&line) {
            builder.push(&change);
        }
        line.clear();
    }
    let mut editor = builder.finish();
    let list = editor.publish();
    let built = started.elapsed();
    let grown = pss().saturating_sub(before);
    maker.wait().expect("the maker ends");
    println!("{} mailboxes, {} locations, {} ACLs", list.len(), list.locations(), list.acls());
    println!("  read and built   {:.0} ns a mailbox", built.as_nanos() as f64 / list.len() as f64);
    println!(
        "  memory           {:.1} bytes a mailbox ({:.1} MiB)",
        grown as f64 / list.len() as f64,
        grown as f64 / 1048576.0
    );
    let names = sample(&list);
    lookups(&list, &names);
    scan(&list);
    pages(&list, &names);
    publishes(&mut editor, &names);
    resync(&mut editor, &names);
}

/// Writes entries as MUPDATE responses.
fn make(size: usize) {
    let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let mut line = Vec::new();
    for change in Sorted::new(size) {
        line.clear();
        if let Change::Active(entry) = &change {
            message_out(&mut line, b"*", "MAILBOX", &[&entry.name, &entry.location.0, &entry.acl]);
        }
        out.write_all(&line).expect("the reader reads");
    }
}

fn entry(line: &[u8]) -> Option<Change> {
    let (Response::Mailbox { name, location, acl, .. }, _) = response(line).ok()? else { return None };
    Some(Change::Active(Entry {
        name: name.as_ref().into(),
        location: Location(location.as_ref().into()),
        acl: acl.as_ref().into(),
    }))
}

fn lookups(list: &List, names: &[Vec<u8>]) {
    let started = Cpu::now();
    for name in names {
        black_box(list.locate(black_box(name)));
    }
    println!("  look-up, where   {:.0} ns", per(started, names.len()));
    let started = Cpu::now();
    for name in names {
        black_box(list.find(black_box(name)));
    }
    println!("  look-up, entry   {:.0} ns", per(started, names.len()));
}

fn scan(list: &List) {
    let mut cursor = list.iter_from(b"");
    let started = Cpu::now();
    let mut seen = 0usize;
    while cursor.advance() {
        seen += 1;
    }
    println!("  scan             {:.1} ns a mailbox", per(started, seen));
    let mut cursor = list.iter_from(b"");
    let started = Cpu::now();
    let mut octets = 0usize;
    while let Some(row) = cursor.next() {
        octets += row.name.len();
    }
    println!("  scan with names  {:.1} ns a mailbox", per(started, seen));
    black_box(octets);
}

fn pages(list: &List, names: &[Vec<u8>]) {
    let owner = names.iter().find_map(|name| name.strip_prefix(b"user.")).unwrap_or(b"x");
    let local = owner.split(|&byte| byte == b'.').next().unwrap_or(owner);
    let user: Box<[u8]> = local.iter().map(|&byte| if byte == b'^' { b'.' } else { byte }).collect();
    let who = Arc::new(Identity { user, ..Identity::default() });
    let policy = acl::Policy::default();
    let mut query = ListQuery {
        after: Box::default(),
        prefix: Box::default(),
        visible_to: Some(who),
        reserved: Reserved::Hidden,
    };
    let started = Cpu::now();
    let (mut shown, mut asked) = (0, 0);
    loop {
        let page = list.page(&query, &policy);
        shown += page.entries.len();
        asked += 1;
        match page.next {
            Some(next) => query.after = next,
            None => break,
        }
    }
    println!(
        "  LIST * of a user {:.1} ms, {shown} shown, {asked} pages",
        started.elapsed().as_secs_f64() * 1e3
    );
}

fn publishes(editor: &mut Editor, names: &[Vec<u8>]) {
    let list = editor.publish();
    let changes: Vec<Change> = names.iter().take(PUBLISHES).filter_map(|name| moved(&list, name)).collect();
    drop(list);
    let mut times = Vec::with_capacity(changes.len());
    let mut published = editor.publish();
    for change in &changes {
        let started = Instant::now();
        editor.apply(change);
        published = editor.publish();
        times.push(started.elapsed());
    }
    times.sort();
    let at = |share: usize| times[times.len() * share / 100].as_nanos() as f64 / 1e3;
    println!("  publish          {:.1} us p50, {:.1} us p99", at(50), at(99));
    let before = editor.publish();
    let started = Cpu::now();
    for change in &changes {
        editor.apply(&change.clone());
        black_box(editor.locate(change.name()));
    }
    black_box(editor.publish());
    println!("  unchanged change {:.1} us", per(started, changes.len()) / 1e3);
    drop((before, published));
}

/// An ACL that nobody had before, at the same place.
fn moved(list: &List, name: &[u8]) -> Option<Change> {
    let mut cursor = list.iter_from(name);
    match cursor.next()?.change() {
        Change::Active(mut entry) => {
            entry.acl = [&entry.acl, b"somebody\tlrs\t".as_slice()].concat().into();
            Some(Change::Active(entry))
        }
        reserved @ (Change::Reserved { .. } | Change::Deleted { .. }) => Some(reserved),
    }
}

fn resync(editor: &mut Editor, names: &[Vec<u8>]) {
    let old = editor.publish();
    let mut other = Editor::new(&old);
    for name in names.iter().take(1000) {
        other.apply(&Change::Deleted { name: name.as_slice().into() });
    }
    let mut diff = Diff::new(old.clone(), other.publish(), usize::MAX);
    let started = Cpu::now();
    let (mut slices, mut longest) = (0, 0.0f64);
    let outcome = loop {
        let slice = Instant::now();
        let outcome = diff.step(editor, 10_000);
        longest = longest.max(slice.elapsed().as_secs_f64() * 1e3);
        slices += 1;
        if let Some(outcome) = outcome {
            break outcome;
        }
    };
    println!(
        "  resync           {:.1} ns a mailbox, {} deleted, {slices} slices of 10,000, longest {longest:.2} ms",
        per(started, old.len()),
        outcome.deleted
    );
}

fn sample(list: &List) -> Vec<Vec<u8>> {
    let mut numbers = Numbers::new(7);
    let mut all = Vec::with_capacity(LOOKUPS);
    let every = (list.len() / LOOKUPS).max(1);
    let mut cursor = list.iter_from(b"");
    let mut n = 0;
    while let Some(row) = cursor.next() {
        n += 1;
        if n % every == 0 {
            all.push(row.name.to_vec());
        }
    }
    for i in (1..all.len()).rev() {
        all.swap(i, numbers.below(i as u64 + 1) as usize);
    }
    all
}

fn per(started: Cpu, count: usize) -> f64 {
    started.elapsed().as_nanos() as f64 / count.max(1) as f64
}

/// Time on the processor, so that a busy machine spoils nothing; counted by the kernel in ticks.
#[derive(Clone, Copy)]
struct Cpu(u64);

impl Cpu {
    fn now() -> Cpu {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        Cpu(text.split_ascii_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
    }

    fn elapsed(self) -> Duration {
        Duration::from_nanos(Cpu::now().0.saturating_sub(self.0))
    }
}

/// Octets of this process' own share of memory.
fn pss() -> usize {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = rollup.lines().find(|line| line.starts_with("Pss:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse::<usize>().ok());
    kib.unwrap_or(0) * 1024
}

/// The generator's entries in hierarchy order, a part of the key space at a time: the generator
/// runs once for every part, so that only one part stands in memory.
struct Sorted {
    size: usize,
    part: u64,
    waiting: std::vec::IntoIter<Change>,
}

/// Parts of the key space.
const PARTS: u64 = 16;

impl Sorted {
    fn new(size: usize) -> Sorted {
        Sorted { size, part: 0, waiting: Vec::new().into_iter() }
    }
}

impl Iterator for Sorted {
    type Item = Change;

    fn next(&mut self) -> Option<Change> {
        loop {
            if let Some(change) = self.waiting.next() {
                return Some(change);
            }
            if self.part == PARTS {
                return None;
            }
            let part = self.part;
            self.part += 1;
            let mut some: Vec<Change> = Generator::new(SEED, 40)
                .take(self.size)
                .filter(|change| part_of(change.name()) == part)
                .collect();
            some.sort_by_cached_key(|change| key::key(change.name()));
            some.dedup_by(|a, b| a.name() == b.name());
            self.waiting = some.into_iter();
        }
    }
}

/// Where a name falls: most begin with `user.`, so the letters behind it decide.
fn part_of(name: &[u8]) -> u64 {
    match name.strip_prefix(b"user.") {
        Some(rest) => 8 + u64::from(rest.first().copied().unwrap_or(0).clamp(b'a', b'z') - b'a') * 8 / 26,
        None if name.first().is_some_and(|&byte| byte < b'u') => {
            u64::from(name[0].clamp(b'D', b't') - b'D') * 7 / 60
        }
        None => {
            if name < b"user.".as_slice() {
                7
            } else {
                PARTS - 1
            }
        }
    }
}

//! The order in which Cyrus keeps names, and the names above a name.

use std::cmp::Ordering;

/// Compares two internal names in hierarchy order, the order of a Cyrus mailbox database: the
/// separator sorts below every letter, `^` where a dot does, a dot of the domain is a dot.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let (bang_a, bang_b) = (memchr::memchr(b'!', a), memchr::memchr(b'!', b));
    if bang_a != bang_b {
        return compare_slowly(a, b);
    }
    let Some(at) = a.iter().zip(b).position(|(x, y)| x != y) else { return a.len().cmp(&b.len()) };
    match key_byte(a, at, bang_a).cmp(&key_byte(b, at, bang_b)) {
        Ordering::Equal => compare_slowly(a, b),
        order @ (Ordering::Less | Ordering::Greater) => order,
    }
}

/// What the byte at `at` counts for. `bang` is where the domain ends.
fn key_byte(name: &[u8], at: usize, bang: Option<usize>) -> u8 {
    match (name[at], bang) {
        (byte, Some(bang)) if at < bang => byte,
        (b'!', Some(bang)) if at == bang => 0x1D,
        (b'.', _) => 0x1F,
        (b'^', _) => b'.',
        (byte, _) => byte,
    }
}

/// The whole comparison, for names with and without a domain, in which the same bytes count for others,
/// and names whose first differing bytes count for the same (control bytes). Names that count for the same throughout are told apart by their bytes.
fn compare_slowly(a: &[u8], b: &[u8]) -> Ordering {
    let (bang_a, bang_b) = (memchr::memchr(b'!', a), memchr::memchr(b'!', b));
    let keys_a = (0..a.len()).map(|at| key_byte(a, at, bang_a));
    let keys_b = (0..b.len()).map(|at| key_byte(b, at, bang_b));
    keys_a.cmp(keys_b).then_with(|| a.cmp(b))
}

/// The names above an internal name, nearest first: `user.fred.a.b` has `user.fred.a` and
/// `user.fred`, never `user`.
pub fn parents(internal: &[u8]) -> Parents<'_> {
    let start = memchr::memchr(b'!', internal).map_or(0, |bang| bang + 1);
    Parents { name: internal, start }
}

/// The internal name of what its owner calls `path` below a mailbox, with this separator.
pub fn child(internal: &[u8], path: &[u8], separator: u8) -> Vec<u8> {
    let mut name = internal.to_vec();
    for component in path.split(|byte| *byte == separator).filter(|component| !component.is_empty()) {
        name.push(b'.');
        name.extend(component.iter().map(|byte| if *byte == b'.' { b'^' } else { *byte }));
    }
    name
}

/// The iterator of [`parents`].
#[derive(Clone, Debug)]
pub struct Parents<'a> {
    name: &'a [u8],
    /// Where the name behind the domain begins.
    start: usize,
}

impl<'a> Iterator for Parents<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let dot = memchr::memrchr(b'.', &self.name[self.start..])?;
        let parent = &self.name[..self.start + dot];
        if dot == 0 || &parent[self.start..] == b"user" {
            self.name = &self.name[..self.start];
            return None;
        }
        self.name = parent;
        Some(parent)
    }
}

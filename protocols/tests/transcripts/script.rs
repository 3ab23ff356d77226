//! What the lines of a script mean by themselves.

use std::path::Path;

use protocols::proxy::{BackendId, Side};

/// How the input is cut.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Cut {
    Joined,
    Lines,
    Bytes,
    Random(u64),
}

impl Cut {
    /// How many of so many bytes come next.
    pub(crate) fn next(self, left: usize, random: &mut u64) -> usize {
        match self {
            Cut::Joined | Cut::Lines => left,
            Cut::Bytes => 1,
            Cut::Random(_) => {
                *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (1 + (*random >> 33) as usize % 23).min(left)
            }
        }
    }

    /// What the random cuts begin with.
    pub(crate) fn seed(self) -> u64 {
        if let Cut::Random(seed) = self { seed } else { 0 }
    }
}

/// Script lines with includes expanded.
pub(crate) fn expand(folder: &Path, text: &str, lines: &mut Vec<String>) {
    for line in text.lines() {
        let Some(include) = line.strip_prefix("@ ") else {
            lines.push(line.to_owned());
            continue;
        };
        let words: Vec<&str> = include.split(' ').collect();
        let file = folder.join("include").join(format!("{}.inc", words[0]));
        let mut text = std::fs::read_to_string(&file).unwrap_or_else(|_| panic!("no {}", file.display()));
        for (number, word) in words.iter().enumerate().skip(1) {
            text = text.replace(&format!("${number}"), word);
        }
        expand(folder, &text, lines);
    }
}

/// What a line sends, if it sends something.
pub(crate) fn sent(line: &str) -> Option<(Side, Vec<u8>)> {
    let (who, rest) = line.split_at_checked(line.find([':', '|'])?)?;
    let side = match who.split_at_checked(1)? {
        ("C", "") => Side::Client,
        ("B", number) => Side::Backend(BackendId(number.parse().ok()?)),
        _ => return None,
    };
    let (mark, text) = rest.split_at(1);
    let text = text.strip_prefix(' ').unwrap_or(text);
    let mut bytes = unescape(text);
    if mark == ":" {
        bytes.extend_from_slice(b"\r\n");
    }
    Some((side, bytes))
}

fn unescape(text: &str) -> Vec<u8> {
    let text = match text.strip_prefix("repeat ") {
        Some(rest) => {
            let (count, what) = rest.split_once(' ').unwrap();
            what.repeat(count.parse().unwrap())
        }
        None => text.to_owned(),
    };
    text.replace("\\r", "\r").replace("\\n", "\n").replace("\\0", "\0").into_bytes()
}

pub(crate) fn named(side: Side) -> String {
    match side {
        Side::Client => "client".into(),
        Side::Backend(id) => id.0.to_string(),
    }
}

pub(crate) fn expect_next(what: &str, got: Option<String>, expected: &str) -> Result<(), String> {
    match got {
        Some(got) if matches(expected, &got) => Ok(()),
        Some(got) => Err(format!("{what} is {got:?}")),
        None => Err(format!("no {what}")),
    }
}

/// Whether a text is as expected, where `{*}` stands for anything.
pub(crate) fn matches(expected: &str, got: &str) -> bool {
    match expected.split_once("{*}") {
        None => expected == got,
        Some((before, behind)) => {
            let Some(rest) = got.strip_prefix(before) else { return false };
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && matches(behind, &rest[at..]))
        }
    }
}

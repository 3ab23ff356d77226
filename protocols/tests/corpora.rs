//! Replays the corpora of the fuzz targets.

use std::fs;
use std::path::{Path, PathBuf};

/// A fuzz target and its body.
type Target = (&'static str, fn(&[u8]));

/// Every folder under `fuzz/corpus`.
const TARGETS: &[Target] = &[
    ("backend_response", protocols::fuzz::backend_response),
    ("conf", protocols::fuzz::conf),
    ("imap_grammar", protocols::fuzz::imap_grammar),
    ("lmtp_grammar", protocols::fuzz::lmtp_grammar),
    ("lmtp_message", protocols::fuzz::lmtp_message),
    ("names", protocols::fuzz::names),
    ("pop3_session", protocols::fuzz::pop3_session),
    ("postmap", protocols::fuzz::postmap),
    ("sasl", protocols::fuzz::sasl),
    ("sieve_session", protocols::fuzz::sieve_session),
    ("wire", protocols::fuzz::wire),
];

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is committed");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn every_folder_has_a_target_and_every_target_a_folder() {
    let mut targets: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    targets.sort_unstable();
    assert_eq!(names(&corpus()), targets);
}

#[test]
fn every_input_holds_its_properties() {
    for (target, body) in TARGETS {
        let folder = corpus().join(target);
        let inputs = names(&folder);
        assert!(!inputs.is_empty(), "the corpus of {target} is empty");
        for name in inputs {
            let input = fs::read(folder.join(&name)).expect("readable");
            if std::panic::catch_unwind(|| body(&input)).is_err() {
                panic!("{target}/{name} breaks a property");
            }
        }
    }
}

#[test]
fn every_prefix_of_an_input_holds_its_properties() {
    for (target, body) in TARGETS {
        let folder = corpus().join(target);
        for name in names(&folder) {
            let input = fs::read(folder.join(&name)).expect("readable");
            let step = input.len().div_ceil(24).max(1);
            for cut in (0..input.len()).step_by(step) {
                body(&input[..cut]);
            }
        }
    }
}

#[test]
fn corpora_stay_small() {
    let bytes: u64 = TARGETS
        .iter()
        .flat_map(|(target, _)| {
            let folder = corpus().join(target);
            names(&folder).into_iter().map(move |name| folder.join(name))
        })
        .map(|path| fs::metadata(path).expect("readable").len())
        .sum();
    assert!(bytes <= 300 * 1024, "{bytes} bytes of corpora");
}

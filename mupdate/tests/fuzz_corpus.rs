//! Replays the corpus of the fuzz target.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[test]
fn corpus_is_survived() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/grammar");
    let mut replayed = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        mupdate::grammar::fuzz(&bytes);
        for cut in 0..bytes.len() {
            mupdate::grammar::fuzz(&bytes[..cut]);
        }
        replayed += 1;
    }
    assert!(replayed >= 9, "the corpus is there");
}

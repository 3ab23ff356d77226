//! Replays the corpora of the fuzz targets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

fn replay(target: &str, least: usize, body: fn(&[u8])) {
    let folder = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut replayed = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        body(&bytes);
        for cut in 0..bytes.len() {
            body(&bytes[..cut]);
        }
        replayed += 1;
    }
    assert!(replayed >= least, "the corpus of {target} is there");
}

#[test]
fn grammar_survives_its_corpus() {
    replay("grammar", 9, mupdate::grammar::fuzz);
}

#[test]
fn connection_answers_its_corpus_alike_however_it_is_cut() {
    replay("connection", 9, mupdate::master::fuzz);
}

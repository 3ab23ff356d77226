//! What the store costs: writing a list, opening it again, opening it behind a full generation.
//!
//! `cargo bench -p store --bench open [-- mailboxes...]`; 1,000,000 when none is given. Irregular
//! names of `list::generate`, in the temporary folder (`TMPDIR`), files in the page cache.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use mupdate::directory::{Beside, StoreWrite};
use mupdate::list::Builder;
use mupdate::list::generate::Generator;
use store::{OnDamage, Opened, Store};

/// Says to the process that it is to append single changes until it aborts.
const APPEND: &str = "STORE_BENCH_APPEND";

/// Changes behind an image, one a commit: just below what begins the next one.
fn behind(mailboxes: usize) -> usize {
    20_000.max(mailboxes / 50) - 1
}

fn main() {
    if let Some(folder) = std::env::var_os(APPEND) {
        return append(Path::new(&folder));
    }
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    for size in if sizes.is_empty() { vec![1_000_000] } else { sizes } {
        let folder = std::env::temp_dir().join(format!("store-bench-{}", std::process::id()));
        measure(size, &folder);
        std::fs::remove_dir_all(&folder).expect("what was made can be removed");
    }
}

fn measure(size: usize, folder: &Path) {
    let mut builder = Builder::new();
    Generator::new(2026, 8).take(size).for_each(|change| {
        builder.push(&change);
    });
    let list = builder.finish().finish();
    let mut opened = open(folder);
    let began = Instant::now();
    opened.store.replace(&list, size as u64).expect("the disk takes it");
    println!("{size} mailboxes: written in {:.0} ms", began.elapsed().as_secs_f64() * 1e3);
    drop((opened, list));
    time("opened again", size, folder);
    time("opened again", size, folder);
    let program = std::env::current_exe().expect("this program has a name");
    let ended = Command::new(program).env(APPEND, folder).status().expect("this program starts again");
    assert!(!ended.success(), "it aborts");
    time("opened behind single changes, after an abort,", size, folder);
}

fn open(folder: &Path) -> Opened {
    Store::open(folder, OnDamage::Refuse).expect("the store opens")
}

fn time(what: &str, size: usize, folder: &Path) {
    let (began, cpu_began) = (Instant::now(), cpu_ms());
    let opened = open(folder);
    let (took, cpu) = (began.elapsed().as_secs_f64() * 1e3, cpu_ms() - cpu_began);
    let behind = opened.loaded.log.len();
    println!(
        "{size} mailboxes: {what} in {took:.0} ms, {cpu:.0} ms of them on the processor; {behind} changes behind the image"
    );
    assert!(opened.loaded.list.len() >= size);
}

/// Milliseconds that this thread was on the processor.
fn cpu_ms() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e6
}

/// One change a commit, as a master with one client has them, then no goodbye.
fn append(folder: &Path) {
    let Opened { mut store, loaded, .. } = open(folder);
    let mut editor = loaded.list;
    let count = behind(editor.len());
    for (sequence, change) in (loaded.sequence + 1..).zip(Generator::new(7, 8).take(count)) {
        editor.apply(&change);
        let (list, beside) = (editor.publish(), Beside::default());
        store
            .write(&StoreWrite::Append { changes: vec![change], sequence, beside, list })
            .expect("the disk takes it");
    }
    std::process::abort();
}

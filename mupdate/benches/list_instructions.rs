//! What the mailbox list costs in instructions, for `cargo xtask bench instructions`.
//!
//! The one argument names the case; only functions whose name begins with `measured_` count.

use std::hint::black_box;
use std::sync::Arc;

use mupdate::list::generate::Generator;
use mupdate::list::{Editor, List};
use protocols::proxy::{Change, Entry, Location};

const MAILBOXES: usize = 20_000;

fn main() {
    let Some(case) = std::env::args().nth(1) else { return };
    let (mut editor, names) = made();
    let list = editor.publish();
    match case.as_str() {
        "lookup" => measured_lookup(&list, &names),
        "scan" => measured_scan(&list),
        "publish" => measured_publish(&mut editor, &names[..100]),
        // Called by `cargo bench`: there is nothing to time here.
        _ => {}
    }
}

/// A list of irregular names, and some of them out of order.
fn made() -> (Editor, Vec<Box<[u8]>>) {
    let mut editor = Editor::empty();
    let mut names = Vec::new();
    for (n, change) in Generator::new(2026, 40).take(MAILBOXES).enumerate() {
        if n % 20 == 0 {
            names.push(change.name().into());
        }
        editor.apply(&change);
    }
    (editor, names)
}

#[inline(never)]
fn measured_lookup(list: &Arc<List>, names: &[Box<[u8]>]) {
    for name in names {
        black_box(list.locate(black_box(name)));
    }
}

#[inline(never)]
fn measured_scan(list: &Arc<List>) {
    let mut cursor = list.iter_from(b"");
    while let Some(row) = cursor.next() {
        black_box(row.name);
    }
}

#[inline(never)]
fn measured_publish(editor: &mut Editor, names: &[Box<[u8]>]) {
    for name in names {
        editor.apply(&Change::Active(Entry {
            name: name.clone(),
            location: Location((*b"backend1!default").into()),
            acl: (*b"somebody\tlrs\t").into(),
        }));
        black_box(editor.publish());
    }
}

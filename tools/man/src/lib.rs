//! Man pages, made from what the programs say of themselves.
//!
//! The pages lie in `tools/man`. Each program has a test that calls [`check`]; `cargo xtask man`
//! runs these tests so that they write the pages anew.

use std::fs;
use std::path::PathBuf;

/// The environment variable that lets tests write what they otherwise compare.
const BLESS: &str = "ROOKERY_BLESS";

/// Compares the page of a command in section 8 with the committed one, or writes it.
///
/// # Panics
/// The page is another one, or cannot be read or written.
pub fn check(command: clap::Command) {
    let name = command.get_name().to_owned();
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("{name}.8"));
    let made = page(command);
    if std::env::var_os(BLESS).is_some() {
        if let Err(error) = fs::write(&file, made) {
            panic!("cannot write {}: {error}", file.display());
        }
        return;
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == made, "{} is not what {name} says: run cargo xtask man", file.display());
}

/// The page as roff. The version is left out: a release does not change what a page says.
fn page(command: clap::Command) -> String {
    let command = command.version(None).disable_help_subcommand(true);
    let mut roff = Vec::new();
    let man = clap_mangen::Man::new(command).section("8").source("Rookery").manual("Rookery");
    match man.render(&mut roff) {
        Ok(()) => String::from_utf8_lossy(&roff).into_owned(),
        Err(error) => panic!("cannot render the page: {error}"),
    }
}

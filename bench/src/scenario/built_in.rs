//! The scenarios that come with the program.

use std::path::Path;

use anyhow::{Result, bail};

use super::Scenario;

macro_rules! scenarios {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../scenarios/", $name, ".toml")))),*]
    };
}

/// Names and texts.
pub const BUILT_IN: [(&str, &str); 16] = scenarios![
    "imap-noop",
    "imap-pipeline",
    "imap-login",
    "imap-fetch",
    "imap-append",
    "imap-idle",
    "imap-mixed",
    "imap-fairness",
    "pop3-session",
    "pop3-retr",
    "lmtp-deliver",
    "lmtp-recipients",
    "sieve-session",
    "sieve-put",
    "mupdate-find",
    "mupdate-reserve",
];

/// A scenario by its name, or from a file.
///
/// # Errors
/// There is none of this name, or the file does not say what a load needs.
pub fn find(name: &str) -> Result<Scenario> {
    if name.ends_with(".toml") || name.contains('/') {
        return Scenario::read(Path::new(name));
    }
    match BUILT_IN.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => Scenario::parse(text),
        None => bail!("no scenario {name:?}: expected a file, or one that `rookery-bench scenarios` lists"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_built_in_under_its_name() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<String> =
            files.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
        files.sort();
        let mut names = BUILT_IN.map(|(name, _)| name.to_owned());
        names.sort();
        assert_eq!(files, names);
        for (name, text) in BUILT_IN {
            assert_eq!(Scenario::parse(text).unwrap().name, name);
        }
    }
}

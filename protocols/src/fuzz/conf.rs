//! Properties of the configuration files.

use crate::conf::imapd::{self, Line};
use crate::conf::{ConfError, DurationUnit, Imapd, check, cyrus};

use super::bounded;

/// Checks both configuration grammars on any text: what is read is written and read alike, no error
/// shows a secret, and every key can be judged.
///
/// # Panics
/// A property does not hold.
pub fn conf(input: &[u8]) {
    let text = String::from_utf8_lossy(bounded(input));
    lines(&text);
    whole(&text);
    entries(&text);
}

fn lines(text: &str) {
    let Ok(found) = imapd::parse(text, "f") else { return };
    let mut written = String::new();
    for line in &found.lines {
        let (key, value) = match line {
            Line::Option { key, value } => (key.as_str(), value.text.as_str()),
            Line::Include { path, .. } => ("@include", path.as_str()),
        };
        // A value that ends in a backslash would go on in the next line.
        written.push_str(&format!("{key}: {value} \n"));
    }
    let again = imapd::parse(&written, "f").expect("these were lines");
    assert_eq!(again.lines.len(), found.lines.len());
    for (again, found) in again.lines.iter().zip(&found.lines) {
        match (again, found) {
            (Line::Option { key, value }, Line::Option { key: old_key, value: old }) => {
                assert_eq!((key, &value.text), (old_key, &old.text));
            }
            (Line::Include { path, .. }, Line::Include { path: old, .. }) => assert_eq!(path, old),
            (Line::Option { .. }, Line::Include { .. }) | (Line::Include { .. }, Line::Option { .. }) => {
                panic!("another kind of line")
            }
        }
    }
}

/// The text as a configuration; files that it includes hold one secret.
fn whole(text: &str) {
    let read = |path: &str| match path {
        "imapd.conf" => Ok(text.to_owned()),
        "nowhere" => Err("no such file"),
        _ => Ok("proxy_password: f7d1c02b".to_owned()),
    };
    let conf = match Imapd::load("imapd.conf", read) {
        Ok(conf) => conf,
        Err(error) => return hides_the_secret(text, &error),
    };
    for checked in check::lines(&conf) {
        let key = checked.key;
        assert!(conf.value(key).is_some());
        let errors = [checked.warning(), checked.problem(), conf.integer(key, 0).err()];
        errors.iter().flatten().for_each(|error| hides_the_secret(text, error));
        let _ = conf.switch(key, false);
        let _ = conf.duration(key, DurationUnit::Minutes, std::time::Duration::ZERO);
        let _ = conf.size(key, 1024, 0);
        let _ = conf.for_service("imap").list(key);
    }
    if let Ok(namespace) = conf.namespace() {
        let _ = conf.acl_policy(&namespace);
    }
}

fn hides_the_secret(text: &str, error: &ConfError) {
    assert!(text.contains("f7d1c02b") || !error.to_string().contains("f7d1c02b"));
}

fn entries(text: &str) {
    let Ok(found) = cyrus::parse(text, "c") else { return };
    for entry in [found.start, found.services, found.events, found.daemon].concat() {
        assert!(entry.arguments.len() <= cyrus::ARGUMENTS_MAX && !entry.name.is_empty());
        let _ = entry.program();
        for (key, _) in &entry.arguments {
            let _ = entry.integer(key);
            let _ = entry.switch(key);
        }
    }
}

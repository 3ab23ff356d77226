//! The table of options says the truth: what it calls honoured is read, and what is read it calls so;
//! what was read into the configuration of sessions is asked for by one; and operators can read of our own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Result;

use super::{Finding, files, shown};

/// Where options are declared.
const TABLES: [&str; 2] = ["protocols/src/conf/options/table.rs", "protocols/src/conf/options/mod.rs"];

/// The configuration of sessions.
const SESSIONS: &str = "protocols/src/imap/config.rs";

/// Where the configuration is read.
const READERS: [&str; 2] = ["engine/src", "tools"];

/// Where operators read of our own options.
const MANUALS: [&str; 2] = ["README.md", "perf/README.md"];

/// What our own options begin with.
const OWN: &str = "rookery_";

/// How the table rates an option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rated {
    Honoured,
    Differs,
    Ignored,
}

pub(super) fn check(root: &Path, findings: &mut Vec<Finding>) -> Result<()> {
    let mut declared = BTreeMap::new();
    for table in TABLES {
        let text = fs::read_to_string(root.join(table))?;
        declared.extend(text.lines().filter_map(declaration));
    }
    let mut read = BTreeMap::new();
    for folder in READERS {
        for path in files(&root.join(folder), "rs")? {
            let name = shown(root, &path);
            if name.ends_with("tests.rs") || name.starts_with("tools/xtask") {
                continue;
            }
            for literal in literals(code(&fs::read_to_string(&path)?)) {
                read.entry(literal).or_insert_with(|| name.clone());
            }
        }
    }
    findings.extend(complaints(&declared, &read));
    let mut manuals = String::new();
    for manual in MANUALS {
        manuals.push_str(&fs::read_to_string(root.join(manual))?);
    }
    findings.extend(undocumented(&declared, &manuals));
    let fields = fields(code(&fs::read_to_string(root.join(SESSIONS))?));
    let mut sources = String::new();
    for path in files(&root.join("protocols/src"), "rs")? {
        sources.push_str(code(&fs::read_to_string(&path)?));
    }
    for field in fields.into_iter().filter(|field| !is_asked_for(&sources, field)) {
        findings.push(format!("{SESSIONS}: no session asks for {field}, so its option is not honoured"));
    }
    Ok(())
}

/// The public fields of structs.
fn fields(text: &str) -> Vec<String> {
    let names = text.lines().filter_map(|line| line.strip_prefix("    pub ")?.split_once(": "));
    names.map(|(name, _)| name.to_owned()).filter(|name| !name.contains(['(', ' '])).collect()
}

/// Whether `.field` stands somewhere, as a whole word.
fn is_asked_for(sources: &str, field: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let access = format!(".{field}");
    sources
        .match_indices(&access)
        .any(|(at, _)| !sources.as_bytes().get(at + access.len()).copied().is_some_and(is_word))
}

/// What does not fit: `declared` is rated by option, `read` says where a literal stands.
fn complaints(declared: &BTreeMap<String, Rated>, read: &BTreeMap<String, String>) -> Vec<Finding> {
    let mut complaints = Vec::new();
    for (option, rated) in declared {
        match (rated, read.get(option)) {
            (Rated::Honoured, None) => {
                complaints.push(format!("{}: {option} is called honoured and read by nobody", TABLES[0]));
            }
            (Rated::Ignored, Some(file)) => {
                complaints.push(format!("{file}: {option} is read, and called ignored in {}", TABLES[0]));
            }
            (Rated::Honoured, Some(_)) | (Rated::Ignored, None) | (Rated::Differs, _) => {}
        }
    }
    complaints
}

/// Our own options of which no manual speaks.
fn undocumented(declared: &BTreeMap<String, Rated>, manuals: &str) -> Vec<Finding> {
    let own = declared.keys().filter(|option| option.starts_with(OWN));
    own.filter(|option| !manuals.contains(&format!("`{option}")))
        .map(|option| format!("{}: {option} stands in none of {}", TABLES[1], MANUALS.join(", ")))
        .collect()
}

/// `o("name", Kind, Standing),` or `own("name", Kind),` as it stands in a table.
fn declaration(line: &str) -> Option<(String, Rated)> {
    let line = line.trim();
    let own = line.contains("own(\"");
    if !own && !line.starts_with("o(\"") && !line.starts_with("s(\"") {
        return None;
    }
    let (_, behind) = line.split_once('"')?;
    let (name, rest) = behind.split_once('"')?;
    let rated = if own || rest.contains(", Honoured)") {
        Rated::Honoured
    } else if rest.contains(", Ignored)") {
        Rated::Ignored
    } else {
        Rated::Differs
    };
    Some((name.to_owned(), rated))
}

/// A file without its tests.
fn code(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests {").map_or(text, |at| &text[..at])
}

/// The string literals that could name an option.
fn literals(text: &str) -> BTreeSet<String> {
    let is_name = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .filter(|text| is_name(text))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_called_honoured_and_read_by_nobody_is_found() {
        let declared = [
            "    o(\"timeout\", Duration, Honoured),",
            "    s(\"admins\", Text, Honoured),",
            "    o(\"sync_log\", Switch, Ignored),",
            "    o(\"serverinfo\", Choice(&[\"on\", \"off\"]), Ignored),",
            "    s(\"auth_mech\", Text, Differs(\"only unix\")),",
            "    own(\"rookery_shards\", Kind::Integer),",
            "const fn o(name: &'static str) -> Known {",
        ];
        let declared: BTreeMap<String, Rated> = declared.into_iter().filter_map(declaration).collect();
        assert_eq!(declared.len(), 6);
        let source =
            "imapd.duration(\"timeout\", 1)?; imapd.text(\"serverinfo\")\n// \"admins\"\n\"rookery_shards\"";
        let read = literals(source).into_iter().map(|name| (name, "engine/src/x.rs".to_owned())).collect();
        let found = complaints(&declared, &read);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("admins is called honoured"));
        assert!(found[1].contains("engine/src/x.rs: serverinfo is read"));
    }

    #[test]
    fn own_option_that_no_manual_has_is_found() {
        let declared = [
            "own(\"rookery_a\", Kind::Text),",
            "own(\"rookery_b\", Kind::Text),",
            "o(\"c\", Text, Ignored),",
        ];
        let declared = declared.into_iter().filter_map(declaration).collect();
        let found = undocumented(&declared, "`rookery_a: yes`, rookery_b");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("rookery_b stands in none"));
    }

    #[test]
    fn field_that_nobody_asks_for_is_found() {
        let declared = fields(
            "pub struct A {\n    pub limit: u8,\n    pub fn is_x(&self) -> bool {\n    pub lim: u8,\n",
        );
        assert_eq!(declared, ["limit", "lim"]);
        assert!(is_asked_for("config.limit > 1", "limit"));
        assert!(!is_asked_for("config.limit > 1", "lim"));
    }

    #[test]
    fn tests_of_a_file_read_nothing() {
        let source = "let a = \"timeout\";\n#[cfg(test)]\nmod tests {\n    \"admins\"\n}";
        assert_eq!(literals(code(source)).into_iter().collect::<Vec<_>>(), ["timeout"]);
    }
}

//! The dump as JSON, with jansson's spaces and escapes.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufReader, Read, Write};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{DumpError, NAME_BYTES_MAX, PARTITION_BYTES_MAX, Told};
use crate::{Mailbox, Mbtype};

/// Appends one entry without the comma behind it.
pub(super) fn entry_out(out: &mut Vec<u8>, mailbox: &Mailbox) {
    let Some(name) = text(&mailbox.name) else { return };
    string_out(out, name);
    out.extend_from_slice(b": {");
    let mut members = Members { out, is_first: true };
    members.string("name", Some(name));
    members.string("mtime", Some(&mailbox.mtime.to_string()));
    members.string("uidvalidity", Some(&mailbox.uidvalidity.to_string()));
    members.string("createdmodseq", Some(&mailbox.createdmodseq.to_string()));
    members.string("foldermodseq", Some(&mailbox.foldermodseq.to_string()));
    members.string("mbtype", Some(&mailbox.mbtype.to_string()));
    members.string("partition", mailbox.partition.as_deref().and_then(text));
    members.string("server", mailbox.server.as_deref().and_then(text));
    members.acl(&mailbox.acl);
    members.string("uniqueid", mailbox.uniqueid.as_deref().and_then(text));
    members.string("legacy_specialuse", mailbox.legacy_specialuse.as_deref().and_then(text));
    out.extend_from_slice(b", \"name_history\": []}");
}

/// Members of an object, in order.
struct Members<'a> {
    out: &'a mut Vec<u8>,
    is_first: bool,
}

impl Members<'_> {
    fn string(&mut self, key: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        self.key(key);
        string_out(self.out, value);
    }

    fn key(&mut self, key: &str) {
        if !self.is_first {
            self.out.extend_from_slice(b", ");
        }
        self.is_first = false;
        string_out(self.out, key);
        self.out.extend_from_slice(b": ");
    }

    /// `id TAB rights TAB ...`; an identifier that stands twice keeps its first place and its last
    /// rights.
    fn acl(&mut self, acl: &[u8]) {
        let mut fields = acl.split(|byte| *byte == b'\t');
        let mut rights = BTreeMap::new();
        let mut order = Vec::new();
        while let (Some(id), Some(granted)) = (fields.next(), fields.next()) {
            let (Some(id), Some(granted)) = (text(id), text(granted)) else { continue };
            if rights.insert(id, granted).is_none() {
                order.push(id);
            }
        }
        self.key("acl");
        self.out.push(b'{');
        let mut members = Members { out: self.out, is_first: true };
        for id in order {
            members.string(id, rights.get(id).copied());
        }
        self.out.push(b'}');
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// A JSON string with the escapes that jansson uses.
fn string_out(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            // Writing to a vector cannot fail.
            0..0x20 => drop(write!(out, "\\u{byte:04X}")),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Reads a dump; `each` is told of every entry as it comes, and of what is wrong with it.
///
/// Only a name and a partition are needed: dumps of masters and frontends have no unique ids.
///
/// # Errors
/// The dump cannot be read, or is none. What was told before then stands.
pub fn read(input: impl Read, each: impl FnMut(Told)) -> Result<(), DumpError> {
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(input));
    let read = Entries { each }.deserialize(&mut json).and_then(|()| json.end());
    read.map_err(|error| match error.is_io() {
        true => DumpError::Read(error.into()),
        false => DumpError::Syntax { line: error.line(), why: error.to_string() },
    })
}

struct Entries<F> {
    each: F,
}

impl<'de, F: FnMut(Told)> DeserializeSeed<'de> for Entries<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de, F: FnMut(Told)> Visitor<'de> for Entries<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a mailbox a member")
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<(), M::Error> {
        while let Some((name, entry)) = map.next_entry::<String, Entry>()? {
            entry.tell(&name, &mut self.each);
        }
        Ok(())
    }
}

/// One member of a dump. What is no string counts as missing.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    mtime: Text,
    uidvalidity: Text,
    createdmodseq: Text,
    foldermodseq: Text,
    mbtype: Text,
    partition: Text,
    server: Text,
    acl: Acl,
    uniqueid: Text,
    legacy_specialuse: Text,
}

impl Entry {
    fn tell(self, name: &str, each: &mut impl FnMut(Told)) {
        let mut warn = |text: String| each(Told::Warning(text));
        if name.len() > NAME_BYTES_MAX {
            return warn(format!("mailbox name too long: {name}"));
        }
        let mut number = |value: &Text, what: &str| match &value.0 {
            Some(digits) => digits.parse::<u64>().unwrap_or(0),
            None => {
                warn(format!("missing {what} for {name}"));
                0
            }
        };
        let uidvalidity = number(&self.uidvalidity, "uidvalidity");
        let createdmodseq = number(&self.createdmodseq, "createdmodseq");
        let foldermodseq = number(&self.foldermodseq, "foldermodseq");
        let mbtype = match &self.mbtype.0 {
            Some(letters) => match Mbtype::parse(letters.as_bytes()) {
                Some(mbtype) => mbtype,
                None => return warn(format!("unknown mbtype {letters} for {name}")),
            },
            None => {
                warn(format!("missing mbtype for {name}"));
                Mbtype::default()
            }
        };
        match &self.partition.0 {
            None => return warn(format!("missing partition for {name}")),
            Some(partition) if partition.len() > PARTITION_BYTES_MAX => {
                return warn(format!("partition too long for {name}"));
            }
            Some(_) => {}
        }
        each(Told::Mailbox(Box::new(Mailbox {
            name: name.as_bytes().into(),
            mbtype,
            partition: self.partition.octets(),
            server: self.server.octets(),
            acl: self.acl.0.into(),
            uniqueid: self.uniqueid.octets(),
            uidvalidity: u32::try_from(uidvalidity).unwrap_or(u32::MAX),
            createdmodseq,
            foldermodseq,
            mtime: self.mtime.0.and_then(|digits| digits.parse().ok()).unwrap_or(0),
            legacy_specialuse: self.legacy_specialuse.octets(),
        })));
    }
}

/// A string, or nothing when it is something else.
#[derive(Default)]
struct Text(Option<String>);

impl Text {
    fn octets(self) -> Option<Box<[u8]>> {
        self.0.map(|text| text.into_bytes().into())
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Text, D::Error> {
        json.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(Some(text.to_owned())))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_unit<E: Error>(self) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Text, S::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Text, M::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }
}

/// `{identifier: rights, ...}` as `id TAB rights TAB ...`, in the order of the text.
#[derive(Default)]
struct Acl(Vec<u8>);

impl<'de> Deserialize<'de> for Acl {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Acl, D::Error> {
        json.deserialize_map(AclVisitor)
    }
}

struct AclVisitor;

impl<'de> Visitor<'de> for AclVisitor {
    type Value = Acl;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of identifiers and rights")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Acl, M::Error> {
        let mut acl = Vec::new();
        while let Some((id, rights)) = map.next_entry::<String, String>()? {
            if id.contains(['\t', '\0']) || rights.contains(['\t', '\0']) {
                return Err(Error::custom("tab in an ACL"));
            }
            acl.extend_from_slice(format!("{id}\t{rights}\t").as_bytes());
        }
        Ok(Acl(acl))
    }
}

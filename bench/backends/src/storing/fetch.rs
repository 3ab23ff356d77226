//! What a FETCH asks for, and its answer for one message.

use super::command::{Value, string};
use super::mailbox::Stored;
use super::message::{Part, chosen_fields, date_time};

/// One data item of a FETCH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Flags,
    Uid,
    InternalDate,
    Size,
    Modseq,
    Envelope,
    Structure { extended: bool },
    Section(Section),
}

/// A part of the message's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// How the answer names it.
    label: String,
    /// Leaves `\Seen` alone.
    pub(crate) peek: bool,
    path: Vec<usize>,
    text: Text,
    /// First byte and count.
    partial: Option<(usize, usize)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Text {
    Everything,
    Header,
    Fields { names: Vec<String>, wanted: bool },
    Body,
    Mime,
}

/// Reads the items of a FETCH; `None` for one that is not known.
pub(crate) fn items(value: &Value) -> Option<Vec<Item>> {
    let mut out = Vec::new();
    for member in value.members() {
        let Value::Atom(atom) = member else { return None };
        match atom.to_ascii_uppercase().as_str() {
            "ALL" => out.extend([Item::Flags, Item::InternalDate, Item::Size, Item::Envelope]),
            "FAST" => out.extend([Item::Flags, Item::InternalDate, Item::Size]),
            "FULL" => {
                out.extend([Item::Flags, Item::InternalDate, Item::Size, Item::Envelope]);
                out.push(Item::Structure { extended: false });
            }
            "FLAGS" => out.push(Item::Flags),
            "UID" => out.push(Item::Uid),
            "INTERNALDATE" => out.push(Item::InternalDate),
            "RFC822.SIZE" => out.push(Item::Size),
            "MODSEQ" => out.push(Item::Modseq),
            "ENVELOPE" => out.push(Item::Envelope),
            "BODYSTRUCTURE" => out.push(Item::Structure { extended: true }),
            "BODY" => out.push(Item::Structure { extended: false }),
            "RFC822" => out.push(whole("RFC822", false, Text::Everything)),
            "RFC822.PEEK" => out.push(whole("RFC822", true, Text::Everything)),
            "RFC822.HEADER" => out.push(whole("RFC822.HEADER", true, Text::Header)),
            "RFC822.TEXT" => out.push(whole("RFC822.TEXT", false, Text::Body)),
            _ => out.push(Item::Section(section(atom)?)),
        }
    }
    Some(out)
}

fn whole(label: &str, peek: bool, text: Text) -> Item {
    Item::Section(Section { label: label.to_owned(), peek, path: Vec::new(), text, partial: None })
}

/// `BODY[.PEEK]"[" [path] [text] "]" ["<" first "." count ">"]`.
fn section(atom: &str) -> Option<Section> {
    let open = atom.find('[')?;
    let close = atom.rfind(']')?;
    let head = atom[..open].to_ascii_uppercase();
    let peek = match head.as_str() {
        "BODY.PEEK" => true,
        "BODY" => false,
        _ => return None,
    };
    let inside = atom.get(open + 1..close)?;
    let partial = match atom[close + 1..].strip_prefix('<') {
        Some(range) => {
            let (first, count) = range.strip_suffix('>')?.split_once('.')?;
            Some((first.parse().ok()?, count.parse().ok()?))
        }
        None => None,
    };
    let digits = inside.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(inside.len());
    let (numbers, rest) = inside.split_at(digits);
    let numbers = numbers.trim_end_matches('.').split('.').filter(|n| !n.is_empty());
    let path: Vec<usize> = numbers.map(|n| n.parse().ok()).collect::<Option<_>>()?;
    let text = section_text(rest)?;
    let first = partial.map_or(String::new(), |(first, _)| format!("<{first}>"));
    let label = format!("BODY[{}]{first}", inside.to_ascii_uppercase());
    Some(Section { label, peek, path, text, partial })
}

fn section_text(rest: &str) -> Option<Text> {
    let (word, list) = rest.split_once(' ').unwrap_or((rest, ""));
    Some(match word.to_ascii_uppercase().as_str() {
        "" => Text::Everything,
        "HEADER" => Text::Header,
        "TEXT" => Text::Body,
        "MIME" => Text::Mime,
        field_word @ ("HEADER.FIELDS" | "HEADER.FIELDS.NOT") => {
            let names = list.strip_prefix('(')?.strip_suffix(')')?.split_ascii_whitespace();
            let names = names.map(|n| n.trim_matches('"').to_owned()).collect();
            Text::Fields { names, wanted: field_word == "HEADER.FIELDS" }
        }
        _ => return None,
    })
}

/// Whether fetching these marks a message as read.
pub(crate) fn marks_seen(items: &[Item]) -> bool {
    items.iter().any(|item| matches!(item, Item::Section(s) if !s.peek))
}

/// Writes `* n FETCH (...)`.
pub(crate) fn write(number: usize, message: &Stored, items: &[Item], out: &mut Vec<u8>) {
    let part = Part::parse(&message.body);
    out.extend_from_slice(format!("* {number} FETCH (").as_bytes());
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            out.push(b' ');
        }
        write_item(message, &part, item, out);
    }
    out.extend_from_slice(b")\r\n");
}

fn write_item(message: &Stored, part: &Part<'_>, item: &Item, out: &mut Vec<u8>) {
    match item {
        Item::Flags => out.extend_from_slice(flags_text(message).as_bytes()),
        Item::Uid => out.extend_from_slice(format!("UID {}", message.uid).as_bytes()),
        Item::InternalDate => {
            out.extend_from_slice(format!("INTERNALDATE \"{}\"", date_time(message.date)).as_bytes());
        }
        Item::Size => out.extend_from_slice(format!("RFC822.SIZE {}", message.body.len()).as_bytes()),
        Item::Modseq => out.extend_from_slice(format!("MODSEQ ({})", message.modseq).as_bytes()),
        Item::Envelope => {
            out.extend_from_slice(b"ENVELOPE ");
            out.extend(part.envelope());
        }
        Item::Structure { extended } => {
            out.extend_from_slice(if *extended { b"BODYSTRUCTURE " } else { b"BODY " });
            out.extend(part.structure(*extended));
        }
        Item::Section(section) => write_section(message, part, section, out),
    }
}

/// `FLAGS (...)` of a message.
pub(crate) fn flags_text(message: &Stored) -> String {
    let flags: Vec<&str> = message.flags.iter().map(String::as_str).collect();
    format!("FLAGS ({})", flags.join(" "))
}

fn write_section(message: &Stored, whole: &Part<'_>, section: &Section, out: &mut Vec<u8>) {
    out.extend_from_slice(section.label.as_bytes());
    out.push(b' ');
    let Some(text) = section_bytes(message, whole, section) else {
        out.extend_from_slice(b"NIL");
        return;
    };
    let text = match section.partial {
        Some((first, count)) => {
            let first = first.min(text.len());
            &text[first..first.saturating_add(count).min(text.len())]
        }
        None => &text[..],
    };
    if text.is_empty() {
        out.extend(string(b""));
        return;
    }
    out.extend_from_slice(format!("{{{}}}\r\n", text.len()).as_bytes());
    out.extend_from_slice(text);
}

fn section_bytes<'a>(
    message: &'a Stored,
    whole: &Part<'a>,
    section: &Section,
) -> Option<std::borrow::Cow<'a, [u8]>> {
    let at = whole.at(&section.path)?;
    Some(match &section.text {
        Text::Everything if section.path.is_empty() => (&message.body[..]).into(),
        Text::Everything | Text::Body => at.body.into(),
        Text::Header | Text::Mime => at.header.into(),
        Text::Fields { names, wanted } => chosen_fields(at.header, names, *wanted).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched(atom: &str, body: &str) -> String {
        let message = Stored {
            uid: 7,
            flags: ["\\Seen".to_owned()].into(),
            date: 0,
            body: body.as_bytes().into(),
            modseq: 1,
        };
        let items = items(&Value::Atom(atom.to_owned())).unwrap();
        let mut out = Vec::new();
        write(3, &message, &items, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn partial_of_a_section_names_its_origin() {
        assert_eq!(fetched("BODY.PEEK[]<2.3>", "A: b\r\n\r\nx"), "* 3 FETCH (BODY[]<2> {3}\r\n b\r)\r\n");
        assert_eq!(fetched("BODY[TEXT]<9.3>", "A: b\r\n\r\nx"), "* 3 FETCH (BODY[TEXT]<9> \"\")\r\n");
    }

    #[test]
    fn header_fields_come_with_the_empty_line() {
        let seen = fetched("BODY[HEADER.FIELDS (a)]", "A: b\r\nC: d\r\n\r\nx");
        assert_eq!(seen, "* 3 FETCH (BODY[HEADER.FIELDS (A)] {8}\r\nA: b\r\n\r\n)\r\n");
    }

    #[test]
    fn absent_part_is_nil() {
        assert_eq!(fetched("BODY[4.2]", "A: b\r\n\r\nx"), "* 3 FETCH (BODY[4.2] NIL)\r\n");
    }

    #[test]
    fn only_reading_the_text_marks_seen() {
        let of = |atom: &str| marks_seen(&items(&Value::Atom(atom.to_owned())).unwrap());
        assert!(of("BODY[]") && of("RFC822"));
        assert!(!of("BODY.PEEK[]") && !of("ENVELOPE") && !of("RFC822.HEADER"));
    }

    #[test]
    fn unknown_item_is_refused() {
        assert!(items(&Value::Atom("BOGUS".into())).is_none());
        assert!(items(&Value::Atom("BODY[BOGUS]".into())).is_none());
    }
}

//! SELECT, and what is done with messages.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::command::{Command, Value};
use super::super::fetch::{self, Item};
use super::super::mailbox::{Mailbox, sequence_set, set_text};
use super::super::message::parse_date_time;
use super::super::search::{self, Last};
use super::super::session::{Selected, flags};
use super::super::store::unix_now;
use super::{Answer, Reply, Scene};

const SYSTEM_FLAGS: &str = "\\Answered \\Flagged \\Draft \\Deleted \\Seen";
const GONE: &str = "Mailbox does not exist";

pub(super) fn select(scene: &mut Scene<'_>, arguments: &[Value], read_only: bool) -> Answer {
    let name = scene.name(arguments.first()).ok_or_else(|| Reply::bad("a mailbox is missing"))?;
    scene.session.selected = None;
    let may_write = scene.rights(&name).chars().any(|c| "switek".contains(c));
    let read_only = read_only || !may_write;
    let mailbox = scene.allowed(&name, 'r')?;
    let keywords = mailbox.keywords().into_iter().fold(String::new(), |text, k| text + " " + k);
    let permanent = if read_only { String::new() } else { format!("{SYSTEM_FLAGS}{keywords} \\*") };
    let mut lines = vec![
        format!("* {} EXISTS", mailbox.messages.len()),
        "* 0 RECENT".to_owned(),
        format!("* FLAGS ({SYSTEM_FLAGS}{keywords})"),
        format!("* OK [PERMANENTFLAGS ({permanent})] Ok"),
    ];
    if let Some(at) = mailbox.messages.iter().position(|m| !m.flags.contains("\\Seen")) {
        lines.push(format!("* OK [UNSEEN {}] Ok", at + 1));
    }
    lines.push(format!("* OK [UIDVALIDITY {}] Ok", mailbox.uid_validity));
    lines.push(format!("* OK [UIDNEXT {}] Ok", mailbox.uid_next));
    lines.push(format!("* OK [HIGHESTMODSEQ {}] Ok", mailbox.modseq));
    let view = mailbox.messages.iter().map(|m| m.uid).collect();
    let modseq = mailbox.modseq;
    for line in lines {
        scene.write(&line);
    }
    scene.session.selected = Some(Selected { name, read_only, view, modseq, saved: BTreeSet::new() });
    Ok(Reply::ok(if read_only { "[READ-ONLY] Completed" } else { "[READ-WRITE] Completed" }))
}

/// The messages that the first argument names.
fn chosen(selected: &Selected, command: &Command) -> Result<Vec<(usize, u32)>, Reply> {
    let text = command.arguments.first().and_then(Value::text);
    if text.as_deref() == Some("$") {
        return Ok(selected.saved());
    }
    let set = text.and_then(|text| sequence_set(&text, selected.last(command.uid)));
    let set = set.ok_or_else(|| Reply::Bad(format!("Invalid sequence in {}", command.verb)))?;
    let chosen = selected.chosen(&set, command.uid);
    if chosen.is_empty() && !command.uid {
        return Err(Reply::no("No matching messages"));
    }
    Ok(chosen)
}

fn selected(scene: &Scene<'_>) -> Result<Selected, Reply> {
    scene.session.selected.clone().ok_or_else(|| Reply::bad("Please select a mailbox first"))
}

fn writable(scene: &Scene<'_>) -> Result<Selected, Reply> {
    let selected = selected(scene)?;
    if selected.read_only { Err(Reply::no("Permission denied")) } else { Ok(selected) }
}

fn mailbox<'a>(scene: &'a mut Scene<'_>, name: &str) -> Result<&'a mut Mailbox, Reply> {
    scene.hall.store.mailboxes.get_mut(name).ok_or_else(|| Reply::no(GONE))
}

pub(super) fn fetch(scene: &mut Scene<'_>, command: &Command) -> Answer {
    let selected = selected(scene)?;
    let numbers = chosen(&selected, command)?;
    let items = command.arguments.get(1).and_then(fetch::items);
    let mut items = items.ok_or_else(|| Reply::bad("unknown item in FETCH"))?;
    let since = changed_since(command.arguments.get(2))?;
    if command.uid && !items.contains(&Item::Uid) {
        items.insert(0, Item::Uid);
    }
    if since.is_some() && !items.contains(&Item::Modseq) {
        items.push(Item::Modseq);
    }
    let marks_seen = !selected.read_only && fetch::marks_seen(&items);
    let Some(mailbox) = scene.hall.store.mailboxes.get_mut(&selected.name) else {
        return Err(Reply::no(GONE));
    };
    for (number, uid) in numbers {
        if marks_seen && let Some(mut flags) = mailbox.find(uid).map(|m| m.flags.clone()) {
            flags.insert("\\Seen".to_owned());
            mailbox.set_flags(uid, flags);
        }
        if let Some(message) = mailbox.find(uid).filter(|m| since.is_none_or(|since| m.modseq > since)) {
            fetch::write(number, message, &items, scene.out);
        }
    }
    Ok(Reply::ok("Completed"))
}

/// `(CHANGEDSINCE n)` (RFC 7162 section 3.1.4.1).
fn changed_since(modifiers: Option<&Value>) -> Result<Option<u64>, Reply> {
    match modifiers {
        None => Ok(None),
        Some(Value::List(list)) => match &list[..] {
            [word, number] if word.is("CHANGEDSINCE") => {
                let number = number.text().and_then(|n| n.parse().ok());
                number.map(Some).ok_or_else(|| Reply::bad("CHANGEDSINCE wants a number"))
            }
            _ => Err(Reply::bad("unknown modifier in FETCH")),
        },
        Some(Value::Atom(_) | Value::Text(_)) => Err(Reply::bad("unexpected argument to FETCH")),
    }
}

pub(super) fn store(scene: &mut Scene<'_>, command: &Command) -> Answer {
    let selected = writable(scene)?;
    let numbers = chosen(&selected, command)?;
    let word = command.arguments.get(1).and_then(Value::text).unwrap_or_default().to_ascii_uppercase();
    let (word, silent) = word.strip_suffix(".SILENT").map_or((word.as_str(), false), |w| (w, true));
    if !["FLAGS", "+FLAGS", "-FLAGS"].contains(&word) {
        return Err(Reply::bad("STORE wants FLAGS"));
    }
    let given = flags_of(&command.arguments[2..]).ok_or_else(|| Reply::bad("unknown flag in STORE"))?;
    let mailbox = mailbox(scene, &selected.name)?;
    let before = mailbox.modseq;
    for (_, uid) in &numbers {
        let Some(old) = mailbox.find(*uid).map(|m| m.flags.clone()) else { continue };
        let new = match &word[..1] {
            "+" => old.union(&given).cloned().collect(),
            "-" => old.difference(&given).cloned().collect(),
            _ => given.clone(),
        };
        mailbox.set_flags(*uid, new);
    }
    let after = mailbox.modseq;
    if let Some(selected) = scene.session.selected.as_mut().filter(|s| silent && s.modseq == before) {
        // Nothing else was untold: the client knows what it asked for.
        selected.modseq = after;
    }
    Ok(Reply::ok("Completed"))
}

fn flags_of(values: &[Value]) -> Option<BTreeSet<String>> {
    let words: Vec<String> =
        values.iter().flat_map(Value::members).map(Value::text).collect::<Option<_>>()?;
    flags(words.iter().map(String::as_str))
}

pub(super) fn search(scene: &mut Scene<'_>, command: &Command) -> Answer {
    let selected = selected(scene)?;
    let number = selected.last(false);
    let last = Last { number, uid: selected.last(true) };
    let (saves, criteria) = match &command.arguments[..] {
        [word, Value::List(options), criteria @ ..] if word.is("RETURN") => match &options[..] {
            [save] if save.is("SAVE") => (true, criteria),
            _ => return Err(Reply::bad("SEARCH returns nothing but SAVE")),
        },
        criteria => (false, criteria),
    };
    let key = search::parse(criteria, last).ok_or_else(|| Reply::bad("Invalid Search criteria"))?;
    let mailbox = mailbox(scene, &selected.name)?;
    let mut saved = BTreeSet::new();
    let mut text = "* SEARCH".to_owned();
    for (number, uid) in (1_u32..).zip(&selected.view) {
        if mailbox.find(*uid).is_some_and(|m| key.holds(number, m)) {
            text += &format!(" {}", if command.uid { *uid } else { number });
            saved.insert(*uid);
        }
    }
    match scene.session.selected.as_mut().filter(|_| saves) {
        Some(selected) => selected.saved = saved,
        None => scene.write(&text),
    }
    Ok(Reply::ok("Completed"))
}

/// What becomes of copied messages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Keep,
    Remove,
}

pub(super) fn copy(scene: &mut Scene<'_>, command: &Command, then: Then) -> Answer {
    let selected = if then == Then::Remove { writable(scene)? } else { selected(scene)? };
    let numbers = chosen(&selected, command)?;
    let to = scene.name(command.arguments.get(1)).ok_or_else(|| Reply::bad("a mailbox is missing"))?;
    let source = mailbox(scene, &selected.name)?;
    let copies: Vec<_> = numbers.iter().filter_map(|(_, uid)| source.find(*uid).cloned()).collect();
    let target = destination(scene, &to)?;
    let pairs: Vec<(u32, u32)> =
        copies.into_iter().map(|m| (m.uid, target.append(m.body, m.flags, m.date))).collect();
    let validity = target.uid_validity;
    let (from, made): (Vec<u32>, Vec<u32>) = pairs.iter().copied().unzip();
    if pairs.is_empty() {
        return Ok(Reply::ok("Completed"));
    }
    let code = format!("[COPYUID {validity} {} {}]", set_text(&from), set_text(&made));
    if then == Then::Keep {
        return Ok(Reply::Ok(format!("{code} Completed")));
    }
    scene.write(&format!("* OK {code} Completed"));
    mailbox(scene, &selected.name)?.expunge(&from.into_iter().collect());
    Ok(Reply::ok("Completed"))
}

/// A mailbox to put messages into.
fn destination<'a>(scene: &'a mut Scene<'_>, name: &str) -> Result<&'a mut Mailbox, Reply> {
    let mine = super::owner(name) == Some(&scene.user.name);
    if !scene.hall.store.mailboxes.contains_key(name) && mine {
        return Err(Reply::no("[TRYCREATE] Mailbox does not exist"));
    }
    scene.allowed(name, 'i')
}

pub(super) fn append(scene: &mut Scene<'_>, arguments: &[Value]) -> Answer {
    let name = scene.name(arguments.first()).ok_or_else(|| Reply::bad("APPEND wants a mailbox"))?;
    let messages = appended(&arguments[1..]).ok_or_else(|| Reply::bad("APPEND wants messages"))?;
    if messages.iter().any(|(_, _, body)| body.is_empty()) {
        return Err(Reply::no("Zero-length message literal"));
    }
    let target = destination(scene, &name)?;
    let uids: Vec<u32> =
        messages.into_iter().map(|(flags, date, body)| target.append(body, flags, date)).collect();
    let validity = target.uid_validity;
    Ok(Reply::Ok(format!("[APPENDUID {validity} {}] Completed", set_text(&uids))))
}

type Appended = (BTreeSet<String>, i64, Arc<[u8]>);

/// `*([flags] [date-time] literal)` (RFC 3502).
fn appended(values: &[Value]) -> Option<Vec<Appended>> {
    let mut messages = Vec::new();
    let mut rest = values;
    while !rest.is_empty() {
        let mut given = BTreeSet::new();
        if let [Value::List(words), behind @ ..] = rest {
            given = flags_of(words)?;
            rest = behind;
        }
        let mut date = unix_now();
        if let [Value::Text(text), behind @ ..] = rest
            && let Some(parsed) = std::str::from_utf8(text).ok().and_then(parse_date_time)
        {
            (date, rest) = (parsed, behind);
        }
        let [Value::Text(body), behind @ ..] = rest else { return None };
        messages.push((given, date, Arc::from(body.as_slice())));
        rest = behind;
    }
    if messages.is_empty() { None } else { Some(messages) }
}

pub(super) fn expunge(scene: &mut Scene<'_>, command: &Command) -> Answer {
    let selected = writable(scene)?;
    let within: BTreeSet<u32> = match command.uid {
        true => chosen(&selected, command)?.into_iter().map(|(_, uid)| uid).collect(),
        false => selected.view.iter().copied().collect(),
    };
    remove_deleted(scene, &selected, &within)?;
    Ok(Reply::ok("Completed"))
}

fn remove_deleted(scene: &mut Scene<'_>, selected: &Selected, within: &BTreeSet<u32>) -> Result<(), Reply> {
    let mailbox = mailbox(scene, &selected.name)?;
    let deleted = mailbox.messages.iter().filter(|m| m.flags.contains("\\Deleted")).map(|m| m.uid);
    let deleted: BTreeSet<u32> = deleted.filter(|uid| within.contains(uid)).collect();
    if !deleted.is_empty() {
        mailbox.expunge(&deleted);
    }
    Ok(())
}

pub(super) fn close(scene: &mut Scene<'_>) -> Answer {
    let selected = selected(scene)?;
    if !selected.read_only {
        let within = selected.view.iter().copied().collect();
        remove_deleted(scene, &selected, &within)?;
    }
    scene.session.selected = None;
    Ok(Reply::ok("Completed"))
}

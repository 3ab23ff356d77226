//! LIST, LSUB, SUBSCRIBE and STATUS.

use super::super::command::{Value, astring};
use super::super::mailbox::{external, matches};
use super::{Answer, Reply, Scene};

/// Mailboxes that the user may look up, as he names them.
fn visible(scene: &Scene<'_>) -> Vec<String> {
    let all = scene.hall.store.mailboxes.keys().filter(|name| scene.rights(name).contains('l'));
    let mut names: Vec<String> = all.map(|name| external(name, &scene.user.name)).collect();
    names.sort();
    names
}

/// Splits `[(selection)] reference pattern [RETURN (...)]`.
fn patterns(arguments: &[Value]) -> Option<Vec<String>> {
    let arguments = match arguments {
        [Value::List(_), rest @ ..] => rest,
        all => all,
    };
    let [reference, pattern, ..] = arguments else { return None };
    let reference = reference.text()?;
    let text = |p: &Value| Some(format!("{reference}{}", p.text()?));
    pattern.members().iter().map(text).collect()
}

pub(super) fn list(scene: &mut Scene<'_>, arguments: &[Value]) -> Answer {
    let patterns = patterns(arguments).ok_or_else(|| Reply::bad("LIST wants a reference and a pattern"))?;
    if patterns.iter().all(String::is_empty) {
        scene.write("* LIST (\\Noselect) \".\" \"\"");
        return Ok(Reply::ok("Completed"));
    }
    let names = visible(scene);
    let subscribed_only = arguments.first().is_some_and(|a| match a {
        Value::List(options) => options.iter().any(|o| o.is("SUBSCRIBED")),
        Value::Atom(_) | Value::Text(_) => false,
    });
    for name in &names {
        if !patterns.iter().any(|p| matches(p.as_bytes(), name.as_bytes())) {
            continue;
        }
        if subscribed_only && !is_subscribed(scene, name) {
            continue;
        }
        let inside = format!("{name}.");
        let children = names.iter().any(|other| other.starts_with(&inside));
        let attribute = if children { "\\HasChildren" } else { "\\HasNoChildren" };
        let mark = if subscribed_only { "\\Subscribed " } else { "" };
        scene.write(&format!("* LIST ({mark}{attribute}) \".\" {}", astring(name)));
    }
    Ok(Reply::ok("Completed"))
}

fn is_subscribed(scene: &Scene<'_>, external_name: &str) -> bool {
    let internal = super::internal(external_name, &scene.user.name);
    scene.hall.store.subscriptions.get(&scene.user.name).is_some_and(|names| names.contains(&internal))
}

pub(super) fn lsub(scene: &mut Scene<'_>, arguments: &[Value]) -> Answer {
    let patterns = patterns(arguments).ok_or_else(|| Reply::bad("LSUB wants a reference and a pattern"))?;
    let user = scene.user.name.clone();
    let names = scene.store().subscriptions.get(&user).cloned().unwrap_or_default();
    for name in names.iter().map(|name| external(name, &user)) {
        if patterns.iter().any(|p| matches(p.as_bytes(), name.as_bytes())) {
            scene.write(&format!("* LSUB () \".\" {}", astring(&name)));
        }
    }
    Ok(Reply::ok("Completed"))
}

/// Any name may be subscribed to: the mailbox may live on another server.
pub(super) fn subscribe(scene: &mut Scene<'_>, arguments: &[Value], on: bool) -> Answer {
    let name = scene.name(arguments.first()).ok_or_else(|| Reply::bad("a mailbox is missing"))?;
    let user = scene.user.name.clone();
    let names = scene.store().subscriptions.entry(user).or_default();
    if on {
        names.insert(name);
    } else {
        names.remove(&name);
    }
    Ok(Reply::ok("Completed"))
}

pub(super) fn status(scene: &mut Scene<'_>, arguments: &[Value]) -> Answer {
    let [mailbox, Value::List(items)] = arguments else {
        return Err(Reply::bad("STATUS wants a mailbox and items"));
    };
    let name = scene.name(Some(mailbox)).ok_or_else(|| Reply::bad("STATUS wants a mailbox"))?;
    let found = scene.allowed(&name, 'r')?;
    let mut values = Vec::new();
    for item in items {
        let word = item.text().unwrap_or_default().to_ascii_uppercase();
        let value = match word.as_str() {
            "MESSAGES" => found.messages.len() as u64,
            "RECENT" => 0,
            "UIDNEXT" => found.uid_next.into(),
            "UIDVALIDITY" => found.uid_validity.into(),
            "UNSEEN" => found.unseen() as u64,
            "HIGHESTMODSEQ" => found.modseq,
            "SIZE" => found.messages.iter().map(|m| m.body.len() as u64).sum(),
            _ => return Err(Reply::bad("unknown STATUS item")),
        };
        values.push(format!("{word} {value}"));
    }
    let outside = astring(&external(&name, &scene.user.name));
    scene.write(&format!("* STATUS {outside} ({})", values.join(" ")));
    Ok(Reply::ok("Completed"))
}

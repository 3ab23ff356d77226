//! What stands in commands, and how names are typed (standard namespace).

use protocols::wire::literal;

use crate::flags::Flags;

/// The mod-sequence of `(QRESYNC (uidvalidity mod-sequence))`.
pub(crate) fn since(arguments: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(arguments).into_owned();
    let (_, numbers) = text.split_once("(QRESYNC (")?;
    numbers.split_once(' ')?.1.trim_end_matches(')').parse().ok()
}

/// The first argument, and what stands behind it.
pub(crate) fn split(arguments: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(arguments).into_owned();
    match text.split_once(' ') {
        Some((first, rest)) => (first.to_owned(), rest.to_owned()),
        None => (text, String::new()),
    }
}

/// Whether a user may see a mailbox: his own, and those that are open to all.
pub(crate) fn may_see(user: &str, name: &str) -> bool {
    !name.starts_with("user.") || name.ends_with(".Team") || outer(user, name) != name
}

/// The quota root of a mailbox: its user's, or itself.
pub(crate) fn root_of(name: &str) -> String {
    let is_users = name.starts_with("user.");
    if is_users { name.splitn(3, '.').take(2).collect::<Vec<_>>().join(".") } else { name.to_owned() }
}

/// The internal name behind what a user types (standard namespace).
pub(crate) fn inner(user: &str, name: &str) -> String {
    match name.get(..5) {
        Some(inbox) if inbox.eq_ignore_ascii_case("inbox") => format!("user.{user}{}", &name[5..]),
        _ => name.to_owned(),
    }
}

pub(crate) fn outer(user: &str, name: &str) -> String {
    match name.strip_prefix(&format!("user.{user}")) {
        Some(rest) => format!("INBOX{rest}"),
        None => name.to_owned(),
    }
}

/// The length announced by the last line before a literal.
pub(crate) fn announced_before(head: &[u8]) -> Option<usize> {
    let line = head.strip_suffix(b"\r\n")?;
    usize::try_from(literal::at_line_end(line)?.len).ok()
}

/// The flags and the internal date before a literal of APPEND; a client that gives none gets none.
pub(crate) fn head_of_append(head: &[u8]) -> (Flags, String) {
    let head = String::from_utf8_lossy(head);
    (Flags::read(between(&head, '(', ')')), head.rsplit('"').nth(1).unwrap_or_default().to_owned())
}

/// What stands between the first of one sign and the first of another behind it.
pub(crate) fn between(text: &str, open: char, close: char) -> &str {
    let (_, rest) = text.split_once(open).unwrap_or_default();
    rest.split_once(close).map_or("", |(inner, _)| inner)
}

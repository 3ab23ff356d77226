//! The site that the murder serves, as it is before anything happens: its backends, users and mailboxes, who may do
//! what, and by which passwords servers know each other.

use protocols::proxy::{Change, Entry, Location};

use crate::boxes::names_of;

/// Servers that store mail.
pub(crate) const BACKENDS: usize = 3;

/// Users who stay where they are.
pub(crate) const USERS: usize = 4;

/// Users who are moved from backend to backend.
pub(crate) const RESIDENTS: usize = 2;

/// The administrator.
pub(crate) const ADMIN: &str = "admin";

/// The root of a tree on several servers.
pub(crate) const SPREAD: &str = "dept";

/// The password of the frontends' proxy user.
pub(crate) const PROXY_PASSWORD: &str = "proxy-secret";

/// One who stays where he is.
pub(crate) fn user(n: usize) -> String {
    format!("user{n}")
}

/// One who is moved.
pub(crate) fn resident(n: usize) -> String {
    format!("moved{n}")
}

/// The mailboxes of a user who is moved; the second is everybody's.
pub(crate) fn rooms(n: usize) -> [String; 2] {
    [format!("user.{}", resident(n)), format!("user.{}.Team", resident(n))]
}

/// Where mailboxes live at first: each user's at his home, each shared one at a backend of its own.
pub(crate) fn mailboxes() -> Vec<(String, usize)> {
    let mut all = Vec::new();
    for n in 0..RESIDENTS {
        all.extend(rooms(n).map(|name| (name, n % BACKENDS)));
    }
    for n in 0..USERS {
        all.push((format!("user.{}", user(n)), n % BACKENDS));
        all.push((format!("user.{}.Sent", user(n)), n % BACKENDS));
        all.extend(names_of(&user(n)).into_iter().take(1).map(|name| (name, n % BACKENDS)));
    }
    for n in 0..BACKENDS {
        all.push((format!("shared{n}"), n));
        all.push((format!("{SPREAD}.part{n}"), n));
    }
    all.push((SPREAD.to_owned(), 0));
    all
}

/// What can be asked for its quota.
pub(crate) fn roots() -> Vec<String> {
    let residents = (0..RESIDENTS).map(|n| format!("user.{}", resident(n)));
    let users = (0..USERS).map(|n| format!("user.{}", user(n)));
    residents.chain(users).chain(["shared0".to_owned(), SPREAD.to_owned()]).collect()
}

/// The users whose home a backend is.
pub(crate) fn users_of(backend: usize) -> impl Iterator<Item = String> {
    (0..USERS).filter(move |n| n % BACKENDS == backend).map(user)
}

/// The name of a backend.
pub(crate) fn server(n: usize) -> String {
    format!("be{}", n + 1)
}

/// The ACL of a mailbox: its owner may do everything, and everybody nearly that where it is shared.
pub(crate) fn acl(name: &str) -> String {
    let mut acl = String::new();
    if let Some(owner) = name.strip_prefix("user.").and_then(|rest| rest.split('.').next()) {
        acl += &format!("{owner}\tlrswipkxtecdan\t");
    }
    if !name.starts_with("user.") || name.ends_with(".Team") {
        acl += "anyone\tlrswipkxtecd\t";
    }
    acl
}

/// A mailbox as the list has it.
pub(crate) fn entry(name: &str, at: usize) -> Change {
    Change::Active(Entry {
        name: name.as_bytes().into(),
        location: Location(format!("{}!default", server(at)).into_bytes().into()),
        acl: acl(name).into_bytes().into(),
    })
}

//! Questions and answers as scripts spell them.

use std::sync::Arc;

use protocols::mailbox::Rights;
use protocols::proxy::{
    Answer, BackendCapabilities, Entry, Finding, Freshness, HomeCopy, Knowledge, ListPage, ListedEntry,
    Location, OpenError, Opened, PasswordVerdict, Question, Service, Unavailable,
};

pub(crate) fn shown(question: &Question) -> String {
    match question {
        Question::OpenBackend { side, server, service: Service::Imap } => format!("open {} {server}", side.0),
        Question::OpenBackend { side, server, service } => {
            format!("open {} {server} {}", side.0, format!("{service:?}").to_lowercase())
        }
        Question::Find { name, freshness } => {
            let how = match freshness {
                Freshness::Snapshot => "snapshot",
                Freshness::BarrierIfAbsent => "sure",
                Freshness::BarrierOnce => "once",
                // What they differ in is the directory's: the answer of a list that is stale.
                Freshness::Barrier | Freshness::Proven => "barrier",
            };
            format!("find {} {how}", name.escape_ascii())
        }
        Question::List(query) => format!("list {}", query.prefix.escape_ascii()),
        Question::Barrier => "barrier".into(),
        Question::CheckPassword { user, password, .. } => {
            format!("password {} {}", user.escape_ascii(), password.expose().escape_ascii())
        }
        Question::Groups { user } => format!("groups {}", user.escape_ascii()),
        Question::HomeCopy { user } => format!("home-copy {}", user.escape_ascii()),
        Question::DomainOf { address } => format!("domain of {address}"),
        Question::ScramKeys { user, .. } => format!("scram-keys {}", user.escape_ascii()),
        Question::SaltPassword { iterations, .. } => format!("salt {iterations}"),
        Question::Capabilities { .. } => "capabilities".into(),
        Question::ServiceCapabilities(service) => format!("capabilities {service:?}").to_lowercase(),
        Question::Intend(_) => "intend".into(),
        Question::Errand(_) => "errand".into(),
        Question::Directory(_) => "directory".into(),
    }
}

/// A mailbox on the first server, with all rights.
fn listed(name: &str) -> ListedEntry {
    let (name, location) = name.split_once('=').unwrap_or((name, "be1!default"));
    let location = Location(location.as_bytes().into());
    let entry = Entry { name: name.as_bytes().into(), location, acl: [].into() };
    ListedEntry { entry, reserved: false, rights: Rights::ALL }
}

pub(crate) fn answered(text: &str) -> Option<Answer> {
    let words: Vec<&str> = text.split(' ').collect();
    let rest = || words[1..].iter().map(|word| Box::from(*word)).collect::<Vec<Box<str>>>();
    let location = |at: usize| Location(words.get(at).copied().unwrap_or("be1!default").as_bytes().into());
    Some(match words[0] {
        "opened" => Answer::Opened(Ok(Opened {
            host: (*words.get(1)?).into(),
            tls: words.contains(&"tls"),
            noauth: words.contains(&"noauth"),
        })),
        "not-opened" => Answer::Opened(Err(OpenError::Connect("be".into()))),
        "active" => Answer::Found(Finding::Active(Entry {
            name: words.get(1)?.as_bytes().into(),
            location: location(2),
            acl: words.get(3).copied().unwrap_or("").replace(',', "\t").into_bytes().into(),
        })),
        "page" => Answer::Page(ListPage {
            entries: words[1..].iter().map(|name| listed(name)).collect(),
            next: None,
            knowledge: Knowledge::Stale,
        }),
        "reserved" => Answer::Found(Finding::Reserved { location: location(1) }),
        "absent" => Answer::Found(Finding::Absent),
        "unknown" => Answer::Found(Finding::Unknown),
        "kept" => Answer::Intended(Ok(())),
        "barrier" => Answer::Barrier(if words.get(1) == Some(&"ok") { Ok(()) } else { Err(Unavailable) }),
        "accepted" => Answer::Password(PasswordVerdict::Accepted),
        "denied" => Answer::Password(PasswordVerdict::Denied),
        "unavailable" => Answer::Password(PasswordVerdict::Unavailable),
        "ask-backend" => Answer::Password(PasswordVerdict::AskBackend),
        "groups-unavailable" => Answer::Groups(Err(Unavailable)),
        "no-home-copy" => Answer::HomeCopy(HomeCopy::default()),
        "groups" => Answer::Groups(Ok(words[1..].iter().map(|word| word.as_bytes().into()).collect())),
        "domain" => Answer::Domain(words.get(1).map(|word| (*word).into())),
        "no-keys" => Answer::ScramKeys(None),
        "capabilities" => {
            let (home, common): (Vec<_>, Vec<_>) =
                rest().into_iter().partition(|item| item.starts_with("home:"));
            let common: Vec<Box<str>> = common.iter().map(|item| item.replace('_', " ").into()).collect();
            let home = home.iter().map(|item| item["home:".len()..].into()).collect();
            let servers = usize::from(!common.is_empty());
            Answer::Capabilities(Arc::new(BackendCapabilities { common, home, servers }))
        }
        _ => return None,
    })
}

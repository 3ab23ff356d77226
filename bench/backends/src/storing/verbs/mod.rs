//! The commands, by the state in which they are allowed.

mod folders;
mod list;
mod messages;
mod rights;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::accounts::{Accounts, CAPABILITIES};
use super::command::{Command, Value};
use super::mailbox::{Mailbox, internal, owner};
use super::notify::Watch;
use super::session::{Awaits, Session, User};
use super::store::{Registration, Store};

/// How a command ends.
pub(crate) enum Reply {
    Ok(String),
    No(String),
    Bad(String),
    /// LOGOUT.
    Goodbye,
    /// A continuation goes out; the session awaits something else than a command.
    Continue(Awaits, &'static str),
    /// OK once the master has accepted it.
    Register(Registration),
}

impl Reply {
    pub(crate) fn ok(text: &str) -> Reply {
        Reply::Ok(text.to_owned())
    }

    pub(crate) fn no(text: &str) -> Reply {
        Reply::No(text.to_owned())
    }

    pub(crate) fn bad(text: &str) -> Reply {
        Reply::Bad(text.to_owned())
    }

    /// Writes the last line, unless the master is asked first.
    pub(crate) fn finish(self, tag: &str, awaits: &mut Awaits, out: &mut Vec<u8>) -> Option<Registration> {
        let line = match self {
            Reply::Ok(text) => format!("{tag} OK {text}\r\n"),
            Reply::No(text) => format!("{tag} NO {text}\r\n"),
            Reply::Bad(text) => format!("{tag} BAD {text}\r\n"),
            Reply::Goodbye => {
                *awaits = Awaits::Nothing;
                format!("* BYE LOGOUT received\r\n{tag} OK Completed\r\n")
            }
            Reply::Continue(next, text) => {
                *awaits = next;
                format!("+ {text}\r\n")
            }
            Reply::Register(registration) => return Some(registration),
        };
        out.extend_from_slice(line.as_bytes());
        None
    }
}

/// What all sessions share.
pub(crate) struct Hall<'a> {
    pub(crate) accounts: &'a Accounts,
    pub(crate) store: &'a mut Store,
    /// Changes of the list can be told at the moment.
    pub(crate) master_is_reachable: bool,
}

/// What a verb of the authenticated state works on.
pub(crate) struct Scene<'a> {
    pub(crate) hall: Hall<'a>,
    pub(crate) session: &'a mut Session,
    pub(crate) user: User,
    pub(crate) out: &'a mut Vec<u8>,
}

impl Scene<'_> {
    fn store(&mut self) -> &mut Store {
        self.hall.store
    }

    /// The internal name of an argument.
    fn name(&self, value: Option<&Value>) -> Option<String> {
        Some(internal(value?.text()?.trim_end_matches('.'), &self.user.name))
    }

    /// Everything the user may do with a mailbox.
    fn rights(&self, name: &str) -> String {
        let Some(mailbox) = self.hall.store.mailboxes.get(name) else { return String::new() };
        let mut rights = mailbox.acl.rights(&self.user.name);
        let implicit = match (self.user.admin, owner(name) == Some(&self.user.name)) {
            (true, true) => "lkxan",
            (true, false) => "la",
            (false, true) => "lkxan",
            (false, false) => "",
        };
        rights.extend(implicit.chars().filter(|c| !rights.contains(*c)).collect::<Vec<_>>());
        rights
    }

    /// The mailbox, if the user may do this; else what he is told.
    fn allowed(&mut self, name: &str, right: char) -> Result<&mut Mailbox, Reply> {
        let rights = self.rights(name);
        match self.hall.store.mailboxes.get_mut(name) {
            Some(mailbox) if rights.contains(right) => Ok(mailbox),
            Some(_) if rights.contains('l') => Err(Reply::no("Permission denied")),
            Some(_) | None => Err(Reply::no("Mailbox does not exist")),
        }
    }

    fn write(&mut self, line: &str) {
        self.out.extend_from_slice(line.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Runs a command. Untagged responses are appended to `out`.
pub(crate) fn run(hall: Hall<'_>, session: &mut Session, command: &Command, out: &mut Vec<u8>) -> Reply {
    let arguments = &command.arguments;
    match (command.verb.as_str(), &session.user) {
        ("CAPABILITY", _) => {
            out.extend_from_slice(format!("* CAPABILITY {CAPABILITIES}\r\n").as_bytes());
            Reply::ok("Completed")
        }
        ("ID", _) => {
            out.extend_from_slice(b"* ID (\"name\" \"Rookery storing backend\")\r\n");
            Reply::ok("Completed")
        }
        ("LOGOUT", _) => Reply::Goodbye,
        ("NOOP", _) => Reply::ok("Completed"),
        ("LOGIN", None) => login(hall.accounts, session, arguments),
        ("AUTHENTICATE", None) => authenticate(hall.accounts, session, &command.tag, arguments),
        (_, None) => Reply::bad("Please login first"),
        ("LOGIN" | "AUTHENTICATE", Some(_)) => Reply::bad("Already logged in"),
        (_, Some(user)) => {
            let user = user.clone();
            let mut scene = Scene { hall, session, user, out };
            authenticated(&mut scene, command).unwrap_or_else(|reply| reply)
        }
    }
}

fn login(accounts: &Accounts, session: &mut Session, arguments: &[Value]) -> Reply {
    let [name, password] = arguments else { return Reply::bad("LOGIN wants a name and a password") };
    let (Some(name), Some(password)) = (name.text(), password.text()) else {
        return Reply::bad("LOGIN wants a name and a password");
    };
    session.user = accounts.user_of_login(&name, &password);
    match session.user {
        Some(_) => Reply::Ok(format!("[CAPABILITY {CAPABILITIES}] User logged in")),
        None => Reply::no("Login failed: authentication failure"),
    }
}

fn authenticate(accounts: &Accounts, session: &mut Session, tag: &str, arguments: &[Value]) -> Reply {
    let tag = tag.to_owned();
    match arguments {
        [mechanism] if mechanism.is("PLAIN") => Reply::Continue(Awaits::PlainResponse { tag }, ""),
        [mechanism] if mechanism.is("LOGIN") => Reply::Continue(Awaits::LoginName { tag }, "VXNlcm5hbWU6"),
        [mechanism, initial] if mechanism.is("PLAIN") => {
            let decoded = initial.text().and_then(|text| BASE64.decode(text).ok());
            let message = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
            session.user = accounts.user_of_plain(message.as_deref());
            match session.user {
                Some(_) => Reply::Ok(format!("[CAPABILITY {CAPABILITIES}] Success (no protection)")),
                None => Reply::no("authentication failure"),
            }
        }
        _ => Reply::no("no mechanism available"),
    }
}

type Answer = Result<Reply, Reply>;

fn authenticated(scene: &mut Scene<'_>, command: &Command) -> Answer {
    let arguments = &command.arguments;
    match command.verb.as_str() {
        "ENABLE" => Ok(enable(scene, arguments)),
        "NAMESPACE" => {
            scene.write("* NAMESPACE ((\"INBOX.\" \".\")) ((\"user.\" \".\")) ((\"\" \".\"))");
            Ok(Reply::ok("Completed"))
        }
        "LIST" => list::list(scene, arguments),
        "LSUB" => list::lsub(scene, arguments),
        "SUBSCRIBE" => list::subscribe(scene, arguments, true),
        "UNSUBSCRIBE" => list::subscribe(scene, arguments, false),
        "STATUS" => list::status(scene, arguments),
        "CREATE" => folders::create(scene, arguments),
        "DELETE" => folders::delete(scene, arguments),
        "RENAME" => folders::rename(scene, arguments),
        "GETACL" => rights::getacl(scene, arguments),
        "SETACL" => rights::setacl(scene, arguments),
        "DELETEACL" => rights::deleteacl(scene, arguments),
        "MYRIGHTS" => rights::myrights(scene, arguments),
        "LISTRIGHTS" => rights::listrights(scene, arguments),
        "GETQUOTAROOT" => rights::getquotaroot(scene, arguments),
        "GETQUOTA" => Ok(Reply::no("Quota root does not exist")),
        "SELECT" => messages::select(scene, arguments, false),
        "EXAMINE" => messages::select(scene, arguments, true),
        "APPEND" => messages::append(scene, arguments),
        "NOTIFY" => Ok(notify(scene, arguments)),
        "IDLE" => Ok(Reply::Continue(Awaits::IdleEnd { tag: command.tag.clone() }, "idling")),
        "FETCH" | "STORE" | "SEARCH" | "COPY" | "MOVE" | "EXPUNGE" | "CHECK" | "CLOSE" | "UNSELECT"
            if scene.session.selected.is_none() =>
        {
            Err(Reply::bad("Please select a mailbox first"))
        }
        "FETCH" => messages::fetch(scene, command),
        "STORE" => messages::store(scene, command),
        "SEARCH" => messages::search(scene, command),
        "COPY" => messages::copy(scene, command, messages::Then::Keep),
        "MOVE" => messages::copy(scene, command, messages::Then::Remove),
        "EXPUNGE" => messages::expunge(scene, command),
        "CHECK" => Ok(Reply::ok("Completed")),
        "CLOSE" => messages::close(scene),
        "UNSELECT" => {
            scene.session.selected = None;
            Ok(Reply::ok("Completed"))
        }
        _ => Err(Reply::bad("Unrecognized command")),
    }
}

/// Without STATUS what stands there is known.
fn notify(scene: &mut Scene<'_>, arguments: &[Value]) -> Reply {
    let user = scene.user.name.clone();
    let (groups, wants_status) = match arguments {
        [none] if none.is("NONE") => {
            scene.session.watch = None;
            return Reply::ok("Completed");
        }
        [set, status, groups @ ..] if set.is("SET") && status.is("STATUS") => (groups, true),
        [set, groups @ ..] if set.is("SET") => (groups, false),
        _ => return Reply::bad("NOTIFY wants SET or NONE"),
    };
    let Some(mut watch) = Watch::read(groups, &user) else { return Reply::bad("Invalid argument in Notify") };
    let selected = scene.session.selected.as_ref().map(|selected| &*selected.name);
    let mut now = Vec::new();
    watch.tell(&scene.hall.store.mailboxes, &user, selected, &mut now);
    if wants_status {
        scene.out.append(&mut now);
    }
    scene.session.watch = Some(watch);
    Reply::ok("Completed")
}

fn enable(scene: &mut Scene<'_>, arguments: &[Value]) -> Reply {
    if arguments.is_empty() {
        return Reply::bad("ENABLE wants a capability");
    }
    let condstore = arguments.iter().any(|a| a.is("CONDSTORE"));
    scene.write(if condstore { "* ENABLED CONDSTORE" } else { "* ENABLED" });
    Reply::ok("Completed")
}

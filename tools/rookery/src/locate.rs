//! `rookery locate`.

use engine::config;
use engine::control::{Ask, Connection, Mailbox, Program, State};
use protocols::mailbox::{Identity, Namespace};

use crate::common::Common;
use crate::exit::{Failure, Outcome};
use crate::list::cells;
use crate::output::{self, Form, Table};
use crate::socket;

/// Options of `rookery locate`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Mailboxes: internal names as in MUPDATE (user.fred.Sent), as administrators type them, or users
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Asks the frontend of this host, else its master, where mailboxes are.
///
/// # Errors
/// Nobody answers.
pub(crate) fn run(options: &Options, common: &Common, form: Form) -> Result<Outcome, Failure> {
    let namespace = namespace(common)?;
    let mut daemon = socket::open(common, &[Program::Rookeryd, Program::Mupdate])?;
    let mut out = output::stdout();
    let mut table = Table::new(&mut out, form, &["MAILBOX", "STATE", "SERVER", "PARTITION", "ACL"]);
    let (mut absent, mut unknown, mut found) = (0, 0, Vec::new());
    for name in &options.names {
        let mailbox = locate(&mut daemon, name, &namespace)?;
        match mailbox.state {
            State::Active | State::Reserved => {}
            State::Absent => absent += 1,
            State::Unknown => unknown += 1,
        }
        match form {
            Form::Json => found.push(mailbox),
            Form::Terminal | Form::Plain => table.row(cells(&mailbox))?,
        }
    }
    table.finish()?;
    for mailbox in &found {
        output::json(&mut out, mailbox)?;
    }
    Ok(match (absent, unknown) {
        (0, 0) => Outcome::Fine,
        (_, 0) => Outcome::Differences,
        (_, _) => Outcome::Incomplete,
    })
}

/// How names look here. Without a configuration, where `--socket` says whom to ask, as by default.
fn namespace(common: &Common) -> Result<Namespace, Failure> {
    match socket::imapd_conf(common) {
        Ok(imapd) => Ok(config::namespace(&imapd, &common.config.to_string_lossy())?),
        Err(_) if common.socket.is_some() => Ok(Namespace::default()),
        Err(failure) => Err(failure),
    }
}

/// Asks by every reading of a name until one is there.
fn locate(daemon: &mut Connection, name: &str, namespace: &Namespace) -> Result<Mailbox, Failure> {
    let mut first = None;
    for name in readings(name, namespace) {
        let mailbox: Mailbox = daemon.ask_one(&Ask::Locate { name })?;
        if matches!(mailbox.state, State::Active | State::Reserved) {
            return Ok(mailbox);
        }
        first.get_or_insert(mailbox);
    }
    first.ok_or_else(|| Failure::Usage("a mailbox without a name".into()))
}

/// What a name may mean: itself, what an administrator would type, a user.
fn readings(name: &str, namespace: &Namespace) -> Vec<String> {
    let admin = Identity { user: (*b"admin").into(), is_admin: true, ..Identity::default() };
    let typed = namespace.internal(name.as_bytes(), &admin).ok();
    let user = namespace.canonical_user(name.as_bytes()).ok().map(|user| namespace.inbox(&user.user));
    let mut readings = vec![name.to_owned()];
    let others = [typed, user].into_iter().flatten().filter_map(|bytes| String::from_utf8(bytes).ok());
    readings.extend(others);
    readings.dedup();
    readings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_lists_administrators_and_users_have_them() {
        let unix = Namespace::default();
        assert_eq!(readings("user/fred/Sent", &unix)[..2], ["user/fred/Sent", "user.fred.Sent"]);
        assert!(readings("fred", &unix).contains(&"user.fred".to_owned()));
        assert!(readings("john.doe", &unix).contains(&"user.john^doe".to_owned()));
        assert_eq!(
            readings("user.fred", &Namespace { separator: b'.', ..Namespace::default() })[0],
            "user.fred"
        );
    }
}

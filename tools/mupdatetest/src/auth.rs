//! The login, shown as it goes.

use std::io::{BufRead, stdin};

use anyhow::Context;
use protocols::sasl::{self, Client, ClientStep, Credentials, Mechanism};
use protocols::secret::Secret;

use crate::options::Cli;
use crate::wire::{Wire, begins};
use crate::{say, show};

/// What libsasl calls a failure that it does not know more of.
const FAILED: &str = "generic failure";

/// No mechanism that is offered, or wanted, is there.
const NO_MECHANISM: &str = "no mechanism available";

/// Logs in; what failed, if it did.
pub(crate) fn authenticate(cli: &Cli, wire: &mut Wire) -> anyhow::Result<Option<&'static str>> {
    if cli.min_ssf > wire.security_bits() {
        return Ok(Some(NO_MECHANISM));
    }
    let Some(mechanism) = choose(cli, wire) else { return Ok(Some(NO_MECHANISM)) };
    let Ok(client) = Client::new(mechanism, credentials(cli, mechanism)?, client::random()?) else {
        return Ok(Some("bad parameters to function"));
    };
    exchange(cli, wire, mechanism, client)
}

/// `-m` may name several; without it the server's words are taken.
fn choose(cli: &Cli, wire: &Wire) -> Option<Mechanism> {
    let is_tls = wire.stream.is_tls();
    let Some(wanted) = &cli.mechanism else {
        let offered = wire.greeting.mechanisms.split(|byte| matches!(byte, b' ' | b'"'));
        return sasl::choose(offered, None, is_tls);
    };
    let names: Vec<&[u8]> = wanted.split([' ', ',']).map(str::as_bytes).collect();
    sasl::choose(names.iter().copied(), Some(&names), is_tls || names.len() == 1)
}

fn credentials(cli: &Cli, mechanism: Mechanism) -> anyhow::Result<Credentials> {
    let authname = cli.authname.clone().unwrap_or_else(login_name);
    let password = match (&cli.password, mechanism) {
        (Some(password), _) => Secret::new(password.as_bytes()),
        (None, Mechanism::External) => Secret::default(),
        (None, Mechanism::Plain | Mechanism::Login | Mechanism::ScramSha1 | Mechanism::ScramSha256) => ask()?,
    };
    // LOGIN has no place for whom to act for, and is asked for it by nobody.
    let authzid = cli.username.as_deref().filter(|_| mechanism.carries_authzid()).unwrap_or_default();
    Ok(Credentials {
        authzid: authzid.as_bytes().into(),
        authcid: authname.as_bytes().into(),
        realm: cli.realm.as_deref().map(|realm| realm.as_bytes().into()),
        password,
    })
}

/// Who runs the program, by `/etc/passwd`, else by what the environment says.
fn login_name() -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = name_of(&passwd, rustix::process::getuid().as_raw());
    let said = || std::env::var("LOGNAME").or_else(|_| std::env::var("USER"));
    name.map_or_else(|| said().unwrap_or_default(), str::to_owned)
}

/// `name:password:uid:...`.
fn name_of(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

/// Asks for the password; on a terminal it is not shown.
fn ask() -> anyhow::Result<Secret> {
    // Before it is asked for: who types quickly is not shown either.
    let before = rustix::termios::tcgetattr(stdin()).ok();
    if let Some(before) = &before {
        let mut quiet = before.clone();
        quiet.local_modes.remove(rustix::termios::LocalModes::ECHO);
        rustix::termios::tcsetattr(stdin(), rustix::termios::OptionalActions::Flush, &quiet)?;
    }
    let mut line = String::new();
    let asked = say("Please enter your password: ");
    let read = asked.and_then(|()| stdin().lock().read_line(&mut line));
    if let Some(before) = &before {
        rustix::termios::tcsetattr(stdin(), rustix::termios::OptionalActions::Flush, before)?;
        say("\n")?;
    }
    read.context("cannot read the password")?;
    Ok(Secret::new(line.trim_end_matches('\n').as_bytes()))
}

/// How a line of the server goes on with the exchange.
enum Line {
    Ok,
    No,
    Challenge(Secret),
    /// No base64.
    Broken,
}

fn exchange(
    cli: &Cli,
    wire: &mut Wire,
    mechanism: Mechanism,
    mut client: Client,
) -> anyhow::Result<Option<&'static str>> {
    let mut out = format!("A01 AUTHENTICATE \"{}\"", mechanism.name()).into_bytes();
    let initial = if cli.no_initial_response { None } else { client.initial() };
    if let Some(initial) = initial {
        initial_out(&mut out, &initial);
    }
    out.extend_from_slice(b"\r\n");
    loop {
        show(&[b"C: ", &out[..]].concat())?;
        wire.send(&out)?;
        let step = match answer(wire)? {
            Line::Ok if client.is_complete() => return Ok(None),
            Line::Ok => return Ok(Some("server failed mutual authentication step")),
            Line::No => return Ok(Some(FAILED)),
            Line::Broken => {
                say("base64 decoding error\n")?;
                return Ok(Some(FAILED));
            }
            Line::Challenge(challenge) => client.step(challenge.expose()),
        };
        out.clear();
        match step.and_then(|step| response(&mut client, step)) {
            Ok(response) => sasl::base64_out(&mut out, response.expose()),
            Err(_) => {
                wire.command("*")?;
                return Ok(Some(FAILED));
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// The initial response as imtest sends it: a literal, and for an empty one ` ={0+}`.
fn initial_out(out: &mut Vec<u8>, initial: &Secret) {
    if initial.expose().is_empty() {
        out.extend_from_slice(b" ={0+}\r\n");
        return;
    }
    let mut text = Vec::new();
    sasl::base64_out(&mut text, initial.expose());
    out.extend_from_slice(format!(" {{{}+}}\r\n", text.len()).as_bytes());
    out.extend_from_slice(&text);
}

/// Shows lines up to one that is for the exchange.
fn answer(wire: &mut Wire) -> anyhow::Result<Line> {
    let line = loop {
        let line = wire.line()?;
        if !line.starts_with(b"*") {
            break line;
        }
    };
    if begins(&line, "A01 OK") {
        return Ok(Line::Ok);
    }
    if begins(&line, "A01 NO") {
        return Ok(Line::No);
    }
    Ok(sasl::decode_base64(line.trim_ascii_end()).map_or(Line::Broken, Line::Challenge))
}

fn response(client: &mut Client, step: ClientStep) -> Result<Secret, sasl::SaslError> {
    match step {
        ClientStep::Response(response) => Ok(response),
        ClientStep::Done => Ok(Secret::default()),
        ClientStep::NeedSaltedPassword { hash, password, salt, iterations } => {
            let salted = client::salted_password(hash, &password, &salt, iterations)
                .ok_or(sasl::SaslError::Iterations { got: iterations })?;
            let step = client.salted_password(&salted)?;
            response(client, step)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_that_of_the_user_id() {
        let passwd = "root:x:0:0::/root:/bin/sh\nbroken\ncyrus:x:106:8:Cyrus:/var/spool/cyrus:/bin/sh\n";
        assert_eq!([0, 106, 8].map(|uid| name_of(passwd, uid)), [Some("root"), Some("cyrus"), None]);
    }
}

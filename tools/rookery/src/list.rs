//! `rookery list` and `rookery accept`.

use std::io::Write;

use engine::control::{Accepted, Ask, Mailbox, Program, State};

use crate::common::Common;
use crate::exit::{Failure, Outcome};
use crate::output::{self, Form, Table, grouped, shown, shown_acl};
use crate::socket;

/// Options of `rookery list`.
#[derive(clap::Args)]
#[command(after_help = "rookery list accept is rookery accept.")]
pub(crate) struct Options {
    /// Over internal names: * matches anything, % anything but a dot
    #[arg(default_value = "*", value_name = "PATTERN")]
    pattern: String,
}

/// Lists the mailboxes that match, in hierarchy order.
///
/// # Errors
/// Nobody answers.
pub(crate) fn run(options: &Options, common: &Common, form: Form) -> Result<Outcome, Failure> {
    // No mailbox is looked for by that name alone: its pattern would be written `accept*`.
    if options.pattern == "accept" {
        return accept(common, form);
    }
    let mut daemon = socket::open(common, &[Program::Rookeryd, Program::Mupdate])?;
    let mut out = output::stdout();
    let rows = daemon.ask::<Mailbox>(&Ask::List { pattern: options.pattern.clone() })?;
    if form == Form::Json {
        for mailbox in rows {
            output::json(&mut out, &mailbox?)?;
        }
        out.flush()?;
        return Ok(Outcome::Fine);
    }
    let mut table = Table::new(out, form, &["MAILBOX", "STATE", "SERVER", "PARTITION", "ACL"]);
    for mailbox in rows {
        table.row(cells(&mailbox?))?;
    }
    table.finish()?;
    Ok(Outcome::Fine)
}

/// Takes the dump that a frontend holds back.
///
/// # Errors
/// None is held back, or nobody answers.
pub(crate) fn accept(common: &Common, form: Form) -> Result<Outcome, Failure> {
    let mut daemon = socket::open(common, &[Program::Rookeryd, Program::Mupdate])?;
    let accepted: Accepted = daemon.ask_one(&Ask::Accept)?;
    let mut out = output::stdout();
    match form {
        Form::Json => output::json(&mut out, &accepted)?,
        Form::Terminal | Form::Plain => {
            let (deletes, of) = (grouped(accepted.dump.deletes), grouped(accepted.dump.of));
            writeln!(out, "accepted: {deletes} of {of} mailboxes leave the list")?;
        }
    }
    out.flush()?;
    Ok(Outcome::Fine)
}

/// The cells of a mailbox.
pub(crate) fn cells(mailbox: &Mailbox) -> Vec<String> {
    let state = match mailbox.state {
        State::Active => "active",
        State::Reserved => "reserved",
        State::Absent => "absent",
        State::Unknown => "unknown",
    };
    let text = |field: &Option<String>| shown(field.as_deref().unwrap_or_default().as_bytes());
    vec![
        shown(mailbox.name.as_bytes()),
        state.into(),
        text(&mailbox.server),
        text(&mailbox.partition),
        shown_acl(mailbox.acl.as_deref().unwrap_or_default()),
    ]
}

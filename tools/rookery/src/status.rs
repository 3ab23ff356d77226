//! `rookery status`.

use std::io::Write;

use engine::control::{Ask, Connection, Program, Status};

use crate::common::Common;
use crate::exit::{Failure, Outcome};
use crate::output::{self, Form, grouped, span};
use crate::socket;

/// Asks every daemon of this host how it is.
///
/// # Errors
/// None answers.
pub(crate) fn run(common: &Common, form: Form) -> Result<Outcome, Failure> {
    let mut out = output::stdout();
    let (mut statuses, mut silent) = (Vec::new(), Vec::new());
    for path in socket::paths(common, &[Program::Rookeryd, Program::Mupdate])? {
        match Connection::open(&path) {
            Ok(mut connection) => statuses.push(connection.ask_one::<Status>(&Ask::Status)?),
            Err(error) => silent.push(format!("{}: {error}", path.display())),
        }
    }
    if statuses.is_empty() {
        return Err(Failure::CannotAsk(format!("no daemon answers: {}", silent.join("; "))));
    }
    for status in &statuses {
        match form {
            Form::Json => output::json(&mut out, status)?,
            Form::Terminal | Form::Plain => write(&mut out, status)?,
        }
    }
    out.flush()?;
    let is_well = |status: &Status| status.knowledge == "live" && status.held_back.is_none();
    Ok(if statuses.iter().all(is_well) { Outcome::Fine } else { Outcome::Differences })
}

fn write(out: &mut impl Write, status: &Status) -> std::io::Result<()> {
    let program = status.program.name();
    writeln!(
        out,
        "{program} {}, process {}, up {}",
        status.version,
        status.pid,
        span(status.uptime_seconds)
    )?;
    let list =
        format!("{}, {} mailboxes, change {}", status.knowledge, grouped(status.mailboxes), status.sequence);
    writeln!(out, "  list       {list}")?;
    if let Some(source) = &status.source {
        writeln!(out, "  master     {source}")?;
    }
    if let Some(held) = &status.held_back {
        let (deletes, of, brought) = (grouped(held.deletes), grouped(held.of), grouped(held.brought));
        writeln!(
            out,
            "  held back  a list of {brought} that would delete {deletes} of {of}: see rookery accept"
        )?;
    }
    let sum: u64 = status.sessions.iter().sum();
    let shards: Vec<String> = status.sessions.iter().map(|count| grouped(*count)).collect();
    match shards.len() {
        0 => Ok(()),
        1 => writeln!(out, "  sessions   {}", grouped(sum)),
        _ => writeln!(out, "  sessions   {} ({} by shard)", grouped(sum), shards.join(" + ")),
    }
}

#[cfg(test)]
mod tests {
    use engine::control::HeldBackDump;

    use super::*;

    #[test]
    fn status_is_told_in_a_few_lines() {
        let mut status = Status {
            program: Program::Rookeryd,
            version: "0.1.0".into(),
            pid: 42,
            uptime_seconds: 90,
            source: Some("mupdate.example.com".into()),
            knowledge: "live".into(),
            mailboxes: 1_200_345,
            sequence: 7,
            held_back: None,
            sessions: vec![2, 1],
        };
        let text = |status: &Status| {
            let mut out = Vec::new();
            write(&mut out, status).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            text(&status),
            "rookeryd 0.1.0, process 42, up 1 min 30 s\n  list       live, 1,200,345 mailboxes, change 7\n  \
             master     mupdate.example.com\n  sessions   3 (2 + 1 by shard)\n"
        );
        status.held_back = Some(HeldBackDump { deletes: 400, of: 1000, brought: 600 });
        assert!(text(&status).contains("a list of 600 that would delete 400 of 1,000"));
    }
}

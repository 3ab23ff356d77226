//! `rookery check`.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use engine::config::{self, Fate, ProcessSecret, Review, Reviewed};
use serde::Serialize;

use crate::common::Common;
use crate::exit::{Failure, Outcome};
use crate::output::{self, Form, Table};

/// Options of `rookery check`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Services file
    #[arg(short = 'M', long = "services", value_name = "FILE", default_value = "/etc/cyrus.conf")]
    services: PathBuf,
    /// Leave out the lines that are simply honoured
    #[arg(short, long)]
    quiet: bool,
}

/// Says what becomes of every line of both files with rookeryd.
///
/// # Errors
/// Nobody reads what is printed.
pub(crate) fn run(options: &Options, common: &Common, form: Form) -> Result<Outcome, Failure> {
    let (imapd, cyrus) = (common.config.to_string_lossy(), options.services.to_string_lossy());
    let read = |path: &str| fs::read_to_string(path);
    let review = config::review(&imapd, &cyrus, &read, &ProcessSecret::default());
    let is_shown = |line: &&Reviewed| !options.quiet || line.fate != Fate::Honoured;
    let lines = review.lines.iter().filter(is_shown);
    let mut out = output::stdout();
    if form == Form::Json {
        for line in lines {
            output::json(&mut out, &JsonLine::of(line))?;
        }
    } else {
        let mut table = Table::new(&mut out, form, &["LINE", "OPTION", "IS", "WHY"]);
        for line in lines {
            table.row(cells(line))?;
        }
        table.finish()?;
    }
    out.flush()?;
    if let Some(problem) = &review.problem {
        return Err(Failure::Configuration(problem.to_string()));
    }
    summarise(&review);
    Ok(if review.is_safe() { Outcome::Fine } else { Outcome::Unguarded })
}

fn cells(line: &Reviewed) -> Vec<String> {
    let why = match (line.is_guard_lost, line.why.is_empty()) {
        (true, true) => "guards security".to_owned(),
        (true, false) => format!("guards security; {}", line.why),
        (false, _) => line.why.clone(),
    };
    vec![format!("{}:{}", line.file, line.line), line.what.clone(), line.fate.word().into(), why]
}

/// On standard error: it is no part of the table.
fn summarise(review: &Review) {
    let count = |fate: Fate| review.lines.iter().filter(|line| line.fate == fate).count();
    let lost = review.lines.iter().filter(|line| line.is_guard_lost).count();
    let (honoured, differ) = (count(Fate::Honoured), count(Fate::Differs));
    let (ignored, unknown) = (count(Fate::Ignored), count(Fate::Unknown));
    eprintln!(
        "{honoured} honoured, {differ} differ, {ignored} ignored ({lost} of them guard security), {unknown} unknown"
    );
}

/// A line as JSON.
#[derive(Serialize)]
struct JsonLine<'a> {
    file: &'a str,
    line: usize,
    what: &'a str,
    is: &'static str,
    why: &'a str,
    guards_security: bool,
}

impl<'a> JsonLine<'a> {
    fn of(line: &'a Reviewed) -> JsonLine<'a> {
        JsonLine {
            file: &line.file,
            line: line.line,
            what: &line.what,
            is: line.fate.word(),
            why: &line.why,
            guards_security: line.is_guard_lost,
        }
    }
}

//! How findings and plans are shown.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use protocols::mailbox::Namespace;
use serde::Serialize;

use super::apply::Fate;
use super::cause::cause;
use super::compare::{Comparison, Finding, Problem};
use super::model::{Murder, Said};
use super::plan::{Plan, Step, Was};
use crate::output::{self, Form, Table, grouped, mailboxes, shown, shown_acl};

/// Findings of one kind, and steps, that a terminal is shown unless it asks for all.
const ROWS_SHOWN_MAX: usize = 20;

/// How much is shown on a terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shown {
    /// The first of many.
    Some,
    /// Everything.
    All,
}

/// Shows what was found.
///
/// # Errors
/// Nobody reads.
pub(super) fn findings(
    out: &mut impl Write,
    form: Form,
    murder: &Murder,
    comparison: &Comparison,
    namespace: &Namespace,
    how: Shown,
) -> io::Result<()> {
    if form == Form::Json {
        for finding in &comparison.findings {
            output::json(out, &JsonFinding::of(finding, murder, namespace))?;
        }
        return output::json(out, &JsonSummary::of(murder, comparison));
    }
    let mut table = Table::new(&mut *out, form, &["MAILBOX", "PROBLEM", "MASTER SAYS", "OTHERS SAY"]);
    let mut seen: BTreeMap<Problem, Seen> = BTreeMap::new();
    let mut sorted: Vec<&Finding> = comparison.findings.iter().collect();
    sorted.sort_by_key(|finding| finding.problem);
    for finding in sorted {
        let seen = seen.entry(finding.problem).or_default();
        seen.count += 1;
        let cause = cause(finding, &murder.frontends, namespace);
        if form == Form::Plain {
            table.row(cells(finding, murder).into_iter().chain([cause]).collect())?;
            continue;
        }
        if how == Shown::All || seen.count <= ROWS_SHOWN_MAX {
            table.row(cells(finding, murder))?;
        }
        seen.causes.insert(cause);
    }
    table.finish()?;
    if form == Form::Terminal {
        causes(out, &seen, how)?;
        summary(out, murder, comparison)?;
    }
    Ok(())
}

/// Findings of one kind.
#[derive(Default)]
struct Seen {
    count: usize,
    causes: BTreeSet<String>,
}

fn cells(finding: &Finding, murder: &Murder) -> Vec<String> {
    let (master, held, frontends) = words(finding, murder);
    let others = if finding.problem == Problem::StaleFrontend { frontends } else { held };
    let others = if others.is_empty() { "-".to_owned() } else { others.join(", ") };
    let doubt = if finding.is_uncertain { "?" } else { "" };
    vec![shown(&finding.name), format!("{}{doubt}", finding.problem.word()), master, others]
}

/// What the master, backends and frontends say, in words: of rights only where they are the problem.
fn words(finding: &Finding, murder: &Murder) -> (String, Vec<String>, Vec<String>) {
    let is_about_rights = finding.problem == Problem::WrongAcl;
    let rights = |acl: &[u8]| match is_about_rights {
        true => format!(" [{}]", shown_acl(&String::from_utf8_lossy(acl))),
        false => String::new(),
    };
    let said = |said: &Said| match said {
        Said::Nothing => "-".to_owned(),
        Said::Reserved { location } => format!("reserved at {}", shown(&location.0)),
        Said::Active { location, acl } => format!("{}{}", shown(&location.0), rights(acl)),
    };
    let holder = |holder: &super::model::Holding| {
        let rights = holder.acl.as_ref().map(|acl| rights(acl)).unwrap_or_default();
        let moving = holder.moving_to.as_ref().map(|to| format!(" moving to {}", shown(to)));
        format!("{}{rights}{}", shown(&holder.location.0), moving.unwrap_or_default())
    };
    let frontend = |(at, says): &(usize, Said)| {
        let name = murder.frontends.get(*at).map_or("", |frontend| &*frontend.name);
        format!("{}: {}", shown(name.as_bytes()), said(says))
    };
    (
        said(&finding.master),
        finding.holders.iter().map(holder).collect(),
        finding.frontends.iter().map(frontend).collect(),
    )
}

/// How it may have come about, kind by kind.
fn causes(out: &mut impl Write, seen: &BTreeMap<Problem, Seen>, how: Shown) -> io::Result<()> {
    if seen.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nLikely causes:")?;
    for (problem, Seen { count, causes }) in seen {
        let more = match count.saturating_sub(ROWS_SHOWN_MAX) {
            more if more > 0 && how == Shown::Some => format!(", {} not shown (--all)", grouped(more as u64)),
            _ => String::new(),
        };
        let causes: Vec<&str> = causes.iter().map(String::as_str).collect();
        let text = format!("{} ({}{more}): {}", problem.word(), grouped(*count as u64), causes.join("; or "));
        paragraph(out, &shown(text.as_bytes()), 2)?;
    }
    writeln!(out)
}

fn summary(out: &mut impl Write, murder: &Murder, comparison: &Comparison) -> io::Result<()> {
    if comparison.omitted > 0 {
        let omitted = grouped(comparison.omitted as u64);
        writeln!(out, "{omitted} more findings: repair these and audit again")?;
    }
    if comparison.in_flux > 0 {
        writeln!(out, "{} changed meanwhile and not judged", mailboxes(comparison.in_flux))?;
    }
    if comparison.findings.iter().any(|finding| finding.is_uncertain) {
        writeln!(out, "?: a backend that was not read may explain it")?;
    }
    let names: Vec<&str> = murder.backends.iter().map(|backend| &*backend.name).collect();
    let (judged, read) = (mailboxes(comparison.judged), names.join(", "));
    let frontends: Vec<&str> = murder.frontends.iter().map(|frontend| &*frontend.name).collect();
    writeln!(out, "{judged} compared; backends: {read}; frontends: {}", list_or(&frontends, "none"))?;
    if !murder.unread.is_empty() {
        let unread: Vec<&str> = murder.unread.iter().map(|name| &**name).collect();
        writeln!(out, "not read: {}", shown(unread.join(", ").as_bytes()))?;
    }
    if comparison.findings.is_empty() {
        writeln!(out, "No differences.")?;
    }
    Ok(())
}

fn list_or(names: &[&str], none: &str) -> String {
    if names.is_empty() { none.to_owned() } else { shown(names.join(", ").as_bytes()) }
}

/// Shows a plan.
///
/// # Errors
/// Nobody reads.
pub(super) fn steps(out: &mut impl Write, form: Form, plan: &Plan, how: Shown) -> io::Result<()> {
    match form {
        Form::Json => plan.steps.iter().try_for_each(|step| output::json(out, &JsonStep { step })),
        Form::Plain => plan.steps.iter().try_for_each(|step| writeln!(out, "step\t{}", text(step))),
        Form::Terminal if plan.steps.is_empty() && plan.undecided == 0 => Ok(()),
        Form::Terminal => {
            writeln!(out, "\nRepair plan, in this order:")?;
            let limit = if how == Shown::All { usize::MAX } else { ROWS_SHOWN_MAX };
            let automatic = plan.steps.iter().filter(|step| step.is_automatic()).count();
            let (mut number, mut hidden) = (0, 0);
            for step in &plan.steps {
                number += 1;
                // What somebody must do is always shown.
                if step.is_automatic() && number > limit {
                    hidden += 1;
                } else {
                    write!(out, "{number:>4}. ")?;
                    paragraph(out, &text(step), 6)?;
                }
            }
            if hidden > 0 {
                writeln!(out, "      {} more (--all)", grouped(hidden))?;
            }
            if plan.undecided > 0 {
                writeln!(out, "Nothing about {} before all backends were read.", mailboxes(plan.undecided))?;
            }
            let by_hand = plan.steps.len() - automatic;
            writeln!(out, "--apply does {automatic} of them; {by_hand} are for your hands.")
        }
    }
}

/// Columns of a paragraph.
const COLUMNS: usize = 100;

/// A text in lines of at most [`COLUMNS`] columns where its words allow that; all but the first are
/// indented, and the first stands behind as much.
fn paragraph(out: &mut impl Write, text: &str, indent: usize) -> io::Result<()> {
    let mut column = indent;
    for (at, word) in text.split(' ').enumerate() {
        let width = word.chars().count();
        if at > 0 && column + 1 + width > COLUMNS {
            write!(out, "\n{:indent$}", "")?;
            column = indent;
        } else if at > 0 {
            write!(out, " ")?;
            column += 1;
        }
        write!(out, "{word}")?;
        column += width;
    }
    writeln!(out)
}

/// A step in words.
fn text(step: &Step) -> String {
    let was = |was: &Was| match was {
        Was::Absent => "nothing".to_owned(),
        Was::Reserved { location } => format!("reserved at {location}"),
        Was::Active { location, .. } => location.clone(),
    };
    let text = match step {
        Step::Activate { name, location, acl, was: before, why } => {
            format!("activate {name} at {location} [{}], was {}; because {why}", shown_acl(acl), was(before))
        }
        Step::Forget { name, was: before, why } => {
            format!("delete {name} from the master's list, was {}; because {why}", was(before))
        }
        Step::ByHand { at, what, why, mailboxes: count, names } => {
            let more = if *count > names.len() { ", ..." } else { "" };
            format!("on {at}, for {} ({}{more}): {what}; because {why}", mailboxes(*count), names.join(", "))
        }
    };
    shown(text.as_bytes())
}

/// Shows what became of a step.
///
/// # Errors
/// Nobody reads.
pub(super) fn fate(out: &mut impl Write, form: Form, step: &Step, fate: &Fate) -> io::Result<()> {
    let (word, why) = match fate {
        Fate::Done => ("done", ""),
        Fate::AlreadySo => ("already so", ""),
        Fate::Changed => ("skipped", "the master says something else than when the plan was made"),
        Fate::Refused(text) => ("refused", text.as_str()),
    };
    let name = match step {
        Step::Activate { name, .. } | Step::Forget { name, .. } => name.as_str(),
        Step::ByHand { at, .. } => at.as_str(),
    };
    match form {
        Form::Json => output::json(out, &JsonFate { applied: name, fate: word, why }),
        Form::Plain => {
            writeln!(out, "applied\t{}\t{word}\t{}", shown(name.as_bytes()), shown(why.as_bytes()))
        }
        Form::Terminal if why.is_empty() => writeln!(out, "{word}: {}", shown(name.as_bytes())),
        Form::Terminal => writeln!(out, "{word}: {}: {}", shown(name.as_bytes()), shown(why.as_bytes())),
    }
}

#[derive(Serialize)]
struct JsonFinding {
    mailbox: String,
    problem: &'static str,
    master: String,
    held_by: Vec<String>,
    frontends: Vec<String>,
    cause: String,
    is_uncertain: bool,
}

impl JsonFinding {
    fn of(finding: &Finding, murder: &Murder, namespace: &Namespace) -> JsonFinding {
        let (master, held_by, frontends) = words(finding, murder);
        JsonFinding {
            mailbox: String::from_utf8_lossy(&finding.name).into_owned(),
            problem: finding.problem.word(),
            master,
            held_by,
            frontends,
            cause: cause(finding, &murder.frontends, namespace),
            is_uncertain: finding.is_uncertain,
        }
    }
}

#[derive(Serialize)]
struct JsonSummary<'a> {
    judged: usize,
    findings: usize,
    omitted: usize,
    in_flux: usize,
    backends: Vec<&'a str>,
    unread: Vec<&'a str>,
    frontends: Vec<&'a str>,
}

impl<'a> JsonSummary<'a> {
    fn of(murder: &'a Murder, comparison: &Comparison) -> JsonSummary<'a> {
        JsonSummary {
            judged: comparison.judged,
            findings: comparison.findings.len(),
            omitted: comparison.omitted,
            in_flux: comparison.in_flux,
            backends: murder.backends.iter().map(|backend| &*backend.name).collect(),
            unread: murder.unread.iter().map(|name| &**name).collect(),
            frontends: murder.frontends.iter().map(|frontend| &*frontend.name).collect(),
        }
    }
}

#[derive(Serialize)]
struct JsonStep<'a> {
    step: &'a Step,
}

#[derive(Serialize)]
struct JsonFate<'a> {
    applied: &'a str,
    fate: &'a str,
    why: &'a str,
}

#[cfg(test)]
mod tests {
    use super::super::compare::compare;
    use super::super::compare::tests::Bed;
    use super::super::plan::{Deletions, plan};
    use super::*;

    fn report(bed: &Bed, form: Form, how: Shown) -> String {
        let (comparison, namespace) = (compare(&bed.murder), Namespace::default());
        let plan = plan("m", &bed.murder, &comparison, &namespace, Deletions::Few);
        let mut out = Vec::new();
        findings(&mut out, form, &bed.murder, &comparison, &namespace, how).unwrap();
        steps(&mut out, form, &plan, how).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_murder_that_agrees_takes_two_lines() {
        let mut bed = Bed::new();
        bed.master(&["user.a@b1!p"]).backend("b1", &["user.a@b1!p"]);
        let text = report(&bed, Form::Terminal, Shown::Some);
        assert_eq!(text, "1 mailbox compared; backends: b1; frontends: none\nNo differences.\n");
        assert_eq!(report(&bed, Form::Plain, Shown::Some), "");
    }

    #[test]
    fn findings_causes_and_steps_fit_a_terminal() {
        let mut bed = Bed::new();
        bed.master(&["user.a@b1!p"]);
        bed.backend("b1", &["user.a@b1!p", "user.new@b1!p"]).backend("b2", &["user.a@b2!p"]);
        let text = report(&bed, Form::Terminal, Shown::Some);
        assert!(text.contains("user.a    double-owner       b1!p         b1!p, b2!p\n"), "{text}");
        assert!(text.contains("   1. activate user.new at b1!p [fred lrswipkxtecdan]"), "{text}");
        assert!(text.contains("   2. on b1 and b2, for 1 mailbox (user.a): where XFER of a user"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
    }

    #[test]
    fn many_findings_are_cut_short_unless_all_are_wanted() {
        let names: Vec<String> = (0..ROWS_SHOWN_MAX + 5).map(|n| format!("user.u{n}@b1!p")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut bed = Bed::new();
        bed.backend("b1", &names);
        let rows = |text: &str| text.lines().filter(|line| line.starts_with("user.u")).count();
        let some = report(&bed, Form::Terminal, Shown::Some);
        assert!(rows(&some) == ROWS_SHOWN_MAX && some.contains("(25, 5 not shown (--all))"), "{some}");
        assert_eq!(rows(&report(&bed, Form::Terminal, Shown::All)), names.len());
        assert_eq!(rows(&report(&bed, Form::Plain, Shown::Some)), names.len());
    }

    #[test]
    fn every_line_of_json_is_one() {
        let mut bed = Bed::new();
        bed.master(&["user.gone@b1!p"]).backend("b1", &["user.new@b1!p"]).frontend("f1", &[]);
        let text = report(&bed, Form::Json, Shown::Some);
        let rows: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let count = |key: &str| rows.iter().filter(|row| row.get(key).is_some()).count();
        assert_eq!((count("problem"), count("step")), (3, 3), "{text}");
    }
}

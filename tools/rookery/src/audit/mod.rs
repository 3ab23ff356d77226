//! `rookery audit` and `rookery repair`: what all backends hold, against the master's list, against
//! every frontend's.
//!
//! ```text
//!   gather ──> Murder ──compare──> findings ──plan──> steps ──report──> eyes, JSON, a file
//!     backends: IMAP or dumps                           └──apply──> MUPDATE at the master, each step
//!     master, frontends: MUPDATE or control sockets                  only if all is still as it was
//! ```

mod apply;
mod cause;
mod compare;
mod dump;
mod gather;
mod model;
mod plan;
mod report;

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use compare::{Comparison, Problem, compare};
use gather::Servers;
use model::Murder;
use plan::{Deletions, Plan, plan};
use report::Shown;

use crate::common::Common;
use crate::exit::{Failure, Outcome};
use crate::output::{self, Form};

/// How long a Cyrus frontend may be behind: its master pushes every five seconds.
const PUSH_DELAY: Duration = Duration::from_secs(6);

/// Options of `rookery audit`.
#[derive(clap::Args)]
#[command(
    after_help = "Passwords are those of the configuration file: mupdate_password, proxy_password, HOST_password.\n\
Without --apply nothing is changed. With it the master's list is corrected; mail is never deleted, and no \
backend is touched."
)]
pub(crate) struct Options {
    /// A backend to read beside those of serverlist and of the master's list
    #[arg(long, value_name = "SERVER")]
    pub(super) backend: Vec<String>,
    /// Read a backend from its mailboxes.db, or from what ctl_mboxlist -d wrote, instead of asking it
    #[arg(long, value_name = "SERVER=FILE", value_parser = server_and_file)]
    pub(super) dump: Vec<(String, PathBuf)>,
    /// A frontend: the host and port of its MUPDATE slave, or the path of its control socket; by default the one of
    /// this host
    #[arg(long, value_name = "HOST|PATH")]
    pub(super) frontend: Vec<String>,
    /// An administrator of the backends to act as; by default the first of `admins`
    #[arg(long, value_name = "USER")]
    pub(super) admin: Option<String>,
    /// Compare names and partitions only: reading the rights takes a command for every mailbox
    #[arg(long)]
    pub(super) no_acl: bool,
    /// Do not look again at frontends that differ, which may only be behind
    #[arg(long)]
    pub(super) no_wait: bool,
    /// Allow the plan to forget many mailboxes that a backend has no more
    #[arg(long)]
    accept_deletions: bool,
    /// Show every finding
    #[arg(long)]
    all: bool,
    /// Write the repair plan to a file, for rookery repair
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Carry out the plan after showing it
    #[arg(long)]
    apply: bool,
    /// Do not ask before
    #[arg(long, requires = "apply")]
    yes: bool,
}

/// Options of `rookery repair`.
#[derive(clap::Args)]
pub(crate) struct RepairOptions {
    /// What rookery audit --plan has written
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Carry it out; without this it is only shown
    #[arg(long)]
    apply: bool,
    /// Do not ask before
    #[arg(long, requires = "apply")]
    yes: bool,
}

fn server_and_file(text: &str) -> Result<(String, PathBuf), String> {
    let (server, file) = text.split_once('=').ok_or("expected SERVER=FILE")?;
    Ok((server.to_owned(), file.into()))
}

/// Compares, shows, and repairs when asked to.
///
/// # Errors
/// The master cannot be asked, or the configuration is wrong.
pub(crate) fn run(options: &Options, common: &Common, form: Form) -> Result<Outcome, Failure> {
    let servers = Servers::of(options, common)?;
    let (murder, comparison) = look(&servers, options)?;
    let deletions = if options.accept_deletions { Deletions::Any } else { Deletions::Few };
    let plan = plan(&servers.master_name(), &murder, &comparison, &servers.namespace, deletions);
    let shown = if options.all { Shown::All } else { Shown::Some };
    let mut out = output::stdout();
    report::findings(&mut out, form, &murder, &comparison, &servers.namespace, shown)?;
    report::steps(&mut out, form, &plan, shown)?;
    out.flush()?;
    drop(out);
    if let Some(path) = &options.plan {
        save(path, &plan)?;
    }
    let repaired = if options.apply { carry_out(&plan, &servers, form, options.yes)? } else { 0 };
    let open = comparison.findings.len() + comparison.omitted - repaired.min(comparison.findings.len());
    Ok(match (open, murder.unread.is_empty() && servers.all_frontends(&murder)) {
        (0, true) => Outcome::Fine,
        (0, false) => Outcome::Incomplete,
        (_, _) => Outcome::Differences,
    })
}

/// Shows a plan of a file, and carries it out when asked to.
///
/// # Errors
/// The file is no plan, or the master cannot be asked.
pub(crate) fn repair(options: &RepairOptions, common: &Common, form: Form) -> Result<Outcome, Failure> {
    let file = options.file.display();
    let text = fs::read(&options.file).map_err(|error| Failure::Usage(format!("{file}: {error}")))?;
    let plan: Plan = serde_json::from_slice(&text)
        .map_err(|error| Failure::Usage(format!("{file} is no plan: {error}")))?;
    let mut out = output::stdout();
    report::steps(&mut out, form, &plan, Shown::All)?;
    out.flush()?;
    drop(out);
    if !options.apply {
        return Ok(if plan.steps.is_empty() { Outcome::Fine } else { Outcome::Differences });
    }
    let servers = Servers::master_only(common)?;
    if servers.master_name() != plan.master {
        let own = servers.master_name();
        return Err(Failure::Usage(format!(
            "{file} is a plan for {}, the configuration says {own}",
            plan.master
        )));
    }
    let done = carry_out(&plan, &servers, form, options.yes)?;
    Ok(if done == plan.steps.len() { Outcome::Fine } else { Outcome::Differences })
}

/// Reads everything and compares it; what differs only at frontends is looked at again when a slow
/// push may explain it.
fn look(servers: &Servers, options: &Options) -> Result<(Murder, Comparison), Failure> {
    let started = Instant::now();
    let mut murder = servers.read()?;
    let comparison = compare(&murder);
    let is_stale = |finding: &compare::Finding| finding.problem == Problem::StaleFrontend;
    if options.no_wait || !comparison.findings.iter().any(is_stale) {
        return Ok((murder, comparison));
    }
    thread::sleep(PUSH_DELAY.saturating_sub(started.elapsed()));
    servers.read_frontends_again(&mut murder)?;
    let comparison = compare(&murder);
    Ok((murder, comparison))
}

fn save(path: &Path, plan: &Plan) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(plan).map_err(anyhow::Error::from)?;
    fs::write(path, text + "\n").map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

/// Carries out what is automatic, if the operator says so; how many steps were done.
fn carry_out(plan: &Plan, servers: &Servers, form: Form, yes: bool) -> Result<usize, Failure> {
    let steps = plan.steps.iter().filter(|step| step.is_automatic()).count();
    if steps == 0 || !(yes || is_agreed(steps)?) {
        return Ok(0);
    }
    let mut done = 0;
    let mut out = output::stdout();
    apply::apply(plan, servers, |step, fate| {
        done += usize::from(fate.is_done());
        report::fate(&mut out, form, step, &fate)
    })?;
    out.flush()?;
    Ok(done)
}

/// Asks on the terminal; without one nobody agrees.
fn is_agreed(steps: usize) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage("--apply without a terminal wants --yes too".into()));
    }
    eprint!("Carry out {steps} steps at the master? [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

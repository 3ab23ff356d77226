//! `rookery-bench run`.

use std::io::{IsTerminal, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use rustls::pki_types::ServerName;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use backends::net::pin;
use bench::load::{self, Plan, Point, Target, tls};
use bench::report::{self, Report};
use bench::scenario::{self, Scenario, Security, Template};

/// What is loaded, and what of the scenario is changed.
#[derive(Args)]
pub(super) struct Run {
    /// A scenario file, or the name of one that comes with the program.
    scenario: String,
    /// The server, `host:port`.
    #[arg(long, short)]
    target: String,
    /// Connections.
    #[arg(long, short = 'n')]
    connections: Option<usize>,
    /// Operations a second; 0 is a closed loop.
    #[arg(long)]
    rate: Option<f64>,
    /// Commands of a connection that may be unanswered.
    #[arg(long)]
    pipeline: Option<usize>,
    /// Seconds that are counted.
    #[arg(long)]
    seconds: Option<f64>,
    /// Seconds before.
    #[arg(long)]
    warm_up: Option<f64>,
    /// How connections are secured.
    #[arg(long, value_enum)]
    security: Option<Security>,
    /// Names of users, as `u{n}` or `user{n:3}`.
    #[arg(long)]
    user: Option<String>,
    /// Their passwords, as `secret` or `pw-{user}`.
    #[arg(long)]
    password: Option<String>,
    /// How many users.
    #[arg(long)]
    users: Option<usize>,
    /// The number of the first user.
    #[arg(long)]
    first_user: Option<usize>,
    /// Trusts the certificates in this file; without it, everybody.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The server's name in its certificate, if it is not that of the target.
    #[arg(long)]
    server_name: Option<String>,
    /// A process whose CPU time (or memory) is read, with its children.
    #[arg(long)]
    pid: Option<u32>,
    /// The core that the load keeps to.
    #[arg(long)]
    core: Option<usize>,
    /// Writes the figures as JSON; `-` is the standard output, in place of the table.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes a page with charts.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(super) fn run(arguments: &Run) -> Result<()> {
    if let Some(core) = arguments.core {
        pin(core).with_context(|| format!("cannot run on core {core}"))?;
    }
    let plan = Plan {
        target: target(arguments)?,
        scenario: scenario(arguments)?,
        pid: arguments.pid,
        progress: std::io::stderr().is_terminal().then_some(show as fn(&Point)),
        interrupted: Arc::default(),
    };
    if plan.scenario.hold {
        return idle(&plan);
    }
    let files = [&arguments.html, &arguments.json].into_iter().flatten();
    for path in files.filter(|path| path.as_os_str() != "-") {
        // What cannot be written is better known before than after.
        let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
        opened.with_context(|| format!("cannot write {}", path.display()))?;
    }
    let interrupted = &plan.interrupted;
    // The first ^C, or a terminal that goes away, ends the run with what it has; the second at once.
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(interrupted))?;
        signal_hook::flag::register(signal, Arc::clone(interrupted))?;
    }
    let outcome = load::run(&plan)?;
    if plan.progress.is_some() {
        // The terminal may be gone, here and below.
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    let report = Report::of(&plan.scenario, &arguments.target, &outcome);
    let write = |path: &PathBuf, text: String| {
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    if let Some(path) = &arguments.html {
        write(path, report::page(std::slice::from_ref(&report)))?;
    }
    match &arguments.json {
        Some(path) if path.as_os_str() == "-" => say(&(serde_json::to_string_pretty(&report)? + "\n")),
        Some(path) => {
            write(path, serde_json::to_string_pretty(&report)? + "\n")?;
            say(&report::summary(&report));
        }
        None => say(&report::summary(&report)),
    }
    let counted = outcome.elapsed.as_secs_f64();
    ensure!(!interrupted.load(Ordering::Relaxed), "interrupted: {counted:.1} s are told");
    Ok(())
}

fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Live progress: one line that is written over.
fn show(point: &Point) {
    let rate = point.done as f64 / point.seconds.max(1e-9);
    // The terminal may be gone; the run goes on.
    let _ = write!(
        std::io::stderr(),
        "\r\x1b[K{:6.1} s  {rate:10.0} ops/s  p50 {:>7} us  p99 {:>7} us  max {:>7} us  errors {}",
        point.at_s,
        point.p50_us,
        point.p99_us,
        point.max_us,
        point.errors
    );
}

fn target(arguments: &Run) -> Result<Target> {
    let mut addresses = arguments
        .target
        .to_socket_addrs()
        .with_context(|| format!("target {:?}: expected host:port", arguments.target))?;
    let address: SocketAddr =
        addresses.next().with_context(|| format!("{}: no address", arguments.target))?;
    let host = arguments.target.rsplit_once(':').map_or("localhost", |(host, _)| host);
    let name = arguments.server_name.as_deref().unwrap_or(host).trim_matches(['[', ']']).to_owned();
    let name =
        ServerName::try_from(name.clone()).with_context(|| format!("{name}: not the name of a server"))?;
    let tls = match &arguments.ca {
        Some(file) => tls::trusting(file)?,
        None => tls::trusting_everybody(),
    };
    Ok(Target { address, name, tls })
}

/// The scenario, with what the command line changes.
fn scenario(arguments: &Run) -> Result<Scenario> {
    let mut scenario = scenario::find(&arguments.scenario)?;
    let template = |text: &String| Template::try_from(text.clone()).map_err(anyhow::Error::msg);
    if let Some(name) = &arguments.user {
        scenario.users.name = template(name)?;
    }
    if let Some(password) = &arguments.password {
        scenario.users.password = template(password)?;
    }
    if let Some(rate) = arguments.rate {
        scenario.rate = (rate > 0.0).then_some(rate);
    }
    let take = |value: Option<usize>, into: &mut usize| *into = value.unwrap_or(*into);
    take(arguments.connections, &mut scenario.connections);
    take(arguments.pipeline, &mut scenario.pipeline);
    take(arguments.users, &mut scenario.users.count);
    take(arguments.first_user, &mut scenario.users.first);
    scenario.seconds = arguments.seconds.unwrap_or(scenario.seconds);
    scenario.warm_up = arguments.warm_up.unwrap_or(scenario.warm_up);
    scenario.security = arguments.security.unwrap_or(scenario.security);
    scenario.check()?;
    Ok(scenario)
}

fn idle(plan: &Plan) -> Result<()> {
    let last = plan.scenario.connections;
    let steps: Vec<usize> = (1..=5).map(|n| (last * n / 5).max(1)).collect();
    let points = load::idle(plan, &steps, Duration::from_secs(1))?;
    for (sessions, bytes) in &points {
        println!("{sessions} sessions: {} KiB", bytes / 1024);
    }
    let slope = report::slope(&points).context("one step is no slope")?;
    println!("{slope:.0} bytes for one session more");
    Ok(())
}

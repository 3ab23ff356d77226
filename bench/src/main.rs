//! `rookery-bench`: load, comparisons, and the small servers that they need.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};

use backends::net::{Handler, Loop, pin};
use backends::scripted::{Conduct, MupdateMaster, Server, Speaks};
use bench::auth_http::AuthHttp;
use bench::compare::{Comparison, Kind};
use bench::load::{self, Plan, Scenario};
use bench::report;

/// Measures what a mail proxy costs.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Loads one proxy.
    Run(Run),
    /// Compares rookeryd with nginx and HAProxy before the same backend.
    Compare(Compare),
    /// Runs a server that the load needs.
    Serve {
        #[command(subcommand)]
        what: Serve,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Word {
    Noop,
    Login,
    Fetch,
    Append,
    Idle,
}

#[derive(Args)]
struct Run {
    /// What an operation is.
    scenario: Word,
    /// Where the proxy listens.
    #[arg(long, default_value = "127.0.0.1:143")]
    target: SocketAddr,
    /// How many at once; the last step of idle.
    #[arg(long, short = 'n', default_value_t = 100)]
    connections: usize,
    /// Size of fetched and appended messages.
    #[arg(long, default_value_t = 1024)]
    kib: usize,
    /// Users u0, u1, ... that log in.
    #[arg(long, default_value_t = 1000)]
    users: usize,
    /// Seconds that are counted.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds before.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// The proxy, whose CPU time (or memory) is read.
    #[arg(long)]
    pid: Option<u32>,
    /// TLS, trusting the certificates in this file.
    #[arg(long, value_name = "CA")]
    tls: Option<PathBuf>,
    /// The core that the load keeps to.
    #[arg(long)]
    core: Option<usize>,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Compare {
    /// The daemon; without it only the peers run.
    #[arg(long)]
    rookeryd: Option<PathBuf>,
    /// Leaves nginx out.
    #[arg(long)]
    no_nginx: bool,
    /// Leaves HAProxy out.
    #[arg(long)]
    no_haproxy: bool,
    /// Runs of each, of which the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds that one run counts.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// The proxies' core.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// The core of the load and of the backend.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// Sessions at the last step of the idle scenario; 0 leaves it out.
    #[arg(long, default_value_t = 5000)]
    idle: usize,
    /// Only scenarios whose name holds this.
    #[arg(long, default_value = "")]
    only: String,
    /// The first of ten ports.
    #[arg(long, default_value_t = 21430)]
    first_port: u16,
    /// Configurations, logs and `compare.json`.
    #[arg(long, default_value = "target/compare")]
    folder: PathBuf,
}

#[derive(Subcommand)]
enum Serve {
    /// A scripted backend.
    Backend {
        /// Where it listens.
        #[arg(long)]
        listen: SocketAddr,
        /// What it speaks.
        #[arg(long, value_enum, default_value_t = Speaks::Imap)]
        protocol: Speaks,
        #[command(flatten)]
        conduct: Conduct,
    },
    /// A MUPDATE master whose users all live at one server.
    Master {
        /// Where it listens.
        #[arg(long)]
        listen: SocketAddr,
        /// Where the mailboxes are.
        #[arg(long)]
        server: String,
        /// How many users.
        #[arg(long, default_value_t = 1000)]
        users: usize,
    },
    /// The service that nginx asks where a user's server is.
    Auth {
        /// Where it listens.
        #[arg(long)]
        listen: SocketAddr,
        /// Where it sends everybody.
        #[arg(long)]
        server: SocketAddr,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Run(run) => one_run(&run),
        Task::Compare(arguments) => compare(arguments),
        Task::Serve { what } => match what {
            Serve::Backend { listen, protocol, conduct } => backend(listen, protocol, conduct),
            Serve::Master { listen, server, users } => serve(listen, MupdateMaster::new(users, &server)),
            Serve::Auth { listen, server } => serve(listen, AuthHttp::new(server)),
        },
    }
}

fn backend(listen: SocketAddr, protocol: Speaks, conduct: Conduct) -> Result<()> {
    let server = Server::bind(listen, protocol, conduct);
    let server = server.with_context(|| format!("cannot listen on {listen}"))?;
    println!("listening on {}", server.address);
    Ok(server.run()?)
}

fn serve<H: Handler>(listen: SocketAddr, handler: H) -> Result<()> {
    let mut server = Loop::bind(listen, handler).with_context(|| format!("cannot listen on {listen}"))?;
    println!("listening on {}", server.address()?);
    Ok(server.run()?)
}

fn one_run(run: &Run) -> Result<()> {
    if let Some(core) = run.core {
        pin(core).with_context(|| format!("cannot run on core {core}"))?;
    }
    let scenario = match run.scenario {
        Word::Noop => Scenario::Noop,
        Word::Login => Scenario::Login,
        Word::Fetch => Scenario::Fetch { kib: run.kib },
        Word::Append => Scenario::Append { bytes: run.kib * 1024 },
        Word::Idle => Scenario::Idle,
    };
    let plan = Plan {
        target: run.target,
        tls: run.tls.as_deref().map(trusting).transpose()?,
        scenario,
        connections: run.connections,
        users: run.users,
        warm_up: Duration::from_secs_f64(run.warm_up),
        duration: Duration::from_secs_f64(run.seconds),
        pid: run.pid,
    };
    if scenario == Scenario::Idle {
        return idle(&plan);
    }
    let outcome = load::run(&plan)?;
    if run.json {
        println!("{}", report::json(&scenario.name(), &outcome));
    } else {
        print!("{}", report::table(&[report::head(), report::row(&scenario.name(), &outcome)]));
    }
    Ok(())
}

fn idle(plan: &Plan) -> Result<()> {
    let steps: Vec<usize> = (1..=5).map(|n| plan.connections * n / 5).collect();
    let points = load::idle(plan, &steps, plan.duration)?;
    for (sessions, bytes) in &points {
        println!("{sessions} sessions: {} KiB", bytes / 1024);
    }
    let slope = report::slope(&points).context("one step is no slope")?;
    println!("{slope:.0} bytes for one session more");
    Ok(())
}

fn trusting(file: &std::path::Path) -> Result<Arc<rustls::ClientConfig>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file)? {
        roots.add(certificate?)?;
    }
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

fn compare(arguments: Compare) -> Result<()> {
    // Children that are not told otherwise stay on this core as well.
    pin(arguments.load_core).with_context(|| format!("cannot run on core {}", arguments.load_core))?;
    let chosen = [(Kind::Nginx, arguments.no_nginx), (Kind::Haproxy, arguments.no_haproxy)];
    let comparison = Comparison {
        folder: arguments.folder,
        rookeryd: arguments.rookeryd,
        peers: chosen.into_iter().filter(|(_, left_out)| !left_out).map(|(kind, _)| kind).collect(),
        rounds: arguments.rounds,
        duration: Duration::from_secs_f64(arguments.seconds),
        core: arguments.core,
        idle_sessions: arguments.idle,
        first_port: arguments.first_port,
        only: arguments.only,
    };
    print!("{}", bench::compare::run(&comparison)?);
    Ok(())
}

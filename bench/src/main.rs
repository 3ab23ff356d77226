//! `rookery-bench`: load, comparisons, and the small servers that they need.

mod run;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use backends::net::{Handler, Loop, pin};
use backends::scripted::{Conduct, MupdateMaster, Server, Speaks};
use bench::auth_http::AuthHttp;
use bench::compare::{Comparison, Kind};
use bench::report::{self, Report};
use bench::scenario;

/// Loads a mail server and tells how it bears it.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Loads a server: any that speaks IMAP, POP3, LMTP, ManageSieve or MUPDATE.
    Run(Box<run::Run>),
    /// Lists the scenarios that come with the program; with a name, shows one, to start from.
    Scenarios {
        /// Which.
        name: Option<String>,
    },
    /// Makes a page of the JSON of one or several runs.
    Page {
        /// What `run --json` wrote.
        json: Vec<PathBuf>,
        /// Where the page goes.
        #[arg(long, short)]
        output: PathBuf,
    },
    /// Compares rookeryd with nginx and HAProxy before the same backend.
    Compare(Compare),
    /// Runs a server that the load needs.
    Serve {
        #[command(subcommand)]
        what: Serve,
    },
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
        Task::Run(arguments) => run::run(&arguments),
        Task::Scenarios { name } => scenarios(name.as_deref()),
        Task::Page { json, output } => page(&json, &output),
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

fn scenarios(name: Option<&str>) -> Result<()> {
    for (known, text) in scenario::BUILT_IN {
        match name {
            None => {
                let analysis = scenario::find(known)?.analysis;
                let first = analysis.split_inclusive(['.', ':']).next().unwrap_or_default();
                println!("{known:16} {}", first.trim().trim_end_matches(':'));
            }
            Some(name) if name == known => print!("{text}"),
            Some(_) => {}
        }
    }
    name.map_or(Ok(()), |name| scenario::find(name).map(|_| ()))
}

fn page(files: &[PathBuf], output: &std::path::Path) -> Result<()> {
    let read = |file: &PathBuf| -> Result<Report> {
        let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("in {}", file.display()))
    };
    let reports = files.iter().map(read).collect::<Result<Vec<Report>>>()?;
    std::fs::write(output, report::page(&reports))
        .with_context(|| format!("cannot write {}", output.display()))
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

//! `rookery-bench`: load, comparisons, and the small servers that they need.

mod run;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};

use backends::net::{Handler, Loop};
use backends::scripted::{Conduct, MupdateMaster, Server, Speaks};
use bench::auth_http::AuthHttp;
use bench::compare::{Comparison, Kind};
use bench::report::{self, Report};
use bench::saslauthd;
use bench::scenario;

/// Loads a mail server and tells how it bears it.
#[derive(Parser)]
#[command(name = "rookery-bench", version)]
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
    /// Compares rookeryd with nginx, HAProxy, Dovecot and Cyrus before the same backends.
    Compare(Compare),
    /// Shows what it costs rookeryd to keep the times of commands: two builds by turns.
    Measuring(Measuring),
    /// Runs a server that the load needs.
    Serve {
        #[command(subcommand)]
        what: Serve,
    },
}

#[derive(Args)]
struct Compare {
    /// The daemon.
    #[arg(long)]
    rookeryd: PathBuf,
    /// Installs Debian's packages of the peers that are not there (as root), and names ports in /etc/services.
    #[arg(long)]
    system: bool,
    /// Only the rows that have budgets, within four minutes.
    #[arg(long)]
    quick: bool,
    /// Who takes part; all, if it is not given.
    #[arg(long, value_enum, value_delimiter = ',')]
    peers: Vec<Kind>,
    /// Alternations of each row.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds in which all of it ends; 840, or 215 in the quick form.
    #[arg(long)]
    seconds: Option<u64>,
    /// The proxies' core.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// The core of the load and of the backend.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// Sessions at the last step of the rows of memory; 0 leaves them out. 5000, or 2000 in the quick form.
    #[arg(long)]
    idle: Option<usize>,
    /// Only rows whose name holds this.
    #[arg(long, default_value = "")]
    only: String,
    /// The loopback network on which all of it stands.
    #[arg(long, default_value = "127.0.50", value_parser = net)]
    net: [u8; 3],
    /// Configurations, logs, `compare.md` and `compare.json`; the proxies' users must reach it.
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[derive(Args)]
struct Measuring {
    /// The daemon as it is.
    #[arg(long)]
    measured: PathBuf,
    /// The daemon built with the feature `unmeasured`.
    #[arg(long)]
    unmeasured: PathBuf,
    /// Seconds in which it ends, but not before 15 rounds.
    #[arg(long, default_value_t = 160)]
    seconds: u64,
    /// The daemons' core.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// The core of the load and of the backend.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// The loopback network on which all of it stands.
    #[arg(long, default_value = "127.0.51", value_parser = net)]
    net: [u8; 3],
    /// Where the record goes, beside the standard output.
    #[arg(long)]
    record: Option<PathBuf>,
}

fn net(text: &str) -> Result<[u8; 3], String> {
    let parts: Vec<u8> = text.split('.').filter_map(|part| part.parse().ok()).collect();
    match parts.as_slice() {
        [127, b, c] => Ok([127, *b, *c]),
        _ => Err("expected 127.X.Y".to_owned()),
    }
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
        /// Where it sends who speaks IMAP.
        #[arg(long)]
        imap: SocketAddr,
        /// Where it sends who speaks POP3.
        #[arg(long)]
        pop3: SocketAddr,
    },
    /// A saslauthd that accepts everybody.
    Saslauthd {
        /// Its socket.
        #[arg(long)]
        socket: PathBuf,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Run(arguments) => run::run(&arguments),
        Task::Scenarios { name } => scenarios(name.as_deref()),
        Task::Page { json, output } => page(&json, &output),
        Task::Compare(arguments) => compare(arguments),
        Task::Measuring(arguments) => measuring(arguments),
        Task::Serve { what } => match what {
            Serve::Backend { listen, protocol, conduct } => backend(listen, protocol, conduct),
            Serve::Master { listen, server, users } => serve(listen, MupdateMaster::new(users, &server)),
            Serve::Auth { listen, imap, pop3 } => serve(listen, AuthHttp::new(imap, pop3)),
            Serve::Saslauthd { socket } => {
                saslauthd::serve(&socket).with_context(|| format!("cannot listen on {}", socket.display()))
            }
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
    let (seconds, idle) = if arguments.quick { (215, 2000) } else { (840, 5000) };
    let comparison = Comparison {
        folder: arguments.folder.unwrap_or_else(|| folder("compare")),
        rookeryd: arguments.rookeryd,
        kinds: if arguments.peers.is_empty() { Kind::value_variants().to_vec() } else { arguments.peers },
        rounds: arguments.rounds.max(1),
        budget: Duration::from_secs(arguments.seconds.unwrap_or(seconds)),
        is_quick: arguments.quick,
        may_install: arguments.system,
        core: arguments.core,
        load_core: arguments.load_core,
        idle_sessions: arguments.idle.unwrap_or(idle),
        net: arguments.net,
        only: arguments.only,
        command: std::env::args().collect::<Vec<_>>().join(" "),
    };
    print!("{}", bench::compare::run(&comparison)?);
    Ok(())
}

fn measuring(arguments: Measuring) -> Result<()> {
    let measuring = bench::compare::Measuring {
        folder: folder("measuring"),
        measured: arguments.measured,
        unmeasured: arguments.unmeasured,
        budget: Duration::from_secs(arguments.seconds),
        core: arguments.core,
        load_core: arguments.load_core,
        net: arguments.net,
        command: std::env::args().collect::<Vec<_>>().join(" "),
    };
    let (record, holds) = measuring.run()?;
    print!("{record}");
    if let Some(path) = &arguments.record {
        std::fs::write(path, record).with_context(|| format!("cannot write {}", path.display()))?;
    }
    ensure!(holds, "measuring costs more than it may");
    Ok(())
}

/// Where a comparison has its files. Root's own folders may be closed to the users that the proxies become.
fn folder(name: &str) -> PathBuf {
    let root = rustix::process::geteuid().is_root();
    if root {
        std::env::temp_dir().join(format!("rookery-{name}"))
    } else {
        PathBuf::from("target").join(name)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// One page for the program and one for each command.
    #[test]
    fn man_page_is_committed() {
        let mut bench = Arguments::command();
        bench.build();
        for task in bench.get_subcommands().filter(|task| task.get_name() != "help") {
            // The name of a page lives as long as the program: clap borrows it.
            let name: &'static str = format!("rookery-bench-{}", task.get_name()).leak();
            man::check(task.clone().name(name));
        }
        man::check(Arguments::command());
    }
}

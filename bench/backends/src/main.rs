//! `backends storing|scripted`: the servers of this package, by hand.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use backends::net::{Loop, pin};
use backends::scripted::{Conduct, MupdateMaster, Server as ScriptedServer, Speaks};
use backends::storing::{Account, Config, Master, Seed, Storing};

/// IMAP servers that stand behind a frontend where no Cyrus is at hand.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    server: Server,
}

#[derive(Subcommand)]
enum Server {
    /// Keeps mail in memory.
    Storing {
        /// Where it listens.
        #[arg(long, default_value = "127.0.0.1:1143")]
        listen: SocketAddr,
        /// `name:password` of somebody with an INBOX; repeatable.
        #[arg(long, value_parser = account)]
        user: Vec<Account>,
        /// `name:password` of a frontend that logs in as its users.
        #[arg(long, value_parser = account)]
        proxy: Option<Account>,
        /// The MUPDATE master to register with.
        #[arg(long, requires = "master_account")]
        master: Option<SocketAddr>,
        /// `name:password` at the master.
        #[arg(long, value_parser = account)]
        master_account: Option<Account>,
    },
    /// Answers any user from a script.
    Scripted {
        /// Where it listens.
        #[arg(long, default_value = "127.0.0.1:1143")]
        listen: SocketAddr,
        /// The core it keeps to.
        #[arg(long)]
        core: Option<usize>,
        /// What it speaks.
        #[arg(long, value_enum, default_value_t = Speaks::Imap)]
        protocol: Speaks,
        #[command(flatten)]
        conduct: Conduct,
    },
    /// A MUPDATE master with a fixed list of users u0, u1, ...
    Master {
        /// Where it listens.
        #[arg(long, default_value = "127.0.0.1:13905")]
        listen: SocketAddr,
        /// How many users.
        #[arg(long, default_value_t = 1000)]
        users: usize,
        /// Where all their mailboxes are.
        #[arg(long, default_value = "127.0.0.1:1143")]
        server: String,
    },
}

fn account(text: &str) -> Result<Account, String> {
    let (name, password) = text.split_once(':').ok_or("expected name:password")?;
    Ok(Account { name: name.to_owned(), password: password.to_owned() })
}

fn main() -> Result<()> {
    match Arguments::parse().server {
        Server::Storing { listen, user, proxy, master, master_account } => {
            let seeds = user.iter().map(|u| Seed {
                name: format!("user.{}", u.name),
                acl: vec![(u.name.clone(), "lrswipkxtecdan".to_owned())],
                messages: Vec::new(),
            });
            let seeds = seeds.collect();
            let proxies = proxy.iter().map(|p| p.name.clone()).collect();
            let accounts = user.into_iter().chain(proxy).collect();
            let master = master.zip(master_account).map(|(address, account)| Master { address, account });
            let config = Config { listen, name: None, accounts, proxies, admins: Vec::new(), seeds, master };
            let server = Storing::bind(config).with_context(|| format!("cannot listen on {listen}"))?;
            println!("listening on {}", server.address());
            server.run()?;
        }
        Server::Scripted { listen, core, protocol, conduct } => {
            if let Some(core) = core {
                pin(core).with_context(|| format!("cannot run on core {core}"))?;
            }
            let server = ScriptedServer::bind(listen, protocol, conduct);
            let server = server.with_context(|| format!("cannot listen on {listen}"))?;
            println!("listening on {}", server.address);
            server.run()?;
        }
        Server::Master { listen, users, server } => serve(listen, MupdateMaster::new(users, &server))?,
    }
    Ok(())
}

fn serve<H: backends::net::Handler>(listen: SocketAddr, handler: H) -> Result<()> {
    let mut server = Loop::bind(listen, handler).with_context(|| format!("cannot listen on {listen}"))?;
    println!("listening on {}", server.address()?);
    server.run()?;
    Ok(())
}

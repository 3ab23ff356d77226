//! `rookery demo`: a murder in one process, on loopback, in memory.
//!
//! ```text
//!   client ──> frontend (the real one) ──> backend 1: ann, the folder `team`
//!                  │                  └──> backend 2: bob
//!                  └── MUPDATE ──> master <── MUPDATE ── both backends
//! ```

mod check;
mod client;
mod master;

use std::io;
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use backends::net::Stopper;
use backends::storing::{Account, Config, Master as Registered, Seed, Storing};
use engine::config::{Configuration, ProcessSecret};
use engine::frontend::{self, Frontend, Prepared};
use engine::log::{Log, Settings, Target};
use protocols::proxy::Level;
use protocols::secret::Secret;

use master::Master;

/// How long the mailbox list may take to reach the frontend.
const SYNC_MAX: Duration = Duration::from_secs(10);
/// How long sessions have when the demo ends.
const DRAIN: Duration = Duration::from_secs(1);
/// Mailboxes that the backends bring: two INBOXes and the shared folder.
const SEEDED: usize = 3;

/// Options of the demo.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where mail clients connect; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:1143")]
    listen: SocketAddr,
    /// Runs a client through it, prints what it saw, and ends.
    #[arg(long)]
    check: bool,
    /// Logs what the frontend decides.
    #[arg(long, short)]
    verbose: bool,
}

/// Users with their passwords; each lives on the backend of his number.
const USERS: [(&str, &str); 2] = [("ann", "ann-secret"), ("bob", "bob-secret")];
/// The shared folder, on the first backend.
const SHARED: &str = "team";
/// The account by which the frontend acts for its users.
const PROXY: (&str, &str) = ("frontend", "frontend-secret");
/// The account by which backends and frontend speak to the master.
const POSTMAN: (&str, &str) = ("postman", "postman-secret");

/// Starts everything, then checks it or waits for the user to end it.
///
/// # Errors
/// Something cannot be started, or the check saw something wrong.
pub(crate) fn run(options: &Options) -> Result<()> {
    let listen = if options.check { SocketAddr::new(options.listen.ip(), 0) } else { options.listen };
    let murder = Murder::start(listen, options.verbose)?;
    let result = if options.check {
        check::run(murder.address)
    } else {
        murder.introduce();
        wait_for_end()
    };
    murder.stop();
    result
}

/// Ends at the end of standard input; a signal ends the process itself, which leaves nothing behind.
fn wait_for_end() -> Result<()> {
    let mut line = String::new();
    if io::stdin().read_line(&mut line)? == 0 {
        // Started without a terminal: only a signal ends it.
        loop {
            thread::park();
        }
    }
    Ok(())
}

fn wait_until(what: &str, holds: impl Fn() -> bool) -> Result<()> {
    let end = Instant::now() + SYNC_MAX;
    while !holds() {
        if Instant::now() > end {
            bail!("gave up after {} s waiting until {what}", SYNC_MAX.as_secs());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The running parts.
struct Murder {
    address: SocketAddr,
    frontend: Frontend,
    backends: Vec<Backend>,
    master: Master,
}

struct Backend {
    address: SocketAddr,
    stopper: Stopper,
    thread: JoinHandle<io::Result<()>>,
}

impl Murder {
    fn start(listen: SocketAddr, verbose: bool) -> Result<Murder> {
        let least = if verbose { Level::Debug } else { Level::Warn };
        let settings = Settings {
            ident: "rookery-demo".into(),
            facility: Default::default(),
            least,
            target: Target::Stderr,
        };
        let log = Log::start(settings)?;
        let secret = process_secret()?;
        let master = Master::start(log.clone(), &secret).context("the master does not start")?;
        let backends = (0..USERS.len()).map(|n| Backend::start(n, master.address));
        let backends = backends.collect::<Result<Vec<_>>>().context("a backend does not start")?;
        // A frontend rightly distrusts an empty list: the backends come first.
        wait_until("the backends are registered", || master.mailboxes() >= SEEDED)?;
        let configuration = configuration(listen, master.address, &backends, &secret)?;
        let frontend = frontend::start(configuration, log, Prepared::default())?;
        let address = frontend.addresses().first().map(|(_, address)| *address);
        let address = address.context("the frontend listens nowhere")?;
        wait_until("the frontend has the list", || {
            frontend.is_live() && frontend.directory().mailboxes() >= SEEDED
        })?;
        Ok(Murder { address, frontend, backends, master })
    }

    /// Tells the user what there is to try.
    fn introduce(&self) {
        let (address, port) = (self.address.ip(), self.address.port());
        println!("IMAP at {address} port {port}, no TLS");
        for (n, ((user, password), backend)) in USERS.iter().zip(&self.backends).enumerate() {
            println!("  user {user}, password {password}, lives on backend {} ({})", n + 1, backend.address);
        }
        println!("  folder {SHARED}, shared, lives on backend 1; MUPDATE master at {}", self.master.address);
        println!("Try:");
        let (bob, password) = USERS[1];
        println!("  curl -s imap://{address}:{port}/ -u {bob}:{password}");
        println!("  curl -s 'imap://{address}:{port}/{SHARED};UID=1' -u {bob}:{password}");
        println!(
            "  python3 -c \"import imaplib; c = imaplib.IMAP4('{address}', {port}); c.login('{bob}', '{password}'); \
             print(c.select('{SHARED}'), c.copy('1', 'INBOX'))\""
        );
        println!("Return ends it.");
    }

    fn stop(self) {
        self.frontend.stop(DRAIN);
        for backend in self.backends {
            backend.stopper.stop();
            // A thread that panicked has stopped too.
            let _ = backend.thread.join();
        }
        self.master.stop();
    }
}

impl Backend {
    fn start(number: usize, master: SocketAddr) -> Result<Backend> {
        let account =
            |(name, password): (&str, &str)| Account { name: name.to_owned(), password: password.to_owned() };
        let (user, _) = USERS[number];
        let mut seeds = vec![Seed {
            name: format!("user.{user}"),
            acl: vec![(user.to_owned(), "lrswipkxtecdan".to_owned())],
            messages: vec![welcome(user)],
        }];
        if number == 0 {
            seeds.push(Seed {
                name: SHARED.to_owned(),
                acl: vec![("anyone".to_owned(), "lrswipkxte".to_owned())],
                messages: vec![welcome("everybody")],
            });
        }
        let server = Storing::bind(Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            name: None,
            accounts: USERS.into_iter().chain([PROXY]).map(account).collect(),
            proxies: vec![PROXY.0.to_owned()],
            admins: Vec::new(),
            seeds,
            master: Some(Registered { address: master, account: account(POSTMAN) }),
        })?;
        let (address, stopper) = (server.address(), server.stopper());
        let name = format!("backend-{}", number + 1);
        let thread = thread::Builder::new().name(name).spawn(move || server.run())?;
        Ok(Backend { address, stopper, thread })
    }
}

fn welcome(whom: &str) -> Vec<u8> {
    format!(
        "From: Rookery <rookery@localhost>\r\nTo: {whom}@localhost\r\nSubject: Welcome, {whom}\r\n\
         Date: Mon, 05 Jan 2026 10:00:00 +0000\r\nMessage-ID: <welcome.{whom}@localhost>\r\n\r\n\
         This message is kept in memory and gone when the demo ends.\r\n"
    )
    .into_bytes()
}

/// The frontend's configuration: the two texts that a Cyrus frontend would have as files.
fn configuration(
    listen: SocketAddr,
    master: SocketAddr,
    backends: &[Backend],
    secret: &ProcessSecret,
) -> Result<Configuration> {
    let servers: Vec<String> = backends.iter().map(|backend| backend.address.to_string()).collect();
    let (proxy, proxy_password) = PROXY;
    let (postman, postman_password) = POSTMAN;
    let imapd = format!(
        "configdirectory: /nonexistent\nservername: localhost\nadmins: cyrus\naltnamespace: no\n\
         unixhierarchysep: no\nallowplaintext: yes\n\
         sasl_pwcheck_method: backend\nsasl_mech_list: PLAIN LOGIN\nserverlist: {}\n\
         mupdate_server: {master}\nmupdate_authname: {postman}\nmupdate_username: {postman}\n\
         mupdate_password: {postman_password}\nmupdate_retry_delay: 1\nproxy_authname: {proxy}\n\
         proxy_password: {proxy_password}\nrookery_shards: 1\n",
        servers.join(" ")
    );
    let cyrus = format!("SERVICES {{\n  imap cmd=\"imapd\" listen=\"{listen}\" proto=\"tcp\"\n}}\n");
    let read = |path: &str| match path {
        "imapd.conf" => Ok(imapd.clone()),
        "cyrus.conf" => Ok(cyrus.clone()),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    let mut configuration = Configuration::load("imapd.conf", "cyrus.conf", &read, secret)?;
    // In memory only: nothing is left behind.
    configuration.directory.store = None;
    configuration.directory.kick_socket = None;
    configuration.process.control_socket = None;
    Ok(configuration)
}

fn process_secret() -> Result<ProcessSecret> {
    let mut random = [0; 32];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut random)?;
    Ok(ProcessSecret(Secret::new(random)))
}

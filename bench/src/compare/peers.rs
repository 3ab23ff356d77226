//! The processes of a comparison: started on loopback, ended when dropped.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::cases::{Case, Checks};
use super::kind::{Kind, Speaks};
use super::{USERS, install};

/// A server that takes longer does not come.
const START_MAX: Duration = Duration::from_secs(15);
/// A server that is asked to end and does not is killed.
const END_MAX: Duration = Duration::from_secs(5);
/// The user `nobody`, and its group, as whom proxies run that need no more when this program is root's.
const NOBODY: u32 = 65534;

/// Where everybody listens: all on one loopback network.
pub(super) struct Place {
    /// Configurations, logs, certificates.
    pub(super) folder: PathBuf,
    /// `127.x.y`, three numbers.
    pub(super) net: [u8; 3],
    /// The daemon.
    pub(super) rookeryd: PathBuf,
    /// The proxies' core.
    pub(super) core: usize,
    pub(super) is_root: bool,
    /// How far from its usual address a proxy is, so that several of one kind stand side by side.
    pub(super) seat: u8,
}

impl Place {
    fn at(&self, last: u8) -> IpAddr {
        let [a, b, c] = self.net;
        IpAddr::V4(Ipv4Addr::new(a, b, c, last))
    }

    /// Where the MUPDATE master and nginx's question-answerer listen.
    fn master(&self) -> IpAddr {
        self.at(1)
    }

    fn backend(&self) -> IpAddr {
        self.at(11)
    }

    /// Root's backends listen where Cyrus' programs look for them.
    fn backend_port(&self, protocol: Speaks) -> u16 {
        protocol.port() + if self.is_root { 0 } else { 10_000 }
    }

    fn master_port(&self) -> u16 {
        if self.is_root { 3905 } else { 13905 }
    }

    fn peer_address(&self, kind: Kind) -> IpAddr {
        self.at(21 + kind as u8 + self.seat)
    }

    /// Where a peer listens, plain or within TLS.
    fn peer(&self, kind: Kind, protocol: Speaks, tls: bool) -> SocketAddr {
        let port = match (protocol, tls) {
            (Speaks::Imap, true) => 1993,
            (Speaks::Pop3, true) => 1995,
            // Dovecot sends messages on to the port on which they came.
            (Speaks::Lmtp, _) if kind == Kind::Dovecot => 24,
            (Speaks::Imap | Speaks::Pop3 | Speaks::Lmtp, _) => 1000 + protocol.port(),
        };
        SocketAddr::new(self.peer_address(kind), port)
    }

    fn fill(&self, kind: Kind, text: &str) -> String {
        let port = |protocol, tls| self.peer(kind, protocol, tls).port().to_string();
        let backend = self.backend().to_string();
        let server = match self.backend_port(Speaks::Imap) {
            143 => backend.clone(),
            port => format!("{backend}:{port}"),
        };
        let words = [
            ("FOLDER", self.folder.to_string_lossy().into_owned()),
            ("MODULE", install::NGINX_MODULE.to_owned()),
            ("ADDRESS", self.peer_address(kind).to_string()),
            ("MASTER", self.master().to_string()),
            ("BACKEND", backend),
            ("SERVER", server),
            ("BACKENDIMAP", self.backend_port(Speaks::Imap).to_string()),
            ("BACKENDPOP3", self.backend_port(Speaks::Pop3).to_string()),
            ("BACKENDLMTP", self.backend_port(Speaks::Lmtp).to_string()),
            ("BACKENDMUPDATE", self.master_port().to_string()),
            ("IMAP", port(Speaks::Imap, false)),
            ("IMAPS", port(Speaks::Imap, true)),
            ("POP3", port(Speaks::Pop3, false)),
            ("POP3S", port(Speaks::Pop3, true)),
            ("LMTP", port(Speaks::Lmtp, false)),
        ];
        words.iter().fold(text.to_owned(), |text, (word, value)| text.replace(&format!("@{word}@"), value))
    }

    fn write(&self, kind: Kind, name: &str, text: &str) -> Result<String> {
        let path = self.folder.join(name);
        fs::write(&path, self.fill(kind, text))?;
        Ok(path.to_string_lossy().into_owned())
    }
}

/// A child that is ended when dropped; only ever the process started here, and what it started.
pub(super) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let family = crate::process::family(self.0.id());
        // SIGTERM, so that servers end their workers; then whatever is left.
        signal(self.0.id(), rustix::process::Signal::TERM);
        let end = Instant::now() + END_MAX;
        while Instant::now() < end {
            if matches!(self.0.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        family.iter().for_each(|pid| signal(*pid, rustix::process::Signal::KILL));
        let _ = self.0.wait();
    }
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
        // Fails only when it is gone.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// A proxy that answers.
pub(super) struct Peer {
    pub(super) kind: Kind,
    pub(super) plain: SocketAddr,
    /// None where the protocol has no port of its own within TLS.
    pub(super) tls: Option<SocketAddr>,
    child: Running,
}

impl Peer {
    /// Starts a proxy on one core and waits until it listens.
    ///
    /// # Errors
    /// It is not installed, exits, or does not listen in time.
    pub(super) fn start(kind: Kind, place: &Place, case: &Case) -> Result<Peer> {
        let protocol = case.protocol;
        let words = command(kind, place, case)?;
        let log = File::create(place.folder.join(format!("{}.out", kind.name())))?;
        let mut command = Command::new("taskset");
        command.args(["-c", &place.core.to_string()]).args(&words).current_dir("/");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if place.is_root && !kind.needs_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let child = command.spawn().context("taskset (util-linux) cannot be run")?;
        let plain = place.peer(kind, protocol, false);
        let tls = (protocol != Speaks::Lmtp).then(|| place.peer(kind, protocol, true));
        let mut peer = Peer { kind, plain, tls, child: Running(child) };
        peer.await_listening(place)?;
        Ok(peer)
    }

    /// The process whose time is measured, with its children.
    pub(super) fn pid(&self) -> u32 {
        self.child.0.id()
    }

    fn await_listening(&mut self, place: &Place) -> Result<()> {
        let end = Instant::now() + START_MAX;
        let mut waiting: Vec<SocketAddr> = self.tls.into_iter().chain([self.plain]).collect();
        while !waiting.is_empty() {
            waiting.retain(|address| TcpStream::connect(address).is_err());
            if self.child.0.try_wait()?.is_some() || Instant::now() > end {
                let said = fs::read_to_string(place.folder.join(format!("{}.out", self.kind.name())))?;
                let last: Vec<&str> = said.lines().rev().take(3).collect();
                bail!("does not listen on {waiting:?}: {}", last.join(" / "));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// Gives a folder and what is in it to a user.
fn hand_over(folder: &Path, user: u32, group: u32) -> Result<()> {
    chown(folder, Some(user), Some(group))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => hand_over(&entry.path(), user, group)?,
            kind if kind.is_file() => chown(entry.path(), Some(user), Some(group))?,
            _ => {}
        }
    }
    Ok(())
}

/// A folder that is empty and a user's own.
fn fresh(folder: &Path, user: Option<(u32, u32)>, inside: &[&str]) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    for name in inside {
        fs::create_dir(folder.join(name))?;
    }
    user.map_or(Ok(()), |(user, group)| hand_over(folder, user, group))
}

/// Writes the configuration of a proxy and returns its command line.
fn command(kind: Kind, place: &Place, case: &Case) -> Result<Vec<String>> {
    let folder = &place.folder;
    let nobody = place.is_root.then_some((NOBODY, NOBODY));
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Ok(match kind {
        Kind::Nginx => {
            let path = place.write(kind, "nginx.conf", include_str!("../../peers/nginx.conf"))?;
            fresh(&folder.join("nginx"), nobody, &[])?;
            let log = folder.join("nginx/nginx.log");
            words(&["nginx", "-e", &log.to_string_lossy(), "-c", &path])
        }
        Kind::Haproxy => {
            let path = place.write(kind, "haproxy.cfg", include_str!("../../peers/haproxy.cfg"))?;
            words(&["haproxy", "-db", "-f", &path])
        }
        Kind::Dovecot => {
            fresh(&folder.join("dovecot"), None, &["run", "state"])?;
            install::dovecot_programs(folder)?;
            let path = place.write(kind, "dovecot.conf", include_str!("../../peers/dovecot.conf"))?;
            words(&["dovecot", "-F", "-c", &path])
        }
        Kind::Cyrus => {
            let user = install::cyrus_user()?;
            let inside = ["db", "socket", "proc", "lock", "log", "msg", "user", "quota", "sieve", "spool"];
            fresh(&folder.join("cyrus"), None, &inside)?;
            install::passwords(&folder.join("cyrus/sasldb2"), USERS)?;
            hand_over(&folder.join("cyrus"), user.0, user.1)?;
            let conf = place.write(kind, "cyrus-imapd.conf", include_str!("../../peers/cyrus-imapd.conf"))?;
            let services = include_str!("../../peers/cyrus-cyrus.conf");
            let services = place.write(kind, "cyrus-cyrus.conf", services)?;
            let pid = folder.join("cyrus/master.pid");
            words(&[install::CYRUS_MASTER, "-C", &conf, "-M", &services, "-p", &pid.to_string_lossy()])
        }
        Kind::Rookery => {
            fresh(&folder.join("rookery"), nobody, &[])?;
            let method = match case.checks {
                Checks::Backend => "backend",
                Checks::Saslauthd => "saslauthd",
            };
            let conf = include_str!("../../peers/rookery-imapd.conf").replace("@PWCHECK@", method);
            let conf = place.write(kind, "rookery-imapd.conf", &conf)?;
            let services = place.write(kind, "rookery-cyrus.conf", &services(case.protocol))?;
            let pid = folder.join("rookery/rookeryd.pid");
            let binary = place.rookeryd.to_string_lossy();
            words(&[&binary, "-D", "-C", &conf, "-M", &services, "-p", &pid.to_string_lossy()])
        }
    })
}

/// The services of ours for one protocol.
fn services(protocol: Speaks) -> String {
    let lines = match protocol {
        Speaks::Imap => {
            "  imap cmd=\"imapd\" listen=\"@ADDRESS@:@IMAP@\" proto=\"tcp4\"\n  \
               imaps cmd=\"imapd -s\" listen=\"@ADDRESS@:@IMAPS@\" proto=\"tcp4\"\n"
        }
        Speaks::Pop3 => {
            "  pop3 cmd=\"pop3d\" listen=\"@ADDRESS@:@POP3@\" proto=\"tcp4\"\n  \
               pop3s cmd=\"pop3d -s\" listen=\"@ADDRESS@:@POP3S@\" proto=\"tcp4\"\n"
        }
        Speaks::Lmtp => "  lmtp cmd=\"lmtpd -a\" listen=\"@ADDRESS@:@LMTP@\" proto=\"tcp4\"\n",
    };
    format!("START {{\n}}\nSERVICES {{\n{lines}}}\nEVENTS {{\n}}\n")
}

/// Starts the saslauthd that accepts everybody.
fn saslauthd(me: &Path, socket: &Path) -> Result<Running> {
    let mut command = Command::new(me);
    command.args(["serve", "saslauthd", "--socket"]).arg(socket);
    let running = Running(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
    let end = Instant::now() + START_MAX;
    while UnixStream::connect(socket).is_err() {
        if Instant::now() > end {
            bail!("serve saslauthd does not listen on {}", socket.display());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(running)
}

/// Starts the backends, the master and nginx's question-answerer: this program again, on the load's core.
pub(super) fn helpers(place: &Place) -> Result<Vec<Running>> {
    let me = std::env::current_exe()?;
    let start = |words: &[&str], listen: SocketAddr| -> Result<Running> {
        let mut command = Command::new(&me);
        command.arg("serve").args(words).args(["--listen", &listen.to_string()]);
        let running = Running(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
        let end = Instant::now() + START_MAX;
        while TcpStream::connect(listen).is_err() {
            if Instant::now() > end {
                bail!("serve {words:?} does not listen on {listen}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(running)
    };
    let backend = |protocol| SocketAddr::new(place.backend(), place.backend_port(protocol));
    let (imap, users) = (backend(Speaks::Imap), USERS.to_string());
    let server = if imap.port() == 143 { imap.ip().to_string() } else { imap.to_string() };
    let master = SocketAddr::new(place.master(), place.master_port());
    let pop3 = backend(Speaks::Pop3).to_string();
    let auth = SocketAddr::new(place.master(), 8143);
    Ok(vec![
        start(&["backend", "--protocol", "imap"], imap)?,
        start(&["backend", "--protocol", "pop3"], backend(Speaks::Pop3))?,
        start(&["backend", "--protocol", "lmtp"], backend(Speaks::Lmtp))?,
        start(&["master", "--server", &server, "--users", &users], master)?,
        start(&["auth", "--imap", &imap.to_string(), "--pop3", &pop3], auth)?,
        saslauthd(&me, &place.folder.join("saslauthd"))?,
    ])
}

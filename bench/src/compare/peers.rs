//! The processes of a comparison: started on loopback, ended when dropped.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::USERS;

/// A server that takes longer does not come.
const START_MAX: Duration = Duration::from_secs(15);
/// The user `nobody`, and its group, as whom the proxies run when this program is root's.
const NOBODY: u32 = 65534;
/// Where Debian keeps nginx's mail module.
const NGINX_MODULE: &str = "/usr/lib/nginx/modules/ngx_mail_module.so";

/// A proxy to compare.
#[derive(Clone, Debug)]
pub enum Kind {
    /// nginx's mail proxy.
    Nginx,
    /// HAProxy passing TCP through.
    Haproxy,
    /// Ours, at this path.
    Rookery(PathBuf),
}

impl Kind {
    /// As the tables call it.
    pub fn name(&self) -> String {
        match self {
            Kind::Nginx => "nginx",
            Kind::Haproxy => "haproxy",
            Kind::Rookery(_) => "rookeryd",
        }
        .to_owned()
    }
}

/// The ports of a comparison.
pub struct Ports {
    backend: u16,
    master: u16,
    auth: u16,
    first_peer: u16,
}

impl From<u16> for Ports {
    fn from(first: u16) -> Ports {
        Ports { backend: first, master: first + 1, auth: first + 2, first_peer: first + 3 }
    }
}

/// A child that is killed when dropped; only ever the process started here.
pub(super) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // SIGTERM, so that nginx and HAProxy end their workers; then whatever is left.
        if let Some(pid) = rustix::process::Pid::from_raw(self.0.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            if matches!(self.0.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A proxy that answers.
pub struct Peer {
    /// As the tables call it.
    pub name: String,
    /// IMAP.
    pub plain: SocketAddr,
    /// IMAP within TLS.
    pub tls: SocketAddr,
    child: Running,
}

impl Peer {
    /// Starts a proxy on one core and waits until it listens.
    ///
    /// # Errors
    /// It is not installed, exits, or does not listen in time.
    pub fn start(kind: &Kind, folder: &Path, ports: &Ports, number: usize, core: usize) -> Result<Peer> {
        let offset = u16::try_from(number * 2)?;
        let plain = loopback(ports.first_peer + offset);
        let tls = loopback(ports.first_peer + offset + 1);
        let fill = |text: &str| {
            text.replace("FOLDER", &folder.to_string_lossy())
                .replace("MODULE", NGINX_MODULE)
                .replace("PLAINPORT", &plain.port().to_string())
                .replace("TLSPORT", &tls.port().to_string())
                .replace("AUTHPORT", &ports.auth.to_string())
                .replace("MASTERPORT", &ports.master.to_string())
                .replace("BACKENDPORT", &ports.backend.to_string())
        };
        let words = command(kind, folder, fill)?;
        let log = File::create(folder.join(format!("{}.out", kind.name())))?;
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string()]).args(&words);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if is_root() {
            hand_over(folder)?;
            command.uid(NOBODY).gid(NOBODY);
        }
        let child = command.spawn().context("taskset (util-linux) cannot be run")?;
        let mut peer = Peer { name: kind.name(), plain, tls, child: Running(child) };
        peer.await_listening(folder)?;
        Ok(peer)
    }

    /// The process whose time is measured, with its children.
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    fn await_listening(&mut self, folder: &Path) -> Result<()> {
        let end = Instant::now() + START_MAX;
        let mut waiting = vec![self.plain, self.tls];
        while !waiting.is_empty() {
            waiting.retain(|address| TcpStream::connect(address).is_err());
            let exited = self.child.0.try_wait()?;
            if exited.is_some() || Instant::now() > end {
                let said = fs::read_to_string(folder.join(format!("{}.out", self.name)))?;
                bail!("{} does not listen on {waiting:?}: {said}", self.name);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Gives a folder and what is in it to the proxies' user.
fn hand_over(folder: &Path) -> Result<()> {
    chown(folder, Some(NOBODY), Some(NOBODY))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            hand_over(&entry.path())?;
        } else {
            chown(entry.path(), Some(NOBODY), Some(NOBODY))?;
        }
    }
    Ok(())
}

/// The binary where the proxies' user can run it: root's build folder may be closed to others.
fn reachable(binary: &Path, folder: &Path) -> Result<PathBuf> {
    if !is_root() {
        return Ok(binary.into());
    }
    let copy = folder.join("rookeryd");
    // A copy that runs cannot be written, but replaced.
    let _ = fs::remove_file(&copy);
    fs::copy(binary, &copy).with_context(|| format!("{} cannot be copied", binary.display()))?;
    Ok(copy)
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Writes the configuration of a proxy and returns its command line.
fn command(kind: &Kind, folder: &Path, fill: impl Fn(&str) -> String) -> Result<Vec<String>> {
    let write = |name: &str, text: &str| -> Result<String> {
        let path = folder.join(name);
        fs::write(&path, fill(text))?;
        Ok(path.to_string_lossy().into_owned())
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Ok(match kind {
        Kind::Nginx => {
            let path = write("nginx.conf", include_str!("../../peers/nginx.conf"))?;
            words(&["nginx", "-c", &path])
        }
        Kind::Haproxy => {
            let path = write("haproxy.cfg", include_str!("../../peers/haproxy.cfg"))?;
            words(&["haproxy", "-db", "-f", &path])
        }
        Kind::Rookery(binary) => {
            fs::create_dir_all(folder.join("conf"))?;
            let conf = write("imapd.conf", include_str!("../../peers/rookery-imapd.conf"))?;
            let services = write("cyrus.conf", include_str!("../../peers/rookery-cyrus.conf"))?;
            let pid = folder.join("rookeryd.pid").to_string_lossy().into_owned();
            let binary = reachable(binary, folder)?;
            words(&[&binary.to_string_lossy(), "-D", "-C", &conf, "-M", &services, "-p", &pid])
        }
    })
}

/// Starts the backend, the master and nginx's question-answerer: this program again, three times.
pub(super) fn helpers(ports: &Ports) -> Result<Vec<Running>> {
    let me = std::env::current_exe()?;
    let start = |words: &[&str], port: u16| -> Result<Running> {
        let listen = loopback(port).to_string();
        let mut command = Command::new(&me);
        command.arg("serve").args(words).args(["--listen", &listen]);
        let running = Running(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
        let end = Instant::now() + START_MAX;
        while TcpStream::connect(loopback(port)).is_err() {
            if Instant::now() > end {
                bail!("serve {words:?} does not listen on port {port}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(running)
    };
    let backend = loopback(ports.backend).to_string();
    let users = USERS.to_string();
    Ok(vec![
        start(&["backend"], ports.backend)?,
        start(&["master", "--server", &backend, "--users", &users], ports.master)?,
        start(&["auth", "--server", &backend], ports.auth)?,
    ])
}

//! What of the peers comes from Debian, and what they need before they start.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::kind::Kind;
use crate::machine::version;

/// Where Debian keeps nginx's mail module.
pub(super) const NGINX_MODULE: &str = "/usr/lib/nginx/modules/ngx_mail_module.so";
/// Cyrus' master.
pub(super) const CYRUS_MASTER: &str = "/usr/lib/cyrus/bin/master";
/// Who sets TCP_NODELAY, as `strace -f -e setsockopt` of one session of each shows.
pub(super) const NODELAY_SEEN: &str = "HAProxy and Rookery set it on both sides, Dovecot sets and clears it around \
    what it sends, nginx's mail proxy and Cyrus never set it";
/// Where Debian keeps Dovecot's programs.
const DOVECOT_PROGRAMS: &str = "/usr/lib/dovecot";
const PACKAGES: [&str; 9] = [
    "nginx",
    "libnginx-mod-mail",
    "haproxy",
    "dovecot-core",
    "dovecot-lmtpd",
    "cyrus-imapd",
    "cyrus-murder",
    "cyrus-pop3d",
    "db-util",
];
/// Cyrus wants a program that sends mail: this one comes with it where there is none, instead of a server.
const SENDMAIL: (&str, &str) = ("/usr/sbin/sendmail", "msmtp-mta");
/// These conflict with Cyrus' packages and are unpacked, not installed.
const UNPACKED: [&str; 2] = ["dovecot-imapd", "dovecot-pop3d"];
/// Says that no service is to be started by its installation.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing; starts nothing.
///
/// # Errors
/// This is not root, or apt-get fails.
pub(super) fn install(folder: &Path) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "--system installs packages, which wants root");
    let mut missing: Vec<&str> = PACKAGES.into_iter().filter(|package| !is_installed(package)).collect();
    if !missing.is_empty() && !Path::new(SENDMAIL.0).exists() {
        missing.push(SENDMAIL.1);
    }
    if !missing.is_empty() {
        let had_policy = Path::new(POLICY).exists();
        if !had_policy {
            fs::write(POLICY, "#!/bin/sh\nexit 101\n")?;
            run(Command::new("chmod").args(["755", POLICY]))?;
        }
        let installed = apt(&[&["install", "--no-install-recommends"][..], &missing].concat());
        if !had_policy {
            fs::remove_file(POLICY)?;
        }
        installed?;
    }
    unpack(folder)?;
    name_services()
}

fn is_installed(package: &str) -> bool {
    let query = ["-W", "-f", "${db:Status-Status}", package];
    let status = Command::new("dpkg-query").args(query).stderr(Stdio::null()).output();
    status.is_ok_and(|output| output.stdout == b"installed")
}

fn apt(words: &[&str]) -> Result<()> {
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["-qq", "-y", "--no-remove", "-o", "DPkg::Lock::Timeout=300"]).args(words);
        run(command.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null()))
    };
    apt(words).or_else(|_| apt(&["update"]).and_then(|()| apt(words)))
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

fn unpacked(folder: &Path) -> PathBuf {
    folder.join("packages")
}

/// Where a program of the packages is that cannot be installed beside Cyrus.
fn dovecot_login(folder: &Path) -> Option<PathBuf> {
    let places = [unpacked(folder).join("usr/lib/dovecot"), PathBuf::from(DOVECOT_PROGRAMS)];
    places.into_iter().find(|place| place.join("imap-login").exists() && place.join("pop3-login").exists())
}

fn unpack(folder: &Path) -> Result<()> {
    if dovecot_login(folder).is_some() {
        return Ok(());
    }
    let place = unpacked(folder);
    fs::create_dir_all(&place)?;
    run(Command::new("apt-get").current_dir(&place).args(["-qq", "download"]).args(UNPACKED))?;
    for entry in fs::read_dir(&place)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg-deb").arg("-x").arg(&path).arg(&place))?;
        }
    }
    Ok(())
}

/// Cyrus' programs ask for the port of `lmtp` by name, which Debian does not have.
fn name_services() -> Result<()> {
    let mut text = fs::read_to_string("/etc/services")?;
    for (name, port) in [("lmtp", "24/tcp"), ("mupdate", "3905/tcp")] {
        if !text.lines().any(|line| line.split_ascii_whitespace().next() == Some(name)) {
            text += &format!("{name}\t{port}\t# for comparisons of mail proxies\n");
            fs::write("/etc/services", &text)?;
        }
    }
    Ok(())
}

/// All of Dovecot's programs in one folder, as its configuration wants them.
pub(super) fn dovecot_programs(folder: &Path) -> Result<()> {
    let login = dovecot_login(folder).context("imap-login is not there; --system unpacks it")?;
    let together = folder.join("dovecot/libexec");
    fs::create_dir_all(&together)?;
    for place in [PathBuf::from(DOVECOT_PROGRAMS), login] {
        for entry in fs::read_dir(&place)? {
            let entry = entry?;
            let link = together.join(entry.file_name());
            if link.symlink_metadata().is_err() {
                symlink(entry.path(), link)?;
            }
        }
    }
    Ok(())
}

/// User and group of Cyrus.
pub(super) fn cyrus_user() -> Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd")?;
    let line =
        users.lines().find_map(|line| line.strip_prefix("cyrus:")).context("there is no user cyrus")?;
    let mut fields = line.split(':').skip(1);
    let mut number = || fields.next().and_then(|field| field.parse().ok());
    number().zip(number()).context("the line of user cyrus in /etc/passwd is damaged")
}

/// Writes the passwords of all users where Cyrus reads them.
pub(super) fn passwords(path: &Path, users: usize) -> Result<()> {
    let load = ["db5.3_load", "db_load"].into_iter().find(|program| version(program, "-V").is_some());
    let load = load.context("db5.3_load is not there; --system installs it")?;
    let input = path.with_extension("in");
    let records = (0..users).map(|n| format!("u{n}\\00localhost\\00userPassword\npassword\n"));
    fs::write(&input, records.collect::<String>())?;
    run(Command::new(load).args(["-T", "-t", "hash"]).arg(path).stdin(fs::File::open(&input)?))?;
    Ok(fs::remove_file(&input)?)
}

/// What a peer says it is, or why it cannot take part.
pub(super) fn version_of(kind: Kind, rookeryd: &Path, folder: &Path, is_root: bool) -> Result<String> {
    if kind.needs_root() && !is_root {
        bail!("wants to be started by root");
    }
    let said = match kind {
        Kind::Nginx if !Path::new(NGINX_MODULE).exists() => bail!("{NGINX_MODULE} is not there"),
        Kind::Nginx => version("nginx", "-v"),
        Kind::Haproxy => version("haproxy", "-v"),
        Kind::Dovecot if dovecot_login(folder).is_none() => bail!("imap-login is not there"),
        Kind::Dovecot => version("dovecot", "--version").map(|version| format!("Dovecot {version}")),
        Kind::Cyrus if !Path::new(CYRUS_MASTER).exists() => bail!("{CYRUS_MASTER} is not there"),
        Kind::Cyrus => version("/usr/lib/cyrus/bin/master", "-V").or_else(cyrus_package),
        Kind::Rookery if !rookeryd.exists() => bail!("{} is not there", rookeryd.display()),
        Kind::Rookery => Some(format!("Rookery {} {}", env!("CARGO_PKG_VERSION"), commit())),
    };
    said.with_context(|| format!("{} cannot be run; --system installs it", kind.name()))
}

/// The commit of the tree that this is called from, if it is one.
fn commit() -> String {
    let said = version("git", "--version").and_then(|_| {
        let output =
            Command::new("git").args(["describe", "--always", "--dirty"]).stderr(Stdio::null()).output();
        String::from_utf8(output.ok()?.stdout).ok()
    });
    said.unwrap_or_default().trim().to_owned()
}

fn cyrus_package() -> Option<String> {
    let output =
        Command::new("dpkg-query").args(["-W", "-f", "Cyrus ${Version}", "cyrus-imapd"]).output().ok()?;
    String::from_utf8(output.stdout).ok()
}

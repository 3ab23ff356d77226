//! Who is served MUPDATE, and how: the `mupdate` lines of cyrus.conf and the options of its clients.

use std::fs;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use mupdate::master::{self, Role};
use protocols::conf::{ConfError, CyrusConf, DurationUnit, Imapd, cyrus::Entry};
use protocols::places::Places;
use protocols::proxy::Level;
use protocols::sasl::{Mechanism, Offer};

use super::{ProcessSecret, imap, passwords, wrong};
use crate::helpers::PasswordSource;
use crate::listen::Listen;
use crate::tls::{self, ClientCertificates};

/// Time to log in; Cyrus gives 180 minutes, in which a stray connection holds a descriptor.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Silence after which a client is gone, as in Cyrus.
const IDLE_TIMEOUT: Duration = Duration::from_secs(180 * 60);

/// One process has one memory, however often its configuration is read.
static COMPRESSION: LazyLock<Places> = LazyLock::new(|| Places::new(driver::deflate::COMPRESSED_MAX));

/// What serves MUPDATE clients.
#[derive(Clone)]
pub struct Serving {
    /// The line's name, which prefixes options of its own.
    pub name: Box<str>,
    /// What it listens on.
    pub listen: Listen,
    /// What its sessions are made with.
    pub machine: Arc<master::Config>,
    /// Where the passwords of its clients are checked.
    pub passwords: PasswordSource,
    /// `mupdate_connections_max`; `None` is what descriptors allow.
    pub connections_max: Option<usize>,
}

/// A master that runs beside a frontend as a process of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MasterLine {
    /// The line's name.
    pub name: Box<str>,
}

/// What a frontend's `mupdate` lines ask for.
#[derive(Default)]
pub(super) struct MupdateLines {
    /// `mupdate`: the frontend's own list is served.
    pub(super) slave: Option<Serving>,
    /// `mupdate -m`.
    pub(super) master: Option<MasterLine>,
}

/// How the program of a line is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// Without `-m`.
    Slave,
    /// With it.
    Master,
}

/// The lines that run `mupdate`, each with its mode.
pub(super) fn lines(cyrus: &CyrusConf) -> impl Iterator<Item = (&Entry, Mode)> {
    cyrus.services.iter().filter_map(|entry| match entry.program()? {
        ("mupdate", arguments) if arguments.contains(&"-m") => Some((entry, Mode::Master)),
        ("mupdate", _) => Some((entry, Mode::Slave)),
        _ => None,
    })
}

/// Reads a frontend's lines; the first of each kind counts.
pub(super) fn of_frontend(
    imapd: &Imapd,
    cyrus: &CyrusConf,
    file: &str,
    tls: &tls::Settings,
    secret: &ProcessSecret,
    notes: &mut Vec<(Level, Box<str>)>,
) -> Result<MupdateLines, ConfError> {
    let mut found = MupdateLines::default();
    for (entry, mode) in lines(cyrus) {
        let is_second = match mode {
            Mode::Slave => found.slave.is_some(),
            Mode::Master => found.master.is_some(),
        };
        if is_second {
            notes
                .push((Level::Warn, entry.error("a second line of its kind: not served").to_string().into()));
        } else if mode == Mode::Master {
            found.master = Some(MasterLine { name: entry.name.as_str().into() });
        } else {
            let own = imapd.for_service(&entry.name);
            let master = own.text("mupdate_server").unwrap_or_default().into();
            let role = Role::Slave { master };
            found.slave = Some(serving(&own, file, &entry.name, Listen::of(entry)?, role, tls, secret)?);
        }
    }
    Ok(found)
}

/// Reads the options of MUPDATE clients; `imapd` is the view of the service `name`.
pub(super) fn serving(
    imapd: &Imapd,
    file: &str,
    name: &str,
    listen: Listen,
    role: Role,
    tls: &tls::Settings,
    secret: &ProcessSecret,
) -> Result<Serving, ConfError> {
    let passwords = passwords::source(imapd, file)?;
    if matches!((&role, &passwords), (Role::Master, PasswordSource::Backend)) {
        let expected = "expected saslauthd or passwd_file: no backend knows who may speak to the master";
        return Err(wrong(imapd, file, "sasl_pwcheck_method", expected));
    }
    let limit = imapd.integer("mupdate_connections_max", 0)?;
    let connections_max = usize::try_from(limit)
        .map_err(|_| wrong(imapd, file, "mupdate_connections_max", "expected 0 or more"))?;
    let machine = master::Config {
        servername: imap::servername(imapd),
        version: env!("CARGO_PKG_VERSION").into(),
        role,
        admins: admins(imapd),
        offer: Offer {
            mechanisms: mechanisms(imapd, file, &passwords, &tls.client_certificates)?,
            external: None,
            fake_salt_secret: secret.0.clone(),
            fake_iterations: imap::FAKE_ITERATIONS,
        },
        allow_plaintext: imapd.switch("allowplaintext", false)?,
        // As for IMAP: somebody with a certificate expects it.
        starttls: tls.server.is_some() && imapd.switch("allowstarttls", true)?,
        failed_login_pause: imapd.duration(
            "failedloginpause",
            DurationUnit::Seconds,
            Duration::from_secs(3),
        )?,
        compression: Some(COMPRESSION.clone()),
        login_timeout: LOGIN_TIMEOUT,
        idle_timeout: IDLE_TIMEOUT,
        slow_command: imap::slow_command(imapd)?,
    };
    Ok(Serving {
        name: name.into(),
        listen,
        machine: Arc::new(machine),
        passwords,
        connections_max: Some(connections_max).filter(|n| *n > 0),
    })
}

/// Those of `sasl_mech_list` that can be served; without it those that any line of a password file
/// serves.
fn mechanisms(
    imapd: &Imapd,
    file: &str,
    passwords: &PasswordSource,
    certificates: &ClientCertificates,
) -> Result<Vec<Mechanism>, ConfError> {
    let listed = imapd.list("sasl_mech_list");
    let mut mechanisms: Vec<Mechanism> = match listed.as_slice() {
        [] => vec![Mechanism::Plain, Mechanism::Login, Mechanism::External],
        listed => listed.iter().filter_map(|name| Mechanism::parse(name.as_bytes())).collect(),
    };
    mechanisms.retain(|mechanism| match mechanism {
        Mechanism::Plain | Mechanism::Login => !matches!(passwords, PasswordSource::Backend),
        Mechanism::ScramSha256 | Mechanism::ScramSha1 => passwords.file().is_some(),
        Mechanism::External => *certificates != ClientCertificates::Off,
    });
    if mechanisms.is_empty() && !matches!(passwords, PasswordSource::Backend) {
        let expected = "expected PLAIN, LOGIN, SCRAM (with passwd_file) or EXTERNAL (with tls_client_certs)";
        return Err(wrong(imapd, file, "sasl_mech_list", expected));
    }
    Ok(mechanisms)
}

/// `admins`; a `group:x` stands for the members that /etc/group lists.
fn admins(imapd: &Imapd) -> Vec<Box<[u8]>> {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let mut admins: Vec<Box<[u8]>> = Vec::new();
    for admin in imapd.list("admins") {
        match admin.strip_prefix("group:") {
            None => admins.push(admin.as_bytes().into()),
            Some(group) => admins.extend(members(&groups, group).map(|user| user.as_bytes().into())),
        }
    }
    admins
}

/// `name:password:gid:user,user`.
fn members<'a>(groups: &'a str, group: &str) -> impl Iterator<Item = &'a str> {
    let line = groups.lines().find(|line| line.split(':').next() == Some(group));
    line.and_then(|line| line.split(':').nth(3))
        .into_iter()
        .flat_map(|users| users.split(','))
        .map(str::trim)
        .filter(|user| !user.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_a_group_are_those_of_its_line() {
        let groups = "mail:x:8:\nmurder:x:900:be1, be2\nmurderers:x:901:eve\n";
        assert_eq!(members(groups, "murder").collect::<Vec<_>>(), ["be1", "be2"]);
        assert_eq!(members(groups, "mail").count(), 0);
        assert_eq!(members(groups, "none").count(), 0);
    }
}

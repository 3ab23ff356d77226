//! Which list is meant: Cyrus' database on a backend, or a list of ours.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use cyrusdb::{Mailbox, Mbtype, Twoskip};
use protocols::conf::Imapd;
use protocols::proxy::Change;
use store::{OnDamage, Opened, Store, StoreError};

/// A list on this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// The `mailboxes.db` of a Cyrus backend. It is never written.
    Cyrus(PathBuf),
    /// The list of a master or a frontend of ours.
    Ours(PathBuf),
}

/// What was asked for would change Cyrus' own database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IsCyrus {
    /// The options of Cyrus' program that do it.
    pub options: &'static str,
}

impl fmt::Display for IsCyrus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = self.options;
        write!(
            f,
            "{options} would change Cyrus' own database, which is not done here: use Cyrus' ctl_mboxlist {options}"
        )
    }
}

impl std::error::Error for IsCyrus {}

/// Chooses by `-f`, else by what this server is.
pub(crate) fn choose(imapd: &Imapd, named: Option<&Path>) -> anyhow::Result<Place> {
    if let Some(path) = named {
        return Ok(if path.is_dir() { Place::Ours(path.into()) } else { Place::Cyrus(path.into()) });
    }
    let folder = imapd.text("configdirectory").context("configdirectory is not set: expected a folder")?;
    let folder = Path::new(folder);
    let path = |key: &str, name: &str| imapd.text(key).map_or_else(|| folder.join(name), PathBuf::from);
    let database = Place::Cyrus(path("mboxlist_db_path", "mailboxes.db"));
    if holds_mail(imapd) {
        return Ok(database);
    }
    let ours = [path("rookery_master_path", "rookery-master"), path("rookery_list_path", "rookery-list")];
    let mut there = ours.into_iter().filter(|path| path.is_dir());
    match (there.next(), there.next()) {
        (Some(one), None) => Ok(Place::Ours(one)),
        (None, _) => Ok(database),
        (Some(one), Some(other)) => {
            bail!("two lists here: name one of {} and {} with -f", one.display(), other.display())
        }
    }
}

/// Whether this server is a backend.
fn holds_mail(imapd: &Imapd) -> bool {
    let is_discrete = imapd.text("mupdate_config").is_none_or(|mode| mode == "standard");
    imapd.value("proxyservers").is_some() || !is_discrete
}

/// Reads a copy of Cyrus' database.
pub(crate) fn read_cyrus(path: &Path) -> anyhow::Result<Twoskip> {
    cyrusdb::copy(path).with_context(|| path.display().to_string())
}

/// Opens a list of ours.
pub(crate) fn open_ours(path: &Path) -> anyhow::Result<Opened> {
    if !path.is_dir() {
        bail!("{} is no folder: expected the list of a master or a frontend", path.display());
    }
    Store::open(path, OnDamage::Refuse).map_err(|error| {
        let is_in_use = matches!(error, StoreError::InUse { .. });
        let advice = "stop the daemon whose list it is, or ask that by MUPDATE";
        if is_in_use { anyhow::Error::new(error).context(advice) } else { error.into() }
    })
}

/// A mailbox of our list as Cyrus' master has it in its database.
pub(crate) fn mailbox(change: &Change) -> Option<Mailbox> {
    let (name, location, acl, mbtype) = match change {
        Change::Active(entry) => (&entry.name, &entry.location, &*entry.acl, Mbtype::REMOTE),
        Change::Reserved { name, location } => {
            (name, location, &[][..], Mbtype::REMOTE.with(Mbtype::RESERVE))
        }
        Change::Deleted { .. } => return None,
    };
    Some(Mailbox {
        name: name.clone(),
        mbtype,
        partition: Some(location.partition().into()),
        server: location.server().map(Box::from),
        acl: acl.into(),
        ..Mailbox::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(conf: &str) -> Option<Place> {
        let imapd = Imapd::load("f", |_| Ok::<_, String>(conf.to_owned())).unwrap();
        choose(&imapd, None).ok()
    }

    #[test]
    fn a_backend_has_the_database_of_cyrus() {
        let cyrus = |path: &str| Some(Place::Cyrus(path.into()));
        let backend = "configdirectory: /nowhere\nmupdate_server: mm\nproxyservers: proxy\n";
        assert_eq!(chosen(backend), cyrus("/nowhere/mailboxes.db"));
        let elsewhere = format!("{backend}mboxlist_db_path: /run/m.db\n");
        assert_eq!(chosen(&elsewhere), cyrus("/run/m.db"));
        assert_eq!(
            chosen("configdirectory: /nowhere\nmupdate_config: unified\n"),
            cyrus("/nowhere/mailboxes.db")
        );
        assert_eq!(chosen("servername: x\n"), None);
    }

    #[test]
    fn a_master_and_a_frontend_have_the_list_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let conf = format!("configdirectory: {}\n", folder.path().display());
        std::fs::create_dir(folder.path().join("rookery-list")).unwrap();
        assert_eq!(chosen(&conf), Some(Place::Ours(folder.path().join("rookery-list"))));
        std::fs::create_dir(folder.path().join("rookery-master")).unwrap();
        assert_eq!(chosen(&conf), None, "two lists, and none is named");
    }
}

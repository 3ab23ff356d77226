//! A backend's truth over IMAP: its own LIST and GETACL, as an administrator.

use std::collections::BTreeMap;

use client::{ClientError, Imap, conf};
use mupdate::list::Builder;
use protocols::conf::ConfError;
use protocols::imap::grammar::responses::list;
use protocols::imap::grammar::{Status, UntaggedKind};
use protocols::mailbox::{Identity, Namespace};
use protocols::proxy::{Change, Entry, Location};
use protocols::wire::quote::astring_out;
use protocols::wire::{Cursor, SyntaxError};

use super::super::model::{Backend, Depth};
use super::Servers;
use crate::output::shown;

/// Why a backend could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The connection.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An option about it.
    #[error(transparent)]
    Configuration(#[from] ConfError),
    /// It refuses to list.
    #[error("{command} refused: {text}")]
    Refused {
        /// The verb.
        command: &'static str,
        /// Its text.
        text: String,
    },
}

/// Cyrus 3.6 gives the partition of every mailbox with its LIST response (RFC 9590).
const LIST_WITH_PARTITIONS: &[u8] =
    b"LIST \"\" \"*\" RETURN (METADATA (/shared/vendor/cmu/cyrus-imapd/partition))";

/// GETACL commands on their way at a time.
const COMMANDS_MAX: usize = 100;

/// What older ones understand.
const LIST: &[u8] = b"LIST \"\" \"*\"";

/// A mailbox as the backend calls it, and where it is.
struct Listed {
    external: Vec<u8>,
    separator: u8,
    internal: Vec<u8>,
    partition: Vec<u8>,
}

/// Lists a backend's own mailboxes.
pub(super) fn read(name: &str, servers: &Servers) -> Result<Backend, ReadError> {
    let (endpoint, mut login) = conf::backend(&servers.imapd, name)?;
    login.authzid = authzid(servers, &login.proxy.authname);
    let user = if login.authzid.is_empty() { login.proxy.authname.clone() } else { login.authzid.clone() };
    let admin = Identity { user, is_admin: true, ..Identity::default() };
    let mut imap = Imap::connect(&endpoint, &login)?;
    let listed = list_all(&mut imap, &servers.namespace, &admin)?;
    if let Some(other) = listed.iter().find(|mailbox| mailbox.separator != servers.namespace.separator) {
        let (theirs, ours) = (char::from(other.separator), char::from(servers.namespace.separator));
        eprintln!(
            "rookery: backend {}: names have {theirs:?} between their parts there and {ours:?} here: \
             unixhierarchysep must be the same",
            shown(name.as_bytes())
        );
    }
    let (mut builder, mut moving) = (Builder::new(), BTreeMap::new());
    let mut sent = 0;
    for at in 0..listed.len() {
        while servers.with_acls && sent < listed.len().min(at + COMMANDS_MAX) {
            imap.send(&getacl(&listed[sent].external))?;
            sent += 1;
        }
        let rights = if servers.with_acls { rights(&mut imap)? } else { Rights::Acl(Vec::new()) };
        let mailbox = &listed[at];
        let acl = match rights {
            Rights::Acl(acl) => acl,
            Rights::Moving(to) => {
                moving.insert(mailbox.internal.as_slice().into(), to);
                Vec::new()
            }
            // Deleted since it was listed.
            Rights::Gone => continue,
        };
        let location = [name.as_bytes(), b"!", &mailbox.partition].concat();
        let (name, location) = (mailbox.internal.as_slice().into(), Location(location.into()));
        builder.push(&Change::Active(Entry { name, location, acl: acl.into() }));
    }
    imap.logout();
    let depth = if servers.with_acls { Depth::Whole } else { Depth::Names };
    Ok(Backend { name: name.into(), list: builder.finish().publish(), moving, depth })
}

/// Whom to act for: the given administrator, else oneself if one is one, else the first there is.
fn authzid(servers: &Servers, authname: &[u8]) -> Box<[u8]> {
    if let Some(admin) = &servers.admin {
        return admin.clone();
    }
    let admins = servers.imapd.list("admins");
    let mut users = admins.iter().filter(|admin| !admin.starts_with("group:"));
    if admins.iter().any(|admin| admin.as_bytes() == authname) {
        return Box::default();
    }
    users.next().map(|admin| admin.as_bytes().into()).unwrap_or_default()
}

fn list_all(imap: &mut Imap, namespace: &Namespace, admin: &Identity) -> Result<Vec<Listed>, ReadError> {
    let mut listed = Vec::new();
    let completion =
        imap.command(LIST_WITH_PARTITIONS, |kind, rest| take(kind, rest, namespace, admin, &mut listed))?;
    if completion.status == Status::Ok {
        return Ok(listed);
    }
    listed.clear();
    let completion = imap.command(LIST, |kind, rest| take(kind, rest, namespace, admin, &mut listed))?;
    match completion.status {
        Status::Ok => Ok(listed),
        Status::No | Status::Bad => {
            Err(ReadError::Refused { command: "LIST", text: shown(&completion.text) })
        }
    }
}

/// Takes a LIST or METADATA response; the latter follows the former of the same mailbox.
fn take(kind: UntaggedKind, rest: &[u8], namespace: &Namespace, admin: &Identity, listed: &mut Vec<Listed>) {
    if kind == UntaggedKind::List {
        listed.extend(mailbox(rest, namespace, admin));
    } else if kind == UntaggedKind::Metadata
        && let (Ok((name, partition)), Some(last)) = (metadata(rest), listed.last_mut())
        && last.external == name
    {
        last.partition = partition;
    }
}

/// A mailbox that is there; one that only has others below it is none.
fn mailbox(rest: &[u8], namespace: &Namespace, admin: &Identity) -> Option<Listed> {
    let response = list(rest).ok()?;
    if response.has(b"\\Noselect") || response.has(b"\\NonExistent") {
        return None;
    }
    let separator = response.separator.unwrap_or(namespace.separator);
    let namespace = Namespace { separator, ..namespace.clone() };
    let internal = namespace.internal(&response.mailbox, admin).ok()?;
    Some(Listed { external: response.mailbox.into_owned(), separator, internal, partition: Vec::new() })
}

/// `mailbox SP "(" entry SP value ")"`, with one entry.
fn metadata(rest: &[u8]) -> Result<(Vec<u8>, Vec<u8>), SyntaxError> {
    let mut cursor = Cursor::new(rest);
    let name = cursor.astring()?.into_owned();
    cursor.sp()?;
    cursor.byte(b'(', "(")?;
    cursor.astring()?;
    cursor.sp()?;
    Ok((name, cursor.nstring()?.unwrap_or_default().into_owned()))
}

/// What GETACL says.
enum Rights {
    /// As in MUPDATE.
    Acl(Vec<u8>),
    /// It is being moved to this server: clients are referred there.
    Moving(Box<[u8]>),
    /// It is not there.
    Gone,
}

fn getacl(external: &[u8]) -> Vec<u8> {
    let mut command = b"GETACL ".to_vec();
    astring_out(&mut command, external);
    command
}

/// The answer to the oldest GETACL on its way.
fn rights(imap: &mut Imap) -> Result<Rights, ReadError> {
    let mut acl = None;
    let completion = imap.receive(|kind, rest| {
        if kind == UntaggedKind::Acl {
            acl = acl_of(rest).ok();
        }
    })?;
    Ok(match (completion.status, acl) {
        (Status::Ok, acl) => Rights::Acl(acl.unwrap_or_default()),
        (Status::No | Status::Bad, _) => match referral(&completion.text) {
            Some(server) => Rights::Moving(server.into()),
            None => Rights::Gone,
        },
    })
}

/// `mailbox *(SP identifier SP rights)` as `id TAB rights TAB ...`.
fn acl_of(rest: &[u8]) -> Result<Vec<u8>, SyntaxError> {
    let mut cursor = Cursor::new(rest);
    cursor.astring()?;
    let mut acl = Vec::new();
    while cursor.take_if(b' ') && !cursor.is_at_end() {
        acl.extend_from_slice(&cursor.astring()?);
        acl.push(b'\t');
    }
    Ok(acl)
}

/// The server in `[REFERRAL imap://user@server/mailbox]`.
fn referral(text: &[u8]) -> Option<&[u8]> {
    let at = memchr::memmem::find(text, b"[REFERRAL imap://")?;
    let url = &text[at + b"[REFERRAL imap://".len()..];
    let authority = url.split(|byte| matches!(byte, b'/' | b']')).next()?;
    authority.rsplit(|byte| *byte == b'@').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admin() -> Identity {
        Identity { user: (*b"cyrus").into(), is_admin: true, ..Identity::default() }
    }

    /// What a real Cyrus 3.6.1 answers an administrator.
    #[test]
    fn names_and_partitions_of_a_listing_belong_together() {
        let mut listed = Vec::new();
        let rows: [(UntaggedKind, &[u8]); 5] = [
            (UntaggedKind::List, b"(\\HasChildren) \"/\" user/user001"),
            (
                UntaggedKind::Metadata,
                b"user/user001 (\"/shared/vendor/cmu/cyrus-imapd/partition\" \"default\")",
            ),
            (UntaggedKind::List, b"(\\NonExistent \\HasChildren) \"/\" shared"),
            (UntaggedKind::List, b"(\\HasNoChildren) \"/\" \"user/john.doe/My Mail\""),
            (UntaggedKind::Metadata, b"other (\"/shared/vendor/cmu/cyrus-imapd/partition\" \"big\")"),
        ];
        for (kind, rest) in rows {
            take(kind, rest, &Namespace::default(), &admin(), &mut listed);
        }
        let names: Vec<&[u8]> = listed.iter().map(|mailbox| &*mailbox.internal).collect();
        assert_eq!(names, [&b"user.user001"[..], b"user.john^doe.My Mail"]);
        assert_eq!((&*listed[0].partition, &*listed[1].partition), (&b"default"[..], &b""[..]));
    }

    #[test]
    fn acls_are_read_as_mupdate_has_them() {
        assert_eq!(
            acl_of(b"team01 anyone lrswipkxtecd \"group:a b\" lr").unwrap(),
            b"anyone\tlrswipkxtecd\tgroup:a b\tlr\t"
        );
        assert_eq!(acl_of(b"team01").unwrap(), b"");
    }

    #[test]
    fn referrals_name_the_server_that_a_mailbox_is_moved_to() {
        let text = b"[REFERRAL imap://user001;AUTH=*@backend2.n66/user.user001] Remote mailbox.";
        assert_eq!(referral(text), Some(&b"backend2.n66"[..]));
        assert_eq!(referral(b"[REFERRAL imap://backend2:1143/x]"), Some(&b"backend2:1143"[..]));
        assert_eq!(referral(b"Mailbox does not exist"), None);
    }
}

//! What this server has, and what the master says of it.

use std::collections::HashMap;
use std::sync::Arc;

use client::{Located, Row, conf};
use cyrusdb::{DbError, Mailbox, Mbtype, Twoskip};
use protocols::conf::Imapd;

/// How this server's mailboxes stand in the master's list.
pub(super) struct Own {
    server: Box<str>,
    /// What LIST is asked for; with `mupdate_config: replicated` locations have no server.
    pub prefix: Option<Vec<u8>>,
    /// `mupdate_config: unified`: what is elsewhere is none of ours.
    pub is_unified: bool,
}

impl Own {
    pub(super) fn new(imapd: &Imapd) -> Own {
        let server = conf::servername(imapd);
        let is = |mode: &str| imapd.text("mupdate_config") == Some(mode);
        let prefix = (!is("replicated")).then(|| format!("{server}!").into_bytes());
        Own { server, prefix, is_unified: is("unified") }
    }

    fn location(&self, partition: &[u8]) -> Arc<[u8]> {
        match &self.prefix {
            Some(prefix) => [prefix, partition].concat().into(),
            None => partition.into(),
        }
    }
}

/// A mailbox that lives here.
pub(super) struct Local {
    pub name: Box<[u8]>,
    /// `servername!partition`.
    pub location: Arc<[u8]>,
    pub acl: Box<[u8]>,
    /// The entry, if it is flagged as moving.
    pub moving: Option<Box<Mailbox>>,
    pub standing: Standing,
}

/// What the master says of a mailbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// Not a word.
    Unlisted,
    /// The same.
    Agrees,
    /// Here, but reserved, on another partition or with another ACL.
    Differs,
    /// On another server.
    Elsewhere(Located),
}

/// The mailboxes that live here, in the order of the database.
pub(super) struct Locals {
    server: Box<str>,
    pub rows: Vec<Local>,
    by_name: HashMap<Box<[u8]>, usize>,
}

impl Locals {
    pub(super) fn read(database: &Twoskip, own: &Own) -> Result<Locals, DbError> {
        let mut locals = Locals { server: own.server.clone(), rows: Vec::new(), by_name: HashMap::new() };
        let mut locations: HashMap<Box<[u8]>, Arc<[u8]>> = HashMap::new();
        for mailbox in database.mailboxes() {
            let mailbox = mailbox?;
            if !mailbox.is_here() {
                continue;
            }
            let partition = mailbox.partition.clone().unwrap_or_default();
            let location = locations.entry(partition).or_insert_with_key(|name| own.location(name));
            locals.by_name.insert(mailbox.name.clone(), locals.rows.len());
            locals.rows.push(Local {
                name: mailbox.name.clone(),
                location: Arc::clone(location),
                acl: mailbox.acl.clone(),
                moving: mailbox.mbtype.has(Mbtype::MOVING).then(|| Box::new(mailbox)),
                standing: Standing::Unlisted,
            });
        }
        Ok(locals)
    }

    /// Takes a row of what the master has of this server; false when the mailbox is not here.
    pub(super) fn note_listed(&mut self, row: &Row<'_>) -> bool {
        let Some(local) = self.by_name.get(row.name).and_then(|at| self.rows.get_mut(*at)) else {
            return false;
        };
        local.standing = local.compare(row.location, row.acl);
        true
    }

    /// Takes what FIND found.
    pub(super) fn note_found(&mut self, at: usize, located: Located) {
        let server = located.location.split(|byte| *byte == b'!').next().unwrap_or_default();
        let is_ours = server.eq_ignore_ascii_case(self.server.as_bytes());
        let local = &mut self.rows[at];
        local.standing = match is_ours {
            true => local.compare(&located.location, located.acl.as_deref()),
            false => Standing::Elsewhere(located),
        };
    }

    /// Where in `rows` the mailboxes are that the master did not list.
    pub(super) fn unlisted(&self) -> Vec<usize> {
        let unlisted = |at: &usize| self.rows[*at].standing == Standing::Unlisted;
        (0..self.rows.len()).filter(unlisted).collect()
    }
}

impl Local {
    fn compare(&self, location: &[u8], acl: Option<&[u8]>) -> Standing {
        let agrees = *self.location == *location && acl == Some(&*self.acl);
        if agrees { Standing::Agrees } else { Standing::Differs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locals() -> Locals {
        let own = Own { server: "be1".into(), prefix: Some((*b"be1!").into()), is_unified: false };
        let bytes = include_bytes!("../../../cyrusdb/tests/data/plain.db").to_vec();
        Locals::read(&Twoskip::new(bytes).unwrap(), &own).unwrap()
    }

    fn standing(locals: &Locals, name: &str) -> Standing {
        locals.rows[locals.by_name[name.as_bytes()]].standing.clone()
    }

    #[test]
    fn tombstones_and_placeholders_are_not_here() {
        let locals = locals();
        let names: Vec<_> = locals.rows.iter().map(|local| String::from_utf8_lossy(&local.name)).collect();
        assert_eq!(names.len(), 10, "{names:?}");
        assert!(!names.iter().any(|name| name == "user.gone" || name == "user.mid"));
    }

    #[test]
    fn location_and_acl_must_be_the_same_to_agree() {
        let mut locals = locals();
        let acl = b"an.ne\tlrs\t";
        for (location, acl, expected) in [
            (&b"be1!p2"[..], Some(&acl[..]), Standing::Agrees),
            (b"be1!default", Some(acl), Standing::Differs),
            (b"be1!p2", Some(b"an.ne\tlr\t"), Standing::Differs),
            (b"be1!p2", None, Standing::Differs),
        ] {
            assert!(locals.note_listed(&Row { name: b"user.an^ne", location, acl }));
            assert_eq!(standing(&locals, "user.an^ne"), expected);
        }
        assert!(!locals.note_listed(&Row { name: b"user.nobody", location: b"be1!p", acl: None }));
        assert_eq!(locals.unlisted().len(), 9);
    }

    #[test]
    fn servers_are_the_same_in_any_case() {
        let mut locals = locals();
        let found = |location: &[u8]| Located { location: location.into(), acl: None };
        locals.note_found(0, found(b"BE1!default"));
        assert_eq!(locals.rows[0].standing, Standing::Differs);
        locals.note_found(0, found(b"be2!default"));
        assert_eq!(locals.rows[0].standing, Standing::Elsewhere(found(b"be2!default")));
    }
}

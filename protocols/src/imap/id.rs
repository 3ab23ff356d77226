//! ID (RFC 2971): what a session tells backends of itself and its client; CAPABILITY, and the session id.

use super::backend::Backend;
use super::grammar::{IdPair, id_args};
use super::info::{after_login, before_login};
use super::session::Session;
use super::state::{Papers, Phase};
use crate::login::desk::host_of;
use crate::proxy::BackendId;
use crate::wire::LiteralStyle;
use crate::wire::quote::{nstring_out, quoted_out, string_out};

/// Bytes of the client's own ID that are passed on.
const ID_FIELDS_BYTES_MAX: usize = 2048;

/// Pairs of the client's own ID that are passed on: "implementations MUST NOT send more than 30
/// field-value pairs" (RFC 2971 section 3.3), and two are ours.
const ID_FIELDS_MAX: usize = 28;

/// Fields that only a proxy says, which a client must not say in its place.
const ID_PROXY_FIELDS: [&str; 4] = ["x-originating-", "x-session-", "x-connected-", "x-proxy-"];

impl Session {
    /// What CAPABILITY says at the moment.
    pub(super) fn capabilities(&self) -> String {
        match &self.phase {
            Phase::Guest(guest) => before_login(&self.config, guest.is_tls()),
            Phase::User(user) => after_login(&self.config, &user.offered, self.is_compressed()),
        }
    }

    /// CAPABILITY of a client who has not logged in.
    pub(super) fn capability(&mut self, tag: &[u8]) {
        let capabilities = self.capabilities();
        self.tell_client(&[b"* CAPABILITY ", capabilities.as_bytes(), b"\r\n", tag, b" OK Completed\r\n"]);
    }

    /// ID (RFC 2971): the backends hear it too, those that are connected and those that will be.
    pub(super) fn id(&mut self, tag: &[u8], args: &[u8]) {
        let Ok(pairs) = id_args(args) else {
            self.bad(tag, b"BAD Invalid parameter list in Id");
            return;
        };
        self.bad_commands = 0;
        let fields = client_fields(&pairs);
        if *self.papers().fields != *fields {
            self.papers().fields = fields.into();
            let connected: Vec<BackendId> =
                self.backends.iter().filter(|backend| backend.is_ready()).map(Backend::id).collect();
            connected.into_iter().for_each(|id| self.identify(id));
        }
        let mut out = b"* ID (\"name\" \"Rookery\"".to_vec();
        if self.config.id_response {
            out.extend_from_slice(b" \"version\" ");
            string_out(&mut out, self.config.version.as_bytes(), LiteralStyle::Synchronising);
        }
        self.tell_client(&[&out, b")\r\n", tag, b" OK Completed\r\n"]);
    }

    pub(super) fn papers(&mut self) -> &mut Papers {
        self.papers.get_or_insert_default()
    }

    /// The id by which logs of frontend and backends are joined; the same for all of the session.
    pub(super) fn session_id(&mut self) -> Box<str> {
        if self.papers().session_id.is_empty() {
            self.papers().session_id = self.new_session_id().into();
        }
        self.papers().session_id.clone()
    }

    /// The arguments of the ID that a backend is told: the client's own, where he is, and the session.
    pub(super) fn id_for_backend(&mut self) -> Vec<u8> {
        let session_id = self.session_id();
        let fields = &self.papers().fields;
        let mut out = b"(".to_vec();
        out.extend_from_slice(if fields.is_empty() { b"\"name\" \"Rookery\"" } else { fields });
        let address = host_of(&self.origin.client_address);
        out.extend_from_slice(b" \"x-originating-ip\" ");
        let address = (!address.is_empty()).then_some(address.as_bytes());
        nstring_out(&mut out, address, LiteralStyle::NonSynchronising);
        out.extend_from_slice(b" \"x-session-id\" ");
        string_out(&mut out, session_id.as_bytes(), LiteralStyle::NonSynchronising);
        out.push(b')');
        out
    }

    fn new_session_id(&mut self) -> String {
        let nonce = self.nonce();
        let (number, _) = nonce.split_at(8);
        let random = number.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        format!("{}-{}-1-{random}", self.config.servername, self.origin.started_unix)
    }
}

/// The pairs of a client as they go to backends. What a backend would refuse, and with it all, is left
/// out: long fields and values, and what no quoted string holds.
fn client_fields(pairs: &[IdPair<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let is_proxy_field = |field: &[u8]| {
        ID_PROXY_FIELDS.iter().any(|prefix| {
            field.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix.as_bytes()))
        })
    };
    let fits = |(field, value): &&IdPair<'_>| {
        field.len() <= 30 && value.as_ref().is_none_or(|value| value.len() <= 1024) && !is_proxy_field(field)
    };
    for (field, value) in pairs.iter().filter(fits).take(ID_FIELDS_MAX) {
        let mut pair = Vec::new();
        let is_quoted = quoted_out(&mut pair, field).is_ok() && {
            pair.push(b' ');
            match value {
                Some(value) => quoted_out(&mut pair, value).is_ok(),
                None => {
                    pair.extend_from_slice(b"NIL");
                    true
                }
            }
        };
        if is_quoted && out.len() + pair.len() < ID_FIELDS_BYTES_MAX {
            out.extend_from_slice(if out.is_empty() { b"" } else { b" " });
            out.extend_from_slice(&pair);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_s_own_id_is_passed_but_not_in_the_name_of_a_proxy() {
        let passed = |args: &[u8]| String::from_utf8(client_fields(&id_args(args).unwrap())).unwrap();
        let told = passed(b"(\"name\" \"Mail \\\"X\\\"\" \"os\" NIL \"X-Originating-IP\" \"10.0.0.1\")");
        assert_eq!(told, "\"name\" \"Mail \\\"X\\\"\" \"os\" NIL");
        assert_eq!(passed(b"NIL"), "");
        assert_eq!(passed(format!("(\"{}\" \"x\" \"a\" \"b\")", "f".repeat(31)).as_bytes()), "\"a\" \"b\"");
        let many = vec!["\"a\" NIL"; 30].join(" ");
        assert_eq!(passed(format!("({many})").as_bytes()).matches("NIL").count(), ID_FIELDS_MAX);
    }
}

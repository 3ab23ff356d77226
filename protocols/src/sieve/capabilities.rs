//! What CAPABILITY says: of the frontend, and of the servers behind it.

use super::grammar::server_string;
use crate::login::config::Common;
use crate::proxy::BackendCapabilities;
use crate::wire::quote::quoted_out;

/// What Cyrus 3.6 offers, as items that can be compared with a server's.
pub fn cyrus_3_6() -> Vec<Box<str>> {
    let words = |line: &&'static str| {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        value.split(' ').map(move |word| format!("{name} {word}").into())
    };
    CYRUS_3_6.iter().flat_map(words).collect()
}

/// What every server offers as long as none was seen: Cyrus 3.6.
const CYRUS_3_6: [&str; 3] = [
    "SIEVE encoded-character comparator-i;ascii-numeric fileinto reject ereject vacation vacation-seconds notify \
     enotify include editheader envelope environment body imap4flags date ihave mailbox mboxmetadata servermetadata \
     duplicate relational regex extlists subaddress copy index variables redirect-deliverby redirect-dsn special-use \
     fcc mailboxid",
    "NOTIFY mailto",
    "EXTLISTS urn:ietf:params:sieve:addrbook",
];

/// Capabilities of a server that are not passed on: they are the frontend's own.
const OWN: [&[u8]; 6] = [b"IMPLEMENTATION", b"VERSION", b"SASL", b"STARTTLS", b"UNAUTHENTICATE", b"OWNER"];

/// Bytes kept of what a server offers.
pub(super) const KEPT_BYTES_MAX: usize = 8 * 1024;

/// A line of the capabilities of a server: name, and value if it has one.
fn entry(line: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let (name, rest) = server_string(line)?;
    let value = rest.strip_prefix(b" ").and_then(server_string).map(|(value, _)| value.into_owned());
    Some((name.to_ascii_uppercase(), value))
}

/// Whether a line of a server is one for the client.
pub(super) fn is_passed(line: &[u8]) -> bool {
    entry(line).is_some_and(|(name, _)| !OWN.contains(&name.as_slice()))
}

/// One line of a server as items that can be compared with another server's: `SIEVE fileinto`.
pub(super) fn items(line: &[u8]) -> Vec<Box<str>> {
    let Some((name, value)) = entry(line) else { return Vec::new() };
    let name = String::from_utf8_lossy(&name).into_owned();
    match value.filter(|value| !value.is_empty()) {
        None => vec![name.into()],
        Some(value) => String::from_utf8_lossy(&value)
            .split_ascii_whitespace()
            .map(|word| format!("{name} {word}").into())
            .collect(),
    }
}

/// Who asks.
pub(super) struct Asker<'a> {
    pub(super) common: &'a Common,
    pub(super) tls: bool,
    /// Who is logged in, and what his server offers.
    pub(super) user: Option<(&'a [u8], &'a [u8])>,
    /// What all servers offer.
    pub(super) offered: &'a BackendCapabilities,
}

impl Asker<'_> {
    /// Appends all lines and the OK.
    pub(super) fn tell(&self, out: &mut Vec<u8>) {
        let implementation = format!("Rookery {}", self.common.version);
        line_out(out, "IMPLEMENTATION", Some(implementation.as_bytes()));
        line_out(out, "VERSION", Some(b"1.0"));
        match self.user {
            None => {
                let names: Vec<&str> = self.mechanisms().collect();
                line_out(out, "SASL", Some(names.join(" ").as_bytes()));
                self.offered_out(out);
            }
            Some((_, server)) => out.extend_from_slice(server),
        }
        if !self.tls && self.common.login.starttls && self.user.is_none() {
            line_out(out, "STARTTLS", None);
        }
        if let Some((user, _)) = self.user {
            line_out(out, "OWNER", Some(user));
        }
        line_out(out, "UNAUTHENTICATE", None);
        out.extend_from_slice(b"OK\r\n");
    }

    fn mechanisms(&self) -> impl Iterator<Item = &'static str> {
        self.common.login.offered(self.tls).map(crate::sasl::Mechanism::name)
    }

    fn offered_out(&self, out: &mut Vec<u8>) {
        if self.offered.servers == 0 {
            for line in CYRUS_3_6 {
                let (name, value) = line.split_once(' ').unwrap_or((line, ""));
                line_out(out, name, Some(value.as_bytes()));
            }
            return;
        }
        let mut lines: Vec<(&str, Vec<&str>)> = Vec::new();
        for item in &self.offered.common {
            let (name, word) =
                item.split_once(' ').map_or((&**item, None), |(name, word)| (name, Some(word)));
            let at = lines.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
                lines.push((name, Vec::new()));
                lines.len() - 1
            });
            lines[at].1.extend(word);
        }
        for (name, words) in lines {
            let value = words.join(" ");
            line_out(out, name, (!words.is_empty()).then_some(value.as_bytes()));
        }
    }
}

/// Writes `"NAME" "value"`.
fn line_out(out: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.push(b'"');
    if let Some(value) = value {
        out.push(b' ');
        // User ids and what servers say on one line hold no line end.
        if quoted_out(out, value).is_err() {
            out.extend_from_slice(b"\"\"");
        }
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_frontends_own_is_not_passed() {
        assert!(is_passed(b"\"SIEVE\" \"fileinto\"\r\n") && is_passed(b"\"MAXREDIRECTS\" \"5\"\r\n"));
        assert!(
            !is_passed(b"\"starttls\"\r\n")
                && !is_passed(b"\"OWNER\" \"x\"\r\n")
                && !is_passed(b"nonsense\r\n")
        );
    }

    #[test]
    fn items_are_told_as_lines_again() {
        let mut common = items(b"\"SIEVE\" \"fileinto copy\"\r\n");
        common.extend(items(b"\"X-FLAG\"\r\n"));
        common.extend(items(b"\"NOTIFY\" {6}\r\nmailto\r\n"));
        let offered = BackendCapabilities { common, servers: 1, ..BackendCapabilities::default() };
        let mut out = Vec::new();
        Asker { common: &Common::default(), tls: true, user: None, offered: &offered }.tell(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("\"SIEVE\" \"fileinto copy\"\r\n\"X-FLAG\"\r\n\"NOTIFY\" \"mailto\"\r\n"),
            "{text}"
        );
    }
}

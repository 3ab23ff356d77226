//! What a server offers, and what of it is enabled.

/// What a backend offers, as far as a frontend acts on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offer(u32);

impl Offer {
    /// LITERAL+ (RFC 7888).
    pub const LITERAL_PLUS: Offer = Offer(1);
    /// LITERAL- (RFC 7888): `{n+}` up to 4096 bytes.
    pub const LITERAL_MINUS: Offer = Offer(1 << 1);
    /// STARTTLS.
    pub const STARTTLS: Offer = Offer(1 << 2);
    /// SASL-IR (RFC 4959).
    pub const SASL_IR: Offer = Offer(1 << 3);
    /// ENABLE (RFC 5161).
    pub const ENABLE: Offer = Offer(1 << 4);
    /// ID (RFC 2971).
    pub const ID: Offer = Offer(1 << 5);
    /// CONDSTORE (RFC 7162).
    pub const CONDSTORE: Offer = Offer(1 << 6);
    /// QRESYNC (RFC 7162).
    pub const QRESYNC: Offer = Offer(1 << 7);
    /// IDLE (RFC 2177).
    pub const IDLE: Offer = Offer(1 << 8);
    /// UNSELECT (RFC 3691).
    pub const UNSELECT: Offer = Offer(1 << 9);
    /// MULTIAPPEND (RFC 3502).
    pub const MULTIAPPEND: Offer = Offer(1 << 10);
    /// METADATA (RFC 5464).
    pub const METADATA: Offer = Offer(1 << 11);
    /// MOVE (RFC 6851).
    pub const MOVE: Offer = Offer(1 << 12);
    /// UIDPLUS (RFC 4315).
    pub const UIDPLUS: Offer = Offer(1 << 13);
    /// LIST-EXTENDED (RFC 5258).
    pub const LIST_EXTENDED: Offer = Offer(1 << 14);
    /// LIST-STATUS (RFC 5819).
    pub const LIST_STATUS: Offer = Offer(1 << 15);
    /// BINARY (RFC 3516).
    pub const BINARY: Offer = Offer(1 << 16);
    /// QUOTASET (RFC 9208).
    pub const QUOTASET: Offer = Offer(1 << 17);
    /// COMPRESS=DEFLATE (RFC 4978).
    pub const COMPRESS: Offer = Offer(1 << 18);
    /// REPLACE (RFC 8508).
    pub const REPLACE: Offer = Offer(1 << 19);
    /// UTF8=ACCEPT (RFC 6855).
    pub const UTF8_ACCEPT: Offer = Offer(1 << 20);
    /// UIDONLY (RFC 9586).
    pub const UIDONLY: Offer = Offer(1 << 21);
    /// NOTIFY (RFC 5465).
    pub const NOTIFY: Offer = Offer(1 << 22);
    /// MULTISEARCH (RFC 7377).
    pub const MULTISEARCH: Offer = Offer(1 << 23);
    /// URLAUTH (RFC 4467).
    pub const URLAUTH: Offer = Offer(1 << 24);

    /// Reads what stands behind `CAPABILITY` in a response or response code.
    pub fn read(capabilities: &[u8]) -> Offer {
        let words = capabilities.split(|byte| byte.is_ascii_whitespace());
        words.fold(Offer::default(), |offer, word| Offer(offer.0 | Offer::of(word).0))
    }

    /// This and `other`.
    pub const fn and(self, other: Offer) -> Offer {
        Offer(self.0 | other.0)
    }

    /// Whether all of `other` is offered.
    pub const fn has(self, other: Offer) -> bool {
        self.0 & other.0 == other.0
    }

    fn of(word: &[u8]) -> Offer {
        let known = NAMES.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word));
        known.map(|(_, offer)| *offer).unwrap_or_default()
    }
}

const NAMES: [(&str, Offer); 25] = [
    ("LITERAL+", Offer::LITERAL_PLUS),
    ("LITERAL-", Offer::LITERAL_MINUS),
    ("STARTTLS", Offer::STARTTLS),
    ("SASL-IR", Offer::SASL_IR),
    ("ENABLE", Offer::ENABLE),
    ("ID", Offer::ID),
    ("CONDSTORE", Offer::CONDSTORE),
    ("QRESYNC", Offer::QRESYNC),
    ("IDLE", Offer::IDLE),
    ("UNSELECT", Offer::UNSELECT),
    ("MULTIAPPEND", Offer::MULTIAPPEND),
    ("METADATA", Offer::METADATA),
    ("MOVE", Offer::MOVE),
    ("UIDPLUS", Offer::UIDPLUS),
    ("LIST-EXTENDED", Offer::LIST_EXTENDED),
    ("LIST-STATUS", Offer::LIST_STATUS),
    ("BINARY", Offer::BINARY),
    ("QUOTASET", Offer::QUOTASET),
    ("COMPRESS=DEFLATE", Offer::COMPRESS),
    ("REPLACE", Offer::REPLACE),
    ("UTF8=ACCEPT", Offer::UTF8_ACCEPT),
    ("UIDONLY", Offer::UIDONLY),
    ("NOTIFY", Offer::NOTIFY),
    ("MULTISEARCH", Offer::MULTISEARCH),
    ("URLAUTH", Offer::URLAUTH),
];

/// Extensions that are enabled (RFC 5161).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Extensions {
    /// CONDSTORE.
    pub(super) condstore: bool,
    /// QRESYNC.
    pub(super) qresync: bool,
    /// UTF8=ACCEPT: names are spelled in UTF-8, both ways.
    pub(super) utf8: bool,
    /// UIDONLY: there are no message numbers.
    pub(super) uidonly: bool,
}

impl Extensions {
    /// What of these a backend offers.
    pub(super) fn offered_by(self, offer: Offer) -> Extensions {
        Extensions {
            condstore: self.condstore && offer.has(Offer::CONDSTORE),
            qresync: self.qresync && offer.has(Offer::QRESYNC),
            utf8: self.utf8 && offer.has(Offer::UTF8_ACCEPT),
            uidonly: self.uidonly && offer.has(Offer::UIDONLY),
        }
    }

    /// These and others.
    pub(super) fn and(self, other: Extensions) -> Extensions {
        Extensions {
            condstore: self.condstore || other.condstore,
            qresync: self.qresync || other.qresync,
            utf8: self.utf8 || other.utf8,
            uidonly: self.uidonly || other.uidonly,
        }
    }

    /// Whether a backend that offers this speaks to the client as he was promised: what it does not offer
    /// of the others is merely missing.
    pub(super) fn are_kept_by(self, offer: Offer) -> bool {
        let served = self.offered_by(offer);
        (served.utf8, served.uidonly) == (self.utf8, self.uidonly)
    }

    /// As ENABLE and ENABLED name them, each with a space before it.
    pub(super) fn names(self) -> String {
        let all = [
            (self.condstore, " CONDSTORE"),
            (self.qresync, " QRESYNC"),
            (self.utf8, " UTF8=ACCEPT"),
            (self.uidonly, " UIDONLY"),
        ];
        all.into_iter().filter(|(is_on, _)| *is_on).map(|(_, name)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_in_any_case_and_unknown_ones_ignored() {
        let offer = Offer::read(b"IMAP4rev1 literal+ X-NEW QRESYNC");
        assert!(offer.has(Offer::LITERAL_PLUS) && offer.has(Offer::QRESYNC));
        assert!(!offer.has(Offer::CONDSTORE));
    }
}

//! One backend connection of an IMAP session.

use crate::proxy::BackendId;

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

    /// Reads what stands behind `CAPABILITY` in a response or response code.
    pub fn read(capabilities: &[u8]) -> Offer {
        let words = capabilities.split(|byte| byte.is_ascii_whitespace());
        words.fold(Offer::default(), |offer, word| Offer(offer.0 | Offer::of(word).0))
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

const NAMES: [(&str, Offer); 18] = [
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
];

/// One backend connection of a session.
pub struct Backend {
    id: BackendId,
    server: Box<[u8]>,
    offer: Offer,
}

impl Backend {
    /// The connection's number.
    pub fn id(&self) -> BackendId {
        self.id
    }

    /// Its server as in the list.
    pub fn server(&self) -> &[u8] {
        &self.server
    }

    /// What it offered after login.
    pub fn offer(&self) -> Offer {
        self.offer
    }
}

//! One backend connection of an LMTP session, and what it offers.

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;

use super::login::Login;
use crate::proxy::{BackendId, Instant, Side};

/// What a backend offers at LHLO, as far as a frontend acts on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offer {
    /// STARTTLS.
    pub starttls: bool,
    /// 8BITMIME: takes `BODY=`.
    pub eight_bit: bool,
    /// SIZE: takes `SIZE=`.
    pub size: bool,
    /// Bytes of a message that it takes; `None` when it names no limit.
    pub size_max: Option<u64>,
    /// AUTH: takes `AUTH=`.
    pub auth: bool,
    /// IGNOREQUOTA.
    pub ignore_quota: bool,
    /// TRACE.
    pub trace: bool,
}

impl Offer {
    /// Reads the lines of a reply to LHLO behind the first, without codes, one a line.
    pub fn read(lines: &[u8]) -> Offer {
        let mut offer = Offer::default();
        for line in lines.split(|byte| *byte == b'\n') {
            let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            let name = words.next().unwrap_or_default().to_ascii_uppercase();
            match &*name {
                b"STARTTLS" => offer.starttls = true,
                b"8BITMIME" => offer.eight_bit = true,
                b"SIZE" => {
                    offer.size = true;
                    let limit = words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
                    // RFC 1870 section 4: 0 is no limit.
                    offer.size_max = limit.filter(|limit| *limit > 0);
                }
                b"AUTH" => offer.auth = true,
                b"IGNOREQUOTA" => offer.ignore_quota = true,
                b"TRACE" => offer.trace = true,
                _ => {}
            }
        }
        offer
    }

    /// The mechanisms behind AUTH.
    pub(super) fn mechanisms(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
        let auth = lines.split(|byte| *byte == b'\n').find_map(|line| {
            let (name, mechanisms) = line.split_at_checked(5)?;
            name.eq_ignore_ascii_case(b"AUTH ").then_some(mechanisms)
        });
        auth.unwrap_or_default().split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
    }
}

/// What a backend is asked that it has not answered, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Awaited {
    /// TRACE.
    Trace,
    /// MAIL.
    Mail,
    /// RCPT of the recipient of this number.
    Rcpt(usize),
    /// DATA.
    Data,
    /// The message, for the recipient of this number.
    Delivery(usize),
    /// RSET.
    Reset,
}

/// How far a connection is.
///
/// ```text
/// Opening ──> Login ──> Envelope ──DATA──> AwaitGo ──354──> Go ──> Streaming ──dot──> AwaitDelivery ──> (pool)
///    └──────── pool ───────^ └──RSET──> Leaving ──> (pool)
/// ```
pub(super) enum State {
    /// The engine connects.
    Opening,
    /// Greeting, TLS, SASL.
    Login(Box<Login>),
    /// MAIL and RCPT are said.
    Envelope,
    /// DATA was said.
    AwaitGo,
    /// It waits for a message.
    Go,
    /// It is sent one.
    Streaming,
    /// The message has ended.
    AwaitDelivery,
    /// RSET was said.
    Leaving,
}

/// One backend connection.
pub(super) struct Peer {
    pub(super) id: BackendId,
    pub(super) server: Box<str>,
    pub(super) state: State,
    pub(super) offer: Offer,
    /// [`Peer::offer`] in its words, for the pool.
    pub(super) words: Arc<[u8]>,
    pub(super) awaited: VecDeque<Awaited>,
    /// The recipients of the transaction that are at this server, by number.
    pub(super) recipients: SmallVec<[usize; 4]>,
    /// How many of them it was told.
    pub(super) told: usize,
    /// It was told the sender.
    pub(super) has_sender: bool,
    /// TRACE was said for it.
    pub(super) has_trace: bool,
    /// What it answered to the sender if it does not take him.
    pub(super) refusal: Option<super::text::Text>,
    /// It came from the pool and has not answered yet: it may have been dead before.
    pub(super) is_doubtful: bool,
    /// How often it was opened anew because it had been dead.
    pub(super) tries: u8,
    /// When it must have answered.
    pub(super) deadline: Instant,
}

impl Peer {
    pub(super) fn new(id: BackendId, server: &str, deadline: Instant) -> Peer {
        Peer {
            id,
            server: server.into(),
            state: State::Opening,
            offer: Offer::default(),
            words: Arc::default(),
            awaited: VecDeque::new(),
            recipients: SmallVec::new(),
            told: 0,
            has_sender: false,
            has_trace: false,
            refusal: None,
            is_doubtful: false,
            tries: 0,
            deadline,
        }
    }

    pub(super) fn side(&self) -> Side {
        Side::Backend(self.id)
    }

    /// Whether more recipients can be told to it.
    pub(super) fn takes_recipients(&self) -> bool {
        matches!(self.state, State::Opening | State::Login(_) | State::Envelope)
    }

    /// Whether there is a connection to close.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state, State::Opening)
    }

    /// Whether it is to answer something, so that its deadline counts.
    pub(super) fn is_awaited(&self) -> bool {
        !self.awaited.is_empty() || matches!(self.state, State::Opening | State::Login(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offer_is_read_of_a_reply_to_lhlo() {
        let lines = b"8BITMIME\nENHANCEDSTATUSCODES\nPIPELINING\nSIZE 1000\nAUTH PLAIN SCRAM-SHA-256\nIGNOREQUOTA\nOk SESSIONID=<x>";
        let offer = Offer::read(lines);
        assert!(offer.eight_bit && offer.size && offer.auth && offer.ignore_quota && !offer.trace);
        assert_eq!(offer.size_max, Some(1000));
        let mechanisms: Vec<_> = Offer::mechanisms(lines).collect();
        assert_eq!(mechanisms, [&b"PLAIN"[..], b"SCRAM-SHA-256"]);
        assert_eq!(Offer::read(b"SIZE").size_max, None);
        assert_eq!(Offer::mechanisms(b"SIZE").count(), 0);
    }
}

//! What an LMTP server offers.

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

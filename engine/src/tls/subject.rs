//! The subject common name of a certificate, which rustls does not tell.

/// DER tags (X.690) that are met on the way to a name.
mod tag {
    pub(super) const INTEGER: u8 = 0x02;
    pub(super) const OID: u8 = 0x06;
    pub(super) const SEQUENCE: u8 = 0x30;
    pub(super) const SET: u8 = 0x31;
    pub(super) const VERSION: u8 = 0xa0;
    /// UTF8String, PrintableString, TeletexString, IA5String.
    pub(super) const STRINGS: [u8; 4] = [0x0c, 0x13, 0x14, 0x16];
}

/// id-at-commonName, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// Finds the last common name in the subject of a certificate (RFC 5280 section 4.1).
///
/// ```text
/// TBSCertificate ::= SEQUENCE { version [0], serialNumber, signature, issuer, validity, subject, ... }
/// ```
///
/// `None` when there is none, it is no text or the certificate is not DER.
pub(super) fn common_name(certificate: &[u8]) -> Option<Box<str>> {
    let mut outer = Der(certificate).expect(tag::SEQUENCE)?;
    let mut tbs = outer.expect(tag::SEQUENCE)?;
    if tbs.peek() == Some(tag::VERSION) {
        tbs.next()?;
    }
    tbs.expect(tag::INTEGER)?;
    for _signature_issuer_validity in 0..3 {
        tbs.expect(tag::SEQUENCE)?;
    }
    let mut subject = tbs.expect(tag::SEQUENCE)?;
    let mut found = None;
    while let Some(mut set) = subject.expect(tag::SET) {
        while let Some(mut attribute) = set.expect(tag::SEQUENCE) {
            let kind = attribute.expect(tag::OID)?;
            let (tag, value) = attribute.next()?;
            if kind.0 == COMMON_NAME && tag::STRINGS.contains(&tag) {
                found = std::str::from_utf8(value).ok();
            }
        }
    }
    found.map(Box::from)
}

/// What is left of a run of DER values.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The content of the next value if it has this tag.
    fn expect(&mut self, tag: u8) -> Option<Der<'a>> {
        if self.peek() != Some(tag) {
            return None;
        }
        self.next().map(|(_, content)| Der(content))
    }

    /// Tag and content of the next value; only lengths that fit in two bytes, which certificates
    /// in use never exceed.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81 => (usize::from(*rest.first()?), &rest[1..]),
            0x82 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), &rest[2..]),
            _ => return None,
        };
        if rest.len() < length {
            return None;
        }
        let (content, behind) = rest.split_at(length);
        self.0 = behind;
        Some((tag, content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(name: &str) -> Vec<u8> {
        let mut parameters = rcgen::CertificateParams::new(vec!["x.example.org".into()]).unwrap();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::OrganizationName, "Mail");
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn common_name_is_found_behind_other_attributes() {
        assert_eq!(common_name(&certificate("fred")).as_deref(), Some("fred"));
    }

    #[test]
    fn cut_certificates_have_no_name_and_do_not_panic() {
        let der = certificate("fred");
        for n in 0..der.len() {
            assert_eq!(common_name(&der[..n]), None, "cut at {n}");
        }
    }
}

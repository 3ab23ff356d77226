//! What a message says about itself: headers, addresses, MIME parts, dates.

use super::command::string;

/// Multiparts within multiparts.
const DEPTH_MAX: usize = 8;

/// A message or a part of one.
pub(crate) struct Part<'a> {
    /// Headers with the empty line.
    pub(crate) header: &'a [u8],
    pub(crate) body: &'a [u8],
    pub(crate) parts: Vec<Part<'a>>,
}

impl<'a> Part<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Part<'a> {
        Part::parse_within(bytes, 0)
    }

    fn parse_within(bytes: &'a [u8], depth: usize) -> Part<'a> {
        let split = if bytes.starts_with(b"\r\n") {
            2
        } else {
            find(bytes, b"\r\n\r\n").map_or(bytes.len(), |at| at + 4)
        };
        let (header, body) = bytes.split_at(split);
        let mut part = Part { header, body, parts: Vec::new() };
        let content_type = part.content_type();
        if content_type.kind == "multipart"
            && depth < DEPTH_MAX
            && let Some(boundary) = content_type.parameter("boundary")
        {
            let pieces = split_at_boundary(body, boundary);
            part.parts = pieces.into_iter().map(|p| Part::parse_within(p, depth + 1)).collect();
        }
        part
    }

    /// The part at a path of numbers counted from 1; 1 of a simple message is the message itself.
    pub(crate) fn at(&self, path: &[usize]) -> Option<&Part<'a>> {
        match path.split_first() {
            None => Some(self),
            Some((1, [])) if self.parts.is_empty() => Some(self),
            Some((n, rest)) => self.parts.get(n.checked_sub(1)?)?.at(rest),
        }
    }

    /// The value of the first field of this name, unfolded.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        fields(self.header).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, raw)| unfold(raw))
    }

    fn content_type(&self) -> ContentType {
        ContentType::parse(&self.field("Content-Type").unwrap_or_default())
    }

    /// RFC 9051 section 7.5.2, `ENVELOPE`.
    pub(crate) fn envelope(&self) -> Vec<u8> {
        let mut out = b"(".to_vec();
        out.extend(nstring(self.field("Date")));
        out.push(b' ');
        out.extend(nstring(self.field("Subject")));
        let from = self.field("From");
        for name in ["From", "Sender", "Reply-To", "To", "Cc", "Bcc"] {
            let own = self.field(name);
            let value =
                if matches!(name, "Sender" | "Reply-To") { own.or_else(|| from.clone()) } else { own };
            out.push(b' ');
            out.extend(addresses(value.as_deref().unwrap_or("")));
        }
        for name in ["In-Reply-To", "Message-ID"] {
            out.push(b' ');
            out.extend(nstring(self.field(name)));
        }
        out.push(b')');
        out
    }

    /// RFC 9051 section 7.5.2, `BODY` and, extended, `BODYSTRUCTURE`.
    pub(crate) fn structure(&self, extended: bool) -> Vec<u8> {
        let content_type = self.content_type();
        let mut out = b"(".to_vec();
        if self.parts.is_empty() {
            self.simple_structure(&content_type, &mut out);
            out.extend_from_slice(if extended { b" NIL NIL NIL NIL)" } else { b")" });
            return out;
        }
        for part in &self.parts {
            out.extend(part.structure(extended));
        }
        out.push(b' ');
        out.extend(string(content_type.subtype.to_ascii_uppercase().as_bytes()));
        if extended {
            out.push(b' ');
            out.extend(content_type.parameters_text());
            out.extend_from_slice(b" NIL NIL NIL");
        }
        out.push(b')');
        out
    }

    fn simple_structure(&self, content_type: &ContentType, out: &mut Vec<u8>) {
        out.extend(string(content_type.kind.to_ascii_uppercase().as_bytes()));
        out.push(b' ');
        out.extend(string(content_type.subtype.to_ascii_uppercase().as_bytes()));
        out.push(b' ');
        out.extend(content_type.parameters_text());
        for name in ["Content-ID", "Content-Description"] {
            out.push(b' ');
            out.extend(nstring(self.field(name)));
        }
        let encoding = self.field("Content-Transfer-Encoding").unwrap_or_else(|| "7BIT".to_owned());
        out.push(b' ');
        out.extend(string(encoding.trim().to_ascii_uppercase().as_bytes()));
        out.extend(format!(" {}", self.body.len()).into_bytes());
        let lines = self.body.iter().filter(|c| **c == b'\n').count();
        if content_type.kind == "text" {
            out.extend(format!(" {lines}").into_bytes());
        } else if content_type.kind == "message" && content_type.subtype == "rfc822" {
            let inner = Part::parse(self.body);
            out.push(b' ');
            out.extend(inner.envelope());
            out.push(b' ');
            out.extend(inner.structure(false));
            out.extend(format!(" {lines}").into_bytes());
        }
    }
}

struct ContentType {
    kind: String,
    subtype: String,
    parameters: Vec<(String, String)>,
}

impl ContentType {
    fn parse(value: &str) -> ContentType {
        let mut pieces = value.split(';');
        let media = pieces.next().unwrap_or("").trim().to_ascii_lowercase();
        let (kind, subtype) = media.split_once('/').unwrap_or(("text", "plain"));
        let parameters = pieces.filter_map(|piece| {
            let (name, value) = piece.split_once('=')?;
            Some((name.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned()))
        });
        let mut parameters: Vec<_> = parameters.collect();
        if media.is_empty() {
            parameters.push(("charset".to_owned(), "us-ascii".to_owned()));
        }
        ContentType { kind: kind.to_owned(), subtype: subtype.to_owned(), parameters }
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    fn parameters_text(&self) -> Vec<u8> {
        if self.parameters.is_empty() {
            return b"NIL".to_vec();
        }
        let both = self.parameters.iter().flat_map(|(n, v)| [n.to_ascii_uppercase(), v.clone()]);
        let texts: Vec<_> = both.map(|t| string(t.as_bytes())).collect();
        [b"(".as_slice(), &texts.join(&b' '), b")"].concat()
    }
}

/// The fields of a header: name, and everything behind the colon up to the next field.
pub(crate) fn fields(header: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    let mut rest = header;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() || rest.starts_with(b"\r\n") {
                return None;
            }
            let mut end = 0;
            loop {
                end = find(&rest[end..], b"\n").map_or(rest.len(), |at| end + at + 1);
                if !matches!(rest.get(end), Some(b' ' | b'\t')) {
                    break;
                }
            }
            let (field, behind) = rest.split_at(end);
            rest = behind;
            let colon = find(field, b":");
            if let Some((name, at)) = colon.and_then(|at| Some((std::str::from_utf8(&field[..at]).ok()?, at)))
            {
                return Some((name, &field[at + 1..]));
            }
        }
    })
}

/// The header with only (or without) the named fields, the empty line included.
pub(crate) fn chosen_fields(header: &[u8], names: &[String], wanted: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields(header) {
        if names.iter().any(|n| n.eq_ignore_ascii_case(name)) == wanted {
            out.extend_from_slice(name.as_bytes());
            out.push(b':');
            out.extend_from_slice(value);
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn unfold(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    text.replace("\r\n", "").replace('\t', " ").trim().to_owned()
}

fn nstring(text: Option<String>) -> Vec<u8> {
    text.map_or_else(|| b"NIL".to_vec(), |t| string(t.as_bytes()))
}

/// Addresses as ENVELOPE writes them: `Name <box@host>`, `box@host (Name)`, `box@host`.
fn addresses(value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for address in split_addresses(value) {
        let (name, spec) = match (address.rfind('<'), address.find('(')) {
            (Some(at), _) => {
                (address[..at].trim().trim_matches('"'), address[at + 1..].trim_end_matches(['>', ' ']))
            }
            (None, Some(at)) => (address[at + 1..].trim_end_matches([')', ' ']), address[..at].trim()),
            (None, None) => ("", address),
        };
        let (local, host) = spec.rsplit_once('@').unwrap_or((spec, ""));
        let optional = |t: &str| nstring((!t.is_empty()).then(|| t.to_owned()));
        let parts = [optional(name), b"NIL".to_vec(), optional(local), optional(host)];
        out.extend_from_slice(b"(");
        out.extend(parts.join(&b' '));
        out.extend_from_slice(b")");
    }
    if out.is_empty() { b"NIL".to_vec() } else { [b"(".as_slice(), &out, b")"].concat() }
}

/// Splits at commas outside of quotes.
fn split_addresses(value: &str) -> Vec<&str> {
    let mut quoted = false;
    let pieces = value.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    pieces.map(str::trim).filter(|piece| !piece.is_empty()).collect()
}

fn split_at_boundary<'a>(body: &'a [u8], boundary: &str) -> Vec<&'a [u8]> {
    let delimiter = format!("--{boundary}").into_bytes();
    let mut parts = Vec::new();
    let mut start = None;
    let mut at = 0;
    while at < body.len() {
        let line_end = find(&body[at..], b"\n").map_or(body.len(), |n| at + n + 1);
        if body[at..line_end].starts_with(&delimiter) {
            if let Some(start) = start {
                // The line end before a delimiter belongs to the delimiter.
                parts.push(&body[start..at.saturating_sub(2).max(start)]);
            }
            start = Some(line_end);
            if body[at + delimiter.len()..line_end].starts_with(b"--") {
                return parts;
            }
        }
        at = line_end;
    }
    parts.extend(start.map(|start| &body[start..]));
    parts
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

/// Days from 1970-01-01 to a civil date (Howard Hinnant's algorithm).
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A `date` (`5-Jan-2026`) as a day since 1970.
pub(crate) fn parse_day(text: &str) -> Option<i64> {
    let mut pieces = text.trim().split('-');
    let day: i64 = pieces.next()?.trim().parse().ok()?;
    let name = pieces.next()?;
    let month = MONTHS.iter().position(|m| m.eq_ignore_ascii_case(name))?;
    let year: i64 = pieces.next()?.parse().ok()?;
    Some(days_of(year, i64::try_from(month).ok()? + 1, day))
}

/// A `date-time` (`05-Jan-2026 10:00:00 +0200`) as seconds since 1970.
pub(crate) fn parse_date_time(text: &str) -> Option<i64> {
    let mut pieces = text.split_ascii_whitespace();
    let day = parse_day(pieces.next()?)?;
    let clock: Vec<i64> = pieces.next()?.split(':').map(|n| n.parse().ok()).collect::<Option<_>>()?;
    let [hours, minutes, seconds] = clock[..] else { return None };
    let zone: i64 = pieces.next()?.parse().ok()?;
    Some(day * 86_400 + hours * 3_600 + minutes * 60 + seconds - (zone / 100 * 3_600 + zone % 100 * 60))
}

/// Seconds since 1970 as a `date-time` in UTC.
pub(crate) fn date_time(seconds: i64) -> String {
    let (days, clock) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 2 } else { shifted_month - 10 };
    let year = year_of_era + shifted.div_euclid(146_097) * 400 + i64::from(month < 2);
    let name = usize::try_from(month).ok().and_then(|m| MONTHS.get(m)).unwrap_or(&"Jan");
    format!("{day:02}-{name}-{year:04} {:02}:{:02}:{:02} +0000", clock / 3_600, clock / 60 % 60, clock % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MULTIPART: &[u8] =
        b"From: \"Ann, A.\" <ann@example.org>, bob@example.org (Bob)\r\nSubject: two\r\n parts\r\n\
        Content-Type: multipart/mixed; boundary=\"xx\"\r\n\r\npreamble\r\n--xx\r\n\r\none\r\n--xx\r\n\
        Content-Type: image/png; name=a.png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--xx--\r\n";

    #[test]
    fn envelope_reads_names_and_comments() {
        let text = String::from_utf8(Part::parse(MULTIPART).envelope()).unwrap();
        assert!(
            text.contains(r#"(("Ann, A." NIL "ann" "example.org")("Bob" NIL "bob" "example.org"))"#),
            "{text}"
        );
        assert!(text.starts_with("(NIL \"two parts\" "), "{text}");
    }

    #[test]
    fn multipart_has_the_structure_of_its_parts() {
        let text = String::from_utf8(Part::parse(MULTIPART).structure(false)).unwrap();
        let plain = r#"("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 3 0)"#;
        let image = r#"("IMAGE" "PNG" ("NAME" "a.png") NIL NIL "BASE64" 4)"#;
        assert_eq!(text, format!("({plain}{image} \"MIXED\")"));
    }

    #[test]
    fn parts_are_found_by_number() {
        let message = Part::parse(MULTIPART);
        assert_eq!(message.at(&[1]).map(|p| p.body), Some(&b"one"[..]));
        assert_eq!(message.at(&[2]).map(|p| p.body), Some(&b"AAAA"[..]));
        assert!(message.at(&[3]).is_none());
        assert_eq!(Part::parse(b"A: b\r\n\r\nx").at(&[1]).map(|p| p.body), Some(&b"x"[..]));
    }

    #[test]
    fn chosen_fields_keep_their_folding() {
        let text = chosen_fields(MULTIPART, &["subject".to_owned()], true);
        assert_eq!(text, b"Subject: two\r\n parts\r\n\r\n");
    }

    #[test]
    fn dates_go_both_ways() {
        for text in ["05-Jan-2026 10:00:00 +0000", "29-Feb-2024 23:59:59 +0000", "01-Mar-2023 00:00:00 +0000"]
        {
            assert_eq!(parse_date_time(text).map(date_time).as_deref(), Some(text));
        }
        assert_eq!(parse_date_time("01-Jan-1970 02:00:00 +0200"), Some(0));
        assert_eq!(parse_date_time("01-Foo-1970 02:00:00 +0200"), None);
    }
}

//! One line as syslogd wants it (RFC 3164 section 4.1).

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{LINE_BYTES_MAX, Level, Settings, Target};

/// A syslog facility (RFC 3164 section 4.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facility(u8);

impl Default for Facility {
    /// LOCAL6, as Cyrus has it.
    fn default() -> Facility {
        Facility(22)
    }
}

impl Facility {
    /// Reads `syslog_facility`: `MAIL`, `LOCAL0` to `LOCAL7`, `DAEMON`, `AUTH`, `USER`, with or
    /// without `LOG_`, in any case.
    pub fn parse(name: &str) -> Option<Facility> {
        let name = name.to_ascii_uppercase();
        let name = name.strip_prefix("LOG_").unwrap_or(&name);
        let number = match name {
            "USER" => 1,
            "MAIL" => 2,
            "DAEMON" => 3,
            "AUTH" => 4,
            "NEWS" => 7,
            "AUTHPRIV" => 10,
            _ => {
                let n = name.strip_prefix("LOCAL")?.parse::<u8>().ok().filter(|n| *n < 8)?;
                16 + n
            }
        };
        Some(Facility(number))
    }
}

/// `<PRI>Mmm dd hh:mm:ss ident[pid]: text` for syslog, without PRI and with a line end for stderr.
/// Times are UTC; syslog daemons put their own in its place. Control characters, which could forge
/// a line, become `?`.
/// `service` stands in the place of the program's name.
pub(super) fn line(
    settings: &Settings,
    level: Level,
    service: Option<&str>,
    text: &str,
    now: SystemTime,
    pid: u32,
) -> String {
    let mut line = String::with_capacity(text.len() + 64);
    if settings.target == Target::Syslog {
        push(&mut line, format_args!("<{}>", u32::from(settings.facility.0) * 8 + severity(level)));
    }
    push_time(&mut line, now);
    match (service, settings.ident.rsplit_once('/')) {
        (None, _) => push(&mut line, format_args!(" {}[{pid}]: ", settings.ident)),
        (Some(service), Some((prefix, _))) => push(&mut line, format_args!(" {prefix}/{service}[{pid}]: ")),
        (Some(service), None) => push(&mut line, format_args!(" {service}[{pid}]: ")),
    }
    for c in text.chars() {
        if line.len() >= LINE_BYTES_MAX {
            break;
        }
        line.push(if c.is_control() { '?' } else { c });
    }
    if settings.target == Target::Stderr {
        line.push('\n');
    }
    line
}

/// Severity numbers of RFC 3164.
fn severity(level: Level) -> u32 {
    match level {
        Level::Debug => 7,
        Level::Info => 6,
        Level::Notice => 5,
        Level::Warn => 4,
    }
}

fn push_time(line: &mut String, now: SystemTime) {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (month, day) = month_and_day(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    push(line, format_args!("{} {day:2} {hour:02}:{minute:02}:{second:02}", MONTHS[month]));
}

/// Month (from 0) and day (from 1) of a day since 1970, by the civil calendar whose years begin in
/// March.
fn month_and_day(days: u64) -> (usize, u64) {
    let day_of_era = (days + 719_468) % 146_097;
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    // In 0..=11: from_march is.
    let month = usize::try_from((from_march + 2) % 12).unwrap_or(0);
    (month, day)
}

fn push(line: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = line.write_fmt(arguments);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn settings(target: Target) -> Settings {
        Settings {
            ident: "frontend/rookeryd".into(),
            facility: Facility::default(),
            least: Level::Info,
            target,
        }
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn syslog_lines_have_priority_time_ident_and_pid() {
        let text = line(&settings(Target::Syslog), Level::Info, None, "starting", at(1_795_302_249), 42);
        assert_eq!(text, "<182>Nov 21 23:04:09 frontend/rookeryd[42]: starting");
        let text = line(&settings(Target::Stderr), Level::Warn, None, "x", at(0), 1);
        assert_eq!(text, "Jan  1 00:00:00 frontend/rookeryd[1]: x\n");
        let text = line(&settings(Target::Stderr), Level::Warn, Some("imap"), "x", at(0), 1);
        assert_eq!(text, "Jan  1 00:00:00 frontend/imap[1]: x\n");
    }

    #[test]
    fn leap_days_and_year_ends_are_right() {
        assert_eq!(month_and_day(1_709_164_800 / 86_400), (1, 29));
        assert_eq!(month_and_day(1_709_251_200 / 86_400), (2, 1));
        assert_eq!(month_and_day(1_735_603_200 / 86_400), (11, 31));
        assert_eq!(month_and_day(1_735_689_600 / 86_400), (0, 1));
    }

    #[test]
    fn line_ends_in_a_text_cannot_forge_a_line() {
        let text = line(&settings(Target::Stderr), Level::Info, None, "a\r\nb\0c", at(0), 1);
        assert!(text.ends_with("a??b?c\n"));
    }

    #[test]
    fn long_texts_are_cut() {
        let text = line(&settings(Target::Syslog), Level::Info, None, &"é".repeat(9000), at(0), 1);
        assert!(text.len() <= LINE_BYTES_MAX + 1);
    }

    #[test]
    fn facilities_are_read_as_cyrus_names_them() {
        assert_eq!(Facility::parse("LOCAL6"), Some(Facility::default()));
        assert_eq!(Facility::parse("log_mail"), Some(Facility(2)));
        assert_eq!(Facility::parse("local8"), None);
        assert_eq!(Facility::parse(""), None);
    }
}

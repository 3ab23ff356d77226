//! Values of options: switches, durations, byte sizes, integers.

use std::time::Duration;

/// The unit of a duration that names none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DurationUnit {
    /// Days.
    Days,
    /// Hours.
    Hours,
    /// Minutes.
    Minutes,
    /// Seconds.
    Seconds,
}

impl DurationUnit {
    /// Seconds of one unit.
    fn seconds(self) -> i64 {
        match self {
            DurationUnit::Days => 86_400,
            DurationUnit::Hours => 3_600,
            DurationUnit::Minutes => 60,
            DurationUnit::Seconds => 1,
        }
    }
}

/// A switch, by the first letters as Cyrus reads it: `1 y on t` and `0 n of f`.
pub(super) fn switch(value: &str) -> Option<bool> {
    match value.as_bytes() {
        [b'0' | b'n' | b'f', ..] | [b'o', b'f', ..] => Some(false),
        [b'1' | b'y' | b't', ..] | [b'o', b'n', ..] => Some(true),
        _ => None,
    }
}

/// `[-] 1*(1*DIGIT [dhms])`: seconds, negative ones too.
pub(super) fn duration_seconds(value: &str, unit: DurationUnit) -> Option<i64> {
    let (sign, digits) = match value.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, value),
    };
    let (mut total, mut number, mut has_digit) = (0i64, 0i64, false);
    for byte in digits.bytes() {
        let factor = match byte {
            b'0'..=b'9' => {
                number = number.checked_mul(10)?.checked_add(i64::from(byte - b'0'))?;
                has_digit = true;
                continue;
            }
            b'd' => DurationUnit::Days,
            b'h' => DurationUnit::Hours,
            b'm' => DurationUnit::Minutes,
            b's' => DurationUnit::Seconds,
            _ => return None,
        };
        if !has_digit {
            return None;
        }
        total = total.checked_add(number.checked_mul(factor.seconds())?)?;
        (number, has_digit) = (0, false);
    }
    if has_digit {
        total = total.checked_add(number.checked_mul(unit.seconds())?)?;
    } else if digits.is_empty() {
        return None;
    }
    Some(sign * total)
}

/// A duration that cannot be negative.
pub(super) fn duration(value: &str, unit: DurationUnit) -> Option<Duration> {
    let seconds = duration_seconds(value, unit)?;
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

/// `[-] 1*DIGIT *SP [K|M|G] *SP [i] [B]` in any case: bytes. Units are binary, as in Cyrus.
pub(super) fn size(value: &str, unit: u64) -> Option<i64> {
    let (sign, rest) = match value.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, value),
    };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let number: i64 = rest[..digits].parse().ok()?;
    let suffix = rest[digits..].trim().to_ascii_lowercase();
    let factor = match suffix.as_str() {
        "" => i64::try_from(unit).ok()?,
        "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor).map(|bytes| sign * bytes)
}

/// A C integer: decimal, `0x` hexadecimal, or octal with a leading `0`.
pub(super) fn integer(value: &str) -> Option<i64> {
    let (sign, digits) = match value.strip_prefix(['-', '+']) {
        Some(rest) => (if value.starts_with('-') { -1 } else { 1 }, rest),
        None => (1, value),
    };
    let (digits, radix) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    if !digits.starts_with(|first: char| first.is_ascii_hexdigit()) {
        return None;
    }
    i64::from_str_radix(digits, radix).ok().map(|number| sign * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_read_by_their_first_letters() {
        for yes in ["yes", "on", "t", "1", "true", "y"] {
            assert_eq!(switch(yes), Some(true), "{yes}");
        }
        for no in ["no", "off", "f", "0", "false", "n", "offish"] {
            assert_eq!(switch(no), Some(false), "{no}");
        }
        for neither in ["", "o", "maybe", "Yes", "-1"] {
            assert_eq!(switch(neither), None, "{neither}");
        }
    }

    #[test]
    fn durations_add_their_units_up() {
        let seconds = |text| duration_seconds(text, DurationUnit::Minutes);
        assert_eq!(seconds("32"), Some(32 * 60));
        assert_eq!(seconds("90s"), Some(90));
        assert_eq!(seconds("1h30"), Some(3600 + 30 * 60));
        assert_eq!(seconds("1d2h3m4s"), Some(86_400 + 7_200 + 180 + 4));
        assert_eq!(seconds("-1m"), Some(-60));
        for bad in ["", "-", "s", "1x", "1h30x", "1hs", " 1", "99999999999999999999", "9999999999999999d"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
        assert_eq!(duration("-1s", DurationUnit::Seconds), None);
        assert_eq!(duration("2", DurationUnit::Hours), Some(Duration::from_secs(7_200)));
        assert_eq!(duration("2", DurationUnit::Days), Some(Duration::from_secs(172_800)));
    }

    #[test]
    fn sizes_have_binary_units() {
        let pairs = [
            ("0", 0),
            ("4096", 4096),
            ("128K", 131_072),
            ("10 MiB", 10 << 20),
            ("1g", 1 << 30),
            ("5B", 5),
            ("-1", -1),
        ];
        for (text, bytes) in pairs {
            assert_eq!(size(text, 1), Some(bytes), "{text}");
        }
        assert_eq!(size("5", 1024), Some(5120));
        for bad in ["", "K", "1T", "1 0", "10MM", "9999999999999G", "-"] {
            assert_eq!(size(bad, 1), None, "{bad}");
        }
    }

    #[test]
    fn integers_are_those_of_c() {
        for (text, number) in [("10", 10), ("-3", -3), ("+3", 3), ("0x1F", 31), ("010", 8), ("0", 0)] {
            assert_eq!(integer(text), Some(number), "{text}");
        }
        for bad in ["", "-", "10M", "0x", "--1", "+-1", "09", "99999999999999999999"] {
            assert_eq!(integer(bad), None, "{bad}");
        }
    }
}

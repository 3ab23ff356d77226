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

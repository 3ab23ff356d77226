//! Histograms as Prometheus' text exposition format, version 0.0.4.

use std::fmt::Write as _;

use crate::{Series, Snapshot, Subject};

/// The upper bounds of buckets, in microseconds: three for every factor of ten, 10 us to 100 s.
const BOUNDS_US: [u64; 22] = [
    10,
    20,
    50,
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
];

/// One number with its name, as a counter or gauge.
#[derive(Clone, Copy, Debug)]
pub struct Number<'a> {
    /// Its name without the prefix `rookery_`.
    pub name: &'a str,
    /// `counter` or `gauge`.
    pub kind: &'a str,
    /// What it says.
    pub help: &'a str,
    /// Its labels, `name="value"`, without braces; empty for none.
    pub labels: &'a str,
    /// Its value.
    pub value: u64,
}

/// Writes numbers. Those of one name must stand together.
pub fn numbers(numbers: &[Number<'_>], out: &mut String) {
    let mut last = "";
    for number in numbers {
        let Number { name, kind, help, labels, value } = *number;
        if name != last {
            head(out, name, kind, help);
            last = name;
        }
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        line(out, format_args!("rookery_{name}{braces} {value}"));
    }
}

/// Writes all histograms, in seconds.
pub fn histograms(snapshot: &Snapshot, out: &mut String) {
    let verbs = |series: &&Series| matches!(series.subject, Subject::Verb(_));
    head(out, "command_seconds", "histogram", "time of a command by verb and stage");
    for series in snapshot.series.iter().filter(verbs) {
        one(out, "command_seconds", "verb", series);
    }
    head(out, "backend_seconds", "histogram", "wait for a backend's answers by server");
    for series in snapshot.series.iter().filter(|series| !verbs(series)) {
        one(out, "backend_seconds", "server", series);
    }
}

fn one(out: &mut String, name: &str, label: &str, series: &Series) {
    let labels = format!("{label}=\"{}\",stage=\"{}\"", escaped(series.subject.name()), series.stage.name());
    let histogram = &series.histogram;
    let (mut count, mut sum_us) = (0_u64, 0_u64);
    let mut recorded = histogram.iter_recorded().peekable();
    for bound in BOUNDS_US {
        while let Some(value) = recorded.next_if(|value| value.value_iterated_to() <= bound) {
            count += u64::from(value.count_at_value());
            sum_us += u64::from(value.count_at_value()) * value.value_iterated_to();
        }
        let seconds = bound as f64 / 1e6;
        line(out, format_args!("rookery_{name}_bucket{{{labels},le=\"{seconds}\"}} {count}"));
    }
    for value in recorded {
        count += u64::from(value.count_at_value());
        sum_us += u64::from(value.count_at_value()) * value.value_iterated_to();
    }
    line(out, format_args!("rookery_{name}_bucket{{{labels},le=\"+Inf\"}} {count}"));
    line(out, format_args!("rookery_{name}_sum{{{labels}}} {}", sum_us as f64 / 1e6));
    line(out, format_args!("rookery_{name}_count{{{labels}}} {count}"));
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    line(out, format_args!("# HELP rookery_{name} {help}"));
    line(out, format_args!("# TYPE rookery_{name} {kind}"));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = out.write_fmt(text);
    out.push('\n');
}

/// A label's value: backslash, quote and line feed are escaped.
pub fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Recorder, ServerId, Split};

    #[test]
    fn buckets_are_cumulative_and_end_in_infinity() {
        let mut recorder = Recorder::default();
        for total_us in [15, 150, 600_000_000] {
            let split = Split { total_us, own_us: 1, backend_us: total_us, ..Split::default() };
            recorder.record("NOOP", Some(ServerId(0)), &split);
        }
        let mut text = String::new();
        histograms(&recorder.snapshot(|_| "a\"b".into()), &mut text);
        let has = |line: &str| assert!(text.lines().any(|at| at == line), "{line} in\n{text}");
        has("rookery_command_seconds_bucket{verb=\"NOOP\",stage=\"total\",le=\"0.00001\"} 0");
        has("rookery_command_seconds_bucket{verb=\"NOOP\",stage=\"total\",le=\"0.00002\"} 1");
        has("rookery_command_seconds_bucket{verb=\"NOOP\",stage=\"total\",le=\"0.0002\"} 2");
        has("rookery_command_seconds_bucket{verb=\"NOOP\",stage=\"total\",le=\"+Inf\"} 3");
        has("rookery_command_seconds_count{verb=\"NOOP\",stage=\"total\"} 3");
        has("rookery_backend_seconds_count{server=\"a\\\"b\",stage=\"backend\"} 3");
    }

    #[test]
    fn numbers_of_one_name_have_one_head() {
        let number =
            |labels| Number { name: "sessions", kind: "gauge", help: "that stand", labels, value: 4 };
        let mut text = String::new();
        numbers(&[number("shard=\"0\""), number("shard=\"1\"")], &mut text);
        assert_eq!(
            text,
            "# HELP rookery_sessions that stand\n# TYPE rookery_sessions gauge\n\
             rookery_sessions{shard=\"0\"} 4\nrookery_sessions{shard=\"1\"} 4\n"
        );
    }
}

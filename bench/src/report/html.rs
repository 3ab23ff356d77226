//! A page that opens without a network: figures, percentiles, how it went over time.

use std::fmt::Write;

use super::chart::{Chart, Scale, Series, escaped};
use super::text::time;
use super::{Distribution, Report};
use crate::scenario::{Protocol, Security};

const STYLE: &str = include_str!("page.css");

/// A page of these runs.
pub fn page(reports: &[Report]) -> String {
    let title = match reports {
        [only] => only.name.clone(),
        _ => format!("{} runs", reports.len()),
    };
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{}</title><style>{STYLE}</style></head><body>\n",
        escaped(&title)
    );
    for report in reports {
        section(report, &mut out);
    }
    out + "</body></html>\n"
}

fn section(report: &Report, out: &mut String) {
    let _ = write!(out, "<main><header><h1>{}</h1>", escaped(&report.name));
    for paragraph in report.analysis.split("\n\n").filter(|p| !p.trim().is_empty()) {
        let _ = write!(out, "<p>{}</p>", escaped(paragraph));
    }
    let _ = write!(out, "</header>\n{}{}", tiles(report), facts(report));
    *out += &figures(report);
    let _ = write!(
        out,
        "<h2>Latency by percentile</h2><p class=\"note\">{}</p>{}",
        note(report),
        percentiles(report)
    );
    if report.points.len() > 1 {
        let _ = write!(out, "<h2>Throughput over time</h2>{}", throughput(report));
        let _ = write!(out, "<h2>Latency over time</h2>{}", over_time(report));
    }
    *out += "</main>\n";
}

/// How the latencies were taken.
fn note(report: &Report) -> &'static str {
    match report.rate {
        Some(_) => {
            "Open loop: each operation has a time at which it is to begin, and its latency counts from there, \
             whatever the server was doing."
        }
        None => {
            "Closed loop: each operation begins when the one before it on the same connection is answered, so \
             a stall delays few of them. For the latency at a given load set a rate."
        }
    }
}

fn tiles(report: &Report) -> String {
    let all = report.total.as_ref().or(report.operations.first());
    let at = |percent: f64| all.map_or("-".to_owned(), |d| time(d.percentile(percent) as f64));
    let errors: u64 = report.lost + report.operations.iter().map(|d| d.refused).sum::<u64>();
    let mut tiles = vec![
        ("operations a second", count(report.rate_reached)),
        ("median", at(50.0)),
        ("99th percentile", at(99.0)),
        ("99.9th percentile", at(99.9)),
        ("errors", errors.to_string()),
    ];
    let unfinished: u64 = report.operations.iter().map(|d| d.unfinished).sum();
    if unfinished > 0 {
        tiles.push(("not answered by the end", unfinished.to_string()));
    }
    if let Some(cpu) = report.cpu_us {
        tiles.push(("CPU for one operation", time(cpu)));
    }
    let tiles = tiles.iter().map(|(name, value)| format!("<div><b>{value}</b><span>{name}</span></div>"));
    format!("<section class=\"tiles\">{}</section>\n", tiles.collect::<String>())
}

fn facts(report: &Report) -> String {
    let pace =
        report.rate.map_or("closed loop".to_owned(), |rate| format!("{} operations/s wanted", count(rate)));
    let protocol = match report.protocol {
        Protocol::Imap => "IMAP",
        Protocol::Pop3 => "POP3",
        Protocol::Lmtp => "LMTP",
        Protocol::Sieve => "ManageSieve",
        Protocol::Mupdate => "MUPDATE",
    };
    let security = match report.security {
        Security::None => "plain",
        Security::Tls => "within TLS",
        Security::Starttls => "with STARTTLS",
    };
    let commands = if report.pipeline == 1 { "command" } else { "commands" };
    let facts = [
        ("server", report.target.clone()),
        ("protocol", format!("{protocol}, {security}")),
        (
            "connections",
            format!("{} with {} {commands} in flight each, {pace}", report.connections, report.pipeline),
        ),
        ("counted", format!("{:.1} s, from {}", report.seconds, utc(report.at))),
        ("load ran on", report.machine.clone()),
    ];
    let rows = facts.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>", escaped(value)));
    let beside =
        report.beside.iter().map(|beside| format!("<dt>load</dt><dd>{}</dd>", escaped(&beside.told())));
    let mut out = format!("<dl>{}{}</dl>\n", rows.collect::<String>(), beside.collect::<String>());
    if report.lost > 0 {
        let _ = writeln!(
            out,
            "<p class=\"warning\">{} connections lost, the last: {}</p>",
            report.lost,
            escaped(&report.why)
        );
    }
    out
}

fn figures(report: &Report) -> String {
    let mut out = "<table><thead><tr><th>operation<th>ops/s<th>done<th>refused<th>unfinished<th>min<th>mean\
        <th>p50<th>p90<th>p99<th>p99.9<th>p99.99<th>max</tr></thead><tbody>\n"
        .to_owned();
    for d in report.distributions() {
        let is_login = report.login.as_ref().is_some_and(|login| std::ptr::eq(login, d));
        let name = if is_login { "login (not counted above)" } else { &d.name };
        let rate = if is_login { "-".to_owned() } else { count(d.done as f64 / report.seconds.max(1e-9)) };
        let _ = write!(
            out,
            "<tr><th>{}<td>{rate}<td>{}<td>{}<td>{}",
            escaped(name),
            d.done,
            d.refused,
            d.unfinished
        );
        let _ = write!(out, "<td>{}<td>{}", time(d.min as f64), time(d.mean));
        for percent in [50.0, 90.0, 99.0, 99.9, 99.99, 100.0] {
            let _ = write!(out, "<td>{}", time(d.percentile(percent) as f64));
        }
        out += "</tr>\n";
    }
    format!("<div class=\"scroll\">{out}</tbody></table></div>\n")
}

/// How far right a percentile stands: each nine the same distance.
fn nines(percent: f64) -> f64 {
    -(1.0 - percent / 100.0).max(1e-9).log10()
}

fn percentiles(report: &Report) -> String {
    let most = report.distributions().filter_map(|d| d.curve.iter().rev().nth(1)).map(|(p, _)| nines(*p));
    let most = most.fold(1.0, f64::max);
    let line = |d: &Distribution| {
        let points = d.curve.iter().map(|(p, us)| (nines(*p).min(most), (*us).max(1) as f64)).collect();
        Series { name: d.name.clone(), points }
    };
    let ticks = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999];
    let ticks = ticks.iter().filter(|p| nines(**p) <= most + 1e-9).map(|p| (nines(*p), format!("{p}")));
    Chart {
        x_label: "percentile",
        y_label: "latency",
        x_ticks: ticks.collect(),
        y_scale: Scale::Log,
        y_text: time,
        series: report.distributions().filter(|d| d.done > 0).map(line).collect(),
        is_filled: false,
    }
    .svg()
}

fn time_ticks(report: &Report) -> Vec<(f64, String)> {
    let end = report.points.last().map_or(1.0, |point| point.at_s);
    let steps = [0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0];
    let step = steps.iter().copied().find(|step| end / step <= 12.0).unwrap_or(36_000.0);
    (0..=12)
        .map(|n| f64::from(n) * step)
        .filter(|at| *at <= end + 1e-9)
        .map(|at| (at, format!("{at} s")))
        .collect()
}

fn throughput(report: &Report) -> String {
    let points = report.points.iter().map(|point| (point.at_s, point.rate)).collect();
    let mut series = vec![Series { name: "operations a second".to_owned(), points }];
    if report.points.iter().any(|point| point.errors > 0) {
        let points = report.points.iter().map(|point| (point.at_s, point.errors as f64)).collect();
        series.push(Series { name: "errors at that point".to_owned(), points });
    }
    Chart {
        x_label: "time",
        y_label: "operations a second",
        x_ticks: time_ticks(report),
        y_scale: Scale::Linear,
        y_text: count,
        series,
        is_filled: true,
    }
    .svg()
}

fn over_time(report: &Report) -> String {
    let line = |name: &str, of: fn(&super::Moment) -> u64| {
        // A point in which nothing ended has no latency.
        let points = report.points.iter().filter(|point| of(point) > 0);
        Series { name: name.to_owned(), points: points.map(|point| (point.at_s, of(point) as f64)).collect() }
    };
    Chart {
        x_label: "time",
        y_label: "latency",
        x_ticks: time_ticks(report),
        y_scale: Scale::Log,
        y_text: time,
        series: vec![line("median", |p| p.p50), line("99th percentile", |p| p.p99), line("worst", |p| p.max)],
        is_filled: false,
    }
    .svg()
}

/// A number with a unit of thousands.
fn count(n: f64) -> String {
    match n {
        n if n >= 1e6 => format!("{:.2} M", n / 1e6),
        n if n >= 10_000.0 => format!("{:.1} k", n / 1e3),
        n if n >= 100.0 || n.fract().abs() < 1e-9 => format!("{n:.0}"),
        n => format!("{n:.1}"),
    }
}

/// A time of the calendar (proleptic Gregorian, UTC).
pub(crate) fn utc(seconds: u64) -> String {
    let (days, left) = (seconds / 86_400, seconds % 86_400);
    // Counted from 1 March of year 0, so that leap days come last.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", left / 3600, left / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendar_is_the_known_one() {
        assert_eq!(utc(0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(951_827_696), "2000-02-29 12:34 UTC");
        assert_eq!(utc(1_795_910_400), "2026-11-29 00:00 UTC");
    }

    #[test]
    fn nines_are_evenly_apart() {
        assert!((nines(90.0) - 1.0).abs() < 1e-9);
        assert!((nines(99.9) - 3.0).abs() < 1e-6);
    }

    #[test]
    fn names_cannot_break_the_page() {
        assert_eq!(escaped("<b>&\"x\""), "&lt;b&gt;&amp;&quot;x&quot;");
    }
}

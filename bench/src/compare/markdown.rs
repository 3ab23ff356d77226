//! The report of a comparison, for `perf/record`.

use std::fmt::Write;

use super::budget::{BUDGETS, verdict};
use super::kind::Kind;
use super::row::{Row, Sample};
use super::{Comparison, Found};
use crate::machine;
use crate::report::utc;

/// The report.
pub(super) fn report(comparison: &Comparison, found: &Found) -> String {
    let mut out = format!("# Rookery beside its peers\n\n{}", setting(comparison, found));
    let kinds: Vec<Kind> = found.versions.iter().map(|(kind, _)| *kind).collect();
    out += "\n## Budgets\n\nOur cost by the peer's, or our cost: the median of the alternations, and their spread.\n\n";
    out += "| work | seen | must | goal | |\n|---|---|---|---|---|\n";
    for budget in &BUDGETS {
        let (seen, word) = verdict(budget, found);
        let (must, goal) = (budget.must.text(), budget.goal.text());
        let _ = writeln!(out, "| {} | {seen} | {must} | {goal} | {word} |", budget.row);
    }
    if !found.rows.is_empty() {
        out += "\n## CPU microseconds for one operation, and operations for one second of CPU\n\n";
        out += &costs(&kinds, &found.rows, true);
    }
    if !found.idle.is_empty() {
        let _ = write!(
            out,
            "\n## KiB (PSS) for one idle session\n\nThe slope over four steps up to {} sessions, with Cyrus 120.\n\n",
            comparison.idle_sessions
        );
        out += &costs(&kinds, &found.idle, false);
    }
    if kinds.iter().any(|kind| *kind != Kind::Rookery) && kinds.contains(&Kind::Rookery) {
        out += "\n## Our cost by theirs: median (least to most) of the alternations\n\n";
        out += &ratios(&kinds, found);
    }
    if !found.rows.is_empty() {
        out += "\n## Latency in milliseconds: p50 / p99 / p99.9\n\nIn the closed loop, load and backend on one core: who is faster has \
            more operations under way at the backend.\n\n";
        out += &latencies(&kinds, &found.rows);
    }
    out + &failures(comparison, found)
}

fn setting(comparison: &Comparison, found: &Found) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut out =
        format!("* When: {}, took {} s.\n", utc(now.map_or(0, |now| now.as_secs())), found.took.as_secs());
    let _ = writeln!(
        out,
        "* Machine: {}. Load average before {}, after {}.",
        machine::describe(),
        found.loads.0,
        found.loads.1
    );
    let versions: Vec<&str> = found.versions.iter().map(|(_, version)| version.as_str()).collect();
    let _ = writeln!(out, "* Versions: {}.", versions.join("; "));
    let _ = writeln!(out, "* Command: `{}`", comparison.command);
    let _ = writeln!(
        out,
        "* All proxies on core {}, each with one worker; load generator and scripted backends on core {}. {} alternations \
         of each row, in each another one first; CPU is that of all threads and children of a proxy (schedstat).",
        comparison.core, comparison.load_core, comparison.rounds
    );
    out += "* Configurations are in `bench/peers`: nginx with `proxy_buffer 32k` and `multi_accept`, its `auth_http` answered \
        on the load's core; HAProxy as TCP proxy with `splice-auto`; Dovecot with `service_count = 0`, one login process for \
        all clients, 20 for LMTP; Cyrus as a murder's frontend with a process for each session; ours with one shard, \
        passwords checked by the backend, in the rows named saslauthd by a small one on the load's core.\n";
    out += "* TLS: ECDSA P-256, a full handshake for each session, towards the client only.\n";
    let _ = writeln!(out, "* TCP_NODELAY on the sockets of a session: {}", super::install::NODELAY_SEEN);
    out += "* `-` in a table is not measured: nginx has no LMTP proxy; Cyrus has a process for each session and leaves out \
        rows with many of them; transfers of other sizes than 1 MiB are the two fastest peers' alone, rows named saslauthd \
        nginx', the only one that asks somebody about passwords.\n";
    for (kind, why) in &found.absent {
        let _ = writeln!(out, "* {} did not take part: {why}.", kind.name());
    }
    out
}

fn head(kinds: &[Kind]) -> String {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    format!("| | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(kinds.len()))
}

fn cell(value: Option<String>) -> String {
    value.unwrap_or_else(|| "-".to_owned())
}

fn costs(kinds: &[Kind], rows: &[Row], is_time: bool) -> String {
    let mut out = head(kinds);
    for row in rows {
        let cells = kinds.iter().map(|kind| {
            let cost = row.median(*kind, |sample| sample.cost)?;
            Some(if is_time { format!("{cost:.2} ({})", per_second(cost)) } else { format!("{cost:.2}") })
        });
        let cells: Vec<String> = cells.map(cell).collect();
        let _ = writeln!(out, "| {} | {} |", row.name, cells.join(" | "));
    }
    out
}

fn per_second(us: f64) -> String {
    match 1e6 / us.max(1e-9) {
        n if n >= 10_000.0 => format!("{:.0} k", n / 1e3),
        n if n >= 1000.0 => format!("{:.1} k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

fn ratios(kinds: &[Kind], found: &Found) -> String {
    let peers: Vec<Kind> = kinds.iter().copied().filter(|kind| *kind != Kind::Rookery).collect();
    let mut out = head(&peers);
    for row in found.rows.iter().chain(&found.idle) {
        let cells = peers.iter().map(|kind| {
            let (median, least, most) = row.ratio(*kind)?;
            Some(if least < most {
                format!("{} ({} to {})", ratio(median), ratio(least), ratio(most))
            } else {
                ratio(median)
            })
        });
        let cells: Vec<String> = cells.map(cell).collect();
        let _ = writeln!(out, "| {} | {} |", row.name, cells.join(" | "));
    }
    out
}

/// A ratio; what a process for each session costs is not nothing.
fn ratio(value: f64) -> String {
    if value < 0.1 { format!("{value:.4}") } else { format!("{value:.2}") }
}

fn latencies(kinds: &[Kind], rows: &[Row]) -> String {
    let mut out = head(kinds);
    for row in rows {
        let cells = kinds.iter().map(|kind| {
            let at = |of: fn(&Sample) -> f64| row.median(*kind, of).map(millis);
            Some(format!("{} / {} / {}", at(|s| s.p50)?, at(|s| s.p99)?, at(|s| s.p999)?))
        });
        let cells: Vec<String> = cells.map(cell).collect();
        let _ = writeln!(out, "| {} | {} |", row.name, cells.join(" | "));
    }
    out
}

fn millis(us: f64) -> String {
    match us / 1e3 {
        ms if ms < 1.0 => format!("{ms:.2}"),
        ms if ms < 100.0 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
    }
}

fn failures(comparison: &Comparison, found: &Found) -> String {
    let mut lines = String::new();
    for row in &found.rows {
        let rounds = row.rounds();
        if (1..comparison.rounds).contains(&rounds) {
            let _ = writeln!(
                lines,
                "* {}: {rounds} of {} alternations, for want of time",
                row.name, comparison.rounds
            );
        }
    }
    for row in found.rows.iter().chain(&found.idle) {
        if let Some((_, why)) = row.failures.first()
            && row.samples.is_empty()
            && row.failures.iter().all(|(_, other)| other == why)
        {
            let _ = writeln!(lines, "* {}: {why}", row.name);
            continue;
        }
        for (kind, why) in &row.failures {
            let _ = writeln!(lines, "* {}, {}: {why}", row.name, kind.name());
        }
        for (kind, _) in &found.versions {
            let errors = row.errors(*kind);
            if errors > 0 {
                let _ = writeln!(
                    lines,
                    "* {}, {}: {errors} operations refused or connections lost",
                    row.name,
                    kind.name()
                );
            }
        }
    }
    if lines.is_empty() { lines } else { format!("\n## What failed\n\n{lines}") }
}

/// Every turn, for whoever wants more than medians.
pub(super) fn json(found: &Found) -> String {
    let rows = found.rows.iter().chain(&found.idle).map(|row| {
        let turns: Vec<serde_json::Value> = row
            .samples
            .iter()
            .map(|(kind, round, s)| {
                serde_json::json!({"peer": kind.name(), "round": round, "cost": s.cost, "rate": s.rate,
                    "p50_us": s.p50, "p99_us": s.p99, "p999_us": s.p999, "errors": s.errors})
            })
            .collect();
        serde_json::json!({"row": row.name, "seconds": row.seconds, "turns": turns})
    });
    serde_json::Value::Array(rows.collect()).to_string()
}

//! Figures as a table for eyes, and what is made of several.

use super::Report;

/// A table: a row of texts, the first row its head.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |n: usize| rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|n| width(n).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(n, (cell, width))| match n {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        out += cells.collect::<Vec<_>>().join("  ").trim_end();
        out.push('\n');
    }
    out
}

/// A run as a table, with a line on top and one for what went wrong.
pub fn summary(report: &Report) -> String {
    let head = ["", "ops/s", "done", "refused", "unfinished", "mean", "p50", "p90", "p99", "p99.9", "max"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for d in report.distributions() {
        let is_login = report.login.as_ref().is_some_and(|login| std::ptr::eq(login, d));
        let mut row = vec![if is_login { "(login)".to_owned() } else { d.name.clone() }];
        row.push(if is_login {
            "-".to_owned()
        } else {
            format!("{:.1}", d.done as f64 / report.seconds.max(1e-9))
        });
        row.extend([d.done, d.refused, d.unfinished].map(|n| n.to_string()));
        row.push(time(d.mean));
        row.extend([50.0, 90.0, 99.0, 99.9, 100.0].map(|p| time(d.percentile(p) as f64)));
        rows.push(row);
    }
    let pace = report.rate.map_or("closed loop".to_owned(), |rate| format!("{rate} operations/s wanted"));
    let mut out = format!(
        "{} at {}: {} connections, {pace}, {:.1} s\n{}",
        report.name,
        report.target,
        report.connections,
        report.seconds,
        table(&rows)
    );
    if let Some(cpu) = report.cpu_us {
        out += &format!(
            "{cpu:.2} us of CPU for one operation, {:.0} operations for a second of it\n",
            1e6 / cpu
        );
    }
    if let Some(beside) = &report.beside {
        out += &format!("{}\n", beside.told());
    }
    if report.lost > 0 {
        out += &format!("{} connections lost, the last: {}\n", report.lost, report.why);
    }
    out
}

/// Microseconds, told in the unit that suits them.
pub(super) fn time(us: f64) -> String {
    match us {
        us if us < 1000.0 => format!("{us:.0} us"),
        us if us < 100_000.0 => format!("{:.2} ms", us / 1e3),
        us if us < 1_000_000.0 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

/// The middle of the values, the lower one of two.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

/// Bytes for one session more: the slope through (sessions, bytes) by least squares.
pub fn slope(points: &[(usize, u64)]) -> Option<f64> {
    let n = points.len() as f64;
    let mean = |of: fn(&(usize, u64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (mean_x, mean_y) = (mean(|p| p.0 as f64), mean(|p| p.1 as f64));
    let spread: f64 = points.iter().map(|p| (p.0 as f64 - mean_x).powi(2)).sum();
    let both: f64 = points.iter().map(|p| (p.0 as f64 - mean_x) * (p.1 as f64 - mean_y)).sum();
    (spread > 0.0).then(|| both / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_lower_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn slope_ignores_what_is_there_without_sessions() {
        assert_eq!(slope(&[(1000, 5_000_000), (2000, 7_000_000), (3000, 9_000_000)]), Some(2000.0));
        assert_eq!(slope(&[(1000, 5)]), None);
    }

    #[test]
    fn times_have_their_units() {
        assert_eq!(
            [12.0, 1234.0, 123_456.0, 12_345_678.0].map(time),
            ["12 us", "1.23 ms", "123 ms", "12.35 s"]
        );
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "10".to_owned()], vec!["long".to_owned(), "5".to_owned()]];
        assert_eq!(table(&rows), "a     10\nlong   5\n");
    }
}

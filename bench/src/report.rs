//! Figures as a table for eyes and as JSON for records.

use std::fmt::Write;

use crate::load::Outcome;

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

/// The head of a table of outcomes.
pub fn head() -> Vec<String> {
    ["run", "ops/s", "CPU us/op", "p50 us", "p99 us", "errors"].map(str::to_owned).to_vec()
}

/// An outcome as a row.
pub fn row(name: &str, outcome: &Outcome) -> Vec<String> {
    vec![
        name.to_owned(),
        format!("{:.0}", outcome.rate()),
        outcome.cpu_us().map_or_else(|| "-".to_owned(), |us| format!("{us:.2}")),
        outcome.latency.value_at_quantile(0.5).to_string(),
        outcome.latency.value_at_quantile(0.99).to_string(),
        outcome.errors.to_string(),
    ]
}

/// An outcome as a JSON object. Names must hold no quotes.
pub fn json(name: &str, outcome: &Outcome) -> String {
    let mut out = String::new();
    let cpu = outcome.cpu_us().map_or_else(|| "null".to_owned(), |us| format!("{us:.3}"));
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "{{\"run\":\"{name}\",\"operations\":{},\"errors\":{},\"seconds\":{:.3},\"cpu_us\":{cpu},\"p50_us\":{},\"p99_us\":{}}}",
        outcome.operations,
        outcome.errors,
        outcome.elapsed.as_secs_f64(),
        outcome.latency.value_at_quantile(0.5),
        outcome.latency.value_at_quantile(0.99),
    );
    out
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
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "10".to_owned()], vec!["long".to_owned(), "5".to_owned()]];
        assert_eq!(table(&rows), "a     10\nlong   5\n");
    }
}

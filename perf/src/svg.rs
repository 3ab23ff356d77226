//! A picture of histograms: time over percentile, both logarithmic, as HdrHistogram plots are drawn.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

/// The size of the picture, in pixels.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 540.0;

/// Room for the axes and the legend.
const LEFT: f64 = 76.0;
const RIGHT: f64 = 220.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 48.0;

/// Percentiles with a line and a label; the last one ends the axis.
const TICKS: [(f64, &str); 6] =
    [(0.0, "0"), (0.5, "50"), (0.9, "90"), (0.99, "99"), (0.999, "99.9"), (0.9999, "99.99")];

/// Points of a curve.
const POINTS: u32 = 240;

/// Told apart by people who do not see red and green as different (Okabe and Ito).
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"];

/// One curve.
#[derive(Clone, Copy, Debug)]
pub struct Curve<'a> {
    /// What it shows.
    pub label: &'a str,
    /// Times in microseconds.
    pub histogram: &'a Histogram<u32>,
}

/// Draws curves into one picture that needs nothing else.
pub fn percentiles(title: &str, curves: &[Curve<'_>]) -> String {
    let filled: Vec<&Curve<'_>> = curves.iter().filter(|curve| !curve.histogram.is_empty()).collect();
    let low = filled.iter().map(|curve| curve.histogram.min()).min().unwrap_or(1).max(1);
    let high = filled.iter().map(|curve| curve.histogram.max()).max().unwrap_or(1000);
    let scale = Scale::new(low, high);
    let mut out = String::new();
    line(
        &mut out,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">"
        ),
    );
    line(&mut out, format_args!("<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>"));
    line(&mut out, format_args!("<text x=\"{LEFT}\" y=\"26\" font-size=\"16\">{}</text>", escaped(title)));
    axes(&mut out, &scale);
    for (n, curve) in filled.iter().enumerate() {
        draw(&mut out, &scale, n, curve);
    }
    line(&mut out, format_args!("</svg>"));
    out
}

/// Where times stand on the vertical axis.
struct Scale {
    /// Whole powers of ten around all times, in microseconds.
    from: i32,
    to: i32,
}

impl Scale {
    fn new(low: u64, high: u64) -> Scale {
        let from = (low as f64).log10().floor() as i32;
        let to = (high as f64).log10().ceil() as i32;
        Scale { from, to: to.max(from + 1) }
    }

    fn y(&self, us: f64) -> f64 {
        let part = (us.max(1.0).log10() - f64::from(self.from)) / f64::from(self.to - self.from);
        HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
    }
}

/// Where a quantile stands on the horizontal axis.
fn x(quantile: f64) -> f64 {
    let (end, _) = TICKS[TICKS.len() - 1];
    let part = (1.0 - quantile.min(end)).log10() / (1.0 - end).log10();
    LEFT + part * (WIDTH - LEFT - RIGHT)
}

fn axes(out: &mut String, scale: &Scale) {
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for (quantile, name) in TICKS {
        let x = x(quantile);
        line(out, format_args!("<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"#dddddd\"/>"));
        line(
            out,
            format_args!("<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{name} %</text>", bottom + 18.0),
        );
    }
    for power in scale.from..=scale.to {
        let us = 10_f64.powi(power);
        let y = scale.y(us);
        line(out, format_args!("<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#dddddd\"/>"));
        let (x, y) = (LEFT - 8.0, y + 4.0);
        line(out, format_args!("<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{}</text>", time(us)));
    }
    line(
        out,
        format_args!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">commands at or below this time</text>",
            (LEFT + right) / 2.0,
            HEIGHT - 10.0
        ),
    );
}

fn draw(out: &mut String, scale: &Scale, n: usize, curve: &Curve<'_>) {
    let colour = COLOURS[n % COLOURS.len()];
    let mut path = String::new();
    let (end, _) = TICKS[TICKS.len() - 1];
    // Of a hundred commands none says what the thousandth would take.
    let last = (1.0 - 1.0 / curve.histogram.len() as f64).clamp(0.5, end);
    for point in 0..=POINTS {
        let quantile = 1.0 - (1.0 - last).powf(f64::from(point) / f64::from(POINTS));
        let us = curve.histogram.value_at_quantile(quantile) as f64;
        let command = if point == 0 { 'M' } else { 'L' };
        // Writing to a string does not fail.
        let _ = write!(path, "{command}{:.1} {:.1}", x(quantile), scale.y(us));
    }
    line(out, format_args!("<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"));
    let (x, y) = (WIDTH - RIGHT + 16.0, TOP + 12.0 + 18.0 * n as f64);
    line(
        out,
        format_args!("<rect x=\"{x}\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>", y - 10.0),
    );
    line(
        out,
        format_args!(
            "<text x=\"{}\" y=\"{y}\">{} ({})</text>",
            x + 18.0,
            escaped(curve.label),
            curve.histogram.len()
        ),
    );
}

/// A time as people say it.
pub fn time(us: f64) -> String {
    let (value, unit) = match us {
        us if us < 1e3 => (us, "us"),
        us if us < 1e6 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    if value >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0} {unit}")
    } else {
        format!("{value:.1} {unit}")
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = out.write_fmt(text);
    out.push('\n');
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::histogram;

    #[test]
    fn every_curve_with_times_is_drawn_inside_the_axes() {
        let mut times = histogram();
        for us in 1..=10_000 {
            times.saturating_record(us);
        }
        let empty = histogram();
        let curves =
            [Curve { label: "a<b", histogram: &times }, Curve { label: "unused", histogram: &empty }];
        let svg = percentiles("title", &curves);
        assert!(svg.contains("a&lt;b (10000)") && !svg.contains("unused"));
        let scale = Scale::new(1, 10_000);
        assert_eq!((scale.from, scale.to), (0, 4));
        assert!((scale.y(10_000.0) - TOP).abs() < 0.1 && (scale.y(1.0) - (HEIGHT - BOTTOM)).abs() < 0.1);
        assert!((x(0.0) - LEFT).abs() < 0.1 && (x(0.9999) - (WIDTH - RIGHT)).abs() < 0.1);
    }

    #[test]
    fn times_are_said_in_their_unit() {
        assert_eq!(
            [time(1.0), time(1500.0), time(2e6), time(250_000.0)],
            ["1 us", "1.5 ms", "2 s", "250 ms"]
        );
    }
}

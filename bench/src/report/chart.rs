//! Line charts as SVG.

use std::fmt::Write;

/// Of a chart, in its own units; the page scales it.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 42.0;
/// Colours that the page defines, `s0` to one less.
const COLOURS: usize = 8;

/// How values become places.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// From 0 on, evenly.
    Linear,
    /// Each factor of ten the same distance.
    Log,
}

/// A line.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// Lines over one axis of x.
pub(super) struct Chart {
    pub(super) x_label: &'static str,
    pub(super) y_label: &'static str,
    /// Places on the x axis, with what is written there; x itself is linear.
    pub(super) x_ticks: Vec<(f64, String)>,
    pub(super) y_scale: Scale,
    pub(super) y_text: fn(f64) -> String,
    pub(super) series: Vec<Series>,
    /// The area below the first line is filled.
    pub(super) is_filled: bool,
}

/// Where a chart's values lie.
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
    y_scale: Scale,
}

impl Frame {
    fn of(chart: &Chart) -> Frame {
        let all = || chart.series.iter().flat_map(|series| &series.points);
        let ticks = chart.x_ticks.iter().map(|(x, _)| *x);
        let (low, high) = span(all().map(|(x, _)| *x).chain(ticks)).unwrap_or((0.0, 1.0));
        let (least, most) = span(all().map(|(_, y)| *y).filter(|y| *y > 0.0)).unwrap_or((1.0, 10.0));
        let y = match chart.y_scale {
            Scale::Linear => (0.0, nice(most * 1.05)),
            Scale::Log => {
                let floor = 10_f64.powf(least.log10().floor());
                // Decades are wide: the top is the next 1, 2 or 5.
                let top = [1.0, 2.0, 5.0, 10.0].map(|step| step * 10_f64.powf(most.log10().floor()));
                (
                    floor,
                    top.into_iter().find(|top| *top >= most * 1.02).unwrap_or(most * 2.0).max(floor * 10.0),
                )
            }
        };
        Frame { x: (low, if high > low { high } else { low + 1.0 }), y, y_scale: chart.y_scale }
    }

    fn x(&self, x: f64) -> f64 {
        LEFT + (x - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, y: f64) -> f64 {
        let part = match self.y_scale {
            Scale::Linear => (y - self.y.0) / (self.y.1 - self.y.0),
            Scale::Log => (y.max(self.y.0) / self.y.0).log10() / (self.y.1 / self.y.0).log10(),
        };
        HEIGHT - BOTTOM - part.clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    }

    fn y_ticks(&self) -> Vec<f64> {
        match self.y_scale {
            Scale::Linear => (0..=4).map(|n| self.y.1 * f64::from(n) / 4.0).collect(),
            Scale::Log => {
                let decades = (self.y.1 / self.y.0).log10();
                let steps: &[f64] = if decades > 2.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
                let from = self.y.0.log10().round() as i32;
                (from..from + decades.ceil() as i32 + 1)
                    .flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)))
                    .filter(|y| *y <= self.y.1 * 1.001)
                    .collect()
            }
        }
    }
}

fn span(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |span, value| {
        Some(span.map_or((value, value), |(low, high): (f64, f64)| (low.min(value), high.max(value))))
    })
}

/// The next number of one digit or one and a half.
fn nice(value: f64) -> f64 {
    let unit = 10_f64.powf(value.max(1e-9).log10().floor());
    let steps = [1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0];
    steps.iter().map(|step| step * unit).find(|step| *step >= value).unwrap_or(value)
}

impl Chart {
    /// The chart and its legend.
    pub(super) fn svg(&self) -> String {
        let frame = Frame::of(self);
        let mut out = String::new();
        if self.series.len() > 1 {
            out += "<ul class=\"legend\">";
            for (n, series) in self.series.iter().enumerate() {
                let _ = write!(out, "<li><i class=\"s{}\"></i>{}</li>", n % COLOURS, escaped(&series.name));
            }
            out += "</ul>";
        }
        let _ = write!(
            out,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} over {}\">",
            self.y_label, self.x_label
        );
        self.grid(&frame, &mut out);
        for (n, series) in self.series.iter().enumerate() {
            self.line(&frame, n, series, &mut out);
        }
        out + "</svg>"
    }

    fn grid(&self, frame: &Frame, out: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for y in frame.y_ticks() {
            let (at, text) = (frame.y(y), (self.y_text)(y));
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>"
            );
            let _ = write!(out, "<text class=\"y\" x=\"{}\" y=\"{:.1}\">{text}</text>", LEFT - 8.0, at + 4.0);
        }
        for (x, text) in &self.x_ticks {
            let at = frame.x(*x);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>"
            );
            let _ = write!(out, "<text class=\"x\" x=\"{at:.1}\" y=\"{:.1}\">{text}</text>", bottom + 16.0);
        }
        let middle = (LEFT + right) / 2.0;
        let _ = write!(
            out,
            "<text class=\"x label\" x=\"{middle}\" y=\"{}\">{}</text>",
            HEIGHT - 6.0,
            self.x_label
        );
    }

    fn line(&self, frame: &Frame, n: usize, series: &Series, out: &mut String) {
        let places = series.points.iter().map(|(x, y)| format!("{:.1},{:.1}", frame.x(*x), frame.y(*y)));
        let places = places.collect::<Vec<_>>().join(" ");
        if self.is_filled
            && n == 0
            && let (Some((first, _)), Some((last, _))) = (series.points.first(), series.points.last())
        {
            let (first, last, bottom) = (frame.x(*first), frame.x(*last), HEIGHT - BOTTOM);
            let _ = write!(
                out,
                "<polygon class=\"fill\" points=\"{first:.1},{bottom} {places} {last:.1},{bottom}\"/>"
            );
        }
        let _ = write!(out, "<polyline class=\"s{}\" points=\"{places}\"/>", n % COLOURS);
    }
}

/// A text with what HTML would take for itself written out.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(y_scale: Scale, points: Vec<(f64, f64)>) -> Chart {
        let series = vec![Series { name: "<a>".to_owned(), points }];
        let (x_label, y_label, y_text) = ("x", "y", |y: f64| format!("{y:.0}"));
        Chart { x_label, y_label, x_ticks: Vec::new(), y_scale, y_text, series, is_filled: true }
    }

    #[test]
    fn all_places_lie_within_the_frame() {
        for scale in [Scale::Linear, Scale::Log] {
            let chart = chart(scale, vec![(0.0, 3.0), (1.0, 4321.0), (2.0, 0.0)]);
            let frame = Frame::of(&chart);
            for (x, y) in &chart.series[0].points {
                assert!((LEFT..=WIDTH - RIGHT).contains(&frame.x(*x)));
                assert!((TOP..=HEIGHT - BOTTOM).contains(&frame.y(*y)));
            }
            assert!(frame.y_ticks().len() >= 3);
        }
    }

    #[test]
    fn nothing_to_show_is_no_error() {
        for scale in [Scale::Linear, Scale::Log] {
            assert!(chart(scale, Vec::new()).svg().ends_with("</svg>"));
            assert!(!chart(scale, vec![(0.0, 0.0)]).svg().contains("NaN"));
        }
    }
}

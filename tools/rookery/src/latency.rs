//! `rookery latency`.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use engine::control::{Ask, Latency, Program};
use perf::svg::{self, Curve};

use crate::common::Common;
use crate::exit::{Failure, Outcome};
use crate::output::{self, Form, Table, grouped};
use crate::socket;

/// Curves of one picture; more cannot be told apart.
const CURVES_MAX: usize = 8;

/// What is shown of the times.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only this stage: total, own, client, backend, authentication or directory
    #[arg(long, value_parser = ["total", "own", "client", "backend", "authentication", "directory"])]
    stage: Option<String>,
    /// Only this verb or backend; may be given more than once
    #[arg(long = "of", value_name = "NAME")]
    names: Vec<String>,
    /// Draw percentiles to a file (SVG): the stage, or total, of the verbs that came up most often
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Asks the frontend of this host.
///
/// # Errors
/// It does not answer, or the picture cannot be written.
pub(crate) fn run(options: &Options, common: &Common, form: Form) -> Result<Outcome, Failure> {
    let mut daemon = socket::open(common, &[Program::Rookeryd, Program::Mupdate])?;
    let ask = Ask::Latency { times: options.svg.is_some() };
    let mut rows = daemon.ask::<Latency>(&ask)?.collect::<Result<Vec<_>, _>>()?;
    rows.retain(|row| options.wants(row));
    if let Some(file) = &options.svg {
        fs::write(file, picture(options, &rows))?;
    }
    let mut out = output::stdout();
    if form == Form::Json {
        rows.iter_mut().for_each(|row| row.times.clear());
        rows.iter().try_for_each(|row| output::json(&mut out, row))?;
        out.flush()?;
        return Ok(Outcome::Fine);
    }
    let header = ["OF", "STAGE", "COUNT", "MEAN", "P50", "P90", "P99", "P99.9", "MAX"];
    let mut table = Table::new(out, form, &header);
    for row in &rows {
        let times = [row.p50_us, row.p90_us, row.p99_us, row.p999_us, row.max_us].map(time);
        let mut cells =
            vec![row.name.clone(), row.stage.clone(), grouped(row.count), svg::time(row.mean_us.round())];
        cells.extend(times);
        table.row(cells)?;
    }
    table.finish()?;
    Ok(Outcome::Fine)
}

impl Options {
    fn wants(&self, row: &Latency) -> bool {
        let named =
            self.names.is_empty() || self.names.iter().any(|name| name.eq_ignore_ascii_case(&row.name));
        named && self.stage.as_ref().is_none_or(|stage| *stage == row.stage)
    }
}

/// Microseconds for people.
pub(crate) fn time(us: u64) -> String {
    svg::time(us as f64)
}

/// Percentiles of the verbs that came up most often.
fn picture(options: &Options, rows: &[Latency]) -> String {
    let stage = options.stage.as_deref().unwrap_or("total");
    let mut verbs: Vec<&Latency> =
        rows.iter().filter(|row| row.kind == "verb" && row.stage == stage).collect();
    if verbs.is_empty() {
        verbs = rows.iter().filter(|row| row.kind == "backend").collect();
    }
    verbs.sort_by_key(|row| std::cmp::Reverse(row.count));
    verbs.truncate(CURVES_MAX);
    let histograms: Vec<_> = verbs.iter().map(|row| perf::histogram_of(row.times.iter().copied())).collect();
    let curves: Vec<Curve<'_>> =
        verbs.iter().zip(&histograms).map(|(row, histogram)| Curve { label: &row.name, histogram }).collect();
    svg::percentiles(&format!("Time of commands, stage {stage}"), &curves)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn row(name: &str, stage: &str, times: Vec<(u64, u32)>) -> Latency {
        let histogram = perf::histogram_of(times.iter().copied());
        Latency {
            kind: "verb".into(),
            name: name.into(),
            stage: stage.into(),
            count: histogram.len(),
            mean_us: histogram.mean(),
            p50_us: histogram.value_at_quantile(0.5),
            p90_us: histogram.value_at_quantile(0.9),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
            times,
        }
    }

    #[test]
    fn rows_are_chosen_by_stage_and_name() {
        let options = Options { stage: Some("own".into()), names: vec!["noop".into()], svg: None };
        assert!(options.wants(&row("NOOP", "own", vec![(5, 1)])));
        assert!(!options.wants(&row("NOOP", "total", vec![(5, 1)])));
        assert!(!options.wants(&row("FETCH", "own", vec![(5, 1)])));
    }

    #[test]
    fn the_picture_shows_the_busiest_verbs() {
        let options = Options { stage: None, names: Vec::new(), svg: None };
        let rows: Vec<Latency> =
            (1..=10).map(|n| row(&format!("VERB{n}"), "total", vec![(100, n), (900, 1)])).collect();
        let svg = picture(&options, &rows);
        assert!(
            svg.contains("VERB10 (11)") && svg.contains("VERB3 (4)") && !svg.contains("VERB2 ("),
            "{svg}"
        );
    }
}

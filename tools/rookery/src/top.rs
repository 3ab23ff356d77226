//! `rookery top`: a view of a daemon at work, renewed every few seconds.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use engine::control::{self, Ask, Connection, Latency, Program, ShardLoad, SlowCommand, Status};
use hdrhistogram::Histogram;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::common::Common;
use crate::exit::{Failure, Outcome};
use crate::latency::time;
use crate::output::{self, Form, Table, grouped, span};
use crate::screen::fitted;
use crate::socket;

/// Verbs, backends and slow commands that are shown.
const ROWS_MAX: usize = 12;

/// How often, and how many times.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seconds between two samples
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    /// End after so many samples
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// Shows samples until the user has enough.
///
/// # Errors
/// The daemon does not answer.
pub(crate) fn run(options: &Options, common: &Common, form: Form) -> Result<Outcome, Failure> {
    let mut daemon = socket::open(common, &[Program::Rookeryd, Program::Mupdate])?;
    let terminal = Terminal::take(form)?;
    let mut before = Sample::take(&mut daemon)?;
    let count = options.count.unwrap_or(if terminal.is_some() { u64::MAX } else { 1 });
    for _ in 0..count {
        if wait(Duration::from_secs(options.every), terminal.is_some())? {
            break;
        }
        let sample = Sample::take(&mut daemon)?;
        let mut frame = Vec::new();
        let view = View::of(&before, &sample);
        match form {
            Form::Json => output::json(&mut frame, &view)?,
            Form::Terminal | Form::Plain => view.write(&mut frame)?,
        }
        show(&frame, terminal.is_some())?;
        before = sample;
    }
    Ok(Outcome::Fine)
}

/// Writes a frame, on a terminal over the one before and no more than it shows.
fn show(frame: &[u8], over: bool) -> io::Result<()> {
    let mut out = output::stdout();
    if over {
        let (rows, columns) = size();
        let lines = fitted(&String::from_utf8_lossy(frame), rows, columns);
        // Home; each line is cleared behind its text, and what stands below the last, which has no line end: the
        // screen would move up.
        write!(out, "\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\n"))?;
    } else {
        out.write_all(frame)?;
    }
    out.flush()
}

/// Rows and columns of the terminal at this moment.
fn size() -> (usize, usize) {
    let told = tcgetwinsize(io::stdout()).map(|size| (size.ws_row.into(), size.ws_col.into()));
    // A serial line does not know.
    told.ok().filter(|(rows, columns)| *rows > 0 && *columns > 0).unwrap_or((24, 80))
}

/// Waits; whether the user pressed q meanwhile.
fn wait(time: Duration, has_keys: bool) -> io::Result<bool> {
    let end = Instant::now() + time;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        if !has_keys {
            std::thread::sleep(left);
            return Ok(false);
        }
        let stdin = io::stdin();
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        if poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&timeout))? > 0 {
            let mut keys = [0; 16];
            let n = rustix::io::read(&stdin, &mut keys)?;
            if n == 0 || keys[..n].iter().any(|key| matches!(key, b'q' | b'Q' | 3 | 4)) {
                return Ok(true);
            }
        }
    }
}

/// The terminal with keys read one by one and a screen of its own; given back when dropped.
struct Terminal {
    before: Termios,
}

impl Terminal {
    /// `None` where there is no terminal on both ends.
    fn take(form: Form) -> io::Result<Option<Terminal>> {
        if form != Form::Terminal || !io::stdin().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
        // Another screen, without a cursor.
        io::stdout().write_all(b"\x1b[?1049h\x1b[?25l")?;
        Ok(Some(Terminal { before }))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = io::stdout().write_all(b"\x1b[?25h\x1b[?1049l");
        let _ = io::stdout().flush();
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

/// What was measured of: kind, name, stage.
type Key = (String, String, String);

/// What a daemon told at one moment.
struct Sample {
    at: Instant,
    status: Status,
    shards: Vec<ShardLoad>,
    times: BTreeMap<Key, BTreeMap<u64, u32>>,
    slowest: Vec<SlowCommand>,
}

impl Sample {
    fn take(daemon: &mut Connection) -> Result<Sample, Failure> {
        let status = daemon.ask_one::<Status>(&Ask::Status)?;
        let shards = daemon.ask::<ShardLoad>(&Ask::Shards)?.collect::<Result<_, _>>()?;
        let rows = daemon.ask::<Latency>(&Ask::Latency { times: true })?.collect::<Result<Vec<_>, _>>()?;
        let slowest = daemon.ask::<SlowCommand>(&Ask::Slowest)?.collect::<Result<_, _>>()?;
        let times = rows
            .into_iter()
            .map(|row| ((row.kind, row.name, row.stage), row.times.into_iter().collect()))
            .collect();
        Ok(Sample { at: Instant::now(), status, shards, times, slowest })
    }
}

/// What happened between two samples.
#[derive(serde::Serialize)]
struct View {
    status: Status,
    shards: Vec<Shard>,
    /// Busiest first.
    verbs: Vec<Times>,
    /// Busiest first.
    backends: Vec<Times>,
    slowest: Vec<SlowCommand>,
}

#[derive(serde::Serialize)]
struct Shard {
    shard: u64,
    sessions: u64,
    connections: u64,
    commands_per_second: f64,
}

/// The commands of a verb or of a backend.
#[derive(serde::Serialize)]
struct Times {
    name: String,
    per_second: f64,
    /// The stage `total` of a verb, `backend` of a backend.
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
    /// The stage `own` of a verb.
    own_p50_us: Option<u64>,
    own_p99_us: Option<u64>,
    /// The stage `backend` of a verb.
    backend_p50_us: Option<u64>,
}

impl View {
    fn of(before: &Sample, after: &Sample) -> View {
        let seconds = after.at.duration_since(before.at).as_secs_f64().max(0.001);
        let times = |kind: &str, stage: &str| {
            let mut rows: Vec<Times> = after
                .times
                .keys()
                .filter(|(of, _, at)| of == kind && at == stage)
                .filter_map(|(_, name, _)| Times::of(before, after, (kind, name, stage), seconds))
                .collect();
            rows.sort_by(|a, b| b.per_second.total_cmp(&a.per_second));
            rows.truncate(ROWS_MAX);
            rows
        };
        let shard = |load: &ShardLoad| {
            let was = before.shards.iter().find(|was| was.shard == load.shard).map_or(0, |was| was.commands);
            Shard {
                shard: load.shard,
                sessions: load.sessions,
                connections: load.connections,
                commands_per_second: load.commands.saturating_sub(was) as f64 / seconds,
            }
        };
        View {
            status: after.status.clone(),
            shards: after.shards.iter().map(shard).collect(),
            verbs: times("verb", "total"),
            backends: times("backend", "backend"),
            slowest: after.slowest.iter().take(ROWS_MAX).cloned().collect(),
        }
    }

    fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let Status { program, version, pid, uptime_seconds, knowledge, mailboxes, sequence, .. } =
            &self.status;
        writeln!(
            out,
            "{} {version}, process {pid}, up {}; list {knowledge}, {} mailboxes, change {sequence}\n",
            program.name(),
            span(*uptime_seconds),
            grouped(*mailboxes)
        )?;
        self.write_shards(out)?;
        write_times(out, "VERB", &self.verbs)?;
        write_times(out, "BACKEND", &self.backends)?;
        let mut table = Table::new(out, Form::Terminal, &["SLOWEST", "TOOK", "BACKEND"]);
        for slow in &self.slowest {
            table.row(vec![slow.verb.clone(), time(slow.us), slow.server.clone().unwrap_or_default()])?;
        }
        table.finish()
    }

    fn write_shards(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let header = ["SHARD", "SESSIONS", "CONNECTIONS", "COMMANDS/S"];
        let mut table = Table::new(&mut *out, Form::Terminal, &header);
        for Shard { shard, sessions, connections, commands_per_second } in &self.shards {
            let rate = format!("{commands_per_second:.1}");
            table.row(vec![control::shard_name(*shard), grouped(*sessions), grouped(*connections), rate])?;
        }
        table.finish()?;
        writeln!(out)
    }
}

fn write_times(out: &mut Vec<u8>, what: &str, rows: &[Times]) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let header = [what, "PER SECOND", "P50", "P99", "MAX", "OWN P50", "OWN P99", "BACKEND P50"];
    let columns = if what == "VERB" { header.len() } else { 5 };
    let mut table = Table::new(&mut *out, Form::Terminal, &header[..columns]);
    for row in rows {
        let maybe = |us: Option<u64>| us.map(time).unwrap_or_default();
        let mut cells = vec![row.name.clone(), format!("{:.1}", row.per_second)];
        cells.extend([row.p50_us, row.p99_us, row.max_us].map(time));
        cells.extend([row.own_p50_us, row.own_p99_us, row.backend_p50_us].map(maybe));
        cells.truncate(columns);
        table.row(cells)?;
    }
    table.finish()?;
    writeln!(out)
}

impl Times {
    /// `None` when nothing was answered in between.
    fn of(before: &Sample, after: &Sample, of: (&str, &str, &str), seconds: f64) -> Option<Times> {
        let (kind, name, stage) = of;
        let times = between(before, after, (kind, name, stage))?;
        let own = between(before, after, (kind, name, "own"));
        let backend = between(before, after, (kind, name, "backend")).filter(|_| kind == "verb");
        let at = |times: &Histogram<u32>, quantile| times.value_at_quantile(quantile);
        Some(Times {
            name: name.into(),
            per_second: times.len() as f64 / seconds,
            p50_us: at(&times, 0.5),
            p99_us: at(&times, 0.99),
            max_us: times.max(),
            own_p50_us: own.as_ref().map(|own| at(own, 0.5)),
            own_p99_us: own.as_ref().map(|own| at(own, 0.99)),
            backend_p50_us: backend.as_ref().map(|backend| at(backend, 0.5)),
        })
    }
}

/// The times of what was answered between two samples; `None` without any.
fn between(
    before: &Sample,
    after: &Sample,
    (kind, name, stage): (&str, &str, &str),
) -> Option<Histogram<u32>> {
    let key = (kind.to_owned(), name.to_owned(), stage.to_owned());
    let was = before.times.get(&key);
    let count_before = |us: &u64| was.and_then(|was| was.get(us)).copied().unwrap_or(0);
    let times = after.times.get(&key)?;
    let times =
        perf::histogram_of(times.iter().map(|(us, count)| (*us, count.saturating_sub(count_before(us)))));
    (!times.is_empty()).then_some(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: Instant, commands: u64, noop: &[(u64, u32)]) -> Sample {
        let status = Status {
            program: Program::Rookeryd,
            version: "0.1.0".into(),
            pid: 42,
            uptime_seconds: 90,
            source: None,
            knowledge: "live".into(),
            mailboxes: 12_345,
            sequence: 7,
            held_back: None,
            sessions: vec![1],
        };
        let key = |kind: &str, name: &str, stage: &str| (kind.into(), name.into(), stage.into());
        let times: BTreeMap<u64, u32> = noop.iter().copied().collect();
        Sample {
            at,
            status,
            shards: vec![ShardLoad { shard: 0, sessions: 9, connections: 18, commands, unrecorded: 0 }],
            times: BTreeMap::from([
                (key("verb", "NOOP", "total"), times.clone()),
                (key("verb", "NOOP", "own"), BTreeMap::from([(20, 6)])),
                (key("backend", "be1", "backend"), times),
            ]),
            slowest: vec![SlowCommand { verb: "FETCH".into(), server: Some("be1".into()), us: 2_000_000 }],
        }
    }

    #[test]
    fn the_view_tells_what_happened_since_the_sample_before() {
        let start = Instant::now();
        let before = sample(start, 100, &[(500, 4)]);
        let after = sample(start + Duration::from_secs(2), 300, &[(500, 4), (1000, 8)]);
        let view = View::of(&before, &after);
        assert_eq!((view.verbs[0].per_second, view.shards[0].commands_per_second), (4.0, 100.0));
        assert!((990..=1010).contains(&view.verbs[0].p50_us), "{}", view.verbs[0].p50_us);
        assert_eq!(view.verbs[0].own_p50_us, None, "no own time came to what was there before");
        let mut text = Vec::new();
        view.write(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        for part in ["list live, 12,345 mailboxes", "NOOP  4.0", "be1      4.0", "FETCH    2 s", "0      9"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }
}

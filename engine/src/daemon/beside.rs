//! The MUPDATE master that runs beside a frontend, as a process of its own: a frontend that ends or
//! is started again in another version does not take the master's state into its own hands.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use protocols::proxy::Level;
use rustix::process::{Pid, Signal, kill_process};

use super::Options;
use crate::log::Log;

/// How long a master rests that has ended; doubled each time up to the longest.
const REST_MIN: Duration = Duration::from_secs(1);

/// The longest rest.
const REST_MAX: Duration = Duration::from_secs(60);

/// A master that ran for so long is started again without a longer rest.
const STEADY: Duration = Duration::from_secs(60);

/// Time to say goodbye and to write what is under way.
const STOP_MAX: Duration = Duration::from_secs(10);

/// The program, in the folder of this one.
const PROGRAM: &str = "mupdate";

/// The process and when it is started again.
pub(super) struct Beside {
    program: PathBuf,
    arguments: Vec<OsString>,
    state: State,
    rest: Duration,
}

enum State {
    Running {
        child: Child,
        since: Instant,
    },
    /// Until then; `None` before the first start.
    Resting(Option<Instant>),
}

impl Beside {
    /// With the frontend's own files.
    pub(super) fn new(options: &Options) -> Beside {
        let own = std::env::current_exe().unwrap_or_default();
        let mut arguments: Vec<OsString> =
            vec!["-m".into(), "--beside-frontend".into(), "-C".into(), options.config.clone().into()];
        arguments.extend(["-M".into(), options.services.clone().into()]);
        if options.foreground {
            arguments.push("-D".into());
        }
        Beside {
            program: own.with_file_name(PROGRAM),
            arguments,
            state: State::Resting(None),
            rest: REST_MIN,
        }
    }

    /// Starts the master when it is time, and notices that it has ended.
    pub(super) fn look(&mut self, log: &Log, now: Instant) {
        match &mut self.state {
            State::Resting(Some(until)) if now < *until => {}
            State::Resting(_) => self.start(log, now),
            State::Running { child, since } => match child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => {
                    let was_steady = now.duration_since(*since) >= STEADY;
                    self.ended(log, &said(status), was_steady, now);
                }
                Err(error) => self.ended(log, &error.to_string(), false, now),
            },
        }
    }

    fn start(&mut self, log: &Log, now: Instant) {
        // Its readiness is not this daemon's: it gets no NOTIFY_SOCKET.
        let spawned = Command::new(&self.program)
            .args(&self.arguments)
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .spawn();
        match spawned {
            Ok(child) => {
                log.write(Level::Info, &format!("the mupdate master runs beside, process {}", child.id()));
                self.state = State::Running { child, since: now };
            }
            Err(error) => {
                let text = format!("cannot start {}: {error}", self.program.display());
                self.ended(log, &text, false, now);
            }
        }
    }

    fn ended(&mut self, log: &Log, why: &str, was_steady: bool, now: Instant) {
        if was_steady {
            self.rest = REST_MIN;
        }
        let seconds = self.rest.as_secs();
        log.write(Level::Warn, &format!("the mupdate master beside has ended ({why}): again in {seconds} s"));
        self.state = State::Resting(Some(now + self.rest));
        self.rest = (self.rest * 2).min(REST_MAX);
    }

    /// Has it read its configuration again.
    pub(super) fn reload(&self) {
        if let State::Running { child, .. } = &self.state {
            // One that has just ended is noticed by `look`.
            let _ = send(child, Signal::HUP);
        }
    }

    /// Ends it and waits.
    pub(super) fn stop(self, log: &Log) {
        let State::Running { mut child, .. } = self.state else { return };
        // One that has just ended is waited for all the same.
        let _ = send(&child, Signal::TERM);
        let end = Instant::now() + STOP_MAX;
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() > end {
                log.write(Level::Warn, "the mupdate master beside does not end: killed");
                let _ = child.kill();
                let _ = child.wait();
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn send(child: &Child, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    Ok(kill_process(pid.ok_or(io::ErrorKind::NotFound)?, signal)?)
}

fn said(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no status".into(),
    }
}

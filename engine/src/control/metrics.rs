//! Numbers for Prometheus: `GET /metrics` on a TCP listener of its own (`rookery_metrics_listen`).
//!
//! The listener answers this one question, to anybody who reaches it, and closes the connection. What
//! it tells holds no names but those of verbs and servers.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use perf::Snapshot;
use perf::prometheus::{self, Number};
use protocols::proxy::{Knowledge, Level};

use super::server::{PAUSE, Wake, wait};
use super::watched::Watched;

/// Bytes of a request head.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// How long a request may take to arrive, and an answer to be read.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running listener; dropping it closes it. Requests are answered one behind the other.
pub struct Metrics {
    address: SocketAddr,
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Metrics {
    /// Listens.
    ///
    /// # Errors
    /// The address is taken or not ours.
    pub fn start(address: SocketAddr, watched: Arc<Watched>) -> io::Result<Metrics> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let thread = thread::Builder::new().name("metrics".into()).spawn(move || {
            while wait(listener.as_fd(), reader.as_fd(), None) == Wake::Readable {
                match listener.accept() {
                    // Who goes away in the middle gets nothing.
                    Ok((stream, _)) => drop(respond(stream, &watched)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => thread::sleep(PAUSE),
                }
            }
        })?;
        Ok(Metrics { address, stop: Some(writer), thread: Some(thread) })
    }

    /// Listens where the configuration says. Without metrics a daemon still serves its users.
    pub fn start_if(address: Option<SocketAddr>, watched: Arc<Watched>) -> Option<Metrics> {
        let address = address?;
        let log = watched.log.clone();
        let complain =
            |error: &io::Error| log.write(Level::Warn, &format!("no metrics on {address}: {error}"));
        Metrics::start(address, watched).inspect_err(complain).ok()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has stopped too.
            let _ = thread.join();
        }
    }
}

/// Reads a request and answers it.
fn respond(mut stream: TcpStream, watched: &Watched) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut head = Vec::new();
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut some = [0; 1024];
    while !is_whole(&head) {
        let n = stream.read(&mut some)?;
        head.extend_from_slice(&some[..n]);
        if n == 0 || head.len() > HEAD_BYTES_MAX || std::time::Instant::now() > deadline {
            return answer(&mut stream, "400 Bad Request", "text/plain", "bad request\n");
        }
    }
    match target(&head) {
        Some(("GET", "/metrics")) => {
            answer(&mut stream, "200 OK", "text/plain; version=0.0.4; charset=utf-8", &exposition(watched))
        }
        Some(("GET", _)) => answer(&mut stream, "404 Not Found", "text/plain", "try /metrics\n"),
        Some(_) => answer(&mut stream, "405 Method Not Allowed", "text/plain", "only GET\n"),
        None => answer(&mut stream, "400 Bad Request", "text/plain", "bad request\n"),
    }
}

fn is_whole(head: &[u8]) -> bool {
    head.windows(4).any(|end| end == b"\r\n\r\n") || head.windows(2).any(|end| end == b"\n\n")
}

/// Method and path of a request.
fn target(head: &[u8]) -> Option<(&str, &str)> {
    let line = std::str::from_utf8(head).ok()?.lines().next()?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    words.next()?.starts_with("HTTP/1.").then(|| (method, target.split('?').next().unwrap_or(target)))
}

fn answer(stream: &mut TcpStream, status: &str, kind: &str, body: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

/// All numbers of the process.
pub(super) fn exposition(watched: &Watched) -> String {
    let shards = (watched.measure)();
    let list = watched.directory.snapshot();
    let labels: Vec<String> =
        shards.iter().map(|of| format!("shard=\"{}\"", super::shard_name(of.shard as u64))).collect();
    let by_shard = |name, kind, help, value: fn(&crate::shard::Measured) -> u64| {
        let number = move |(of, labels)| Number { name, kind, help, labels, value: value(of) };
        shards.iter().zip(labels.iter().map(String::as_str)).map(number).collect::<Vec<_>>()
    };
    let one = |name, kind, help, value| Number { name, kind, help, labels: "", value };
    let knowledge = match list.knowledge {
        Knowledge::NeverSynced => 0,
        Knowledge::Stale => 1,
        Knowledge::Live => 2,
    };
    let mut numbers = vec![
        one("list_knowledge", "gauge", "what is known of the list: 0 nothing, 1 stale, 2 live", knowledge),
        one("list_mailboxes", "gauge", "entries of the list", list.list.len() as u64),
        one("list_sequence", "counter", "the last change in the list", list.sequence),
    ];
    numbers.extend(by_shard("sessions", "gauge", "sessions that stand", |of| of.sessions as u64));
    numbers.extend(by_shard("connections", "gauge", "connections of clients and to backends", |of| {
        of.connections as u64
    }));
    numbers.extend(by_shard(
        "refused_clients_total",
        "counter",
        "clients for whom there was no place",
        |of| of.refused,
    ));
    numbers.extend(by_shard("waiting_bytes", "gauge", "bytes that wait for somebody to take them", |of| {
        of.waiting as u64
    }));
    numbers.extend(by_shard("commands_total", "counter", "commands that were answered", |of| {
        of.snapshot.commands
    }));
    numbers.extend(by_shard("unrecorded_total", "counter", "times that found no histogram", |of| {
        of.snapshot.unrecorded
    }));
    let mut text = String::new();
    prometheus::numbers(&numbers, &mut text);
    let mut all = Snapshot::default();
    shards.into_iter().for_each(|of| all.merge(of.snapshot));
    prometheus::histograms(&all, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_by_their_first_line() {
        assert_eq!(target(b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n"), Some(("GET", "/metrics")));
        assert_eq!(target(b"POST / HTTP/1.0\r\n\r\n"), Some(("POST", "/")));
        for bad in [&b"GET /metrics\r\n\r\n"[..], b"\r\n\r\n", b"a b SSH-2.0", b"\xff /a HTTP/1.1"] {
            assert_eq!(target(bad), None, "{bad:?}");
        }
    }
}

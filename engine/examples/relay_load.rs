//! Load for a relay, with the backend in the same loop: what a round trip costs the proxy.
//!
//! `relay_load MODE PROXY BACKEND CONNECTIONS SECONDS PID`: MODE is `lines` (64 bytes there and
//! back), `fetch` (a line there, a literal of 1 MiB back) or `idle`. Prints CPU of the process PID (all
//! its threads, /proc/PID/task/*/schedstat) per round trip, and its PSS.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use engine::shard::listen_tcp;
use rustix::event::epoll;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Time before counting begins.
const WARM_UP: Duration = Duration::from_millis(700);

const LITERAL_BYTES: usize = 1 << 20;

/// A socket of the load: a client, or the backend's end of a session.
struct End {
    stream: TcpStream,
    is_client: bool,
    /// A client's bytes of the current answer; a backend's bytes of the current line.
    seen: usize,
    /// What is still to be written.
    unsent: usize,
}

struct Load {
    epoll: std::os::fd::OwnedFd,
    ends: HashMap<i32, End>,
    answer: Vec<u8>,
    line: [u8; 64],
    is_fetch: bool,
    rounds: u64,
}

impl Load {
    fn add(&mut self, stream: TcpStream, is_client: bool) -> Outcome<i32> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let fd = stream.as_raw_fd();
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&self.epoll, stream.as_fd(), epoll::EventData::new_u64(fd as u64), flags)?;
        self.ends.insert(fd, End { stream, is_client, seen: 0, unsent: 0 });
        Ok(fd)
    }

    fn request(&mut self, fd: i32) {
        if let Some(end) = self.ends.get_mut(&fd) {
            // 64 bytes fit, or the connection is dead, which the read tells.
            let _ = end.stream.write(&self.line);
        }
    }

    fn ready(&mut self, fd: i32, buffer: &mut [u8]) {
        loop {
            let Some(end) = self.ends.get_mut(&fd) else { return };
            match end.stream.read(buffer) {
                Ok(0) => return drop(self.ends.remove(&fd)),
                Ok(n) if end.is_client => {
                    end.seen += n;
                    let whole = if self.is_fetch { self.answer.len() } else { self.line.len() };
                    if end.seen >= whole {
                        end.seen -= whole;
                        self.rounds += 1;
                        self.request(fd);
                    }
                }
                Ok(n) if self.is_fetch => {
                    end.seen += n;
                    end.unsent += end.seen / self.line.len() * self.answer.len();
                    end.seen %= self.line.len();
                }
                Ok(n) => drop(end.stream.write(&buffer[..n])),
                Err(why) if why.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return drop(self.ends.remove(&fd)),
            }
        }
        let Some(end) = self.ends.get_mut(&fd) else { return };
        while end.unsent > 0 {
            let at = self.answer.len() - (end.unsent - 1) % self.answer.len() - 1;
            match end.stream.write(&self.answer[at..]) {
                Ok(n) => end.unsent -= n,
                Err(_) => return,
            }
        }
    }
}

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [mode, proxy, backend, connections, seconds, pid] = args.as_slice() else {
        return Err("usage: relay_load lines|fetch|idle PROXY BACKEND CONNECTIONS SECONDS PID".into());
    };
    let (connections, seconds): (usize, u64) = (connections.parse()?, seconds.parse()?);
    let listener: std::net::TcpListener = listen_tcp(backend.parse()?)?.into();
    let mut answer = format!("* 1 FETCH (BODY[] {{{LITERAL_BYTES}}}\r\n").into_bytes();
    answer.resize(answer.len() + LITERAL_BYTES, b'x');
    answer.extend_from_slice(b")\r\n");
    let mut line = [b'a'; 64];
    line[62..].copy_from_slice(b"\r\n");
    let mut load = Load {
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        ends: HashMap::new(),
        answer,
        line,
        is_fetch: mode == "fetch",
        rounds: 0,
    };
    let proxy: SocketAddr = proxy.parse()?;
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(load.add(TcpStream::connect(proxy)?, true)?);
        load.add(listener.accept()?.0, false)?;
    }
    if mode == "idle" {
        std::thread::sleep(Duration::from_secs(1));
        let before = cpu_ns(pid)?;
        std::thread::sleep(Duration::from_secs(seconds));
        let used = cpu_ns(pid)? - before;
        println!(
            "idle connections={connections} pss_kb={} cpu_us_per_s={}",
            pss_kb(pid)?,
            used / 1000 / seconds
        );
        return Ok(());
    }
    for client in clients {
        load.request(client);
    }
    measure(&mut load, mode, connections, seconds, pid)
}

fn measure(load: &mut Load, mode: &str, connections: usize, seconds: u64, pid: &str) -> Outcome<()> {
    let mut events: Vec<epoll::Event> = Vec::with_capacity(1024);
    let mut buffer = vec![0; 256 * 1024];
    let began = Instant::now();
    let mut counted: Option<(Instant, u64, u64)> = None;
    let until = WARM_UP + Duration::from_secs(seconds);
    while began.elapsed() < until {
        events.clear();
        let patience = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        epoll::wait(&load.epoll, rustix::buffer::spare_capacity(&mut events), Some(&patience))?;
        for event in &events {
            load.ready(event.data.u64() as i32, &mut buffer);
        }
        if counted.is_none() && began.elapsed() >= WARM_UP {
            counted = Some((Instant::now(), load.rounds, cpu_ns(pid)?));
        }
    }
    let Some((since, rounds, cpu)) = counted else { return Err("too short".into()) };
    let done = load.rounds - rounds;
    if done == 0 {
        return Err("nothing went through".into());
    }
    println!(
        "{mode} connections={connections} rounds={done} per_s={:.0} cpu_us_per_round={:.2} alive={}",
        done as f64 / since.elapsed().as_secs_f64(),
        (cpu_ns(pid)? - cpu) as f64 / 1000.0 / done as f64,
        load.ends.len(),
    );
    Ok(())
}

/// CPU time of all threads of a process.
fn cpu_ns(pid: &str) -> Outcome<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        sum += text.split_whitespace().next().ok_or("empty schedstat")?.parse::<u64>()?;
    }
    Ok(sum)
}

fn pss_kb(pid: &str) -> Outcome<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find(|line| line.starts_with("Pss:")).ok_or("no Pss")?;
    Ok(line.split_whitespace().nth(1).ok_or("no Pss")?.parse()?)
}

//! The client of `--check`: says a line, reads what comes back, prints both.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// Nothing on loopback takes longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A line of an answer that is longer is broken.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// No message of the check is longer.
const LITERAL_BYTES_MAX: usize = 1024 * 1024;

/// A session.
pub(super) struct Client {
    name: &'static str,
    reader: BufReader<TcpStream>,
    tag: u32,
}

impl Client {
    pub(super) fn connect(address: SocketAddr, name: &'static str, password: &str) -> Result<Client> {
        let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Client { name, reader: BufReader::new(stream), tag: 0 };
        let greeting = client.line()?;
        ensure!(greeting.starts_with("* OK"), "greeting is {greeting:?}");
        client.send("a LOGIN", &format!("a LOGIN {name} {password}\r\n"))?;
        let answer = client.until("a ")?;
        ensure!(answer.last().is_some_and(|l| l.starts_with("a OK")), "login of {name}: {answer:?}");
        Ok(client)
    }

    /// Sends a command and gives the untagged responses of an OK.
    pub(super) fn ok(&mut self, command: &str) -> Result<Vec<String>> {
        self.tag += 1;
        let tag = format!("t{} ", self.tag);
        let shown = command.lines().next().unwrap_or("");
        self.send(&format!("{tag}{shown}"), &format!("{tag}{command}\r\n"))?;
        let lines = self.until(&tag)?;
        let ok = lines.last().is_some_and(|line| line.starts_with(&format!("{tag}OK")));
        ensure!(ok, "{shown} by {}: {lines:?}", self.name);
        Ok(lines)
    }

    pub(super) fn send(&mut self, shown: &str, text: &str) -> Result<()> {
        println!("{} C: {shown}", self.name);
        self.reader.get_mut().write_all(text.as_bytes())?;
        Ok(())
    }

    /// All lines up to one with this beginning.
    pub(super) fn until(&mut self, beginning: &str) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            let last = line.starts_with(beginning);
            lines.push(line);
            if last {
                return Ok(lines);
            }
        }
    }

    /// A line with its literals.
    fn line(&mut self) -> Result<String> {
        let mut whole = String::new();
        loop {
            let mut line = String::new();
            let n = (&mut self.reader).take(LINE_BYTES_MAX).read_line(&mut line)?;
            if n == 0 {
                bail!("the frontend closed the session of {}", self.name);
            }
            let line = line.trim_end();
            println!("{} S: {line}", self.name);
            whole += line;
            let Some((_, size)) = line.strip_suffix('}').and_then(|rest| rest.rsplit_once('{')) else {
                return Ok(whole);
            };
            let size: usize = size.parse()?;
            ensure!(size <= LITERAL_BYTES_MAX, "a literal of {size} bytes");
            let mut literal = vec![0; size];
            self.reader.read_exact(&mut literal)?;
            whole += "\r\n";
            whole += &String::from_utf8_lossy(&literal);
        }
    }
}

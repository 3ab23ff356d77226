//! The connection: lines as they come, TLS, compression.

use std::net::ToSocketAddrs;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use client::{Endpoint, Stream, TlsSettings};
use protocols::conf::server;
use protocols::proxy::Service;

use crate::options::Cli;
use crate::{say, show};

/// Connecting, and the answer to each line of a login.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How long nobody has to say anything in the interactive part.
const IDLE_TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What the server offers.
#[derive(Default)]
pub(crate) struct Greeting {
    pub offers_starttls: bool,
    pub offers_compress: bool,
    /// What stands behind `* AUTH `.
    pub mechanisms: Vec<u8>,
}

/// A connection whose lines are shown.
pub(crate) struct Wire {
    pub stream: Stream,
    pub greeting: Greeting,
}

impl Wire {
    pub(crate) fn connect(cli: &Cli, host: &str) -> anyhow::Result<Wire> {
        let port = port(&cli.port, host)?;
        let host =
            if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.into() };
        let endpoint = Endpoint {
            server: format!("{host}:{port}").into(),
            default_port: server::default_port(Service::Mupdate),
            tls: TlsSettings::default(),
            login_timeout: TIMEOUT,
            answer_timeout: TIMEOUT,
        };
        let stream = Stream::connect(&endpoint, Instant::now() + TIMEOUT)
            .with_context(|| format!("Network initialization - cannot connect to {host}:{}", cli.port))?;
        Ok(Wire { stream, greeting: Greeting::default() })
    }

    /// Shows and reads the greeting, up to its `* OK`.
    pub(crate) fn greet(&mut self) -> anyhow::Result<()> {
        self.greeting = Greeting::default();
        loop {
            let line = self.line()?;
            self.greeting.offers_starttls |= has(&line, b"* STARTTLS");
            self.greeting.offers_compress |= has(&line, b"* COMPRESS \"DEFLATE\"");
            if let Some(mechanisms) = line.strip_prefix(b"* AUTH ") {
                self.greeting.mechanisms = mechanisms.trim_ascii_end().to_vec();
            }
            if begins(&line, "* OK") {
                return Ok(());
            }
        }
    }

    /// Shows and gives the next line with its end.
    pub(crate) fn line(&mut self) -> anyhow::Result<Vec<u8>> {
        let until = Instant::now() + TIMEOUT;
        loop {
            if let Some(end) = self.stream.unread().iter().position(|byte| *byte == b'\n') {
                let line = self.stream.unread()[..=end].to_vec();
                self.stream.take(end + 1);
                show(&[b"S: ", &line[..]].concat())?;
                return Ok(line);
            }
            if !self.stream.fill(until)? {
                bail!("prot layer failure");
            }
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write(bytes, Instant::now() + TIMEOUT)?)
    }

    /// Sends a line and shows it.
    pub(crate) fn command(&mut self, line: &str) -> anyhow::Result<()> {
        say(&format!("C: {line}\r\n"))?;
        self.send(format!("{line}\r\n").as_bytes())
    }

    /// Shows lines up to one that begins with one of two words; whether it was the first.
    fn wait_for(&mut self, ok: &str, no: &str) -> anyhow::Result<bool> {
        loop {
            let line = self.line()?;
            if begins(&line, ok) || begins(&line, no) {
                return Ok(begins(&line, ok));
            }
        }
    }

    /// STARTTLS and the second greeting. Nobody is turned away for his certificate: this is a test.
    pub(crate) fn start_tls(&mut self, file: &str) -> anyhow::Result<()> {
        self.command("S01 STARTTLS")?;
        if !self.wait_for("S01 OK", "S01 NO")? {
            return Ok(());
        }
        let tolerated = client::Tolerated::default();
        let settings = TlsSettings {
            certificate: (!file.is_empty()).then(|| (file.into(), file.into())),
            tolerated: Some(tolerated.clone()),
            ..TlsSettings::default()
        };
        self.stream.start_tls(&settings, Instant::now() + TIMEOUT).context("TLS negotiation failed!")?;
        if let Some(why) = tolerated.why() {
            say(&format!("verify error:{why}\n"))?;
        }
        let (version, cipher) = self.tls_names();
        let bits = self.security_bits();
        say(&format!("TLS connection established: {version} with cipher {cipher} ({bits}/{bits} bits)\n"))?;
        self.greet()
    }

    fn tls_names(&self) -> (&'static str, String) {
        let tls = self.stream.tls();
        let version = match tls.and_then(|tls| tls.protocol_version()) {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        };
        let suite = tls.and_then(|tls| tls.negotiated_cipher_suite());
        let name = suite.map(|suite| format!("{:?}", suite.suite())).unwrap_or_default();
        // As OpenSSL says it.
        (version, name.replace("TLS13_", "TLS_"))
    }

    /// Bits of the key of TLS; 0 without.
    pub(crate) fn security_bits(&self) -> u32 {
        let suite = self.stream.tls().and_then(|tls| tls.negotiated_cipher_suite());
        match suite.map(|suite| format!("{:?}", suite.suite())) {
            None => 0,
            Some(name) if name.contains("AES_128") => 128,
            Some(_) => 256,
        }
    }

    /// COMPRESS, if the server agrees.
    pub(crate) fn compress(&mut self) -> anyhow::Result<()> {
        self.command("Z01 COMPRESS \"DEFLATE\"")?;
        if self.wait_for("Z01 OK", "Z01 NO")? {
            self.stream.start_deflate()?;
        }
        Ok(())
    }

    pub(crate) fn logout(&mut self) -> anyhow::Result<()> {
        self.command("Q01 LOGOUT")
    }

    /// Shows what comes until the server closes.
    pub(crate) fn show_rest(&mut self) {
        while self.line().is_ok() {}
    }

    /// Waits for input and shows it to `each`; false at the end of the connection.
    pub(crate) fn relay(
        &mut self,
        mut each: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> anyhow::Result<bool> {
        if self.stream.unread().is_empty() && !self.stream.fill(Instant::now() + IDLE_TIMEOUT)? {
            return Ok(false);
        }
        each(self.stream.unread())?;
        self.stream.take(self.stream.unread().len());
        Ok(true)
    }
}

/// A port by its number, or by its name in the list of services.
fn port(text: &str, host: &str) -> anyhow::Result<u16> {
    if let Some(port) = server::port(text) {
        return Ok(port);
    }
    let services = std::fs::read_to_string("/etc/services").unwrap_or_default();
    let listed = services.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == text)
            .then(|| words.next())?
            .and_then(|word| word.strip_suffix("/tcp")?.parse().ok())
    });
    match listed {
        Some(port) => Ok(port),
        None if text == "mupdate" => Ok(server::default_port(Service::Mupdate)),
        None => {
            // The same words as for a host that is unknown, which is worse.
            (host, 0).to_socket_addrs().with_context(|| format!("getaddrinfo: {host}"))?;
            bail!("unknown service {text}")
        }
    }
}

fn has(line: &[u8], part: &[u8]) -> bool {
    line.windows(part.len()).any(|window| window == part)
}

/// Whether a line begins with this, in any case.
pub(crate) fn begins(line: &[u8], text: &str) -> bool {
    line.get(..text.len()).is_some_and(|head| head.eq_ignore_ascii_case(text.as_bytes()))
}

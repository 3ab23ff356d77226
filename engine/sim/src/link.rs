//! A connection to the master, as backends have it: logs in, then asks for one change after the other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocols::proxy::Instant;

use crate::dice::Dice;
use crate::net::{Broken, EndId, Net};
use crate::units::{Unit, Units};

/// The connection, or that there is none.
#[derive(Default)]
pub struct Link {
    end: Option<EndId>,
    units: Units,
    out: Vec<u8>,
    stage: Stage,
    tag: u32,
    asks: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Stage {
    #[default]
    ExpectGreeting,
    ExpectAuthReply,
    Ready,
}

/// What came of it.
#[derive(PartialEq, Eq, Debug)]
pub enum News {
    /// The answer to what was asked: the line.
    Answered(String),
    /// The connection is lost. What was asked may have been done or not.
    Lost,
    /// The master refuses the login.
    Refused(String),
}

impl Link {
    /// Whether it has no connection and wants one.
    pub fn wants_connection(&self) -> bool {
        self.end.is_none()
    }

    /// A connection stands.
    pub fn connected(&mut self, end: EndId) {
        *self = Link { end: Some(end), tag: self.tag, ..Link::default() };
    }

    /// Whether something can be asked.
    pub fn is_ready(&self) -> bool {
        self.stage == Stage::Ready && !self.asks
    }

    /// Asks for a change: what stands behind the tag.
    pub fn ask(&mut self, command: &str) {
        self.tag += 1;
        self.asks = true;
        self.out.extend_from_slice(format!("X{} {command}\r\n", self.tag).as_bytes());
    }

    /// Reads.
    pub fn read(&mut self, net: &mut Net, now: Instant, dice: &mut Dice) -> Vec<News> {
        let mut news = Vec::new();
        let Some(end) = self.end else { return news };
        let stands = net.receive(end, now, dice, &mut |bytes| self.units.push(bytes));
        while let Unit::Whole(unit) = self.units.poll() {
            self.response(String::from_utf8_lossy(&unit).into_owned(), &mut news);
        }
        if stands.is_err() {
            self.lose(net, now);
            news.push(News::Lost);
        }
        news
    }

    /// Sends. `Lost` as of [`Link::read`].
    pub fn send(&mut self, net: &mut Net, now: Instant, dice: &mut Dice) -> Option<News> {
        let end = self.end?;
        match net.send(end, &self.out, now, dice) {
            Ok(n) => {
                self.out.drain(..n);
                None
            }
            Err(Broken) => {
                self.lose(net, now);
                Some(News::Lost)
            }
        }
    }

    fn lose(&mut self, net: &mut Net, now: Instant) {
        if let Some(end) = self.end.take() {
            net.close(end, now);
        }
        (self.stage, self.asks) = (Stage::ExpectGreeting, false);
    }

    fn response(&mut self, line: String, news: &mut Vec<News>) {
        match self.stage {
            Stage::ExpectGreeting if line.starts_with("* OK") => {
                let plain = STANDARD.encode(b"\0postman\0pw-postman");
                let login = format!("A01 AUTHENTICATE \"PLAIN\" {{{}+}}\r\n{plain}\r\n", plain.len());
                self.out.extend_from_slice(login.as_bytes());
                self.stage = Stage::ExpectAuthReply;
            }
            Stage::ExpectAuthReply if line.starts_with("A01 ") => {
                self.stage = Stage::Ready;
                if !line.starts_with("A01 OK") {
                    news.push(News::Refused(line));
                }
            }
            Stage::Ready if self.asks && line.starts_with(&format!("X{} ", self.tag)) => {
                self.asks = false;
                news.push(News::Answered(line));
            }
            Stage::ExpectGreeting | Stage::ExpectAuthReply | Stage::Ready => {}
        }
    }
}

/// A string of MUPDATE as a literal.
pub fn literal(text: &str) -> String {
    format!("{{{}+}}\r\n{text}", text.len())
}

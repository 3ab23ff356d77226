//! Sessions that are written along, for users who have a folder `log/USER` in the configuration directory.
//!
//! What is written passes a layer, so that such a session is copied and never spliced. The layer begins
//! when the user is logged in: passwords are said before, and lines that could hold another one are cut.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use driver::layer::{Decoded, Joins, Layer, LayerError, Step, Wire};
use protocols::proxy::Level;

use crate::log::Log;

/// Pieces that may wait for the thread; one is at most a received buffer or what is encoded at once.
const PIECES_MAX: usize = 512;

/// Bytes of a line that are held back until its verb is known.
const HEAD_BYTES_MAX: usize = 512;

/// The way to the thread that writes.
#[derive(Clone)]
pub(crate) struct Telemetry {
    folder: Arc<Path>,
    pieces: SyncSender<Piece>,
    next: Arc<AtomicU64>,
}

enum Piece {
    Open { id: u64, path: PathBuf, head: String },
    Said { id: u64, by: By, bytes: Vec<u8>, lost: u64 },
    Close { id: u64 },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Client,
    Server,
}

impl Telemetry {
    /// Starts the thread; `folder` is the configuration directory.
    ///
    /// # Errors
    /// The system has no threads left.
    pub(crate) fn start(folder: &Path, log: Log) -> io::Result<Telemetry> {
        let (pieces, queue) = sync_channel(PIECES_MAX);
        thread::Builder::new().name("telemetry".into()).spawn(move || work(&queue, &log))?;
        Ok(Telemetry { folder: folder.into(), pieces, next: Arc::default() })
    }

    /// A layer that writes a session along. Users come from the names of folders, so that none has a `/`.
    ///
    /// # Errors
    /// The user's name is no folder's, or the thread cannot keep up.
    pub(crate) fn layer(&self, user: &[u8], service: &str) -> Result<Box<dyn Layer>, Box<str>> {
        let name = std::str::from_utf8(user).map_err(|_| "the name of a traced user is no text")?;
        if name.contains('/') || name.starts_with('.') {
            return Err("the name of a traced user is no folder's".into());
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let file = format!("{service}-{}-{id}", std::process::id());
        let path = self.folder.join("log").join(name).join(file);
        let head = format!("---------- {name} {}\n", seconds());
        let sent = self.pieces.try_send(Piece::Open { id, path, head });
        sent.map_err(|_| "telemetry cannot keep up")?;
        Ok(Box::new(Tee { id, pieces: self.pieces.clone(), lost: 0, scan: Scan::default() }))
    }
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn work(queue: &Receiver<Piece>, log: &Log) {
    let mut files: BTreeMap<u64, File> = BTreeMap::new();
    for piece in queue {
        match piece {
            Piece::Open { id, path, head } => {
                let file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(&path);
                match file.and_then(|mut file| file.write_all(head.as_bytes()).map(|()| file)) {
                    Ok(file) => drop(files.insert(id, file)),
                    Err(error) => log.write(Level::Warn, &format!("telemetry {}: {error}", path.display())),
                }
            }
            Piece::Said { id, by, bytes, lost } => {
                if let Some(file) = files.get_mut(&id) {
                    let mark = if by == By::Client { '<' } else { '>' };
                    let gap = if lost > 0 { format!("[{lost} bytes left out]") } else { String::new() };
                    let head = format!("\n{mark}{}{mark}{gap}", seconds());
                    // A full disk must not take a session along.
                    let _ = file.write_all(head.as_bytes()).and_then(|()| file.write_all(&bytes));
                }
            }
            Piece::Close { id } => drop(files.remove(&id)),
        }
    }
}

/// Copies what passes.
struct Tee {
    id: u64,
    pieces: SyncSender<Piece>,
    /// Bytes that the thread could not take.
    lost: u64,
    scan: Scan,
}

impl Tee {
    fn say(&mut self, by: By, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let lost = std::mem::take(&mut self.lost);
        match self.pieces.try_send(Piece::Said { id: self.id, by, bytes, lost }) {
            Ok(()) => {}
            Err(TrySendError::Full(Piece::Said { bytes, lost, .. })) => self.lost = lost + bytes.len() as u64,
            Err(_) => {}
        }
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        // Without room the file stays open until the process ends.
        let _ = self.pieces.try_send(Piece::Close { id: self.id });
    }
}

impl Layer for Tee {
    fn start(&mut self, _reply: &mut Wire) -> Result<(), LayerError> {
        Ok(())
    }

    fn is_established(&self) -> bool {
        true
    }

    fn joins(&self) -> Joins {
        Joins::Beside
    }

    fn decode(&mut self, wire: &mut [u8], _reply: &mut Wire) -> Result<Decoded, LayerError> {
        let told = self.scan.tell(wire);
        self.say(By::Client, told);
        Ok(Decoded { consumed: wire.len(), plain: 0..wire.len(), step: Step::Progress })
    }

    fn encode(&mut self, plain: &[u8], wire: &mut Wire) -> Result<(), LayerError> {
        if !self.scan.is_mute {
            self.say(By::Server, plain.to_vec());
        }
        wire.append(plain);
        Ok(())
    }

    fn close(&mut self, _wire: &mut Wire) {}
}

/// Finds the lines of a client that may hold a password.
#[derive(Default)]
struct Scan {
    /// The beginning of a line whose verb is not known yet.
    head: Vec<u8>,
    place: Place,
    /// Somebody else may log in: nothing more is written.
    is_mute: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    #[default]
    Head,
    /// In a line that is told.
    Told,
    /// In a line that is not.
    Cut,
}

/// What a line is by its verb.
enum Kind {
    Open,
    Password,
    Leaves,
    /// The verb is not there yet.
    Unknown,
}

impl Scan {
    /// What may be written of the next bytes.
    fn tell(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut told = Vec::with_capacity(bytes.len());
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.is_mute {
                break;
            }
            self.tell_part(line, &mut told);
        }
        told
    }

    fn tell_part(&mut self, part: &[u8], told: &mut Vec<u8>) {
        let ends = part.ends_with(b"\n");
        match self.place {
            Place::Told => told.extend_from_slice(part),
            Place::Cut => {}
            Place::Head => {
                self.head.extend_from_slice(part);
                self.judge(ends, told);
            }
        }
        if ends && self.head.is_empty() {
            self.place = Place::Head;
        }
    }

    fn judge(&mut self, ends: bool, told: &mut Vec<u8>) {
        self.place = match kind(&self.head, ends) {
            Kind::Unknown => return,
            Kind::Open => Place::Told,
            Kind::Leaves => {
                self.is_mute = true;
                Place::Told
            }
            Kind::Password => {
                let kept = self.head.splitn(3, |byte| *byte == b' ').take(2).collect::<Vec<_>>().join(&b' ');
                told.extend_from_slice(&kept);
                told.extend_from_slice(b" ...\r\n");
                self.head = Vec::new();
                Place::Cut
            }
        };
        told.append(&mut self.head);
        self.head = Vec::new();
    }
}

fn kind(head: &[u8], ends: bool) -> Kind {
    let mut words = head.trim_ascii_end().split(|byte| *byte == b' ');
    let verb = words.nth(1);
    let is_whole = ends || words.next().is_some() || head.len() >= HEAD_BYTES_MAX;
    match verb {
        _ if !is_whole => Kind::Unknown,
        Some(verb) if verb.eq_ignore_ascii_case(b"LOGIN") || verb.eq_ignore_ascii_case(b"AUTHENTICATE") => {
            Kind::Password
        }
        Some(verb) if verb.eq_ignore_ascii_case(b"UNAUTHENTICATE") => Kind::Leaves,
        Some(_) | None => Kind::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bytes: &[u8]) -> String {
        let whole = String::from_utf8(Scan::default().tell(bytes)).unwrap();
        for at in 0..bytes.len() {
            let mut scan = Scan::default();
            let parts = [scan.tell(&bytes[..at]), scan.tell(&bytes[at..])].concat();
            assert_eq!(String::from_utf8(parts).unwrap(), whole, "split at {at}");
        }
        whole
    }

    #[test]
    fn lines_that_may_hold_a_password_are_cut() {
        assert_eq!(told(b"a NOOP\r\nb FETCH 1 BODY[]\r\n"), "a NOOP\r\nb FETCH 1 BODY[]\r\n");
        assert_eq!(told(b"a login fred secret\r\nb NOOP\r\n"), "a login ...\r\nb NOOP\r\n");
        assert_eq!(told(b"a AUTHENTICATE PLAIN c2VjcmV0\r\n"), "a AUTHENTICATE ...\r\n");
        assert_eq!(told(b"DONE\r\n\r\nx\r\n"), "DONE\r\n\r\nx\r\n");
    }

    #[test]
    fn behind_unauthenticate_nothing_is_told() {
        let text = told(b"a NOOP\r\nb unauthenticate\r\nc LOGIN fred secret\r\nsecret\r\n");
        assert_eq!(text, "a NOOP\r\nb unauthenticate\r\n");
    }
}

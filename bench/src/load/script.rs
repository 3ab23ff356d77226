//! What a connection says, and in which order.

use std::sync::Arc;

/// What one operation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scenario {
    /// NOOP in a logged-in session.
    Noop,
    /// Connect, LOGIN, SELECT, LOGOUT.
    Login,
    /// FETCH of a message of so many KiB.
    Fetch {
        /// Its size.
        kib: usize,
    },
    /// APPEND of so many bytes.
    Append {
        /// Its size.
        bytes: usize,
    },
    /// LOGIN, SELECT, IDLE, and nothing more.
    Idle,
}

impl Scenario {
    /// The word on the command line.
    pub fn name(self) -> String {
        match self {
            Scenario::Noop => "noop".to_owned(),
            Scenario::Login => "login".to_owned(),
            Scenario::Fetch { kib } => format!("fetch {kib}k"),
            Scenario::Append { bytes } => format!("append {}k", bytes / 1024),
            Scenario::Idle => "idle".to_owned(),
        }
    }
}

/// The lines of one connection: what comes before the operations, and an operation.
pub(super) struct Script {
    /// Each is answered before the next; not counted, except for `login`.
    pub(super) before: Vec<Arc<[u8]>>,
    /// Sent again and again.
    pub(super) operation: Option<Arc<[u8]>>,
    /// `before` is the operation, and the connection ends with it.
    pub(super) whole_connection: bool,
    /// The last of `before` is IDLE, whose `+` parks the session.
    pub(super) parks: bool,
}

impl Script {
    pub(super) fn new(scenario: Scenario, user: usize) -> Script {
        let line = |text: &str| -> Arc<[u8]> { Arc::from(text.as_bytes()) };
        let login = line(&format!("a LOGIN u{user} password\r\n"));
        let select = line("a SELECT INBOX\r\n");
        let mut script =
            Script { before: vec![login], operation: None, whole_connection: false, parks: false };
        match scenario {
            Scenario::Noop => script.operation = Some(line("a NOOP\r\n")),
            Scenario::Login => {
                script.before.extend([select, line("a LOGOUT\r\n")]);
                script.whole_connection = true;
            }
            Scenario::Fetch { kib } => {
                script.before.push(select);
                script.operation = Some(line(&format!("a FETCH {kib} (BODY.PEEK[])\r\n")));
            }
            Scenario::Append { bytes } => script.operation = Some(append(bytes)),
            Scenario::Idle => {
                script.before.extend([select, line("a IDLE\r\n")]);
                script.parks = true;
            }
        }
        script
    }
}

fn append(bytes: usize) -> Arc<[u8]> {
    let mut command = format!("a APPEND INBOX {{{bytes}+}}\r\n").into_bytes();
    let line = b"Subject: one line again and again until the message is long enough for this.\r\n";
    command.extend(line.iter().copied().cycle().take(bytes));
    command.extend_from_slice(b"\r\n");
    command.into()
}

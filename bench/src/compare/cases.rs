//! What is compared: the rows of the report.

use anyhow::Result;

use super::kind::{Kind, Speaks};
use crate::scenario::{self, Operation, Scenario, Security, Template};

/// Who says that a password is right, for ours; nginx asks its `auth_http` always.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Checks {
    /// The backend, by a login.
    Backend,
    /// A saslauthd on the load's core, which does what `auth_http` does.
    Saslauthd,
}

/// Who takes part in a row, beside ours.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Peers {
    /// All.
    All,
    /// Not Cyrus: a process for each session, of which these are too many.
    NotCyrus,
    /// nginx and HAProxy, the best peers for bulk.
    Fast,
    /// nginx alone, which asks somebody about passwords.
    Asks,
}

/// A row.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) protocol: Speaks,
    pub(super) tls: bool,
    pub(super) checks: Checks,
    pub(super) scenario: Scenario,
    peers: Peers,
    /// Is part of the quick form.
    pub(super) is_quick: bool,
}

impl Case {
    pub(super) fn wants(&self, kind: Kind) -> bool {
        let chosen = match self.peers {
            Peers::All => true,
            Peers::NotCyrus => kind != Kind::Cyrus,
            Peers::Fast => matches!(kind, Kind::Nginx | Kind::Haproxy | Kind::Rookery),
            Peers::Asks => matches!(kind, Kind::Nginx | Kind::Rookery),
        };
        chosen && kind.speaks(self.protocol)
    }
}

fn case(name: &str, file: &str, connections: usize, tls: bool, peers: Peers, is_quick: bool) -> Result<Case> {
    let mut scenario = scenario::find(file)?;
    scenario.connections = connections;
    scenario.security = if tls { Security::Tls } else { Security::None };
    let protocol = match file.split('-').next() {
        Some("pop3") => Speaks::Pop3,
        Some("lmtp") => Speaks::Lmtp,
        _ => Speaks::Imap,
    };
    let checks = if peers == Peers::Asks { Checks::Saslauthd } else { Checks::Backend };
    Ok(Case { name: name.to_owned(), protocol, tls, checks, scenario, peers, is_quick })
}

/// FETCH or APPEND of so many KiB.
fn bulk(verb: &str, kib: usize, tls: bool, peers: Peers, is_quick: bool) -> Result<Case> {
    let size = if kib < 1024 { format!("{kib} KiB") } else { format!("{} MiB", kib / 1024) };
    let name = format!("{verb} of {size}{}", if tls { ", TLS" } else { "" });
    let file = if verb == "FETCH" { "imap-fetch" } else { "imap-append" };
    let mut case = case(&name, file, 10, tls, peers, is_quick)?;
    let line = match verb {
        "FETCH" => format!("FETCH {kib} (BODY.PEEK[])"),
        _ => format!("APPEND INBOX {{data {kib}k}}"),
    };
    case.scenario.operation =
        vec![Operation { name: name.clone(), weight: 1, lines: vec![Template::of(&line)] }];
    Ok(case)
}

/// The rows that are told in operations.
pub(super) fn cases() -> Result<Vec<Case>> {
    use Peers::{All, Asks, Fast, NotCyrus};
    let mut cases = vec![
        case("NOOP, 1 connection", "imap-noop", 1, false, NotCyrus, false)?,
        case("NOOP, 100 connections", "imap-noop", 100, false, All, true)?,
        case("NOOP, 1000 connections", "imap-noop", 1000, false, NotCyrus, true)?,
        case("NOOP, 100 connections, TLS", "imap-noop", 100, true, NotCyrus, false)?,
        case("LOGIN SELECT LOGOUT", "imap-login", 20, false, All, true)?,
        case("LOGIN SELECT LOGOUT, TLS", "imap-login", 20, true, All, true)?,
        case("LOGIN SELECT LOGOUT, saslauthd", "imap-login", 20, false, Asks, false)?,
    ];
    for kib in [1, 16, 64, 256, 1024, 16 * 1024] {
        let is_mib = kib == 1024;
        let peers = if is_mib { All } else { Fast };
        cases.push(bulk("FETCH", kib, false, peers, is_mib)?);
        cases.push(bulk("FETCH", kib, true, if is_mib { NotCyrus } else { Fast }, is_mib)?);
        cases.push(bulk("APPEND", kib, false, peers, is_mib)?);
        cases.push(bulk("APPEND", kib, true, Fast, false)?);
    }
    cases.push(case("POP3 USER PASS STAT QUIT", "pop3-session", 20, false, All, true)?);
    cases.push(case("POP3 USER PASS STAT QUIT, TLS", "pop3-session", 20, true, NotCyrus, false)?);
    cases.push(case("POP3 USER PASS STAT QUIT, saslauthd", "pop3-session", 20, false, Asks, false)?);
    cases.push(case("LMTP, 16 KiB", "lmtp-deliver", 20, false, All, true)?);
    Ok(cases)
}

/// The rows that are told in memory.
pub(super) fn idle_cases() -> Result<Vec<Case>> {
    Ok(vec![
        case("idle session", "imap-idle", 1, false, Peers::All, true)?,
        case("idle session, TLS", "imap-idle", 1, true, Peers::NotCyrus, true)?,
    ])
}

/// What is done before the memory of idle sessions is measured, so that all buffers have been used.
pub(super) fn before_idle(case: &Case, connections: usize) -> Result<Scenario> {
    let mut scenario = scenario::find("imap-noop")?;
    (scenario.connections, scenario.security) = (connections, case.scenario.security);
    (scenario.warm_up, scenario.seconds) = (0.1, 0.5);
    Ok(scenario)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_names_of_their_own() {
        let cases = cases().unwrap();
        let mut names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), cases.len());
        assert!(cases.iter().all(|case| case.scenario.check().is_ok() && case.wants(Kind::Rookery)));
    }
}

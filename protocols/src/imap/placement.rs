//! On which server of `serverlist` a new top-level mailbox is made.
//!
//! ```text
//!  random:     one after the other, in an order of chance ──connected──> chosen
//!  freespace:  all at once ──METADATA "available;total"──> all answered, or time over ──> chosen
//! ```
//! A server that cannot be reached is never chosen. One that does not tell its space is chosen only where
//! none tells it. Deviates: Cyrus asks once a session and keeps the numbers; here every choice asks anew.

use super::agenda::{Agenda, aside_of, is_partial};
use super::config::ServerSelection;
use super::grammar::{Response, UntaggedKind, response};
use super::offer::Offer;
use super::task::{Context, Line, News, Want};
use crate::proxy::BackendId;

/// Servers that are asked for one choice.
const SERVERS_MAX: usize = 256;

/// What a weight has at least, so that a server at the lowest share has a chance, in hundredths.
const DELTA_WEIGHT_MIN: u64 = 50;

/// Space of a server in KiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Space {
    available: u64,
    total: u64,
}

impl Space {
    /// The share that is free, in hundredths of a percent.
    fn share(self) -> u64 {
        let share = u128::from(self.available) * 10_000 / u128::from(self.total.max(1));
        u64::try_from(share).unwrap_or(u64::MAX).min(10_000)
    }
}

/// A choice on its way.
#[derive(Debug)]
pub(super) struct Placement {
    mode: ServerSelection,
    soft_limit: u8,
    seed: u64,
    /// Random: not tried yet, the next one last.
    untried: Vec<Box<[u8]>>,
    candidates: Vec<Candidate>,
    awaited: usize,
    is_over: bool,
    agenda: Agenda,
}

/// A server that was connected.
#[derive(Debug)]
struct Candidate {
    server: Box<[u8]>,
    backend: BackendId,
    number: u32,
    space: Option<Space>,
    is_done: bool,
}

impl Placement {
    /// Begins a choice; `seed` is a random number, used once. With `Random` nothing is asked.
    pub(super) fn new(mode: ServerSelection, seed: u64, cx: &Context<'_>) -> Placement {
        let servers = cx.config.serverlist.iter().take(SERVERS_MAX).map(|server| server.as_bytes().into());
        let mut placement = Placement {
            mode,
            soft_limit: cx.config.serverlist_soft_usage_limit,
            seed,
            untried: shuffled(servers.collect(), seed),
            candidates: Vec::new(),
            awaited: 0,
            is_over: false,
            agenda: Agenda::default(),
        };
        if mode == ServerSelection::Random {
            placement.try_next();
        } else {
            placement.awaited = placement.untried.len();
            for server in std::mem::take(&mut placement.untried) {
                placement.agenda.want(Want::Backend { server: server.into() });
            }
            placement.agenda.want(Want::Wake(cx.config.timeouts.fan_out));
        }
        placement
    }

    fn try_next(&mut self) {
        if let Some(server) = self.untried.pop() {
            self.awaited = 1;
            self.agenda.want(Want::Backend { server: server.into() });
        }
    }

    pub(super) fn handle_news(&mut self, news: &News<'_>, cx: &Context<'_>) {
        match news {
            News::Backend(Ok(backend)) => self.connected(*backend, cx),
            News::Backend(Err(_)) => {
                self.awaited = self.awaited.saturating_sub(1);
                self.try_next();
            }
            News::Lost(lost) => self.candidates.retain(|candidate| candidate.backend != *lost),
            News::Time => self.time_is_over(cx),
            News::Found(_)
            | News::Page(_)
            | News::Barrier(_)
            | News::Intended
            | News::ForwardBroken { .. }
            | News::Drained(_)
            | News::Kept(_)
            | News::Offered(_) => {}
        }
    }

    fn connected(&mut self, backend: BackendId, cx: &Context<'_>) {
        self.awaited = self.awaited.saturating_sub(1);
        let Some(server) = cx.server(backend) else { return };
        let asks = self.mode != ServerSelection::Random;
        // Truncation: at most SERVERS_MAX.
        let number = self.candidates.len() as u32;
        if asks {
            let mut line = Vec::new();
            cx.own_tag(number, &mut line);
            line.extend_from_slice(self.question(cx.offer(backend)).as_bytes());
            self.agenda.send(backend, line);
        }
        self.candidates.push(Candidate {
            server: server.into(),
            backend,
            number,
            space: None,
            is_done: !asks,
        });
    }

    fn question(&self, offer: Offer) -> String {
        let entry = match self.mode {
            ServerSelection::FreespaceMost => "freespace/total",
            ServerSelection::Random
            | ServerSelection::FreespacePercentMost
            | ServerSelection::FreespacePercentWeighted
            | ServerSelection::FreespacePercentWeightedDelta => "freespace/percent/most",
        };
        if offer.has(Offer::METADATA) {
            format!(" GETMETADATA \"\" (\"/shared/vendor/cmu/cyrus-imapd/{entry}\")\r\n")
        } else {
            format!(" GETANNOTATION \"\" \"/vendor/cmu/cyrus-imapd/{entry}\" (\"value.shared\")\r\n")
        }
    }

    /// Who has not answered by now is as good as dead; the selected server is waited for, because what it
    /// says later is nobody else's.
    fn time_is_over(&mut self, cx: &Context<'_>) {
        let selected = cx.selected.map(|selected| selected.backend);
        for candidate in self.candidates.iter().filter(|candidate| !candidate.is_done) {
            if Some(candidate.backend) != selected {
                self.agenda.want(Want::Abandon(candidate.backend));
            }
        }
        self.candidates.retain(|candidate| candidate.is_done || Some(candidate.backend) == selected);
        self.awaited = 0;
    }

    pub(super) fn handle_line(&mut self, from: BackendId, line: &[u8], cx: &Context<'_>) -> Line {
        let Some(candidate) =
            self.candidates.iter_mut().find(|candidate| candidate.backend == from && !candidate.is_done)
        else {
            return aside_of(from, line, cx);
        };
        match response(line) {
            Response::Tagged { tag, .. } => {
                let mut own = Vec::new();
                cx.own_tag(candidate.number, &mut own);
                candidate.is_done |= tag == own;
                Line::Drop
            }
            Response::Untagged { kind: UntaggedKind::Metadata | UntaggedKind::Annotation, .. } => {
                if is_partial(line) {
                    return Line::Whole;
                }
                candidate.space = space(line).or(candidate.space);
                Line::Drop
            }
            Response::Untagged { .. } | Response::Continuation { .. } | Response::Invalid => {
                aside_of(from, line, cx)
            }
        }
    }

    pub(super) fn poll_want(&mut self, out: &mut Vec<u8>) -> Option<Want> {
        self.agenda.poll(out)
    }

    /// The chosen server, or `None` inside when there is none, once.
    pub(super) fn poll_chosen(&mut self) -> Option<Option<Vec<u8>>> {
        let waits = self.awaited > 0 || self.candidates.iter().any(|candidate| !candidate.is_done);
        if self.is_over || waits || !self.untried.is_empty() && self.candidates.is_empty() {
            return None;
        }
        self.is_over = true;
        Some(self.choose().map(|candidate| candidate.server.to_vec()))
    }

    fn choose(&self) -> Option<&Candidate> {
        let told: Vec<(&Candidate, Space)> = self
            .candidates
            .iter()
            .filter_map(|candidate| Some((candidate, candidate.space.filter(|space| space.total > 0)?)))
            .collect();
        if told.is_empty() {
            return self.candidates.first();
        }
        let told = within_limit(told, self.soft_limit);
        let most = |key: fn(Space) -> u64| {
            told.iter().max_by_key(|(_, space)| key(*space)).map(|(candidate, _)| *candidate)
        };
        match self.mode {
            ServerSelection::Random => self.candidates.first(),
            ServerSelection::FreespaceMost => most(|space| space.available),
            ServerSelection::FreespacePercentMost => most(Space::share),
            ServerSelection::FreespacePercentWeighted => weighted(&told, self.seed, Space::share),
            ServerSelection::FreespacePercentWeightedDelta => {
                let lowest = told.iter().map(|(_, space)| space.share()).min().unwrap_or_default();
                weighted(&told, self.seed, |space| space.share() - lowest + DELTA_WEIGHT_MIN)
            }
        }
    }
}

/// Leaves out those that are fuller than `serverlist_select_soft_usage_limit`, if one is not; 0 is no
/// limit.
fn within_limit(told: Vec<(&Candidate, Space)>, limit: u8) -> Vec<(&Candidate, Space)> {
    let threshold = (100 - u64::from(limit.min(100))) * 100;
    let is_within = |(_, space): &(&Candidate, Space)| space.share() > threshold;
    if limit == 0 || !told.iter().any(is_within) {
        return told;
    }
    told.into_iter().filter(is_within).collect()
}

/// One by chance, each with its weight; by chance alone where all weigh nothing.
fn weighted<'a>(
    told: &[(&'a Candidate, Space)],
    seed: u64,
    weight: impl Fn(Space) -> u64,
) -> Option<&'a Candidate> {
    let sum: u64 = told.iter().map(|(_, space)| weight(*space)).sum();
    if sum == 0 {
        return told.first().map(|(candidate, _)| *candidate);
    }
    let mut left = seed % sum;
    for (candidate, space) in told {
        match left.checked_sub(weight(*space)) {
            Some(rest) => left = rest,
            None => return Some(candidate),
        }
    }
    None
}

/// In an order of chance (Fisher and Yates, with the generator of Knuth's MMIX).
fn shuffled(mut servers: Vec<Box<[u8]>>, seed: u64) -> Vec<Box<[u8]>> {
    let mut random = seed;
    for at in (1..servers.len()).rev() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Truncation: less than `at + 1`.
        servers.swap(at, ((random >> 33) % (at as u64 + 1)) as usize);
    }
    servers
}

/// The two numbers of `"available;total"`, wherever it stands in a response.
fn space(response: &[u8]) -> Option<Space> {
    let words = response.split(|byte| !byte.is_ascii_digit() && *byte != b';');
    words.rev().find_map(|word| {
        let (available, total) = std::str::from_utf8(word).ok()?.split_once(';')?;
        Some(Space { available: available.parse().ok()?, total: total.parse().ok()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(spaces: &[(u64, u64)]) -> Vec<Candidate> {
        let candidate = |(n, (available, total)): (usize, &(u64, u64))| Candidate {
            server: format!("be{n}").into_bytes().into(),
            backend: BackendId(n as u32),
            number: n as u32,
            space: Some(Space { available: *available, total: *total }),
            is_done: true,
        };
        spaces.iter().enumerate().map(candidate).collect()
    }

    fn chosen(mode: ServerSelection, soft_limit: u8, seed: u64, spaces: &[(u64, u64)]) -> String {
        let placement = Placement {
            mode,
            soft_limit,
            seed,
            untried: Vec::new(),
            candidates: candidates(spaces),
            awaited: 0,
            is_over: false,
            agenda: Agenda::default(),
        };
        String::from_utf8(placement.choose().unwrap().server.to_vec()).unwrap()
    }

    #[test]
    fn space_is_read_from_either_answer() {
        let told = Some(Space { available: 123, total: 456 });
        let metadata =
            b"* METADATA \"\" (\"/shared/vendor/cmu/cyrus-imapd/freespace/total\" \"123;456\")\r\n";
        assert_eq!(space(metadata), told);
        assert_eq!(space(b"* ANNOTATION \"\" \"/vendor\" (\"value.shared\" \"123;456\")\r\n"), told);
        assert_eq!(space(b"* METADATA \"\" (\"/shared\" {7}\r\n123;456)\r\n"), told);
        assert_eq!(space(b"* METADATA \"\" (\"/shared\" NIL)\r\n"), None);
        assert_eq!(space(b"* METADATA \"\" (\"/shared\" \"1;99999999999999999999\")\r\n"), None);
    }

    #[test]
    fn most_space_and_highest_share_are_two_things() {
        let spaces = [(500, 10_000), (400, 1_000)];
        assert_eq!(chosen(ServerSelection::FreespaceMost, 0, 0, &spaces), "be0");
        assert_eq!(chosen(ServerSelection::FreespacePercentMost, 0, 0, &spaces), "be1");
    }

    #[test]
    fn full_servers_are_left_out_unless_all_are() {
        let spaces = [(500, 10_000), (400, 1_000)];
        assert_eq!(chosen(ServerSelection::FreespaceMost, 90, 0, &spaces), "be1");
        assert_eq!(chosen(ServerSelection::FreespaceMost, 50, 0, &spaces), "be0");
    }

    #[test]
    fn weights_share_the_choices_out() {
        let spaces = [(10, 100), (30, 100)];
        let count = |mode| (0..4000).filter(|seed| chosen(mode, 0, *seed, &spaces) == "be0").count();
        assert_eq!(count(ServerSelection::FreespacePercentWeighted), 1000);
        // 0.5 to 20.5 percent.
        assert_eq!(chosen(ServerSelection::FreespacePercentWeightedDelta, 0, 49, &spaces), "be0");
        assert_eq!(chosen(ServerSelection::FreespacePercentWeightedDelta, 0, 50, &spaces), "be1");
    }

    #[test]
    fn server_that_tells_nothing_is_chosen_only_if_none_does() {
        assert_eq!(chosen(ServerSelection::FreespaceMost, 0, 0, &[(0, 0), (1, 10)]), "be1");
        assert_eq!(chosen(ServerSelection::FreespaceMost, 0, 0, &[(0, 0), (0, 0)]), "be0");
    }

    #[test]
    fn order_of_chance_loses_nobody() {
        let servers: Vec<Box<[u8]>> = (0..9_u8).map(|n| [n].into()).collect();
        let mut shuffled = shuffled(servers.clone(), 77);
        assert_ne!(shuffled, servers);
        shuffled.sort();
        assert_eq!(shuffled, servers);
    }
}

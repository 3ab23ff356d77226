//! What the project promises of these rows, and whether it holds.

use super::Found;
use super::kind::Kind;
use super::row::Row;

/// One promise.
pub(super) struct Budget {
    pub(super) row: &'static str,
    pub(super) must: Bound,
    pub(super) goal: Bound,
}

/// What our cost is held against.
#[derive(Clone, Copy)]
pub(super) enum Bound {
    /// So much of a peer's cost, in the same run.
    Of(Kind, f64),
    /// So much, in the row's unit.
    Is(f64),
}

/// The budgets of the frontend's data path.
pub(super) const BUDGETS: [Budget; 11] = [
    of("NOOP, 100 connections", Kind::Nginx, 1.0, 0.95),
    of("NOOP, 1000 connections", Kind::Nginx, 1.0, 0.85),
    of("LOGIN SELECT LOGOUT", Kind::Nginx, 1.0, 0.7),
    of("LOGIN SELECT LOGOUT, TLS", Kind::Nginx, 1.0, 0.8),
    of("FETCH of 1 MiB", Kind::Haproxy, 1.0, 0.75),
    of("FETCH of 1 MiB, TLS", Kind::Nginx, 1.0, 0.8),
    of("APPEND of 1 MiB", Kind::Haproxy, 1.0, 0.8),
    Budget { row: "idle session", must: Bound::Is(3.3), goal: Bound::Is(2.0) },
    Budget { row: "idle session, TLS", must: Bound::Is(17.8), goal: Bound::Is(12.0) },
    // 100 and 40 of the 400 us that Dovecot took when this was set.
    of("LMTP, 16 KiB", Kind::Dovecot, 0.25, 0.1),
    of("POP3 USER PASS STAT QUIT", Kind::Nginx, 1.0, 0.8),
];

const fn of(row: &'static str, peer: Kind, must: f64, goal: f64) -> Budget {
    Budget { row, must: Bound::Of(peer, must), goal: Bound::Of(peer, goal) }
}

impl Bound {
    /// As the report says it.
    pub(super) fn text(self) -> String {
        match self {
            Bound::Of(kind, part) => format!("≤ {part} × {}", kind.name()),
            Bound::Is(value) => format!("≤ {value} KiB"),
        }
    }

    /// What is held against it, and whether it holds.
    fn seen(self, row: &Row) -> Option<(f64, bool)> {
        match self {
            Bound::Of(kind, part) => row.ratio(kind).map(|(median, ..)| (median, median <= part)),
            Bound::Is(value) => {
                row.median(Kind::Rookery, |sample| sample.cost).map(|cost| (cost, cost <= value))
            }
        }
    }
}

/// What was seen of a budget, and in a word how it stands.
pub(super) fn verdict(budget: &Budget, found: &Found) -> (String, &'static str) {
    let row = found.rows.iter().chain(&found.idle).find(|row| row.name == budget.row);
    let Some((row, (seen, holds))) = row.and_then(|row| Some((row, budget.must.seen(row)?))) else {
        return ("-".to_owned(), "not measured");
    };
    let reached = budget.goal.seen(row).is_some_and(|(_, holds)| holds);
    let text = match budget.must {
        Bound::Of(kind, _) => {
            let (_, least, most) = row.ratio(kind).unwrap_or((seen, seen, seen));
            format!("{seen:.2} ({least:.2} to {most:.2})")
        }
        Bound::Is(_) => format!("{seen:.2} KiB"),
    };
    (
        text,
        if reached {
            "goal reached"
        } else if holds {
            "must holds"
        } else {
            "MISSED"
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_budget_has_its_row() {
        let rows = super::super::cases::cases().unwrap();
        let idle = super::super::cases::idle_cases().unwrap();
        let names: Vec<&str> = rows.iter().chain(&idle).map(|case| case.name.as_str()).collect();
        for budget in &BUDGETS {
            assert!(names.contains(&budget.row), "{}", budget.row);
        }
        assert!(rows.iter().filter(|row| row.is_quick).all(|row| BUDGETS.iter().any(|b| b.row == row.name)));
    }
}

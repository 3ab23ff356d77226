//! How a scripted backend behaves: delays and faults.

use std::time::{Duration, Instant};

use clap::Args;

/// Delays and faults. Every n-th command is counted over all connections, logins left out; 0 is never.
#[derive(Args, Clone, Copy, Default, Debug)]
pub struct Conduct {
    /// Milliseconds before the answer to a login.
    #[arg(long, default_value_t = 0)]
    pub login_delay_ms: u64,
    /// Milliseconds before every other answer.
    #[arg(long, default_value_t = 0)]
    pub command_delay_ms: u64,
    /// After so many commands, no answer to anybody for `stall_ms`.
    #[arg(long, default_value_t = 0)]
    pub stall_every: u64,
    /// How long a stall is, in milliseconds.
    #[arg(long, default_value_t = 1000)]
    pub stall_ms: u64,
    /// Every n-th command is refused.
    #[arg(long, default_value_t = 0)]
    pub refuse_every: u64,
    /// Every n-th command ends the connection, unanswered.
    #[arg(long, default_value_t = 0)]
    pub drop_every: u64,
}

/// What becomes of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// The answer of the script, or a refusal, at this time or (`None`) at once.
    Answer { refused: bool, due: Option<Instant> },
    /// The connection ends.
    Drop,
}

/// A conduct at work.
pub(super) struct Judge {
    conduct: Conduct,
    commands: u64,
    stalled_until: Option<Instant>,
}

impl Judge {
    pub(super) fn new(conduct: Conduct) -> Judge {
        Judge { conduct, commands: 0, stalled_until: None }
    }

    /// Decides about one command.
    pub(super) fn verdict(&mut self, is_login: bool, now: Instant) -> Verdict {
        let conduct = self.conduct;
        let delay = if is_login { conduct.login_delay_ms } else { conduct.command_delay_ms };
        let mut due = (delay > 0).then(|| now + Duration::from_millis(delay));
        let mut refused = false;
        if !is_login {
            self.commands += 1;
            if self.is_turn(conduct.drop_every) {
                return Verdict::Drop;
            }
            refused = self.is_turn(conduct.refuse_every);
            if self.is_turn(conduct.stall_every) {
                self.stalled_until = Some(now + Duration::from_millis(conduct.stall_ms));
            }
        }
        // A delay that ends within a stall ends with it.
        self.stalled_until = self.stalled_until.filter(|until| *until > now);
        due = due.max(self.stalled_until);
        Verdict::Answer { refused, due }
    }

    fn is_turn(&self, every: u64) -> bool {
        every > 0 && self.commands.is_multiple_of(every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(judge: &mut Judge, now: Instant) -> Option<Instant> {
        match judge.verdict(false, now) {
            Verdict::Answer { due, .. } => due,
            Verdict::Drop => panic!("dropped"),
        }
    }

    #[test]
    fn stall_holds_back_what_comes_during_it() {
        let mut judge = Judge::new(Conduct { stall_every: 2, stall_ms: 100, ..Conduct::default() });
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        assert_eq!(answer(&mut judge, at(0)), None);
        assert_eq!(answer(&mut judge, at(1)), Some(at(101)));
        assert_eq!(answer(&mut judge, at(50)), Some(at(101)));
        judge.conduct.stall_every = 0;
        assert_eq!(answer(&mut judge, at(101)), None);
    }

    #[test]
    fn every_third_is_refused_and_every_fourth_dropped() {
        let mut judge = Judge::new(Conduct { refuse_every: 3, drop_every: 4, ..Conduct::default() });
        let now = Instant::now();
        let seen: Vec<Verdict> = (0..4).map(|_| judge.verdict(false, now)).collect();
        let answered = |refused| Verdict::Answer { refused, due: None };
        assert_eq!(seen, [answered(false), answered(false), answered(true), Verdict::Drop]);
        assert_eq!(judge.verdict(true, now), answered(false));
    }
}

//! What pairs of turns say: the middle of their ratios, and how sure it is.

use crate::report::median;

/// Ratios of costs, each of two turns that followed each other.
pub(super) struct Paired {
    /// From the least to the most.
    sorted: Vec<f64>,
}

impl Paired {
    /// Of pairs of costs: what is asked about, and what it is held against.
    pub(super) fn of(pairs: impl IntoIterator<Item = (f64, f64)>) -> Paired {
        let costs = pairs.into_iter().filter(|(one, other)| *one > 0.0 && *other > 0.0);
        let mut sorted: Vec<f64> = costs.map(|(one, other)| one / other).collect();
        sorted.sort_by(f64::total_cmp);
        Paired { sorted }
    }

    pub(super) fn median(&self) -> Option<f64> {
        median(&self.sorted)
    }

    /// Where so much of them lies below.
    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        let last = self.sorted.len().checked_sub(1)?;
        self.sorted.get((last as f64 * q).round() as usize).copied()
    }

    /// What holds the true median in at least 95 of 100 such runs, whatever the noise looks like: the ratios
    /// between two ranks of a binomial distribution. `None` below six pairs, which cannot tell.
    pub(super) fn interval(&self) -> Option<(f64, f64)> {
        let n = self.sorted.len();
        // The most that may be cut off at each end.
        let cut = (0..n / 2).take_while(|k| below(n, *k) <= 0.025).last()?;
        Some((*self.sorted.get(cut)?, *self.sorted.get(n - 1 - cut)?))
    }

    /// Pairs above 1, pairs below, and how likely a split at least as uneven is if neither side costs more
    /// (two-sided sign test).
    pub(super) fn signs(&self) -> (usize, usize, f64) {
        let above = self.sorted.iter().filter(|ratio| **ratio > 1.0).count();
        let under = self.sorted.iter().filter(|ratio| **ratio < 1.0).count();
        let likely = (2.0 * below(above + under, above.min(under))).min(1.0);
        (above, under, likely)
    }
}

/// How likely at most `k` of `n` throws of a coin are heads.
fn below(n: usize, k: usize) -> f64 {
    let mut term = 0.5_f64.powi(i32::try_from(n).unwrap_or(i32::MAX));
    let mut sum = term;
    for i in 0..k {
        term *= (n - i) as f64 / (i + 1) as f64;
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coins_fall_as_the_tables_say() {
        assert!((below(10, 0) - 1.0 / 1024.0).abs() < 1e-12);
        assert!((below(10, 5) - 0.623_046_875).abs() < 1e-12);
        assert!((below(40, 13) - 0.019_2).abs() < 1e-4);
    }

    #[test]
    fn interval_is_between_the_ranks_of_the_tables() {
        // Of 15 the 4th to the 12th, of 40 the 14th to the 27th: 95 percent for the median.
        let of = |n: u32| Paired::of((1..=n).map(|i| (f64::from(i), 1.0)));
        assert_eq!(of(15).interval(), Some((4.0, 12.0)));
        assert_eq!(of(40).interval(), Some((14.0, 27.0)));
        assert_eq!(of(6).interval(), Some((1.0, 6.0)));
        assert_eq!(of(5).interval(), None);
        assert_eq!(of(0).interval(), None);
    }

    #[test]
    fn signs_are_counted_without_those_that_are_equal() {
        let paired = Paired::of([(2.0, 1.0), (3.0, 1.0), (1.0, 2.0), (1.0, 1.0), (0.0, 1.0)]);
        let (above, under, likely) = paired.signs();
        assert_eq!((above, under, paired.sorted.len()), (2, 1, 4));
        assert!((likely - 1.0).abs() < 1e-12);
        let (.., likely) = Paired::of([(2.0, 1.0); 10]).signs();
        assert!((likely - 2.0 / 1024.0).abs() < 1e-12);
    }
}

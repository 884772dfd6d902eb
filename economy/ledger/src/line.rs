//! One line of the account, rounded on its running sum.

use nom_money::{Exact, Picodollars};

/// What a line came to in a window, and so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Line {
    /// In this window.
    pub amount: Picodollars,
    /// Since the ledger began, this window included.
    pub total: Picodollars,
    /// What the total lacks to the exact sum: at most half a picodollar either way.
    pub rest: Exact,
}

impl Line {
    /// The line of the next window. Nothing when it does not fit.
    pub fn next(&self, exact: Exact) -> Option<Self> {
        const UNIT: i128 = Exact::PER_PICODOLLAR;
        let sum = self.rest.checked_add(exact)?.0;
        let (floor, over) = (sum.div_euclid(UNIT), sum.rem_euclid(UNIT));
        // Half to even on the running total, so that the split into windows does not matter.
        let odd = self.total.0.wrapping_add(floor) & 1 == 1;
        let up = over > UNIT / 2 || (over == UNIT / 2 && odd);
        let amount = floor + i128::from(up);
        Some(Self {
            amount: Picodollars(amount),
            total: self.total.checked_add(Picodollars(amount))?,
            rest: Exact(sum - amount * UNIT),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_it_is_split_the_total_is_the_rounded_sum() {
        let mut state = 0x853c_49e6_748f_ea9bu64;
        for turn in 0..2_000 {
            let mut line = Line::default();
            let mut sum = 0i128;
            for _ in 0..20 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                // Half of the cases land on ties often.
                let exact = if turn % 2 == 0 {
                    i128::from(state as i64) >> (state % 40)
                } else {
                    i128::from(state as i64 % 7) * Exact::PER_PICODOLLAR / 2
                };
                sum += exact;
                let next = line.next(Exact(exact)).unwrap();
                assert_eq!(next.total, Exact(sum).round());
                assert_eq!(next.total.0 - line.total.0, next.amount.0);
                assert!((next.amount.0 * Exact::PER_PICODOLLAR - exact).abs() <= Exact::PER_PICODOLLAR);
                assert_eq!(next.total.0 * Exact::PER_PICODOLLAR + next.rest.0, sum);
                line = next;
            }
        }
        let near = Line { rest: Exact(1), ..Line::default() };
        assert_eq!(near.next(Exact(i128::MAX)), None);
    }
}

//! What a settlement window earned, in integers only: the same on every machine.

use crate::expression::Expression;
use crate::flow::settled;
use crate::{Basis, Contract, Kind};
use nom_money::{ATTO, Exact, NANO, mul_div};

/// What users got in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Served {
    /// Accepted operations.
    pub accepted: u64,
    /// Useful bytes.
    pub useful_bytes: u64,
    /// Accepted operations whose latency is known. Those whose latency is not known count like the known ones.
    pub measured: u64,
    /// Measured operations above the limit.
    pub late: u64,
    /// Sum of the measured latencies.
    pub latency_sum_ns: u128,
    /// Sum of their squares, in ns^2: for an expression with jitter, and nothing else.
    pub latency_square_sum: u128,
}

impl Served {
    /// Standard deviation of the measured latencies.
    fn jitter_s(&self) -> f64 {
        let (count, sum, squares) = (u128::from(self.measured), self.latency_sum_ns, self.latency_square_sum);
        // The difference of two large numbers: exact where it fits, and the same on every machine where it does not.
        let spread = match (count.checked_mul(squares), sum.checked_mul(sum)) {
            (Some(squares), Some(sum)) => squares.saturating_sub(sum) as f64,
            _ => (count as f64 * squares as f64 - sum as f64 * sum as f64).max(0.0),
        };
        libm::sqrt(spread) / count as f64 / NANO as f64
    }
}

/// Every operation on the way is one that IEEE 754 defines, so the result is the same on every machine; its 53 bits
/// are far below a picodollar of any window.
fn own_exact(own: &Expression, served: &Served) -> Option<Exact> {
    let measured = served.measured as f64;
    let mean_s = (served.latency_sum_ns as f64 / measured).max(1.0) / NANO as f64;
    let late = served.late.min(served.measured) as f64 / measured;
    let ronto = settled(own, mean_s, served.jitter_s(), late) * (ATTO * NANO) as f64;
    (ronto < 1e36).then_some(Exact(ronto as i128))
}

impl Contract {
    /// How many units of the basis were served.
    pub fn units(&self, served: &Served) -> u64 {
        match self.basis {
            Basis::Operation => served.accepted,
            Basis::UsefulByte => served.useful_bytes,
        }
    }

    /// What one unit earned in this window, rounded once, half to even, to 10^-27 dollars (a part in 10^9 of an
    /// attodollar). In a window where nothing was measured alpha is paid in full, and no bonus; an own expression pays
    /// nothing then. Nothing when it does not fit.
    pub fn earned_per_unit(&self, served: &Served) -> Option<Exact> {
        let alpha = self.alpha_atto.checked_mul(NANO)?;
        let measured = u128::from(served.measured);
        if let Some(own) = &self.own {
            return if measured == 0 { Some(Exact::ZERO) } else { own_exact(own, served) };
        }
        if measured == 0 {
            return Some(Exact(alpha));
        }
        let earned = match self.kind {
            Kind::Simple { limit_ns } => {
                if served.latency_sum_ns <= u128::from(limit_ns).checked_mul(measured)? { alpha } else { 0 }
            }
            Kind::Penalty { factor, .. } => {
                let late = u128::from(served.late.min(served.measured));
                let at_stake = self.alpha_atto.checked_mul(i128::from(factor.0))?;
                (alpha - mul_div(at_stake, late, measured)?).max(0)
            }
            // beta * (sum / measured / 10^9) attodollars, times 10^9.
            Kind::Refund { beta_atto } => {
                let refund = mul_div(beta_atto, served.latency_sum_ns, measured).unwrap_or(i128::MAX);
                (alpha.saturating_sub(refund)).max(0)
            }
            // gamma / (sum / measured / 10^9) attodollars, times 10^9.
            Kind::Bonus { gamma_atto, delta_atto } => {
                let sum = served.latency_sum_ns.max(measured);
                let delta = match delta_atto {
                    Some(delta) => delta.checked_mul(NANO)?,
                    None => i128::MAX,
                };
                let bonus = mul_div(gamma_atto, (ATTO as u128).checked_mul(measured)?, sum)
                    .unwrap_or(i128::MAX)
                    .min(delta);
                alpha.checked_add(bonus)?
            }
            Kind::Own { .. } => 0,
        };
        Some(Exact(earned))
    }

    /// What the window earned, exactly. Nothing when it does not fit.
    pub fn revenue(&self, served: &Served) -> Option<Exact> {
        let earned = self.earned_per_unit(served)?;
        earned.0.checked_mul(i128::from(self.units(served))).map(Exact)
    }
}

//! The profit rate of a flow of operations, to weigh alternatives.

use crate::expression::{Conditions, Expression, Quantity};
use crate::{Basis, Contract, Kind, TailRule, tail};
use nom_money::{NANO, Prices};

/// Attodollars to dollars.
const ATTO: f64 = 1e-18;
/// A latency below this counts as this: nobody answers sooner, and a bonus stays finite.
const LATENCY_MIN_NS: f64 = 1.0;

/// What happens in a second: what users get, what the provider bills, and how long users wait.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Flow {
    /// Accepted operations a second.
    pub operations_per_s: f64,
    /// Useful bytes a second.
    pub useful_bytes_per_s: f64,
    /// Outbound bytes on the wire a second, headers, acknowledgements and retransmissions included.
    pub wire_bytes_per_s: f64,
    /// Cores in use: core-seconds a second.
    pub cores: f64,
    /// Memory held.
    pub memory_bytes: f64,
    /// Mean latency.
    pub latency_mean_ns: f64,
    /// Standard deviation of latency.
    pub latency_jitter_ns: f64,
    /// Counted fraction of operations above the contract's limit.
    pub late: f64,
}

impl Flow {
    /// The paper's mode: useful bytes are billed bytes, everything else is free. Throughput in bytes a second.
    pub fn paper(bytes_per_s: f64, latency_mean_ns: f64, latency_jitter_ns: f64) -> Self {
        Self {
            useful_bytes_per_s: bytes_per_s,
            wire_bytes_per_s: bytes_per_s,
            latency_mean_ns,
            latency_jitter_ns,
            ..Self::default()
        }
    }

    /// Nothing is served; memory, and what an idle server needs of a core, are still held.
    pub fn nothing(memory_bytes: f64, idle_cores: f64) -> Self {
        Self { memory_bytes, cores: idle_cores, ..Self::default() }
    }
}

/// Dollars a second, by line.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Profit {
    /// What users pay.
    pub revenue: f64,
    /// Cost of bytes on the wire.
    pub bandwidth: f64,
    /// Cost of cores.
    pub core: f64,
    /// Cost of memory.
    pub memory: f64,
    /// False when there are operations and the contract says that nothing is offered under these conditions (simple
    /// utility only).
    pub offered: bool,
}

impl Profit {
    /// Costs a second.
    pub fn cost(&self) -> f64 {
        self.bandwidth + self.core + self.memory
    }

    /// What remains.
    pub fn total(&self) -> f64 {
        self.revenue - self.cost()
    }
}

/// A contract at given prices, in floating point: what does not change from one alternative to the next is converted
/// once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluator<'a> {
    contract: &'a Contract,
    /// Dollars a unit.
    alpha: f64,
    /// Factor, beta or gamma, in dollars where it is money.
    second: f64,
    /// L0 in nanoseconds, or delta in dollars.
    bound: f64,
    /// Dollars a byte, a core-second, a byte-second.
    bandwidth: f64,
    core: f64,
    memory: f64,
}

impl Evaluator<'_> {
    /// The contract.
    pub fn contract(&self) -> &Contract {
        self.contract
    }

    /// Whether pay follows useful bytes, and whether it depends on jitter: who weighs many alternatives need not work
    /// out the rest.
    pub fn needs(&self) -> (bool, bool) {
        let normal = matches!(self.contract.kind, Kind::Penalty { tail: TailRule::Normal, .. });
        (self.contract.basis == Basis::UsefulByte, normal || self.contract.needs_jitter())
    }

    /// Dollars that one unit of the basis earns under these conditions.
    #[inline]
    fn worth(&self, flow: &Flow) -> f64 {
        let Self { alpha, second, bound, .. } = *self;
        let latency_s = flow.latency_mean_ns.max(LATENCY_MIN_NS) / NANO as f64;
        match self.contract.kind {
            Kind::Simple { .. } if flow.latency_mean_ns <= bound => alpha,
            Kind::Simple { .. } => 0.0,
            Kind::Penalty { tail, .. } => {
                let late = match tail {
                    TailRule::Counted => flow.late,
                    TailRule::Normal => {
                        tail::normal_above(bound, flow.latency_mean_ns, flow.latency_jitter_ns)
                    }
                };
                alpha * (1.0 - (second * late).min(1.0))
            }
            Kind::Refund { .. } => (alpha - second * latency_s).max(0.0),
            Kind::Bonus { .. } => alpha + (second / latency_s).min(bound),
            Kind::Own { .. } => {
                self.contract.own.as_ref().map_or(0.0, |own| {
                    settled(own, latency_s, flow.latency_jitter_ns / NANO as f64, flow.late)
                })
            }
        }
    }

    /// Profit rate of a flow. A resource without a known price costs nothing here; whoever decides by it says so.
    #[inline(always)]
    pub fn evaluate(&self, flow: &Flow) -> Profit {
        let units = match self.contract.basis {
            Basis::Operation => flow.operations_per_s,
            Basis::UsefulByte => flow.useful_bytes_per_s,
        };
        let profit = Profit {
            revenue: units * self.worth(flow),
            bandwidth: self.bandwidth * flow.wire_bytes_per_s,
            core: self.core * flow.cores,
            memory: self.memory * flow.memory_bytes,
            offered: true,
        };
        match self.contract.kind {
            // "If L <= L0 and P < alpha, else nothing is offered": then no byte leaves and none is paid for. Cores and
            // memory are held all the same.
            Kind::Simple { .. }
                if flow.latency_mean_ns > self.bound || profit.revenue <= profit.bandwidth =>
            {
                Profit { revenue: 0.0, bandwidth: 0.0, offered: units == 0.0, ..profit }
            }
            _ => profit,
        }
    }
}

/// Dollars a unit by an own expression that uses only what a window knows; never below nothing.
pub(crate) fn settled(own: &Expression, mean_s: f64, jitter_s: f64, late: f64) -> f64 {
    let conditions = Conditions::default()
        .with(Quantity::Mean, mean_s)
        // Where all answers took the same time, who divides by jitter is paid as for a nanosecond of it.
        .with(Quantity::Jitter, jitter_s.max(LATENCY_MIN_NS / NANO as f64))
        .with(Quantity::Late, late);
    let value = own.value(&conditions);
    if value.is_finite() { value.max(0.0) } else { 0.0 }
}

impl Contract {
    /// The contract at these prices, to weigh many alternatives.
    pub fn at(&self, prices: &Prices) -> Evaluator<'_> {
        let (second, bound) = match self.kind {
            Kind::Simple { limit_ns } => (0.0, limit_ns as f64),
            Kind::Penalty { limit_ns, factor, .. } => (factor.to_f64(), limit_ns as f64),
            Kind::Refund { beta_atto } => (beta_atto as f64 * ATTO, 0.0),
            Kind::Own { .. } => (0.0, 0.0),
            Kind::Bonus { gamma_atto, delta_atto } => {
                (gamma_atto as f64 * ATTO, delta_atto.map_or(f64::INFINITY, |delta| delta as f64 * ATTO))
            }
        };
        Evaluator {
            contract: self,
            alpha: self.alpha_atto as f64 * ATTO,
            second,
            bound,
            bandwidth: prices.bandwidth.map_or(0.0, |rate| rate.to_dollars_f64()),
            core: prices.core.map_or(0.0, |rate| rate.to_dollars_f64() * NANO as f64),
            memory: prices.memory.map_or(0.0, |rate| rate.to_dollars_f64()),
        }
    }

    /// Profit rate of one flow at these prices.
    pub fn evaluate(&self, flow: &Flow, prices: &Prices) -> Profit {
        self.at(prices).evaluate(flow)
    }
}

//! A settlement window: what was served and used, at which prices, and what it came to.

use crate::{Hash, Line};
use nom_money::{Exact, NANO, Picodollars, Prices};

/// A window. Quantities are those of this window alone; each [`Line`] carries its running total too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Counts the windows from 1.
    pub number: u64,
    /// False while the window is open: what a crash leaves, or what a live view shows.
    pub sealed: bool,
    /// Begin, by the application's clock. It is the end of the window before.
    pub start_ns: u64,
    /// End.
    pub end_ns: u64,
    /// Generation of the prices on the board; 0 when none was published.
    pub generation: u64,
    /// How long before they came into force these prices had been announced to the application. Nothing when they were
    /// not, or when nobody can tell.
    pub announced_ns: Option<u64>,
    /// The prices in force. What is unknown is not billed, and can be seen to be unknown.
    pub prices: Prices,
    /// Accepted operations.
    pub accepted: u64,
    /// Refused operations.
    pub refused: u64,
    /// Useful bytes.
    pub useful_bytes: u64,
    /// Outbound bytes on the wire.
    pub wire_bytes: u64,
    /// Core time.
    pub core_ns: u64,
    /// Memory held, times nanoseconds.
    pub memory_byte_ns: u128,
    /// Accepted operations whose latency is known.
    pub measured: u64,
    /// Of these, above the contract's limit.
    pub late: u64,
    /// Sum of the known latencies.
    pub latency_sum_ns: u128,
    /// Sum of their squares, in ns^2, where what users pay depends on jitter.
    pub latency_square_sum: Option<u128>,
    /// What users paid for: accepted operations or useful bytes, as the contract says.
    pub units: u64,
    /// What each of them earned.
    pub earned: Exact,
    /// What users pay.
    pub revenue: Line,
    /// Cost of bytes.
    pub bandwidth: Line,
    /// Cost of cores.
    pub core: Line,
    /// Cost of memory.
    pub memory: Line,
    /// Hash of the window before; zeros for the first.
    pub previous: Hash,
    /// Hash of `previous` and all of the above.
    pub hash: Hash,
}

impl Window {
    /// Costs of the window.
    pub fn cost(&self) -> Picodollars {
        Picodollars(self.bandwidth.amount.0 + self.core.amount.0 + self.memory.amount.0)
    }

    /// Profit of the window.
    pub fn profit(&self) -> Picodollars {
        Picodollars(self.revenue.amount.0 - self.cost().0)
    }

    /// Profit since the ledger began.
    pub fn profit_total(&self) -> Picodollars {
        Picodollars(self.revenue.total.0 - self.bandwidth.total.0 - self.core.total.0 - self.memory.total.0)
    }

    /// Mean latency, where any is known.
    pub fn mean_ns(&self) -> Option<u64> {
        self.latency_sum_ns.checked_div(u128::from(self.measured)).and_then(|mean| u64::try_from(mean).ok())
    }

    /// The exact lines from quantities and prices: revenue, bandwidth, core, memory. Nothing when they do not fit.
    pub(crate) fn exact(&self) -> Option<[Exact; 4]> {
        let cost = |atto: Option<i128>, quantity: u64| {
            Exact::product(atto.unwrap_or(0), i128::from(quantity).checked_mul(NANO)?)
        };
        Some([
            Exact(self.earned.0.checked_mul(i128::from(self.units))?),
            cost(self.prices.bandwidth.map(|rate| rate.0), self.wire_bytes)?,
            cost(self.prices.core.map(|rate| rate.0), self.core_ns)?,
            // Byte-nanoseconds are billionths of the byte-seconds that the rate is for.
            Exact::product(
                self.prices.memory.map_or(0, |rate| rate.0),
                i128::try_from(self.memory_byte_ns).ok()?,
            )?,
        ])
    }

    /// The lines, in the order of [`Window::exact`].
    pub(crate) fn lines(&self) -> [Line; 4] {
        [self.revenue, self.bandwidth, self.core, self.memory]
    }
}

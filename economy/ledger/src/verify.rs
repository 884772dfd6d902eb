//! Adding everything up again.

use crate::{Hash, Line, Window};
use core::fmt;
use nom_money::{Exact, Picodollars};
use nom_utility::{Contract, Served};

/// Sums over verified windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Sealed windows.
    pub windows: u64,
    /// Whether an unsettled window stands at the end. It is in no sum.
    pub unsettled: bool,
    /// Accepted operations.
    pub accepted: u64,
    /// Refused operations.
    pub refused: u64,
    /// Useful bytes.
    pub useful_bytes: u64,
    /// Bytes on the wire.
    pub wire_bytes: u64,
    /// Core time.
    pub core_ns: u64,
    /// What users paid.
    pub revenue: Picodollars,
    /// Cost of bytes.
    pub bandwidth: Picodollars,
    /// Cost of cores.
    pub core: Picodollars,
    /// Cost of memory.
    pub memory: Picodollars,
}

impl Totals {
    /// What remained.
    pub fn profit(&self) -> Picodollars {
        Picodollars(self.revenue.0 - self.bandwidth.0 - self.core.0 - self.memory.0)
    }
}

/// What does not hold, and in which window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The window's number.
    pub window: u64,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "window {}: {}", self.window, self.what)
    }
}

/// Checks that windows follow each other without a gap and that every amount is what prices and quantities give, and
/// adds them up. With the contract, the revenue is recomputed too. Windows may begin anywhere in the history; an
/// unsettled one may stand only at the end.
pub fn verify(windows: &[Window], contract: Option<&Contract>) -> Result<Totals, Fault> {
    let mut totals = Totals::default();
    let mut before: Option<&Window> = None;
    for window in windows {
        let fault = |what| Fault { window: window.number, what };
        if totals.unsettled {
            return Err(fault("it follows a window that was never sealed"));
        }
        follows(before, window).map_err(fault)?;
        if window.digest() != window.hash {
            return Err(fault("its hash is not that of its contents: it was altered"));
        }
        if let Some(contract) = contract {
            let served = Served {
                accepted: window.accepted,
                useful_bytes: window.useful_bytes,
                measured: window.measured,
                late: window.late,
                latency_sum_ns: window.latency_sum_ns,
                latency_square_sum: window.latency_square_sum.unwrap_or(0),
            };
            if contract.needs_jitter() != window.latency_square_sum.is_some() {
                return Err(fault(
                    "it has the sum of squared latencies where the contract needs none, or lacks it",
                ));
            }
            if window.units != contract.units(&served)
                || Some(window.earned) != contract.earned_per_unit(&served)
            {
                return Err(fault("its revenue is not what the contract gives"));
            }
        }
        let exact = window.exact().ok_or(fault("an amount does not fit"))?;
        for (place, (line, exact)) in window.lines().iter().zip(exact).enumerate() {
            let known = match before {
                Some(before) => Some(before.lines()[place]),
                None => (window.number == 1).then(Line::default),
            };
            if !adds_up(known, line, exact) {
                return Err(fault("a line is not what its price and quantity give"));
            }
        }
        if window.sealed {
            add(&mut totals, window).ok_or(fault("the sum does not fit"))?;
        } else {
            totals.unsettled = true;
        }
        before = Some(window);
    }
    Ok(totals)
}

fn follows(before: Option<&Window>, window: &Window) -> Result<(), &'static str> {
    let (number, previous, start_ns, generation) = match before {
        Some(before) => (before.number.wrapping_add(1), before.hash, before.end_ns, before.generation),
        None if window.number == 1 => (1, Hash::default(), window.start_ns, 0),
        None => (window.number, window.previous, window.start_ns, 0),
    };
    if window.number != number {
        Err("it does not follow the number before: one is missing, doubled or out of order")
    } else if window.previous != previous {
        Err("it does not carry the hash of the window before")
    } else if window.start_ns != start_ns || window.end_ns < start_ns {
        Err("it does not begin where the window before ended")
    } else if window.generation < generation {
        Err("its prices are older than those of the window before")
    } else {
        Ok(())
    }
}

fn adds_up(before: Option<Line>, line: &Line, exact: Exact) -> bool {
    match before {
        Some(before) => before.next(exact) == Some(*line),
        // The first of a part of the history: the rest that was carried in is not known, but it is derived and must
        // be at most half a picodollar, as must the rest carried out.
        None => {
            let half = Exact::PER_PICODOLLAR / 2;
            let carried = line
                .amount
                .0
                .checked_mul(Exact::PER_PICODOLLAR)
                .and_then(|amount| amount.checked_add(line.rest.0))
                .and_then(|sum| sum.checked_sub(exact.0));
            carried.is_some_and(|carried| carried.abs() <= half)
                && line.rest.0.unsigned_abs() <= half.unsigned_abs()
        }
    }
}

fn add(totals: &mut Totals, window: &Window) -> Option<()> {
    totals.windows += 1;
    totals.accepted = totals.accepted.checked_add(window.accepted)?;
    totals.refused = totals.refused.checked_add(window.refused)?;
    totals.useful_bytes = totals.useful_bytes.checked_add(window.useful_bytes)?;
    totals.wire_bytes = totals.wire_bytes.checked_add(window.wire_bytes)?;
    totals.core_ns = totals.core_ns.checked_add(window.core_ns)?;
    totals.revenue = totals.revenue.checked_add(window.revenue.amount)?;
    totals.bandwidth = totals.bandwidth.checked_add(window.bandwidth.amount)?;
    totals.core = totals.core.checked_add(window.core.amount)?;
    totals.memory = totals.memory.checked_add(window.memory.amount)?;
    Some(())
}

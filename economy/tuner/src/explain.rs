//! Lines for people.

use crate::{Estimate, Quoted};
use alloc::string::String;
use core::fmt;
use nom_money::Prices;

/// Longest line.
pub(crate) const LINE_MAX: usize = 480;

/// Dollars a second as dollars an hour with four significant digits.
pub(crate) struct Hourly(pub f64);

impl fmt::Display for Hourly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dollars = self.0 * 3600.0;
        let (mut places, mut bound) = (3, 1.0);
        while places < 12 && dollars != 0.0 && dollars.abs() < bound {
            places += 1;
            bound /= 10.0;
        }
        if dollars.abs() >= 1000.0 {
            places = 0;
        }
        write!(f, "{dollars:.places$} $/h")
    }
}

/// The prices as the decision saw them, with what is unknown.
pub(crate) struct Seen<'a>(pub &'a Quoted);

impl fmt::Display for Seen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Prices { bandwidth, core, memory } = self.0.prices;
        write!(f, "{} (generation {}", self.0.prices, self.0.generation)?;
        if bandwidth.is_none() {
            f.write_str(", bandwidth counted as free")?;
        }
        if core.is_none() {
            f.write_str(", core counted as free")?;
        }
        if memory.is_none() {
            f.write_str(", memory counted as free")?;
        }
        f.write_str(")")
    }
}

/// Profit with its two sides.
pub(crate) struct Sides<'a>(pub &'a Estimate);

impl fmt::Display for Sides<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let profit = &self.0.profit;
        write!(f, "{} ({} - {})", Hourly(profit.total()), Hourly(profit.revenue), Hourly(profit.cost()))
    }
}

/// Cuts a line to its bound.
pub(crate) fn bounded(mut line: String) -> String {
    if line.len() > LINE_MAX {
        let mut end = LINE_MAX;
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
    }
    line
}

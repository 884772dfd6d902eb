//! Lines for people.

use crate::{Announced, Estimate, Quoted};
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::fmt;
use nom_money::{Prices, print_duration};
use nom_points::Setting;

/// What is shorter says nothing to a person.
const MS: u64 = 1_000_000;
/// Longest line.
const LINE_MAX: usize = 480;

/// Why something is done or said. What a change was weighed by is kept as numbers: putting them into words takes more
/// instructions than the decision did.
#[derive(Debug, Clone, PartialEq)]
pub enum Why {
    /// Another setting earns more.
    Better(Box<Better>),
    /// Anything else, in words.
    Said(String),
}

impl Why {
    /// One line.
    pub fn line(&self) -> String {
        bounded(match self {
            Self::Better(better) => better.to_string(),
            Self::Said(line) => line.clone(),
        })
    }
}

/// What a change was weighed by.
#[derive(Debug, Clone, PartialEq)]
pub struct Better {
    /// Whether it is done or only said.
    pub observing: bool,
    /// The setting that is left.
    pub from: Setting,
    /// What is new.
    pub cause: &'static str,
    /// The load class.
    pub class: Arc<str>,
    /// Operations that arrive in a second.
    pub arrival_per_s: f64,
    /// Active connections.
    pub connections: f64,
    /// The prices.
    pub quoted: Quoted,
    /// What the new setting is expected to bring.
    pub expected: Estimate,
    /// What the present one brings; `None` when it was never profiled here.
    pub present: Option<Estimate>,
    /// The present one breaks a limit, or offers nothing.
    pub forced: bool,
    /// Gain beyond noise, in dollars a second.
    pub gain: f64,
    /// The same if more or fewer arrive than are seen.
    pub least: f64,
    /// For how long it counts.
    pub stay_ns: u64,
    /// The prices that end it, where that is why it counts no longer.
    pub until: Option<Announced>,
}

impl fmt::Display for Better {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} -> {} by {}: class {}, {:.0} op/s, {:.0} connections; {}; expected {} ",
            if self.observing { "would change" } else { "change" },
            self.from,
            self.expected.setting,
            self.cause,
            self.class,
            self.arrival_per_s,
            self.connections,
            Seen(&self.quoted),
            Sides(&self.expected),
        )?;
        match &self.present {
            Some(_) if self.forced => {
                f.write_str("because the present one breaks a hard limit or offers nothing")?;
            }
            Some(present) => write!(f, "instead of {}", Sides(present))?,
            None => f.write_str("and the present one was never profiled here")?,
        }
        write!(
            f,
            "; gain beyond noise {}, at least {}, for {} beats changing",
            Hourly(self.gain),
            Hourly(self.least),
            print_duration(self.stay_ns / MS * MS),
        )?;
        match &self.until {
            Some(announced) => write!(f, "; then {} is announced", announced.prices),
            None => Ok(()),
        }
    }
}

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
fn bounded(mut line: String) -> String {
    if line.len() > LINE_MAX {
        let mut end = LINE_MAX;
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
    }
    line
}

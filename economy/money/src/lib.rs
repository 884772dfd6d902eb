//! Money, rates and quantities as integers with their units.
//!
//! An amount is a whole number of picodollars, a rate a whole number of attodollars per base unit (byte, core
//! nanosecond, byte and second, operation). A rate times a quantity is exact in [`Exact`] (10^-27 dollars) and is
//! rounded once, half to even, when it becomes [`Picodollars`]. Text carries its unit always; nothing here goes
//! through floating point except the `to_f64` of whoever weighs alternatives.
//!
//! Limits: a rate read from text is rounded half to even to a whole attodollar per base unit, which is what the
//! bulletin board carries: 3 $/core/h is held to 4 parts in 10^7, 0.005 $/GiB/h to 4 parts in 10^4. A rate that
//! would become zero is refused. Everything that is settled uses the rounded rate, so sums stay exact.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod amount;
mod decimal;
mod exact;
mod prices;
mod quantity;
mod rate;

pub use amount::{Exact, Picodollars};
pub use decimal::{Decimal, TextError};
pub use exact::mul_div;
pub use prices::Prices;
pub use quantity::{Nano, parse_bits_per_second, parse_bytes, parse_duration_ns, parse_per_second};
pub use quantity::{print_bytes, print_duration};
pub use rate::{
    BonusPerByte, BonusPerOperation, PerByte, PerByteSecond, PerCoreNs, PerOperation, RefundPerByte,
    RefundPerOperation, Spending,
};

/// Attodollars in a dollar: the unit of rates.
pub const ATTO: i128 = 1_000_000_000_000_000_000;
/// Picodollars in a dollar: the unit of amounts.
pub const PICO: i128 = 1_000_000_000_000;
/// Parts in a whole of a [`Nano`], and exact units (10^-27 dollars) in an attodollar.
pub const NANO: i128 = 1_000_000_000;

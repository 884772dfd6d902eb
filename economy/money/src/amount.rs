//! Amounts of money.

use crate::decimal::{self, TextError};
use crate::{ATTO, NANO, PICO, mul_div};
use core::fmt;
use core::str::FromStr;

/// An amount in picodollars (10^-12 dollars): what ledgers are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Picodollars(pub i128);

impl Picodollars {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Sum, nothing when it does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// Difference, nothing when it does not fit.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// For plots and comparisons only.
    pub fn to_dollars_f64(self) -> f64 {
        self.0 as f64 / PICO as f64
    }
}

impl fmt::Display for Picodollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal::write_decimal(f, self.0, 12)?;
        f.write_str(" $")
    }
}

impl FromStr for Picodollars {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        const EXPECTED: &str = "an amount such as 0.25 $, in whole picodollars";
        let (number, unit) = decimal::split(text, EXPECTED)?;
        if unit != "$" {
            let what = if unit.is_empty() { "the unit is missing" } else { "the unit is not known here" };
            return Err(TextError::new(text, what, EXPECTED));
        }
        decimal::whole(number, PICO as u128).map(Self).ok_or_else(|| {
            TextError::new(text, "it is no whole number of picodollars, or too large", EXPECTED)
        })
    }
}

/// An exact product of a rate and a quantity, in 10^-27 dollars: attodollars times billionths. Up to 1.7e11 dollars
/// fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Exact(pub i128);

impl Exact {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Exact units in a picodollar.
    pub const PER_PICODOLLAR: i128 = ATTO / PICO * NANO;

    /// Attodollars a unit times so many billionths of the unit.
    pub fn product(atto_per_unit: i128, billionths: i128) -> Option<Self> {
        atto_per_unit.checked_mul(billionths).map(Self)
    }

    /// Sum, nothing when it does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// Whole picodollars, half to even.
    pub fn round(self) -> Picodollars {
        // The divisor is positive and the factor one, so this cannot fail.
        Picodollars(mul_div(self.0, 1, Self::PER_PICODOLLAR as u128).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn amounts_are_written_and_read_back() {
        let mut amount = 1i128;
        for _ in 0..150 {
            amount = amount.wrapping_mul(-7) % (1 << 110);
            let text = Picodollars(amount).to_string();
            assert_eq!(text.parse(), Ok(Picodollars(amount)), "{text}");
        }
        assert_eq!(Picodollars(-1_500_000_000_000).to_string(), "-1.5 $");
        assert_eq!(Picodollars(1).to_string(), "0.000000000001 $");
        assert_eq!(Picodollars(20 * PICO).to_string(), "20 $");
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in [
            "",
            "$",
            "1",
            "1 €",
            "1 $/h",
            "1e3 $",
            ".5 $",
            "5. $",
            "1.2.3 $",
            "0.0000000000001 $",
            "--1 $",
            "+1 $",
        ] {
            assert!(text.parse::<Picodollars>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_exact_product_rounds_once() {
        let half = Exact::PER_PICODOLLAR / 2;
        assert_eq!(Exact(half).round(), Picodollars(0));
        assert_eq!(Exact(3 * half).round(), Picodollars(2));
        assert_eq!(Exact(-3 * half).round(), Picodollars(-2));
        assert_eq!(Exact(half + 1).round(), Picodollars(1));
        assert_eq!(Exact::product(i128::MAX, 2), None);
    }
}

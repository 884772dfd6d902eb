//! Rates: attodollars per base unit, one type a dimension, so that a price of bytes never meets a price of cores.

use crate::ATTO;
use crate::decimal::{self, Decimal, TextError, Unit, shown, unit};
use core::fmt;
use core::str::FromStr;

const GBIT: u128 = 125_000_000;
const GIB: u128 = 1 << 30;
const HOUR_NS: u128 = 3_600_000_000_000;
/// A month of a provider's bill: 30 days (CloudSigma's multipliers say so).
const MONTH_S: u128 = 30 * 24 * 3600;

fn parse(text: &str, units: &[Unit], expected: &'static str) -> Result<i128, TextError> {
    let (number, unit) = decimal::split(text, expected)?;
    let unit = decimal::find(text, unit, units, expected)?;
    let atto = decimal::scaled(number, ATTO as u128, unit.size)
        .ok_or_else(|| TextError::new(text, "the number is too large", expected))?;
    if atto == 0 && number.mantissa != 0 {
        return Err(TextError::new(text, "the rate is below one attodollar a base unit", expected));
    }
    Ok(atto)
}

/// Prints in that unit which needs the fewest digits, the first one when they tie.
fn print(f: &mut fmt::Formatter<'_>, atto: i128, units: &[Unit]) -> fmt::Result {
    let length = |number: &Decimal| {
        number.mantissa.unsigned_abs().checked_ilog10().map_or(1, |log| log + 1).max(number.places + 1)
    };
    let mut best: Option<(Decimal, &Unit)> = None;
    for unit in units.iter().filter(|unit| unit.prints) {
        let Some(number) = decimal::shortest(atto, ATTO as u128, unit.size) else { continue };
        if best.as_ref().is_none_or(|(shorter, _)| length(&number) < length(shorter)) {
            best = Some((number, unit));
        }
    }
    match best {
        Some((number, unit)) => {
            decimal::write_decimal(f, number.mantissa, number.places)?;
            write!(f, " {}", unit.text)
        }
        // Beyond 10^20 dollars a base unit: the bare attodollars, so that nothing is lost for people.
        None => write!(f, "{atto} a$"),
    }
}

macro_rules! rate {
    ($(#[$doc:meta])* $name:ident, $expected:literal, [$($unit:expr),+ $(,)?]) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub i128);

        impl $name {
            const UNITS: &'static [Unit] = &[$($unit),+];

            /// For weighing alternatives only: dollars per base unit.
            pub fn to_dollars_f64(self) -> f64 {
                self.0 as f64 / ATTO as f64
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                print(f, self.0, Self::UNITS)
            }
        }

        impl FromStr for $name {
            type Err = TextError;

            fn from_str(text: &str) -> Result<Self, TextError> {
                parse(text, Self::UNITS, $expected).map(Self)
            }
        }
    };
}

rate!(
    /// Attodollars per byte: the price of bytes on the wire, or what a useful byte earns.
    PerByte,
    "a rate of bytes such as 20 $/Gbit or 0.09 $/GB (units $/Gbit, $/Mbit, $/GB, $/MB, $/TB, $/GiB, $/byte)",
    [
        shown("$/Gbit", GBIT),
        shown("$/GB", 1_000_000_000),
        unit("$/Mbit", 125_000),
        unit("$/MB", 1_000_000),
        unit("$/TB", 1_000_000_000_000),
        unit("$/GiB", GIB),
        unit("$/byte", 1),
    ]
);

rate!(
    /// Attodollars per nanosecond of one core.
    PerCoreNs,
    "a rate of core time such as 3 $/core/h (units $/core/h, $/core/min, $/core/s, $/core/month)",
    [
        shown("$/core/h", HOUR_NS),
        unit("$/core/min", HOUR_NS / 60),
        unit("$/core/s", 1_000_000_000),
        unit("$/core/month", MONTH_S * 1_000_000_000),
    ]
);

rate!(
    /// Attodollars per byte held for a second.
    PerByteSecond,
    "a rate of memory such as 0.005 $/GiB/h (units $/GiB/h, $/GB/h, $/MiB/h, $/GiB/month, $/GB/month)",
    [
        shown("$/GiB/h", GIB * 3600),
        unit("$/GB/h", 1_000_000_000 * 3600),
        unit("$/MiB/h", (1 << 20) * 3600),
        unit("$/GiB/month", GIB * MONTH_S),
        unit("$/GB/month", 1_000_000_000 * MONTH_S),
    ]
);

rate!(
    /// Attodollars per operation.
    PerOperation,
    "a worth of operations such as 0.000004 $/op or 0.2 $/Mop (units $/op, $/kop, $/Mop, $/Gop)",
    [
        shown("$/Mop", 1_000_000),
        shown("$/op", 1),
        unit("$/kop", 1_000),
        unit("$/Gop", 1_000_000_000),
    ]
);

rate!(
    /// The refund's beta on bytes: attodollars per byte and second of latency.
    RefundPerByte,
    "a refund such as 10 $/(Gbit s) (units $/(Gbit s), $/(GB s))",
    [shown("$/(Gbit s)", GBIT), shown("$/(GB s)", 1_000_000_000)]
);

rate!(
    /// The refund's beta on operations: attodollars per operation and second of latency.
    RefundPerOperation,
    "a refund such as 0.001 $/(op s) (units $/(op s), $/(Mop s))",
    [shown("$/(Mop s)", 1_000_000), shown("$/(op s)", 1)]
);

rate!(
    /// The bonus's gamma on bytes: attodollars and seconds per byte, to be divided by a latency.
    BonusPerByte,
    "a bonus such as 0.01 $ s/Gbit (units $ s/Gbit, $ s/GB)",
    [shown("$ s/Gbit", GBIT), shown("$ s/GB", 1_000_000_000)]
);

rate!(
    /// The bonus's gamma on operations: attodollars and seconds per operation, to be divided by a latency.
    BonusPerOperation,
    "a bonus such as 0.00001 $ s/Mop (units $ s/op, $ s/Mop)",
    [shown("$ s/Mop", 1_000_000), shown("$ s/op", 1)]
);

rate!(
    /// A limit on spending: attodollars per second.
    Spending,
    "a limit on spending such as 5 $/h (units $/h, $/min, $/s, $/day)",
    [shown("$/h", 3600), unit("$/min", 60), unit("$/s", 1), unit("$/day", 86_400)]
);

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    fn round_trip<R>(from: impl Fn(i128) -> R)
    where
        R: fmt::Display + FromStr<Err = TextError> + PartialEq + fmt::Debug,
    {
        let mut state = 0x2545_f491_4f6c_dd1du64;
        for turn in 0..3_000u32 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let atto = (i128::from(state) << 20 >> (turn % 80)) * if turn % 2 == 0 { 1 } else { -1 };
            let text = from(atto).to_string();
            assert_eq!(text.parse::<R>().as_ref(), Ok(&from(atto)), "{text}");
        }
        for atto in [0, 1, -1, 833_333] {
            let text = from(atto).to_string();
            assert_eq!(text.parse::<R>().as_ref(), Ok(&from(atto)), "{text}");
        }
    }

    #[test]
    fn every_rate_is_written_and_read_back() {
        round_trip(PerByte);
        round_trip(PerCoreNs);
        round_trip(PerByteSecond);
        round_trip(PerOperation);
        round_trip(RefundPerByte);
        round_trip(RefundPerOperation);
        round_trip(BonusPerByte);
        round_trip(BonusPerOperation);
        round_trip(Spending);
    }

    #[test]
    fn what_people_write_means_what_they_mean() {
        assert_eq!("20 $/Gbit".parse(), Ok(PerByte(160_000_000_000)));
        assert_eq!("0.09 $/GB".parse(), Ok(PerByte(90_000_000)));
        assert_eq!("0.000004 $/op".parse(), Ok(PerOperation(4_000_000_000_000)));
        assert_eq!("0.2 $/Mop".parse(), Ok(PerOperation(200_000_000_000)));
        assert_eq!("3 $/core/h".parse(), Ok(PerCoreNs(833_333)));
        assert_eq!("0.005 $/GiB/h".parse(), Ok(PerByteSecond(1_294)));
        assert_eq!("10 $/(Gbit s)".parse(), Ok(RefundPerByte(80_000_000_000)));
        assert_eq!("0.01 $ s/Gbit".parse(), Ok(BonusPerByte(80_000_000)));
        assert_eq!(" -1$/Gbit ".parse(), Ok(PerByte(-8_000_000_000)));
    }

    #[test]
    fn print_is_what_people_wrote() {
        for text in ["20 $/Gbit", "1 $/Gbit", "0.09 $/GB", "-3 $/Gbit"] {
            assert_eq!(text.parse::<PerByte>().unwrap().to_string(), text);
        }
        for text in ["3 $/core/h", "0.04 $/core/h"] {
            assert_eq!(text.parse::<PerCoreNs>().unwrap().to_string(), text);
        }
        assert_eq!("0.005 $/GiB/h".parse::<PerByteSecond>().unwrap().to_string(), "0.005 $/GiB/h");
        assert_eq!("0.000004 $/op".parse::<PerOperation>().unwrap().to_string(), "4 $/Mop");
        for text in ["0.2 $/Mop", "10 $/Mop", "0.1 $/op"] {
            assert_eq!(text.parse::<PerOperation>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn mixed_or_missing_units_are_refused_with_what_is_expected() {
        let error = "20".parse::<PerByte>().unwrap_err();
        assert_eq!(error.what, "the unit is missing");
        assert!(format!("{error}").contains("20 $/Gbit"));
        for text in [
            "20 $/core/h",
            "20 $/gbit",
            "20 $",
            "$/Gbit",
            "20 $/Gbit s",
            "1e9 $/Gbit",
            "20 €/Gbit",
            "0.0000000001 $/TB",
        ] {
            assert!(text.parse::<PerByte>().is_err(), "{text}");
        }
        assert!("10 $/Gbit".parse::<RefundPerByte>().is_err());
        assert!("10 $/(Gbit s)".parse::<BonusPerByte>().is_err());
        assert!("999999999999999999999999999999 $/byte".parse::<PerByte>().is_err());
    }
}

//! Quantities in text: bytes, durations, rates of bits and operations, and fractions.

use crate::NANO;
use crate::decimal::{self, TextError, Unit, shown, unit};
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

const BYTES: &[Unit] = &[
    shown("B", 1),
    shown("KiB", 1 << 10),
    shown("MiB", 1 << 20),
    shown("GiB", 1 << 30),
    shown("TiB", 1 << 40),
    unit("kB", 1_000),
    unit("MB", 1_000_000),
    unit("GB", 1_000_000_000),
    unit("TB", 1_000_000_000_000),
];
const DURATIONS: &[Unit] = &[
    shown("ns", 1),
    shown("us", 1_000),
    shown("ms", 1_000_000),
    shown("s", 1_000_000_000),
    unit("µs", 1_000),
    unit("min", 60_000_000_000),
    unit("h", 3_600_000_000_000),
];
const BIT_RATES: &[Unit] =
    &[unit("bit/s", 1), unit("kbit/s", 1_000), unit("Mbit/s", 1_000_000), unit("Gbit/s", 1_000_000_000)];
const RATES: &[Unit] = &[unit("/s", 1), unit("op/s", 1), unit("kop/s", 1_000), unit("Mop/s", 1_000_000)];

fn parse_whole(text: &str, units: &[Unit], expected: &'static str) -> Result<u64, TextError> {
    let (number, unit) = decimal::split(text, expected)?;
    let unit = decimal::find(text, unit, units, expected)?;
    if number.mantissa < 0 {
        return Err(TextError::new(text, "it is negative", expected));
    }
    decimal::whole(number, unit.size).and_then(|whole| u64::try_from(whole).ok()).ok_or_else(|| {
        TextError::new(text, "it is no whole number of the smallest unit, or too large", expected)
    })
}

/// `8 MiB`, `1.5 kB`: whole bytes.
pub fn parse_bytes(text: &str) -> Result<u64, TextError> {
    parse_whole(text, BYTES, "a size such as 8 MiB (units B, KiB, MiB, GiB, TiB, kB, MB, GB, TB)")
}

/// `750 us`, `1 s`, `0.5 ms`: whole nanoseconds.
pub fn parse_duration_ns(text: &str) -> Result<u64, TextError> {
    parse_whole(text, DURATIONS, "a duration such as 750 us (units ns, us, ms, s, min, h)")
}

/// `10 Gbit/s`: whole bits a second.
pub fn parse_bits_per_second(text: &str) -> Result<u64, TextError> {
    parse_whole(text, BIT_RATES, "a bit rate such as 10 Gbit/s (units bit/s, kbit/s, Mbit/s, Gbit/s)")
}

/// `40 kop/s`, `1000/s`: whole operations a second.
pub fn parse_per_second(text: &str) -> Result<u64, TextError> {
    parse_whole(text, RATES, "a rate such as 40 kop/s (units /s, op/s, kop/s, Mop/s)")
}

/// The largest unit in which it needs at most three decimals, without a space (`14us`, `1.5ms`).
fn print_whole(base: u64, units: &[Unit]) -> String {
    let mut out = String::new();
    let unit = units
        .iter()
        .filter(|unit| unit.prints && u128::from(base) >= unit.size)
        .filter(|unit| (u128::from(base) * 1000) % unit.size == 0)
        .max_by_key(|unit| unit.size)
        .unwrap_or(&units[0]);
    // Three decimals of a whole u64 always fit.
    let _ = decimal::write_decimal(&mut out, (u128::from(base) * 1000 / unit.size) as i128, 3);
    out.push_str(unit.text);
    out
}

/// A size as [`parse_bytes`] reads it back.
pub fn print_bytes(bytes: u64) -> String {
    print_whole(bytes, BYTES)
}

/// A duration as [`parse_duration_ns`] reads it back.
pub fn print_duration(duration_ns: u64) -> String {
    print_whole(duration_ns, DURATIONS)
}

/// A factor in billionths: qualities, penalty factors, fractions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Nano(pub u64);

impl Nano {
    /// One.
    pub const ONE: Self = Self(NANO as u64);

    /// For weighing alternatives only.
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / NANO as f64
    }
}

impl fmt::Display for Nano {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal::write_decimal(f, i128::from(self.0), 9)
    }
}

impl FromStr for Nano {
    type Err = TextError;

    /// `100`, `0.5`, `2 %`.
    fn from_str(text: &str) -> Result<Self, TextError> {
        const EXPECTED: &str = "a factor such as 100, 0.5 or 2 %, with at most nine decimals";
        const UNITS: &[Unit] = &[unit("", NANO as u128), unit("%", NANO as u128 / 100)];
        parse_whole(text, UNITS, EXPECTED).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn quantities_are_read() {
        assert_eq!(parse_bytes("8 MiB"), Ok(8 << 20));
        assert_eq!(parse_bytes("1.5kB"), Ok(1500));
        assert_eq!(parse_duration_ns("750 us"), Ok(750_000));
        assert_eq!(parse_duration_ns("750 µs"), Ok(750_000));
        assert_eq!(parse_duration_ns("0.5 us"), Ok(500));
        assert_eq!(parse_duration_ns("1 s"), Ok(1_000_000_000));
        assert_eq!(parse_bits_per_second("10 Gbit/s"), Ok(10_000_000_000));
        assert_eq!(parse_per_second("40 kop/s"), Ok(40_000));
        assert_eq!("100".parse(), Ok(Nano(100_000_000_000)));
        assert_eq!("2 %".parse(), Ok(Nano(20_000_000)));
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        for text in
            ["8", "MiB", "8 mib", "0.3 B", "-1 B", "99999999999999999999 B", "20000000 TiB", "8 s", "8 MiB x"]
        {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
        for text in ["1", "0.5 ns", "1 S", "1 $"] {
            assert!(parse_duration_ns(text).is_err(), "{text}");
        }
        assert!("0.0000000001".parse::<Nano>().is_err());
    }

    #[test]
    fn quantities_are_written_and_read_back() {
        let mut state = 88_172_645_463_325_252u64;
        for turn in 0..20_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let value = (state >> (turn % 64)) / [1, 1000, 1_000_000, 1 << 20][turn % 4]
                * [1, 1000, 1 << 10, 1][turn % 4]
                / 2;
            assert_eq!(parse_bytes(&print_bytes(value)), Ok(value));
            assert_eq!(parse_duration_ns(&print_duration(value)), Ok(value));
            assert_eq!(Nano(value).to_string().parse(), Ok(Nano(value)));
        }
        assert_eq!(print_duration(14_000), "14us");
        assert_eq!(print_duration(0), "0ns");
        assert_eq!(print_duration(1_500_000), "1.5ms");
        assert_eq!(print_bytes(8 << 20), "8MiB");
    }
}

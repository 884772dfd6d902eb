//! Numbers with a unit, as people write them: read exactly, printed as short as they can be read back.

use crate::mul_div;
use alloc::string::String;
use core::fmt;

/// Most digits that a number in text may have.
const DIGITS_MAX: usize = 36;
/// Most digits after the point.
const FRACTION_MAX: usize = 30;

/// Why a text is not what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextError {
    /// The text as it was given, cut to a bounded length.
    pub text: String,
    /// What is wrong with it.
    pub what: &'static str,
    /// What is expected instead.
    pub expected: &'static str,
}

impl TextError {
    pub(crate) fn new(text: &str, what: &'static str, expected: &'static str) -> Self {
        Self { text: text.chars().take(40).collect(), what, expected }
    }
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}': {}; expected {}", self.text.escape_debug(), self.what, self.expected)
    }
}

/// A unit that may stand behind a number.
pub(crate) struct Unit {
    /// How it is written.
    pub text: &'static str,
    /// Base units in one of it.
    pub size: u128,
    /// Whether it is used for printing.
    pub prints: bool,
}

pub(crate) const fn unit(text: &'static str, size: u128) -> Unit {
    Unit { text, size, prints: false }
}

pub(crate) const fn shown(text: &'static str, size: u128) -> Unit {
    Unit { text, size, prints: true }
}

/// Largest exponent of a number such as `1e-05`, either way.
const EXPONENT_MAX: u32 = 30;

/// A decimal number, exact: mantissa / 10^places. Prices of providers come as such, and stay so until they are
/// rounded once to a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    pub(crate) mantissa: i128,
    pub(crate) places: u32,
}

impl Decimal {
    /// Nothing.
    pub const ZERO: Self = Self { mantissa: 0, places: 0 };
    /// One.
    pub const ONE: Self = Self { mantissa: 1, places: 0 };

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.mantissa < 0
    }

    /// The same number without zeros at the end: providers write `0.28000000000000000000`.
    fn shortened(mut self) -> Self {
        while self.places > 0 && self.mantissa % 10 == 0 {
            self.mantissa /= 10;
            self.places -= 1;
        }
        self
    }

    /// The exact product, nothing when it has too many digits.
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        let mantissa = self.mantissa.checked_mul(other.mantissa)?;
        Some(Self { mantissa, places: self.places + other.places }.shortened())
            .filter(|product| product.places <= FRACTION_MAX as u32)
    }

    /// `self * numerator / denominator`, rounded once, half to even. Nothing when it does not fit.
    pub fn scaled(self, numerator: u128, denominator: u128) -> Option<i128> {
        scaled(self, numerator, denominator)
    }
}

impl core::str::FromStr for Decimal {
    type Err = TextError;

    /// `0.28`, `-16.7`, `1e-05`; no unit.
    fn from_str(text: &str) -> Result<Self, TextError> {
        const EXPECTED: &str = "a decimal number such as 0.087";
        let wrong = |what| TextError::new(text, what, EXPECTED);
        let (number, rest) = split(text, EXPECTED)?;
        let mut number = number.shortened();
        if !rest.is_empty() {
            let digits = rest.strip_prefix(['e', 'E']).ok_or(wrong("it is not only a number"))?;
            let (up, digits) = match digits.strip_prefix('-') {
                Some(digits) => (false, digits),
                None => (true, digits.strip_prefix('+').unwrap_or(digits)),
            };
            let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
            let exponent = digits.parse::<u32>().ok().filter(|exponent| plain && *exponent <= EXPONENT_MAX);
            let exponent = exponent.ok_or(wrong("the exponent is none, or too large"))?;
            let shift = if up { exponent.saturating_sub(number.places) } else { 0 };
            number.places =
                if up { number.places.saturating_sub(exponent) } else { number.places + exponent };
            let mantissa = number.mantissa.checked_mul(10i128.pow(shift));
            number.mantissa = mantissa.ok_or(wrong("the number is too large"))?;
            number = number.shortened();
            if number.places > FRACTION_MAX as u32 {
                return Err(wrong("the number has too many digits"));
            }
        }
        Ok(number)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.mantissa, self.places)
    }
}

/// Splits a text into its number and its unit (trimmed; empty when there is none).
pub(crate) fn split<'a>(text: &'a str, expected: &'static str) -> Result<(Decimal, &'a str), TextError> {
    let wrong = |what| TextError::new(text, what, expected);
    let text = text.trim();
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(rest.len());
    let (number, unit) = rest.split_at(end);
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) => return Err(wrong("digits are missing after the point")),
        Some((whole, fraction)) => (whole, fraction),
        None => (number, ""),
    };
    if whole.is_empty() {
        return Err(wrong("it does not begin with a number"));
    }
    if fraction.contains('.') {
        return Err(wrong("the number has two points"));
    }
    if whole.len() + fraction.len() > DIGITS_MAX || fraction.len() > FRACTION_MAX {
        return Err(wrong("the number has too many digits"));
    }
    let mut mantissa = 0i128;
    for digit in whole.bytes().chain(fraction.bytes()) {
        mantissa = mantissa * 10 + i128::from(digit - b'0');
    }
    let mantissa = if negative { -mantissa } else { mantissa };
    Ok((Decimal { mantissa, places: fraction.len() as u32 }, unit.trim()))
}

/// Finds the unit by its exact spelling.
pub(crate) fn find<'u>(
    text: &str,
    unit: &str,
    units: &'u [Unit],
    expected: &'static str,
) -> Result<&'u Unit, TextError> {
    units.iter().find(|known| known.text == unit).ok_or_else(|| {
        let what = if unit.is_empty() { "the unit is missing" } else { "the unit is not known here" };
        TextError::new(text, what, expected)
    })
}

/// `number * scale / size` in base units, half to even.
pub(crate) fn scaled(number: Decimal, scale: u128, size: u128) -> Option<i128> {
    mul_div(number.mantissa, scale, size.checked_mul(10u128.checked_pow(number.places)?)?)
}

/// Like [`scaled`] with size 1, but nothing when it does not come out whole.
pub(crate) fn whole(number: Decimal, size: u128) -> Option<i128> {
    let (mut size, mut places) = (size, number.places);
    // Tens in common go first, so that only what does not fit at all is refused.
    while places > 0 && size.is_multiple_of(10) {
        size /= 10;
        places -= 1;
    }
    let divisor = 10i128.pow(places);
    let product = number.mantissa.checked_mul(i128::try_from(size).ok()?)?;
    (product % divisor == 0).then(|| product / divisor)
}

/// `mantissa / 10^places` without trailing zeros.
pub(crate) fn write_decimal(out: &mut impl fmt::Write, mantissa: i128, places: u32) -> fmt::Result {
    let (mut size, mut places) = (mantissa.unsigned_abs(), places);
    while places > 0 && size % 10 == 0 {
        size /= 10;
        places -= 1;
    }
    if mantissa < 0 {
        out.write_char('-')?;
    }
    let scale = 10u128.pow(places);
    write!(out, "{}", size / scale)?;
    if places > 0 {
        write!(out, ".{:0width$}", size % scale, width = places as usize)?;
    }
    Ok(())
}

/// The shortest decimal that reads back as `base` base units of `1/scale`, per `size`: `base * size / scale`.
pub(crate) fn shortest(base: i128, scale: u128, size: u128) -> Option<Decimal> {
    for places in 0..=FRACTION_MAX as u32 {
        // base * size / scale in units of 10^-places.
        let factor = size.checked_mul(10u128.pow(places))?;
        let mantissa = mul_div(base, factor, scale)?;
        let number = Decimal { mantissa, places };
        if scaled(number, scale, size) == Some(base) {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn number(text: &str) -> Option<Decimal> {
        text.parse().ok()
    }

    #[test]
    fn numbers_of_providers_are_read_exactly() {
        for (text, plain) in [
            ("0.28000000000000000000", "0.28"),
            ("-16.7", "-16.7"),
            ("1e-05", "0.00001"),
            ("1.25E+2", "125"),
            ("1.25e1", "12.5"),
            ("120e-1", "12"),
            ("0", "0"),
            ("0e30", "0"),
        ] {
            assert_eq!(number(text).map(|number| number.to_string()).as_deref(), Some(plain), "{text}");
        }
        for text in
            ["", "-", "1.", ".5", "1e", "1e+", "1e31", "1e-31", "1 $", "1e5x", "--1", "1e--1", "1,5", "NaN"]
        {
            assert_eq!(number(text), None, "{text}");
        }
        assert!(number("0.000000000000000000000000000001").is_some(), "thirty places");
        assert_eq!(number("0.0000000000000000000000000000001"), None, "one more");
    }

    #[test]
    fn products_are_exact_or_refused() {
        let product = number("0.28").unwrap().checked_mul(number("1.25").unwrap()).unwrap();
        assert_eq!(product.to_string(), "0.35");
        assert_eq!(product.scaled(1_000, 3), Some(117));
        assert_eq!(number("0.5").unwrap().scaled(1, 1), Some(0), "half to even");
        assert_eq!(number("0.5").unwrap().scaled(1, 0), None);
        let fine = number("0.000000000000000000000000000001").unwrap();
        assert_eq!(fine.checked_mul(number("0.1").unwrap()), None);
        assert_eq!(fine.scaled(u128::MAX, 1), Some(340_282_367));
        let large = number("99999999999999999999").unwrap();
        assert_eq!(large.checked_mul(large), None);
    }
}

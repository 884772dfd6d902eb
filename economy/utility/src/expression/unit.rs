//! Dimensions, and the units that may stand behind a number.

use core::fmt;

/// Powers of dollars, operations, bytes and seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dimension(pub [i8; 4]);

impl Dimension {
    pub const NONE: Self = Self([0; 4]);
    pub const SECOND: Self = Self([0, 0, 0, 1]);
    pub const OPERATION_RATE: Self = Self([0, 1, 0, -1]);
    pub const BYTE_RATE: Self = Self([0, 0, 1, -1]);
    pub const DOLLAR_RATE: Self = Self([1, 0, 0, -1]);
    pub const PER_OPERATION: Self = Self([1, -1, 0, 0]);
    pub const PER_BYTE: Self = Self([1, 0, -1, 0]);

    pub fn times(self, other: Self, sign: i8) -> Self {
        let mut powers = self.0;
        for (power, other) in powers.iter_mut().zip(other.0) {
            *power = power.saturating_add(other.saturating_mul(sign));
        }
        Self(powers)
    }
}

impl fmt::Display for Dimension {
    /// `$/op`, `s`, `a number`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("a plain number");
        }
        let names = ["$", "op", "byte", "s"];
        let part = |f: &mut fmt::Formatter<'_>, sign: i8, mut separator: &'static str| {
            for (power, name) in self.0.iter().zip(names).filter(|(power, _)| **power * sign > 0) {
                write!(f, "{separator}{name}")?;
                if power.abs() > 1 {
                    write!(f, "^{}", power.abs())?;
                }
                separator = " ";
            }
            Ok(())
        };
        if self.0.iter().all(|power| *power <= 0) {
            f.write_str("1")?;
        }
        part(f, 1, "")?;
        if self.0.iter().any(|power| *power < 0) { part(f, -1, "/") } else { Ok(()) }
    }
}

const GBIT: f64 = 125e6;

/// How it is written, what one of it is, and its dimension. A longer one stands before one that begins it.
const UNITS: [(&str, f64, Dimension); 27] = [
    ("$/Mop", 1e-6, Dimension::PER_OPERATION),
    ("$/kop", 1e-3, Dimension::PER_OPERATION),
    ("$/Gop", 1e-9, Dimension::PER_OPERATION),
    ("$/op", 1.0, Dimension::PER_OPERATION),
    ("$/Gbit", 1.0 / GBIT, Dimension::PER_BYTE),
    ("$/Mbit", 1e3 / GBIT, Dimension::PER_BYTE),
    ("$/GB", 1e-9, Dimension::PER_BYTE),
    ("$/MB", 1e-6, Dimension::PER_BYTE),
    ("$/TB", 1e-12, Dimension::PER_BYTE),
    ("$/byte", 1.0, Dimension::PER_BYTE),
    ("$/(Mop s)", 1e-6, Dimension([1, -1, 0, -1])),
    ("$/(op s)", 1.0, Dimension([1, -1, 0, -1])),
    ("$/(Gbit s)", 1.0 / GBIT, Dimension([1, 0, -1, -1])),
    ("$/h", 1.0 / 3600.0, Dimension::DOLLAR_RATE),
    ("$/s", 1.0, Dimension::DOLLAR_RATE),
    ("$", 1.0, Dimension([1, 0, 0, 0])),
    ("ns", 1e-9, Dimension::SECOND),
    ("us", 1e-6, Dimension::SECOND),
    ("ms", 1e-3, Dimension::SECOND),
    ("s", 1.0, Dimension::SECOND),
    ("kop/s", 1e3, Dimension::OPERATION_RATE),
    ("Mop/s", 1e6, Dimension::OPERATION_RATE),
    ("op/s", 1.0, Dimension::OPERATION_RATE),
    ("MB/s", 1e6, Dimension::BYTE_RATE),
    ("GB/s", 1e9, Dimension::BYTE_RATE),
    ("Gbit/s", GBIT, Dimension::BYTE_RATE),
    ("%", 0.01, Dimension::NONE),
];

/// The unit at the begin of a text: its length, its size and its dimension.
pub(super) fn leading(text: &str) -> Option<(usize, f64, Dimension)> {
    let ends = |len: usize| !text[len..].starts_with(|letter: char| letter.is_ascii_alphanumeric());
    let fits = |unit: &&(&str, f64, Dimension)| text.starts_with(unit.0) && ends(unit.0.len());
    UNITS
        .iter()
        .filter(fits)
        .max_by_key(|unit| unit.0.len())
        .map(|(name, size, dimension)| (name.len(), *size, *dimension))
}

//! What a provider asks at one moment.

use crate::{PerByte, PerByteSecond, PerCoreNs};
use core::fmt;

/// One price a resource; `None` where none is known, which is not the same as free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Prices {
    /// Outbound bytes on the wire.
    pub bandwidth: Option<PerByte>,
    /// Core time.
    pub core: Option<PerCoreNs>,
    /// Memory held.
    pub memory: Option<PerByteSecond>,
}

impl Prices {
    /// Nothing known.
    pub const NONE: Self = Self { bandwidth: None, core: None, memory: None };

    /// Whether no price is known at all.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

impl fmt::Display for Prices {
    /// `bandwidth 10 $/Gbit, core 3 $/core/h`; what is unknown is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(rate) = self.bandwidth {
            write!(f, "bandwidth {rate}")?;
            separator = ", ";
        }
        if let Some(rate) = self.core {
            write!(f, "{separator}core {rate}")?;
            separator = ", ";
        }
        if let Some(rate) = self.memory {
            write!(f, "{separator}memory {rate}")?;
        }
        if self.is_none() { f.write_str("no price known") } else { Ok(()) }
    }
}

//! A plain promise, for owners who do not know what an operation is worth: `p99 < 1 ms`.
//!
//! It earns nothing, so the best setting is the cheapest; the promise itself is the tuner's hard limit on latency,
//! which no gain outweighs. Serving nothing would be cheapest of all and keep it: whoever promises must not allow that.

use crate::{Contract, LimitKind, TailRule};
use core::fmt;
use core::str::FromStr;
use nom_money::{Nano, PerOperation, parse_duration_ns, print_duration};

/// The 99th percentile of latency stays below the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// The limit.
    pub limit_ns: u64,
}

/// A text that is no promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromiseError;

impl fmt::Display for PromiseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected p99 < TIME, such as p99 < 1 ms")
    }
}

impl FromStr for Promise {
    type Err = PromiseError;

    fn from_str(text: &str) -> Result<Self, PromiseError> {
        let text = text.trim();
        let text = text.strip_prefix("slo ").unwrap_or(text).trim_start();
        let rest = text.strip_prefix("p99").map(str::trim_start).and_then(|rest| rest.strip_prefix('<'));
        let rest = rest.map(|rest| rest.strip_prefix('=').unwrap_or(rest)).ok_or(PromiseError)?;
        match parse_duration_ns(rest) {
            Ok(limit_ns @ 1..) => Ok(Self { limit_ns }),
            _ => Err(PromiseError),
        }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p99 < {}", print_duration(self.limit_ns))
    }
}

impl Promise {
    /// The contract under which the cheapest setting is the best; operations above the limit are counted.
    pub fn contract(&self) -> Contract {
        let kind = LimitKind::Penalty { limit_ns: self.limit_ns, factor: Nano(0), tail: TailRule::Counted };
        Contract::per_operation(PerOperation(0), kind)
    }
}

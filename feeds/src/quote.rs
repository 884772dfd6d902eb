//! A quote, and what is wrong with it.

use core::fmt;
use nom_abi::board::Resource;
use nom_money::{PerByte, PerByteSecond, PerCoreNs, Prices, print_duration};

const S: u64 = 1_000_000_000;

/// The price of one resource as a provider told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// What it is the price of.
    pub resource: Resource,
    /// Attodollars per unit of the board.
    pub atto_per_unit: i128,
    /// For how long it is valid after it was received.
    pub valid_ns: u64,
    /// When the provider says that it was set, since 1970; 0 when it does not say.
    pub provider_unix_ns: u64,
    /// The adapter that read it.
    pub source: &'static str,
}

impl Quote {
    /// The quotes of all known prices.
    pub fn all(prices: &Prices, like: Quote) -> impl Iterator<Item = Quote> {
        let quote = move |resource, atto: Option<i128>| {
            atto.map(|atto_per_unit| Quote { resource, atto_per_unit, ..like })
        };
        [
            quote(Resource::Bandwidth, prices.bandwidth.map(|rate| rate.0)),
            quote(Resource::Core, prices.core.map(|rate| rate.0)),
            quote(Resource::Memory, prices.memory.map(|rate| rate.0)),
        ]
        .into_iter()
        .flatten()
    }
}

/// What is believable. The defaults are three to five orders of magnitude above today's list prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Highest price of bytes; 1000 $/Gbit.
    pub bandwidth_max: PerByte,
    /// Highest price of core time; 1000 $/core/h.
    pub core_max: PerCoreNs,
    /// Highest price of memory; 100 $/GiB/h.
    pub memory_max: PerByteSecond,
    /// Whether a price may be below zero (electricity may be).
    pub negative: bool,
    /// Most times that a price may grow or shrink from one good quote to the next while that one is valid.
    pub jump_max: u32,
    /// Longest time since the provider set it; 366 days, because a price may well stand that long. Less for feeds
    /// that stamp every answer.
    pub age_max_ns: u64,
    /// Furthest that the provider's clock may be ahead of ours.
    pub ahead_max_ns: u64,
    /// Longest validity; a longer one is cut.
    pub valid_max_ns: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const ATTO: i128 = nom_money::ATTO;
        Self {
            bandwidth_max: PerByte(1000 * ATTO / 125_000_000),
            core_max: PerCoreNs(1000 * ATTO / 3_600_000_000_000),
            memory_max: PerByteSecond(100 * ATTO / ((1 << 30) * 3600)),
            negative: false,
            jump_max: 1000,
            age_max_ns: 366 * 24 * 3600 * S,
            ahead_max_ns: 300 * S,
            valid_max_ns: 24 * 3600 * S,
        }
    }
}

/// Why a quote is not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Below zero where that is not allowed.
    Negative(Resource),
    /// Above the limit.
    Absurd(Resource),
    /// Too many times the price before, or too small a part of it.
    Jump(Resource),
    /// Set too long ago.
    Stale {
        /// How long ago.
        age_ns: u64,
    },
    /// The provider's clock is ahead of ours.
    Ahead {
        /// By how much.
        ahead_ns: u64,
    },
    /// Older than what was accepted before: the provider's clock went back, or answers overtook each other.
    Older {
        /// By how much.
        by_ns: u64,
    },
    /// It is valid for no time.
    NoValidity,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |resource: &Resource| match resource {
            Resource::Bandwidth => "bandwidth",
            Resource::Core => "core",
            Resource::Memory => "memory",
        };
        match self {
            Self::Negative(resource) => write!(f, "the price of {} is negative", name(resource)),
            Self::Absurd(resource) => {
                write!(f, "the price of {} is above any believable one", name(resource))
            }
            Self::Jump(resource) => write!(f, "the price of {} jumped beyond belief", name(resource)),
            Self::Stale { age_ns } => write!(f, "it was set {} ago", print_duration(*age_ns)),
            Self::Ahead { ahead_ns } => {
                write!(f, "the provider's clock is {} ahead of ours", print_duration(*ahead_ns))
            }
            Self::Older { by_ns } => {
                write!(f, "it is {} older than the price before", print_duration(*by_ns))
            }
            Self::NoValidity => f.write_str("it is valid for no time"),
        }
    }
}

/// Checks a quote. `unix_ns` is our clock since 1970 (0 when it is not known; then age cannot be judged); `before`
/// is the last good quote of the same resource, while it is still valid.
pub fn check(quote: &Quote, limits: &Limits, unix_ns: u64, before: Option<&Quote>) -> Result<(), Refused> {
    let resource = quote.resource;
    let most = match resource {
        Resource::Bandwidth => limits.bandwidth_max.0,
        Resource::Core => limits.core_max.0,
        Resource::Memory => limits.memory_max.0,
    };
    if quote.atto_per_unit < 0 && !limits.negative {
        return Err(Refused::Negative(resource));
    }
    if quote.atto_per_unit.unsigned_abs() > most.unsigned_abs() {
        return Err(Refused::Absurd(resource));
    }
    if quote.valid_ns == 0 {
        return Err(Refused::NoValidity);
    }
    if quote.provider_unix_ns != 0 && unix_ns != 0 {
        let ahead_ns = quote.provider_unix_ns.saturating_sub(unix_ns);
        if ahead_ns > limits.ahead_max_ns {
            return Err(Refused::Ahead { ahead_ns });
        }
        let age_ns = unix_ns.saturating_sub(quote.provider_unix_ns);
        if age_ns > limits.age_max_ns {
            return Err(Refused::Stale { age_ns });
        }
    }
    let Some(before) = before else { return Ok(()) };
    if quote.provider_unix_ns != 0 && quote.provider_unix_ns < before.provider_unix_ns {
        return Err(Refused::Older { by_ns: before.provider_unix_ns - quote.provider_unix_ns });
    }
    let (old, new) = (before.atto_per_unit.unsigned_abs(), quote.atto_per_unit.unsigned_abs());
    let factor = u128::from(limits.jump_max);
    // To and from free there is no ratio; such a change is judged by the absolute limit alone.
    if old != 0 && new != 0 && (new / factor > old || old / factor > new) {
        return Err(Refused::Jump(resource));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quote(text: &str) -> Quote {
        Quote {
            resource: Resource::Bandwidth,
            atto_per_unit: text.parse::<PerByte>().unwrap().0,
            valid_ns: 60 * S,
            provider_unix_ns: 1_000_000 * S,
            source: "test",
        }
    }

    #[test]
    fn a_good_quote_passes_and_a_bad_one_says_why() {
        let limits = Limits { age_max_ns: 24 * 3600 * S, ..Limits::default() };
        let now = 1_000_010 * S;
        let good = quote("10 $/Gbit");
        let judge = |quote: Quote| check(&quote, &limits, now, Some(&good));
        assert_eq!(judge(quote("1 $/Gbit")), Ok(()));
        assert_eq!(judge(quote("0 $/Gbit")), Ok(()));
        assert_eq!(judge(quote("-1 $/Gbit")), Err(Refused::Negative(Resource::Bandwidth)));
        assert_eq!(judge(quote("1001 $/Gbit")), Err(Refused::Absurd(Resource::Bandwidth)));
        assert_eq!(judge(quote("0.009 $/Gbit")), Err(Refused::Jump(Resource::Bandwidth)));
        assert_eq!(judge(Quote { valid_ns: 0, ..good }), Err(Refused::NoValidity));
        let at = |unix_s| Quote { provider_unix_ns: unix_s * S, ..good };
        assert_eq!(judge(at(1_000_311)), Err(Refused::Ahead { ahead_ns: 301 * S }));
        assert_eq!(judge(at(999_999)), Err(Refused::Older { by_ns: S }));
        assert_eq!(judge(at(913_600)), Err(Refused::Stale { age_ns: 86_410 * S }));
        assert_eq!(check(&at(913_600), &limits, 0, None), Ok(()), "without a clock age is not judged");
        assert_eq!(check(&quote("0.009 $/Gbit"), &limits, now, None), Ok(()));
    }
}

//! What a cache's owner allows its clients.

use super::{ConfigurationError, Lines, bytes, duration, shown};
use alloc::format;
use alloc::string::{String, ToString};
use nom_money::PerOperation;
use nom_tuner::Sizing;

/// What is allowed, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// Most memory for items that a client may ask for while the cache serves.
    pub items_bytes_max: usize,
    /// Between which sizes the price of memory decides; none where it does not.
    pub sizing: Option<Sizing>,
    /// What has no room makes others leave; otherwise it is refused.
    pub evicts: bool,
    /// Seconds between two pieces of a value; 0 for ever.
    pub sender_limit_s: u32,
    /// Seconds of silence; 0 for ever.
    pub idle_limit_s: u32,
    /// Items past their time are looked for.
    pub crawls: bool,
    /// `flush_all`.
    pub flush: bool,
    /// `watch`.
    pub watch: bool,
    /// `debugtime`.
    pub move_time: bool,
}

pub(super) fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("'{}': yes or no is expected", shown(text))),
    }
}

impl Lines<'_> {
    pub(super) fn allowed(&self, items_bytes: usize) -> Result<Allowed, ConfigurationError> {
        let seconds = |ns: u64| ns.div_ceil(1_000_000_000) as u32;
        let most = self.optional("memory.items.max", bytes(64 << 10, 64 << 30))?.unwrap_or(items_bytes);
        if most < items_bytes {
            return Err(self.wrong("memory.items.max", "it cannot be less than memory.items"));
        }
        let least = self.optional("memory.items.min", bytes(64 << 10, 64 << 30))?;
        let miss = self
            .optional("miss.cost", |text| text.parse::<PerOperation>().map_err(|error| error.to_string()))?;
        let sizing = match (least, miss) {
            (None, None) => None,
            (Some(least), Some(miss)) if least <= items_bytes && miss.0 >= 0 => {
                Some(Sizing { least_bytes: least as u64, most_bytes: most as u64, miss })
            }
            (Some(_), Some(miss)) if miss.0 < 0 => {
                return Err(self.wrong("miss.cost", "it cannot be negative"));
            }
            (Some(_), Some(_)) => {
                return Err(self.wrong("memory.items.min", "it cannot be more than memory.items"));
            }
            (Some(_), None) => return Err(self.wrong("memory.items.min", "it needs miss.cost beside it")),
            (None, Some(_)) => return Err(self.wrong("miss.cost", "it needs memory.items.min beside it")),
        };
        Ok(Allowed {
            items_bytes_max: most,
            sizing,
            evicts: self.value("memory.full", "evict", |text| match text {
                "evict" => Ok(true),
                "refuse" => Ok(false),
                _ => Err(format!("'{}': evict or refuse is expected", shown(text))),
            })?,
            sender_limit_s: seconds(self.value("sender.limit", "30 s", duration(0, 3_600_000_000_000))?),
            idle_limit_s: seconds(self.value("idle.limit", "0 s", duration(0, 86_400_000_000_000))?),
            crawls: self.value("memory.crawl", "yes", yes_or_no)?,
            flush: self.value("commands.flush", "yes", yes_or_no)?,
            watch: self.value("commands.watch", "yes", yes_or_no)?,
            move_time: self.value("commands.debugtime", "no", yes_or_no)?,
        })
    }
}

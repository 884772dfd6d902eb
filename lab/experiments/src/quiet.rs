//! How busy the machine is with work that is not ours: a disturbed measurement is marked, not believed.

/// Processor time of the whole machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    busy: u64,
    stolen: u64,
    total: u64,
}

impl Sample {
    /// The present counts; `None` where `/proc` is not as expected.
    pub fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line.split_whitespace().take(8).filter_map(|word| word.parse().ok()).collect();
        let [_, _, _, idle, waiting, ..] = ticks[..] else { return None };
        let total = ticks.iter().sum::<u64>();
        let stolen = ticks.get(7).copied().unwrap_or(0);
        Some(Self { busy: total - idle - waiting, stolen, total })
    }

    /// The share of all processors that was busy since then, from 0 to 1.
    pub fn busy_since(self, before: Sample) -> f64 {
        self.share(self.busy.saturating_sub(before.busy), before)
    }

    /// The share of all processors that the hypervisor kept for others since then, from 0 to 1.
    pub fn stolen_since(self, before: Sample) -> f64 {
        self.share(self.stolen.saturating_sub(before.stolen), before)
    }

    fn share(self, ticks: u64, before: Sample) -> f64 {
        let total = self.total.saturating_sub(before.total);
        if total == 0 { 0.0 } else { ticks as f64 / total as f64 }
    }
}

/// What the hypervisor kept for others while something was done: its share of all processors.
pub fn stolen_during<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let before = Sample::now();
    let done = work();
    match (before, Sample::now()) {
        (Some(before), Some(after)) => (done, after.stolen_since(before)),
        _ => (done, 0.0),
    }
}

/// Looks for this long how busy the machine is while we do nothing.
pub fn foreign_load(look: std::time::Duration) -> f64 {
    let before = Sample::now();
    std::thread::sleep(look);
    match (before, Sample::now()) {
        (Some(before), Some(after)) => after.busy_since(before),
        _ => 0.0,
    }
}

/// Waits for quiet: until less than `share` of the machine is busy, at most `tries` looks of `look`. Returns the
/// last look, so that a run that was measured in noise can say so.
pub fn wait_for_quiet(share: f64, look: std::time::Duration, tries: u32) -> f64 {
    let mut load = foreign_load(look);
    for _ in 1..tries {
        if load < share {
            break;
        }
        load = foreign_load(look);
    }
    load
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_all_processors() {
        let before = Sample::parse("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 x").unwrap();
        let after = Sample::parse("cpu  150 0 130 750 150 0 0 20 0 0\n").unwrap();
        assert_eq!((after.busy_since(before), after.stolen_since(before)), (0.5, 0.1));
        assert_eq!(before.busy_since(before), 0.0);
        assert!(Sample::parse("nonsense").is_none());
    }
}

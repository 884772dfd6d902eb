//! How far a figure may be off: below that, two settings cannot be told apart.

use core::fmt;

/// For each kind of figure the part of it that is noise. Figures are measured apart and differ in how steady they are:
/// a latency may vary by a fifth where the bytes of an operation vary by a thousandth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// Of what can be served at most.
    pub throughput: f64,
    /// Of bytes, useful ones and those on the wire.
    pub bytes: f64,
    /// Of core time.
    pub cores: f64,
    /// Of memory.
    pub memory: f64,
    /// Of latencies: mean, deviation, quantiles.
    pub latency: f64,
}

impl Noise {
    /// The names in text, in the order of [`Noise::parts`].
    pub(crate) const NAMES: [&str; 5] = ["throughput", "bytes", "cores", "memory", "latency"];

    /// The same for all figures.
    pub const fn same(part: f64) -> Self {
        Self { throughput: part, bytes: part, cores: part, memory: part, latency: part }
    }

    /// At least so many times another one, never all of a figure.
    pub fn at_least(&self, other: &Self, times: f64) -> Self {
        const MOST: f64 = 0.9;
        let more = |this: f64, other: f64| this.max((other * times).min(MOST));
        Self {
            throughput: more(self.throughput, other.throughput),
            bytes: more(self.bytes, other.bytes),
            cores: more(self.cores, other.cores),
            memory: more(self.memory, other.memory),
            latency: more(self.latency, other.latency),
        }
    }

    /// From parts in the order of the names.
    pub(crate) const fn of([throughput, bytes, cores, memory, latency]: [f64; 5]) -> Self {
        Self { throughput, bytes, cores, memory, latency }
    }

    /// In the order of the names.
    pub(crate) const fn parts(&self) -> [f64; 5] {
        [self.throughput, self.bytes, self.cores, self.memory, self.latency]
    }
}

impl fmt::Display for Noise {
    /// As it stands in a file of points.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, part)) in Self::NAMES.iter().zip(self.parts()).enumerate() {
            write!(f, "{}{name}={part}", if place == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

//! One block of a measurement, and all blocks of a setting.

use nom_load::tally::Tally;
use nom_points::Setting;

/// How load comes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// Arrivals do not wait for answers.
    Open {
        /// Requests a second.
        per_s: f64,
    },
    /// Arrivals that are more than can be served: what is answered is what can be served at most. (In a closed loop
    /// it would be the outstanding requests over the latency, which a batching delay alone decides.)
    Flood,
}

/// What one block gave. Figures of the server are of a stretch in which the load was steady.
#[derive(Debug, Clone)]
pub struct Block {
    /// What the clients counted, with latencies from the intended time.
    pub tally: Tally,
    /// Answers a second that they got.
    pub per_s: f64,
    /// The stretch.
    pub span_ns: u64,
    /// Accepted operations in it.
    pub operations: u64,
    /// Bytes that were sent, on the wire.
    pub wire_bytes: u64,
    /// Core time that was used.
    pub core_ns: u64,
    /// Sum of the latencies as the server saw them.
    pub latency_sum_ns: u64,
    /// Memory that it held.
    pub memory_bytes: u64,
}

impl Block {
    /// A line for the person who waits.
    pub fn line(&self, load: Load) -> String {
        match load {
            Load::Flood => format!("flooded: {:.0} op/s", self.per_s),
            Load::Open { per_s } => format!(
                "{per_s:.0} op/s: mean {:.0} us, p99 {:.0} us, {:.3} cores",
                self.tally.latency_ns.mean() / 1e3,
                self.tally.quantile_ns(0.99) as f64 / 1e3,
                self.cores(),
            ),
        }
    }

    /// Cores in use.
    pub fn cores(&self) -> f64 {
        self.core_ns as f64 / self.span_ns.max(1) as f64
    }

    /// Bytes of an operation.
    pub fn wire_bytes_each(&self) -> f64 {
        self.wire_bytes as f64 / self.operations.max(1) as f64
    }

    /// Mean latency as the server saw it.
    pub fn seen_mean_ns(&self) -> f64 {
        self.latency_sum_ns as f64 / self.operations.max(1) as f64
    }
}

/// All blocks of one setting.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The setting.
    pub setting: Setting,
    /// Blocks of the open loop.
    pub open: Vec<Block>,
    /// Answers a second of each block under a flood.
    pub capacities: Vec<f64>,
}

impl Seen {
    /// Nothing yet.
    pub fn new(setting: Setting) -> Self {
        Self { setting, open: Vec::new(), capacities: Vec::new() }
    }

    /// One more.
    pub fn take(&mut self, load: Load, block: Block) {
        match load {
            Load::Open { .. } => self.open.push(block),
            Load::Flood => self.capacities.push(block.per_s),
        }
    }

    /// A figure of every block of the open loop.
    pub fn each(&self, figure: impl Fn(&Block) -> f64) -> Vec<f64> {
        self.open.iter().map(figure).collect()
    }

    /// All answers of the open loop.
    pub fn tally(&self) -> Tally {
        let mut all = Tally::default();
        for block in &self.open {
            all.add(&block.tally);
        }
        all
    }
}

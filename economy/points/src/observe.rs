//! What is seen while a setting is in force.

/// What was seen during one window under one setting and one load.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Measured {
    /// How long the window was.
    pub window_ns: u64,
    /// Accepted operations in it.
    pub operations: u64,
    /// Requests that came in it, answered or not: more than were answered says that the core drowns. Never taken to be
    /// fewer than the operations.
    pub arrived: u64,
    /// Useful bytes in it.
    pub useful_bytes: u64,
    /// Outbound bytes on the wire.
    pub wire_bytes: u64,
    /// Core time used.
    pub core_ns: u64,
    /// Memory held.
    pub memory_bytes: u64,
    /// Operations whose latency is known.
    pub measured: u64,
    /// Of these, above the contract's limit.
    pub late: u64,
    /// Mean latency of them.
    pub mean_ns: f64,
    /// Their standard deviation.
    pub jitter_ns: f64,
    /// How long frames waited at least, by how many were counted waiting and how many came: no clock had a part in it.
    /// 0 where too few were counted to say anything.
    pub counted_ns: f64,
}

impl Measured {
    /// Operations a second.
    pub fn operations_per_s(&self) -> f64 {
        self.per_s(self.operations)
    }

    /// Requests that came in a second.
    pub fn arrivals_per_s(&self) -> f64 {
        self.per_s(self.arrived.max(self.operations))
    }

    /// Any count of the window, a second.
    pub fn per_s(&self, count: u64) -> f64 {
        if self.window_ns == 0 { 0.0 } else { count as f64 * 1e9 / self.window_ns as f64 }
    }
}

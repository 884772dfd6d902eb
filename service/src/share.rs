//! What several cores of one application count together.
//!
//! One core leads: it has the ledger, the prices, the tuner and the management channel. The others serve, do as the leader's
//! knobs say, and tell what they count. So there is one contract, one decision and one window for all of them.

use nom_stack::meter::Meter;

/// What a core has counted since its start, and its connections now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share {
    /// Operations and latencies.
    pub meter: Meter,
    /// Bytes of answers, sent for the first time.
    pub payload_out: u64,
    /// Frames that came, and their bytes.
    pub frames_in: u64,
    /// The bytes.
    pub bytes_in: u64,
    /// Frames that left, and their bytes.
    pub frames_out: u64,
    /// The bytes.
    pub bytes_out: u64,
    /// Frames that another core, or this one, had no room for.
    pub frames_lost: u64,
    /// Times at which the device was told of frames.
    pub kicks: u64,
    /// Segments that were sent again.
    pub retransmitted_segments: u64,
    /// Times at which it slept.
    pub sleeps: u64,
    /// Core time.
    pub core_ns: u64,
    /// Connections that are open.
    pub connections: u32,
    /// Connections that were cut at the end.
    pub cut: u64,
}

impl Share {
    /// Adds what another core has.
    pub fn add(&mut self, other: &Self) {
        self.meter.add(&other.meter);
        for (sum, more) in [
            (&mut self.payload_out, other.payload_out),
            (&mut self.frames_in, other.frames_in),
            (&mut self.bytes_in, other.bytes_in),
            (&mut self.frames_out, other.frames_out),
            (&mut self.bytes_out, other.bytes_out),
            (&mut self.frames_lost, other.frames_lost),
            (&mut self.kicks, other.kicks),
            (&mut self.retransmitted_segments, other.retransmitted_segments),
            (&mut self.sleeps, other.sleeps),
            (&mut self.core_ns, other.core_ns),
            (&mut self.cut, other.cut),
        ] {
            *sum += more;
        }
        self.connections += other.connections;
    }
}

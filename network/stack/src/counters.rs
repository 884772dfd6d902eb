//! Counters that explain: what went over the wire, what was copied, why a batch ended, why a frame was dropped.

/// Why frames that had gathered moved on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Nothing is held: run to completion.
    Immediate,
    /// What was queued was taken, or shown, at once (IX's rule).
    Queued,
    /// The oldest had waited for the batching delay.
    Delay,
    /// The batch reached its bound.
    Bound,
    /// The ring was about to overflow, or full.
    Ring,
    /// Nothing more could come: see [`crate::knobs::Early`].
    Early,
}

/// Kinds of [`Flush`].
pub const FLUSHES: usize = 6;

/// Why a frame was not acted upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drop {
    /// Shorter or otherwise less than its own headers say.
    Malformed,
    /// Not for our Ethernet or IP address, or from an address that nobody can have.
    NotForUs,
    /// A protocol that is not spoken here.
    Protocol,
    /// A piece of a larger packet.
    Fragment,
    /// A wrong checksum.
    Checksum,
    /// A TCP segment outside of the window or that makes no sense in the connection's state.
    Unacceptable,
    /// A TCP segment of no connection.
    NoConnection,
    /// No record for another connection, or no knob allows it.
    NoRecord,
    /// No receive memory to keep it.
    NoMemory,
    /// The sending ring was full and the frame was one that need not arrive.
    RingFull,
    /// More answers of this kind than the bound for this time allows.
    RateLimited,
    /// The neighbour's Ethernet address is not known.
    Unresolved,
    /// An opening from an address that may not ([`crate::admission`]).
    Denied,
    /// An extension header of IPv6 that asks for what is not done here.
    Extension,
    /// A datagram for a port that nobody bound.
    NoPort,
}

/// Kinds of [`Drop`].
pub const DROPS: usize = 15;

/// Everything counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames taken from the device.
    pub frames_in: u64,
    /// Bytes of those, Ethernet headers included.
    pub bytes_in: u64,
    /// Frames handed to the device.
    pub frames_out: u64,
    /// Bytes of those, Ethernet headers included, acknowledgements and retransmissions too: what is billed.
    pub bytes_out: u64,
    /// Payload bytes that were handed to applications for the first time.
    pub payload_in: u64,
    /// Payload bytes that were sent for the first time.
    pub payload_out: u64,
    /// Times at which queued frames were shown to the device.
    pub flushes_out: u64,
    /// Those of them that had to notify it.
    pub kicks: u64,
    /// Bytes that were copied because an application did not consume them, or because they came out of order.
    pub copied_in_bytes: u64,
    /// Bytes that applications wrote inline.
    pub copied_out_bytes: u64,
    /// Received batches, by the reason for which they moved on.
    pub batches_in: [u64; FLUSHES],
    /// Frames in received batches.
    pub batched_frames_in: u64,
    /// Sent batches, by the reason for which they were shown to the device.
    pub batches_out: [u64; FLUSHES],
    /// Data segments that carried bytes sent before.
    pub retransmitted_segments: u64,
    /// Recoveries begun by duplicate acknowledgements.
    pub fast_retransmissions: u64,
    /// Last segments sent again to learn whether they arrived.
    pub tail_probes: u64,
    /// Time-outs that came before what was sent had its time, and were taken back.
    pub early_timeouts: u64,
    /// Retransmission time-outs.
    pub timeouts: u64,
    /// Probes of closed windows.
    pub window_probes: u64,
    /// Acknowledgements that carried nothing else.
    pub pure_acks_out: u64,
    /// Segments that came out of order and were kept.
    pub out_of_order: u64,
    /// Segments whose time stamp was older than one that came long before.
    pub old_duplicates: u64,
    /// Times at which marks of congestion made a connection slower.
    pub congestion_echoes: u64,
    /// Times at which a path turned out to take smaller packets.
    pub path_narrowings: u64,
    /// Silent peers asked whether they are there.
    pub keep_alives: u64,
    /// Challenge acknowledgements (RFC 5961).
    pub challenges: u64,
    /// Resets sent.
    pub resets_out: u64,
    /// Connections that others opened.
    pub accepted: u64,
    /// Connections that this side opened.
    pub connected: u64,
    /// Openings answered by a SYN cookie.
    pub cookies_sent: u64,
    /// Connections established from a SYN cookie.
    pub cookies_accepted: u64,
    /// Connections that ended, in whichever way.
    pub ended: u64,
    /// Addresses that we wanted and that somebody else has.
    pub addresses_taken: u64,
    /// Datagrams that arrived for a port.
    pub datagrams_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Connections taken out to go on elsewhere.
    pub exported: u64,
    /// Connections put in that began elsewhere.
    pub imported: u64,
    /// Frames not acted upon, by reason.
    pub drops: [u64; DROPS],
}

impl Counters {
    /// Frames not acted upon for this reason.
    pub fn dropped(&self, reason: Drop) -> u64 {
        self.drops[reason as usize]
    }

    pub(crate) fn drop(&mut self, reason: Drop) {
        self.drops[reason as usize] += 1;
    }
}

//! What is settled when a stack starts: who it is and how much memory it may use.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::admission::Admission;

/// Who decides how fast to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CongestionControl {
    /// RFC 9438: back at the old window soon and then carefully, whatever the round trip.
    #[default]
    Cubic,
    /// RFC 5681 and 6582: a segment a round trip.
    NewReno,
}

/// Where our IPv6 address comes from, beside the one of the link, which is made from the Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address6 {
    /// It is this one, and no router is believed.
    Static {
        /// The address.
        address: Ipv6Addr,
        /// How many leading bits of addresses are the same on our link.
        prefix_len: u8,
    },
    /// From a prefix that a router tells (RFC 4862).
    Automatic,
}

/// How IPv6 is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config6 {
    /// Where our address comes from.
    pub address: Address6,
    /// Who forwards what is not on our link, until a router says otherwise.
    pub gateway: Option<Ipv6Addr>,
}

/// Whether something is agreed on with the other side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Agreement {
    /// Neither asked for nor answered.
    #[default]
    Never,
    /// When the other side asks for it.
    WhenAsked,
    /// Asked for as well.
    Always,
}

/// Who the stack is, and its bounds. All memory is allocated from these when the engine is made, except connection
/// records, which are allocated in pages as connections appear, up to the bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Our Ethernet address.
    pub mac: [u8; 6],
    /// Our IPv4 address.
    pub address: Ipv4Addr,
    /// How many leading bits of addresses are the same on our link.
    pub prefix_len: u8,
    /// Who forwards what is not on our link. Without one such destinations have no route.
    pub gateway: Option<Ipv4Addr>,
    /// Connection records, half-open and lingering ones included. When all are taken, the longest lingering
    /// (TIME-WAIT) one makes room; without any, an opening is ignored.
    pub connections: u32,
    /// Half-open passive connections that are remembered. Beyond them openings are answered by SYN cookies,
    /// which remember nothing.
    pub half_open: u32,
    /// Connections that linger in TIME-WAIT. Beyond it the oldest is forgotten.
    pub time_wait: u32,
    /// Memory for bytes that applications wrote and that are not acknowledged yet, all connections together.
    /// When it is used up, [`crate::application::Io::write`] answers `NoRoom`.
    pub send_memory_bytes: usize,
    /// Memory for bytes that arrived out of order or that applications did not consume, all connections
    /// together. When it is used up, such segments are dropped and come again.
    pub receive_memory_bytes: usize,
    /// Most bytes one connection may have written and not acknowledged; one pin may go beyond it, and what ends the
    /// answer behind that, at most 2 KiB.
    pub send_queue_bytes: u32,
    /// Window of one connection: most bytes it may hold that its application did not consume.
    pub receive_window_bytes: u32,
    /// What a retransmission time-out adds to the round trip at least. RFC 6298 says a second in all; everybody uses less,
    /// and 200 ms clears every delayed acknowledgement that is in use.
    pub retransmission_min_ns: u64,
    /// Most retransmission time-out.
    pub retransmission_max_ns: u64,
    /// Time-outs without any progress after which a connection is given up.
    pub retransmissions_max: u8,
    /// How long an ordered close lingers (2 MSL).
    pub time_wait_ns: u64,
    /// How long a half-closed connection waits for the other side's end after ours was acknowledged.
    pub finish_wait_ns: u64,
    /// Initial congestion window in segments (RFC 6928).
    pub initial_window_segments: u32,
    /// Who decides how fast to send.
    pub congestion_control: CongestionControl,
    /// Who may open connections.
    pub admission: Admission,
    /// IPv6, where it is spoken. It takes some 300 KiB.
    pub ipv6: Option<Config6>,
    /// Time stamps (RFC 7323): 12 bytes in every segment and the long way through the stack. They pay where sequence
    /// numbers come round within minutes, which takes hundreds of Mbit/s on one connection all the time.
    pub time_stamps: Agreement,
    /// Marks of congestion (RFC 3168): no bytes, but the long way through the stack.
    pub congestion_marks: Agreement,
}

impl Config {
    /// An ordinary stack with this identity: up to 10,000 connections, 2 MiB of buffers in all.
    pub fn new(mac: [u8; 6], address: Ipv4Addr, prefix_len: u8) -> Self {
        Self {
            mac,
            address,
            prefix_len,
            gateway: None,
            connections: 12_000,
            half_open: 512,
            time_wait: 1_000,
            send_memory_bytes: 1 << 20,
            receive_memory_bytes: 1 << 20,
            send_queue_bytes: 128 << 10,
            receive_window_bytes: 65_535,
            retransmission_min_ns: 200_000_000,
            retransmission_max_ns: 60_000_000_000,
            retransmissions_max: 10,
            time_wait_ns: 30_000_000_000,
            finish_wait_ns: 60_000_000_000,
            initial_window_segments: 10,
            congestion_control: CongestionControl::default(),
            admission: Admission::default(),
            ipv6: None,
            time_stamps: Agreement::Never,
            congestion_marks: Agreement::WhenAsked,
        }
    }
}

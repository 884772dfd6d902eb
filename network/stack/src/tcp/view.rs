//! Connections as a person sees them.

use core::net::IpAddr;

use super::Tcp;
use super::connection::{NEVER, State};
use crate::application::ConnectionId;

/// A connection at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Its name.
    pub id: ConnectionId,
    /// The other side.
    pub peer: IpAddr,
    /// The other side's port.
    pub peer_port: u16,
    /// Our port.
    pub port: u16,
    /// This side opened it.
    pub outgoing: bool,
    /// As RFC 9293 calls it, in lower case.
    pub state: &'static str,
    /// Payload of the largest segment that is sent.
    pub segment_max: u16,
    /// Bytes that may be on their way at a time.
    pub congestion_window: u32,
    /// The smoothed round trip; 0 before the first measurement.
    pub round_trip_ns: u64,
    /// The shortest round trip; 0 before the first measurement.
    pub round_trip_least_ns: u64,
    /// Bytes sent and not acknowledged.
    pub in_flight: u32,
    /// Bytes that the application wrote and that are not acknowledged, sent or not.
    pub queued: u32,
    /// Bytes received that the application did not consume.
    pub unread: u32,
    /// Bytes that the other side has acknowledged since the connection is in this stack, modulo 2^32.
    pub sent: u32,
    /// Time-outs since anything was heard.
    pub retries: u8,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::SynSent => "syn-sent",
            Self::SynReceived => "syn-received",
            Self::Established => "established",
            Self::FinWait1 => "fin-wait-1",
            Self::FinWait2 => "fin-wait-2",
            Self::CloseWait => "close-wait",
            Self::Closing => "closing",
            Self::LastAck => "last-ack",
            Self::TimeWait => "time-wait",
        }
    }
}

impl Tcp {
    /// The connection in the first used place from this one on.
    pub(crate) fn view(&self, from: u32) -> Option<View> {
        let slot = (from..self.table.len()).find(|&slot| self.table.get(slot).state.is_used())?;
        let connection = self.table.get(slot);
        let known = |ns: u64| if ns == NEVER { 0 } else { ns };
        Some(View {
            id: self.id(slot),
            peer: self.address_of(connection.key.remote),
            peer_port: connection.key.remote_port,
            port: connection.key.local_port,
            outgoing: connection.outgoing,
            state: connection.state.name(),
            segment_max: connection.segment_max,
            congestion_window: connection.congestion_window,
            round_trip_ns: connection.smoothed_ns,
            round_trip_least_ns: known(connection.least_ns),
            in_flight: connection.max.since(connection.una),
            queued: connection.queue.bytes(),
            unread: connection.held.ready(),
            sent: connection.una.since(connection.first),
            retries: connection.retries,
        })
    }
}

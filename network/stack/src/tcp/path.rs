//! The largest packet that gets through. Nothing that we send may be cut, so a link that is narrower than ours says so
//! (RFC 1191), or says nothing and swallows (a black hole, found by time-outs). Wider ones are tried again later.

use super::connection::Connection;
use super::sequence::Seq;
use super::timeline::Stamp;
use super::{Tcp, World};
use crate::application::Application;
use crate::port::Egress;
use crate::wire::{ipv4, tcp};

/// Nobody is believed who says that a path takes less than this (what Linux believes): it would make us send headers.
const MTU_LEAST: u16 = 552;
/// Common limits, for routers that do not say theirs (RFC 1191, 7).
const PLATEAUS: [u16; 7] = [8166, 4352, 2002, 1492, 1006, 552, 0];
/// When larger packets are tried again (RFC 1191, 6.3).
const AGAIN_NS: u64 = 600_000_000_000;
/// Payloads that are tried when nothing of larger ones arrives, and after how many time-outs.
const FALLBACKS: [(u8, u16); 2] = [(2, 1024), (4, 512)];

impl Tcp {
    /// A router could not pass a packet of ours on. It quotes what we sent: only what is outstanding is believed, which
    /// nobody knows who does not see our packets (RFC 5927, 7).
    pub(crate) fn packet_too_big<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        sequence: Seq,
        (mtu, packet_len): (u16, u16),
    ) -> bool {
        let connection = self.table.at(slot);
        let outstanding = !sequence.before(connection.una) && sequence.before(connection.max);
        if !connection.state.is_open() || !outstanding {
            return false;
        }
        let mtu = match mtu {
            0 => PLATEAUS.into_iter().find(|&plateau| plateau < packet_len).unwrap_or(0),
            known => known,
        };
        let overhead = ipv4::HEADER as u16 + tcp::HEADER as u16 + u16::from(connection.stamp_len());
        let segment_max = mtu.max(MTU_LEAST) - overhead;
        if segment_max >= connection.segment_max {
            return false;
        }
        connection.narrow(segment_max, world.now_ns);
        connection.repeat_in_smaller_pieces();
        world.out.counters.path_narrowings += 1;
        self.make_due(slot);
        true
    }
}

impl Connection {
    /// Sends smaller segments from now on.
    fn narrow(&mut self, segment_max: u16, now_ns: u64) {
        if self.segment_max <= segment_max {
            return;
        }
        if self.segment_agreed == 0 {
            self.segment_agreed = self.segment_max;
        }
        self.segment_max = segment_max;
        self.narrowed_s = (now_ns / 1_000_000_000) as u32;
    }

    /// Nothing of what is outstanding counts as lost for congestion's sake: it was too long.
    fn repeat_in_smaller_pieces(&mut self) {
        self.complete_timeline();
        self.recovering = true;
        self.timed_out = true;
        self.resend = true;
        self.recover = self.max;
        self.timed = false;
        self.tail_probe = None;
        self.timeline.set(self.una, self.una, self.max, Stamp::LOST);
    }

    /// After time-outs without any progress: perhaps large packets vanish on the way.
    pub(super) fn suspect_path(&mut self, now_ns: u64) {
        let outstanding = self.max.since(self.una);
        let suspect = FALLBACKS.iter().find(|(retries, _)| *retries == self.retries);
        if let Some(&(_, segment_max)) = suspect
            && outstanding > u32::from(segment_max)
        {
            self.narrow(segment_max, now_ns);
        }
    }

    /// The path may have become wider by now.
    pub(super) fn widen_again(&mut self, now_ns: u64) {
        if self.segment_agreed != 0
            && now_ns.saturating_sub(u64::from(self.narrowed_s) * 1_000_000_000) > AGAIN_NS
        {
            self.segment_max = self.segment_agreed;
            self.segment_agreed = 0;
        }
    }
}

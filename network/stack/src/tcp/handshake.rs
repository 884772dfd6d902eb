//! Openings: passive, by cookie, active, simultaneous (RFC 9293, 3.10.7.2 - 3.10.7.4).

use core::net::Ipv4Addr;

use super::connection::{Connection, Extras, State};
use super::sequence::Seq;
use super::table::Key;
use super::{From, Tcp, World, peers};
use crate::application::{Application, ConnectionId, Ended};
use crate::config::Agreement;
use crate::counters::Drop;
use crate::engine::ConnectError;
use crate::port::Egress;
use crate::tcp::secrets::COOKIE_PERIOD_NS;
use crate::wire::tcp::{ACK, Header, Options, RST, SYN, Segment};
use crate::wire::{ipv4, tcp};

/// First local port of active openings, and how many there are (RFC 6335).
const PORT_FIRST: u16 = 49_152;
const PORTS: u16 = 16_384;
/// Local ports tried for one opening.
const PORT_TRIES: u16 = 64;
/// Segment size of a peer that does not say one (RFC 9293, 3.7.1), and the least that is believed: a smaller one
/// would only make us send headers.
const SEGMENT_DEFAULT: u16 = 536;
const SEGMENT_LEAST: u16 = 64;

impl Tcp {
    /// Payload of the largest segment that fits our link.
    pub(super) fn segment_limit(&self) -> u16 {
        self.segment_limit
    }

    /// The same for a link whose packets have so many bytes at most.
    pub(super) fn segment_limit_of(mtu: usize) -> u16 {
        let payload = mtu.saturating_sub(ipv4::HEADER + tcp::HEADER);
        payload.clamp(usize::from(SEGMENT_LEAST), usize::from(u16::MAX)) as u16
    }

    /// How far our windows are shifted when the other side agrees.
    fn shift_wanted(&self) -> u8 {
        let bits = 32 - self.config.receive_window_bytes.leading_zeros();
        bits.saturating_sub(16).min(14) as u8
    }

    pub(super) fn open_passively<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        from: From,
        segment: &Segment<'_>,
    ) {
        if !self.config.admission.admits(self.address_of(from.address.to_bits())) {
            world.out.counters.drop(Drop::Denied);
            return;
        }
        if self.incoming >= self.connections_max {
            world.out.counters.drop(Drop::NoRecord);
            self.refuse(world, from, segment);
            return;
        }
        let key = Key {
            remote: from.address.to_bits(),
            remote_port: segment.source_port,
            local_port: segment.destination_port,
        };
        if self.half_open >= self.config.half_open {
            self.send_cookie(world, from, segment, key);
            return;
        }
        let Some(slot) = self.take_record(key) else {
            world.out.counters.drop(Drop::NoRecord);
            return;
        };
        self.half_open += 1;
        let initial = self.secrets.initial_sequence(key, world.now_ns);
        let options = Self::options(segment);
        self.begin(slot, initial, State::SynReceived);
        let terms = self.terms.of_port(key.local_port);
        let connection = self.table.at(slot);
        connection.mac = from.mac;
        connection.resolved = true;
        connection.terms = terms;
        self.agree(slot, segment, &options, world.now_ns);
        self.make_due(slot);
    }

    /// A record for a new connection; the longest lingering one makes room.
    pub(super) fn take_record(&mut self, key: Key) -> Option<u32> {
        if self.table.used() >= self.table.bound() {
            self.forget_oldest_lingering();
        }
        if peers::is_name(key.remote) && !self.peers.as_mut()?.keep(key.remote) {
            return None;
        }
        let slot = self.table.insert(&self.secrets, key);
        if slot.is_none() {
            self.release_name(key.remote);
        }
        slot
    }

    /// Gives a record back.
    pub(super) fn free_record(&mut self, slot: u32) {
        let remote = self.table.get(slot).key.remote;
        self.table.remove(&self.secrets, slot);
        self.release_name(remote);
    }

    fn begin(&mut self, slot: u32, initial: Seq, state: State) {
        let wish = self.config.time_stamps;
        let connection = self.table.at(slot);
        connection.begin_stamps(wish, &self.secrets);
        connection.state = state;
        connection.una = initial;
        connection.nxt = initial;
        connection.max = initial;
        connection.recover = initial;
        connection.first = initial.plus(1);
        connection.extras.set(Extras::NAMED, peers::is_name(connection.key.remote));
    }

    /// What is wanted of marks: IPv6's are neither read nor written.
    fn marks_wanted(&self, slot: u32) -> Agreement {
        if peers::is_name(self.table.get(slot).key.remote) {
            Agreement::Never
        } else {
            self.config.congestion_marks
        }
    }

    /// Takes over what the other side's SYN says.
    fn agree(&mut self, slot: u32, segment: &Segment<'_>, options: &Options, now_ns: u64) {
        let limit = self.segment_limit_to(self.table.get(slot).key.remote);
        let shift = self.shift_wanted();
        let initial_window = self.config.initial_window_segments;
        let window = self.config.receive_window_bytes;
        let (stamps, marks) = (self.config.time_stamps, self.marks_wanted(slot));
        let connection = self.table.at(slot);
        connection.agree_on_stamps(stamps, options, now_ns);
        connection.agree_on_marks(marks, segment);
        connection.expected = segment.sequence.plus(1);
        // Our SYN, if it went first, told a window already.
        let told = if connection.state == State::SynSent { window.min(0xffff) } else { 0 };
        connection.promised = connection.expected.plus(told);
        let segment_max = options.segment_max.unwrap_or(SEGMENT_DEFAULT).max(SEGMENT_LEAST).min(limit);
        connection.segment_max = segment_max - u16::from(connection.stamp_len());
        connection.sack = options.sack_permitted;
        (connection.shift_in, connection.shift_out) = match options.window_shift {
            Some(theirs) => (theirs, shift),
            None => (0, 0),
        };
        connection.congestion_window = initial_window * u32::from(connection.segment_max);
        // The window in a SYN is never scaled.
        connection.window = u32::from(segment.window);
        connection.window_max = connection.window;
        connection.window_sequence = segment.sequence;
        connection.window_acknowledgement = segment.acknowledgement;
    }

    /// Our SYN or SYN-ACK. False when the ring is full.
    pub(super) fn send_syn<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
    ) -> bool {
        let limit = self.segment_limit_to(self.table.get(slot).key.remote);
        let shift = self.shift_wanted();
        let connection = self.table.get(slot);
        let passive = connection.state == State::SynReceived;
        if !connection.resolved {
            if peers::is_name(connection.key.remote) {
                if !self.resolve6(world, slot) {
                    return true;
                }
                return self.send_syn(world, slot);
            }
            let next_hop = self.next_hop(Ipv4Addr::from_bits(connection.key.remote));
            let (key, resolved) = (connection.key, next_hop.and_then(|hop| world.neighbours.find(hop)));
            debug_assert!(key.remote != 0);
            match (resolved, next_hop) {
                (Some(mac), _) => {
                    self.unresolved = self.unresolved.saturating_sub(1);
                    self.resolved(slot, mac);
                }
                (None, Some(hop)) => {
                    world.neighbours.ask(hop, world.out, world.now_ns);
                    let connection = self.table.at(slot);
                    connection.nxt = connection.una.plus(1);
                    connection.max = connection.nxt;
                    return true;
                }
                (None, None) => return true,
            }
        }
        let (stamps, marks) = (self.config.time_stamps, self.marks_wanted(slot));
        let connection = self.table.get(slot);
        // An answer's stamp is added as to every segment.
        let asks = !passive && stamps == Agreement::Always;
        let known = Options {
            stamp: asks.then(|| (connection.stamp_now(world.now_ns), 0)),
            segment_max: Some(limit),
            window_shift: (!passive || connection.shift_out > 0 || connection.shift_in > 0).then_some(shift),
            sack_permitted: !passive || connection.sack,
            ..Options::default()
        };
        let flags = if passive { SYN | ACK } else { SYN } | connection.syn_marks(marks, passive);
        let again = connection.max != connection.una;
        let una = connection.una;
        if self.control(world, slot, una, flags, &known).is_none() {
            return false;
        }
        let connection = self.table.at(slot);
        connection.syn_sent = true;
        connection.nxt = una.plus(1);
        connection.max = connection.nxt;
        connection.timed = !again;
        connection.timed_end = connection.nxt;
        connection.timed_ns = world.now_ns;
        true
    }

    /// Our SYN was acknowledged: the connection is open. False when the application gave it up at once.
    pub(super) fn establish<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        acknowledgement: Seq,
    ) -> bool {
        let now_ns = world.now_ns;
        let initial_window = self.config.initial_window_segments;
        self.table.at(slot).measure_round_trip(&self.config, acknowledgement, now_ns);
        let connection = self.table.at(slot);
        connection.una = acknowledgement;
        connection.nxt = connection.nxt.max(acknowledgement);
        connection.recover = acknowledgement.minus(1);
        connection.state = State::Established;
        connection.announced = true;
        if connection.retries > 0 {
            // RFC 6928: a lost SYN means a window of one segment.
            connection.congestion_window = u32::from(connection.segment_max);
        } else {
            connection.congestion_window = initial_window * u32::from(connection.segment_max);
        }
        connection.retries = 0;
        connection.purpose = super::connection::Purpose::Nothing;
        let (port, outgoing) = (connection.key.local_port, connection.outgoing);
        self.open += 1;
        if outgoing {
            world.out.counters.connected += 1;
        } else {
            world.out.counters.accepted += 1;
            self.incoming += 1;
        }
        self.call(world, slot, |application, handle, _| application.opened(handle, port, outgoing)).is_some()
    }

    /// A connection that leaves SYN-RECEIVED is no longer half open.
    pub(super) fn leave_half_open(&mut self, slot: u32) {
        let connection = self.table.get(slot);
        if connection.state == State::SynReceived && !connection.outgoing {
            self.half_open -= 1;
        }
    }

    fn send_cookie<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        from: From,
        segment: &Segment<'_>,
        key: Key,
    ) {
        let size = Self::options(segment)
            .segment_max
            .unwrap_or(SEGMENT_DEFAULT)
            .min(self.segment_limit_to(key.remote));
        let header = Header {
            source_port: key.local_port,
            destination_port: key.remote_port,
            sequence: self.secrets.cookie(key, segment.sequence, size, world.now_ns),
            acknowledgement: segment.sequence.plus(1),
            flags: SYN | ACK,
            window: self.config.receive_window_bytes.min(0xffff) as u16,
        };
        let options = Options { segment_max: Some(self.segment_limit_to(key.remote)), ..Options::default() };
        self.reply(world, from, &header, &options);
        world.out.counters.cookies_sent += 1;
        self.cookies_until_ns = world.now_ns + 2 * COOKIE_PERIOD_NS;
    }

    /// An acknowledgement of no connection may bring a cookie back. True when it did, and was acted upon.
    pub(super) fn redeem_cookie<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        from: From,
        segment: &Segment<'_>,
    ) -> bool {
        if world.now_ns >= self.cookies_until_ns || self.incoming >= self.connections_max {
            return false;
        }
        let key = Key {
            remote: from.address.to_bits(),
            remote_port: segment.source_port,
            local_port: segment.destination_port,
        };
        let initial = segment.acknowledgement.minus(1);
        let peer = segment.sequence.minus(1);
        let Some(size) = self.secrets.check_cookie(key, peer, initial, world.now_ns) else { return false };
        let Some(slot) = self.take_record(key) else { return false };
        self.begin(slot, initial, State::SynReceived);
        let options = Options { segment_max: Some(size), ..Options::default() };
        let syn = Segment { sequence: peer, acknowledgement: Seq(0), flags: SYN, ..*segment };
        self.agree(slot, &syn, &options, world.now_ns);
        let window = self.config.receive_window_bytes.min(0xffff);
        let terms = self.terms.of_port(key.local_port);
        let connection = self.table.at(slot);
        connection.terms = terms;
        connection.mac = from.mac;
        connection.resolved = true;
        connection.nxt = initial.plus(1);
        connection.max = connection.nxt;
        connection.promised = connection.expected.plus(window);
        self.half_open += 1;
        world.out.counters.cookies_accepted += 1;
        self.receive_in_window(world, slot, from, segment);
        true
    }

    /// Where a packet to an address goes first.
    pub(crate) fn next_hop(&self, address: Ipv4Addr) -> Option<Ipv4Addr> {
        if !ipv4::is_host(address) || address == self.config.address {
            return None;
        }
        let mask = u32::MAX.checked_shl(32 - u32::from(self.config.prefix_len.min(32))).unwrap_or(0);
        let on_link = (address.to_bits() ^ self.config.address.to_bits()) & mask == 0;
        if on_link { Some(address) } else { self.config.gateway }
    }

    pub(crate) fn connect<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        (address, port): (Ipv4Addr, u16),
        terms: u8,
    ) -> Result<ConnectionId, ConnectError> {
        let hop = self.next_hop(address).ok_or(ConnectError::NoRoute)?;
        self.connect_by(world, (address, port), Some(hop), terms)
    }

    /// Opens a connection to an address, or to a name of one.
    pub(super) fn connect_by<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        (address, port): (Ipv4Addr, u16),
        hop: Option<Ipv4Addr>,
        terms: u8,
    ) -> Result<ConnectionId, ConnectError> {
        let start = self.secrets.port(PORTS);
        let key = (0..PORT_TRIES)
            .map(|step| Key {
                remote: address.to_bits(),
                remote_port: port,
                local_port: PORT_FIRST + (start + step) % PORTS,
            })
            .find(|&key| !self.listens(key.local_port) && self.table.find(&self.secrets, key).is_none())
            .ok_or(ConnectError::NoPort)?;
        let slot = self.take_record(key).ok_or(ConnectError::NoRecord)?;
        let initial = self.secrets.initial_sequence(key, world.now_ns);
        self.begin(slot, initial, State::SynSent);
        let connection = self.table.at(slot);
        connection.outgoing = true;
        connection.terms = terms;
        if let Some(mac) = hop.and_then(|hop| world.neighbours.find(hop)) {
            self.resolved(slot, mac);
        } else {
            self.unresolved += 1;
        }
        self.make_due(slot);
        Ok(self.id(slot))
    }

    pub(super) fn resolved(&mut self, slot: u32, mac: [u8; 6]) {
        let connection = self.table.at(slot);
        connection.mac = mac;
        connection.resolved = true;
    }

    /// Nobody answers at the next hop's Ethernet address: it is asked for again.
    pub(super) fn doubt_neighbour<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
    ) {
        let connection = self.table.at(slot);
        connection.resolved = false;
        let remote = Ipv4Addr::from_bits(connection.key.remote);
        self.unresolved += 1;
        if peers::is_name(remote.to_bits()) {
            self.doubt_neighbour6(world, remote.to_bits());
            return;
        }
        if let Some(hop) = self.next_hop(remote) {
            world.neighbours.forget(hop);
        }
    }

    /// A neighbour's Ethernet address became known: openings that wait for it go on.
    pub(crate) fn neighbour_found(&mut self, address: Ipv4Addr, mac: [u8; 6]) {
        if self.unresolved == 0 {
            return;
        }
        self.unresolved = 0;
        for slot in 0..self.table.len() {
            let connection = self.table.get(slot);
            if connection.state != State::SynSent || connection.resolved {
                continue;
            }
            if self.next_hop(Ipv4Addr::from_bits(connection.key.remote)) != Some(address) {
                self.unresolved += 1;
                continue;
            }
            self.resolved(slot, mac);
            let connection = self.table.at(slot);
            connection.nxt = connection.una;
            connection.max = connection.una;
            self.make_due(slot);
        }
    }

    /// RFC 9293, 3.10.7.3.
    pub(super) fn receive_in_syn_sent<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        from: From,
        segment: &Segment<'_>,
    ) {
        let Connection { una, syn_sent, resolved, .. } = *self.table.get(slot);
        let acknowledges = segment.has(ACK);
        // A neighbour that is doubted by now may still have passed on the SYN that went to it before.
        if acknowledges && (segment.acknowledgement != una.plus(1) || !syn_sent) {
            world.out.counters.drop(Drop::Unacceptable);
            self.refuse(world, from, segment);
            return;
        }
        if segment.has(RST) {
            if acknowledges {
                self.end(world, slot, Ended::Refused);
            } else {
                world.out.counters.drop(Drop::Unacceptable);
            }
            return;
        }
        if !segment.has(SYN) {
            world.out.counters.drop(Drop::Unacceptable);
            return;
        }
        let options = Self::options(segment);
        self.agree(slot, segment, &options, world.now_ns);
        if !resolved {
            self.unresolved = self.unresolved.saturating_sub(1);
        }
        self.resolved(slot, from.mac);
        let connection = self.table.at(slot);
        if acknowledges {
            // The question for the neighbour's address may have set these back.
            connection.nxt = una.plus(1);
            connection.max = connection.nxt;
            connection.acknowledge_now = true;
            self.establish(world, slot, segment.acknowledgement);
        } else {
            // Both opened at the same time: our SYN goes out again, now with an acknowledgement.
            connection.state = State::SynReceived;
            connection.nxt = connection.una;
            self.make_due(slot);
        }
    }
}

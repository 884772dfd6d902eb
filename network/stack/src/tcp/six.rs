//! TCP over IPv6: what is different when the other side is known by a name ([`super::peers`]).

use alloc::boxed::Box;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::connection::State;
use super::peers::{self, Ends, Peers};
use super::secrets::name_hash;
use super::sequence::Seq;
use super::{Tcp, World};
use crate::application::{Application, ConnectionId};
use crate::batch::Outbox;
use crate::counters::Drop;
use crate::engine::ConnectError;
use crate::link6::MTU_LEAST;
use crate::port::{Egress, PartialChecksum};
use crate::wire::checksum::Sum;
use crate::wire::ethernet::{self, Ethernet, TYPE_IPV6};
use crate::wire::ipv4::{self, PROTOCOL_TCP};
use crate::wire::ipv6::{self, HOP_LIMIT, Ipv6};
use crate::wire::tcp::{self, Header, Options};

const TCP_AT: usize = ethernet::HEADER + ipv6::HEADER;
/// How much longer headers are than over IPv4.
const LONGER: u16 = (ipv6::HEADER - ipv4::HEADER) as u16;

impl Tcp {
    /// The name of an address that sent something to one of ours; nothing when it is somebody else's.
    pub(crate) fn meet(&mut self, ours: Ipv6Addr, theirs: Ipv6Addr) -> Option<Ipv4Addr> {
        self.peers.as_mut()?.meet(name_hash, Ends { ours, theirs })
    }

    /// The same without meeting it: only to look for a connection.
    pub(crate) fn name_of(&self, ours: Ipv6Addr, theirs: Ipv6Addr) -> Option<Ipv4Addr> {
        Some(Ipv4Addr::from_bits(self.peers.as_ref()?.name(name_hash, Ends { ours, theirs })))
    }

    /// The address of the other side.
    pub(super) fn address_of(&self, remote: u32) -> IpAddr {
        let ends = if peers::is_name(remote) { self.ends_of(remote) } else { None };
        ends.map_or(IpAddr::V4(Ipv4Addr::from_bits(remote)), |ends| IpAddr::V6(ends.theirs))
    }

    fn ends_of(&self, name: u32) -> Option<Ends> {
        self.peers.as_ref()?.ends(name)
    }

    pub(super) fn release_name(&mut self, remote: u32) {
        if peers::is_name(remote)
            && let Some(peers) = &mut self.peers
        {
            peers.release(remote);
        }
    }

    /// Payload of the largest segment to an address, or to a name of one.
    pub(super) fn segment_limit_to(&self, remote: u32) -> u16 {
        let longer = if peers::is_name(remote) { LONGER } else { 0 };
        self.segment_limit().saturating_sub(longer)
    }

    /// Opens a connection to an IPv6 address.
    pub(crate) fn connect6<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        (address, port): (Ipv6Addr, u16),
        terms: u8,
    ) -> Result<ConnectionId, ConnectError> {
        let six = world.neighbours.six.as_ref().ok_or(ConnectError::NoRoute)?;
        six.next_hop(address).ok_or(ConnectError::NoRoute)?;
        let ours = six.source_for(address).ok_or(ConnectError::NoRoute)?;
        let name = self.meet(ours, address).ok_or(ConnectError::NoRecord)?;
        self.connect_by(world, (name, port), None, terms)
    }

    /// Looks for the Ethernet address of the next hop, or asks for it. True when it is known.
    pub(super) fn resolve6<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
    ) -> bool {
        let ends = self.ends_of(self.table.get(slot).key.remote);
        let Some(six) = &mut world.neighbours.six else { return false };
        if let Some(hop) = ends.and_then(|ends| six.next_hop(ends.theirs)) {
            if let Some(mac) = six.find(hop) {
                self.unresolved = self.unresolved.saturating_sub(1);
                self.resolved(slot, mac);
                return true;
            }
            six.ask(hop, world.out, world.now_ns);
        }
        let connection = self.table.at(slot);
        connection.nxt = connection.una.plus(1);
        connection.max = connection.nxt;
        false
    }

    /// Nobody answers at the next hop's Ethernet address.
    pub(super) fn doubt_neighbour6<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        name: u32,
    ) {
        let ends = self.ends_of(name);
        if let Some(six) = &mut world.neighbours.six
            && let Some(hop) = ends.and_then(|ends| six.next_hop(ends.theirs))
        {
            six.forget(hop);
        }
    }

    /// A neighbour's Ethernet address became known: openings that may wait for it look for theirs again.
    pub(crate) fn neighbour_found6(&mut self) {
        if self.unresolved == 0 {
            return;
        }
        for slot in 0..self.table.len() {
            let connection = self.table.at(slot);
            if connection.state == State::SynSent
                && !connection.resolved
                && peers::is_name(connection.key.remote)
            {
                connection.nxt = connection.una;
                connection.max = connection.una;
                self.make_due(slot);
            }
        }
    }

    /// A packet of ours did not fit a link on its way (RFC 8201). Believed only when it quotes what is on its way
    /// (RFC 5927): ports of a connection, and a sequence number that is outstanding.
    pub(crate) fn too_big6<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        mtu: u32,
        quoted: &[u8],
    ) {
        let found = || {
            let (fixed, content) = quoted.split_first_chunk::<{ ipv6::HEADER }>()?;
            let segment = content.first_chunk::<8>()?;
            if fixed[0] >> 4 != 6 || fixed[6] != PROTOCOL_TCP {
                return None;
            }
            let port = |at: usize| u16::from_be_bytes([segment[at], segment[at + 1]]);
            let sequence = Seq(u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]]));
            Some((ipv6::address(fixed, 8), ipv6::address(fixed, 24), port(0), port(2), sequence))
        };
        let slot = found().and_then(|(ours, theirs, local_port, remote_port, sequence)| {
            let name = self.meet(ours, theirs)?;
            let slot = self.find(name, remote_port, local_port)?;
            Some((slot, sequence))
        });
        // Headers are longer than those that the other version's packets have.
        let mtu = mtu.clamp(MTU_LEAST, 65_535) as u16 - LONGER;
        let believed =
            slot.is_some_and(|(slot, sequence)| self.packet_too_big(world, slot, sequence, (mtu, mtu)));
        if !believed {
            world.out.counters.drop(Drop::Unacceptable);
        }
    }
}

/// [`super::output::emit`] to a name: the device never cuts these.
#[cold]
#[inline(never)]
#[allow(clippy::too_many_arguments, reason = "those of the short way, which stands beside it")]
pub(super) fn emit6<E: Egress>(
    out: &mut Outbox<E>,
    peers: &Option<Box<Peers>>,
    now_ns: u64,
    mac: [u8; 6],
    destination: ([u8; 6], Ipv4Addr),
    header: &Header,
    options: Option<&Options>,
    (payload, congestion): (&[&[u8]], u8),
) -> Option<u64> {
    let ends = peers.as_ref()?.ends(destination.1.to_bits())?;
    let mut buffer = [0; TCP_AT + tcp::HEADER + tcp::OPTIONS_MAX];
    Ethernet { destination: destination.0, source: mac, ethertype: TYPE_IPV6 }.emit(&mut buffer);
    let options_len = options.map_or(0, |options| options.emit(&mut buffer[TCP_AT + tcp::HEADER..]));
    let header_len = tcp::HEADER + options_len;
    header.emit_plain(&mut buffer[TCP_AT..], header_len);
    let transport_len = header_len + payload.iter().map(|part| part.len()).sum::<usize>();
    let packet =
        Ipv6 { source: ends.ours, destination: ends.theirs, protocol: PROTOCOL_TCP, hop_limit: HOP_LIMIT };
    packet.emit(&mut buffer[ethernet::HEADER..], transport_len);
    buffer[ethernet::HEADER + 1] = congestion << 4;
    let end = TCP_AT + header_len;
    let mut sum = Sum::new();
    sum.add_pseudo_header6(ends.ours, ends.theirs, PROTOCOL_TCP, transport_len);
    let partial = out
        .offloads()
        .checksum
        .then_some(PartialChecksum { start: TCP_AT as u16, offset: tcp::CHECKSUM_OFFSET as u16 });
    let checksum = if partial.is_some() {
        sum.folded()
    } else {
        sum.add(&buffer[TCP_AT..end]);
        payload.iter().for_each(|part| sum.add(part));
        sum.finish()
    };
    let field = TCP_AT + tcp::CHECKSUM_OFFSET;
    buffer[field..field + 2].copy_from_slice(&checksum);
    out.send(&buffer[..end], (payload, None), partial, now_ns)
}

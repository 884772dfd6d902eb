//! What leaves: which bytes may go now, and the segments that carry them.

use alloc::boxed::Box;
use core::net::Ipv4Addr;

use super::connection::{Extras, NEVER, Purpose, State};
use super::peers::{self, Peers};
use super::send_memory::Cursor;
use super::sequence::Seq;
use super::six::emit6;
use super::terms::Terms;
use super::{From, Tcp, World};
use crate::application::Application;
use crate::batch::Outbox;
use crate::port::{Egress, PartialChecksum};
use crate::wire::checksum::Sum;
use crate::wire::ethernet::{self, Ethernet};
use crate::wire::ipv4::{self, Ipv4, NOT_CAPABLE, PROTOCOL_TCP};
use crate::wire::tcp::{self, ACK, FIN, Header, Options, PSH};

/// All headers of a segment with the longest options.
pub(crate) const HEADERS: usize = ethernet::HEADER + ipv4::HEADER + tcp::HEADER + tcp::OPTIONS_MAX;
/// The most payload of a large segment: the longest packet of IPv4 without the longest headers.
const LARGE_MAX: u32 = 65_535 - (ipv4::HEADER + tcp::HEADER + tcp::OPTIONS_MAX) as u32;
const TCP_AT: usize = ethernet::HEADER + ipv4::HEADER;

/// Bytes to put in a segment.
struct Piece {
    sequence: Seq,
    from: Cursor,
    len: u32,
    flags: u8,
}

impl Tcp {
    /// Sends what a connection may send now. False when the ring was full before that was done.
    pub(super) fn output<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
    ) -> bool {
        let connection = self.table.get(slot);
        let done = match connection.state {
            State::Free => return true,
            State::SynSent | State::SynReceived => {
                if connection.nxt == connection.una {
                    self.send_syn(world, slot)
                } else {
                    true
                }
            }
            State::TimeWait => true,
            _ => {
                let lost_first = connection.recovering && !connection.asks_with_new_bytes();
                (!lost_first || self.send_lost(world, slot))
                    && self.send_new(world, slot)
                    && (!self.has_extra(slot, Extras::PROBE) || self.send_probe(world, slot))
                    && (!self.has_extra(slot, Extras::TAIL_PROBE) || self.send_tail_probe(world, slot))
            }
        };
        done && (!self.table.get(slot).acknowledge_now || self.acknowledge_alone(world, slot))
    }

    fn has_extra(&self, slot: u32, extra: Extras) -> bool {
        self.table.get(slot).extras.has(extra)
    }

    /// In a recovery: what is lost goes first.
    fn send_lost<A: Application, E: Egress>(&mut self, world: &mut World<'_, A, E>, slot: u32) -> bool {
        loop {
            let connection = self.table.get(slot);
            let Some((sequence, len)) = connection.next_lost() else { return true };
            // A receiver that took back a part of its window drops what reaches beyond it, whole. What it waits for it gets
            // even so: that is a question for its window.
            let left = connection.una.plus(connection.window).max(sequence).since(sequence);
            let len = match left {
                0 if sequence != connection.una => return true,
                0 => len,
                left => len.min(left),
            };
            let window = connection.congestion_window;
            if !connection.resend && connection.pipe() + len > window {
                return true;
            }
            let offset = sequence.since(connection.una);
            let bytes = connection.queue.bytes().saturating_sub(offset).min(len);
            let flags = if bytes < len { FIN } else { 0 };
            let from = self.send.seek(&connection.queue, offset);
            let Some(sent) = self.data(world, slot, Piece { sequence, from, len: bytes, flags }) else {
                return false;
            };
            world.out.counters.retransmitted_segments += 1;
            let end = sequence.plus((sent.0 + u32::from(sent.2)).max(1));
            let connection = self.table.at(slot);
            connection.note_repetition(sequence, end, world.now_ns);
        }
    }

    /// New bytes, or after a time-out old ones again, as far as both windows go.
    fn send_new<A: Application, E: Egress>(&mut self, world: &mut World<'_, A, E>, slot: u32) -> bool {
        loop {
            let now_ns = world.now_ns;
            let initial = self.config.initial_window_segments;
            let connection = self.table.at(slot);
            let unsent = if connection.nxt.after(connection.written()) {
                0
            } else {
                connection.written().since(connection.nxt)
            };
            let fin_wanted = connection.fin_wanted();
            if unsent == 0 && !fin_wanted {
                return true;
            }
            connection.widen_again(now_ns);
            let size = u32::from(connection.segment_max);
            if connection.max == connection.una
                && now_ns.saturating_sub(connection.sent_ns) > connection.timeout_ns
            {
                // After a pause the path is unknown again (RFC 5681, 4.1).
                connection.congestion_window = connection.congestion_window.min(initial * size);
            }
            let flight = connection.flight();
            // Bytes that arrived out of order make room for new ones (limited transmit, RFC 3042).
            let by_congestion = connection.congestion_window.saturating_sub(connection.pipe());
            let by_window = connection.window.saturating_sub(flight);
            let mut len = unsent.min(size).min(by_congestion).min(by_window);
            let cuts = world.out.offloads().segmentation && !peers::is_name(connection.key.remote);
            if unsent > size && cuts && connection.nxt == connection.max {
                // The device cuts: all that may go now, in whole segments unless it is the rest.
                let may = unsent.min(by_congestion).min(by_window).min(LARGE_MAX / size * size);
                len = if may < unsent && may > size { may / size * size } else { may };
            }
            if unsent > 0 {
                // Never a silly small segment when a larger one could follow soon (RFC 9293, 3.8.6.2.1).
                let worth =
                    len == unsent || len >= size || len >= connection.window_max / 2 && len == by_window;
                if len == 0 || !worth {
                    // What is on its way brings an acknowledgement, and with it the window. Without that, or when a
                    // time-out took back what does not fit the window any more, it has to be asked for.
                    let silent = connection.max == connection.una;
                    let closed = connection.flight() == 0 && by_window < unsent.min(size);
                    connection.probing |= silent || closed;
                    return true;
                }
            }
            let sequence = connection.nxt;
            let fin = fin_wanted && len == unsent;
            let again = sequence.before(connection.max);
            let from = connection.queue.cursor();
            let flags = if fin { FIN } else { 0 };
            let Some((sent, cursor, fin)) = self.data(world, slot, Piece { sequence, from, len, flags })
            else {
                return false;
            };
            let connection = self.table.at(slot);
            connection.queue.set_cursor(cursor);
            connection.nxt = sequence.plus(sent + u32::from(fin));
            if fin {
                connection.extras.set(Extras::LONE_FIN, sent == 0);
            }
            connection.probing = false;
            let end = sequence.plus(sent);
            if end.after(connection.max) {
                let new = end.since(connection.max.max(sequence));
                world.out.counters.payload_out += u64::from(new);
            }
            if again {
                world.out.counters.retransmitted_segments += 1;
                connection.note_repetition(sequence, connection.nxt.min(connection.max), now_ns);
            } else {
                if !connection.timed {
                    connection.timed = true;
                    connection.timed_end = connection.nxt;
                    connection.timed_ns = now_ns;
                }
            }
            if connection.nxt.after(connection.max) {
                connection.complete_timeline();
                connection.max = connection.nxt;
                connection.recovery_sent = connection.recovery_sent.saturating_add(sent);
                let quantum_ns = connection.smoothed_ns / 8;
                connection.timeline.append(connection.una, connection.max, now_ns, quantum_ns);
            }
            connection.sent_ns = now_ns;
            let max = connection.max;
            while let Some(arrived_ns) = self.operations.pop_sent(&mut connection.operations, max) {
                world.out.departures.queue(arrived_ns, now_ns);
            }
        }
    }

    /// The last segment again, or a new one, so that the other side says what it has (RFC 8985, 7.3).
    fn send_tail_probe<A: Application, E: Egress>(&mut self, world: &mut World<'_, A, E>, slot: u32) -> bool {
        let connection = self.table.at(slot);
        let size = u32::from(connection.segment_max);
        let flight = connection.max.since(connection.una);
        if flight == 0 || connection.recovering || connection.nxt != connection.max {
            connection.extras.set(Extras::TAIL_PROBE, false);
            return true;
        }
        let unsent = connection.written().since(connection.una).saturating_sub(flight);
        let new = unsent.min(size).min(connection.window.saturating_sub(flight));
        if new > 0 && (new == size || new == unsent) {
            // As if the window had room for one more.
            let window = connection.congestion_window;
            connection.congestion_window = connection.pipe() + new;
            let sent = self.send_new(world, slot);
            let connection = self.table.at(slot);
            connection.congestion_window = window;
            connection.tail_probe = Some((connection.max, false));
            connection.extras.set(Extras::TAIL_PROBE, !sent);
            return sent;
        }
        // What left last: the FIN alone, where it did so.
        let lone_fin = connection.extras.has(Extras::LONE_FIN) && connection.max.after(connection.written());
        let len = if lone_fin { 1 } else { flight.min(size) };
        let sequence = connection.max.minus(len);
        let offset = sequence.since(connection.una);
        let bytes = connection.queue.bytes().saturating_sub(offset).min(len);
        let flags = if bytes < len { FIN } else { 0 };
        let from = self.send.seek(&connection.queue, offset);
        let Some((sent, _, fin)) = self.data(world, slot, Piece { sequence, from, len: bytes, flags }) else {
            return false;
        };
        world.out.counters.retransmitted_segments += 1;
        world.out.counters.tail_probes += 1;
        let end = sequence.plus((sent + u32::from(fin)).max(1));
        let connection = self.table.at(slot);
        connection.note_repetition(sequence, end, world.now_ns);
        connection.tail_probe = Some((connection.max, true));
        connection.extras.set(Extras::TAIL_PROBE, false);
        connection.twice = false;
        true
    }

    /// One byte into a closed window, so that its opening is heard of (RFC 9293, 3.8.6.1), or all that fit into one
    /// that stays too small to be worth waiting for.
    fn send_probe<A: Application, E: Egress>(&mut self, world: &mut World<'_, A, E>, slot: u32) -> bool {
        let connection = self.table.at(slot);
        if !connection.probing || connection.queue.bytes() == 0 {
            connection.extras.set(Extras::PROBE, false);
            return true;
        }
        let sequence = connection.una;
        let from = self.send.seek(&connection.queue, 0);
        let len = connection.window.clamp(1, u32::from(connection.segment_max)).min(connection.queue.bytes());
        let Some((sent, ..)) = self.data(world, slot, Piece { sequence, from, len, flags: 0 }) else {
            return false;
        };
        world.out.counters.window_probes += 1;
        let connection = self.table.at(slot);
        connection.extras.set(Extras::PROBE, false);
        let end = sequence.plus(sent);
        if end.after(connection.max) {
            world.out.counters.payload_out += u64::from(end.since(connection.max));
            connection.max = end;
        }
        true
    }

    fn acknowledge_alone<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
    ) -> bool {
        let connection = self.table.get(slot);
        // Behind everything sent, but not beyond what the other side takes: it would not even look at it.
        let sequence = connection.max.min(connection.una.plus(connection.window.max(connection.flight())));
        if self.control(world, slot, sequence, ACK, &Options::default()).is_none() {
            return false;
        }
        world.out.counters.pure_acks_out += 1;
        true
    }

    /// An acknowledgement that must not be put together with others.
    pub(super) fn acknowledge_at_once<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
    ) {
        if !self.acknowledge_alone(world, slot) {
            self.table.at(slot).acknowledge_now = true;
        }
    }

    /// A segment without payload. Nothing when the ring is full.
    pub(super) fn control<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        sequence: Seq,
        flags: u8,
        options: &Options,
    ) -> Option<()> {
        let from = self.table.get(slot).queue.cursor();
        self.segment(world, slot, &Piece { sequence, from, len: 0, flags }, Some(options)).map(|_| ())
    }

    /// A segment with payload, FIN, or both. Says how many bytes went, where they end, and whether FIN was in.
    fn data<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        piece: Piece,
    ) -> Option<(u32, Cursor, bool)> {
        let piece = Piece { flags: piece.flags | ACK, ..piece };
        self.segment(world, slot, &piece, None)
    }

    fn segment<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
        piece: &Piece,
        options: Option<&Options>,
    ) -> Option<(u32, Cursor, bool)> {
        let limit = self.config.receive_window_bytes;
        let connection = self.table.at(slot);
        let mut flags = piece.flags;
        let mut options = options;
        let with_more;
        let ranges = connection.sack && connection.range_count > 0 && flags & tcp::SYN == 0;
        if ranges || connection.extras.has(Extras::STAMPS) {
            let mut more = options.copied().unwrap_or_default();
            if ranges {
                // What came last should stand first (RFC 2018, 4), but all that fit are told every time anyway.
                let count = usize::from(connection.range_count).min(3);
                more.sack[..count].copy_from_slice(&connection.ranges[..count]);
                more.sack_count = count as u8;
            }
            if connection.extras.has(Extras::STAMPS) {
                more.stamp = Some((connection.stamp_now(world.now_ns), connection.stamp_recent));
            }
            with_more = more;
            options = Some(&with_more);
        }
        // Options take their place from the payload (RFC 6691); a stamp took it once for all.
        let options_len = options.map_or(0, |options| options.len() - connection.stamp_len());
        let each = u32::from(connection.segment_max).saturating_sub(u32::from(options_len));
        // Only what the device is to cut is longer than a segment.
        let large = piece.len > u32::from(connection.segment_max) && !peers::is_name(connection.key.remote);
        let len_max = if large { piece.len } else { each };
        let gathered =
            self.send.gather(world.application, &connection.queue, piece.from, piece.len.min(len_max));
        let segment_len = if gathered.len > each { Some(each as u16) } else { None };
        if gathered.len < piece.len {
            flags &= !FIN;
        }
        if gathered.len > 0 && piece.sequence.plus(gathered.len) == connection.written() {
            flags |= PSH;
        }
        let new_bytes = gathered.len > 0 && !piece.sequence.before(connection.max);
        let (marks, congestion) = connection.marks_out(flags, new_bytes);
        flags |= marks;
        // The window of a SYN is not scaled.
        let shift = if flags & tcp::SYN != 0 { 0 } else { connection.shift_out };
        let window = connection.window_to_tell(limit, shift);
        let header = Header {
            source_port: connection.key.local_port,
            destination_port: connection.key.remote_port,
            sequence: piece.sequence,
            acknowledgement: if flags & ACK != 0 { connection.expected } else { Seq(0) },
            flags,
            window,
        };
        let (mac, remote) = (connection.mac, Ipv4Addr::from_bits(connection.key.remote));
        let payload = &gathered.parts[..gathered.count];
        let address = (self.config.mac, self.config.address);
        let content = (payload, segment_len, congestion);
        let out = (&mut *world.out, &self.peers);
        let frame = emit_either(out, world.now_ns, address, (mac, remote), &header, options, content)?;
        let (touched, len, end) = (gathered.touched(), gathered.len, gathered.end);
        if len > 0 {
            self.send.sent(touched, frame);
            world.out.gathering.mark_out(connection);
        }
        if flags & ACK != 0 {
            connection.promised =
                connection.promised.max(connection.expected.plus(u32::from(window) << shift));
            connection.acknowledge_now = false;
            connection.acknowledge_ns = NEVER;
            connection.unacknowledged = 0;
        }
        Some((len, end, flags & FIN != 0))
    }

    /// A segment of no connection.
    pub(super) fn reply<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        from: From,
        header: &Header,
        options: &Options,
    ) {
        let address = (self.config.mac, self.config.address);
        emit_either(
            (world.out, &self.peers),
            world.now_ns,
            address,
            (from.mac, from.address),
            header,
            Some(options),
            (&[], None, NOT_CAPABLE),
        );
    }

    /// Sets the connection's timer to what it waits for now.
    pub(super) fn schedule(&mut self, slot: u32, now_ns: u64) {
        let (finish_wait_ns, time_wait_ns) = (self.config.finish_wait_ns, self.config.time_wait_ns);
        let timeout_max_ns = self.config.retransmission_max_ns;
        let connection = self.table.at(slot);
        let terms = if connection.terms == 0 { Terms::default() } else { self.terms.get(connection.terms) };
        let (purpose, wait_ns) = match connection.state {
            State::Free => (Purpose::Nothing, 0),
            State::TimeWait => (Purpose::Linger, time_wait_ns),
            _ if connection.probing => (Purpose::Probe, connection.probe_wait_ns(timeout_max_ns)),
            _ if connection.max != connection.una => {
                let timeout_ns = connection.timeout_ns;
                let reorder_ns = connection.reorder_ns.saturating_sub(now_ns);
                if connection.reorder_ns != NEVER && reorder_ns < timeout_ns {
                    connection.purpose = Purpose::Nothing;
                    (Purpose::Reorder, reorder_ns)
                } else if let Some(wait_ns) = connection.tail_probe_wait_ns() {
                    (Purpose::TailProbe, wait_ns)
                } else {
                    (Purpose::Retransmit, timeout_ns)
                }
            }
            State::FinWait2 => (Purpose::Linger, finish_wait_ns),
            State::Established | State::CloseWait => {
                terms.keep_alive.map_or((Purpose::Nothing, 0), |keep| (Purpose::KeepAlive, keep.idle_ns))
            }
            _ => (Purpose::Nothing, 0),
        };
        let wait_ns = match purpose {
            Purpose::Probe | Purpose::Retransmit => {
                connection.patience_left_ns(terms, now_ns).map_or(wait_ns, |left_ns| left_ns.min(wait_ns))
            }
            _ => wait_ns,
        };
        if purpose == Purpose::Nothing {
            connection.deadline_ns = NEVER;
        } else if purpose != connection.purpose {
            connection.deadline_ns = now_ns.saturating_add(wait_ns);
        }
        connection.purpose = purpose;
        let deadline_ns = connection.deadline_ns.min(connection.acknowledge_ns);
        if deadline_ns == NEVER {
            self.timers.clear(slot);
        } else {
            self.timers.set(slot, deadline_ns);
        }
    }
}

/// [`emit`] to an address or to a name of one.
fn emit_either<E: Egress>(
    (out, peers): (&mut Outbox<E>, &Option<Box<Peers>>),
    now_ns: u64,
    source: ([u8; 6], Ipv4Addr),
    destination: ([u8; 6], Ipv4Addr),
    header: &Header,
    options: Option<&Options>,
    (payload, segment_len, congestion): (&[&[u8]], Option<u16>, u8),
) -> Option<u64> {
    if peers::is_name(destination.1.to_bits()) {
        let content = (payload, congestion);
        return emit6(out, peers, now_ns, source.0, destination, header, options, content);
    }
    emit(out, now_ns, source, destination, header, options, (payload, segment_len, congestion))
}

/// Writes the headers, and the checksum as far as the device does not, and queues the frame. A length of segments beside
/// the payload leaves cutting to the device.
#[inline(always)]
pub(super) fn emit<E: Egress>(
    out: &mut Outbox<E>,
    now_ns: u64,
    source: ([u8; 6], Ipv4Addr),
    destination: ([u8; 6], Ipv4Addr),
    header: &Header,
    options: Option<&Options>,
    (payload, segment_len, congestion): (&[&[u8]], Option<u16>, u8),
) -> Option<u64> {
    let mut buffer = [0; HEADERS];
    Ethernet { destination: destination.0, source: source.0, ethertype: ethernet::TYPE_IPV4 }
        .emit(&mut buffer);
    let header_len =
        tcp::HEADER + options.map_or(0, |options| options.emit(&mut buffer[TCP_AT + tcp::HEADER..]));
    header.emit_plain(&mut buffer[TCP_AT..], header_len);
    let transport_len = header_len + payload.iter().map(|part| part.len()).sum::<usize>();
    let packet = Ipv4 {
        source: source.1,
        destination: destination.1,
        protocol: PROTOCOL_TCP,
        fragment: false,
        congestion,
    };
    packet.emit(&mut buffer[ethernet::HEADER..], transport_len);
    let end = TCP_AT + header_len;
    let mut sum = Sum::new();
    sum.add_pseudo_header(source.1.octets(), destination.1.octets(), PROTOCOL_TCP, transport_len);
    let field = TCP_AT + tcp::CHECKSUM_OFFSET;
    let partial = out
        .offloads()
        .checksum
        .then_some(PartialChecksum { start: TCP_AT as u16, offset: tcp::CHECKSUM_OFFSET as u16 });
    let checksum = if partial.is_some() {
        sum.folded()
    } else {
        let mut whole = sum;
        whole.add(&buffer[TCP_AT..end]);
        for part in payload {
            whole.add(part);
        }
        whole.finish()
    };
    buffer[field..field + 2].copy_from_slice(&checksum);
    out.send(&buffer[..end], (payload, segment_len), partial, now_ns)
}

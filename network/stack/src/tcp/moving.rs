//! A connection as a value: taken out of one stack in mid-transfer and put into another, losing and doubling nothing.
//!
//! The bytes have a version and little-endian fields. Times are ages and remainders, since two stacks share no clock.
//! What was in pinned memory or half delivered is in the value; what was held for a batch is acted upon before. Whoever
//! moves a connection sees to it that its frames come to the new stack *before* it takes it out: the old one would
//! refuse what still comes.
//!
//! The value is hostile until it was checked: everything that decides about memory or sequence numbers is refused when
//! it does not fit together, what only decides about speed is brought within bounds.

use alloc::vec::Vec;

use super::congestion::CONGESTION_WINDOW_MAX;
use super::connection::{Connection, Extras, NEVER, RANGES, State, rounded_up_max};
use super::scoreboard::REPORTED;
use super::send_memory::FRONT;
use super::sequence::Seq;
use super::table::Key;
use super::terms::{KeepAlive, Terms, TooManyTerms};
use super::timeline::{STEPS, Stamp};
use super::{Tcp, World, peers};
use crate::application::{Application, ConnectionId};
use crate::port::Egress;
use crate::wire::ipv4;
use crate::wire::tcp::STAMP;
use core::net::Ipv4Addr;

/// First bytes of a value: the name and the version.
const MAGIC: [u8; 6] = *b"nomc\x02\0";
const SECOND_NS: u64 = 1_000_000_000;
/// Longer times than this mean nothing for a connection.
const TIME_MAX_NS: u64 = 3_600_000_000_000;
/// Least payload of a segment, beside a time stamp.
const SEGMENT_LEAST: u16 = 64 - STAMP as u16;

/// Why a value was not put in. Nothing has changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportError {
    /// Not a connection, or one of another version.
    Format,
    /// Its parts contradict each other, or it cannot be ours.
    Contradiction,
    /// It was agreed on segments or windows that are larger than this stack's.
    TooLarge,
    /// There is a connection with this peer and these ports.
    Exists,
    /// No connection record is free, or no more are allowed.
    NoRecord,
    /// Not enough memory for what arrived and was not read. Where a connection was, it fits again; and all connections of a
    /// stack fit another one with the same configuration.
    NoMemory,
}

struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, value: u8) {
        self.0.push(value);
    }
    fn flag(&mut self, value: bool) {
        self.0.push(u8::from(value));
    }
    fn short(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn word(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn long(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], ImportError> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(ImportError::Format)?;
        self.0 = rest;
        Ok(bytes)
    }
    fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], ImportError> {
        self.bytes(LEN)?.try_into().map_err(|_| ImportError::Format)
    }
    fn byte(&mut self) -> Result<u8, ImportError> {
        Ok(self.array::<1>()?[0])
    }
    fn flag(&mut self) -> Result<bool, ImportError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(ImportError::Format),
        }
    }
    fn short(&mut self) -> Result<u16, ImportError> {
        Ok(u16::from_le_bytes(self.array()?))
    }
    fn word(&mut self) -> Result<u32, ImportError> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    fn long(&mut self) -> Result<u64, ImportError> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    fn place(&mut self) -> Result<Seq, ImportError> {
        Ok(Seq(self.word()?))
    }
    fn time(&mut self) -> Result<u64, ImportError> {
        Ok(self.long()?.min(TIME_MAX_NS))
    }
}

const STATES: [State; 6] =
    [State::Established, State::FinWait1, State::FinWait2, State::CloseWait, State::Closing, State::LastAck];

impl Tcp {
    /// Takes an open connection out; its peer and its application hear nothing of it, only its pins are released.
    pub(crate) fn export<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
    ) -> Option<Vec<u8>> {
        let now_ns = world.now_ns;
        let connection = *self.table.get(slot);
        // A name means nothing in another stack.
        if !connection.announced || peers::is_name(connection.key.remote) {
            return None;
        }
        let state = STATES.iter().position(|&state| state == connection.state)?;
        let c = &connection;
        let age = |at_ns: u64| now_ns.saturating_sub(at_ns);
        let mut out = Writer(MAGIC.to_vec());
        out.byte(state as u8);
        out.word(c.key.remote);
        out.short(c.key.remote_port);
        out.short(c.key.local_port);
        out.0.extend_from_slice(&c.mac);
        out.flag(c.outgoing);
        out.flag(c.blocked);
        out.flag(c.sack);
        out.flag(c.fin_acknowledged);
        out.byte(c.shift_in);
        out.byte(c.shift_out);
        out.short(c.segment_max);
        for place in
            [c.una, c.nxt, c.max, c.window_sequence, c.window_acknowledgement, c.expected, c.promised]
        {
            out.word(place.0);
        }
        for number in [c.window, c.window_max, c.congestion_window, c.slow_start_end, c.unacknowledged] {
            out.word(number);
        }
        out.flag(c.recovering);
        out.flag(c.timed_out);
        out.word(c.recover.0);
        out.byte(c.retries);
        for time_ns in [c.smoothed_ns, c.variation_ns, c.timeout_ns, c.least_ns, age(c.sent_ns)] {
            out.long(time_ns);
        }
        for number in [c.cubic.plateau, c.cubic.prior, c.cubic.friendly, c.cubic.rise_ms] {
            out.word(number);
        }
        out.long(if c.cubic.epoch_ns == 0 { NEVER } else { age(c.cubic.epoch_ns) });
        out.byte(c.extras.0 & Extras::AGREED);
        for number in [c.stamp_now(now_ns), c.stamp_recent, c.marked_until.0] {
            out.word(number);
        }
        out.long(age(u64::from(c.stamp_recent_s) * SECOND_NS));
        out.short(c.segment_agreed);
        out.long(age(u64::from(c.narrowed_s) * SECOND_NS));
        let terms = self.terms.get(c.terms);
        let keep = terms.keep_alive.unwrap_or(KeepAlive { idle_ns: 0, interval_ns: 0, probes: 0 });
        for time_ns in [keep.idle_ns, keep.interval_ns, terms.user_timeout_ns.unwrap_or(0)] {
            out.long(time_ns);
        }
        out.byte(keep.probes);
        out.flag(c.acknowledge_now || c.acknowledge_ns != NEVER);
        out.flag(c.fin_at.is_some());
        out.word(c.fin_at.unwrap_or_default().0);
        out.byte(c.scoreboard.count);
        for range in c.scoreboard.ranges() {
            out.word(range.0.0);
            out.word(range.1.0);
        }
        out.byte(c.timeline.count);
        for (end, stamp) in c.timeline.steps() {
            out.word(end.0);
            out.flag(stamp.is_again());
            out.long(if stamp == Stamp::LOST { NEVER } else { age(stamp.at_ns()) });
        }
        // What arrived: in order first, then each range.
        out.word(c.held.ready());
        out.0.extend_from_slice(self.receive.ready(&c.held));
        out.byte(c.range_count);
        for &(start, end) in &c.ranges[..usize::from(c.range_count)] {
            out.word(start.0);
            out.word(end.0);
            let place = start.since(c.expected) + c.held.ready();
            out.0.extend_from_slice(self.receive.held(&c.held, place as usize, end.since(start) as usize));
        }
        // What was written and is not acknowledged.
        out.word(c.queue.bytes());
        let (mut from, mut left) = (FRONT, c.queue.bytes());
        while left > 0 {
            let gathered = self.send.gather(world.application, &c.queue, from, left);
            gathered.parts[..gathered.count].iter().for_each(|part| out.0.extend_from_slice(part));
            if gathered.len == 0 {
                return None;
            }
            (from, left) = (gathered.end, left - gathered.len);
        }
        self.forget_exported(world, slot);
        Some(out.0)
    }

    /// Puts a connection in. The application hears nothing of it yet: whoever does this hands it what belongs to the
    /// connection.
    pub(crate) fn import<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        value: &[u8],
    ) -> Result<ConnectionId, ImportError> {
        let now_ns = world.now_ns;
        let (mut c, received, written, terms) = self.check(value, now_ns)?;
        if self.table.find(&self.secrets, c.key).is_some() {
            return Err(ImportError::Exists);
        }
        if !c.outgoing && self.incoming >= self.connections_max {
            return Err(ImportError::NoRecord);
        }
        c.terms = self.terms.place(terms).map_err(|TooManyTerms| ImportError::NoRecord)?;
        let slot = self.take_record(c.key).ok_or(ImportError::NoRecord)?;
        let Connection { generation, due, waiting, .. } = *self.table.get(slot);
        *self.table.at(slot) = Connection { generation, due, waiting, first: c.una, ..c };
        if !self.import_bytes(slot, &received, written) {
            let connection = self.table.at(slot);
            self.send.clear(&mut connection.queue, world.application);
            self.receive.clear(&mut connection.held);
            self.free_record(slot);
            return Err(ImportError::NoMemory);
        }
        self.open += 1;
        self.incoming += u32::from(!c.outgoing);
        world.out.counters.imported += 1;
        self.make_due(slot);
        Ok(self.id(slot))
    }

    fn import_bytes(&mut self, slot: u32, received: &Received<'_>, written: &[u8]) -> bool {
        let connection = self.table.at(slot);
        let mut extent = received.ready.len();
        let early_end = |(place, bytes): &(usize, &[u8])| place + bytes.len();
        let end = received.early.iter().flatten().map(early_end).fold(extent, usize::max);
        if !self.receive.reserve(&mut connection.held, end) {
            return false;
        }
        if extent > 0 && !self.receive.put(&mut connection.held, 0, received.ready, 0) {
            return false;
        }
        self.receive.advance(&mut connection.held, extent as u32);
        for (place, bytes) in received.early.iter().flatten() {
            if !self.receive.put(&mut connection.held, *place, bytes, extent) {
                return false;
            }
            extent = place + bytes.len();
        }
        self.send.adopt(&mut connection.queue, written);
        let cursor = self.send.seek(&connection.queue, connection.nxt.since(connection.una));
        connection.queue.set_cursor(cursor);
        true
    }

    /// Reads a value and refuses what does not fit together.
    fn check<'a>(
        &self,
        value: &'a [u8],
        now_ns: u64,
    ) -> Result<(Connection, Received<'a>, &'a [u8], Terms), ImportError> {
        let mut input = Reader(value);
        if input.array()? != MAGIC {
            return Err(ImportError::Format);
        }
        let sane = |fits: bool| if fits { Ok(()) } else { Err(ImportError::Contradiction) };
        let at = |age_ns: u64| now_ns.saturating_sub(age_ns).max(1);
        let state = *STATES.get(usize::from(input.byte()?)).ok_or(ImportError::Format)?;
        let key = Key { remote: input.word()?, remote_port: input.short()?, local_port: input.short()? };
        let remote = Ipv4Addr::from_bits(key.remote);
        sane(ipv4::is_host(remote) && remote != self.config.address)?;
        let mut c = Connection { key, state, mac: input.array()?, ..Connection::default() };
        (c.outgoing, c.blocked, c.sack, c.fin_acknowledged) =
            (input.flag()?, input.flag()?, input.flag()?, input.flag()?);
        (c.shift_in, c.shift_out, c.segment_max) = (input.byte()?, input.byte()?, input.short()?);
        sane(c.shift_in <= 14 && c.shift_out <= 14 && c.segment_max >= SEGMENT_LEAST)?;
        (c.una, c.nxt, c.max) = (input.place()?, input.place()?, input.place()?);
        (c.window_sequence, c.window_acknowledgement) = (input.place()?, input.place()?);
        (c.expected, c.promised) = (input.place()?, input.place()?);
        (c.window, c.window_max) = (input.word()?, input.word()?);
        sane(c.window <= 1 << 30 && c.window_max <= 1 << 30)?;
        c.congestion_window = input.word()?.clamp(u32::from(c.segment_max), CONGESTION_WINDOW_MAX);
        c.slow_start_end = input.word()?.max(2 * u32::from(c.segment_max));
        c.unacknowledged = input.word()?;
        (c.recovering, c.timed_out) = (input.flag()?, input.flag()?);
        c.recover = input.place()?;
        c.retries = input.byte()?.min(self.config.retransmissions_max);
        (c.smoothed_ns, c.variation_ns) = (input.time()?, input.time()?);
        c.timeout_ns =
            input.time()?.clamp(self.config.retransmission_min_ns, self.config.retransmission_max_ns);
        c.least_ns = input.long()?;
        c.sent_ns = at(input.time()?);
        (c.cubic.plateau, c.cubic.prior) =
            (input.word()?.min(CONGESTION_WINDOW_MAX), input.word()?.min(CONGESTION_WINDOW_MAX));
        c.cubic.friendly = input.word()?.min(CONGESTION_WINDOW_MAX);
        c.cubic.rise_ms = input.word()?.min(1 << 20);
        let epoch_ns = input.long()?;
        c.cubic.epoch_ns = if epoch_ns == NEVER { 0 } else { at(epoch_ns) };
        c.cubic.plateau = c.cubic.plateau.max(if c.cubic.epoch_ns > 0 { c.congestion_window } else { 0 });
        let terms = Self::check_extras(&mut input, &mut c, now_ns)?;
        c.acknowledge_now = input.flag()?;
        let (fin, fin_at) = (input.flag()?, input.place()?);
        c.fin_at = fin.then_some(fin_at);
        c.announced = true;
        c.resolved = true;
        c.syn_sent = true;
        c.closed = !matches!(state, State::Established | State::CloseWait);
        sane(c.fin_acknowledged == (state == State::FinWait2))?;
        let outstanding = c.max.since(c.una);
        sane(outstanding <= 1 << 30 && c.nxt.since(c.una) <= outstanding)?;
        if c.recovering {
            sane(c.recover.since(c.una) <= outstanding)?;
            c.recovery_flight = outstanding.max(1);
        } else {
            c.timed_out = false;
            c.recover = c.una.minus(1);
        }
        self.check_sent(&mut input, &mut c, now_ns)?;
        let received = self.check_received(&mut input, &mut c)?;
        let len = input.word()? as usize;
        let written = input.bytes(len)?;
        sane(input.0.is_empty())?;
        let segment_longest = c.segment_max.max(c.segment_agreed).saturating_add(u16::from(c.stamp_len()));
        if len > self.config.send_queue_bytes as usize + (1 << 20) || segment_longest > self.segment_limit() {
            return Err(ImportError::TooLarge);
        }
        let fin_outstanding = u32::from(c.closed && !c.fin_acknowledged);
        sane(outstanding <= len as u32 + fin_outstanding && (!c.fin_acknowledged || len == 0))?;
        Ok((c, received, written, terms))
    }

    fn check_extras(input: &mut Reader<'_>, c: &mut Connection, now_ns: u64) -> Result<Terms, ImportError> {
        let sane = |fits: bool| if fits { Ok(()) } else { Err(ImportError::Contradiction) };
        let at_s = |age_ns: u64| (now_ns.saturating_sub(age_ns) / SECOND_NS) as u32;
        c.extras = Extras(input.byte()?);
        sane(c.extras.0 <= Extras::AGREED)?;
        c.stamp_offset = input.word()?.wrapping_sub(c.stamp_now(now_ns));
        c.stamp_recent = input.word()?;
        c.marked_until = input.place()?;
        c.stamp_recent_s = at_s(input.long()?);
        c.segment_agreed = input.short()?;
        sane(c.segment_agreed == 0 || c.segment_agreed > c.segment_max)?;
        c.narrowed_s = at_s(input.long()?);
        let (idle_ns, interval_ns, limit_ns) = (input.long()?, input.long()?, input.long()?);
        let keep = KeepAlive { idle_ns, interval_ns, probes: input.byte()? };
        Ok(Terms {
            keep_alive: (idle_ns > 0).then_some(keep),
            user_timeout_ns: (limit_ns > 0).then_some(limit_ns),
        })
    }

    fn check_sent(&self, input: &mut Reader<'_>, c: &mut Connection, now_ns: u64) -> Result<(), ImportError> {
        let sane = |fits: bool| if fits { Ok(()) } else { Err(ImportError::Contradiction) };
        let outstanding = c.max.since(c.una);
        let count = input.byte()?;
        sane(usize::from(count) <= REPORTED)?;
        let mut before = 0;
        for _ in 0..count {
            let (start, end) = (input.place()?, input.place()?);
            let (from, to) = (start.since(c.una), end.since(c.una));
            sane(c.sack && before < from && from < to && to <= outstanding)?;
            before = to;
            c.scoreboard.add(start, end);
        }
        let count = input.byte()?;
        sane(usize::from(count) <= STEPS)?;
        for _ in 0..count {
            let (end, again, age_ns) = (input.place()?, input.flag()?, input.long()?);
            let at_ns = now_ns.saturating_sub(age_ns.min(TIME_MAX_NS));
            let stamp = match age_ns {
                NEVER => Stamp::LOST,
                _ if again => Stamp::again(at_ns),
                _ => Stamp::first(at_ns),
            };
            let before = c.timeline.end(c.una);
            sane(end.since(c.una) <= outstanding && end.since(c.una) > before.since(c.una))?;
            c.timeline.set(c.una, before, end, stamp);
        }
        Ok(())
    }

    fn check_received<'a>(
        &self,
        input: &mut Reader<'a>,
        c: &mut Connection,
    ) -> Result<Received<'a>, ImportError> {
        let sane = |fits: bool| if fits { Ok(()) } else { Err(ImportError::Contradiction) };
        let limit = self.config.receive_window_bytes;
        let ready_len = input.word()?;
        let ready = input.bytes(ready_len as usize)?;
        let room = c.promised.since(c.expected);
        sane(room <= 1 << 30 && ready_len <= 1 << 30)?;
        if ready_len.saturating_add(room) > limit + rounded_up_max(limit) + 1 {
            return Err(ImportError::TooLarge);
        }
        let mut received = Received { ready, early: [None; RANGES] };
        let count = input.byte()?;
        sane(usize::from(count) <= RANGES)?;
        let mut before = 0;
        for place in 0..usize::from(count) {
            let (start, end) = (input.place()?, input.place()?);
            let (from, to) = (start.since(c.expected), end.since(c.expected));
            sane(before < from && from < to && to <= room)?;
            before = to;
            c.ranges[place] = (start, end);
            received.early[place] = Some(((from + ready_len) as usize, input.bytes((to - from) as usize)?));
        }
        c.range_count = count;
        let open = matches!(c.state, State::Established | State::FinWait1 | State::FinWait2);
        if let Some(fin_at) = c.fin_at {
            // An end that is told lies behind everything that came, and in the window.
            sane(open && fin_at != c.expected && fin_at.since(c.expected) <= room)?;
            sane(fin_at.since(c.expected) >= before)?;
        }
        sane(open || count == 0)?;
        Ok(received)
    }
}

/// What a value says to have arrived.
struct Received<'a> {
    ready: &'a [u8],
    /// Ranges out of order, with their places.
    early: [Option<(usize, &'a [u8])>; RANGES],
}

//! One disk.

use alloc::boxed::Box;
use alloc::vec;
use nom_dma::{Block, DmaMemory};
use nom_virtqueue::transport::{
    self, Bell, FEATURE_EVENT_INDEX, KIND_BLOCK, StartError, Transport, config_bytes, negotiate,
};
use nom_virtqueue::{Completion, Fault, MappedRing, Queue, Segment};

/// Feature: the configuration limits the bytes of one segment.
pub(crate) const FEATURE_SIZE_MAX: u64 = 1 << 1;
/// Feature: nothing may be written.
pub(crate) const FEATURE_READ_ONLY: u64 = 1 << 5;
/// Feature: the configuration has the size of blocks.
pub(crate) const FEATURE_BLOCK_LEN: u64 = 1 << 6;
/// Feature: the device may keep writes back until it is told to flush.
pub(crate) const FEATURE_FLUSH: u64 = 1 << 9;

/// Kinds of requests (5.2.6).
pub(crate) const READ: u32 = 0;
pub(crate) const WRITE: u32 = 1;
pub(crate) const FLUSH: u32 = 4;

/// What a device answers.
pub(crate) const OK: u8 = 0;
pub(crate) const IO_ERROR: u8 = 1;
pub(crate) const UNSUPPORTED: u8 = 2;
/// What stands in the answer's place until the device wrote one.
const UNANSWERED: u8 = 0xa5;

/// The unit in which the device counts, whatever its blocks are.
pub const SECTOR_LEN: u64 = 512;
/// The largest block that is believed.
const BLOCK_LEN_MAX: u32 = 65_536;
/// Header and answer, apart from the data.
const HEAD_LEN: usize = 64;
/// The header of a request.
const HEADER_LEN: usize = 16;
/// Descriptors of a request: header, data, answer.
const DESCRIPTORS: u16 = 3;

/// How much memory the driver takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Requests that may be under way at the same time.
    pub requests: u16,
    /// Bytes of the largest request; rounded down to whole blocks, at least one block.
    pub request_len: usize,
    /// MSI-X vector, where the device has vectors.
    pub vector: Option<u16>,
}

impl Default for Config {
    fn default() -> Self {
        Self { requests: 16, request_len: 64 << 10, vector: None }
    }
}

/// Names a request until its end is reported; for a read, until it is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    slot: u16,
    number: u64,
}

/// Why a request was not taken; nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// As many requests as there is room for are under way: poll, release, try again.
    Busy,
    /// It begins or ends in the midst of a block, or is empty.
    Misaligned,
    /// It is longer than [`Disk::request_len`].
    TooLong,
    /// It goes beyond the end of the disk.
    BeyondEnd,
    /// The disk is read-only.
    ReadOnly,
    /// The device broke the contract; see [`Disk::fault`].
    Broken,
}

/// Why the device did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskError {
    /// It met an error of the medium.
    Io,
    /// It says that it does not know such requests.
    Unsupported,
    /// It says that all is well but wrote less than was to be read.
    Short,
}

/// A request came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// Which.
    pub ticket: Ticket,
    /// How. A read that went well is to be released.
    pub outcome: Result<(), DiskError>,
}

/// What the driver counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskCounters {
    /// Requests that went well, by kind.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Flushes.
    pub flushes: u64,
    /// Requests that the device failed.
    pub errors: u64,
    /// Notifications.
    pub kicks: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    /// A flush that waits for writes that were asked for before it.
    Held,
    Out(u32),
    /// Over; not reported yet.
    Over(u32, Result<(), DiskError>),
    /// What was read is being looked at.
    Read,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    state: State,
    number: u64,
    len: u32,
}

/// A disk that runs.
#[derive(Debug)]
pub struct Disk<T: Transport> {
    transport: T,
    queue: Queue,
    bell: T::Bell,
    memory: Block,
    slots: Box<[Slot]>,
    slot_of: Box<[u16]>,
    slot_len: usize,
    request_len: usize,
    sectors: u64,
    block_len: u32,
    features: u64,
    /// The number of the last request.
    last: u64,
    /// Where to look for one that is over, so that none waits for ever.
    next: usize,
    counters: DiskCounters,
}

/// Starts a disk. Its memory is taken here; nothing is allocated later.
pub fn start<T: Transport>(
    mut transport: T,
    memory: &impl DmaMemory,
    config: Config,
) -> Result<Disk<T>, StartError> {
    let wanted =
        FEATURE_EVENT_INDEX | FEATURE_SIZE_MAX | FEATURE_READ_ONLY | FEATURE_BLOCK_LEN | FEATURE_FLUSH;
    let features = negotiate(&mut transport, KIND_BLOCK, 0, wanted)?;
    let has = |feature: u64| features & feature != 0;
    let sectors = u64::from_le_bytes(config_bytes::<8>(&transport, 0));
    let word = |offset| u32::from_le_bytes(config_bytes::<4>(&transport, offset));
    let block_len = if has(FEATURE_BLOCK_LEN) { word(20) } else { SECTOR_LEN as u32 };
    let sensible = block_len.is_power_of_two()
        && (SECTOR_LEN as u32..=BLOCK_LEN_MAX).contains(&block_len)
        && sectors.checked_mul(SECTOR_LEN).is_some();
    if !sensible {
        return Err(StartError::Configuration);
    }
    let segment_max = if has(FEATURE_SIZE_MAX) { word(8) } else { u32::MAX };
    let block = block_len as usize;
    let request_len = config.request_len.min(segment_max as usize) / block * block;
    if request_len == 0 && (segment_max as usize) < block {
        return Err(StartError::Configuration);
    }
    let request_len = request_len.max(block);

    let ring = transport.queue_size_max(0).min(config.requests.saturating_mul(4));
    let size = ring.checked_ilog2().map(|power| 1 << power).filter(|size| *size > DESCRIPTORS);
    let size: u16 = size.ok_or(StartError::Queue(0))?;
    let requests = config.requests.min(size / DESCRIPTORS);
    let ring = MappedRing::new(memory, size).map_err(|_| StartError::Memory)?;
    let slot_len = HEAD_LEN + request_len;
    let buffers = memory.allocate(usize::from(requests) * slot_len, 64).ok_or(StartError::Memory)?;
    // SAFETY: the places are those of a ring of this size in memory allocated for it, which is never given back.
    unsafe { transport.install(0, size, ring.places(), config.vector)? };
    transport.announce_changes(None)?;
    let bell = transport.bell(0);
    transport::live(&mut transport);
    let empty = Slot { state: State::Free, number: 0, len: 0 };
    Ok(Disk {
        transport,
        queue: Queue::new(ring, size, has(FEATURE_EVENT_INDEX)),
        bell,
        memory: buffers,
        slots: vec![empty; usize::from(requests)].into_boxed_slice(),
        slot_of: vec![0; usize::from(size)].into_boxed_slice(),
        slot_len,
        request_len,
        sectors,
        block_len,
        features,
        last: 0,
        next: 0,
        counters: DiskCounters::default(),
    })
}

impl<T: Transport> Disk<T> {
    /// Bytes of the disk.
    pub fn capacity(&self) -> u64 {
        self.sectors * SECTOR_LEN
    }

    /// Bytes of a block: requests begin and end with one.
    pub fn block_len(&self) -> usize {
        self.block_len as usize
    }

    /// Bytes of the largest request.
    pub fn request_len(&self) -> usize {
        self.request_len
    }

    /// Whether nothing may be written.
    pub fn read_only(&self) -> bool {
        self.features & FEATURE_READ_ONLY != 0
    }

    /// How the device broke the contract, if it did. Nothing comes to an end from then on.
    pub fn fault(&self) -> Option<Fault> {
        self.queue.fault()
    }

    /// What was counted.
    pub fn counters(&self) -> &DiskCounters {
        &self.counters
    }

    /// Requests that were taken and have not been reported or, if read, released.
    pub fn under_way(&self) -> usize {
        self.slots.iter().filter(|slot| slot.state != State::Free).count()
    }

    /// Asks for `len` bytes from this place of the disk on.
    pub fn read(&mut self, from: u64, len: usize) -> Result<Ticket, Refused> {
        self.check(from, len)?;
        let ticket = self.open()?;
        self.submit(ticket, READ, from, len);
        Ok(ticket)
    }

    /// Has these bytes written from this place of the disk on. They are copied.
    pub fn write(&mut self, to: u64, bytes: &[u8]) -> Result<Ticket, Refused> {
        if self.read_only() {
            return Err(Refused::ReadOnly);
        }
        self.check(to, bytes.len())?;
        let ticket = self.open()?;
        let start = usize::from(ticket.slot) * self.slot_len + HEAD_LEN;
        self.memory.copy_in(start, bytes);
        self.submit(ticket, WRITE, to, bytes.len());
        Ok(ticket)
    }

    /// Has everything kept for good that was asked to be written before.
    pub fn flush(&mut self) -> Result<Ticket, Refused> {
        let ticket = self.open()?;
        self.slots[usize::from(ticket.slot)].state = State::Held;
        self.let_flushes_go();
        Ok(ticket)
    }

    /// Tells the device of the requests, with one notification at most. Says whether there had to be one.
    pub fn kick(&mut self) -> bool {
        let rung = self.queue.publish();
        if rung {
            self.counters.kicks += 1;
            self.bell.ring();
        }
        rung
    }

    /// What is done; `None` when nothing is at the moment. Flushes that waited for it go out by themselves.
    pub fn poll(&mut self) -> Option<Done> {
        if self.queue.armed() {
            self.queue.quiet();
            self.bell.acknowledge();
        }
        let mut any = false;
        while let Some(completion) = self.queue.take() {
            self.complete(completion);
            any = true;
        }
        if any && self.queue.fault().is_none() {
            self.let_flushes_go();
            self.kick();
        }
        for step in 0..self.slots.len() {
            let place = (self.next + step) % self.slots.len();
            let slot = &mut self.slots[place];
            let State::Over(kind, outcome) = slot.state else { continue };
            slot.state = if kind == READ && outcome.is_ok() { State::Read } else { State::Free };
            match (outcome, kind) {
                (Err(_), _) => self.counters.errors += 1,
                (Ok(()), READ) => self.counters.reads += 1,
                (Ok(()), WRITE) => self.counters.writes += 1,
                (Ok(()), _) => self.counters.flushes += 1,
            }
            let ticket = Ticket { slot: place as u16, number: slot.number };
            self.next = (place + 1) % self.slots.len();
            return Some(Done { ticket, outcome });
        }
        None
    }

    /// What was read; empty unless this read was reported as done well and not released yet.
    pub fn bytes(&self, ticket: Ticket) -> &[u8] {
        match self.slots.get(usize::from(ticket.slot)) {
            Some(slot) if slot.number == ticket.number && slot.state == State::Read => {
                let start = usize::from(ticket.slot) * self.slot_len + HEAD_LEN;
                // SAFETY: the device gave the buffer back and was not told of it since (the state says so).
                unsafe { self.memory.bytes(start, slot.len as usize) }
            }
            _ => &[],
        }
    }

    /// What was read has been seen. A ticket that names no such read changes nothing.
    pub fn release(&mut self, ticket: Ticket) {
        if let Some(slot) = self.slots.get_mut(usize::from(ticket.slot))
            && slot.number == ticket.number
            && slot.state == State::Read
        {
            slot.state = State::Free;
        }
    }

    /// Asks for an interrupt when the next request is done, then looks once more: false when one is done already, and
    /// the caller must not sleep.
    #[must_use = "if this is false, nobody will wake the caller"]
    pub fn arm(&mut self) -> bool {
        self.kick();
        let over = |slot: &Slot| matches!(slot.state, State::Over(..));
        self.queue.arm() && !self.slots.iter().any(over)
    }

    /// Stops the device; afterwards it touches no memory.
    pub fn stop(&mut self) -> Result<(), StartError> {
        transport::reset(&mut self.transport)
    }

    fn check(&self, from: u64, len: usize) -> Result<(), Refused> {
        let block = u64::from(self.block_len);
        if len == 0 || !from.is_multiple_of(block) || !(len as u64).is_multiple_of(block) {
            Err(Refused::Misaligned)
        } else if len > self.request_len {
            Err(Refused::TooLong)
        } else if from.checked_add(len as u64).is_none_or(|end| end > self.capacity()) {
            Err(Refused::BeyondEnd)
        } else {
            Ok(())
        }
    }

    fn open(&mut self) -> Result<Ticket, Refused> {
        if self.queue.fault().is_some() {
            return Err(Refused::Broken);
        }
        let free = self.slots.iter().position(|slot| slot.state == State::Free).ok_or(Refused::Busy)?;
        self.last += 1;
        self.slots[free].number = self.last;
        Ok(Ticket { slot: free as u16, number: self.last })
    }

    fn submit(&mut self, ticket: Ticket, kind: u32, place: u64, len: usize) {
        let base = usize::from(ticket.slot) * self.slot_len;
        let mut header = [0; HEADER_LEN];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&(place / SECTOR_LEN).to_le_bytes());
        self.memory.copy_in(base, &header);
        self.memory.copy_in(base + HEADER_LEN, &[UNANSWERED]);
        let segment = |offset: usize, len: usize| Segment {
            address: self.memory.device_address(base + offset),
            len: len as u32,
        };
        let (head, data, answer) = (segment(0, HEADER_LEN), segment(HEAD_LEN, len), segment(HEADER_LEN, 1));
        let (reads, writes): (&[Segment], &[Segment]) = match kind {
            READ => (&[head], &[data, answer]),
            WRITE => (&[head, data], &[answer]),
            _ => (&[head], &[answer]),
        };
        // SAFETY: all of them lie in this request's slot of the block, which is never given back; the slot's state says
        // that it is the device's until the chain was taken back.
        let added = unsafe { self.queue.add(reads, writes) };
        let slot = &mut self.slots[usize::from(ticket.slot)];
        // There are descriptors for every slot; a queue that has just broken keeps the request for good.
        slot.state = State::Out(kind);
        slot.len = len as u32;
        if let Ok(name) = added {
            self.slot_of[usize::from(name)] = ticket.slot;
        }
    }

    fn complete(&mut self, completion: Completion) {
        let place = usize::from(self.slot_of[usize::from(completion.head)]);
        let State::Out(kind) = self.slots[place].state else { return };
        let mut answer = [UNANSWERED];
        self.memory.copy_out(place * self.slot_len + HEADER_LEN, &mut answer);
        let wanted = if kind == READ { self.slots[place].len + 1 } else { 1 };
        let outcome = match answer[0] {
            OK if completion.written < wanted => Err(DiskError::Short),
            OK => Ok(()),
            IO_ERROR => Err(DiskError::Io),
            UNSUPPORTED => Err(DiskError::Unsupported),
            _ => {
                self.queue.condemn(Fault::Nonsense);
                return;
            }
        };
        self.slots[place].state = State::Over(kind, outcome);
    }

    /// Sends flushes on their way for which no earlier write is under way any more.
    fn let_flushes_go(&mut self) {
        for place in 0..self.slots.len() {
            if self.slots[place].state != State::Held {
                continue;
            }
            let number = self.slots[place].number;
            let earlier = |slot: &Slot| slot.state == State::Out(WRITE) && slot.number < number;
            if self.slots.iter().any(earlier) {
                continue;
            }
            if self.features & FEATURE_FLUSH == 0 {
                // A device that cannot be told to flush keeps nothing back (5.2.6.2).
                self.slots[place].state = State::Over(FLUSH, Ok(()));
            } else {
                self.submit(Ticket { slot: place as u16, number }, FLUSH, 0, 0);
            }
        }
    }
}

//! A device in software: the other side of the rings and registers, over [`FakeMemory`]. Honest unless told to lie.

use crate::queue::{Segment, passed};
use crate::ring::{NEXT, Places, WRITE};
use crate::transport::{Bell, StartError, Transport, status};
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use nom_dma::fake::{FakeMemory, Unreachable};

/// Queues of a fake device at most.
pub const QUEUES_MAX: usize = 8;

/// A chain as the device sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub head: u16,
    /// What the device reads.
    pub reads: Vec<Segment>,
    /// Where the device writes.
    pub writes: Vec<Segment>,
}

/// The device's side of one queue.
#[derive(Debug, Clone)]
pub struct DeviceQueue {
    memory: FakeMemory,
    places: Places,
    size: u16,
    event_index: bool,
    next: u16,
    used: u16,
    told: u16,
}

impl DeviceQueue {
    /// A queue as the driver installed it.
    pub fn new(memory: FakeMemory, places: Places, size: u16, event_index: bool) -> Self {
        Self { memory, places, size, event_index, next: 0, used: 0, told: 0 }
    }

    /// Continues at an index.
    pub fn starting_at(mut self, start: u16) -> Self {
        (self.next, self.used, self.told) = (start, start, start);
        self.set_used_index(start);
        self
    }

    /// The next chain that the driver published, if there is one.
    pub fn pop(&mut self) -> Result<Option<Chain>, Unreachable> {
        if self.read_u16(self.places.available + 2)? == self.next {
            return Ok(None);
        }
        let slot = u64::from(self.next % self.size);
        let head = self.read_u16(self.places.available + 4 + 2 * slot)?;
        self.next = self.next.wrapping_add(1);
        let mut chain = Chain { head, reads: Vec::new(), writes: Vec::new() };
        let mut at = head;
        // The driver is trusted no more than the device: a loop ends at the size of the ring.
        for _ in 0..self.size {
            let mut raw = [0; 16];
            self.memory.read(self.places.descriptors + 16 * u64::from(at), &mut raw)?;
            let address = u64::from_le_bytes(raw[..8].try_into().expect("eight"));
            let len = u32::from_le_bytes(raw[8..12].try_into().expect("four"));
            let flags = u16::from_le_bytes([raw[12], raw[13]]);
            let segment = Segment { address, len };
            if flags & WRITE == 0 {
                chain.reads.push(segment)
            } else {
                chain.writes.push(segment)
            }
            if flags & NEXT == 0 {
                return Ok(Some(chain));
            }
            at = u16::from_le_bytes([raw[14], raw[15]]) % self.size;
        }
        Err(Unreachable)
    }

    /// Acts as if the last `count` chains had not been taken yet.
    pub fn put_back(&mut self, count: u16) {
        self.next = self.next.wrapping_sub(count);
    }

    /// Gives a chain back, having written `written` bytes. The driver sees it after [`DeviceQueue::finish`].
    pub fn push(&mut self, head: u16, written: u32) {
        self.push_raw(u32::from(head), written);
    }

    /// Like [`DeviceQueue::push`], with anything.
    pub fn push_raw(&mut self, id: u32, written: u32) {
        let at = self.places.used + 4 + 8 * u64::from(self.used % self.size);
        let mut entry = [0; 8];
        entry[..4].copy_from_slice(&id.to_le_bytes());
        entry[4..].copy_from_slice(&written.to_le_bytes());
        self.memory.write(at, &entry).expect("the used ring is registered");
        self.used = self.used.wrapping_add(1);
    }

    /// Shows the driver what was given back. True when it asked for an interrupt.
    pub fn finish(&mut self) -> bool {
        let (old, new) = (self.told, self.used);
        self.told = new;
        self.set_used_index(new);
        if old == new {
            return false;
        }
        if self.event_index {
            let event = self.read_u16(self.places.available + 4 + 2 * u64::from(self.size));
            passed(event.expect("registered"), new, old)
        } else {
            self.read_u16(self.places.available).expect("registered") & 1 == 0
        }
    }

    /// Writes any used index.
    pub fn set_used_index(&mut self, index: u16) {
        self.memory.write(self.places.used + 2, &index.to_le_bytes()).expect("the used ring is registered");
    }

    /// Asks to be notified of the next chain, or not to be.
    pub fn want_notification(&mut self, want: bool) {
        if self.event_index {
            let event = if want { self.next } else { self.next.wrapping_sub(1) };
            let at = self.places.used + 4 + 8 * u64::from(self.size);
            self.memory.write(at, &event.to_le_bytes()).expect("registered");
        } else {
            let flags = u16::from(!want);
            self.memory.write(self.places.used, &flags.to_le_bytes()).expect("registered");
        }
    }

    /// Reads everything that the driver wants read.
    pub fn gather(&self, chain: &Chain) -> Result<Vec<u8>, Unreachable> {
        let mut bytes = Vec::new();
        for segment in &chain.reads {
            let start = bytes.len();
            bytes.resize(start + segment.len as usize, 0);
            self.memory.read(segment.address, &mut bytes[start..])?;
        }
        Ok(bytes)
    }

    /// Writes into the chain as much as fits; returns how much that was.
    pub fn scatter(&self, chain: &Chain, bytes: &[u8]) -> Result<u32, Unreachable> {
        let mut rest = bytes;
        for segment in &chain.writes {
            let (now, later) = rest.split_at(rest.len().min(segment.len as usize));
            self.memory.write(segment.address, now)?;
            rest = later;
        }
        Ok((bytes.len() - rest.len()) as u32)
    }

    fn read_u16(&self, at: u64) -> Result<u16, Unreachable> {
        let mut raw = [0; 2];
        self.memory.read(at, &mut raw)?;
        Ok(u16::from_le_bytes(raw))
    }
}

/// The registers of a fake device.
#[derive(Debug)]
pub struct FakeRegisters {
    /// Kind of device.
    pub kind: u32,
    /// What it offers.
    pub offered: u64,
    /// What the driver took.
    pub accepted: u64,
    /// Status register.
    pub status: u8,
    /// Sizes of its queues, and where the driver put them.
    pub queues: Vec<(u16, Option<(u16, Places)>)>,
    /// How often each bell was rung.
    pub rung: [u64; QUEUES_MAX],
    /// How often an interrupt was acknowledged.
    pub acknowledged: u64,
    /// Configuration.
    pub config: Vec<u8>,
}

/// What a fake device does when one of its bells is rung.
type OnRing = Box<dyn FnMut(u16)>;

/// A fake device as its driver sees it; clones are the same device.
#[derive(Clone)]
pub struct FakeDevice(Rc<RefCell<FakeRegisters>>, Rc<RefCell<Option<OnRing>>>);

impl core::fmt::Debug for FakeDevice {
    fn fmt(&self, to: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(to)
    }
}

/// A bell of a fake device.
#[derive(Debug, Clone)]
pub struct FakeBell {
    device: FakeDevice,
    queue: u16,
}

impl FakeDevice {
    /// A device that was never started.
    pub fn new(kind: u32, offered: u64, queue_sizes: &[u16], config: &[u8]) -> Self {
        assert!(queue_sizes.len() <= QUEUES_MAX);
        let registers = FakeRegisters {
            kind,
            offered,
            accepted: 0,
            status: 0,
            queues: queue_sizes.iter().map(|size| (*size, None)).collect(),
            rung: [0; QUEUES_MAX],
            acknowledged: 0,
            config: config.to_vec(),
        };
        Self(Rc::new(RefCell::new(registers)), Rc::default())
    }

    /// From now on this is done when a bell is rung, with the number of its queue: for devices that answer at once.
    pub fn on_ring(&self, what: impl FnMut(u16) + 'static) {
        *self.1.borrow_mut() = Some(Box::new(what));
    }

    /// Looks at the registers or changes them.
    pub fn with<R>(&self, what: impl FnOnce(&mut FakeRegisters) -> R) -> R {
        what(&mut self.0.borrow_mut())
    }

    /// The device's side of a queue, once the driver installed it.
    pub fn queue(&self, memory: &FakeMemory, queue: u16) -> Option<DeviceQueue> {
        self.with(|registers| {
            let (size, places) = registers.queues.get(usize::from(queue))?.1?;
            let event_index = registers.accepted & crate::transport::FEATURE_EVENT_INDEX != 0;
            Some(DeviceQueue::new(memory.clone(), places, size, event_index))
        })
    }
}

impl Transport for FakeDevice {
    type Bell = FakeBell;

    fn kind(&self) -> Result<u32, StartError> {
        Ok(self.with(|registers| registers.kind))
    }

    fn status(&self) -> u8 {
        self.with(|registers| registers.status)
    }

    fn set_status(&mut self, value: u8) {
        self.with(|registers| {
            registers.status = value;
            if value == 0 {
                registers.accepted = 0;
                registers.queues.iter_mut().for_each(|queue| queue.1 = None);
            }
            if value & status::FEATURES_OK != 0 && registers.accepted & !registers.offered != 0 {
                registers.status &= !status::FEATURES_OK;
            }
        });
    }

    fn offered(&mut self) -> u64 {
        self.with(|registers| registers.offered)
    }

    fn accept(&mut self, features: u64) {
        self.with(|registers| registers.accepted = features);
    }

    fn queue_size_max(&mut self, queue: u16) -> u16 {
        self.with(|registers| registers.queues.get(usize::from(queue)).map_or(0, |queue| queue.0))
    }

    unsafe fn install(
        &mut self,
        queue: u16,
        size: u16,
        places: Places,
        _vector: Option<u16>,
    ) -> Result<(), StartError> {
        self.with(|registers| {
            let place = registers.queues.get_mut(usize::from(queue)).ok_or(StartError::Queue(queue))?;
            place.1 = Some((size, places));
            Ok(())
        })
    }

    fn bell(&mut self, queue: u16) -> FakeBell {
        FakeBell { device: self.clone(), queue }
    }

    fn config(&self, offset: usize) -> u8 {
        self.with(|registers| registers.config.get(offset).copied().unwrap_or(0))
    }

    fn config_generation(&self) -> u32 {
        0
    }
}

impl Bell for FakeBell {
    fn ring(&self) {
        self.device.with(|registers| registers.rung[usize::from(self.queue)] += 1);
        // Taken out meanwhile, so that it may look at the device.
        let hook = self.device.1.borrow_mut().take();
        if let Some(mut hook) = hook {
            hook(self.queue);
            self.device.1.borrow_mut().get_or_insert(hook);
        }
    }

    fn acknowledge(&self) {
        self.device.with(|registers| registers.acknowledged += 1);
    }
}

/// A device in plain memory in which a driver's registers are found as bytes, for tests of the mapped transports.
pub fn register_memory(len: usize) -> (nom_dma::Window, *mut u8) {
    let words = vec![0u64; len.div_ceil(8)].leak();
    let base = words.as_mut_ptr().cast::<u8>();
    // SAFETY: leaked, so it lives for good, and only volatile accesses reach it from now on.
    (unsafe { nom_dma::Window::new(base as usize, len) }, base)
}

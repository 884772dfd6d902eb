//! The least that reflects frames over a virtio network card: two raw rings over one set of buffers, and nothing else.
//!
//! It is what `drivers/virtio-net` is measured against, and no driver: it believes whatever the device says short of
//! leaving its own memory, keeps no time, loses a frame rather than wait, and knows no other size of frames. A frame
//! goes out from the buffer in which it came in; the descriptors of both rings are numbered like the buffers.

#![no_std]

use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};
use nom_dma::{Block, DmaMemory};
use nom_virtqueue::Places;
use nom_virtqueue::queue::passed;
use nom_virtqueue::ring::WRITE;
use nom_virtqueue::transport::{
    self, Bell, FEATURE_EVENT_INDEX, KIND_NETWORK, StartError, Transport, negotiate,
};

/// Buffers, and entries of each ring: what QEMU has when nobody says otherwise.
const SIZE: u16 = 256;
const MASK: u16 = SIZE - 1;
/// Bytes of a buffer.
const BUFFER_LEN: usize = 2048;
/// The header before every frame.
const HEADER_LEN: usize = 12;
/// Offsets of the available and the used part of a ring, and the length of all.
const AVAILABLE: usize = 16 * SIZE as usize;
const USED: usize = (AVAILABLE + 6 + 2 * SIZE as usize).next_multiple_of(64);
const RING_LEN: usize = (USED + 6 + 8 * SIZE as usize).next_multiple_of(64);
/// The device completes our checksums; we take frames without.
const FEATURES: u64 = FEATURE_EVENT_INDEX | 1 | 1 << 1 | 1 << 5;

struct Ring<B> {
    block: Block,
    bell: B,
    available: u16,
    published: u16,
    used: u16,
}

impl<B: Bell> Ring<B> {
    fn half(&self, offset: usize) -> &AtomicU16 {
        // SAFETY: inside the block (checked by `pointer`), at an even offset, valid for good, reached through atomics only.
        unsafe { AtomicU16::from_ptr(self.block.pointer(offset, 2).as_ptr().cast()) }
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: as for `half`, at an offset that is a multiple of four.
        unsafe { AtomicU32::from_ptr(self.block.pointer(offset, 4).as_ptr().cast()) }
    }

    fn describe(&self, at: u16, address: u64, len: u32, flags: u16) {
        let place = self.block.pointer(16 * usize::from(at), 16).as_ptr().cast::<u64>();
        // SAFETY: as for `half`, at a multiple of sixteen, for two words.
        let (low, high) = unsafe { (AtomicU64::from_ptr(place), AtomicU64::from_ptr(place.add(1))) };
        low.store(address, Ordering::Relaxed);
        high.store(u64::from(len) | u64::from(flags) << 32, Ordering::Relaxed);
    }

    fn put(&mut self, at: u16) {
        self.half(AVAILABLE + 4 + 2 * usize::from(self.available & MASK)).store(at, Ordering::Relaxed);
        self.available = self.available.wrapping_add(1);
    }

    fn take(&mut self) -> Option<(u16, usize)> {
        if self.half(USED + 2).load(Ordering::Acquire) == self.used {
            return None;
        }
        let entry = USED + 4 + 8 * usize::from(self.used & MASK);
        let id = self.word(entry).load(Ordering::Relaxed) as u16 & MASK;
        let len = self.word(entry + 4).load(Ordering::Relaxed) as usize;
        self.used = self.used.wrapping_add(1);
        Some((id, len.min(BUFFER_LEN)))
    }

    /// Publishes what was put; rings when the device wants that.
    fn publish(&mut self) -> bool {
        let (old, new) = (self.published, self.available);
        if old == new {
            return false;
        }
        self.published = new;
        self.half(AVAILABLE + 2).store(new, Ordering::Release);
        fence(Ordering::SeqCst);
        let event = self.half(USED + 4 + 8 * usize::from(SIZE)).load(Ordering::Relaxed);
        let ring = passed(event, new, old);
        if ring {
            self.bell.ring();
        }
        ring
    }

    /// Wants an interrupt when the used index passes this.
    fn interrupt_at(&self, event: u16) {
        self.half(AVAILABLE + 4 + 2 * usize::from(SIZE)).store(event, Ordering::Relaxed);
    }
}

/// A card that reflects.
pub struct Bare<T: Transport> {
    /// Kept, because the card stops without its registers' owner.
    _transport: T,
    receive: Ring<T::Bell>,
    send: Ring<T::Bell>,
    buffers: Block,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Notifications so far.
    pub kicks: u64,
}

/// Starts the card.
pub fn start<T: Transport>(
    mut transport: T,
    memory: &impl DmaMemory,
    vector: Option<u16>,
) -> Result<Bare<T>, StartError> {
    let features = negotiate(&mut transport, KIND_NETWORK, FEATURES, 0)?;
    debug_assert!(features & FEATURES == FEATURES);
    let mac = transport::config_bytes::<6>(&transport, 0);
    let buffers = memory.allocate(usize::from(SIZE) * BUFFER_LEN, 4096).ok_or(StartError::Memory)?;
    let mut ring = |queue: u16, vector: Option<u16>| {
        if transport.queue_size_max(queue) < SIZE {
            return Err(StartError::Queue(queue));
        }
        let block = memory.allocate(RING_LEN, 64).ok_or(StartError::Memory)?;
        let places = Places {
            descriptors: block.device_address(0),
            available: block.device_address(AVAILABLE),
            used: block.device_address(USED),
        };
        // SAFETY: the places are those of a zeroed ring of this size in a block, which is never given back.
        unsafe { transport.install(queue, SIZE, places, vector)? };
        Ok(Ring { block, bell: transport.bell(queue), available: 0, published: 0, used: 0 })
    };
    let mut receive = ring(0, vector)?;
    let send = ring(1, None)?;
    transport.announce_changes(None)?;
    transport::live(&mut transport);
    for at in 0..SIZE {
        let address = buffers.device_address(usize::from(at) * BUFFER_LEN);
        receive.describe(at, address, BUFFER_LEN as u32, WRITE);
        receive.put(at);
    }
    // Never passed within the life of a measurement unless it is moved: half the indices away.
    receive.interrupt_at(u16::MAX / 2);
    send.interrupt_at(u16::MAX / 2);
    let mut bare = Bare { _transport: transport, receive, send, buffers, mac, kicks: 0 };
    bare.kicks += u64::from(bare.receive.publish());
    Ok(bare)
}

impl<T: Transport> Bare<T> {
    /// Reflects what is there: `change` turns a frame round, or says that it is none to answer. Says how many came.
    pub fn turn(&mut self, mut change: impl FnMut(&mut [u8]) -> bool) -> usize {
        let mut came = 0;
        while let Some((at, _)) = self.send.take() {
            self.receive.put(at);
        }
        while let Some((at, len)) = self.receive.take() {
            came += 1;
            let start = usize::from(at) * BUFFER_LEN;
            // SAFETY: inside the block; the device gave this buffer back, and nobody else has it.
            let bytes = unsafe {
                core::slice::from_raw_parts_mut(self.buffers.pointer(start, BUFFER_LEN).as_ptr(), len)
            };
            if len > HEADER_LEN && change(&mut bytes[HEADER_LEN..]) {
                bytes[..HEADER_LEN].fill(0);
                let address = self.buffers.device_address(start);
                self.send.describe(at, address, len as u32, 0);
                self.send.put(at);
            } else {
                self.receive.put(at);
            }
        }
        // No interrupts while somebody looks: both events are kept far ahead.
        self.receive.interrupt_at(self.receive.used.wrapping_add(u16::MAX / 2));
        self.send.interrupt_at(self.send.used.wrapping_add(u16::MAX / 2));
        self.kicks += u64::from(self.send.publish());
        self.kicks += u64::from(self.receive.publish());
        came
    }

    /// Wants an interrupt for the next frame; false when it is there already.
    pub fn arm(&mut self) -> bool {
        self.receive.bell.acknowledge();
        self.receive.interrupt_at(self.receive.used);
        fence(Ordering::SeqCst);
        self.receive.half(USED + 2).load(Ordering::Acquire) == self.receive.used
    }
}

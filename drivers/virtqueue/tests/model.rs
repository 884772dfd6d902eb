//! The races of a queue, explored exhaustively: the queue's own code over modelled memory, against a device that does
//! what the standard asks of it. Each test is repeated with a fence taken away, where it must fail: a model that
//! cannot fail proves nothing.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::thread;
use nom_virtqueue::queue::{Queue, Segment, passed};
use nom_virtqueue::ring::{Cells, Descriptor, Place};

const SIZE: u16 = 2;

/// A ring of two entries in modelled memory.
struct Memory {
    available_flags: AtomicU32,
    available_index: AtomicU32,
    available: [AtomicU32; SIZE as usize],
    used_event: AtomicU32,
    used_flags: AtomicU32,
    used_index: AtomicU32,
    used_id: [AtomicU32; SIZE as usize],
    used_len: [AtomicU32; SIZE as usize],
    available_event: AtomicU32,
    /// Addresses of the descriptors: enough to see that they are written before they are published.
    descriptors: [AtomicU32; SIZE as usize],
    fences: bool,
}

impl Memory {
    fn new(start: u16, fences: bool) -> Arc<Self> {
        let zero = || AtomicU32::new(0);
        let index = || AtomicU32::new(u32::from(start));
        Arc::new(Self {
            available_flags: zero(),
            available_index: index(),
            available: [zero(), zero()],
            used_event: zero(),
            // The device is awake and wants no notification: the flag is set, the event is behind.
            used_flags: AtomicU32::new(1),
            used_index: index(),
            used_id: [zero(), zero()],
            used_len: [zero(), zero()],
            available_event: AtomicU32::new(u32::from(start.wrapping_sub(1))),
            descriptors: [zero(), zero()],
            fences,
        })
    }

    fn cell(&self, place: Place) -> &AtomicU32 {
        match place {
            Place::AvailableFlags => &self.available_flags,
            Place::AvailableIndex => &self.available_index,
            Place::Available(slot) => &self.available[usize::from(slot)],
            Place::UsedEvent => &self.used_event,
            Place::UsedFlags => &self.used_flags,
            Place::UsedIndex => &self.used_index,
            Place::UsedId(slot) => &self.used_id[usize::from(slot)],
            Place::UsedLen(slot) => &self.used_len[usize::from(slot)],
            Place::AvailableEvent => &self.available_event,
        }
    }
}

#[derive(Clone)]
struct Shared(Arc<Memory>);

impl Cells for Shared {
    fn load(&self, place: Place, order: Ordering) -> u32 {
        self.0.cell(place).load(order)
    }

    fn store(&self, place: Place, value: u32, order: Ordering) {
        self.0.cell(place).store(value, order);
    }

    fn describe(&self, at: u16, descriptor: Descriptor) {
        self.0.descriptors[usize::from(at)].store(descriptor.address as u32, Ordering::Relaxed);
    }

    fn fence(&self) {
        if self.0.fences {
            fence(Ordering::SeqCst);
        }
    }
}

/// The driver publishes one chain after the other while the device falls asleep. When both are done, the device has
/// seen everything or its bell was rung after it fell asleep.
fn publish_then_look(start: u16, event_index: bool, fences: bool) {
    loom::model(move || {
        let memory = Memory::new(start, fences);
        let device_memory = memory.clone();
        let device = thread::spawn(move || {
            let mut seen = start;
            // Awake at first: it asked not to be notified. Then it drains, asks for a bell, and looks again.
            for _ in 0..4 {
                let index = device_memory.available_index.load(Ordering::Acquire) as u16;
                while seen != index {
                    let slot = usize::from(seen % SIZE);
                    let head = device_memory.available[slot].load(Ordering::Relaxed) as usize;
                    let address = device_memory.descriptors[head].load(Ordering::Relaxed);
                    assert_ne!(address, 0, "a chain was published before its descriptor");
                    seen = seen.wrapping_add(1);
                }
                if event_index {
                    device_memory.available_event.store(u32::from(seen), Ordering::Relaxed);
                } else {
                    device_memory.used_flags.store(0, Ordering::Relaxed);
                }
                fence(Ordering::SeqCst);
                if device_memory.available_index.load(Ordering::Acquire) as u16 == seen {
                    break;
                }
            }
            seen
        });
        let mut queue = Queue::starting_at(Shared(memory.clone()), SIZE, event_index, start);
        let mut rung_at = None;
        for address in 1..=2 {
            // SAFETY: the modelled device follows no address.
            unsafe { queue.add(&[Segment { address, len: 1 }], &[]) }.unwrap();
            if queue.publish() {
                rung_at = Some(start.wrapping_add(address as u16));
            }
        }
        let end = start.wrapping_add(2);
        let seen = device.join().unwrap();
        // A bell at `rung_at` wakes a device that had seen less.
        let awake = rung_at.is_some_and(|at| at.wrapping_sub(start) > seen.wrapping_sub(start));
        assert!(
            seen == end || awake,
            "the device sleeps with work in the ring: saw {seen}, rung at {rung_at:?}"
        );
    });
}

/// The device uses two chains while the driver falls asleep. When both are done, the driver has seen everything or an
/// interrupt was raised.
fn arm_then_look(start: u16, event_index: bool, fences: bool) {
    loom::model(move || {
        let memory = Memory::new(start, fences);
        let mut queue = Queue::starting_at(Shared(memory.clone()), SIZE, event_index, start);
        for address in 1..=2 {
            // SAFETY: the modelled device follows no address.
            unsafe { queue.add(&[Segment { address, len: 1 }], &[]) }.unwrap();
        }
        let _ = queue.publish();
        let device_memory = memory.clone();
        let device = thread::spawn(move || {
            let mut interrupts = 0;
            for count in 0..2u16 {
                let old = start.wrapping_add(count);
                let new = old.wrapping_add(1);
                let slot = usize::from(old % SIZE);
                device_memory.used_id[slot].store(u32::from(count), Ordering::Relaxed);
                device_memory.used_index.store(u32::from(new), Ordering::Release);
                fence(Ordering::SeqCst);
                let wanted = if event_index {
                    passed(device_memory.used_event.load(Ordering::Relaxed) as u16, new, old)
                } else {
                    device_memory.available_flags.load(Ordering::Relaxed) & 1 == 0
                };
                interrupts += u32::from(wanted);
            }
            interrupts
        });
        let mut taken = 0;
        let mut asleep = false;
        for _ in 0..3 {
            while let Some(completion) = queue.take() {
                assert_eq!(completion.head, taken, "an entry was read before it was written");
                taken += 1;
            }
            assert_eq!(queue.fault(), None);
            if taken == 2 {
                break;
            }
            if queue.arm() {
                asleep = true;
                break;
            }
            queue.quiet();
        }
        let interrupts = device.join().unwrap();
        assert!(!asleep || interrupts > 0, "the driver sleeps with {} entries unseen", 2 - taken);
        // What was left is there after waking.
        while queue.take().is_some() {
            taken += 1;
        }
        assert_eq!(taken, 2);
    });
}

#[test]
fn publish_then_look_with_event_index() {
    publish_then_look(0, true, true);
}

#[test]
fn publish_then_look_where_the_index_wraps() {
    publish_then_look(u16::MAX, true, true);
}

#[test]
fn publish_then_look_with_flags() {
    publish_then_look(0, false, true);
}

#[test]
#[should_panic(expected = "the device sleeps with work in the ring")]
fn publish_then_look_fails_without_its_fence() {
    publish_then_look(0, true, false);
}

#[test]
fn arm_then_look_with_event_index() {
    arm_then_look(0, true, true);
}

#[test]
fn arm_then_look_where_the_index_wraps() {
    arm_then_look(u16::MAX, true, true);
}

#[test]
fn arm_then_look_with_flags() {
    arm_then_look(0, false, true);
}

#[test]
#[should_panic(expected = "the driver sleeps with")]
fn arm_then_look_fails_without_its_fence() {
    arm_then_look(0, true, false);
}

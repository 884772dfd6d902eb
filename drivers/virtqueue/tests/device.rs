//! The queue against a software device: honest ones in any order and with any batch, and ones that lie.

use nom_dma::DmaMemory;
use nom_dma::fake::FakeMemory;
use nom_virtqueue::fake::{DeviceQueue, FakeDevice, register_memory};
use nom_virtqueue::queue::{Fault, Full, Queue, Segment};
use nom_virtqueue::ring::{Cells, MappedRing, Place};
use nom_virtqueue::transport::{self, Mmio, StartError, Transport, status};
use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn add(queue: &mut Queue, reads: &[Segment], writes: &[Segment]) -> Result<u16, Full> {
    // SAFETY: the device is a fake, which reaches nothing but its own memory.
    unsafe { queue.add(reads, writes) }
}

fn pair(size: u16, event_index: bool, start: u16) -> (FakeMemory, Queue, DeviceQueue) {
    let memory = FakeMemory::new(1 << 20);
    let ring = MappedRing::new(&memory, size).unwrap();
    ring.store(Place::AvailableIndex, u32::from(start), Relaxed);
    let places = ring.places();
    let device = DeviceQueue::new(memory.clone(), places, size, event_index).starting_at(start);
    (memory, Queue::starting_at(ring, size, event_index, start), device)
}

/// Random chains, batches, orders of completion and sleeps on both sides, many times round the index.
fn play(seed: u64, size: u16, event_index: bool, rounds: usize) -> u64 {
    let mut random = Random(seed);
    let start = (random.next() as u16) | 0xff00;
    let (memory, mut queue, mut device) = pair(size, event_index, start);
    let mut block = memory.allocate(4096, 64).unwrap();
    block.copy_in(0, &[7; 4096]);
    let mut out: HashMap<u16, (u32, u32)> = HashMap::new();
    let mut held = Vec::new();
    let (mut added, mut taken, mut most_out) = (0u64, 0u64, 0u16);
    let mut device_asleep = false;
    device.want_notification(false);
    for _ in 0..rounds {
        for _ in 0..random.below(6) {
            let parts = 1 + random.below(4) as usize;
            let writes = random.below(parts as u64 + 1) as usize;
            let segments: Vec<Segment> = (0..parts)
                .map(|_| Segment { address: block.device_address(0), len: 1 + random.below(100) as u32 })
                .collect();
            let (reads, writes) = segments.split_at(parts - writes);
            let free = queue.free();
            match add(&mut queue, reads, writes) {
                Ok(head) => {
                    let sum = |of: &[Segment]| of.iter().map(|segment| segment.len).sum::<u32>();
                    assert!(out.insert(head, (sum(reads), sum(writes))).is_none(), "a name in use was given");
                    assert_eq!(queue.free(), free - parts as u16);
                    added += 1;
                }
                Err(Full) => assert!(usize::from(free) < parts),
            }
            most_out = most_out.max(queue.out());
        }
        let fresh = queue.unpublished() > 0;
        let rung = queue.publish();
        assert!(rung || !fresh || !device_asleep, "the device sleeps and was not told");
        if rung || !device_asleep {
            device_asleep = false;
            while let Some(chain) = device.pop().unwrap() {
                let (reads, writes) = out[&chain.head];
                assert_eq!(device.gather(&chain).unwrap().len() as u32, reads);
                assert_eq!(chain.writes.iter().map(|segment| segment.len).sum::<u32>(), writes);
                held.push(chain);
            }
            if random.below(2) == 0 {
                device.want_notification(true);
                device_asleep = true;
            } else {
                device.want_notification(false);
            }
        } else {
            assert!(device.pop().unwrap().is_none());
        }
        let armed = random.below(2) == 0;
        if armed {
            assert!(queue.arm() || queue.look() > 0);
        } else {
            queue.quiet();
        }
        let mut given_back = 0;
        while !held.is_empty() && random.below(4) != 0 {
            let place = random.below(held.len() as u64) as usize;
            let chain = held.swap_remove(place);
            device.push(chain.head, random.below(u64::from(out[&chain.head].1) + 1) as u32);
            given_back += 1;
        }
        let had_all = queue.look() == 0;
        let interrupted = device.finish();
        if given_back > 0 && armed && had_all {
            assert!(interrupted, "asked for an interrupt and got none");
        }
        if !armed {
            assert!(!interrupted, "an interrupt although none was wanted");
        }
        for _ in 0..random.below(8) {
            let Some(completion) = queue.take() else { break };
            let (_, writable) = out.remove(&completion.head).expect("only what is out comes back");
            assert!(completion.written <= writable);
            taken += 1;
        }
        assert_eq!(queue.fault(), None);
        assert_eq!(usize::from(queue.out()), out.len());
    }
    assert!(added - taken <= u64::from(size));
    assert!(most_out > size / 4, "the ring was never full: {most_out}");
    added
}

#[test]
fn any_order_and_batch_keeps_every_chain() {
    for seed in 1..=20 {
        for event_index in [false, true] {
            assert!(play(seed * 0x9e37_79b9, 1 << (1 + seed % 6), event_index, 3_000) > 1_000);
        }
    }
}

#[test]
fn the_index_wraps_many_times() {
    assert!(play(42, 32, true, 200_000) > 3 * 65_536);
    assert!(play(43, 8, false, 150_000) > 3 * 65_536);
}

#[test]
fn an_interrupt_can_be_asked_for_after_several() {
    let (_memory, mut queue, mut device) = pair(16, true, 65_530);
    for _ in 0..12 {
        add(&mut queue, &[Segment { address: 0, len: 1 }], &[]).unwrap();
    }
    let _ = queue.publish();
    let heads: Vec<u16> = (0..12).map(|_| device.pop().unwrap().unwrap().head).collect();
    assert!(queue.arm_after(5));
    for (count, head) in heads.into_iter().enumerate() {
        device.push(head, 0);
        assert_eq!(device.finish(), count == 4, "entry {count}");
    }
    assert_eq!(queue.look(), 12);
}

#[test]
fn without_interrupts_the_event_never_comes_round() {
    let (_memory, mut queue, mut device) = pair(4, true, 0);
    queue.quiet();
    for turn in 0..200_000u32 {
        add(&mut queue, &[Segment { address: 0, len: 1 }], &[]).unwrap();
        let _ = queue.publish();
        let chain = device.pop().unwrap().unwrap();
        device.push(chain.head, 0);
        assert!(!device.finish(), "an interrupt at turn {turn}");
        assert!(queue.take().is_some());
    }
}

type Lie = (&'static str, Fault, fn(&mut DeviceQueue, u16));

#[test]
fn a_device_that_lies_is_declared_broken() {
    let lies: [Lie; 8] = [
        ("an id behind the ring", Fault::NoSuchDescriptor, |device, _| device.push_raw(8, 0)),
        ("a huge id", Fault::NoSuchDescriptor, |device, _| device.push_raw(u32::MAX, 0)),
        ("an id whose low half would fit", Fault::NoSuchDescriptor, |device, head| {
            device.push_raw(0x1_0000 | u32::from(head), 0);
        }),
        ("the middle of a chain", Fault::NotOut, |device, head| device.push(head + 1, 0)),
        ("a free descriptor", Fault::NotOut, |device, head| device.push((head + 5) % 8, 0)),
        ("the same chain twice", Fault::NotOut, |device, head| {
            device.push(head, 0);
            device.push(head, 0);
        }),
        ("more bytes than there is room for", Fault::WroteTooMuch, |device, head| device.push(head, 101)),
        ("more entries than are out", Fault::UsedTooMany, |device, head| {
            (0..3).for_each(|_| device.push(head, 0));
        }),
    ];
    for event_index in [false, true] {
        for (what, fault, lie) in &lies {
            let (memory, mut queue, mut device) = pair(8, event_index, 0);
            let block = memory.allocate(256, 64).unwrap();
            let segment = |len| Segment { address: block.device_address(0), len };
            let head = add(&mut queue, &[segment(16)], &[segment(60), segment(40)]).unwrap();
            add(&mut queue, &[segment(16)], &[]).unwrap();
            let _ = queue.publish();
            lie(&mut device, head);
            device.finish();
            while queue.take().is_some() {}
            assert_eq!(queue.fault(), Some(*fault), "{what}");
            // Dead, but quiet and harmless.
            assert_eq!(queue.take(), None);
            assert_eq!(queue.look(), 0);
            assert_eq!(add(&mut queue, &[segment(1)], &[]), Err(Full));
            assert!(!queue.publish());
            assert!(queue.arm(), "nobody waits for a broken device in a loop");
        }
    }
}

#[test]
fn an_index_that_moves_anywhere_is_found_out() {
    for index in [3u16, 5, 100, 32_768, 65_535] {
        let (_memory, mut queue, mut device) = pair(8, true, 0);
        for _ in 0..3 {
            add(&mut queue, &[Segment { address: 0, len: 1 }], &[]).unwrap();
        }
        let _ = queue.publish();
        // One that was added but never published may not come back either.
        add(&mut queue, &[Segment { address: 0, len: 1 }], &[]).unwrap();
        device.set_used_index(index);
        assert_eq!(queue.look(), if index == 3 { 3 } else { 0 });
        assert_eq!(queue.fault().is_some(), index != 3, "{index}");
    }
    // Backwards, behind what was already seen.
    let (_memory, mut queue, mut device) = pair(8, true, 0);
    for _ in 0..4 {
        add(&mut queue, &[Segment { address: 0, len: 1 }], &[]).unwrap();
    }
    let _ = queue.publish();
    device.set_used_index(3);
    assert_eq!(queue.look(), 3);
    device.set_used_index(2);
    assert_eq!(queue.look(), 0);
    assert_eq!(queue.fault(), Some(Fault::UsedTooMany));
}

#[test]
fn noise_in_the_used_ring_never_panics() {
    for seed in 1..500u64 {
        let mut random = Random(seed);
        let (memory, mut queue, mut device) = pair(8, seed % 2 == 0, 0);
        let block = memory.allocate(64, 64).unwrap();
        let mut names = Vec::new();
        for _ in 0..50 {
            let segment = Segment { address: block.device_address(0), len: 64 };
            if let Ok(head) = add(&mut queue, &[], &[segment]) {
                names.push(head);
            }
            let _ = queue.publish();
            device.push_raw(random.below(10) as u32, random.below(70) as u32);
            if random.below(3) == 0 {
                device.finish();
            }
            while let Some(completion) = queue.take() {
                let place = names.iter().position(|name| *name == completion.head);
                names.swap_remove(place.expect("only what is out comes back"));
                assert!(completion.written <= 64);
            }
        }
    }
}

#[test]
fn rings_of_impossible_sizes_are_refused() {
    let memory = FakeMemory::new(1 << 16);
    for size in [0, 3, 100, 65_535] {
        assert!(MappedRing::new(&memory, size).is_err(), "{size}");
    }
    assert!(MappedRing::new(&memory, 32_768).is_err(), "no memory for it");
    assert!(MappedRing::new(&memory, 1).is_ok());
}

#[test]
fn a_device_is_started_in_the_order_of_the_standard() {
    let offered =
        transport::FEATURE_VERSION_1 | transport::FEATURE_EVENT_INDEX | transport::FEATURE_ACCESS_PLATFORM;
    let mut device = FakeDevice::new(transport::KIND_NETWORK, offered | 0b1010, &[8, 8], &[1, 2, 3]);
    let wrong = transport::negotiate(&mut device, transport::KIND_CONSOLE, 0, 0);
    assert_eq!(wrong, Err(StartError::WrongKind));
    let lacking = transport::negotiate(&mut device, transport::KIND_NETWORK, 0b100, 0);
    assert_eq!(lacking, Err(StartError::Features(0b100)));
    assert_eq!(device.status(), status::FAILED);
    let agreed = transport::negotiate(&mut device, transport::KIND_NETWORK, 0b10, 0b100).unwrap();
    assert_eq!(agreed, transport::FEATURE_VERSION_1 | transport::FEATURE_ACCESS_PLATFORM | 0b10);
    transport::live(&mut device);
    assert_eq!(device.status(), 15);
    assert_eq!(transport::config_bytes::<4>(&device, 1), [2, 3, 0, 0]);
    transport::reset(&mut device).unwrap();
    assert_eq!(device.with(|registers| registers.accepted), 0);
}

#[test]
fn registers_that_are_not_those_of_a_device_are_refused() {
    let (window, _) = register_memory(0x200);
    let mut device = Mmio::new(window);
    let refused = transport::negotiate(&mut device, transport::KIND_NETWORK, 0, 0);
    assert_eq!(refused, Err(StartError::NotModern));
    window.write_u32(0, 0x7472_6976);
    window.write_u32(4, 1);
    assert_eq!(device.kind(), Err(StartError::NotModern), "legacy");
    window.write_u32(4, 2);
    window.write_u32(8, transport::KIND_NETWORK);
    assert_eq!(device.kind(), Ok(transport::KIND_NETWORK));
    let refused = transport::negotiate(&mut device, transport::KIND_NETWORK, 0, 0);
    assert_eq!(refused, Err(StartError::Features(transport::FEATURE_VERSION_1)));
    assert!(StartError::NotModern.to_string().contains("force-legacy=false"));
}

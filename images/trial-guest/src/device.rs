//! Devices: acquiring, registers, interrupts, and that a released one is silent. Where a machine lacks the device that
//! a case wants, the case is skipped and says so.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU16, Ordering};

use nom_runtime::abi::call::CallError;
use nom_runtime::abi::device::kind::{CONSOLE, ENTROPY, NETWORK};
use nom_runtime::device::{Device, Listed, Transport, acquire, list};
use nom_runtime::{heap_region, now_ns, wait};
use nom_trial as trial;
use nom_trial::{Attempts, Fault, read8, read16, read32, write8, write16, write32};

use crate::{Case, NotOk, Outcome, ensure};

pub const CASES: [Case; 6] = [
    ("device_numbers_are_checked", numbers),
    ("device_has_one_owner", one_owner),
    ("device_registers_come_and_go", registers),
    ("device_entropy_interrupts_and_writes", entropy_interrupts),
    ("device_network_interrupts", network_interrupts),
    ("device_console_interrupts", console_interrupts),
];

pub fn text(error: CallError) -> NotOk {
    alloc::format!("{error:?}").into()
}

/// The devices there are; a case without any is skipped.
fn some() -> Result<alloc::vec::Vec<Listed>, NotOk> {
    let found: alloc::vec::Vec<Listed> = list().collect();
    if found.is_empty() { Err(NotOk::Skipped("the machine has no device")) } else { Ok(found) }
}

pub fn registers_address(device: &Device) -> u64 {
    match device.transport {
        Transport::Mmio { registers, .. } => registers as u64,
        Transport::Pci { common, .. } => common as u64,
    }
}

fn numbers() -> Outcome {
    let count = list().count() as u32;
    for number in [count, count + 1, 31, 32, u32::MAX] {
        if number >= count {
            let answer = acquire(number);
            ensure!(answer == Err(CallError::NoSuch), "{number}: {answer:?}");
        }
    }
    Ok(())
}

fn one_owner() -> Outcome {
    for listed in some()? {
        let device = acquire(listed.number).map_err(text)?;
        ensure!(device.kind == listed.kind, "listed as {listed:?}, acquired as {device:?}");
        let again = acquire(listed.number);
        let released = trial::release(device);
        ensure!(again == Err(CallError::Taken), "acquired twice: {again:?}");
        ensure!(released.is_ok(), "{released:?}");
        let answer = trial::release(device);
        ensure!(answer == Err(CallError::NotOwner), "released twice: {answer:?}");
        let answer = device.unmask();
        ensure!(answer == Err(CallError::NotOwner), "unmasked what is not ours: {answer:?}");
    }
    Ok(())
}

fn registers() -> Outcome {
    let _attempts = Attempts::begin();
    for listed in some()? {
        let device = acquire(listed.number).map_err(text)?;
        let at = registers_address(&device);
        let seen = read32(at);
        trial::release(device).map_err(text)?;
        ensure!(seen.is_ok(), "device {}: registers at {at:#x} are not there: {seen:x?}", listed.number);
        let after = read32(at);
        ensure!(after.is_err(), "device {}: registers are still there after release", listed.number);
    }
    Ok(())
}

/// One queue of two entries, laid out as virtio 1.2, 2.7 says.
#[repr(C, align(4096))]
pub struct Queue {
    pub descriptors: [[u64; 2]; 2],
    pub available: [AtomicU16; 8],
    _apart: [u8; 4096 - 48],
    pub used: [AtomicU16; 16],
    data: [u8; 128],
}

impl Queue {
    pub fn new() -> Box<Queue> {
        Box::new(Queue {
            descriptors: [[0; 2]; 2],
            available: [const { AtomicU16::new(0) }; 8],
            _apart: [0; 4096 - 48],
            used: [const { AtomicU16::new(0) }; 16],
            data: [0; 128],
        })
    }

    /// Where the device finds descriptors, what is available, and what is used.
    pub fn places(&self) -> [u64; 3] {
        let (available, used) = (self.available.as_ptr() as usize, self.used.as_ptr() as usize);
        [self.descriptors.as_ptr() as usize, available, used].map(known)
    }
}

/// The device's address of a place in the heap.
fn known(at: usize) -> u64 {
    let region = heap_region();
    region.physical_base + (at - region.virtual_base) as u64
}

/// The few registers that one queue needs, for either transport.
pub struct Registers {
    pub transport: Transport,
    pub queue: u32,
    /// The vector that it raises, where it has vectors.
    pub vector: u32,
}

impl Registers {
    fn set(&self, mmio: u64, pci: u64, wide: bool, value: u32) -> Result<(), Fault> {
        match self.transport {
            Transport::Mmio { registers, .. } => write32(registers as u64 + mmio, value),
            Transport::Pci { common, .. } if wide => write32(common as u64 + pci, value),
            Transport::Pci { common, .. } => write16(common as u64 + pci, value as u16),
        }
    }

    fn status(&self, value: u8) -> Result<(), Fault> {
        match self.transport {
            Transport::Mmio { registers, .. } => write32(registers as u64 + 0x70, u32::from(value)),
            Transport::Pci { common, .. } => write8(common as u64 + 0x14, value),
        }
    }

    pub fn start(&self, places: [u64; 3]) -> Result<(), Fault> {
        self.start_with(places, 2)
    }

    /// Starts it with a queue of so many entries.
    pub fn start_with(&self, places: [u64; 3], entries: u32) -> Result<(), Fault> {
        self.status(0)?;
        self.status(3)?;
        // VERSION_1 is the second word's first bit; nothing else is wanted.
        self.set(0x24, 0x08, true, 1)?;
        // And that the IOMMU is asked, where that is offered: then it must be taken (virtio 1.2, 6.1).
        self.set(0x14, 0x00, true, 1)?;
        let offered = match self.transport {
            Transport::Mmio { registers, .. } => read32(registers as u64 + 0x10)?,
            Transport::Pci { common, .. } => read32(common as u64 + 4)?,
        };
        self.set(0x20, 0x0c, true, 1 | offered & 2)?;
        self.status(11)?;
        self.set(0x30, 0x16, false, self.queue)?;
        self.set(0x38, 0x18, false, entries)?;
        if matches!(self.transport, Transport::Pci { .. }) {
            self.set(0, 0x1a, false, self.vector)?;
        }
        for (mmio, pci, place) in [(0x80, 0x20, places[0]), (0x90, 0x28, places[1]), (0xa0, 0x30, places[2])]
        {
            self.set(mmio, pci, true, place as u32)?;
            self.set(mmio + 4, pci + 4, true, (place >> 32) as u32)?;
        }
        self.set(0x44, 0x1c, false, 1)?;
        self.status(15)
    }

    pub fn notify(&self) -> Result<(), Fault> {
        match self.transport {
            Transport::Mmio { registers, .. } => write32(registers as u64 + 0x50, self.queue),
            Transport::Pci { common, notify, notify_multiplier, .. } => {
                let offset = u64::from(read16(common as u64 + 0x1e)?) * u64::from(notify_multiplier);
                write16(notify as u64 + offset, self.queue as u16)
            }
        }
    }

    fn acknowledge(&self) -> Result<(), Fault> {
        match self.transport {
            Transport::Mmio { registers, .. } => write32(registers as u64 + 0x64, 3),
            // A line falls when its status is read; messages need nothing.
            Transport::Pci { vectors: 0, interrupt_status, .. } => read8(interrupt_status as u64).map(drop),
            Transport::Pci { .. } => Ok(()),
        }
    }
}

/// A queue that sends a header and a frame of nothing, again and again.
pub struct Sending {
    registers: Registers,
    queue: Box<Queue>,
    rounds: u16,
}

impl Sending {
    pub fn start(registers: Registers) -> Result<Sending, NotOk> {
        let mut queue = Queue::new();
        queue.descriptors[0] = [known(queue.data.as_ptr() as usize), 12 + 60];
        registers.start(queue.places()).map_err(fault)?;
        Ok(Sending { registers, queue, rounds: 0 })
    }

    pub fn send(&mut self) -> Outcome {
        self.rounds += 1;
        self.queue.available[1].store(self.rounds, Ordering::Release);
        self.registers.notify().map_err(fault)
    }
}

fn fault(fault: Fault) -> NotOk {
    alloc::format!("a register is not there: {fault:x?}").into()
}

fn entropy_interrupts() -> Outcome {
    let written = interrupts(ENTROPY, 0, true)?;
    ensure!(written > 16, "only {written} of 64 bytes were written");
    Ok(())
}

/// The second queue of a network card sends: a header and a frame of nothing.
fn network_interrupts() -> Outcome {
    interrupts(NETWORK, 1, false).map(|_| ())
}

/// The second queue of a console sends.
fn console_interrupts() -> Outcome {
    interrupts(CONSOLE, 1, false).map(|_| ())
}

/// Has a device of this kind work off one buffer again and again; answers how many of its bytes are not zero then.
fn interrupts(kind: u32, queue_number: u32, device_writes: bool) -> Result<usize, NotOk> {
    const ROUNDS: u16 = 20;
    const PATIENCE_NS: u64 = 10_000_000_000;
    let Some(listed) = list().find(|listed| listed.kind == kind) else {
        return Err(NotOk::Skipped("the machine has no such device"));
    };
    let _attempts = Attempts::begin();
    let device = acquire(listed.number).map_err(text)?;
    let registers = Registers { transport: device.transport, queue: queue_number, vector: 0 };
    let mut queue = Queue::new();
    let data = known(queue.data.as_ptr() as usize);
    let (flags, len) = if device_writes { (2 << 32, 64) } else { (0, 12 + 60) };
    queue.descriptors[0] = [data, flags | len];
    registers.start(queue.places()).map_err(fault)?;
    for round in 1..=ROUNDS {
        // Every entry of the ring names descriptor 0; only the index moves.
        queue.available[1].store(round, Ordering::Release);
        registers.notify().map_err(fault)?;
        let limit = now_ns() + PATIENCE_NS;
        loop {
            let came = wait(Some(limit), device.event());
            let done = queue.used[1].load(Ordering::Acquire);
            registers.acknowledge().map_err(fault)?;
            ensure!(came == device.event(), "round {round}: woken by {came:#x}, the device has done {done}");
            ensure!(done == round || done == round - 1, "round {round}: the device has done {done}");
            // A device may also interrupt for a change of its configuration.
            if done == round {
                break;
            }
        }
    }
    // Masked until asked for: the interrupt of one more request must not come.
    queue.available[1].store(ROUNDS + 1, Ordering::Release);
    registers.notify().map_err(fault)?;
    let early = wait(Some(now_ns() + 5_000_000), 0);
    let late = wait(Some(now_ns() + PATIENCE_NS), device.event());
    registers.acknowledge().map_err(fault)?;
    ensure!(early == 0 && late == device.event(), "masked {early:#x}, unmasked {late:#x}");
    let written = queue.data.iter().filter(|&&byte| byte != 0).count();
    // Released while a request is on its way: the device is reset and stays silent.
    queue.available[1].store(ROUNDS + 2, Ordering::Release);
    registers.notify().map_err(fault)?;
    trial::release(device).map_err(text)?;
    let silent = wait(Some(now_ns() + 2_000_000), 0);
    drop(queue);
    ensure!(silent == 0, "a released device was heard: {silent:#x}");
    Ok(written)
}

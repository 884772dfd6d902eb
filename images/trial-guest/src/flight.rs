//! A network card with every receive buffer posted: the state in which its owner is ended.

use alloc::vec;
use alloc::vec::Vec;

use nom_runtime::abi::device::kind::NETWORK;
use nom_runtime::device::{Transport, acquire_kind};
use nom_runtime::heap_region;
use nom_trial::{read16, read32, write, write32};

use crate::device::Registers;

const BUFFER_LEN: usize = 64;

/// Posts as many buffers as the card's ring holds; how many that were, 0 without a card.
pub fn post() -> u64 {
    let Ok(device) = acquire_kind(NETWORK) else { return 0 };
    let registers = Registers { transport: device.transport, queue: 0, vector: 0 };
    // The largest ring that the card offers stands in the register of its size.
    let entries = match device.transport {
        Transport::Pci { common, .. } => usize::from(read16(common as u64 + 0x18).unwrap_or(0)),
        Transport::Mmio { registers, .. } => {
            let chosen = write32(registers as u64 + 0x30, 0);
            chosen.and_then(|()| read32(registers as u64 + 0x34)).unwrap_or(0) as usize
        }
    };
    let region = heap_region();
    // Descriptors, then what is available, then what is used, each on pages of its own; then the buffers.
    let (available, used) = (16 * entries, 20 * entries + 4096);
    let buffers = (used + 8 * entries + 8192) & !4095;
    let memory: Vec<u64> = vec![0; (buffers + entries * BUFFER_LEN + 4096) / 8];
    let start = (memory.as_ptr() as usize).next_multiple_of(4096);
    let known = region.physical_base + (start - region.virtual_base) as u64;
    let available = (available + 4095) & !4095;
    let used = (used + 4095) & !4095;
    for entry in 0..entries {
        let at = start as u64 + 16 * entry as u64;
        let buffer = known + (buffers + entry * BUFFER_LEN) as u64;
        let written = write(at, buffer).and(write(at + 8, 2 << 32 | BUFFER_LEN as u64));
        if written.is_err() {
            return 0;
        }
    }
    // Flags and index first, then the ring: four entries a word.
    let mut ring = vec![0_u16, entries as u16];
    ring.extend((0..entries as u16).chain([0; 4]));
    for (place, four) in ring.chunks_exact(4).enumerate() {
        let word = four.iter().rev().fold(0, |word, &part| word << 16 | u64::from(part));
        let _ = write((start + available + 8 * place) as u64, word);
    }
    let places = [known, known + available as u64, known + used as u64];
    let running = registers.start_with(places, entries as u32).and_then(|()| registers.notify());
    core::mem::forget(memory);
    if running.is_ok() { entries as u64 } else { 0 }
}

//! Interrupts: the core's own controller with its timer, and the I/O controller.
//!
//! The I/O controller is touched under the kernel's lock only; the core's own controller is its own.

use core::sync::atomic::{AtomicU64, Ordering};

use nom_abi::call::FOREVER;
use nom_abi::statistics::Counter;
use nom_kernel_core::cores::{CORES_MAX, Core};
use nom_kernel_core::devices::{LINES_MAX, Line};

use crate::state::Kernel;
use crate::{clock, count, cpu, processors, state};

/// The timer's vector.
pub const TIMER_VECTOR: u64 = 0x20;
/// The vector by which one core interrupts another.
pub const CALL_VECTOR: u64 = 0x21;
/// The IOMMU has blocked something.
pub const FAULT_VECTOR: u64 = 0x22;
/// Something was plugged in or is to be taken out.
pub const PLUG_VECTOR: u64 = 0x23;
/// Vector of the first device's first interrupt; the others follow.
const DEVICE_VECTOR: u64 = 0x30;
const SPURIOUS_VECTOR: u64 = 0xff;

const ID: u64 = 0x20;
const END_OF_INTERRUPT: u64 = 0xb0;
const SPURIOUS: u64 = 0xf0;
const LOCAL_TIMER: u64 = 0x320;
const LOCAL_LINES: [u64; 2] = [0x350, 0x360];
const TIMER_START: u64 = 0x380;
const TIMER_NOW: u64 = 0x390;
const TIMER_DIVIDER: u64 = 0x3e0;
const MASKED: u32 = 1 << 16;
/// Divider 16: a count of 32 bits then lasts a minute and more, and a tick is below a microsecond everywhere.
const DIVIDE_BY_16: u32 = 3;

static LOCAL: AtomicU64 = AtomicU64::new(0);
static INPUT_OUTPUT: AtomicU64 = AtomicU64::new(0);
/// Timer ticks a nanosecond, with 32 fractional bits.
static TIMER_SCALE: AtomicU64 = AtomicU64::new(0);
/// When each core's timer will interrupt it; 0: it has.
static PROGRAMMED: [AtomicU64; CORES_MAX] = [const { AtomicU64::new(0) }; CORES_MAX];

/// Reads a register.
pub fn read32(address: u64) -> u32 {
    // SAFETY: callers name registers that the kernel has mapped uncached; reading has the device's own effects only.
    unsafe { (address as *const u32).read_volatile() }
}

/// Writes a register.
pub fn write32(address: u64, value: u32) {
    // SAFETY: as for `read32`; no register that the kernel writes makes a device touch memory not its owner's.
    unsafe { (address as *mut u32).write_volatile(value) }
}

fn local(register: u64) -> u64 {
    LOCAL.load(Ordering::Relaxed) + register
}

/// Switches the controllers on. Every line is masked.
pub fn initialise(local_registers: u64, input_output_registers: u64) {
    LOCAL.store(local_registers, Ordering::Relaxed);
    INPUT_OUTPUT.store(input_output_registers, Ordering::Relaxed);
    // The old controllers stay silent.
    cpu::out8(0x21, 0xff);
    cpu::out8(0xa1, 0xff);
    initialise_core();
    for pin in 0..pins() {
        write32(input_output(0x10 + 2 * pin), MASKED);
    }
}

/// Switches this core's own controller on.
pub fn initialise_core() {
    for line in LOCAL_LINES {
        write32(local(line), MASKED);
    }
    let known = TIMER_SCALE.load(Ordering::Relaxed) != 0;
    write32(local(LOCAL_TIMER), if known { 0 } else { MASKED } | TIMER_VECTOR as u32);
    write32(local(TIMER_DIVIDER), DIVIDE_BY_16);
    write32(local(SPURIOUS), 0x100 | SPURIOUS_VECTOR as u32);
}

/// Sends an interrupt command to the core with this identity in its controller.
pub fn command(identity: u32, what: u32) {
    const COMMAND_LOW: u64 = 0x300;
    const COMMAND_HIGH: u64 = 0x310;
    const BUSY: u32 = 1 << 12;
    const ATTEMPTS: usize = 100_000;
    let sent = || read32(local(COMMAND_LOW)) & BUSY == 0;
    (0..ATTEMPTS).any(|_| sent());
    write32(local(COMMAND_HIGH), identity << 24);
    write32(local(COMMAND_LOW), what);
}

/// Starts the timer's counter from its top, to be compared with a clock.
pub fn measure_start() {
    write32(local(TIMER_START), u32::MAX);
}

/// How far it has counted.
pub fn measured() -> u32 {
    u32::MAX - read32(local(TIMER_NOW))
}

/// The timer's frequency is known now.
pub fn set_timer_frequency(ticks_per_s: u64) {
    write32(local(TIMER_START), 0);
    TIMER_SCALE.store(((u128::from(ticks_per_s) << 32) / 1_000_000_000) as u64, Ordering::Relaxed);
    write32(local(LOCAL_TIMER), TIMER_VECTOR as u32);
}

/// Selects a register: where it is reached.
fn input_output(register: u32) -> u64 {
    let base = INPUT_OUTPUT.load(Ordering::Relaxed);
    write32(base, register);
    base + 0x10
}

/// This core's identity in its controller.
pub fn identity() -> u32 {
    read32(local(ID)) >> 24
}

/// How many pins the I/O controller has.
pub fn pins() -> u32 {
    (read32(input_output(1)) >> 16 & 0xff) + 1
}

/// Has a pin interrupt the core that this runs on (active high), or as an entry of the IOMMU's says.
pub fn route_pin(pin: u32, entry: Option<u16>) {
    // VT-d 3.0, 5.1.5.1: the entry's number stands above the bit that says so.
    let to = entry.map_or(identity() << 24, |entry| u32::from(entry) << 17 | 1 << 16);
    write32(input_output(0x11 + 2 * pin), to);
}

/// Keeps a pin out, or lets it in, by its level or by its rising edge.
pub fn mask_pin(pin: u32, vector: u8, level: bool, masked: bool) {
    let how = u32::from(level) << 15 | u32::from(masked) << 16;
    write32(input_output(0x10 + 2 * pin), u32::from(vector) | how);
}

/// The vector of a device's interrupt.
pub fn vector(line: Line) -> u8 {
    DEVICE_VECTOR as u8 + line.number() as u8
}

/// A message that goes to the core that this runs on, past the IOMMU.
pub fn direct(vector: u8) -> (u32, u32) {
    (0xfee0_0000 | identity() << 12, u32::from(vector))
}

/// Writes an entry of an MSI-X table; whether it is masked does not change.
pub fn write_message(entry: u64, (address, data): (u32, u32)) {
    write32(entry, address);
    write32(entry + 4, 0);
    write32(entry + 8, data);
}

/// An interrupt came.
pub fn arrived(vector: u64) {
    match vector {
        TIMER_VECTOR => {
            count(Counter::TimerInterrupts);
            let here = cpu::here();
            PROGRAMMED[usize::from(here.0)].store(0, Ordering::Relaxed);
            processors::attend(here);
        }
        CALL_VECTOR => {
            count(Counter::CoreInterrupts);
            processors::serve();
        }
        vector if (DEVICE_VECTOR..DEVICE_VECTOR + LINES_MAX as u64).contains(&vector) => {
            count(Counter::Interrupts);
            state::with(|kernel| kernel.interrupted(Line::of((vector - DEVICE_VECTOR) as usize)));
        }
        PLUG_VECTOR => {
            count(Counter::Interrupts);
            state::with(Kernel::plugged);
        }
        FAULT_VECTOR => {
            count(Counter::BlockedTransfers);
            state::with(Kernel::transfers_blocked);
        }
        // A spurious interrupt is not to be acknowledged.
        SPURIOUS_VECTOR => return count(Counter::SpuriousInterrupts),
        _ => count(Counter::SpuriousInterrupts),
    }
    write32(local(END_OF_INTERRUPT), 0);
}

/// Nothing is due by time on this core before that: its timer runs until then.
pub fn quiet_until_ns(here: Core) -> u64 {
    PROGRAMMED[usize::from(here.0)].load(Ordering::Relaxed)
}

/// Has this core's timer interrupt it at that time or before; [`FOREVER`]: it need not. A timer that runs and comes sooner
/// is left alone: whoever it wakes asks again for what is still due, and to stop and start it with every wait would be
/// two exits of a virtual machine for each request.
pub fn wake_at(here: Core, at_ns: u64) {
    let programmed = &PROGRAMMED[usize::from(here.0)];
    if at_ns == FOREVER || (1..=at_ns).contains(&programmed.load(Ordering::Relaxed)) {
        return;
    }
    programmed.store(at_ns, Ordering::Relaxed);
    let ns = u128::from(at_ns.saturating_sub(clock::now_ns()));
    let ticks = ((ns * u128::from(TIMER_SCALE.load(Ordering::Relaxed))) >> 32) + 1;
    write32(local(TIMER_START), u32::try_from(ticks).unwrap_or(u32::MAX));
}

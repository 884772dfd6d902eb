//! Interrupts: the core's own controller with its timer, the I/O controller, and one line a device.
//!
//! The I/O controller and the lines are touched under the kernel's lock only; the core's own controller is its own.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nom_abi::call::FOREVER;
use nom_abi::device::DEVICES_MAX;
use nom_abi::statistics::Counter;
use nom_abi::upcall::device_event;
use nom_kernel_core::cores::{CORES_MAX, Core};
use nom_kernel_core::devices::Device;
use nom_kernel_core::iommu;

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
/// Vector of device 0; the others follow.
pub const DEVICE_VECTOR: u64 = 0x40;
const SPURIOUS_VECTOR: u64 = 0xff;
/// How many interrupts of a masked device are put up with until it is stopped: a few may be under way.
const STORM: u32 = 64;

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
/// When each core's timer will interrupt it.
static PROGRAMMED: [AtomicU64; CORES_MAX] = [const { AtomicU64::new(FOREVER) }; CORES_MAX];

/// How a device's interrupt is masked.
struct Line {
    /// A pin of the I/O controller plus 1; 0 when it has none.
    pin: AtomicU32,
    /// Entries of its MSI-X table.
    entries: AtomicU32,
    /// Where that table is.
    table: AtomicU64,
    /// Its messages name this entry of the IOMMU's plus 1; 0 when they name a core.
    remapped: AtomicU32,
    /// Interrupts that came although it is masked.
    unasked: AtomicU32,
}

static LINES: [Line; DEVICES_MAX as usize] = [const {
    Line {
        pin: AtomicU32::new(0),
        entries: AtomicU32::new(0),
        table: AtomicU64::new(0),
        remapped: AtomicU32::new(0),
        unasked: AtomicU32::new(0),
    }
}; DEVICES_MAX as usize];

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
        input_output_write(0x10 + 2 * pin, MASKED);
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

fn input_output_read(register: u32) -> u32 {
    let base = INPUT_OUTPUT.load(Ordering::Relaxed);
    write32(base, register);
    read32(base + 0x10)
}

fn input_output_write(register: u32, value: u32) {
    let base = INPUT_OUTPUT.load(Ordering::Relaxed);
    write32(base, register);
    write32(base + 0x10, value);
}

/// This core's identity in its controller.
pub fn identity() -> u32 {
    read32(local(ID)) >> 24
}

/// How many pins the I/O controller has.
pub fn pins() -> u32 {
    (input_output_read(1) >> 16 & 0xff) + 1
}

/// The device's interrupt comes by a pin of the I/O controller (level, active high).
pub fn attach_pin(device: u32, pin: u32) {
    LINES[device as usize].pin.store(pin + 1, Ordering::Relaxed);
    input_output_write(0x11 + 2 * pin, identity() << 24);
    mask(device);
}

/// The device's interrupts come by messages; all entries of the table lead to its one vector, through an entry of the
/// IOMMU's where there is one.
pub fn attach_messages(device: u32, table: u64, entries: u32, remapped: bool) {
    let line = &LINES[device as usize];
    line.pin.store(0, Ordering::Relaxed);
    line.table.store(table, Ordering::Relaxed);
    line.entries.store(entries, Ordering::Relaxed);
    line.remapped.store(u32::from(remapped), Ordering::Relaxed);
    mask(device);
    let message = if remapped { (iommu::message_address(device as u16), 0) } else { direct(vector(device)) };
    (0..u64::from(entries)).for_each(|entry| write_message(table, entry, message));
}

/// The device is not there any more: its registers are not touched again.
pub fn detach(device: u32) {
    LINES[device as usize].entries.store(0, Ordering::Relaxed);
}

/// The vector of a device.
pub fn vector(device: u32) -> u8 {
    DEVICE_VECTOR as u8 + device as u8
}

/// A message that goes to the core that this runs on, past the IOMMU.
pub fn direct(vector: u8) -> (u32, u32) {
    (0xfee0_0000 | identity() << 12, u32::from(vector))
}

/// Writes an entry of an MSI-X table; whether it is masked does not change.
pub fn write_message(table: u64, entry: u64, (address, data): (u32, u32)) {
    write32(table + 16 * entry, address);
    write32(table + 16 * entry + 4, 0);
    write32(table + 16 * entry + 8, data);
}

fn set_mask(device: u32, masked: bool) {
    let line = &LINES[device as usize];
    if let Some(pin) = line.pin.load(Ordering::Relaxed).checked_sub(1) {
        const LEVEL: u32 = 1 << 15;
        let mask = if masked { MASKED } else { 0 };
        input_output_write(0x10 + 2 * pin, (DEVICE_VECTOR as u32 + device) | LEVEL | mask);
    }
    let table = line.table.load(Ordering::Relaxed);
    for entry in 0..u64::from(line.entries.load(Ordering::Relaxed)) {
        write32(table + 16 * entry + 12, u32::from(masked));
    }
}

/// Keeps a device's interrupts out.
pub fn mask(device: u32) {
    set_mask(device, true);
}

/// Lets the interrupts of these devices in.
pub fn unmask(events: u64) {
    if events == 0 {
        return;
    }
    for device in 0..DEVICES_MAX {
        if events & device_event(device) != 0 {
            LINES[device as usize].unasked.store(0, Ordering::Relaxed);
            set_mask(device, false);
        }
    }
}

/// Has a device's interrupts come to the core that this runs on.
pub fn route_here(device: u32) {
    let line = &LINES[device as usize];
    if let Some(pin) = line.pin.load(Ordering::Relaxed).checked_sub(1) {
        input_output_write(0x11 + 2 * pin, identity() << 24);
    }
    if line.remapped.load(Ordering::Relaxed) == 0 {
        let table = line.table.load(Ordering::Relaxed);
        for entry in 0..u64::from(line.entries.load(Ordering::Relaxed)) {
            write_message(table, entry, direct(vector(device)));
        }
    }
}

/// Counts an interrupt that nobody asked for; true when there were too many.
fn storms(device: u32) -> bool {
    LINES[device as usize].unasked.fetch_add(1, Ordering::Relaxed) == STORM
}

/// An interrupt came.
pub fn arrived(vector: u64) {
    match vector {
        TIMER_VECTOR => {
            count(Counter::TimerInterrupts);
            let here = cpu::here();
            PROGRAMMED[usize::from(here.0)].store(FOREVER, Ordering::Relaxed);
            processors::attend(here);
        }
        CALL_VECTOR => {
            count(Counter::CoreInterrupts);
            processors::serve();
        }
        vector if (DEVICE_VECTOR..DEVICE_VECTOR + u64::from(DEVICES_MAX)).contains(&vector) => {
            count(Counter::Interrupts);
            let device = (vector - DEVICE_VECTOR) as u32;
            state::with(|kernel| {
                mask(device);
                kernel.device_calls(device);
                if storms(device) {
                    kernel.stop_device(Device(device), format_args!("interrupts without end"));
                }
            });
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

/// Has this core's timer interrupt it at that time or before; [`FOREVER`]: it need not. A timer that runs and comes sooner
/// is left alone: whoever it wakes asks again for what is still due, and to stop and start it with every wait would be
/// two exits of a virtual machine for each request.
pub fn wake_at(here: Core, at_ns: u64) {
    let programmed = &PROGRAMMED[usize::from(here.0)];
    if programmed.load(Ordering::Relaxed) <= at_ns {
        return;
    }
    programmed.store(at_ns, Ordering::Relaxed);
    let ns = u128::from(at_ns.saturating_sub(clock::now_ns()));
    let ticks = ((ns * u128::from(TIMER_SCALE.load(Ordering::Relaxed))) >> 32) + 1;
    write32(local(TIMER_START), u32::try_from(ticks).unwrap_or(u32::MAX));
}

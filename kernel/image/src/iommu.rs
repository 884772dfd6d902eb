//! The IOMMU's registers, tables and queue. What stands in them is decided in `nom_kernel_core::iommu`.
//!
//! It is driven for images that are not trusted: from the start nothing reaches memory and no interrupt passes; an
//! acquired device reaches what its owner registered and raises its one interrupt. Everything here happens under the
//! kernel's lock, and an order to forget is waited for.

use core::sync::atomic::{Ordering, fence};

use nom_abi::call::PAGE_LEN;
use nom_kernel_core::devices::LINES_MAX;
use nom_kernel_core::frames::{Frame, Frames, Owner};
use nom_kernel_core::iommu::{self, Blocked, Forget, Unfit, Unit};

use crate::interrupts::{self, FAULT_VECTOR, read32, write32};
use crate::paging::{self, Space};
use crate::{cpu, serial::say};

const CAPABILITIES: u64 = 0x08;
const EXTENDED: u64 = 0x10;
const COMMAND: u64 = 0x18;
const STATUS: u64 = 0x1c;
const BUSES: u64 = 0x20;
const FAULT_STATUS: u64 = 0x34;
const FAULT_CONTROL: u64 = 0x38;
const FAULT_DATA: u64 = 0x3c;
const FAULT_ADDRESS: u64 = 0x40;
const QUEUE_TAIL: u64 = 0x88;
const QUEUE: u64 = 0x90;
const INTERRUPTS: u64 = 0xb8;

const TRANSLATE: u32 = 1 << 31;
const SET_BUSES: u32 = 1 << 30;
const USE_QUEUE: u32 = 1 << 26;
const REMAP: u32 = 1 << 25;
const SET_INTERRUPTS: u32 = 1 << 24;
/// Bits of the status that are no state but orders that were carried out.
const ONCE: u32 = 0x6900_0000;

/// How often an answer is looked for.
const ATTEMPTS: usize = 10_000_000;
/// Orders that the queue holds: one page.
const QUEUE_LEN: u64 = PAGE_LEN / 16;
/// The entry of the first port for plugging.
pub const PORT_ENTRY: u16 = LINES_MAX as u16;
/// Entries of interrupts: a page of them. Those of devices have their own numbers; ports for plugging those behind.
const INTERRUPTS_SIZE: u64 = 7;
/// An IOMMU in use.
pub struct Iommu {
    /// What firmware says of it.
    pub found: nom_acpi::Iommu,
    registers: u64,
    /// What it can do.
    pub unit: Unit,
    buses: Frame,
    queue: Frame,
    interrupts: Frame,
    /// The word that it writes when it is done with its orders.
    answer: Frame,
    tail: u64,
    turn: u32,
}

fn fresh(frames: &mut Frames<'_>) -> Result<Frame, Unfit> {
    let frame = frames.allocate(Owner::KERNEL).ok_or(Unfit("there is no memory for its tables"))?;
    paging::zero(frame);
    Ok(frame)
}

fn put(table: Frame, place: u64, entry: [u64; 2]) {
    let words = &paging::words(table.address() + place * 16, 2);
    // The word that makes it valid is the first: it goes last, and comes first when it is taken away.
    let order = if entry[0] & 1 == 0 { [0, 1] } else { [1, 0] };
    order.into_iter().for_each(|word| words[word].store(entry[word], Ordering::Release));
}

impl Iommu {
    /// Switches it on, with nothing allowed.
    pub fn start(found: nom_acpi::Iommu, space: &Space, frames: &mut Frames<'_>) -> Result<Iommu, Unfit> {
        let registers = space.show_registers(found.address, PAGE_LEN, frames);
        let registers = registers.ok_or(Unfit("its registers cannot be mapped"))?;
        let wide = |at| u64::from(read32(registers + at)) | u64::from(read32(registers + at + 4)) << 32;
        let unit = iommu::unit(wide(CAPABILITIES), wide(EXTENDED), found.interrupts)?;
        let [buses, queue, interrupts, answer] =
            [fresh(frames)?, fresh(frames)?, fresh(frames)?, fresh(frames)?];
        let mut this = Iommu { found, registers, unit, buses, queue, interrupts, answer, tail: 0, turn: 0 };
        this.set(QUEUE, queue.address());
        this.set(BUSES, buses.address());
        this.set(INTERRUPTS, interrupts.address() | INTERRUPTS_SIZE);
        this.write_back();
        for order in [USE_QUEUE, SET_BUSES, SET_INTERRUPTS] {
            this.command(order)?;
        }
        this.forget(&[Forget::Functions, Forget::Translations, Forget::Interrupts]);
        write32(registers + FAULT_DATA, FAULT_VECTOR as u32);
        write32(registers + FAULT_ADDRESS, 0xfee0_0000 | interrupts::identity() << 12);
        write32(registers + FAULT_CONTROL, 0);
        this.command(TRANSLATE)?;
        this.command(REMAP)?;
        Ok(this)
    }

    fn set(&self, register: u64, value: u64) {
        write32(self.registers + register, value as u32);
        write32(self.registers + register + 4, (value >> 32) as u32);
    }

    fn command(&self, order: u32) -> Result<(), Unfit> {
        let state = read32(self.registers + STATUS) & !ONCE;
        write32(self.registers + COMMAND, state | order);
        let done = (0..ATTEMPTS).any(|_| read32(self.registers + STATUS) & order != 0);
        if done { Ok(()) } else { Err(Unfit("it does not do as it is told")) }
    }

    fn write_back(&self) {
        fence(Ordering::SeqCst);
        if self.unit.write_back {
            cpu::write_back_caches();
        }
    }

    /// Has it forget, and waits until it has.
    pub fn forget(&mut self, what: &[Forget]) {
        self.turn = self.turn.wrapping_add(1);
        for &what in what {
            self.order(iommu::order(what));
        }
        self.order(iommu::wait_order(self.turn, self.answer.address()));
        self.write_back();
        write32(self.registers + QUEUE_TAIL, (self.tail * 16) as u32);
        let answer = &paging::words(self.answer.address(), 1)[0];
        if !(0..ATTEMPTS).any(|_| answer.load(Ordering::Acquire) as u32 == self.turn) {
            // Nobody may be given what a device may still reach.
            crate::refuse("the IOMMU does not forget what it was told to");
        }
    }

    fn order(&mut self, order: [u64; 2]) {
        put(self.queue, self.tail, order);
        self.tail = (self.tail + 1) % QUEUE_LEN;
    }

    /// Whether it stands before this function of bus 0.
    pub fn covers(&self, root: nom_pci::Function) -> bool {
        root.bus == 0 && self.found.covers(root.device, root.function)
    }

    /// The table of a bus.
    fn bus(&self, requester: u16) -> Option<Frame> {
        let entry = paging::words(self.buses.address() + u64::from(requester >> 8) * 16, 1)[0]
            .load(Ordering::Relaxed);
        (entry & 1 != 0).then_some(Frame::of(entry))
    }

    /// Makes room for the functions of a bus; false when there is no memory.
    pub fn prepare(&mut self, requester: u16, frames: &mut Frames<'_>) -> bool {
        if self.bus(requester).is_some() {
            return true;
        }
        let Ok(table) = fresh(frames) else { return false };
        put(self.buses, u64::from(requester >> 8), iommu::bus_entry(table.address()));
        self.forget(&[Forget::Functions]);
        true
    }

    /// From now on these tables count for a function; none: it reaches nothing. With `quiet` what is blocked is not
    /// reported any more.
    pub fn assign(&mut self, requester: u16, tables: Option<(u64, u64)>, quiet: bool) {
        let Some(table) = self.bus(requester) else { return };
        let entry = tables.map_or([0, 0], |(root, domain)| iommu::function_entry(root, domain, quiet));
        put(table, u64::from(requester & 0xff), entry);
        self.forget(&[Forget::Functions, Forget::Translations]);
    }

    /// Where an interrupt leads, and whose it is; `None`: nowhere.
    pub fn route(&mut self, entry: u16, to: Option<[u64; 2]>) {
        put(self.interrupts, u64::from(entry) % 256, to.unwrap_or_default());
        self.forget(&[Forget::Interrupts]);
    }

    /// The next request that was blocked.
    pub fn blocked(&self) -> Option<Blocked> {
        const HIGHEST: u64 = 12;
        let records =
            (0..self.unit.fault_count).map(|record| self.registers + self.unit.faults + 16 * record);
        for record in records {
            let word = |at| u64::from(read32(record + at)) | u64::from(read32(record + at + 4)) << 32;
            if let Some(blocked) = iommu::blocked([word(0), word(8)]) {
                write32(record + HIGHEST, 1 << 31);
                return Some(blocked);
            }
        }
        // That there were more than there is room for is known by now.
        const OVERFLOW: u32 = 1;
        write32(self.registers + FAULT_STATUS, OVERFLOW);
        None
    }
}

/// Starts the IOMMU of an image that needs it; where that cannot be, says why.
pub fn start(found: Option<nom_acpi::Iommu>, space: &Space, frames: &mut Frames<'_>) -> Option<Iommu> {
    let answer = match found {
        Some(found) => Iommu::start(found, space, frames),
        None => Err(Unfit("there is none, or more than one (QEMU: -device intel-iommu)")),
    };
    answer
        .map_err(|Unfit(why)| {
            say!("no device for an image that is not trusted: the IOMMU cannot be used, {why}; or say image.trusted = yes");
        })
        .ok()
}

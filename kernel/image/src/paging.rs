//! Physical memory as the kernel sees it, and page tables.
//!
//! All memory is mapped at [`DIRECT`]; registers of devices appear uncached at [`DEVICES`] when asked for. The upper
//! half of every address space is the kernel's and the same everywhere; the lower half is an application's. The
//! kernel reaches an application's memory only by walking its tables, never through its addresses.

use core::sync::atomic::{AtomicU64, Ordering};

use nom_abi::call::{PAGE_LEN, USER_END};
use nom_kernel_core::call::Rights;
use nom_kernel_core::frames::{Frame, Frames, Owner};
use nom_kernel_core::iommu;

use crate::cpu;

/// Where all physical memory is mapped.
pub const DIRECT: u64 = 0xffff_8000_0000_0000;
/// Where registers are mapped: this plus the physical address.
const DEVICES: u64 = 0xffff_8080_0000_0000;
/// Where the kernel's image is mapped: this plus the physical address.
pub const IMAGE: u64 = 0xffff_ffff_8000_0000;
/// Physical addresses that the windows above can show.
pub const PHYSICAL_END: u64 = 1 << 39;

const PRESENT: u64 = 1;
const WRITE: u64 = 2;
const USER: u64 = 4;
const UNCACHED: u64 = 0x18;
const LARGE: u64 = 0x80;
const GLOBAL: u64 = 0x100;
/// Ours: the frame belongs to the application and goes back with the mapping.
const OWNED: u64 = 1 << 9;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const LARGE_LEN: u64 = 2 << 20;

/// Memory by physical address, for whole words.
pub fn words(physical: u64, count: usize) -> &'static [AtomicU64] {
    // SAFETY: callers name RAM that is mapped at DIRECT for good; atomic words may be shared freely.
    unsafe { core::slice::from_raw_parts((DIRECT + physical) as *const AtomicU64, count) }
}

/// Memory by physical address, as bytes that nobody changes while the slice lives.
///
/// # Safety
/// The range must be RAM that is mapped at [`DIRECT`] and not written meanwhile.
pub unsafe fn bytes(physical: u64, len: usize) -> &'static [u8] {
    // SAFETY: the caller vouches for the range.
    unsafe { core::slice::from_raw_parts((DIRECT + physical) as *const u8, len) }
}

/// Makes a frame all zero. Before it changes its owner.
pub fn zero(frame: Frame) {
    // SAFETY: the caller has just been given the frame and nobody else refers to it.
    unsafe { core::ptr::write_bytes((DIRECT + frame.address()) as *mut u8, 0, PAGE_LEN as usize) }
}

/// Copies into a frame.
pub fn fill(frame: Frame, at: usize, from: &[u8]) {
    let from = &from[..from.len().min((PAGE_LEN as usize).saturating_sub(at))];
    // SAFETY: the caller owns the frame; the copy stays inside it.
    unsafe {
        let to = (DIRECT + frame.address()) as *mut u8;
        core::ptr::copy_nonoverlapping(from.as_ptr(), to.add(at), from.len());
    }
}

/// What a leaf of a page table says.
#[derive(Debug, Clone, Copy)]
pub enum Leaf {
    /// An application's own frame.
    Own(Rights),
    /// A frame that the kernel shows to applications, read-only.
    Shown,
    /// A frame of a channel.
    Shared,
    /// A device's registers.
    Registers,
}

impl Leaf {
    fn bits(self) -> u64 {
        match self {
            Leaf::Own(rights) => {
                let write = if rights.write { WRITE } else { 0 };
                let execute = if rights.execute { 0 } else { NO_EXECUTE };
                PRESENT | USER | OWNED | write | execute
            }
            Leaf::Shared => PRESENT | USER | WRITE | NO_EXECUTE,
            Leaf::Shown => PRESENT | USER | NO_EXECUTE,
            Leaf::Registers => PRESENT | USER | WRITE | UNCACHED | NO_EXECUTE,
        }
    }
}

/// An address space: a tree of page tables.
#[derive(Debug, Clone, Copy)]
pub struct Space {
    root: Frame,
    owner: Owner,
}

fn table(frame: u64) -> &'static [AtomicU64] {
    words(frame & ADDRESS, 512)
}

fn index(address: u64, level: u32) -> usize {
    ((address >> (12 + 9 * level)) & 511) as usize
}

fn fresh(frames: &mut Frames<'_>, owner: Owner) -> Option<Frame> {
    let frame = frames.allocate(owner)?;
    zero(frame);
    Some(frame)
}

impl Space {
    /// The entry of an address at a level (0: a page, 1: two MiB), if there are tables down to it.
    fn walk(&self, address: u64, level: u32) -> Option<&'static AtomicU64> {
        let mut here = self.root.address();
        for above in (level + 1..4).rev() {
            let entry = table(here)[index(address, above)].load(Ordering::Relaxed);
            if entry & PRESENT == 0 || entry & LARGE != 0 {
                return None;
            }
            here = entry;
        }
        Some(&table(here)[index(address, level)])
    }

    /// The same, making tables that are missing; `None` when frames run out.
    fn make(&self, address: u64, level: u32, frames: &mut Frames<'_>) -> Option<&'static AtomicU64> {
        let user = if address < DIRECT { USER } else { 0 };
        let mut here = self.root.address();
        for above in (level + 1..4).rev() {
            let entry = &table(here)[index(address, above)];
            let mut value = entry.load(Ordering::Relaxed);
            if value & PRESENT == 0 {
                value = fresh(frames, self.owner)?.address() | PRESENT | WRITE | user;
                entry.store(value, Ordering::Relaxed);
            }
            here = value;
        }
        Some(&table(here)[index(address, level)])
    }

    /// The kernel's own space: all regions of memory, and its image with one set of rights a section.
    pub fn kernel(
        frames: &mut Frames<'_>,
        memory: impl Iterator<Item = (u64, u64)>,
        sections: &[(u64, u64, bool, bool)],
    ) -> Option<Space> {
        let space = Space { root: fresh(frames, Owner::KERNEL)?, owner: Owner::KERNEL };
        for (start, end) in memory {
            let mut at = start & !(LARGE_LEN - 1);
            while at < end {
                let entry = space.make(DIRECT + at, 1, frames)?;
                entry.store(at | PRESENT | WRITE | LARGE | GLOBAL | NO_EXECUTE, Ordering::Relaxed);
                at += LARGE_LEN;
            }
        }
        for &(start, end, write, execute) in sections {
            for at in (start..end).step_by(PAGE_LEN as usize) {
                let bits = if write { WRITE } else { 0 } | if execute { 0 } else { NO_EXECUTE };
                let entry = space.make(at, 0, frames)?;
                entry.store((at - IMAGE) | PRESENT | GLOBAL | bits, Ordering::Relaxed);
            }
        }
        Some(space)
    }

    /// An application's space: the kernel's half and nothing else.
    pub fn application(&self, frames: &mut Frames<'_>, owner: Owner) -> Option<Space> {
        let space = Space { root: fresh(frames, owner)?, owner };
        let (from, to) = (table(self.root.address()), table(space.root.address()));
        for place in 256..512 {
            to[place].store(from[place].load(Ordering::Relaxed), Ordering::Relaxed);
        }
        Some(space)
    }

    /// Where its tables begin.
    pub fn root(&self) -> u64 {
        self.root.address()
    }

    /// Makes it the one in use. `processors` keeps account of who uses which.
    pub fn enter(&self) {
        // SAFETY: every space maps the kernel's half alike.
        unsafe { cpu::set_page_table(self.root.address()) }
    }

    /// Shows registers to the kernel; answers where.
    pub fn show_registers(&self, physical: u64, len: u64, frames: &mut Frames<'_>) -> Option<u64> {
        let end = physical.checked_add(len).filter(|&end| end <= PHYSICAL_END)?;
        let mut at = physical & !(PAGE_LEN - 1);
        while at < end {
            let entry = self.make(DEVICES + at, 0, frames)?;
            entry.store(at | PRESENT | WRITE | UNCACHED | GLOBAL | NO_EXECUTE, Ordering::Relaxed);
            at += PAGE_LEN;
        }
        Some(DEVICES + physical)
    }

    /// The same in large pages, for much. What else lies on them can be seen too.
    pub fn show_large(&self, physical: u64, len: u64, frames: &mut Frames<'_>) -> Option<u64> {
        let end = physical.checked_add(len).filter(|&end| end <= PHYSICAL_END)?;
        for at in (physical & !(LARGE_LEN - 1)..end).step_by(LARGE_LEN as usize) {
            let entry = self.make(DEVICES + at, 1, frames)?;
            let bits = PRESENT | WRITE | LARGE | UNCACHED | GLOBAL | NO_EXECUTE;
            entry.store(at | bits, Ordering::Relaxed);
        }
        Some(DEVICES + physical)
    }

    /// An empty tree of tables for an application's devices.
    pub fn for_devices(frames: &mut Frames<'_>, owner: Owner) -> Option<Space> {
        Some(Space { root: fresh(frames, owner)?, owner })
    }

    /// Lets devices reach what this application sees on a page, with its own rights. Nothing when it sees nothing.
    pub fn reach(&self, devices: &Space, page: u64, frames: &mut Frames<'_>) {
        let seen = self.leaf(page);
        if seen & (PRESENT | OWNED) == PRESENT | OWNED
            && let Some(entry) = devices.make(page, 0, frames)
        {
            entry.store(iommu::leaf(seen & ADDRESS, seen & WRITE != 0), Ordering::Relaxed);
        }
    }

    /// A page is out of reach of devices; true when it was not. They may still know it.
    pub fn unreach(&self, page: u64) -> bool {
        self.walk(page, 0).is_some_and(|entry| entry.swap(0, Ordering::Relaxed) != 0)
    }

    /// Maps a page of an application where nothing is mapped; `None` when frames for tables run out.
    pub fn map(&self, address: u64, physical: u64, leaf: Leaf, frames: &mut Frames<'_>) -> Option<()> {
        let entry = self.make(address, 0, frames)?;
        entry.store(physical & ADDRESS | leaf.bits(), Ordering::Relaxed);
        Some(())
    }

    /// Takes a mapping away; answers the frame if it was the application's own. Other cores may still know it.
    pub fn unmap(&self, address: u64) -> Option<Frame> {
        let entry = self.walk(address, 0)?.swap(0, Ordering::Relaxed);
        cpu::forget_page(address);
        (entry & (PRESENT | OWNED) == PRESENT | OWNED).then_some(Frame::of(entry & ADDRESS))
    }

    /// Changes the rights of an application's own page.
    pub fn protect(&self, address: u64, rights: Rights) {
        if let Some(entry) = self.walk(address, 0) {
            let physical = entry.load(Ordering::Relaxed) & ADDRESS;
            entry.store(physical | Leaf::Own(rights).bits(), Ordering::Relaxed);
            cpu::forget_page(address);
        }
    }

    fn leaf(&self, address: u64) -> u64 {
        if address >= USER_END {
            return 0;
        }
        self.walk(address, 0).map_or(0, |entry| entry.load(Ordering::Relaxed))
    }

    /// Whether every page of a run of bytes has these bits and lacks those.
    fn all(&self, start: u64, len: u64, bits: u64, without: u64) -> bool {
        let Some(end) = start.checked_add(len) else { return false };
        let first = start & !(PAGE_LEN - 1);
        (first..end).step_by(PAGE_LEN as usize).all(|page| {
            let leaf = self.leaf(page);
            leaf & (PRESENT | USER | bits) == PRESENT | USER | bits && leaf & without == 0
        })
    }

    /// The application can read these bytes. (Registers of devices are not for the kernel to read.)
    pub fn readable(&self, start: u64, len: u64) -> bool {
        self.all(start, len, 0, UNCACHED)
    }

    /// The application can write these bytes.
    pub fn writable(&self, start: u64, len: u64) -> bool {
        self.all(start, len, WRITE, UNCACHED)
    }

    /// The application can execute the instruction that begins there.
    pub fn executable(&self, address: u64) -> bool {
        self.all(address, 1, 0, NO_EXECUTE)
    }

    /// These pages are mapped with frames of the application's own.
    pub fn owned(&self, start: u64, pages: u64) -> bool {
        self.all(start, pages * PAGE_LEN, OWNED, 0)
    }

    /// Nothing is mapped on these pages. Stretches without a table are passed in one step.
    pub fn unmapped(&self, start: u64, pages: u64) -> bool {
        let end = start + pages * PAGE_LEN;
        let mut at = start;
        while at < end {
            match self.walk(at, 0) {
                Some(entry) if entry.load(Ordering::Relaxed) & PRESENT != 0 => return false,
                Some(_) => at += PAGE_LEN,
                None => at = (at & !(LARGE_LEN - 1)) + LARGE_LEN,
            }
        }
        true
    }

    /// A word of the application's memory, if it is aligned and can be written.
    pub fn word(&self, address: u64) -> Option<&'static AtomicU64> {
        if !address.is_multiple_of(8) || !self.writable(address, 8) {
            return None;
        }
        let physical = self.leaf(address) & ADDRESS | address & (PAGE_LEN - 1);
        words(physical, 1).first()
    }

    /// Copies bytes out of the application's memory; false when it cannot read them itself.
    pub fn copy_in(&self, from: u64, to: &mut [u8]) -> bool {
        if !self.readable(from, to.len() as u64) {
            return false;
        }
        let mut done = 0;
        while done < to.len() {
            let at = from + done as u64;
            let count = ((PAGE_LEN - at % PAGE_LEN) as usize).min(to.len() - done);
            let physical = self.leaf(at) & ADDRESS | at & (PAGE_LEN - 1);
            // SAFETY: the frame is RAM that the application has mapped; the copy stays inside it and inside `to`. Its
            // other cores may write meanwhile; then the bytes are whatever they are, and they are checked after.
            unsafe {
                let source = (DIRECT + physical) as *const u8;
                core::ptr::copy_nonoverlapping(source, to[done..].as_mut_ptr(), count);
            }
            done += count;
        }
        true
    }

    /// Copies whole words out of the application's memory.
    pub fn words_in<const COUNT: usize>(&self, from: u64) -> Option<[u64; COUNT]> {
        let mut words = [0; COUNT];
        for (place, word) in words.iter_mut().enumerate() {
            let mut bytes = [0; 8];
            if !self.copy_in(from.checked_add(place as u64 * 8)?, &mut bytes) {
                return None;
            }
            *word = u64::from_le_bytes(bytes);
        }
        Some(words)
    }

    /// Writes words into the application's memory at an aligned address; false (and nothing written) when it cannot
    /// write there itself.
    pub fn words_out(&self, to: u64, words: &[u64]) -> bool {
        if !to.is_multiple_of(8) || !self.writable(to, words.len() as u64 * 8) {
            return false;
        }
        for (at, &value) in (to..).step_by(8).zip(words) {
            if let Some(word) = self.word(at) {
                word.store(value, Ordering::Relaxed);
            }
        }
        true
    }

    /// Gives every frame of an application back: its memory and its tables. It must not be in use any more.
    pub fn take_apart(self, frames: &mut Frames<'_>) {
        for entry in &table(self.root.address())[..256] {
            take_apart_below(entry.load(Ordering::Relaxed), 3, frames, self.owner);
        }
        let _ = frames.release(self.root, self.owner);
    }
}

fn take_apart_below(entry: u64, level: u32, frames: &mut Frames<'_>, owner: Owner) {
    if entry & PRESENT == 0 {
        return;
    }
    if level == 0 {
        if entry & OWNED != 0 {
            let _ = frames.release(Frame::of(entry & ADDRESS), owner);
        }
        return;
    }
    for below in table(entry) {
        take_apart_below(below.load(Ordering::Relaxed), level - 1, frames, owner);
    }
    let _ = frames.release(Frame::of(entry & ADDRESS), owner);
}

/// Reads a register of one byte.
pub fn read_register8(address: u64) -> u8 {
    // SAFETY: callers name registers that `show_registers` mapped.
    unsafe { (address as *const u8).read_volatile() }
}

/// Writes a register of one byte.
pub fn write_register8(address: u64, value: u8) {
    // SAFETY: as for reading.
    unsafe { (address as *mut u8).write_volatile(value) }
}

/// Writes a register of two bytes.
pub fn write_register16(address: u64, value: u16) {
    // SAFETY: as for reading.
    unsafe { (address as *mut u16).write_volatile(value) }
}

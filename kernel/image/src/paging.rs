//! Physical memory as the kernel sees it, and page tables.
//!
//! All memory is mapped at [`DIRECT`]; registers of devices appear uncached at [`DEVICES`] when asked for. The upper
//! half of every address space is the kernel's and the same everywhere; the lower half is an application's. The
//! kernel reaches an application's memory only by walking its tables, never through its addresses.

use core::sync::atomic::{AtomicU64, Ordering};

use nom_abi::call::{FILL_FRAMES_MAX, LARGE_PAGES, PAGE_LEN, USER_END};
use nom_kernel_core::call::Rights;
use nom_kernel_core::frames::{Frame, Frames, Owner};
use nom_kernel_core::iommu;

use crate::{cpu, processors};

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
const LARGE_LEN: u64 = LARGE_PAGES * PAGE_LEN;
/// Of the entry of a large page that is not filled yet: how many of its frames are zero.
const FILLED: u64 = (LARGE_PAGES - 1) * PAGE_LEN;

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
                let access = if rights.access { USER } else { 0 };
                let write = if rights.write { WRITE } else { 0 };
                let execute = if rights.execute { 0 } else { NO_EXECUTE };
                PRESENT | OWNED | access | write | execute
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

/// A table. An application's stay until it ends, so they go where they break no large page; the kernel's own are made
/// when only low memory can be reached.
fn fresh(frames: &mut Frames<'_>, owner: Owner) -> Option<Frame> {
    let frame = if owner == Owner::KERNEL { frames.allocate(owner) } else { frames.allocate_last(owner) }?;
    zero(frame);
    Some(frame)
}

impl Space {
    /// The last entry on the way to an address, and what of the address space it stands for: a page of 4 KiB or 2 MiB,
    /// or a stretch without tables.
    fn descend(&self, address: u64) -> (&'static AtomicU64, u64) {
        let mut here = self.root.address();
        let mut level = 3;
        loop {
            let entry = &table(here)[index(address, level)];
            let value = entry.load(Ordering::Relaxed);
            if level == 0 || value & PRESENT == 0 || value & LARGE != 0 {
                return (entry, PAGE_LEN << (9 * level));
            }
            here = value;
            level -= 1;
        }
    }

    /// The entry of an address at a level (0: a page, 1: two MiB), making tables that are missing; `None` when frames
    /// run out.
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

    /// The kernel's own space: all regions of memory, and its image with one set of rights a section. What cannot be
    /// written there cannot be written where all memory is mapped either.
    pub fn kernel(
        frames: &mut Frames<'_>,
        memory: impl Iterator<Item = (u64, u64)>,
        sections: &[(u64, u64, bool, bool)],
    ) -> Option<Space> {
        let space = Space { root: fresh(frames, Owner::KERNEL)?, owner: Owner::KERNEL };
        let constant = |at: u64, len: u64| {
            let overlaps = |start: u64, end: u64| start - IMAGE < at + len && at < end - IMAGE;
            sections.iter().any(|&(start, end, write, _)| !write && overlaps(start, end))
        };
        for (start, end) in memory {
            let mut at = start & !(LARGE_LEN - 1);
            while at < end {
                if constant(at, LARGE_LEN) {
                    for page in (at..at + LARGE_LEN).step_by(PAGE_LEN as usize) {
                        let write = if constant(page, PAGE_LEN) { 0 } else { WRITE };
                        let entry = space.make(DIRECT + page, 0, frames)?;
                        entry.store(page | PRESENT | write | GLOBAL | NO_EXECUTE, Ordering::Relaxed);
                    }
                } else {
                    let entry = space.make(DIRECT + at, 1, frames)?;
                    entry.store(at | PRESENT | WRITE | LARGE | GLOBAL | NO_EXECUTE, Ordering::Relaxed);
                }
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

    /// Shows memory to the kernel at a further place, where it has neighbours of its choice.
    pub fn show_memory(&self, at: u64, first: Frame, pages: u64, frames: &mut Frames<'_>) -> Option<()> {
        for page in 0..pages {
            let entry = self.make(at + page * PAGE_LEN, 0, frames)?;
            let physical = Frame(first.0 + page).address();
            entry.store(physical | PRESENT | WRITE | GLOBAL | NO_EXECUTE, Ordering::Relaxed);
        }
        Some(())
    }

    /// Looks at every page of the kernel's half: how many there are, how many of them can be written and executed, and
    /// how many can be written although they lie on the physical addresses from `start` to `end`.
    pub fn examine(&self, start: u64, end: u64) -> [usize; 3] {
        let (mut at, mut found) = (DIRECT, [0; 3]);
        loop {
            let (entry, size) = self.descend(at);
            let value = entry.load(Ordering::Relaxed);
            if value & PRESENT != 0 {
                let write = value & WRITE != 0;
                let physical = value & ADDRESS & !(size - 1);
                found[0] += 1;
                found[1] += usize::from(write && value & NO_EXECUTE == 0);
                found[2] += usize::from(write && physical < end && start < physical + size);
            }
            match at.checked_add(size) {
                Some(next) => at = next,
                None => return found,
            }
        }
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

    /// The end of the page that an address lies on, or of the stretch without tables.
    pub fn page_end(&self, address: u64) -> u64 {
        let (_, size) = self.descend(address);
        (address & !(size - 1)) + size
    }

    /// Lets devices reach what this application sees on a page, with its own rights; nothing when it sees nothing. With
    /// `large` one leaf stands for 2 MiB, unless a table is there already.
    pub fn reach(&self, devices: &Space, page: u64, large: bool, frames: &mut Frames<'_>) {
        const REACHABLE: u64 = PRESENT | USER | OWNED;
        let (seen, size) = self.leaf(page);
        if seen & REACHABLE != REACHABLE {
            return;
        }
        let leaf = |at: u64| iommu::leaf((seen & ADDRESS) + (at - page), seen & WRITE != 0);
        let entry = if large && size == LARGE_LEN { devices.make(page, 1, frames) } else { None };
        if let Some(entry) = entry
            && entry.load(Ordering::Relaxed) & (PRESENT | LARGE) != PRESENT
        {
            return entry.store(leaf(page) | LARGE, Ordering::Relaxed);
        }
        for at in (page..page + size).step_by(PAGE_LEN as usize) {
            if let Some(entry) = devices.make(at, 0, frames) {
                entry.store(leaf(at), Ordering::Relaxed);
            }
        }
    }

    /// Pages are out of reach of devices; true when one of them was not. They may still know it.
    pub fn unreach(&self, start: u64, pages: u64) -> bool {
        let (mut at, mut changed) = (start, false);
        while at < start + pages * PAGE_LEN {
            let (entry, size) = self.descend(at);
            changed |= entry.swap(0, Ordering::Relaxed) != 0;
            at = (at & !(size - 1)) + size;
        }
        changed
    }

    /// Maps a page of an application where nothing is mapped; `None` when frames for tables run out.
    pub fn map(&self, address: u64, physical: u64, leaf: Leaf, frames: &mut Frames<'_>) -> Option<()> {
        let entry = self.make(address, 0, frames)?;
        entry.store(physical & ADDRESS | leaf.bits(), Ordering::Relaxed);
        Some(())
    }

    /// Gives an application's page a frame of its own that still holds what its last owner left: nobody reaches it
    /// before [`Space::fill`] has been there. `None` when frames for tables run out.
    pub fn reserve(
        &self,
        address: u64,
        physical: u64,
        rights: Rights,
        large: bool,
        frames: &mut Frames<'_>,
    ) -> Option<()> {
        let size = if large { LARGE } else { 0 };
        let entry = self.make(address, u32::from(large), frames)?;
        let old =
            entry.swap(physical & ADDRESS | size | Leaf::Own(rights).bits() & !PRESENT, Ordering::Relaxed);
        if old & PRESENT != 0 {
            // Pages of 4 KiB were here before: their table is empty now. No processor may look into it any more.
            cpu::forget_page(address);
            processors::forget(self);
            let _ = frames.release(Frame::of(old & ADDRESS), self.owner);
        }
        Some(())
    }

    /// Fills reserved pages with zeroes from page `done` on and lets the application reach them; answers how many pages
    /// are done. What an application says is done already it will not get.
    pub fn fill(&self, start: u64, pages: u64, mut done: u64) -> u64 {
        let stop = pages.min(done.saturating_add(FILL_FRAMES_MAX));
        while done < stop {
            let (entry, size) = self.descend(start + done * PAGE_LEN);
            let value = entry.load(Ordering::Relaxed);
            if value & (PRESENT | OWNED) == OWNED {
                zero(Frame::of(value & ADDRESS));
                let next = value + PAGE_LEN;
                let full = if size == PAGE_LEN {
                    value | PRESENT
                } else if next & FILLED == 0 {
                    (next - LARGE_LEN) | PRESENT
                } else {
                    next
                };
                entry.store(full, Ordering::Relaxed);
            }
            done += 1;
        }
        done
    }

    /// Takes a mapping away: answers what it stood for, and the first frame if those were the application's own. Other
    /// cores may still know it.
    pub fn unmap(&self, address: u64) -> (u64, Option<Frame>) {
        let (entry, size) = self.descend(address);
        let value = entry.swap(0, Ordering::Relaxed);
        cpu::forget_page(address);
        (size, (value & OWNED != 0).then_some(Frame::of(value & ADDRESS & !(size - 1))))
    }

    /// Changes the rights of an application's own page; answers its bytes.
    pub fn protect(&self, address: u64, rights: Rights) -> u64 {
        let (entry, size) = self.descend(address);
        // Where its frame is, and whether it is filled, stays.
        let kept = entry.load(Ordering::Relaxed) & (ADDRESS | LARGE | PRESENT);
        entry.store(kept | Leaf::Own(rights).bits() & !PRESENT, Ordering::Relaxed);
        cpu::forget_page(address);
        size
    }

    /// The entry of the page at an address, as if it were one of 4 KiB, and the bytes of the page.
    fn leaf(&self, address: u64) -> (u64, u64) {
        if address >= USER_END {
            return (0, PAGE_LEN);
        }
        let (entry, size) = self.descend(address);
        let value = entry.load(Ordering::Relaxed);
        (value | if size == LARGE_LEN { address & FILLED } else { 0 }, size)
    }

    /// A page of 2 MiB lies there, or will.
    pub fn large(&self, address: u64) -> bool {
        let (leaf, size) = self.leaf(address);
        leaf & OWNED != 0 && size == LARGE_LEN
    }

    /// The physical address behind an application's own page, or 0.
    pub fn physical(&self, address: u64) -> u64 {
        let (leaf, _) = self.leaf(address);
        if leaf & (PRESENT | OWNED) == PRESENT | OWNED { leaf & ADDRESS } else { 0 }
    }

    /// Whether every page of a run of bytes has these bits and lacks those.
    fn all(&self, start: u64, len: u64, bits: u64, without: u64) -> bool {
        let Some(end) = start.checked_add(len) else { return false };
        let mut at = start;
        while at < end {
            let (leaf, size) = self.leaf(at);
            if leaf & bits != bits || leaf & without != 0 {
                return false;
            }
            at = (at & !(size - 1)) + size;
        }
        true
    }

    /// The application can read these bytes. (Registers of devices are not for the kernel to read.)
    pub fn readable(&self, start: u64, len: u64) -> bool {
        self.all(start, len, PRESENT | USER, UNCACHED)
    }

    /// The application can write these bytes.
    pub fn writable(&self, start: u64, len: u64) -> bool {
        self.all(start, len, PRESENT | USER | WRITE, UNCACHED)
    }

    /// The application can execute the instruction that begins there.
    pub fn executable(&self, address: u64) -> bool {
        self.all(address, 1, PRESENT | USER, NO_EXECUTE)
    }

    /// These pages have frames of the application's own.
    pub fn owned(&self, start: u64, pages: u64) -> bool {
        self.all(start, pages * PAGE_LEN, OWNED, 0)
    }

    /// Nothing is mapped on these pages.
    pub fn unmapped(&self, start: u64, pages: u64) -> bool {
        self.every(start, pages, |value| value == 0)
    }

    /// On these pages lies nothing but frames of the application's own.
    pub fn only_owned(&self, start: u64, pages: u64) -> bool {
        self.every(start, pages, |value| value == 0 || value & OWNED != 0)
    }

    /// Whether all entries of a run of pages are right. Stretches without a table are passed in one step.
    fn every(&self, start: u64, pages: u64, right: impl Fn(u64) -> bool) -> bool {
        let end = start + pages * PAGE_LEN;
        let mut at = start;
        while at < end {
            let (entry, size) = self.descend(at);
            if !right(entry.load(Ordering::Relaxed)) {
                return false;
            }
            at = (at & !(size - 1)) + size;
        }
        true
    }

    /// Words of the application's memory from an aligned address to at most the end of its page, if the application
    /// can write there. One walk: what is checked is what is used. (Registers of devices are not memory.)
    pub fn words(&self, address: u64, count: usize) -> Option<&'static [AtomicU64]> {
        let (leaf, _) = self.leaf(address);
        let memory = leaf & (PRESENT | USER | WRITE | UNCACHED) == PRESENT | USER | WRITE;
        let place = address % PAGE_LEN;
        let left = ((PAGE_LEN - place) / 8) as usize;
        (memory && address.is_multiple_of(8)).then(|| words(leaf & ADDRESS | place, count.min(left)))
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
            let physical = self.leaf(at).0 & ADDRESS | at & (PAGE_LEN - 1);
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
        let mut bytes = [[0; 8]; COUNT];
        self.copy_in(from, bytes.as_flattened_mut()).then(|| bytes.map(u64::from_le_bytes))
    }

    /// Writes words into the application's memory at an aligned address; false (and nothing written) when it cannot
    /// write there itself.
    pub fn words_out(&self, to: u64, words: &[u64]) -> bool {
        // The second page, when they reach one, is seen before anything is written to the first.
        let Some(first) = self.words(to, words.len()) else { return false };
        let (here, there) = words.split_at(first.len());
        let second = match there {
            [] => &[],
            _ => match self.words(to + 8 * here.len() as u64, there.len()) {
                Some(second) if second.len() == there.len() => second,
                _ => return false,
            },
        };
        for (word, &value) in first.iter().chain(second).zip(words) {
            word.store(value, Ordering::Relaxed);
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

/// Gives the frames of a page back.
pub fn release(frames: &mut Frames<'_>, first: Frame, size: u64, owner: Owner) {
    for frame in first.0..first.0 + size / PAGE_LEN {
        let _ = frames.release(Frame(frame), owner);
    }
}

fn take_apart_below(entry: u64, level: u32, frames: &mut Frames<'_>, owner: Owner) {
    if entry & OWNED != 0 {
        let size = PAGE_LEN << (9 * level);
        release(frames, Frame::of(entry & ADDRESS & !(size - 1)), size, owner);
    }
    // (A leaf of 2 MiB that is not owned is one of a device's.)
    if level == 0 || entry & (OWNED | LARGE) != 0 || entry & PRESENT == 0 {
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

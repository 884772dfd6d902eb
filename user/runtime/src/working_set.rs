//! Self-paging: memory that is larger than the frames it may take. An application keeps a working set of it resident
//! and the rest packed in a store of a fixed size, all by itself: the kernel only tells it of its faults and carries out
//! what it maps.
//!
//! ```text
//! // 256 pages of data in 32 frames; the others are stored in at most 1 MiB.
//! let mut data = WorkingSet::reserve(256, 32, 1 << 20)?;
//! data.write(70_000, b"anywhere");
//! log!("{:?}", data.counts());
//! ```
//!
//! Which page goes and how it is stored is decided in `user/paging`, which knows no machine. A page that the clock hand
//! has passed keeps its frame but allows no access, so that the next touch is seen; a page that was not written since it
//! came allows none to write.

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use nom_abi::call::{CallError, NO_ACCESS, PAGE_LEN, WRITE};
use nom_paging::{Access, Content, Counts, GRANULE_LEN, Memory, NoFrame, Pager};

use crate::call::{map, protect, unmap, unmap_sparse};

const ADDRESS: u64 = 0x3600_0000_0000;
/// The most pages of one (64 GiB).
pub const PAGES_MAX: usize = 1 << 24;
const ROOM: u64 = PAGES_MAX as u64 * PAGE_LEN;
/// The most working sets at a time.
pub const SETS_MAX: usize = 4;

struct Set {
    place: usize,
    pages: usize,
    /// The context that may touch it.
    context: usize,
    /// A fault is being served: one more would be the pager's own.
    busy: AtomicBool,
    pager: UnsafeCell<Pager>,
}

static SETS: [AtomicPtr<Set>; SETS_MAX] = [const { AtomicPtr::new(core::ptr::null_mut()) }; SETS_MAX];

/// A fault came: true when it was at a page of a working set, which can be touched so now.
pub(crate) fn serve(address: u64, error: u64) -> bool {
    const WRITING: u64 = 2;
    let Some(within) = address.checked_sub(ADDRESS) else { return false };
    let Some(place) = SETS.get((within / ROOM) as usize) else { return false };
    // SAFETY: a set is here from when it is whole until it is dropped, and both happen on the context that touches it.
    let Some(set) = (unsafe { place.load(Ordering::Acquire).as_ref() }) else { return false };
    if set.context != crate::context() || set.busy.swap(true, Ordering::Acquire) {
        return false;
    }
    let page = (within % ROOM / PAGE_LEN) as usize;
    // SAFETY: `busy` was free and the context is the set's own: nobody else has the pager.
    let pager = unsafe { &mut *set.pager.get() };
    let outcome = pager.fault(page, error & WRITING != 0, &mut Pages { place: set.place });
    set.busy.store(false, Ordering::Release);
    if let Err(why) = outcome {
        crate::log!("page {page} of a working set of {}: {why:?}", set.pages);
    }
    outcome.is_ok()
}

/// The pages of a set, as the kernel has them.
struct Pages {
    place: usize,
}

impl Pages {
    fn address(&self, page: usize) -> u64 {
        ADDRESS + self.place as u64 * ROOM + page as u64 * PAGE_LEN
    }
}

impl Memory for Pages {
    fn give(&mut self, page: usize) -> Result<(), NoFrame> {
        map(self.address(page), 1, WRITE).map(|_| ()).map_err(|_| NoFrame)
    }

    fn take(&mut self, page: usize) {
        // SAFETY: the content was stored; whoever touches it again faults and gets it back.
        let _ = unsafe { unmap(self.address(page), 1) };
    }

    fn allow(&mut self, page: usize, access: Access) {
        let flags = match access {
            Access::None => NO_ACCESS,
            Access::Read => 0,
            Access::Write => WRITE,
        };
        // SAFETY: whoever touches it against these rights faults, and gets the right.
        let _ = unsafe { protect(self.address(page), 1, flags) };
    }

    fn content(&mut self, page: usize) -> &mut Content {
        // SAFETY: the pager asks for resident pages only, and only while the program that uses them stands still.
        unsafe { &mut *(self.address(page) as *mut Content) }
    }
}

/// Memory of which only a part is resident. It belongs to the context that made it.
#[derive(Debug)]
pub struct WorkingSet {
    place: usize,
    len: usize,
    /// Neither sent to nor shared with another context: its faults would come there.
    own: PhantomData<*mut ()>,
}

impl WorkingSet {
    /// Reserves memory of so many pages, of which `bound` may have frames at a time, with a store of so many bytes. In
    /// the worst case a page needs a little more than its own length there; when it has no room for a page that has
    /// to go, the application ends with a line that says so.
    pub fn reserve(pages: usize, bound: usize, store_len: usize) -> Result<WorkingSet, CallError> {
        if pages == 0 || pages > PAGES_MAX || bound > pages || store_len / GRANULE_LEN >= u32::MAX as usize {
            return Err(CallError::BadLength);
        }
        let pager = Pager::new(pages, bound, store_len / GRANULE_LEN);
        let set = Box::new(Set {
            place: 0,
            pages,
            context: crate::context(),
            busy: AtomicBool::new(false),
            pager: UnsafeCell::new(pager),
        });
        let set = Box::into_raw(set);
        for (place, found) in SETS.iter().enumerate() {
            // SAFETY: the set is still ours alone.
            unsafe { (*set).place = place }
            let null = core::ptr::null_mut();
            if found.compare_exchange(null, set, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                let len = pages * PAGE_LEN as usize;
                return Ok(WorkingSet { place, len, own: PhantomData });
            }
        }
        // SAFETY: it came from a box and nobody else has it.
        drop(unsafe { Box::from_raw(set) });
        Err(CallError::NoSuch)
    }

    /// Its bytes in all.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: a working set has at least one page.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn place(&self, at: usize, len: usize) -> *mut u8 {
        assert!(
            at.checked_add(len).is_some_and(|end| end <= self.len),
            "{at} + {len} is beyond {}",
            self.len
        );
        (Pages { place: self.place }.address(0) as usize + at) as *mut u8
    }

    /// Copies bytes out of it. Panics when they are not within it.
    pub fn read(&self, at: usize, into: &mut [u8]) {
        let from = self.place(at, into.len());
        // SAFETY: the range is this value's alone, and touching a page makes it readable.
        unsafe { core::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) }
    }

    /// Copies bytes into it. Panics when they are not within it.
    pub fn write(&mut self, at: usize, from: &[u8]) {
        let to = self.place(at, from.len());
        // SAFETY: as for reading, and the value is borrowed alone.
        unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) }
    }

    /// Faults, evictions and the like so far, and how many pages are resident.
    pub fn counts(&self) -> (Counts, usize) {
        // SAFETY: the set lives as long as this value; its pager changes only in faults of this context, of which none is
        // served while this runs.
        let pager = unsafe { &*(*SETS[self.place].load(Ordering::Acquire)).pager.get() };
        (pager.counts(), pager.resident())
    }
}

impl Drop for WorkingSet {
    fn drop(&mut self) {
        let set = SETS[self.place].swap(core::ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: the value is gone, and with it all that could refer to its pages.
        let _ = unsafe {
            unmap_sparse(Pages { place: self.place }.address(0), (self.len / PAGE_LEN as usize) as u64)
        };
        // SAFETY: `reserve` put it there from a box; faults do not find it any more.
        drop(unsafe { Box::from_raw(set) });
    }
}

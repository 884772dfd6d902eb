//! The heap: one region that is contiguous in virtual memory and for devices, so that they can read and write all of it
//! in place: in a trusted image it is contiguous in physical memory, behind an IOMMU it is registered for them.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use nom_abi::call::{CONTIGUOUS, CallError, PAGE_LEN, WRITE};
use nom_abi::start::Start;
use talc::{ErrOnOom, Span, Talc};

const HEAP_ADDRESS: u64 = 0x1000_0000_0000;

static LEN: AtomicUsize = AtomicUsize::new(0);
static PHYSICAL: AtomicU64 = AtomicU64::new(0);

/// Memory that devices may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Its first address in the application.
    pub virtual_base: usize,
    /// Its first address as devices know it: a physical one in a trusted image, the same as `virtual_base` behind an
    /// IOMMU. 0 where there is neither.
    pub physical_base: u64,
    /// Its bytes.
    pub len: usize,
}

/// The whole heap.
pub fn heap_region() -> Region {
    Region {
        virtual_base: HEAP_ADDRESS as usize,
        physical_base: PHYSICAL.load(Ordering::Relaxed),
        len: LEN.load(Ordering::Relaxed),
    }
}

pub(crate) fn claim(start: &Start) -> Result<(), CallError> {
    let pages = start.heap_len / PAGE_LEN;
    let flags = if start.trusted != 0 { WRITE | CONTIGUOUS } else { WRITE };
    let mut physical = crate::call::map(HEAP_ADDRESS, pages, flags)?;
    if start.confined != 0 {
        physical = crate::call::register_dma(HEAP_ADDRESS, pages)?;
    }
    let len = (pages * PAGE_LEN) as usize;
    PHYSICAL.store(physical, Ordering::Relaxed);
    LEN.store(len, Ordering::Relaxed);
    let span = Span::from_base_size(HEAP_ADDRESS as *mut u8, len);
    HEAP.with(|talc| {
        // SAFETY: the kernel has just mapped this region for us; nobody else refers to it, and it is never unmapped.
        unsafe { talc.claim(span) }
    })
    .and_then(Result::ok)
    .map(|_| ())
    .ok_or(CallError::NoMemory)
}

/// The allocator behind a lock that says which context has it. Upcalls of events stay out meanwhile, so neither their
/// handlers nor a thread that leaves its core ever hold up an allocation; a handler of faults that interrupted one of
/// its own context would wait for ever: its allocation fails instead. A core that is taken back in the middle of an
/// allocation, with nobody to go on for it, takes the heap with it: whoever works on further cores with the heap gives
/// them back when asked, or uses threads.
struct Heap {
    /// The context that has it plus 1, or 0.
    taken: AtomicUsize,
    talc: UnsafeCell<Talc<ErrOnOom>>,
}

// SAFETY: `talc` is only reached through `with`, which the lock makes exclusive.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap { taken: AtomicUsize::new(0), talc: UnsafeCell::new(Talc::new(ErrOnOom)) };

impl Heap {
    fn with<T>(&self, work: impl FnOnce(&mut Talc<ErrOnOom>) -> T) -> Option<T> {
        let enabled = crate::upcall::disable();
        let own = crate::upcall::context() + 1;
        while let Err(holder) = self.taken.compare_exchange(0, own, Ordering::Acquire, Ordering::Relaxed) {
            if holder == own {
                // Upcalls are disabled already: the one below enables them.
                return None;
            }
            core::hint::spin_loop();
        }
        // SAFETY: nobody had it and it is ours until we store 0.
        let answer = work(unsafe { &mut *self.talc.get() });
        self.taken.store(0, Ordering::Release);
        if enabled {
            crate::upcall::enable();
        }
        Some(answer)
    }
}

// SAFETY: the methods hand on what `Talc` answers for exactly the layout that was asked for.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller vouches for a layout of non-zero size.
        let answer = self.with(|talc| unsafe { talc.malloc(layout) });
        answer.and_then(Result::ok).map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if let Some(pointer) = NonNull::new(pointer) {
            // SAFETY: the caller vouches that `alloc` gave this pointer for this layout. When the flag is taken the
            // memory leaks, which is safe.
            self.with(|talc| unsafe { talc.free(pointer, layout) });
        }
    }
}

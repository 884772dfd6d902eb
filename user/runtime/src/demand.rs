//! Memory that costs nothing until it is touched: a range is reserved, and a page gets its frame in the upcall of the
//! first fault there. What is trimmed gives its frames back and is zero again.

use core::alloc::Layout;
use core::cell::RefCell;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use nom_abi::call::{CallError, PAGE_LEN, PAGES_MAX, WRITE};
use talc::{ErrOnOom, Span, Talc};

const ADDRESS: u64 = 0x3800_0000_0000;
/// The most bytes of a range (1 TiB).
pub const LEN_MAX: u64 = 1 << 40;
/// The most ranges at a time.
pub const RANGES_MAX: usize = 8;

struct Place {
    /// Bytes that are reserved; 0: the place is free.
    len: AtomicU64,
    /// Pages that have a frame.
    resident: AtomicU64,
}

static PLACES: [Place; RANGES_MAX] =
    [const { Place { len: AtomicU64::new(0), resident: AtomicU64::new(0) } }; RANGES_MAX];

/// A fault came: true when it was the first touch of a page in a range, which has a frame now.
pub(crate) fn serve(address: u64, error: u64) -> bool {
    const PRESENT: u64 = 1;
    let Some(within) = address.checked_sub(ADDRESS) else { return false };
    let Some(place) = PLACES.get((within / LEN_MAX) as usize) else { return false };
    let within = within % LEN_MAX;
    if error & PRESENT != 0 || within >= place.len.load(Ordering::Acquire) {
        return false;
    }
    match crate::call::map(address & !(PAGE_LEN - 1), 1, WRITE) {
        Ok(_) => {
            place.resident.fetch_add(1, Ordering::Relaxed);
            true
        }
        // Another core was quicker.
        Err(CallError::AlreadyMapped) => true,
        Err(error) => {
            crate::log!("no frame for a page of a demand-zero range ({error:?}); trim it, or reserve less");
            false
        }
    }
}

/// A reserved range. All of it can be used at once; only what is touched takes memory. When no frame is left at a
/// touch, the application ends with a line that says so.
#[derive(Debug)]
pub struct DemandZero {
    place: usize,
    len: usize,
}

impl DemandZero {
    /// Reserves at least so many bytes: whole pages. [`CallError::NoSuch`] when all places are taken.
    pub fn reserve(len: u64) -> Result<DemandZero, CallError> {
        if len == 0 || len > LEN_MAX {
            return Err(CallError::BadLength);
        }
        let len = len.next_multiple_of(PAGE_LEN);
        let free =
            |place: &Place| place.len.compare_exchange(0, len, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let place = PLACES.iter().position(free).ok_or(CallError::NoSuch)?;
        Ok(DemandZero { place, len: len as usize })
    }

    fn address(&self) -> u64 {
        ADDRESS + self.place as u64 * LEN_MAX
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the range is this value's alone; every page of it reads as zero or as what was written, since touching
        // it makes it so.
        unsafe { core::slice::from_raw_parts(self.address() as *const u8, self.len) }
    }

    /// Its bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`, and the value is borrowed alone.
        unsafe { core::slice::from_raw_parts_mut(self.address() as *mut u8, self.len) }
    }

    /// Pages that have a frame.
    pub fn resident(&self) -> u64 {
        PLACES[self.place].resident.load(Ordering::Relaxed)
    }

    /// Gives the frames of all pages back that lie wholly behind `from` bytes; they are zero again. Says how many.
    pub fn trim(&mut self, from: usize) -> u64 {
        // SAFETY: the value is borrowed alone, so nothing refers into the range.
        unsafe { self.trim_shared(from) }
    }

    /// # Safety
    /// Nothing may refer to what lies behind `from`.
    unsafe fn trim_shared(&self, from: usize) -> u64 {
        let place = &PLACES[self.place];
        let first = (from as u64).div_ceil(PAGE_LEN);
        let (mut at, mut given) = (first, 0);
        while at < self.len as u64 / PAGE_LEN {
            let pages = (self.len as u64 / PAGE_LEN - at).min(PAGES_MAX);
            // SAFETY: the caller vouches for it.
            given += unsafe { crate::call::unmap_sparse(self.address() + at * PAGE_LEN, pages) }.unwrap_or(0);
            at += pages;
        }
        place.resident.fetch_sub(given, Ordering::Relaxed);
        given
    }
}

impl Drop for DemandZero {
    fn drop(&mut self) {
        self.trim(0);
        PLACES[self.place].len.store(0, Ordering::Release);
    }
}

/// A heap in such a range: it grows into it as pieces are taken and gives back what lies behind the last piece.
/// (Devices do not reach it: their buffers come from the application's own heap.)
pub struct DemandHeap {
    range: DemandZero,
    inner: RefCell<Inner>,
}

struct Inner {
    talc: Talc<ErrOnOom>,
    heap: Span,
}

/// The heap grows by this, or by as much as a piece needs.
const STEP: usize = 64 << 10;
/// What the allocator may need beside a piece.
const MARGIN: usize = 4 << 10;

impl DemandHeap {
    /// A heap that can grow to so many bytes.
    pub fn reserve(len: u64) -> Result<DemandHeap, CallError> {
        let range = DemandZero::reserve(len.max(STEP as u64))?;
        let mut talc = Talc::new(ErrOnOom);
        let span = Span::from_base_size(range.address() as *mut u8, STEP);
        // SAFETY: the range is ours and can be touched everywhere; it lives as long as the allocator, which is beside it.
        let heap = unsafe { talc.claim(span) }.map_err(|()| CallError::NoMemory)?;
        Ok(DemandHeap { range, inner: RefCell::new(Inner { talc, heap }) })
    }

    /// A piece of so many bytes, all zero; `None` when the range has no room for it.
    pub fn piece(&self, len: usize) -> Option<Piece<'_>> {
        let layout = Layout::from_size_align(len.max(1), 16).ok()?;
        let mut inner = self.inner.try_borrow_mut().ok()?;
        let Inner { talc, heap } = &mut *inner;
        // SAFETY: the layout's size is not zero.
        let mut found = unsafe { talc.malloc(layout) };
        if found.is_err() {
            let (base, end) = heap.get_base_acme()?;
            let base = base as usize;
            let wanted = (end as usize - base).checked_add(len)?.checked_add(MARGIN)?;
            if wanted > self.range.len {
                return None;
            }
            let size = wanted.next_multiple_of(STEP).min(self.range.len);
            let span = Span::from_base_size(base as *mut u8, self.range.address() as usize + size - base);
            if !span.contains_span(*heap) {
                return None;
            }
            // SAFETY: `heap` is what the allocator answered last; the span contains it and lies in the range.
            *heap = unsafe { talc.extend(*heap, span) };
            // SAFETY: as above.
            found = unsafe { talc.malloc(layout) };
        }
        let bytes = found.ok()?;
        // SAFETY: the allocator has just given these bytes to us alone.
        unsafe { bytes.as_ptr().write_bytes(0, len) };
        Some(Piece { heap: self, bytes, len, layout })
    }

    /// Gives back what lies behind the last piece; says how many frames.
    pub fn shrink(&self) -> u64 {
        let Ok(mut inner) = self.inner.try_borrow_mut() else { return 0 };
        let Inner { talc, heap } = &mut *inner;
        // SAFETY: `heap` is what the allocator answered last, and nothing that is allocated is left out.
        unsafe {
            let used = talc.get_allocated_span(*heap);
            *heap = talc.truncate(*heap, used);
        }
        let Some((_, end)) = heap.get_base_acme() else { return 0 };
        // SAFETY: behind the heap the allocator has nothing any more.
        unsafe { self.range.trim_shared(end as usize - self.range.address() as usize) }
    }

    /// Pages that have a frame.
    pub fn resident(&self) -> u64 {
        self.range.resident()
    }
}

impl fmt::Debug for DemandHeap {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "DemandHeap({} pages of {} bytes)", self.resident(), self.range.len)
    }
}

/// Bytes of a [`DemandHeap`].
#[derive(Debug)]
pub struct Piece<'a> {
    heap: &'a DemandHeap,
    bytes: NonNull<u8>,
    len: usize,
    layout: Layout,
}

impl Deref for Piece<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the piece owns these bytes until it is dropped.
        unsafe { core::slice::from_raw_parts(self.bytes.as_ptr(), self.len) }
    }
}

impl DerefMut for Piece<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and the piece is borrowed alone.
        unsafe { core::slice::from_raw_parts_mut(self.bytes.as_ptr(), self.len) }
    }
}

impl Drop for Piece<'_> {
    fn drop(&mut self) {
        // Nobody has borrowed it now: `piece` and `shrink` let it go before they return.
        if let Ok(mut inner) = self.heap.inner.try_borrow_mut() {
            // SAFETY: these bytes came from this allocator with this layout, and end here.
            unsafe { inner.talc.free(self.bytes, self.layout) }
        }
    }
}

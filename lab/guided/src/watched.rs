//! What the compiler's watching leaves behind: a counter for each place of the code, and a call for each comparison.
//!
//! The names and contracts are those of LLVM's coverage sanitizer. Everything here is compiled with it as well, so what
//! is called for a comparison must not compare: it would call itself.

use nom_fuzz::guided::Watch;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Comparisons that are remembered, a power of two: the newest.
const COMPARES: usize = 4096;

/// Where the counters begin and end. All parts of a program have theirs in one piece of memory.
static FIRST: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static LAST: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());

/// Both sides of each comparison, one after the other; how many there were; and whether they are counted (1) or not (0).
static SIDES: [AtomicU64; 2 * COMPARES] = [const { AtomicU64::new(0) }; 2 * COMPARES];
static COMPARED: AtomicUsize = AtomicUsize::new(0);
static COUNTED: AtomicUsize = AtomicUsize::new(0);

/// Remembers a comparison. No branch, no check of a bound: the mask is the bound.
#[inline(always)]
fn compared(one: u64, other: u64) {
    let number = COMPARED.load(Ordering::Relaxed);
    let at = (number & (COMPARES - 1)) * 2;
    let sides = SIDES.as_ptr();
    // SAFETY: `at` is even and below twice COMPARES, so it and the next lie within SIDES.
    unsafe {
        (*sides.add(at)).store(one, Ordering::Relaxed);
        (*sides.add(at + 1)).store(other, Ordering::Relaxed);
    }
    COMPARED.store(number.wrapping_add(COUNTED.load(Ordering::Relaxed)), Ordering::Relaxed);
}

/// Called before `main`, once for each part of the program, with the same memory.
///
/// # Safety
/// `first` to `last` are the program's counters, which live as long as it does.
// SAFETY: nothing else has this name; the sanitizer's contract asks for it.
#[unsafe(no_mangle)]
unsafe extern "C" fn __sanitizer_cov_8bit_counters_init(first: *mut u8, last: *mut u8) {
    FIRST.store(first, Ordering::Relaxed);
    LAST.store(last, Ordering::Relaxed);
}

macro_rules! comparison {
    ($($name:ident: $number:ty),+) => {
        $(
            // SAFETY: nothing else has this name; the sanitizer's contract asks for it.
            #[unsafe(no_mangle)]
            extern "C" fn $name(one: $number, other: $number) {
                compared(u64::from(one), u64::from(other));
            }
        )+
    };
}

comparison! {
    __sanitizer_cov_trace_cmp1: u8,
    __sanitizer_cov_trace_cmp2: u16,
    __sanitizer_cov_trace_cmp4: u32,
    __sanitizer_cov_trace_cmp8: u64,
    __sanitizer_cov_trace_const_cmp1: u8,
    __sanitizer_cov_trace_const_cmp2: u16,
    __sanitizer_cov_trace_const_cmp4: u32,
    __sanitizer_cov_trace_const_cmp8: u64
}

/// A choice among many: the number, and a table of how many cases there are, of how many bits, and the cases.
///
/// # Safety
/// `table` has as many words as its first one says, and two more.
// SAFETY: nothing else has this name; the sanitizer's contract asks for it.
#[unsafe(no_mangle)]
unsafe extern "C" fn __sanitizer_cov_trace_switch(number: u64, table: *const u64) {
    // The loop compares, which is nobody's business.
    let counted = COUNTED.swap(0, Ordering::Relaxed);
    // SAFETY: as the caller promised.
    let cases = unsafe { std::slice::from_raw_parts(table.add(2), *table as usize) };
    for case in cases {
        COUNTED.store(counted, Ordering::Relaxed);
        compared(number, *case);
        COUNTED.store(0, Ordering::Relaxed);
    }
    COUNTED.store(counted, Ordering::Relaxed);
}

/// The counters of this program.
pub struct Watched {
    /// As they stood after the last run.
    passed: Vec<u8>,
}

impl Watched {
    /// None in a program that was built without counters.
    pub fn new() -> Option<Self> {
        let places = LAST.load(Ordering::Relaxed) as usize - FIRST.load(Ordering::Relaxed) as usize;
        (places > 0).then(|| Self { passed: vec![0; places] })
    }

    /// Places that are counted.
    pub fn places(&self) -> usize {
        self.passed.len()
    }
}

impl Watch for Watched {
    fn begin(&mut self, compares: bool) {
        COMPARED.store(0, Ordering::Relaxed);
        // SAFETY: the program's own counters, as many as there are; only this thread runs what is counted.
        unsafe { FIRST.load(Ordering::Relaxed).write_bytes(0, self.passed.len()) };
        COUNTED.store(usize::from(compares), Ordering::Relaxed);
    }

    fn passed(&mut self) -> &[u8] {
        COUNTED.store(0, Ordering::Relaxed);
        let first = FIRST.load(Ordering::Relaxed);
        // SAFETY: as above, and the copy is as long.
        unsafe { first.copy_to_nonoverlapping(self.passed.as_mut_ptr(), self.passed.len()) };
        &self.passed
    }

    fn compared(&mut self) -> Vec<(u64, u64)> {
        COUNTED.store(0, Ordering::Relaxed);
        let compared = COMPARED.load(Ordering::Relaxed).min(COMPARES);
        SIDES[..2 * compared]
            .chunks(2)
            .map(|sides| (sides[0].load(Ordering::Relaxed), sides[1].load(Ordering::Relaxed)))
            .collect()
    }
}

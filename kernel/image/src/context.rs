//! A context at rest: its registers, in a page of its own that its application pays for.

use core::arch::asm;

use nom_abi::call::PAGE_LEN;
use nom_abi::upcall::Registration;

use crate::descriptor;
use crate::processors::save_vectors;
use crate::trap::{APPLICATION_CODE, APPLICATION_DATA, FLAGS, Trap};

/// Bytes of vector state: AVX-512 ends at 2688 in the standard form.
pub const VECTORS_LEN: usize = 2752;

/// What a context left behind when it last gave its core up.
#[repr(C, align(64))]
pub struct Page {
    vectors: [u8; VECTORS_LEN],
    /// Its registers.
    pub trap: Trap,
    /// Where its upcalls go.
    pub upcalls: Option<Registration>,
    bases: [u64; 2],
    /// The vector registers were saved whole; else the context had given them up in a call.
    pub whole: bool,
}

const _: () = assert!(size_of::<Page>() <= PAGE_LEN as usize);

/// How a context comes to rest.
#[derive(Debug, Clone, Copy)]
pub enum Vectors {
    /// It was interrupted; this is what the entry has saved.
    Found(*const u8),
    /// It called: the vector registers are lost, only their modes are kept.
    GivenUp,
}

impl Page {
    /// A context that has not begun. The page was all zero.
    pub fn begin(&mut self, entry: u64, stack: u64, argument: u64) {
        self.trap = Trap::begin(entry, stack, argument);
        self.upcalls = None;
        self.bases = [0; 2];
        self.whole = false;
        self.vectors[..2].copy_from_slice(&0x037f_u16.to_le_bytes());
        self.vectors[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
    }

    /// Leaves the modes of the floating-point units where loading finds them; all registers are empty.
    fn empty_vectors(&mut self) {
        self.vectors[2..24].fill(0);
        self.vectors[160..512].fill(0);
        // Of what XRSTOR loads, only the old unit's state is not the initial one.
        self.vectors[512..576].fill(0);
        self.vectors[512] = 1;
    }

    /// The context comes to rest.
    pub fn save(&mut self, trap: &Trap, vectors: Vectors, xsave: bool) {
        self.trap = *trap;
        self.bases = descriptor::bases();
        match vectors {
            Vectors::Found(found) => {
                // SAFETY: the entry's area lies on this core's stack; ours is aligned and long enough.
                unsafe { save_vectors(found, self.vectors.as_mut_ptr(), xsave) };
                self.whole = true;
            }
            Vectors::GivenUp => {
                // SAFETY: they store two and four bytes, both within the area.
                unsafe {
                    asm!("fnstcw [{0}]", "stmxcsr [{0} + 24]", in(reg) self.vectors.as_mut_ptr(),
                        options(nostack, preserves_flags));
                }
                self.whole = false;
            }
        }
    }

    /// It comes to a core where another one was: the bases of its segments are the core's now, and its vector state
    /// can be loaded.
    pub fn show(&mut self) {
        descriptor::set_bases(self.bases);
        if !self.whole {
            self.empty_vectors();
        }
    }

    /// It has a block for upcalls from now on, and `gs` leads there.
    pub fn register(&mut self, registered: Registration) {
        let [fs, _] = descriptor::bases();
        descriptor::set_bases([fs, registered.block]);
        self.upcalls = Some(registered);
    }

    /// Where its vector state is.
    pub fn vectors(&self) -> *const u8 {
        self.vectors.as_ptr()
    }
}

impl Trap {
    /// Ring 3 at its first instruction.
    fn begin(entry: u64, stack: u64, argument: u64) -> Trap {
        Trap {
            rdi: argument,
            rip: entry,
            cs: APPLICATION_CODE,
            rflags: FLAGS,
            rsp: stack,
            ss: APPLICATION_DATA,
            ..Trap::default()
        }
    }
}

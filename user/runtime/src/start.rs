//! From the first instruction to `main`: the start page, then heap and upcalls, then the application.

use core::arch::global_asm;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use nom_abi::start::{MAGIC, Start};

global_asm!(include_str!("entry.s"));
global_asm!(include_str!("memory.s"));

static START: AtomicPtr<Start> = AtomicPtr::new(core::ptr::null_mut());

unsafe extern "C" {
    safe fn nom_application_main() -> u8;
}

#[unsafe(no_mangle)]
extern "C" fn nom_runtime_start(start: *mut Start) -> ! {
    START.store(start, Ordering::Relaxed);
    if self::start().magic != MAGIC {
        crate::log!(
            "runtime: this kernel speaks another version of the contract; build both from one source"
        );
        crate::exit(nom_abi::exit::REFUSED);
    }
    if let Err(error) = crate::heap::claim(self::start()) {
        crate::log!(
            "runtime: no heap of {} bytes ({error:?}); give the guest more memory or lower kernel.heap",
            self::start().heap_len
        );
        crate::exit(nom_abi::exit::REFUSED);
    }
    if let Err(error) = crate::upcall::register() {
        crate::log!("runtime: no upcalls ({error:?})");
        crate::exit(nom_abi::exit::REFUSED);
    }
    crate::exit(nom_application_main())
}

/// The start page.
pub(crate) fn start() -> &'static Start {
    // SAFETY: the first instruction of the application stored what the kernel gave it: a read-only page that stays
    // mapped as long as the application lives and that nobody writes.
    unsafe { &*START.load(Ordering::Relaxed) }
}

/// A page of words that the kernel shares read-only.
pub(crate) fn page(address: u64) -> &'static [AtomicU64] {
    // SAFETY: the start page names pages that the kernel maps for the application's whole life; atomic words may be
    // written by it at any time.
    unsafe { core::slice::from_raw_parts(address as *const AtomicU64, nom_abi::board::WORDS) }
}

/// The configuration text of the image.
pub fn configuration() -> &'static str {
    let start = start();
    // SAFETY: the kernel maps the text read-only next to the start page and has checked that it is UTF-8.
    unsafe {
        let bytes = core::slice::from_raw_parts(
            start.configuration as *const u8,
            usize::try_from(start.configuration_len).unwrap_or(0),
        );
        core::str::from_utf8_unchecked(bytes)
    }
}

/// What the image carries for this application alone; nothing when it carries none.
pub fn content() -> &'static [u8] {
    let start = start();
    // SAFETY: the kernel maps the content read-only next to the start page, for the application's whole life; where
    // there is none, the length is 0 and the address aligned and not null.
    unsafe {
        core::slice::from_raw_parts(
            start.content as *const u8,
            usize::try_from(start.content_len).unwrap_or(0),
        )
    }
}

/// The application's own name in the image.
pub fn name() -> &'static str {
    let name = &start().name;
    let len = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    core::str::from_utf8(&name[..len]).unwrap_or("")
}

/// How many cores the guest has.
pub fn core_count() -> u32 {
    u32::try_from(start().cores).unwrap_or(1)
}

/// Whether the image is trusted with physical addresses.
pub fn trusted() -> bool {
    start().trusted != 0
}

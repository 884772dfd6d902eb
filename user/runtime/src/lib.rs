//! Ring 3 of a guest: entry, upcalls, heap, devices, clock.
//!
//! Everything unsafe that an application needs is here, so that an image's own text has none. An application
//! begins on one core and may acquire more ([`cores`]); what each has of its own is reached through `gs`.
//!
//! ```text
//! #![no_std]
//! #![no_main]
//! nom_runtime::entry!(main);
//! fn main() -> u8 { nom_runtime::log!("hello"); 0 }
//! ```
//!
//! The image's manifest says `build = "../../user/runtime/link.rs"`, and it is built with the profile `guest`.

#![no_std]

extern crate alloc;
// Only lints are ever run where panics unwind, over all crates at once; there the panic handler is the system's.
#[cfg(panic = "unwind")]
extern crate std;

pub mod call;
pub mod channel;
mod clock;
pub mod cores;
pub mod demand;
pub mod device;
mod entropy;
mod heap;
mod log;
mod start;
pub mod task;
pub mod thread;
pub mod upcall;
pub mod working_set;

use core::sync::atomic::AtomicU64;

pub use clock::{now_ns, scale, unix_ns};
pub use entropy::{NoEntropy, POOL_MAX, contribute, entropy};
pub use heap::{Region, heap_region};
pub use log::log_line;
pub use nom_abi as abi;
pub use nom_abi::call::CallError;
pub use start::{configuration, content, core_count, name, trusted};
pub use upcall::{Events, context, wait};

/// Names the function that an image begins with: `fn() -> u8`, whose value is the exit code (0 to 127).
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn nom_application_main() -> u8 {
            $main()
        }
    };
}

/// Writes one line on the guest's serial console, at most 1024 bytes.
#[macro_export]
macro_rules! log {
    ($($argument:tt)*) => { $crate::log_line(format_args!($($argument)*)) };
}

/// Ends the application.
pub fn exit(code: u8) -> ! {
    call::exit(code)
}

/// The bulletin board, see [`nom_abi::board`]. Writing to it faults.
pub fn board() -> &'static [AtomicU64] {
    start::page(start::start().board)
}

/// The kernel's counters, see [`nom_abi::statistics`]. Writing to them faults.
pub fn statistics() -> &'static [AtomicU64] {
    start::page(start::start().statistics)
}

/// Has the kernel put prices on the board; answers their generation. Only the publisher that the image names may.
pub fn publish_prices(prices: &nom_abi::board::Prices) -> Result<u64, CallError> {
    upcall::untold(|| call::publish_prices(&nom_abi::board::encode(prices)))
}

#[cfg(panic = "abort")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let thread = thread::Culprit { address: 0 };
    match info.location() {
        Some(place) => log!("application panicked: {thread}at {place}: {}", info.message()),
        None => log!("application panicked: {thread}{}", info.message()),
    }
    exit(nom_abi::exit::PANICKED)
}

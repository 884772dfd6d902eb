//! The guest's clock: nanoseconds since boot, without a call.

use core::arch::x86_64::_rdtsc;

use nom_abi::clock::Scale;

/// Nanoseconds since the kernel started its clock. Never goes back on one core.
pub fn now_ns() -> u64 {
    // SAFETY: every processor that runs 64-bit code has the counter, and the kernel leaves it readable.
    scale().ns(unsafe { _rdtsc() })
}

/// How the counter becomes time; the kernel may revise it.
pub fn scale() -> Scale {
    nom_abi::clock::read(crate::start::page(crate::start::start().clock))
}

/// Nanoseconds since 1970, to the second that the machine's clock showed at boot; `None` where there is no such
/// clock.
pub fn unix_ns() -> Option<u64> {
    let scale = scale();
    (scale.unix_ns_at_zero != 0).then(|| scale.unix_ns_at_zero.wrapping_add(now_ns()))
}

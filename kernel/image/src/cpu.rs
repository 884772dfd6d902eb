//! The processor's instructions as functions.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};

use nom_kernel_core::cores::Core;

/// Reads and writes ports of one width.
macro_rules! ports {
    ($read:ident, $write:ident, $value:ty, $register:tt) => {
        /// Reads from a port.
        pub fn $read(port: u16) -> $value {
            let value;
            // SAFETY: only the kernel's own devices and, by its checks, their owners' are named; no memory is touched.
            unsafe { asm!(concat!("in ", $register, ", dx"), in("dx") port, out($register) value, options(nomem, nostack)) }
            value
        }

        /// Writes to a port.
        pub fn $write(port: u16, value: $value) {
            // SAFETY: as for reading.
            unsafe { asm!(concat!("out dx, ", $register), in("dx") port, in($register) value, options(nomem, nostack)) }
        }
    };
}

ports!(in8, out8, u8, "al");
ports!(in16, out16, u16, "ax");
ports!(in32, out32, u32, "eax");

/// A model-specific register.
pub fn read_msr(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: callers name registers that every 64-bit processor has.
    unsafe { asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high, options(nomem, nostack)) }
    u64::from(low) | u64::from(high) << 32
}

/// Sets a model-specific register.
///
/// # Safety
/// The value must keep the kernel's own assumptions (stacks, entries, modes) true.
pub unsafe fn write_msr(register: u32, value: u64) {
    // SAFETY: the caller vouches for the value.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack))
    }
}

/// The address of the last page fault.
pub fn fault_address() -> u64 {
    let value;
    // SAFETY: reading it changes nothing.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) }
    value
}

/// The number of the core that this runs on.
pub fn here() -> Core {
    let number: u64;
    // SAFETY: in ring 0 `gs` leads to the core's own place since `descriptor::initialise`, which wrote the number.
    unsafe { asm!("mov {}, gs:[16]", out(reg) number, options(readonly, nostack, preserves_flags)) }
    Core(number as u8)
}

/// Changes the page table.
///
/// # Safety
/// The new one must map the kernel as the old one does.
pub unsafe fn set_page_table(root: u64) {
    // SAFETY: the caller vouches for the table.
    unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) }
}

/// Forgets a translation.
pub fn forget_page(address: u64) {
    // SAFETY: forgetting a translation is always allowed; it is looked up again.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) }
}

/// Writes everything from the caches to memory, for who looks there past them.
pub fn write_back_caches() {
    // SAFETY: contents do not change.
    unsafe { asm!("wbinvd", options(nostack, preserves_flags)) }
}

/// The time stamp counter.
pub fn ticks() -> u64 {
    // SAFETY: every 64-bit processor has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Stops this processor for good.
pub fn stop() -> ! {
    loop {
        // SAFETY: the kernel has nothing more to do.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) }
    }
}

/// What this processor can do beyond the minimum.
#[derive(Debug, Clone, Copy)]
pub struct Features {
    /// FS and GS can be set in ring 3.
    pub fs_gs_base: bool,
    /// The kernel cannot execute application memory.
    pub no_user_execution: bool,
    /// The kernel cannot touch application memory by accident.
    pub no_user_access: bool,
    /// Ring 3 cannot read descriptor tables' addresses.
    pub no_user_descriptors: bool,
    /// Vector states by XSAVE, as bits of XCR0; 0 without.
    pub vector_states: u64,
    /// Bytes that XSAVE writes of them.
    pub vectors_len: usize,
}

/// Looks them up and switches them on.
pub fn enable_features() -> Features {
    let leaves = __cpuid(0).eax;
    let one = __cpuid(1);
    let (seven_ebx, seven_ecx) = if leaves >= 7 {
        let seven = __cpuid_count(7, 0);
        (seven.ebx, seven.ecx)
    } else {
        (0, 0)
    };
    let mut features = Features {
        fs_gs_base: seven_ebx & 1 != 0,
        no_user_execution: seven_ebx & 1 << 7 != 0,
        no_user_access: seven_ebx & 1 << 20 != 0,
        no_user_descriptors: seven_ecx & 1 << 2 != 0,
        vector_states: 0,
        vectors_len: 0,
    };
    let mut control: u64;
    // SAFETY: reading changes nothing.
    unsafe { asm!("mov {}, cr4", out(reg) control, options(nomem, nostack, preserves_flags)) }
    let xsave = one.ecx & 1 << 26 != 0;
    for (bit, present) in [
        (16, features.fs_gs_base),
        (20, features.no_user_execution),
        (21, features.no_user_access),
        (11, features.no_user_descriptors),
        (18, xsave),
    ] {
        if present {
            control |= 1 << bit;
        }
    }
    // SAFETY: every bit that is added was offered by CPUID; the kernel neither executes nor touches user pages.
    unsafe { asm!("mov cr4, {}", in(reg) control, options(nostack, preserves_flags)) }
    if xsave {
        // x87, SSE, AVX, AVX-512: what is state of an application's computing. AVX-512 comes whole or not at all.
        const AVX_512: u64 = 0xe0;
        let offered = __cpuid_count(0xd, 0);
        let mut states = (u64::from(offered.eax) | u64::from(offered.edx) << 32) & 0xe7;
        if states & AVX_512 != AVX_512 || states & 4 == 0 {
            states &= !AVX_512;
        }
        features.vector_states = states;
        // SAFETY: CR4.OSXSAVE is on and the states were offered.
        unsafe {
            asm!("xsetbv", in("ecx") 0, in("eax") states as u32, in("edx") (states >> 32) as u32,
                options(nomem, nostack))
        }
        features.vectors_len = __cpuid_count(0xd, 0).ebx as usize;
    }
    features
}

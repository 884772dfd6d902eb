//! What an IOMMU is told (Intel's "Virtualization Technology for Directed I/O", revision 3.0): the words of its tables,
//! its commands and its reports, without touching it.
//!
//! Each application has one domain: a tree of tables like the processor's, in which only the memory stands that it
//! registered, at its own addresses. A device without an owner has no entry and reaches nothing.

use crate::Application;

/// Why an IOMMU cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfit(pub &'static str);

/// What is to be known of a unit before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// Offset of the first record of faults.
    pub faults: u64,
    /// How many there are.
    pub fault_count: u64,
    /// It looks at memory past the processors' caches: they must be written back.
    pub write_back: bool,
    /// Its tables may have leaves of 2 MiB.
    pub large: bool,
}

/// Checks a unit by its two registers of capabilities. `interrupts` is what firmware says.
pub fn unit(capabilities: u64, extended: u64, interrupts: bool) -> Result<Unit, Unfit> {
    const FOUR_LEVELS: u64 = 1 << 10;
    const FLUSH_WRITES: u64 = 1 << 4;
    const COHERENT: u64 = 1;
    const QUEUE: u64 = 1 << 1;
    const REMAPS: u64 = 1 << 3;
    const LARGE: u64 = 1 << 34;
    if capabilities & FOUR_LEVELS == 0 {
        return Err(Unfit("its addresses have fewer than 48 bits (QEMU: aw-bits=48)"));
    }
    if extended & QUEUE == 0 || extended & REMAPS == 0 || !interrupts {
        return Err(Unfit("it does not remap interrupts (QEMU: intremap=on)"));
    }
    if capabilities & FLUSH_WRITES != 0 {
        return Err(Unfit("it is of the first generation, whose write buffers must be flushed"));
    }
    let faults = (capabilities >> 24 & 0x3ff) * 16;
    let fault_count = (capabilities >> 40 & 0xff) + 1;
    if faults + fault_count * 16 > 4096 {
        return Err(Unfit("its records lie outside of its first page"));
    }
    Ok(Unit { faults, fault_count, write_back: extended & COHERENT == 0, large: capabilities & LARGE != 0 })
}

/// An application's domain. 0 is nobody's: some units keep it for themselves.
pub fn domain(application: Application) -> u64 {
    u64::from(application.0) + 1
}

/// An entry of the table of buses: where the functions of one are.
pub fn bus_entry(table: u64) -> [u64; 2] {
    [table | 1, 0]
}

/// An entry of a function: whose tables count for its requests. With `quiet` what is blocked is not recorded any more.
pub fn function_entry(tables: u64, domain: u64, quiet: bool) -> [u64; 2] {
    const FOUR_LEVELS: u64 = 2;
    [tables | u64::from(quiet) << 1 | 1, domain << 8 | FOUR_LEVELS]
}

/// A leaf of a domain's tables.
pub fn leaf(physical: u64, write: bool) -> u64 {
    physical | 1 | u64::from(write) << 1
}

/// An entry for a device's interrupts: only the function with this number may raise it. By a pin it has a `level`.
pub fn interrupt_entry(vector: u8, core: u32, requester: u16, level: bool) -> [u64; 2] {
    const VERIFY: u64 = 1 << 18;
    let low = u64::from(core & 0xff) << 40 | u64::from(vector) << 16 | u64::from(level) << 4 | 1;
    [low, VERIFY | u64::from(requester)]
}

/// Where a message is written that names an entry of interrupts. Its data is 0.
pub fn message_address(entry: u16) -> u32 {
    const NAMES_AN_ENTRY: u32 = 1 << 4;
    0xfee0_0000 | u32::from(entry & 0x7fff) << 5 | u32::from(entry >> 15) << 2 | NAMES_AN_ENTRY
}

/// What the unit is to forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forget {
    /// Whose tables count for whom.
    Functions,
    /// All translations.
    Translations,
    /// The translations of a domain.
    Domain(u64),
    /// Entries of interrupts.
    Interrupts,
}

/// The order to forget, as it stands in the queue.
pub fn order(what: Forget) -> [u64; 2] {
    const DRAIN: u64 = 1 << 7 | 1 << 6;
    match what {
        Forget::Functions => [1 << 4 | 1, 0],
        Forget::Translations => [DRAIN | 1 << 4 | 2, 0],
        Forget::Domain(domain) => [domain << 16 | DRAIN | 2 << 4 | 2, 0],
        Forget::Interrupts => [4, 0],
    }
}

/// The order to write `done` to an address when all orders before are carried out.
pub fn wait_order(done: u32, at: u64) -> [u64; 2] {
    const WRITE: u64 = 1 << 5;
    [u64::from(done) << 32 | WRITE | 5, at]
}

/// A request that was blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocked {
    /// Whose it was.
    pub requester: u16,
    /// The page that it was for; for an interrupt, the entry that it named.
    pub address: u64,
    /// It would have written.
    pub write: bool,
    /// It was an interrupt.
    pub interrupt: bool,
    /// The unit's own reason, by number.
    pub reason: u8,
}

/// Reads a record; `None` when nothing stands there.
pub fn blocked(record: [u64; 2]) -> Option<Blocked> {
    const FIRST_OF_INTERRUPTS: u8 = 0x20;
    const FIRST_BEHIND: u8 = 0x30;
    let [low, high] = record;
    let reason = (high >> 32) as u8;
    let interrupt = (FIRST_OF_INTERRUPTS..FIRST_BEHIND).contains(&reason);
    (high >> 63 == 1).then_some(Blocked {
        requester: high as u16,
        address: if interrupt { low >> 48 } else { low & !0xfff },
        write: high >> 62 & 1 == 0,
        interrupt,
        reason,
    })
}

impl core::fmt::Display for Blocked {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match (self.interrupt, self.write) {
            (true, _) => write!(out, "raising interrupt {}", self.address)?,
            (_, true) => write!(out, "writing to {:#x}", self.address)?,
            _ => write!(out, "reading from {:#x}", self.address)?,
        }
        write!(out, " (reason {:#x})", self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// QEMU 7.2's `intel-iommu,intremap=on,aw-bits=48`.
    const CAPABILITIES: u64 = 0x00d2_008c_222f_0606;
    const EXTENDED: u64 = 0x0000_0000_00f0_0f4a;

    #[test]
    fn a_unit_must_be_able_to_confine() {
        let found = unit(CAPABILITIES, EXTENDED, true).unwrap();
        assert_eq!((found.faults, found.fault_count, found.write_back, found.large), (0x220, 1, true, true));
        assert!(!unit(CAPABILITIES & !(1 << 34), EXTENDED, true).unwrap().large);
        assert!(unit(CAPABILITIES & !(1 << 10), EXTENDED, true).is_err());
        assert!(unit(CAPABILITIES, EXTENDED & !8, true).is_err());
        assert!(unit(CAPABILITIES, EXTENDED & !2, true).is_err());
        assert!(unit(CAPABILITIES, EXTENDED, false).is_err());
        assert!(unit(CAPABILITIES | 1 << 4, EXTENDED, true).is_err());
        assert!(unit(CAPABILITIES | 0x3ff << 24, EXTENDED, true).is_err());
    }

    #[test]
    fn words_are_as_the_manual_draws_them() {
        assert_eq!(bus_entry(0x5000), [0x5001, 0]);
        assert_eq!(function_entry(0x7000, domain(Application(2)), true), [0x7003, 0x302]);
        assert_eq!((leaf(0x9000, false), leaf(0x9000, true)), (0x9001, 0x9003));
        assert_eq!(interrupt_entry(0x41, 3, 0x0110, false), [0x0000_0300_0041_0001, 0x4_0110]);
        assert_eq!(interrupt_entry(0x41, 3, 0xff00, true)[0], 0x0000_0300_0041_0011);
        assert_eq!(message_address(5), 0xfee0_00b0);
        assert_eq!(message_address(0x8001), 0xfee0_0034);
        assert_eq!(order(Forget::Functions), [0x11, 0]);
        assert_eq!(order(Forget::Translations), [0xd2, 0]);
        assert_eq!(order(Forget::Domain(3)), [0x3_00e2, 0]);
        assert_eq!(wait_order(7, 0x8000), [0x7_0000_0025, 0x8000]);
    }

    #[test]
    fn records_say_who_wanted_what() {
        assert_eq!(blocked([0x1234_5000, 0]), None);
        let write = blocked([0x1234_5678, 1 << 63 | 5 << 32 | 0x0110]).unwrap();
        assert_eq!((write.requester, write.address, write.write), (0x0110, 0x1234_5000, true));
        let read = blocked([0x1000, 3 << 62 | 6 << 32]).unwrap();
        assert!(!read.write && !read.interrupt);
        let interrupt = blocked([9 << 48, 1 << 63 | 0x26 << 32]).unwrap();
        assert!(interrupt.interrupt && interrupt.address == 9);
        extern crate std;
        assert_eq!(std::format!("{write}"), "writing to 0x12345000 (reason 0x5)");
        assert_eq!(std::format!("{interrupt}"), "raising interrupt 9 (reason 0x26)");
    }
}

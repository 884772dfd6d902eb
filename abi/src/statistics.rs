//! The kernel's counters: a read-only page of words, each only ever growing. Who samples them twice has a rate.

/// What a word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Calls of every kind.
    Calls = 0,
    /// `Wait` calls.
    Waits = 1,
    /// Times that a core was halted.
    Halts = 2,
    /// Device interrupts.
    Interrupts = 3,
    /// Timer interrupts.
    TimerInterrupts = 4,
    /// Upcalls of asynchronous events.
    EventUpcalls = 5,
    /// Upcalls of faults and foreign calls.
    FaultUpcalls = 6,
    /// Times that an event came inside the enable-and-return range.
    UpcallRestarts = 7,
    /// Interrupts that nobody had asked for.
    SpuriousInterrupts = 8,
    /// Times that a core went from one context to another one.
    Switches = 9,
    /// Times that a core was interrupted by another one.
    CoreInterrupts = 10,
    /// Times that the IOMMU has said that it blocked something.
    BlockedTransfers = 11,
    /// Frames that the guest has.
    Frames = 16,
    /// Frames that are free.
    FreeFrames = 17,
    /// Frames that the kernel itself uses.
    KernelFrames = 18,
    /// Nanoseconds that cores were halted.
    HaltedNs = 19,
    /// When the first application was started, by the guest's clock.
    StartedNs = 20,
}

/// Words of the page that are in use.
pub const WORDS: usize = 32;

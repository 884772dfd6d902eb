//! The kernel's counters: a read-only page of words. Those that count only ever grow: who samples them twice has a
//! rate. Behind the [`Counter`]s stand tables: calls by kind, and who has what now.
//!
//! ```text
//! word  0  one for each Counter          word  32  calls of each kind, in the order of call::CALLS
//! word 96  CORE_WORDS for each core      word 120  APPLICATION_WORDS for each application
//! word 152 one for each channel
//! ```
//!
//! Applications and channels have their numbers here, not their names: who is told of a name is the image's to say.

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
    /// Frames that `Map` has zeroed.
    FramesZeroed = 21,
    /// The most frames that it has zeroed without letting others in.
    FramesZeroedAtOnce = 22,
}

/// Where the calls of each kind are counted; foreign ones have no place.
pub const CALLS_AT: usize = 32;
/// Kinds of calls that there is room for.
pub const CALLS_ROOM: usize = 64;
const _: () = assert!(crate::call::CALLS.len() <= CALLS_ROOM);
/// Where the cores begin.
pub const CORES_AT: usize = CALLS_AT + CALLS_ROOM;
/// Words of a core: the number of its owner plus one, or 0 when it is free; nanoseconds that it was halted; since when
/// it is halted now, or 0 when it runs.
pub const CORE_WORDS: usize = 3;
/// Cores that there is room for.
pub const CORES_MAX: usize = 8;
/// Where the applications begin.
pub const APPLICATIONS_AT: usize = CORES_AT + CORE_WORDS * CORES_MAX;
/// Words of an application: a [`crate::application::Status`], and the frames that it has.
pub const APPLICATION_WORDS: usize = 2;
/// Applications that there is room for.
pub const APPLICATIONS_MAX: usize = 16;
/// Where the channels begin: one word each, see [`ends_word`].
pub const CHANNELS_AT: usize = APPLICATIONS_AT + APPLICATION_WORDS * APPLICATIONS_MAX;
/// Words of the page that are in use.
pub const WORDS: usize = CHANNELS_AT + crate::channel::CHANNELS_MAX as usize;

/// A channel's word: for each end the number of the application that has opened it plus one, and pages of its memory.
pub fn ends_word(ends: [Option<u8>; 2], pages: u64) -> u64 {
    let end = |end: Option<u8>| end.map_or(0, |number| u64::from(number) + 1);
    end(ends[0]) | end(ends[1]) << 8 | pages << 16
}

/// Reverses [`ends_word`].
pub fn ends(word: u64) -> ([Option<u8>; 2], u64) {
    let end = |shift: u32| (word >> shift & 0xff).checked_sub(1).map(|number| number as u8);
    ([end(0), end(8)], word >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channels_word_is_read_as_it_was_written() {
        for ends_of in [[None, None], [Some(0), None], [None, Some(15)], [Some(3), Some(4)]] {
            assert_eq!(ends(ends_word(ends_of, 4096)), (ends_of, 4096));
        }
    }
}

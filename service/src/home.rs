//! What a deployed application needs from the place where it runs: a guest, a Linux process, or a test.
//!
//! A home has a clock, a bulletin board, a management channel, a meter of what is used, and a way to sleep. All of
//! it is non-blocking except [`Home::wait`]. The network device is not here: the stack owns it through
//! `nom_stack::port`.

use crate::management::Stats;
use crate::share::Share;
use alloc::string::String;
use core::sync::atomic::AtomicU64;
use nom_abi::board::Prices;
use nom_ledger::Window;
use nom_stack::knobs::Knobs;

/// The board is written by somebody else (a Linux process only reads it): prices cannot be published from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotMine;

/// The place where an application runs.
pub trait Home {
    /// The clock that everything in this process is measured by. Never goes back. The board's `published_ns` and
    /// `valid_until_ns` are on the same clock.
    fn now_ns(&self) -> u64;

    /// Nanoseconds since 1970, 0 when not known. Only for people and for comparing with a provider's time stamps.
    fn unix_ns(&self) -> u64;

    /// Sleeps until a frame arrives, the board changes, the management channel has bytes, or `until_ns` is reached
    /// (`None`: no deadline). May return early without a reason; must not miss an arrival that came between
    /// `Ingress::arm` and this call. Called only after `arm()` answered true.
    fn wait(&mut self, until_ns: Option<u64>);

    /// Sleeps like [`Home::wait`], but frames that arrive need not end it: the receiving half was not armed.
    fn nap(&mut self, until_ns: u64) {
        self.wait(Some(until_ns));
    }

    /// The words of the bulletin board, for `nom_abi::board::read`.
    fn board(&self) -> &[AtomicU64];

    /// Publishes prices on the board (the guest asks its kernel) and returns their generation.
    fn publish(&mut self, prices: &Prices) -> Result<u64, NotMine>;

    /// Reads what the management channel has now: 0 when there is nothing or nobody.
    fn management_read(&mut self, bytes: &mut [u8]) -> usize;

    /// Writes to the management channel what it takes now: 0 when it is full or nobody is there. Never blocks.
    fn management_write(&mut self, bytes: &[u8]) -> usize;

    /// Names the peer of the management channel: 0 when there is none, another number for every new peer. A token
    /// counts for one peer only. A channel that cannot tell (a virtual machine's console) always says 1.
    fn management_peer(&self) -> u64 {
        1
    }

    /// Whether [`Home::management_read`] may have something, or the peer may have changed. Asked after every sleep, so
    /// it should be cheap; a home that cannot tell says yes.
    fn management_pending(&self) -> bool {
        true
    }

    /// Core time used so far: the time that this application's core (or thread) was not halted.
    fn core_time_ns(&self) -> u64;

    /// Memory that is held now: what a provider would bill.
    fn memory_bytes(&self) -> u64;

    /// The counters of the machine that this home has for itself, in the form of [`nom_abi::statistics`]: none where
    /// the machine is shared with others.
    fn machine(&self) -> &[AtomicU64] {
        &[]
    }

    /// The configuration as it is now, where there is a file that may have changed. The error says why it cannot be read.
    fn configuration(&mut self) -> Option<Result<String, String>> {
        None
    }

    /// Whether anybody can ever hear the figures of the moment: they are not put into words for nobody.
    fn has_listeners(&self) -> bool {
        true
    }

    /// Figures of the moment, as they go to the host: for a home that shows them to others as well.
    fn told(&mut self, _stats: &Stats) {}

    /// What the other cores of the same application have counted; nothing where there are none.
    fn others(&self) -> Option<Share> {
        None
    }

    /// The other cores are to do as these knobs say.
    fn lead(&mut self, _knobs: &Knobs) {}

    /// The other cores are to end their connections. True once none of them has any.
    fn drain_others(&mut self) -> bool {
        true
    }

    /// A window was sealed. It leaves through the management channel too; a home that has a place of its own for it
    /// keeps it, and never waits for that.
    fn sealed(&mut self, _window: &Window) {}

    /// The ledger was closed: no further window comes.
    fn closed(&mut self) {}

    /// Fills `bytes` with fresh entropy. False when there is none: the caller refuses to start.
    fn entropy(&mut self, bytes: &mut [u8]) -> bool;
}

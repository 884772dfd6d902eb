//! What an application may change about its stack while it runs.

/// How to wait when there is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Sleep at once until the device, the board or a deadline wakes the core.
    Halt,
    /// Look again and again for this long, then sleep.
    Spin {
        /// How long to look before sleeping.
        budget_ns: u64,
    },
    /// Never sleep.
    Poll,
}

/// When received frames that are held may go to the stack before the batching delay has passed, and frames to send
/// before they have waited that long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Early {
    /// Only when no connection that others opened is open, so that nothing more can come (the paper's rule).
    NoConnection,
    /// Also when every one of those already has a frame in the batch.
    EveryConnectionHeard,
}

/// When frames are taken from the device and when they are shown to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batching {
    /// Every received frame goes through the stack and the application, and what they answer leaves, before the
    /// next one is looked at. The paper's W = 0.
    RunToCompletion,
    /// IX's rule: take what is queued now, never wait for more, and show all answers at once.
    TakeQueued,
    /// The paper's W > 0: frames gather in both directions, none of them longer than this.
    Hold {
        /// Batching delay W: no packet waits longer than this for the stack's sake. 0 is run to completion.
        delay_ns: u64,
    },
}

impl Batching {
    /// The paper's single knob: 0 is run to completion, anything else holds for that long.
    pub const fn from_delay_ns(delay_ns: u64) -> Self {
        if delay_ns == 0 { Self::RunToCompletion } else { Self::Hold { delay_ns } }
    }

    /// How long a frame may be held.
    pub const fn delay_ns(self) -> u64 {
        match self {
            Self::RunToCompletion | Self::TakeQueued => 0,
            Self::Hold { delay_ns } => delay_ns,
        }
    }
}

/// The knobs. Every field may change at any moment; what is held under the old setting leaves no later than the
/// old setting allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knobs {
    /// How to wait. The stack itself never waits: whoever calls [`crate::Engine::step`] obeys this one.
    pub wait: Wait,
    /// How frames gather.
    pub batching: Batching,
    /// Frames that end a batch even if its delay has not passed.
    pub batch_bound: u32,
    /// When a held batch may go early.
    pub early: Early,
    /// How long an acknowledgement may wait for a reply to ride on.
    pub ack_delay_ns: u64,
    /// Connections that are accepted at the same time; further ones are refused by a reset.
    pub connections_max: u32,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            wait: Wait::Halt,
            batching: Batching::RunToCompletion,
            batch_bound: 64,
            early: Early::EveryConnectionHeard,
            ack_delay_ns: 40_000_000,
            connections_max: 10_000,
        }
    }
}

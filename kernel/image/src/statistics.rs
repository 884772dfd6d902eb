//! What the counters' page shows beside the counters: who has what now, and which core sleeps.

use core::sync::atomic::Ordering;

use nom_abi::application::Status;
use nom_abi::call::{BASE, CALLS};
use nom_abi::statistics::{
    APPLICATION_WORDS, APPLICATIONS_AT, APPLICATIONS_MAX, CALLS_AT, CHANNELS_AT, CORE_WORDS, CORES_AT,
    CORES_MAX, Counter, ends_word,
};
use nom_kernel_core::Application;
use nom_kernel_core::channels::Channel;
use nom_kernel_core::cores::Core;
use nom_kernel_core::frames::Owner;

use crate::clock;
use crate::state::{Kernel, add, count, tell, word};

// The page has room for all that the kernel may have.
const _: () = assert!(nom_kernel_core::cores::CORES_MAX == CORES_MAX);
const _: () = assert!(nom_kernel_core::APPLICATIONS_MAX as usize == APPLICATIONS_MAX);

/// A call with this number came.
pub fn called(number: u64) {
    count(Counter::Calls);
    let kind = number.wrapping_sub(BASE);
    if kind < CALLS.len() as u64
        && let Some(word) = word(CALLS_AT + kind as usize)
    {
        word.fetch_add(1, Ordering::Relaxed);
    }
}

/// Lets the core sleep, and counts how long.
pub fn slept(here: Core, sleep: impl FnOnce()) {
    let place = CORES_AT + usize::from(here.0) * CORE_WORDS;
    let before_ns = clock::now_ns();
    count(Counter::Halts);
    tell(place + 2, before_ns.max(1));
    sleep();
    tell(place + 2, 0);
    let passed_ns = clock::now_ns().saturating_sub(before_ns);
    add(Counter::HaltedNs, passed_ns);
    if let Some(word) = word(place + 1) {
        word.fetch_add(passed_ns, Ordering::Relaxed);
    }
}

impl Kernel {
    /// Shows how much memory an application has, and how much is free.
    pub fn show_memory(&self, number: Application) {
        tell(Counter::FreeFrames as usize, self.frames.free());
        tell(Counter::KernelFrames as usize, self.frames.held(Owner::KERNEL));
        let place = APPLICATIONS_AT + usize::from(number.0) * APPLICATION_WORDS;
        tell(place + 1, self.frames.held(Owner::application(number)));
    }

    /// Shows who owns which core.
    pub fn show_cores(&self) {
        for core in self.cores.all() {
            let owner = self.cores.owner(core).map_or(0, |owner| u64::from(owner.0) + 1);
            tell(CORES_AT + usize::from(core.0) * CORE_WORDS, owner);
        }
    }

    /// Shows how an application is doing, and what it has.
    pub fn show_application(&self, number: Application) {
        let status: Status = self.lives.status(number);
        tell(APPLICATIONS_AT + usize::from(number.0) * APPLICATION_WORDS, status.word());
        self.show_memory(number);
        self.show_cores();
    }

    /// Shows who has opened a channel.
    pub fn show_channel(&self, channel: Channel) {
        let pages = self.channels.memory(channel).map_or(0, |(_, pages)| pages);
        let ends = self.channels.ends(channel).map(|end| end.map(|end| end.application.0));
        tell(CHANNELS_AT + usize::from(channel.0), ends_word(ends, pages));
    }
}

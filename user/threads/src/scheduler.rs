//! The states of threads and cores, and every way from one to another.

use crate::timers::Timers;
use crate::{NEVER, NONE, Queue};

/// The most cores.
pub const CORES_MAX: usize = 8;

/// A thread, by the number of its slot. A slot is used again when its thread has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thread(pub u16);

impl Thread {
    /// As an index.
    pub fn place(self) -> usize {
        usize::from(self.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    Free,
    Ready,
    Running,
    Blocked,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Slot {
    state: State,
    /// Behind it in the list of ready or of free ones.
    next: u16,
    /// Neighbours in the queue in which it waits. A thread whose deadline came stays in there until it runs and leaves.
    before: u16,
    behind: u16,
    queued: bool,
    /// It was woken by somebody, not by its deadline.
    woken: bool,
    /// A wake-up that came before it parked.
    permit: bool,
    /// It waits for a permit.
    parked: bool,
}

const FREE: Slot = Slot {
    state: State::Free,
    next: NONE,
    before: NONE,
    behind: NONE,
    queued: false,
    woken: false,
    permit: false,
    parked: false,
};

/// All threads of an application, at most `N`, and the cores that they run on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scheduler<const N: usize> {
    slots: [Slot; N],
    free: u16,
    /// Slots from here on were never used.
    fresh: u16,
    ready: Queue,
    ready_count: u32,
    timers: Timers<N>,
    /// Cores that halt or are about to.
    idle: u8,
    /// Cores that were woken and have not looked yet.
    poked: u8,
    /// Cores that shall take no thread any more.
    leaving: u8,
    /// Until when each idle core halts.
    halted_until_ns: [u64; CORES_MAX],
}

impl<const N: usize> Default for Scheduler<N> {
    fn default() -> Self {
        Scheduler::new()
    }
}

fn bit(core: usize) -> u8 {
    1 << (core % CORES_MAX)
}

impl<const N: usize> Scheduler<N> {
    /// No thread.
    pub const fn new() -> Self {
        Scheduler {
            slots: [FREE; N],
            free: NONE,
            fresh: 0,
            ready: Queue::new(),
            ready_count: 0,
            timers: Timers::new(),
            idle: 0,
            poked: 0,
            leaving: 0,
            halted_until_ns: [NEVER; CORES_MAX],
        }
    }

    fn slot(&mut self, number: u16) -> &mut Slot {
        &mut self.slots[usize::from(number)]
    }

    /// A slot for a new thread, which counts as running until it is made ready; `None` when there are too many. The
    /// one that was freed last comes first: its stack is there.
    pub fn claim(&mut self) -> Option<Thread> {
        let number = if self.free != NONE {
            let number = self.free;
            self.free = self.slot(number).next;
            number
        } else if usize::from(self.fresh) < N {
            self.fresh += 1;
            self.fresh - 1
        } else {
            return None;
        };
        *self.slot(number) = Slot { state: State::Running, ..FREE };
        Some(Thread(number))
    }

    /// A running thread has ended.
    pub fn release(&mut self, thread: Thread) {
        let next = self.free;
        *self.slot(thread.0) = Slot { next, ..FREE };
        self.free = thread.0;
    }

    /// A running thread wants to run again: behind all others, or before them.
    pub fn ready(&mut self, thread: Thread, first: bool) {
        let slot = self.slot(thread.0);
        slot.state = State::Ready;
        slot.next = NONE;
        if self.ready.is_empty() {
            self.ready = Queue { first: thread.0, last: thread.0 };
        } else if first {
            self.slot(thread.0).next = self.ready.first;
            self.ready.first = thread.0;
        } else {
            let last = core::mem::replace(&mut self.ready.last, thread.0);
            self.slot(last).next = thread.0;
        }
        self.ready_count += 1;
    }

    /// Whether a thread is ready.
    pub fn has_ready(&self) -> bool {
        self.ready_count > 0
    }

    /// A running thread blocks, until somebody wakes it or this time comes.
    pub fn block(&mut self, thread: Thread, until_ns: u64) {
        let slot = self.slot(thread.0);
        slot.state = State::Blocked;
        slot.woken = false;
        if until_ns != NEVER {
            self.timers.set(thread.0, until_ns);
        }
    }

    /// A running thread is the last in a queue from now on; it may be woken before it blocks.
    pub fn enqueue(&mut self, queue: &mut Queue, thread: Thread) {
        let last = core::mem::replace(&mut queue.last, thread.0);
        if last == NONE {
            queue.first = thread.0;
        } else {
            self.slot(last).behind = thread.0;
        }
        let slot = self.slot(thread.0);
        (slot.before, slot.behind, slot.queued, slot.woken) = (last, NONE, true, false);
    }

    /// Whether a thread is in a queue: nobody has woken it.
    pub fn is_queued(&self, thread: Thread) -> bool {
        self.slots[thread.place()].queued
    }

    /// A running thread blocks in a queue.
    pub fn block_in(&mut self, queue: &mut Queue, thread: Thread, until_ns: u64) {
        self.enqueue(queue, thread);
        self.block(thread, until_ns);
    }

    /// What a thread does when it runs after [`Scheduler::block_in`]: it is in the queue no more. Whether it was woken;
    /// if not, its deadline came.
    pub fn leave(&mut self, queue: &mut Queue, thread: Thread) -> bool {
        self.unlink(queue, thread.0);
        self.slot(thread.0).woken
    }

    fn unlink(&mut self, queue: &mut Queue, thread: u16) {
        let slot = self.slot(thread);
        if !core::mem::take(&mut slot.queued) {
            return;
        }
        let (before, behind) = (slot.before, slot.behind);
        match before {
            NONE => queue.first = behind,
            before => self.slot(before).behind = behind,
        }
        match behind {
            NONE => queue.last = before,
            behind => self.slot(behind).before = before,
        }
    }

    /// Wakes the first of a queue. One whose deadline came meanwhile counts as woken: it did not run yet.
    pub fn wake_first(&mut self, queue: &mut Queue) -> Option<Thread> {
        let first = queue.first;
        if first == NONE {
            return None;
        }
        self.unlink(queue, first);
        self.wake(Thread(first));
        Some(Thread(first))
    }

    /// Wakes a thread wherever it is blocked; others stay as they are.
    fn wake(&mut self, thread: Thread) {
        let slot = self.slot(thread.0);
        (slot.woken, slot.parked) = (true, false);
        if self.slot(thread.0).state == State::Blocked {
            self.timers.cancel(thread.0);
            self.ready(thread, false);
        }
    }

    /// A running thread parks until it has a permit, it is first in this queue and the queue is woken, or this time
    /// comes; true when it had a permit and goes on.
    pub fn park(&mut self, queue: &mut Queue, thread: Thread, until_ns: u64) -> bool {
        if core::mem::take(&mut self.slot(thread.0).permit) {
            return true;
        }
        self.slot(thread.0).parked = true;
        self.block_in(queue, thread, until_ns);
        false
    }

    /// Gives a thread a permit. What it does not need now it keeps for its next parking, once.
    pub fn unpark(&mut self, thread: Thread) {
        let slot = self.slot(thread.0);
        if slot.state == State::Blocked && slot.parked {
            self.wake(thread);
        } else if slot.state != State::Free {
            slot.permit = true;
        }
    }

    /// Whether a clock has to be looked at.
    pub fn has_deadlines(&self) -> bool {
        self.timers.earliest_ns() != NEVER
    }

    /// Those whose deadline has come are ready.
    pub fn due(&mut self, now_ns: u64) {
        while let Some(thread) = self.timers.take_due(now_ns) {
            self.slot(thread).parked = false;
            self.ready(Thread(thread), false);
        }
    }

    /// The thread that a core goes on with; `None`: none is ready, or the core is leaving.
    pub fn next(&mut self, core: usize) -> Option<Thread> {
        if self.ready_count == 0 || self.leaving & bit(core) != 0 {
            return None;
        }
        let thread = self.ready.first;
        let slot = self.slot(thread);
        slot.state = State::Running;
        let next = slot.next;
        self.ready_count -= 1;
        self.ready.first = next;
        if next == NONE {
            self.ready.last = NONE;
        }
        Some(Thread(thread))
    }

    /// A core has nothing to do and will halt, until the answer or until it is poked.
    pub fn halt(&mut self, core: usize) -> u64 {
        self.idle |= bit(core);
        let until_ns = self.timers.earliest_ns();
        self.halted_until_ns[core % CORES_MAX] = until_ns;
        until_ns
    }

    /// It looks again.
    pub fn awake(&mut self, core: usize) {
        self.idle &= !bit(core);
        self.poked &= !bit(core);
    }

    /// A halted core that must be interrupted, because there is a thread for it or because nobody else would notice a
    /// deadline. Asked after every change, until it answers nothing.
    pub fn poke(&mut self) -> Option<usize> {
        if self.idle == 0 {
            return None;
        }
        let for_thread = self.ready_count > self.poked.count_ones();
        // Cores that were poked look at the deadlines before they do anything else.
        let noticed = self.poked != 0
            || self.halting().any(|core| self.halted_until_ns[core] <= self.timers.earliest_ns());
        if !for_thread && noticed {
            return None;
        }
        let core = self.halting().last()?;
        self.idle &= !bit(core);
        self.poked |= bit(core);
        Some(core)
    }

    fn halting(&self) -> impl Iterator<Item = usize> + use<N> {
        let idle = self.idle;
        (0..CORES_MAX).filter(move |&core| idle & bit(core) != 0)
    }

    /// A core shall take no thread any more.
    pub fn ask_back(&mut self, core: usize) {
        self.leaving |= bit(core);
    }

    /// Whether it shall not.
    pub fn is_leaving(&self, core: usize) -> bool {
        self.leaving & bit(core) != 0
    }

    /// A core is gone, or comes (again).
    pub fn gone(&mut self, core: usize) {
        self.awake(core);
        self.leaving &= !bit(core);
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;

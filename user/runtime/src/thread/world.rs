//! All threads of the application behind one lock, and the way from one to another.
//!
//! Whoever holds the lock has upcalls disabled, so a holder is never interrupted by its own core. The lock goes over
//! with the core when one thread switches to another: it is released by whoever runs next, so that nobody can take up
//! a thread whose registers are not all on its stack yet.

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

use nom_abi::call::{CallError, PAGE_LEN, WRITE};
use nom_abi::upcall::{CALLED, CORE_LOST, CORE_WANTED, Frame};
use nom_threads::{CORES_MAX, NEVER, Queue, Scheduler, Thread};

use crate::upcall::{Events, NO_THREAD, context, disable, enable, set_thread, take_events, thread};

/// The most threads at a time, the first one included. One more is refused.
pub const THREADS_MAX: usize = 1024;
/// Bytes of a thread's stack. Below it nothing is mapped.
pub const STACK_LEN: u64 = 8 * PAGE_LEN;

const STACKS: u64 = 0x3400_0000_0000;
const STACK_ROOM: u64 = 1 << 20;
/// Behind the threads' stacks: the one on which the first core halts. Others halt on the stacks that they began with.
const HOME_STACK: usize = THREADS_MAX;

/// What a thread does.
pub(super) type Work = Box<dyn FnOnce() + Send>;

pub(super) struct World {
    pub(super) scheduler: Scheduler<THREADS_MAX>,
    /// Where each thread's registers rest.
    resting: [u64; THREADS_MAX],
    /// Where each core's halting loop rests.
    idle: [u64; CORES_MAX],
    works: [Option<Work>; THREADS_MAX],
    /// Stacks that are mapped: they stay for the next thread of that slot.
    mapped: [bool; THREADS_MAX + 1],
    /// Further cores that work for the threads.
    pub(super) workers: u32,
    /// Cores to interrupt as soon as the lock is free.
    calls: u32,
    /// Events that nobody has taken.
    pub(super) events: Events,
    /// Those who wait for events.
    pub(super) listeners: Queue,
}

struct Guarded {
    taken: AtomicBool,
    begun: AtomicBool,
    world: UnsafeCell<World>,
}

// SAFETY: the content is only reached through `Locked`, which the flag makes exclusive.
unsafe impl Sync for Guarded {}

static WORLD: Guarded = Guarded {
    taken: AtomicBool::new(false),
    begun: AtomicBool::new(false),
    world: UnsafeCell::new(World {
        scheduler: Scheduler::new(),
        resting: [0; THREADS_MAX],
        idle: [0; CORES_MAX],
        works: [const { None }; THREADS_MAX],
        mapped: [false; THREADS_MAX + 1],
        workers: 0,
        calls: 0,
        events: 0,
        listeners: Queue::new(),
    }),
};

unsafe extern "C" {
    fn nom_thread_switch(resting: *mut u64, next: u64);
    fn nom_thread_begin();
    fn nom_thread_vacate_entry();
}

/// The world, ours until this is dropped; then cores that have something to do are interrupted.
pub(super) struct Locked {
    enabled: bool,
}

/// Takes the world. The first time the program that calls becomes the first thread.
pub(super) fn lock() -> Locked {
    if !WORLD.begun.load(Ordering::Relaxed) {
        begin();
    }
    take()
}

fn take() -> Locked {
    let enabled = disable();
    while WORLD.taken.swap(true, Ordering::Acquire) {
        core::hint::spin_loop();
    }
    Locked { enabled }
}

impl Deref for Locked {
    type Target = World;
    fn deref(&self) -> &World {
        // SAFETY: the flag is ours while this lives.
        unsafe { &*WORLD.world.get() }
    }
}

impl DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut World {
        // SAFETY: as above, and the borrow of this guard makes it the only one.
        unsafe { &mut *WORLD.world.get() }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let mut calls = core::mem::take(&mut self.calls);
        while let Some(core) = self.scheduler.poke() {
            calls |= 1 << core;
        }
        WORLD.taken.store(false, Ordering::Release);
        while calls != 0 {
            // One that has left meanwhile needs no call.
            let _ = crate::call::call_core(calls.trailing_zeros());
            calls &= calls - 1;
        }
        if self.enabled {
            enable();
        }
    }
}

fn begin() {
    WORLD.begun.store(true, Ordering::Relaxed);
    let mut world = take();
    let Ok(idle) = world.stack(HOME_STACK, home_idle) else {
        drop(world);
        panic!("no memory for threads; give the guest more");
    };
    world.idle[0] = idle;
    if let Some(first) = world.scheduler.claim() {
        set_thread(u64::from(first.0));
    }
    take_events(Some(events_came));
}

/// Whether there are threads at all.
pub(super) fn begun() -> bool {
    WORLD.begun.load(Ordering::Relaxed)
}

/// The thread that calls.
pub(super) fn current() -> Thread {
    Thread(thread() as u16)
}

/// The slot whose stack or guard this address belongs to, and whether it is the guard.
pub(super) fn stack_of(address: u64) -> Option<(u64, bool)> {
    let at = address.checked_sub(STACKS)?;
    let within = at % STACK_ROOM;
    (at / STACK_ROOM < THREADS_MAX as u64).then_some((at / STACK_ROOM, within < STACK_ROOM - STACK_LEN))
}

impl World {
    /// Makes a stack on which a function begins when it is switched to; where its registers rest.
    fn stack(&mut self, slot: usize, first: extern "C" fn() -> !) -> Result<u64, CallError> {
        let end = STACKS + (slot as u64 + 1) * STACK_ROOM;
        if !self.mapped[slot] {
            crate::call::map(end - STACK_LEN, STACK_LEN / PAGE_LEN, WRITE)?;
            self.mapped[slot] = true;
        }
        // As `nom_thread_switch` leaves it: six registers (the fourth from below is r12), then where to return.
        let words = [0, 0, 0, first as *const () as u64, 0, 0, nom_thread_begin as *const () as u64, 0];
        let resting = end - 8 * words.len() as u64;
        for (at, word) in (resting..).step_by(8).zip(words) {
            // SAFETY: the highest words of a stack that is mapped and that nobody runs on.
            unsafe { (at as *mut u64).write(word) }
        }
        Ok(resting)
    }

    /// A new thread for this work, ready; the work comes back when there is no room for it.
    pub(super) fn spawn(&mut self, work: Work) -> Result<Thread, (Work, CallError)> {
        let Some(thread) = self.scheduler.claim() else { return Err((work, CallError::Taken)) };
        match self.stack(thread.place(), thread_main) {
            Ok(resting) => {
                self.resting[thread.place()] = resting;
                self.works[thread.place()] = Some(work);
                self.scheduler.ready(thread, false);
                Ok(thread)
            }
            Err(error) => {
                self.scheduler.release(thread);
                Err((work, error))
            }
        }
    }

    fn look_at_clock(&mut self) {
        if self.scheduler.has_deadlines() {
            self.scheduler.due(crate::now_ns());
        }
    }

    /// Events came to this core.
    fn told(&mut self, events: Events, core: usize) {
        if events & CORE_WANTED != 0 {
            // The kernel asks for the lowest of the cores that nobody is at home on.
            let lowest = self.workers.trailing_zeros() as usize;
            if lowest < CORES_MAX {
                self.ask_back(lowest);
            }
        }
        if events & CORE_LOST != 0 && core != 0 {
            self.ask_back(core);
        }
        let events = events & !(CALLED | CORE_WANTED | CORE_LOST);
        if events != 0 {
            self.events |= events;
            while self.scheduler.wake_first(&mut self.listeners).is_some() {}
        }
    }

    /// A further core shall be given back; its thread goes on elsewhere.
    pub(super) fn ask_back(&mut self, core: usize) {
        self.scheduler.ask_back(core);
        if core != context() {
            self.calls |= 1 << core;
        }
    }
}

/// The thread that calls has said why it does not run on (ready, blocked, ended); another one runs. Returns when it is
/// its turn again.
pub(super) fn switch(world: &mut Locked) {
    let core = context();
    let from = current();
    world.look_at_clock();
    let next = world.scheduler.next(core);
    if next == Some(from) {
        return;
    }
    let to = next.map_or(world.idle[core], |next| world.resting[next.place()]);
    set_thread(next.map_or(NO_THREAD, |next| u64::from(next.0)));
    let resting = &raw mut world.resting[from.place()];
    // SAFETY: what rests there was put there by this function or by `stack`, and the lock goes over with the core.
    unsafe { nom_thread_switch(resting, to) }
}

/// A thread's first function: it comes here with the lock.
extern "C" fn thread_main() -> ! {
    let mut world = Locked { enabled: true };
    let work = world.works[current().place()].take();
    drop(world);
    if let Some(work) = work {
        work();
    }
    let mut world = lock();
    world.scheduler.release(current());
    switch(&mut world);
    // Nobody takes up a thread that has ended; its stack may be another one's already.
    loop {
        core::hint::spin_loop();
    }
}

/// Where the first core halts.
extern "C" fn home_idle() -> ! {
    let mut world = Locked { enabled: false };
    loop {
        world = idle(world, 0);
    }
}

/// Works for the threads until the core is asked back.
pub(super) fn worker(_: u64) {
    let core = context();
    let mut world = take();
    // It is given back with upcalls disabled: nothing may come between.
    world.enabled = false;
    world.scheduler.gone(core);
    world.workers |= 1 << core;
    drop(idle(world, core));
}

/// Runs threads, halts while there are none; returns when the core is to be given back.
fn idle(mut world: Locked, core: usize) -> Locked {
    loop {
        world.scheduler.awake(core);
        if core != 0 && world.scheduler.is_leaving(core) {
            world.scheduler.gone(core);
            world.workers &= !(1 << core);
            return world;
        }
        world.look_at_clock();
        if let Some(next) = world.scheduler.next(core) {
            set_thread(u64::from(next.0));
            let to = world.resting[next.place()];
            let resting = &raw mut world.idle[core];
            // SAFETY: as in `switch`; a thread that finds no other one comes back here.
            unsafe { nom_thread_switch(resting, to) }
            continue;
        }
        let until_ns = world.scheduler.halt(core);
        drop(world);
        let events = crate::call::wait(if until_ns == NEVER { nom_abi::call::FOREVER } else { until_ns }, 0);
        world = Locked { enabled: false };
        while WORLD.taken.swap(true, Ordering::Acquire) {
            core::hint::spin_loop();
        }
        world.told(events.unwrap_or(0), core);
    }
}

/// An upcall brought events while a thread ran.
fn events_came(events: Events, frame: &mut Frame) {
    const RED_ZONE: u64 = 128;
    let mut world = take();
    let core = context();
    world.told(events, core);
    if world.scheduler.is_leaving(core) && thread() != NO_THREAD {
        // The thread itself puts its registers away, on its own stack.
        let place = frame.rsp - RED_ZONE - 8;
        drop(world);
        // SAFETY: below the red zone of a thread that is interrupted its stack is free; where it ends, this faults
        // and the application ends with that thread's name.
        unsafe { (place as *mut u64).write(frame.rip) }
        frame.rsp = place;
        frame.rip = nom_thread_vacate_entry as *const () as u64;
    }
}

/// The thread goes on elsewhere: before all that wait, since it did not have its turn out.
#[unsafe(no_mangle)]
extern "C" fn nom_thread_vacate() {
    let mut world = take();
    world.scheduler.ready(current(), true);
    switch(&mut world);
}

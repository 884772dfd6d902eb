//! User threads: many on one core, and over all further cores that are given to them with [`add_core`].
//!
//! They are cooperative: a thread runs until it blocks, yields or ends, on whichever core takes it up next. When the
//! kernel wants a core back, the thread there is interrupted, all its registers rest on its stack, and another core
//! goes on with it. A core without a ready thread halts.
//!
//! The program that first uses threads becomes the first one. From then on the application's events come to
//! [`events`], not to [`crate::wait`]. There is no unwinding: a thread that panics, or runs over the end of its stack
//! ([`STACK_LEN`]), ends the application with a line that names the thread.

mod mutex;
mod pipe;
mod world;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use nom_abi::call::{CallError, FOREVER};
use nom_threads::{NEVER, Queue, Thread};

use crate::upcall::{Events, NO_THREAD, context};

pub use mutex::{Condition, Mutex, MutexGuard};
pub use pipe::{Closed, Receiver, Sender, channel};
pub use world::{STACK_LEN, THREADS_MAX};

/// What a thread leaves behind.
struct Packet<T> {
    ended: AtomicBool,
    waiting: UnsafeCell<Queue>,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: `waiting` is reached under the world's lock only; `value` is written by the thread before `ended` is set, and
// taken afterwards by the one handle.
unsafe impl<T: Send> Send for Packet<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Packet<T> {}

/// A thread that can be waited for. Dropping it lets the thread run on alone.
pub struct JoinHandle<T> {
    packet: Arc<Packet<T>>,
}

/// Why there is no new thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpawnError {
    /// [`THREADS_MAX`] live already.
    TooMany,
    /// There are no frames for its stack.
    NoMemory,
}

/// Starts a thread. It begins when a core is free for it.
pub fn spawn<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, SpawnError> {
    let packet = Arc::new(Packet {
        ended: AtomicBool::new(false),
        waiting: UnsafeCell::new(Queue::new()),
        value: UnsafeCell::new(None),
    });
    let own = packet.clone();
    let work = Box::new(move || {
        let value = work();
        // SAFETY: the handle looks here only after `ended`.
        unsafe { *own.value.get() = Some(value) };
        let mut world = world::lock();
        own.ended.store(true, Ordering::Release);
        // SAFETY: under the lock.
        let waiting = unsafe { &mut *own.waiting.get() };
        while world.scheduler.wake_first(waiting).is_some() {}
    });
    let answer = world::lock().spawn(work);
    // What was refused is dropped here, after the lock.
    match answer {
        Ok(_) => Ok(JoinHandle { packet }),
        Err((_, CallError::Taken)) => Err(SpawnError::TooMany),
        Err(_) => Err(SpawnError::NoMemory),
    }
}

impl<T> JoinHandle<T> {
    /// Whether the thread has ended.
    pub fn is_finished(&self) -> bool {
        self.packet.ended.load(Ordering::Acquire)
    }

    /// Waits for the thread's end and answers its value.
    pub fn join(self) -> T {
        loop {
            let mut world = world::lock();
            if self.is_finished() {
                break;
            }
            let current = world::current();
            // SAFETY: under the lock.
            world.scheduler.block_in(unsafe { &mut *self.packet.waiting.get() }, current, NEVER);
            world::switch(&mut world);
        }
        // SAFETY: the thread has ended and this handle is the only one.
        match unsafe { (*self.packet.value.get()).take() } {
            Some(value) => value,
            None => unreachable!("a thread ended without a value"),
        }
    }
}

/// Lets the other ready threads run first.
pub fn yield_now() {
    let mut world = world::lock();
    if world.scheduler.has_ready() || world.scheduler.is_leaving(context()) {
        world.scheduler.ready(world::current(), false);
        world::switch(&mut world);
    }
}

/// Sleeps until this time of [`crate::now_ns`].
pub fn sleep_until(at_ns: u64) {
    let mut world = world::lock();
    world.scheduler.block(world::current(), at_ns.min(FOREVER - 1));
    world::switch(&mut world);
}

/// Sleeps for this long.
pub fn sleep(ns: u64) {
    sleep_until(crate::now_ns().saturating_add(ns));
}

/// The number of the thread that calls: 0 for the first. Numbers are used again.
pub fn number() -> u64 {
    drop(world::lock());
    u64::from(world::current().0)
}

/// Waits for events of the application ([`nom_abi::upcall`], channels, devices) until this time, and takes them. An event
/// that came while nobody waited for it is kept.
pub fn events(wanted: Events, until_ns: Option<u64>) -> Events {
    loop {
        let came = listen(wanted, until_ns, false);
        if came != 0 || until_ns.is_some_and(|at_ns| crate::now_ns() >= at_ns) {
            return came;
        }
    }
}

/// The same, but it returns for any event and, with `park`, when the thread has a permit ([`unpark`]).
pub(crate) fn listen(wanted: Events, until_ns: Option<u64>, park: bool) -> Events {
    let until_ns = until_ns.unwrap_or(NEVER);
    let mut world = world::lock();
    let came = world.events & wanted;
    if came == 0 && crate::now_ns() < until_ns {
        let (current, world_now) = (world::current(), &mut *world);
        let queue = &mut world_now.listeners;
        if park {
            if world_now.scheduler.park(queue, current, until_ns) {
                return 0;
            }
        } else {
            world_now.scheduler.block_in(queue, current, until_ns);
        }
        world::switch(&mut world);
        let world_now = &mut *world;
        world_now.scheduler.leave(&mut world_now.listeners, current);
    }
    let came = world.events & wanted;
    world.events &= !came;
    came
}

/// Gives a thread a permit to go on.
pub(crate) fn unpark(thread: Thread) {
    world::lock().scheduler.unpark(thread);
}

/// The thread that calls, for [`unpark`].
pub(crate) fn current() -> Thread {
    drop(world::lock());
    world::current()
}

/// Acquires a core and lets threads run there, until the kernel wants it back or [`give_back`] does.
pub fn add_core(core: u32) -> Result<(), CallError> {
    drop(world::lock());
    crate::cores::start_moving(core, world::worker)
}

/// How many cores run threads: the application's own and further ones that have arrived.
pub fn cores() -> u32 {
    1 + world::lock().workers.count_ones()
}

/// Gives a further core back; its thread goes on elsewhere. False when it does not work for the threads.
pub fn give_back(core: u32) -> bool {
    let place = core as usize;
    let leaves_itself = {
        let mut world = world::lock();
        if world.workers.checked_shr(core).unwrap_or(0) & 1 == 0 {
            return false;
        }
        world.ask_back(place);
        place == context()
    };
    if leaves_itself {
        yield_now();
    }
    true
}

/// Gives all further cores back; returns when they are, on the first core.
pub fn give_all_back() {
    const LOOK_AGAIN_NS: u64 = 200_000;
    for core in 1..crate::core_count() {
        give_back(core);
    }
    while cores() > 1 || context() != 0 {
        sleep(LOOK_AGAIN_NS);
    }
}

/// Which thread did it, for messages; says nothing while there are none.
pub(crate) struct Culprit {
    /// The address of a fault, or 0.
    pub(crate) address: u64,
}

impl fmt::Display for Culprit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = crate::upcall::thread();
        if !world::begun() || current == NO_THREAD {
            return Ok(());
        }
        match world::stack_of(self.address) {
            Some((number, true)) => write!(out, "thread {number}: its stack is full ({STACK_LEN} bytes): "),
            _ => write!(out, "thread {current}: "),
        }
    }
}

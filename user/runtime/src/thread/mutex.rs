//! Mutual exclusion and conditions. Without contention a mutex is one atomic instruction; who waits gets it in the
//! order of arrival, handed over by the one who had it.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, Ordering};

use nom_threads::{NEVER, Queue};

use super::world;

const FREE: u32 = 0;
const TAKEN: u32 = 1;
/// Taken, and somebody waits or is about to.
const WANTED: u32 = 2;

/// One thread at a time reaches what is in it. Not for handlers of upcalls: it blocks.
pub struct Mutex<T> {
    state: AtomicU32,
    waiting: UnsafeCell<Queue>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by the holder only, the queue under the world's lock only.
unsafe impl<T: Send> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    /// A free one.
    pub const fn new(value: T) -> Mutex<T> {
        Mutex {
            state: AtomicU32::new(FREE),
            waiting: UnsafeCell::new(Queue::new()),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits until it is free and takes it. A thread that has it already waits for ever.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        if self.state.compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.wait();
        }
        MutexGuard { mutex: self }
    }

    /// Takes it if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let taken = self.state.compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok().then_some(MutexGuard { mutex: self })
    }

    #[cold]
    fn wait(&self) {
        let mut world = world::lock();
        // From here on its holder needs the world to give it up, and finds us in the queue.
        if self.state.swap(WANTED, Ordering::Acquire) == FREE {
            return;
        }
        // SAFETY: under the world's lock.
        let waiting = unsafe { &mut *self.waiting.get() };
        world.scheduler.block_in(waiting, world::current(), NEVER);
        // It was handed over when this returns.
        world::switch(&mut world);
    }

    fn give_up(&self) {
        if self.state.compare_exchange(TAKEN, FREE, Ordering::Release, Ordering::Relaxed).is_ok() {
            return;
        }
        let mut world = world::lock();
        // SAFETY: under the world's lock.
        let waiting = unsafe { &mut *self.waiting.get() };
        if world.scheduler.wake_first(waiting).is_none() {
            self.state.store(FREE, Ordering::Release);
        } else if waiting.is_empty() {
            self.state.store(TAKEN, Ordering::Release);
        }
    }
}

/// What is in a mutex, until this is dropped.
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: we hold the mutex.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: we hold the mutex, and the guard is borrowed alone.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.mutex.give_up();
    }
}

/// Something that threads wait for while they have given a mutex up.
pub struct Condition {
    waiting: UnsafeCell<Queue>,
}

// SAFETY: the queue is reached under the world's lock only.
unsafe impl Sync for Condition {}

impl Default for Condition {
    fn default() -> Condition {
        Condition::new()
    }
}

impl Condition {
    /// Nobody waits.
    pub const fn new() -> Condition {
        Condition { waiting: UnsafeCell::new(Queue::new()) }
    }

    /// Gives the mutex up, waits to be notified, and takes it again. It may also return without that: look in a loop.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wait_until(guard, NEVER).0
    }

    /// The same until this time; false when it came first.
    pub fn wait_until<'a, T>(&self, guard: MutexGuard<'a, T>, at_ns: u64) -> (MutexGuard<'a, T>, bool) {
        let mutex = guard.mutex;
        let current = super::current();
        {
            // Queued before the mutex is free: whoever takes it next finds us.
            let mut world = world::lock();
            // SAFETY: under the world's lock.
            world.scheduler.enqueue(unsafe { &mut *self.waiting.get() }, current);
        }
        drop(guard);
        let mut world = world::lock();
        // SAFETY: under the world's lock.
        let waiting = unsafe { &mut *self.waiting.get() };
        if world.scheduler.is_queued(current) {
            world.scheduler.block(current, at_ns);
            world::switch(&mut world);
        }
        let notified = world.scheduler.leave(waiting, current);
        drop(world);
        (mutex.lock(), notified)
    }

    /// Wakes one that waits; false when nobody does.
    pub fn notify_one(&self) -> bool {
        let mut world = world::lock();
        // SAFETY: under the world's lock.
        world.scheduler.wake_first(unsafe { &mut *self.waiting.get() }).is_some()
    }

    /// Wakes all that wait.
    pub fn notify_all(&self) {
        let mut world = world::lock();
        // SAFETY: under the world's lock.
        let waiting = unsafe { &mut *self.waiting.get() };
        while world.scheduler.wake_first(waiting).is_some() {}
    }
}

//! Bounded channels between threads and tasks of one application: many senders, many receivers, in order.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::future::poll_fn;
use core::task::{Poll, Waker};

use nom_threads::{NEVER, Queue};

use super::world;

struct State<T> {
    items: VecDeque<T>,
    capacity: usize,
    senders: usize,
    receivers: usize,
    /// Threads that wait for room, and for something to take.
    full: Queue,
    empty: Queue,
    /// Tasks that wait for something to take; all of them are woken by the next item, and look.
    tasks: Vec<Waker>,
}

struct Shared<T>(UnsafeCell<State<T>>);

// SAFETY: the state is reached under the world's lock only.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

/// The end that puts in. Clone it for more of them.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// The end that takes out. Clone it for more of them.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

/// Nobody will ever take it: here it is again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed<T>(pub T);

/// A channel that holds at most so many items (at least one). A sender waits while it is full.
pub fn channel<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let capacity = capacity.max(1);
    let shared = Arc::new(Shared(UnsafeCell::new(State {
        items: VecDeque::with_capacity(capacity),
        capacity,
        senders: 1,
        receivers: 1,
        full: Queue::new(),
        empty: Queue::new(),
        tasks: Vec::new(),
    })));
    (Sender { shared: shared.clone() }, Receiver { shared })
}

impl<T> Shared<T> {
    /// Works on the state under the lock, and afterwards wakes the tasks that it left in the list.
    fn with<R>(&self, work: impl FnOnce(&mut State<T>, &mut world::Locked) -> R) -> R {
        let mut world = world::lock();
        // SAFETY: under the world's lock; while `work` gives it away in a switch it does not use the state.
        let answer = work(unsafe { &mut *self.0.get() }, &mut world);
        drop(world);
        answer
    }
}

fn wake_all(tasks: Vec<Waker>) {
    tasks.into_iter().for_each(Waker::wake);
}

impl<T: Send> Sender<T> {
    /// Puts an item in; waits while there is no room.
    pub fn send(&self, item: T) -> Result<(), Closed<T>> {
        loop {
            let mut world = world::lock();
            // SAFETY: under the world's lock.
            let state = unsafe { &mut *self.shared.0.get() };
            if state.receivers == 0 {
                drop(world);
                return Err(Closed(item));
            }
            if state.items.len() < state.capacity {
                state.items.push_back(item);
                world.scheduler.wake_first(&mut state.empty);
                let tasks = core::mem::take(&mut state.tasks);
                drop(world);
                wake_all(tasks);
                return Ok(());
            }
            world.scheduler.block_in(&mut state.full, world::current(), NEVER);
            world::switch(&mut world);
        }
    }

    /// Puts an item in if there is room; else it comes back.
    pub fn try_send(&self, item: T) -> Result<(), T> {
        let (refused, tasks) = self.shared.with(|state, world| {
            if state.receivers == 0 || state.items.len() >= state.capacity {
                return (Some(item), Vec::new());
            }
            state.items.push_back(item);
            world.scheduler.wake_first(&mut state.empty);
            (None, core::mem::take(&mut state.tasks))
        });
        wake_all(tasks);
        refused.map_or(Ok(()), Err)
    }
}

impl<T: Send> Receiver<T> {
    /// Takes the next item; waits while there is none. `None`: there is no sender any more.
    pub fn receive(&self) -> Option<T> {
        self.receive_until(NEVER)
    }

    /// The same until this time; then `None` too.
    pub fn receive_until(&self, at_ns: u64) -> Option<T> {
        let mut late = false;
        loop {
            let mut world = world::lock();
            // SAFETY: under the world's lock.
            let state = unsafe { &mut *self.shared.0.get() };
            if let Some(item) = take(state, &mut world) {
                return Some(item);
            }
            if state.senders == 0 || late {
                return None;
            }
            let current = world::current();
            world.scheduler.block_in(&mut state.empty, current, at_ns);
            world::switch(&mut world);
            // SAFETY: under the lock again.
            let state = unsafe { &mut *self.shared.0.get() };
            late = !world.scheduler.leave(&mut state.empty, current);
        }
    }

    /// Takes the next item if there is one.
    pub fn try_receive(&self) -> Option<T> {
        self.shared.with(|state, world| take(state, world))
    }

    /// The same as [`Receiver::receive`] for a task.
    pub async fn next(&self) -> Option<T> {
        poll_fn(|context| {
            self.shared.with(|state, world| {
                if let Some(item) = take(state, world) {
                    return Poll::Ready(Some(item));
                }
                if state.senders == 0 {
                    return Poll::Ready(None);
                }
                if !state.tasks.iter().any(|task| task.will_wake(context.waker())) {
                    state.tasks.push(context.waker().clone());
                }
                Poll::Pending
            })
        })
        .await
    }
}

fn take<T>(state: &mut State<T>, world: &mut world::Locked) -> Option<T> {
    let item = state.items.pop_front()?;
    world.scheduler.wake_first(&mut state.full);
    Some(item)
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.shared.with(|state, _| state.senders += 1);
        Sender { shared: self.shared.clone() }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        self.shared.with(|state, _| state.receivers += 1);
        Receiver { shared: self.shared.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let tasks = self.shared.with(|state, world| {
            state.senders -= 1;
            if state.senders > 0 {
                return Vec::new();
            }
            while world.scheduler.wake_first(&mut state.empty).is_some() {}
            core::mem::take(&mut state.tasks)
        });
        wake_all(tasks);
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.with(|state, world| {
            state.receivers -= 1;
            if state.receivers == 0 {
                while world.scheduler.wake_first(&mut state.full).is_some() {}
            }
        });
    }
}

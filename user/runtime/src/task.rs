//! Tasks: `async` functions that one thread runs, each until it waits. Timers, channels of threads and events of the
//! application wake them; while none can go on the thread blocks, and with it the core if nobody else is ready.

use alloc::boxed::Box;
use alloc::collections::BinaryHeap;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::cmp::Reverse;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};

use nom_threads::Thread;

use crate::thread::{self, Mutex};
use crate::upcall::Events;

/// The most tasks of one thread at a time. One more is refused.
pub const TASKS_MAX: usize = 4096;

/// A task in its place, what wakes it, and the same as a waker.
type Placed = (Task, Arc<TaskWaker>, Waker);
type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Tasks that were woken; wakers on any core reach it.
struct Woken {
    thread: Thread,
    numbers: Mutex<Vec<u16>>,
}

/// Wakes one task. One that has ended meanwhile is woken for nothing.
struct TaskWaker {
    number: u16,
    /// It is among the woken ones and was not looked at since.
    listed: AtomicBool,
    woken: Arc<Woken>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if !self.listed.swap(true, Ordering::AcqRel) {
            self.woken.numbers.lock().push(self.number);
            thread::unpark(self.woken.thread);
        }
    }
}

/// A task that waits for a time, ordered by that.
struct Sleeper {
    at_ns: u64,
    order: u64,
    waker: Waker,
}

impl PartialEq for Sleeper {
    fn eq(&self, other: &Self) -> bool {
        (self.at_ns, self.order) == (other.at_ns, other.order)
    }
}
impl Eq for Sleeper {}
impl PartialOrd for Sleeper {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Sleeper {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.at_ns, self.order).cmp(&(other.at_ns, other.order))
    }
}

struct Inner {
    fresh: Vec<Task>,
    living: usize,
    sleepers: BinaryHeap<Reverse<Sleeper>>,
    sleeps: u64,
    listeners: Vec<(Events, Waker)>,
    /// Events that came and that no task has taken.
    events: Events,
}

/// The tasks of one thread. Clones are the same.
#[derive(Clone)]
pub struct Tasks {
    inner: Rc<RefCell<Inner>>,
}

impl Default for Tasks {
    fn default() -> Tasks {
        Tasks::new()
    }
}

impl Tasks {
    /// None yet.
    pub fn new() -> Tasks {
        let inner = Inner {
            fresh: Vec::new(),
            living: 0,
            sleepers: BinaryHeap::new(),
            sleeps: 0,
            listeners: Vec::new(),
            events: 0,
        };
        Tasks { inner: Rc::new(RefCell::new(inner)) }
    }

    /// Adds a task, also from within one. False when there are [`TASKS_MAX`].
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) -> bool {
        let mut inner = self.inner.borrow_mut();
        if inner.living >= TASKS_MAX {
            return false;
        }
        inner.living += 1;
        inner.fresh.push(Box::pin(task));
        true
    }

    /// Waits until this time of [`crate::now_ns`].
    pub async fn sleep_until(&self, at_ns: u64) {
        let mut set = false;
        poll_fn(|context| {
            if crate::now_ns() >= at_ns {
                return Poll::Ready(());
            }
            if !core::mem::replace(&mut set, true) {
                let mut inner = self.inner.borrow_mut();
                inner.sleeps += 1;
                let (order, waker) = (inner.sleeps, context.waker().clone());
                inner.sleepers.push(Reverse(Sleeper { at_ns, order, waker }));
            }
            Poll::Pending
        })
        .await;
    }

    /// Waits for events of the application, and takes them.
    pub async fn events(&self, wanted: Events) -> Events {
        poll_fn(|context| {
            let mut inner = self.inner.borrow_mut();
            let came = inner.events & wanted;
            inner.events &= !came;
            if came != 0 {
                return Poll::Ready(came);
            }
            inner.listeners.push((wanted, context.waker().clone()));
            Poll::Pending
        })
        .await
    }

    /// Runs all tasks, and those that they add, until none is left.
    pub fn run(&self) {
        let woken = Arc::new(Woken { thread: thread::current(), numbers: Mutex::new(Vec::new()) });
        let mut tasks: Vec<Option<Placed>> = Vec::new();
        let mut free: Vec<u16> = Vec::new();
        loop {
            self.place_fresh(&mut tasks, &mut free, &woken);
            let numbers = core::mem::take(&mut *woken.numbers.lock());
            for number in &numbers {
                let place = &mut tasks[usize::from(*number)];
                let Some((task, listed, waker)) = place else { continue };
                listed.listed.store(false, Ordering::Release);
                if task.as_mut().poll(&mut Context::from_waker(waker)).is_ready() {
                    *place = None;
                    free.push(*number);
                    self.inner.borrow_mut().living -= 1;
                }
            }
            if self.inner.borrow().living == 0 {
                return;
            }
            self.rest(!numbers.is_empty());
        }
    }

    fn place_fresh(&self, tasks: &mut Vec<Option<Placed>>, free: &mut Vec<u16>, woken: &Arc<Woken>) {
        let fresh = core::mem::take(&mut self.inner.borrow_mut().fresh);
        for task in fresh {
            let number = free.pop().unwrap_or_else(|| {
                tasks.push(None);
                (tasks.len() - 1) as u16
            });
            let own = Arc::new(TaskWaker { number, listed: AtomicBool::new(false), woken: woken.clone() });
            let waker = Waker::from(own.clone());
            waker.wake_by_ref();
            tasks[usize::from(number)] = Some((task, own, waker));
        }
    }

    /// Wakes those whose time or event has come; blocks when nothing has happened (`busy`: it only looks).
    fn rest(&self, busy: bool) {
        let (wanted, until_ns) = {
            let inner = self.inner.borrow();
            let wanted = inner.listeners.iter().fold(0, |all, (wanted, _)| all | wanted);
            (wanted, inner.sleepers.peek().map(|Reverse(sleeper)| sleeper.at_ns))
        };
        let came = thread::listen(wanted, if busy { Some(0) } else { until_ns }, true);
        let mut inner = self.inner.borrow_mut();
        let now_ns = crate::now_ns();
        while inner.sleepers.peek().is_some_and(|Reverse(sleeper)| sleeper.at_ns <= now_ns) {
            if let Some(Reverse(sleeper)) = inner.sleepers.pop() {
                sleeper.waker.wake();
            }
        }
        inner.events |= came;
        if came != 0 {
            let listeners = core::mem::take(&mut inner.listeners);
            for (wanted, waker) in listeners {
                if wanted & came != 0 { waker.wake() } else { inner.listeners.push((wanted, waker)) }
            }
        }
    }
}

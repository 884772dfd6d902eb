//! Which numbers of the program's are ours, and what they stand for.

use crate::listener::Listener;
use crate::socket::Socket;
use crate::stack::Stack;
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Numbers above this one are never ours.
const NUMBERS: usize = 1 << 20;

/// What a number stands for. The last one that goes, closes.
#[derive(Clone)]
pub enum Entry {
    /// A socket of the kernel's that was bound to a port of ours and does not listen yet.
    Bound(u16),
    /// A port.
    Listener(Arc<Open<Listener>>),
    /// A connection.
    Socket(Arc<Open<Socket>>),
}

/// Something of the stack's that is given back when nobody has it any more.
pub struct Open<T: GiveBack> {
    what: Arc<T>,
    stack: Arc<Stack>,
}

/// How something of the stack's is given back.
pub trait GiveBack {
    /// Tells the stack.
    fn give_back(this: &Arc<Self>, stack: &Stack);
}

impl GiveBack for Socket {
    fn give_back(this: &Arc<Self>, stack: &Stack) {
        if this.release() {
            stack.look(this.id);
        }
    }
}

impl GiveBack for Listener {
    fn give_back(this: &Arc<Self>, stack: &Stack) {
        stack.unlisten(Arc::clone(this));
        // Nobody will ever accept these.
        while let Some(socket) = this.pop() {
            Socket::give_back(&socket, stack);
        }
    }
}

impl<T: GiveBack> Open<T> {
    /// The program has it.
    pub fn new(what: Arc<T>, stack: Arc<Stack>) -> Self {
        Self { what, stack }
    }

    /// It.
    pub fn get(&self) -> &Arc<T> {
        &self.what
    }

    /// Where it is.
    pub fn stack(&self) -> &Arc<Stack> {
        &self.stack
    }
}

impl<T: GiveBack> Drop for Open<T> {
    fn drop(&mut self) {
        T::give_back(&self.what, &self.stack);
    }
}

/// One bit for each number, so that calls on other numbers cost next to nothing.
static OURS: [AtomicU64; NUMBERS / 64] = [const { AtomicU64::new(0) }; NUMBERS / 64];
static ENTRIES: RwLock<Option<HashMap<RawFd, Entry>>> = RwLock::new(None);

fn bit(fd: RawFd) -> Option<(&'static AtomicU64, u64)> {
    let number = usize::try_from(fd).ok().filter(|number| *number < NUMBERS)?;
    Some((&OURS[number / 64], 1 << (number % 64)))
}

/// What a number stands for, if it is ours.
pub fn find(fd: RawFd) -> Option<Entry> {
    let (word, mask) = bit(fd)?;
    if word.load(Ordering::Acquire) & mask == 0 {
        return None;
    }
    ENTRIES.read().unwrap_or_else(PoisonError::into_inner).as_ref()?.get(&fd).cloned()
}

/// The number is ours from now on. False when there is no place for such a number.
pub fn put(fd: RawFd, entry: Entry) -> bool {
    let Some((word, mask)) = bit(fd) else { return false };
    let mut entries = ENTRIES.write().unwrap_or_else(PoisonError::into_inner);
    let before = entries.get_or_insert_default().insert(fd, entry);
    word.fetch_or(mask, Ordering::Release);
    // Dropped without the lock: it may call whatever is taken over.
    drop(entries);
    drop(before);
    true
}

/// The number is not ours any more.
pub fn take(fd: RawFd) -> Option<Entry> {
    let (word, mask) = bit(fd)?;
    if word.load(Ordering::Acquire) & mask == 0 {
        return None;
    }
    let mut entries = ENTRIES.write().unwrap_or_else(PoisonError::into_inner);
    word.fetch_and(!mask, Ordering::Release);
    entries.as_mut()?.remove(&fd)
}

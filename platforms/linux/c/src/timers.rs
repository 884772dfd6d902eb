//! Timers of a program: each is due once.

use crate::trouble::{Code, Trouble};
use std::collections::{BTreeMap, HashMap};

/// Timers at the same time; further ones are refused.
const TIMERS_MAX: usize = 1 << 16;

/// See the module.
#[derive(Debug, Default)]
pub struct Timers {
    due: BTreeMap<(u64, i64), u64>,
    due_of: HashMap<i64, u64>,
    last: i64,
}

impl Timers {
    /// One more; its name.
    pub fn set(&mut self, due_ns: u64, tag: u64) -> Result<i64, Trouble> {
        if self.due.len() >= TIMERS_MAX {
            return Err(Trouble::new(Code::Full, format!("{TIMERS_MAX} timers are set already")));
        }
        self.last += 1;
        self.due.insert((due_ns, self.last), tag);
        self.due_of.insert(self.last, due_ns);
        Ok(self.last)
    }

    /// One less. False when there is none of that name.
    pub fn cancel(&mut self, name: i64) -> bool {
        self.due_of.remove(&name).is_some_and(|due_ns| self.due.remove(&(due_ns, name)).is_some())
    }

    /// When the next one is due.
    pub fn next_ns(&self) -> Option<u64> {
        self.due.keys().next().map(|(due_ns, _)| *due_ns)
    }

    /// One that is due: its name and its tag.
    pub fn take(&mut self, now_ns: u64) -> Option<(i64, u64)> {
        let entry = self.due.first_entry().filter(|entry| entry.key().0 <= now_ns)?;
        let ((_, name), tag) = entry.remove_entry();
        self.due_of.remove(&name);
        Some((name, tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_due_once_and_in_order() {
        let mut timers = Timers::default();
        let late = timers.set(20, 2).unwrap();
        let early = timers.set(10, 1).unwrap();
        let never = timers.set(15, 3).unwrap();
        assert!(timers.cancel(never) && !timers.cancel(never));
        assert_eq!((timers.next_ns(), timers.take(9)), (Some(10), None));
        assert_eq!(timers.take(20), Some((early, 1)));
        assert_eq!(timers.take(20), Some((late, 2)));
        assert_eq!((timers.take(u64::MAX), timers.next_ns(), timers.cancel(early)), (None, None, false));
    }

    #[test]
    fn there_are_only_so_many() {
        let mut timers = Timers::default();
        for _ in 0..TIMERS_MAX {
            timers.set(1, 0).unwrap();
        }
        assert_eq!(timers.set(1, 0).unwrap_err().code, Code::Full);
        assert!(timers.take(1).is_some() && timers.set(1, 0).is_ok());
    }
}

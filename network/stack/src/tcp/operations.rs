//! Operations that were answered and whose answer has not left yet: a list per connection, in a table for all.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::sequence::Seq;

const NONE: u32 = u32::MAX;
/// Answers that are on their way out at the same time. Further ones are counted but their latency is not measured.
const OPERATIONS: usize = 8192;

/// One connection's part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OperationList {
    head: u32,
    tail: u32,
}

impl Default for OperationList {
    fn default() -> Self {
        Self { head: NONE, tail: NONE }
    }
}

#[derive(Clone, Copy)]
struct Operation {
    next: u32,
    /// Behind the last byte of the answer.
    end: Seq,
    arrived_ns: u64,
}

/// All of them.
pub(crate) struct Operations {
    table: Box<[Operation]>,
    free: Vec<u32>,
}

impl Operations {
    pub(crate) fn new() -> Self {
        let empty = Operation { next: NONE, end: Seq(0), arrived_ns: 0 };
        Self {
            table: vec![empty; OPERATIONS].into_boxed_slice(),
            free: (0..OPERATIONS as u32).rev().collect(),
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, list: &mut OperationList, end: Seq, arrived_ns: u64) {
        let Some(index) = self.free.pop() else { return };
        self.table[index as usize] = Operation { next: NONE, end, arrived_ns };
        if list.tail == NONE {
            list.head = index;
        } else {
            self.table[list.tail as usize].next = index;
        }
        list.tail = index;
    }

    /// Takes the oldest operation whose answer lies before `sent`, and says when it arrived.
    #[inline(always)]
    pub(crate) fn pop_sent(&mut self, list: &mut OperationList, sent: Seq) -> Option<u64> {
        if list.head == NONE || self.table[list.head as usize].end.after(sent) {
            return None;
        }
        self.pop(list)
    }

    fn pop(&mut self, list: &mut OperationList) -> Option<u64> {
        let index = list.head;
        if index == NONE {
            return None;
        }
        let Operation { next, arrived_ns, .. } = self.table[index as usize];
        list.head = next;
        if next == NONE {
            list.tail = NONE;
        }
        self.free.push(index);
        Some(arrived_ns)
    }

    pub(crate) fn clear(&mut self, list: &mut OperationList) {
        while self.pop(list).is_some() {}
    }
}

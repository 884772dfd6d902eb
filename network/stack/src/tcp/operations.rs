//! Operations that were answered and whose answer has not left yet: the oldest at its connection, since most have no
//! more than one; the others in a list per connection, in a table for all.

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
    /// The oldest, when `has_first`. Those in the list are younger.
    first_arrived_ns: u64,
    first_end: Seq,
    has_first: bool,
    head: u32,
    tail: u32,
}

impl Default for OperationList {
    fn default() -> Self {
        Self { first_arrived_ns: 0, first_end: Seq(0), has_first: false, head: NONE, tail: NONE }
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
        if list.has_first || list.head != NONE {
            self.push_behind(list, end, arrived_ns);
            return;
        }
        list.has_first = true;
        list.first_end = end;
        list.first_arrived_ns = arrived_ns;
    }

    #[inline(never)]
    fn push_behind(&mut self, list: &mut OperationList, end: Seq, arrived_ns: u64) {
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
        if list.has_first {
            let is_sent = !list.first_end.after(sent);
            list.has_first = !is_sent;
            return is_sent.then_some(list.first_arrived_ns);
        }
        if list.head == NONE || self.table[list.head as usize].end.after(sent) {
            return None;
        }
        self.pop(list)
    }

    #[inline(never)]
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
        list.has_first = false;
        while self.pop(list).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use alloc::collections::VecDeque;

    #[test]
    fn they_leave_in_the_order_in_which_they_came_and_all_places_come_back() {
        let mut operations = Operations::new();
        let mut lists = [OperationList::default(); 3];
        let mut models = [VecDeque::new(), VecDeque::new(), VecDeque::new()];
        let mut random = Random::new(8);
        for number in 0..20_000u64 {
            let which = random.below(3) as usize;
            let (list, model) = (&mut lists[which], &mut models[which]);
            match random.below(64) {
                0 => {
                    operations.clear(list);
                    model.clear();
                }
                1..40 => {
                    operations.push(list, Seq(number as u32), number);
                    model.push_back(number);
                }
                _ => {
                    let sent = number.saturating_sub(random.below(20));
                    let expected = model.pop_front_if(|end| *end <= sent);
                    assert_eq!(operations.pop_sent(list, Seq(sent as u32)), expected);
                }
            }
        }
        lists.iter_mut().for_each(|list| operations.clear(list));
        assert_eq!(operations.free.len(), OPERATIONS);
    }
}

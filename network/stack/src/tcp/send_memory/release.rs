//! What is acknowledged leaves its queue, and is free once the device has read every frame that it was sent in.

use alloc::boxed::Box;

use super::{BLOCK, Chunk, FRONT, NONE, SendMemory, SendQueue, Source};
use crate::application::{Application, Pin};

/// A block that a single frame uses.
pub(crate) struct Loan {
    block: u32,
    len: usize,
}

impl SendMemory {
    /// Takes acknowledged bytes off the front.
    #[inline(always)]
    pub(crate) fn acknowledge<A: Application>(
        &mut self,
        queue: &mut SendQueue,
        mut count: u32,
        application: &mut A,
    ) {
        debug_assert!(count <= queue.bytes, "only what was written can be acknowledged");
        // What nearly every acknowledgement is: of the only answer, whole, in a block that nobody shares.
        if count == queue.bytes
            && queue.chunks == 1
            && let Some(chunk) = self.chunks.get(queue.head as usize)
            && chunk.last_sent <= self.completed
            && let Source::Inline { block, .. } = chunk.source
            && block == queue.block
            && let Some(users @ 2) = self.users.get_mut(block as usize)
        {
            *users = 0;
            self.free_blocks.push(block);
            self.free_chunks.push(queue.head);
            *queue = SendQueue::default();
            return;
        }
        queue.bytes -= count;
        while queue.head != NONE {
            let left = self.chunks[queue.head as usize].len - queue.head_skip;
            if count < left {
                queue.head_skip += count;
                break;
            }
            count -= left;
            self.pop(queue, application);
        }
        if queue.head == NONE {
            self.leave_block(queue);
        }
    }

    /// Takes everything off a queue whose connection is gone.
    pub(crate) fn clear<A: Application>(&mut self, queue: &mut SendQueue, application: &mut A) {
        while queue.head != NONE {
            self.pop(queue, application);
        }
        self.leave_block(queue);
        *queue = SendQueue::default();
    }

    #[inline(always)]
    fn pop<A: Application>(&mut self, queue: &mut SendQueue, application: &mut A) {
        let index = queue.head;
        let chunk = self.chunks[index as usize];
        queue.head = chunk.next;
        queue.head_skip = 0;
        queue.chunks -= 1;
        if queue.head == NONE {
            queue.tail = NONE;
        }
        if queue.cursor.chunk == index {
            queue.cursor = FRONT;
        }
        if chunk.last_sent <= self.completed {
            self.let_go(index, application);
        } else {
            self.retain(index);
        }
    }

    fn retain(&mut self, index: u32) {
        self.chunks[index as usize].next = NONE;
        if self.retained_tail == NONE {
            self.retained_head = index;
        } else {
            self.chunks[self.retained_tail as usize].next = index;
        }
        self.retained_tail = index;
    }

    #[inline(always)]
    fn let_go<A: Application>(&mut self, index: u32, application: &mut A) {
        let chunk = self.chunks[index as usize];
        self.free_chunks.push(index);
        match chunk.source {
            Source::Inline { block, .. } => self.drop_user(block),
            Source::Pinned { token } => application.released(Pin { token, len: chunk.len }),
            Source::Adopted { place } => self.drop_adopted(place),
        }
    }

    #[cold]
    #[inline(never)]
    fn drop_adopted(&mut self, place: u32) {
        self.adopted[place as usize] = Box::default();
        self.free_adopted.push(place);
    }

    /// The device has read every frame up to this one for the last time. Returns whether anything became free.
    pub(crate) fn complete<A: Application>(&mut self, frame: u64, application: &mut A) -> bool {
        self.completed = frame;
        let mut freed = false;
        while self.retained_head != NONE {
            let index = self.retained_head;
            let chunk = &self.chunks[index as usize];
            if chunk.last_sent > frame {
                break;
            }
            self.retained_head = chunk.next;
            if self.retained_head == NONE {
                self.retained_tail = NONE;
            }
            self.let_go(index, application);
            freed = true;
        }
        freed
    }

    /// Something waits for the device to complete it.
    pub(crate) fn retains(&self) -> bool {
        self.retained_head != NONE
    }

    /// Bytes of ours, for a frame that belongs to no connection: they are retained from the start.
    pub(crate) fn lend(&mut self, bytes: &[u8]) -> Option<Loan> {
        if bytes.len() > BLOCK || self.free_chunks.is_empty() {
            return None;
        }
        let block = self.free_blocks.pop()?;
        let place = block as usize * BLOCK;
        self.bytes[place..place + bytes.len()].copy_from_slice(bytes);
        Some(Loan { block, len: bytes.len() })
    }

    pub(crate) fn lent(&self, loan: &Loan) -> &[u8] {
        let place = loan.block as usize * BLOCK;
        &self.bytes[place..place + loan.len]
    }

    /// A loan went out with this frame, or not at all.
    pub(crate) fn settle(&mut self, loan: Loan, frame: Option<u64>) {
        let (Some(frame), Some(index)) = (frame, self.free_chunks.pop()) else {
            self.free_blocks.push(loan.block);
            return;
        };
        self.users[loan.block as usize] = 1;
        let source = Source::Inline { block: loan.block, start: 0 };
        self.chunks[index as usize] = Chunk { next: NONE, len: loan.len as u32, source, last_sent: frame };
        self.retain(index);
    }
}

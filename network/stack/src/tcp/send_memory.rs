//! What was written and not acknowledged: chunks in order, each either bytes in a block of ours, a pin of the
//! application's, or what came with a connection from another stack. Retransmission reads them again in place.
//!
//! A chunk that is acknowledged may still be read by the device (it was retransmitted, or acknowledged very soon).
//! So it is *retained* until everything it was sent in is complete; only then the block is free again and the
//! pin is released, exactly once.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use crate::application::Pin;

mod gather;
mod release;

/// No chunk, no block.
pub(crate) const NONE: u32 = u32::MAX;
/// Bytes of a block: one full segment and a little more.
pub(crate) const BLOCK: usize = 2048;
/// Pieces of payload in one frame; a segment that would have more is cut shorter.
pub(crate) const PARTS: usize = 16;
/// Chunks of one connection. Small answers are written one behind the other and share chunks.
const CHUNKS_PER_CONNECTION: u32 = 512;
/// A write of so many blocks is worth looking for blocks that lie side by side.
const LINED_UP: usize = 8;
/// What `room` keeps in reserve, so that a header, a pin and a tail fit whenever it says that there is room.
const CHUNKS_RESERVED: u32 = 4;

#[derive(Clone, Copy)]
enum Source {
    Inline { block: u32, start: u32 },
    Pinned { token: u64 },
    Adopted { place: u32 },
}

#[derive(Clone, Copy)]
struct Chunk {
    next: u32,
    len: u32,
    source: Source,
    /// The last frame that carried bytes of it.
    last_sent: u64,
}

/// One connection's part: a list of chunks, and where the next new byte to send is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SendQueue {
    head: u32,
    tail: u32,
    chunks: u32,
    /// Bytes of the head chunk that are acknowledged.
    head_skip: u32,
    /// Where to send on; `NONE` means at the very front.
    cursor: Cursor,
    /// Bytes written and not acknowledged.
    bytes: u32,
    block: u32,
    block_fill: u32,
}

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    chunk: u32,
    offset: u32,
}

pub(crate) const FRONT: Cursor = Cursor { chunk: NONE, offset: 0 };

impl Default for SendQueue {
    fn default() -> Self {
        Self {
            head: NONE,
            tail: NONE,
            chunks: 0,
            head_skip: 0,
            cursor: FRONT,
            bytes: 0,
            block: NONE,
            block_fill: 0,
        }
    }
}

impl SendQueue {
    /// Bytes written and not acknowledged.
    pub(crate) fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Where the next new byte is.
    pub(crate) fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// New bytes go on behind what was gathered.
    pub(crate) fn set_cursor(&mut self, cursor: Cursor) {
        self.cursor = cursor;
    }

    /// Everything unacknowledged is to be sent again.
    pub(crate) fn rewind(&mut self) {
        self.cursor = FRONT;
    }
}

/// The memory of all connections.
pub(crate) struct SendMemory {
    bytes: Box<[u8]>,
    users: Box<[u32]>,
    free_blocks: Vec<u32>,
    chunks: Vec<Chunk>,
    free_chunks: Vec<u32>,
    /// Bytes that came with connections. Nothing in a place that is free.
    adopted: Vec<Box<[u8]>>,
    free_adopted: Vec<u32>,
    retained_head: u32,
    retained_tail: u32,
    /// Every frame up to this one has been read by the device.
    completed: u64,
}

impl SendMemory {
    pub(crate) fn new(size_bytes: usize) -> Self {
        let blocks = (size_bytes / BLOCK).clamp(4, 1 << 20);
        // A pinned answer takes three chunks, and four times as many as there are blocks let pins be used freely.
        let chunks = (blocks * 4).max(256);
        let empty = Chunk { next: NONE, len: 0, source: Source::Pinned { token: 0 }, last_sent: 0 };
        Self {
            bytes: vec![0; blocks * BLOCK].into_boxed_slice(),
            users: vec![0; blocks].into_boxed_slice(),
            free_blocks: (0..blocks as u32).rev().collect(),
            chunks: vec![empty; chunks],
            free_chunks: (0..chunks as u32).rev().collect(),
            adopted: Vec::new(),
            free_adopted: Vec::new(),
            retained_head: NONE,
            retained_tail: NONE,
            completed: 0,
        }
    }

    /// Bytes that `write` would take, so that a pin and another write fit as well.
    pub(crate) fn room(&self, queue: &SendQueue, limit: u32) -> usize {
        if queue.chunks + CHUNKS_RESERVED > CHUNKS_PER_CONNECTION
            || self.free_chunks.len() < CHUNKS_RESERVED as usize
        {
            return 0;
        }
        // Every block may need a chunk of its own; a pin in between breaks one write into one more.
        let chunks = self.free_chunks.len().min((CHUNKS_PER_CONNECTION - queue.chunks) as usize);
        let blocks = self.free_blocks.len().min(chunks - CHUNKS_RESERVED as usize);
        let here = if queue.block == NONE { 0 } else { BLOCK - queue.block_fill as usize };
        (limit.saturating_sub(queue.bytes) as usize).min(here + blocks * BLOCK)
    }

    /// Copies bytes to the end of a queue: all or none.
    pub(crate) fn write(&mut self, queue: &mut SendQueue, bytes: &[u8], limit: u32) -> bool {
        // What nearly every write is: an answer that fits a block, when the answers before it are acknowledged.
        if queue.head == NONE
            && queue.block == NONE
            && (1..=BLOCK).contains(&bytes.len())
            && let [.., block] = self.free_blocks[..]
            && let [.., chunk] = self.free_chunks[..]
        {
            self.free_blocks.pop();
            self.free_chunks.pop();
            let len = bytes.len() as u32;
            let place = block as usize * BLOCK;
            self.bytes[place..place + bytes.len()].copy_from_slice(bytes);
            // The chunk and the queue, which goes on writing there.
            self.users[block as usize] = 2;
            let source = Source::Inline { block, start: 0 };
            self.chunks[chunk as usize] = Chunk { next: NONE, len, source, last_sent: 0 };
            let cursor = queue.cursor;
            *queue = SendQueue {
                head: chunk,
                tail: chunk,
                chunks: 1,
                head_skip: 0,
                cursor,
                bytes: len,
                block,
                block_fill: len,
            };
            return true;
        }
        self.write_anywhere(queue, bytes, limit)
    }

    #[inline(never)]
    fn write_anywhere(&mut self, queue: &mut SendQueue, mut bytes: &[u8], limit: u32) -> bool {
        let here = if queue.block == NONE { 0 } else { BLOCK - queue.block_fill as usize };
        let blocks = bytes.len().saturating_sub(here).div_ceil(BLOCK);
        // One pin may have gone beyond the limit; the tail of that answer is taken all the same.
        let behind_pin = queue.tail != NONE
            && matches!(self.chunks[queue.tail as usize].source, Source::Pinned { .. })
            && bytes.len() <= BLOCK;
        let within = behind_pin || queue.bytes as usize + bytes.len() <= limit as usize + BLOCK;
        if blocks > self.free_blocks.len()
            || blocks + 1 > self.free_chunks.len()
            || queue.chunks as usize + blocks + 1 > CHUNKS_PER_CONNECTION as usize
            || !within
        {
            return false;
        }
        if blocks >= LINED_UP {
            self.line_up(blocks);
        }
        while !bytes.is_empty() {
            if queue.block == NONE || queue.block_fill as usize == BLOCK {
                self.leave_block(queue);
                let Some(block) = self.free_blocks.pop() else { return false };
                self.users[block as usize] = 1;
                queue.block = block;
                queue.block_fill = 0;
            }
            let start = queue.block_fill;
            let (now, after) = bytes.split_at(bytes.len().min(BLOCK - start as usize));
            let place = queue.block as usize * BLOCK + start as usize;
            self.bytes[place..place + now.len()].copy_from_slice(now);
            queue.block_fill += now.len() as u32;
            queue.bytes += now.len() as u32;
            bytes = after;
            if queue.tail != NONE {
                let tail = &mut self.chunks[queue.tail as usize];
                if let Source::Inline { block, start: tail_start } = tail.source
                    && block == queue.block
                    && tail_start + tail.len == start
                {
                    tail.len += now.len() as u32;
                    continue;
                }
            }
            self.users[queue.block as usize] += 1;
            self.append(queue, Source::Inline { block: queue.block, start }, now.len() as u32);
        }
        true
    }

    /// Before many blocks are taken, those that come next are put in the order of their places: what lies side by side is one
    /// piece of a frame, and a frame has room for few. A few times as many as are wanted nearly always have runs enough;
    /// else more are looked at. Bounded by the size of the write.
    fn line_up(&mut self, blocks: usize) {
        for window in [4 * blocks, 64 * blocks] {
            let from = self.free_blocks.len().saturating_sub(window);
            let next = &mut self.free_blocks[from..];
            // The last one is taken first.
            next.sort_unstable_by(|one, other| other.cmp(one));
            let taken = &next[next.len().saturating_sub(blocks)..];
            let broken = taken.windows(2).filter(|pair| pair[0] != pair[1] + 1).count();
            if broken <= blocks / LINED_UP {
                return;
            }
        }
    }

    /// Appends a pin. One may go beyond the limit.
    pub(crate) fn write_pinned(&mut self, queue: &mut SendQueue, pin: Pin, limit: u32) -> bool {
        if queue.chunks + 1 > CHUNKS_PER_CONNECTION
            || self.free_chunks.is_empty()
            || queue.bytes > limit
            || pin.len > 1 << 30
        {
            return false;
        }
        queue.bytes += pin.len;
        self.append(queue, Source::Pinned { token: pin.token }, pin.len);
        true
    }

    /// Takes over what another stack had queued. It gets memory of its own until it is acknowledged, as much as the value that
    /// it comes in: pins of the other stack took no block there, and here there may be none for them. So a connection
    /// never needs more of ours than it had.
    pub(crate) fn adopt(&mut self, queue: &mut SendQueue, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let place = self.free_adopted.pop().unwrap_or_else(|| {
            self.adopted.push(Box::default());
            self.adopted.len() as u32 - 1
        });
        self.adopted[place as usize] = bytes.into();
        if self.free_chunks.is_empty() {
            // The chunks that it had may still be with the other device.
            self.free_chunks.push(self.chunks.len() as u32);
            let source = Source::Adopted { place };
            self.chunks.push(Chunk { next: NONE, len: 0, source, last_sent: 0 });
        }
        queue.bytes += bytes.len() as u32;
        self.append(queue, Source::Adopted { place }, bytes.len() as u32);
    }

    fn append(&mut self, queue: &mut SendQueue, source: Source, len: u32) {
        let Some(chunk) = self.free_chunks.pop() else { unreachable!("checked by the caller") };
        self.chunks[chunk as usize] = Chunk { next: NONE, len, source, last_sent: 0 };
        if queue.tail == NONE {
            queue.head = chunk;
            queue.head_skip = 0;
        } else {
            self.chunks[queue.tail as usize].next = chunk;
        }
        queue.tail = chunk;
        queue.chunks += 1;
    }

    fn leave_block(&mut self, queue: &mut SendQueue) {
        if queue.block != NONE {
            self.drop_user(queue.block);
            queue.block = NONE;
        }
    }

    fn drop_user(&mut self, block: u32) {
        self.users[block as usize] -= 1;
        if self.users[block as usize] == 0 {
            self.free_blocks.push(block);
        }
    }

    /// There is enough free memory to wake somebody for it.
    pub(crate) fn has_slack(&self) -> bool {
        self.free_blocks.len() * 8 >= self.users.len() && self.free_chunks.len() * 8 >= self.chunks.len()
    }

    /// Nothing is in use.
    pub(crate) fn is_unused(&self) -> bool {
        self.free_blocks.len() == self.users.len()
            && self.free_chunks.len() == self.chunks.len()
            && self.free_adopted.len() == self.adopted.len()
    }
}

#[cfg(test)]
mod tests;

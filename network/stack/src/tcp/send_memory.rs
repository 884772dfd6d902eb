//! What was written and not acknowledged: chunks in order, each either bytes in a block of ours, a pin of the
//! application's, or what came with a connection from another stack. Retransmission reads them again in place.
//!
//! A chunk that is acknowledged may still be read by the device (it was retransmitted, or acknowledged very soon).
//! So it is *retained* until everything it was sent in is complete; only then the block is free again and the
//! pin is released, exactly once.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use crate::application::{Application, Pin};

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

/// What one segment carries.
pub(crate) struct Gathered<'a> {
    /// Pieces of memory: chunks whose bytes lie side by side are one.
    pub(crate) parts: [&'a [u8]; PARTS],
    pub(crate) count: usize,
    pub(crate) len: u32,
    /// Behind the last byte.
    pub(crate) end: Cursor,
    first: u32,
    chunks: usize,
}

/// What one segment carries when that is a single piece.
pub(crate) struct Whole<'a> {
    pub(crate) bytes: &'a [u8],
    /// Behind the last byte.
    pub(crate) end: Cursor,
}

/// Marks a gathered range as sent; what is left of [`Gathered`] once the frame is queued and the bytes are let go.
#[derive(Clone, Copy)]
pub(crate) struct Touched {
    first: u32,
    chunks: usize,
}

impl Gathered<'_> {
    pub(crate) fn touched(&self) -> Touched {
        Touched { first: self.first, chunks: self.chunks }
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

    /// Lists up to `len` bytes of a queue from a place on, for one segment.
    pub(crate) fn gather<'a, A: Application>(
        &'a self,
        application: &'a A,
        queue: &SendQueue,
        from: Cursor,
        len: u32,
    ) -> Gathered<'a> {
        let mut at =
            if from.chunk == NONE { Cursor { chunk: queue.head, offset: queue.head_skip } } else { from };
        let mut gathered =
            Gathered { parts: [&[]; PARTS], count: 0, len: 0, end: from, first: NONE, chunks: 0 };
        // Where the last part is in our memory.
        let mut last = usize::MAX..usize::MAX;
        while gathered.len < len && at.chunk != NONE {
            let chunk = &self.chunks[at.chunk as usize];
            let now = (chunk.len - at.offset).min(len - gathered.len);
            if now == 0 {
                at = Cursor { chunk: chunk.next, offset: 0 };
                continue;
            }
            let bytes: &[u8] = match chunk.source {
                Source::Inline { block, start } => {
                    let place = block as usize * BLOCK + (start + at.offset) as usize;
                    let end = place + now as usize;
                    if place == last.end {
                        gathered.count -= 1;
                        last.end = end;
                    } else {
                        last = place..end;
                    }
                    &self.bytes[last.clone()]
                }
                Source::Pinned { token } => {
                    last = usize::MAX..usize::MAX;
                    let pinned = application.pinned(Pin { token, len: chunk.len });
                    &pinned[at.offset as usize..(at.offset + now) as usize]
                }
                Source::Adopted { place } => {
                    last = usize::MAX..usize::MAX;
                    &self.adopted[place as usize][at.offset as usize..(at.offset + now) as usize]
                }
            };
            if gathered.count == PARTS {
                break;
            }
            if gathered.chunks == 0 {
                gathered.first = at.chunk;
            }
            gathered.parts[gathered.count] = bytes;
            gathered.count += 1;
            gathered.chunks += 1;
            gathered.len += now;
            at.offset += now;
            gathered.end = at;
        }
        gathered
    }

    /// The last `len` bytes of a queue, when they are what follows the cursor and stand in one chunk.
    #[inline]
    pub(crate) fn whole<'a, A: Application>(
        &'a self,
        application: &'a A,
        queue: &SendQueue,
        len: u32,
    ) -> Option<Whole<'a>> {
        let Cursor { mut chunk, mut offset } = queue.cursor;
        if chunk == NONE {
            (chunk, offset) = (queue.head, queue.head_skip);
        }
        let mut this = self.chunks.get(chunk as usize)?;
        if offset == this.len {
            (chunk, offset) = (this.next, 0);
            this = self.chunks.get(chunk as usize)?;
        }
        if this.len - offset != len {
            return None;
        }
        let bytes = match this.source {
            Source::Inline { block, start } => {
                let place = block as usize * BLOCK + (start + offset) as usize;
                &self.bytes[place..place + len as usize]
            }
            Source::Pinned { token } => {
                let pinned = application.pinned(Pin { token, len: this.len });
                &pinned[offset as usize..(offset + len) as usize]
            }
            // The long way does for what comes once in a connection's life.
            Source::Adopted { .. } => return None,
        };
        Some(Whole { bytes, end: Cursor { chunk, offset: offset + len } })
    }

    /// Remembers that a frame carries what [`SendMemory::whole`] found, which ends there.
    #[inline]
    pub(crate) fn sent_whole(&mut self, end: Cursor, frame: u64) {
        self.chunks[end.chunk as usize].last_sent = frame;
    }

    /// The place of a byte, counted from the first unacknowledged one.
    pub(crate) fn seek(&self, queue: &SendQueue, mut offset: u32) -> Cursor {
        let mut at = Cursor { chunk: queue.head, offset: queue.head_skip };
        while at.chunk != NONE {
            let chunk = &self.chunks[at.chunk as usize];
            let left = chunk.len - at.offset;
            if offset < left || chunk.next == NONE {
                at.offset += offset.min(left);
                break;
            }
            offset -= left;
            at = Cursor { chunk: chunk.next, offset: 0 };
        }
        at
    }

    /// Remembers that a frame carries these chunks.
    pub(crate) fn sent(&mut self, touched: Touched, frame: u64) {
        let mut chunk = touched.first;
        let mut left = touched.chunks;
        while left > 0 && chunk != NONE {
            let this = &mut self.chunks[chunk as usize];
            // Empty chunks (a pin of no bytes) were passed over and are not counted.
            left -= usize::from(this.len != 0);
            this.last_sent = frame;
            chunk = this.next;
        }
    }

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

    /// There is enough free memory to wake somebody for it.
    pub(crate) fn has_slack(&self) -> bool {
        self.free_blocks.len() * 8 >= self.users.len() && self.free_chunks.len() * 8 >= self.chunks.len()
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

    /// Nothing is in use.
    pub(crate) fn is_unused(&self) -> bool {
        self.free_blocks.len() == self.users.len()
            && self.free_chunks.len() == self.chunks.len()
            && self.free_adopted.len() == self.adopted.len()
    }
}

/// A block that a single frame uses.
pub(crate) struct Loan {
    block: u32,
    len: usize,
}

#[cfg(test)]
mod tests;

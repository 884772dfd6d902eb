//! What a segment carries: bytes of a queue from a place on, read where they lie.

use super::{BLOCK, Cursor, NONE, PARTS, SendMemory, SendQueue, Source};
use crate::application::{Application, Pin};

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

impl SendMemory {
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
}

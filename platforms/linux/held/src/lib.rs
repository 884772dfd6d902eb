//! Frames that gather until the kick, for devices whose doorbell is a system call.
//!
//! What is held are the places of the payload, not copies: the kernel is the device, and it reads the payload when it is
//! told to, as a network card would. Each frame is a list of pieces with the header before it that tells the kernel what
//! is left to do: complete the checksum, cut it into segments.

use nom_stack::port::{Frame, Full};
use nom_vnet::{SHORT_LEN, emit};
use std::ptr;

/// Frames that can be held.
pub const FRAMES: usize = 256;
/// Pieces of payload in one frame that are sent from where they lie.
const PIECES: usize = 30;
/// Ethernet with a VLAN tag, IPv6 and TCP headers with all options and some to spare: 18 + 40 + 60.
const HEADERS_MAX: usize = 144;

/// A frame that is held.
struct Slot {
    /// The header that says what is left to do, and the frame's own headers.
    front: [u8; SHORT_LEN + HEADERS_MAX],
    front_len: usize,
    pieces: [libc::iovec; 1 + PIECES],
    /// None for a frame that no device could send.
    pieces_len: usize,
    /// A frame that has too many pieces, or headers that are too long, put together.
    joined: Vec<u8>,
}

/// The frames that are held, oldest first.
pub struct Held {
    slots: Box<[Slot]>,
    /// Frames queued so far, and those of them that are done with.
    queued: u64,
    done: u64,
    joined_bytes: u64,
    refused: u64,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("queued", &self.queued).field("done", &self.done).finish()
    }
}

impl Default for Held {
    fn default() -> Self {
        let nothing = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        let slot = || Slot {
            front: [0; SHORT_LEN + HEADERS_MAX],
            front_len: 0,
            pieces: [nothing; 1 + PIECES],
            pieces_len: 0,
            joined: Vec::new(),
        };
        Self { slots: (0..FRAMES).map(|_| slot()).collect(), queued: 0, done: 0, joined_bytes: 0, refused: 0 }
    }
}

impl Held {
    /// How many more frames fit.
    pub fn room(&self) -> usize {
        FRAMES - self.waiting()
    }

    /// How many frames are held.
    pub fn waiting(&self) -> usize {
        (self.queued - self.done) as usize
    }

    /// How many frames are done with, by the number that `queue` gave the last of them.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Bytes that were copied because a frame had too many pieces.
    pub fn joined_bytes(&self) -> u64 {
        self.joined_bytes
    }

    /// Frames that the kernel did not take, for want of memory or because the interface is down, and those that nothing
    /// could send. They are lost, as on any wire.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Holds one frame more.
    pub fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        if self.room() == 0 {
            return Err(Full);
        }
        let slot = &mut self.slots[self.queued as usize % FRAMES];
        self.queued += 1;
        let Ok(mark) = emit(&frame) else {
            slot.pieces_len = 0;
            return Ok(self.queued);
        };
        slot.front[..SHORT_LEN].copy_from_slice(&mark[..SHORT_LEN]);
        let front_len = SHORT_LEN + frame.headers.len();
        if frame.payload.len() <= PIECES && front_len <= slot.front.len() {
            slot.front[SHORT_LEN..front_len].copy_from_slice(frame.headers);
            slot.front_len = front_len;
            for (piece, bytes) in slot.pieces[1..].iter_mut().zip(frame.payload) {
                *piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            }
            slot.pieces_len = 1 + frame.payload.len();
        } else {
            slot.front_len = SHORT_LEN;
            slot.joined.clear();
            for part in std::iter::once(&frame.headers).chain(frame.payload) {
                slot.joined.extend_from_slice(part);
            }
            slot.pieces[1] =
                libc::iovec { iov_base: slot.joined.as_mut_ptr().cast(), iov_len: slot.joined.len() };
            slot.pieces_len = 2;
            self.joined_bytes += slot.joined.len() as u64;
        }
        Ok(self.queued)
    }

    /// The pieces of a frame that waits, the oldest being number 0: pointers that hold until the frame is done with or
    /// this is moved. No pieces: nothing could send it.
    pub fn pieces(&mut self, number: usize) -> &mut [libc::iovec] {
        assert!(number < self.waiting(), "frame {number} of {}", self.waiting());
        let slot = &mut self.slots[(self.done as usize + number) % FRAMES];
        slot.pieces[0] = libc::iovec { iov_base: slot.front.as_mut_ptr().cast(), iov_len: slot.front_len };
        &mut slot.pieces[..slot.pieces_len]
    }

    /// The oldest frames are done with; the kernel did not take so many of them.
    pub fn finish(&mut self, frames: usize, refused: usize) {
        assert!(refused <= frames && frames <= self.waiting());
        self.done += frames as u64;
        self.refused += refused as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nom_stack::port::PartialChecksum;

    const HEADERS: [u8; 54] = {
        let mut headers = [7; 54];
        headers[12] = 8;
        headers[13] = 0;
        headers
    };

    fn frame<'a>(payload: &'a [&'a [u8]], segment_len: Option<u16>) -> Frame<'a> {
        Frame {
            headers: &HEADERS,
            payload,
            checksum: Some(PartialChecksum { start: 34, offset: 16 }),
            segment_len,
        }
    }

    fn lens(pieces: &[libc::iovec]) -> Vec<usize> {
        pieces.iter().map(|piece| piece.iov_len).collect()
    }

    #[test]
    fn a_frame_is_its_headers_and_the_places_of_its_payload() {
        let mut held = Held::default();
        let text = [1, 2, 3];
        assert_eq!(held.queue(frame(&[&text, &text[1..]], None)), Ok(1));
        let pieces = held.pieces(0);
        assert_eq!(lens(pieces), [SHORT_LEN + 54, 3, 2]);
        assert_eq!(pieces[1].iov_base.cast_const().cast(), text.as_ptr());
        held.finish(1, 0);
        assert_eq!((held.done(), held.waiting(), held.refused()), (1, 0, 0));
    }

    #[test]
    fn too_many_pieces_and_long_headers_are_put_together() {
        let mut held = Held::default();
        let byte = [9u8];
        let payload = [&byte[..]];
        held.queue(frame(&[&byte[..]; PIECES + 1], None)).unwrap();
        assert_eq!(lens(held.pieces(0)), [SHORT_LEN, 54 + PIECES + 1]);
        let long = Frame { headers: &[0; HEADERS_MAX + 1], checksum: None, ..frame(&payload, None) };
        held.queue(long).unwrap();
        assert_eq!(lens(held.pieces(1)), [SHORT_LEN, HEADERS_MAX + 2]);
        assert_eq!(held.joined_bytes(), (54 + PIECES + 1 + HEADERS_MAX + 2) as u64);
    }

    #[test]
    fn what_nobody_could_cut_has_no_pieces_and_keeps_its_number() {
        let mut held = Held::default();
        let text = [0; 3000];
        let payload = [&text[..]];
        let no_checksum = Frame { checksum: None, ..frame(&payload, Some(1460)) };
        assert_eq!(held.queue(no_checksum), Ok(1));
        assert_eq!(held.queue(frame(&payload, Some(1460))), Ok(2));
        assert!(held.pieces(0).is_empty());
        assert_eq!(lens(held.pieces(1)), [SHORT_LEN + 54, 3000]);
        held.finish(2, 1);
        assert_eq!((held.done(), held.refused()), (2, 1));
    }

    #[test]
    fn the_frames_are_bounded_and_come_round() {
        let mut held = Held::default();
        for round in 0..3u64 {
            for number in 1..=FRAMES as u64 {
                assert_eq!(held.queue(frame(&[], None)), Ok(round * FRAMES as u64 + number));
            }
            assert_eq!(held.queue(frame(&[], None)), Err(Full));
            held.finish(FRAMES, 0);
        }
        assert_eq!(held.room(), FRAMES);
    }
}

//! What goes over the wire, for a person's eyes: halves of a device that keep copies of frames while somebody looks.
//!
//! A host's tools see nothing of a private stack, so the stack's owner puts a [`Tapped`] around both halves. While nobody
//! looks a frame costs one test of a flag, and no memory is held. Copies wait in a ring of [`RING_BYTES`]; when it is
//! full, new frames are not kept and are counted, so that what was kept stays without gaps from its beginning.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::ops::Deref;

use crate::port::{Arrival, Egress, Frame, Full, Ingress, Offloads};
use crate::wire::checksum::Sum;

/// Bytes of copies that wait to be read, with [`HEAD`] for each.
pub const RING_BYTES: usize = 256 << 10;
/// What a frame takes beside its bytes.
const HEAD: usize = 17;

/// A frame as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// It left; otherwise it arrived.
    pub out: bool,
    /// When: the stamp of the arrival, or the last look at the clock before it was queued.
    pub at_ns: u64,
    /// Its length, of which less may have been kept.
    pub len: u32,
    /// How many bytes were kept.
    pub kept: u32,
}

/// The ring, shared by both halves and whoever reads it.
#[derive(Default)]
pub struct Tap {
    on: Cell<bool>,
    now_ns: Cell<u64>,
    ring: RefCell<Ring>,
}

#[derive(Default)]
struct Ring {
    bytes: VecDeque<u8>,
    snap: usize,
    lost: u64,
}

impl Tap {
    /// Begins to keep the first `snap` bytes of every frame. False when there is no memory for it.
    pub fn start(&self, snap: usize) -> bool {
        let mut ring = self.ring.borrow_mut();
        let mut bytes = VecDeque::new();
        if bytes.try_reserve_exact(RING_BYTES).is_err() {
            return false;
        }
        *ring = Ring { bytes, snap: snap.min(RING_BYTES - HEAD), lost: 0 };
        self.on.set(true);
        true
    }

    /// Keeps nothing any more, and gives the memory back.
    pub fn stop(&self) {
        self.on.set(false);
        *self.ring.borrow_mut() = Ring::default();
    }

    /// Frames are kept.
    pub fn is_on(&self) -> bool {
        self.on.get()
    }

    /// Frames that were not kept because the ring was full, since the start.
    pub fn lost(&self) -> u64 {
        self.ring.borrow().lost
    }

    /// The oldest frame that waits, which stays.
    pub fn first(&self) -> Option<Seen> {
        let ring = self.ring.borrow();
        let mut head = [0; HEAD];
        for (place, byte) in head.iter_mut().enumerate() {
            *byte = *ring.bytes.get(place)?;
        }
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let at_ns = u64::from(word(5)) << 32 | u64::from(word(1));
        Some(Seen { out: head[0] != 0, at_ns, len: word(9), kept: word(13) })
    }

    /// Takes the oldest frame that waits; its bytes are appended.
    pub fn take(&self, bytes: &mut Vec<u8>) -> Option<Seen> {
        let seen = self.first()?;
        let mut ring = self.ring.borrow_mut();
        ring.bytes.drain(..HEAD);
        bytes.extend(ring.bytes.drain(..seen.kept as usize));
        Some(seen)
    }

    #[cold]
    fn keep(&self, out: bool, at_ns: u64, parts: &[&[u8]], checksum: Option<(usize, [u8; 2])>) {
        let mut ring = self.ring.borrow_mut();
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let kept = len.min(ring.snap);
        if ring.bytes.len() + HEAD + kept > RING_BYTES {
            ring.lost += 1;
            return;
        }
        ring.bytes.push_back(u8::from(out));
        ring.bytes.extend(at_ns.to_le_bytes());
        ring.bytes.extend((len as u32).to_le_bytes());
        ring.bytes.extend((kept as u32).to_le_bytes());
        let begin = ring.bytes.len();
        for part in parts {
            let room = begin + kept - ring.bytes.len();
            ring.bytes.extend(&part[..part.len().min(room)]);
        }
        if let Some((place, sum)) = checksum
            && place + 2 <= kept
        {
            ring.bytes[begin + place] = sum[0];
            ring.bytes[begin + place + 1] = sum[1];
        }
    }
}

/// One half of a device, and the tap at it.
pub struct Tapped<H> {
    half: H,
    tap: Rc<Tap>,
}

impl<H> Tapped<H> {
    /// Puts a tap at a half.
    pub fn new(half: H, tap: Rc<Tap>) -> Self {
        Self { half, tap }
    }
}

impl<H> Deref for Tapped<H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.half
    }
}

impl<I: Ingress> Ingress for Tapped<I> {
    #[inline]
    fn look(&mut self, now_ns: u64) -> usize {
        if self.tap.on.get() {
            self.tap.now_ns.set(now_ns);
        }
        self.half.look(now_ns)
    }

    #[inline]
    fn oldest_ns(&self) -> Option<u64> {
        self.half.oldest_ns()
    }

    fn capacity(&self) -> usize {
        self.half.capacity()
    }

    #[inline]
    fn take(&mut self) -> Option<Arrival> {
        let arrival = self.half.take();
        if self.tap.on.get()
            && let Some(arrival) = &arrival
        {
            self.tap.keep(false, arrival.arrived_ns, &[self.half.bytes(arrival)], None);
        }
        arrival
    }

    #[inline]
    fn bytes(&self, arrival: &Arrival) -> &[u8] {
        self.half.bytes(arrival)
    }

    #[inline]
    fn give_back(&mut self, arrival: Arrival) {
        self.half.give_back(arrival);
    }

    fn arm(&mut self) -> bool {
        self.half.arm()
    }

    fn lost(&self) -> u64 {
        self.half.lost()
    }
}

impl<E: Egress> Egress for Tapped<E> {
    fn offloads(&self) -> Offloads {
        self.half.offloads()
    }

    fn mtu(&self) -> usize {
        self.half.mtu()
    }

    #[inline]
    fn room(&self) -> usize {
        self.half.room()
    }

    #[inline]
    fn capacity(&self) -> usize {
        self.half.capacity()
    }

    #[inline]
    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        let number = self.half.queue(frame)?;
        if self.tap.on.get() {
            keep_sent(&self.tap, &frame);
        }
        Ok(number)
    }

    #[inline]
    fn kick(&mut self) -> bool {
        self.half.kick()
    }

    #[inline]
    fn completed(&mut self) -> u64 {
        self.half.completed()
    }

    fn remind(&mut self) {
        self.half.remind();
    }
}

/// Pieces of a frame that are kept; payload beyond them is cut, which only a gather list of many pins can reach.
const PARTS: usize = 33;

/// Keeps a frame with the checksum that the device completes, so that whoever reads it sees what goes over the wire.
#[cold]
fn keep_sent(tap: &Tap, frame: &Frame<'_>) {
    let mut parts: [&[u8]; PARTS] = [&[]; PARTS];
    parts[0] = frame.headers;
    for (place, part) in parts[1..].iter_mut().zip(frame.payload) {
        *place = part;
    }
    let checksum = frame.checksum.map(|partial| {
        let start = usize::from(partial.start);
        let mut sum = Sum::new();
        sum.add(frame.headers.get(start..).unwrap_or_default());
        for part in frame.payload {
            sum.add(part);
        }
        (start + usize::from(partial.offset), sum.finish())
    });
    tap.keep(true, tap.now_ns.get(), &parts, checksum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn what_is_kept_comes_out_in_order_and_what_does_not_fit_is_counted() {
        let tap = Tap::default();
        assert!(tap.start(100) && tap.is_on() && tap.first().is_none());
        let mut count = 0;
        while tap.lost() == 0 {
            tap.keep(count % 2 == 1, count << 30, &[&[count as u8; 60], &[7; 80]], Some((98, [1, 2])));
            count += 1;
        }
        assert_eq!(count as usize - 1, RING_BYTES / (HEAD + 100));
        for number in 0..count - 1 {
            let mut bytes = vec![];
            let seen = tap.take(&mut bytes).expect("it was kept");
            assert_eq!(seen, Seen { out: number % 2 == 1, at_ns: number << 30, len: 140, kept: 100 });
            assert_eq!(bytes[..60], [number as u8; 60]);
            assert_eq!(bytes[60..], [&[7; 38][..], &[1, 2]].concat());
        }
        assert!(tap.take(&mut vec![]).is_none());
        tap.keep(false, 5, &[&[1]], None);
        assert_eq!(tap.first().map(|seen| (seen.len, seen.kept)), Some((1, 1)));
        tap.stop();
        assert!(tap.first().is_none() && tap.lost() == 0 && !tap.is_on());
    }
}

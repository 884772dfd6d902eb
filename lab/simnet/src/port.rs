//! A host's network device in virtual time: the two halves that its engine owns, and the side that the simulator
//! sees.

use nom_stack::port::{Arrival, Egress, Frame, Full, Ingress, Offloads};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// What the device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Frames that each ring holds. A frame that arrives at a full ring is dropped and counted.
    pub ring: usize,
    /// Largest Ethernet payload.
    pub mtu: usize,
    /// Complete transport checksums on the way out and vouch for them on the way in, as a device with offloads
    /// does. A corrupt frame is then dropped here, as such a device drops it.
    pub checksum_offload: bool,
}

impl Default for Device {
    fn default() -> Self {
        Self { ring: 256, mtu: 1500, checksum_offload: false }
    }
}

/// The device between its two faces.
#[derive(Debug)]
pub(crate) struct Rings {
    device: Device,
    slots: Vec<Vec<u8>>,
    free: Vec<u32>,
    waiting: VecDeque<Arrival>,
    /// Arrived, but nobody has looked since.
    unseen: VecDeque<Arrival>,
    queued: VecDeque<Vec<u8>>,
    /// Of the queued ones, how many were made visible.
    visible: usize,
    sequence: u64,
    completed: u64,
    pub(crate) kicks: u64,
    pub(crate) overflows: u64,
    pub(crate) damaged: u64,
    /// What checks how long frames are held.
    pub(crate) watch: Watch,
    pub(crate) frames_in: u64,
    pub(crate) bytes_in: u64,
}

/// Since when a frame waits in the stack's hands, and until when it may.
#[derive(Debug, Default, Clone, Copy)]
struct Held {
    since_ns: u64,
    until_ns: u64,
}

impl Held {
    /// The knobs changed: what is held leaves no later than the old ones allowed, and no later than the new ones do.
    fn allow(&mut self, hold_ns: u64, now_ns: u64) {
        self.until_ns = self.until_ns.min(self.since_ns.saturating_add(hold_ns).max(now_ns));
    }
}

/// Sees how long the stack keeps frames, on the way in from their arrival and on the way out until the device is shown
/// them.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    pub(crate) now_ns: u64,
    hold_ns: u64,
    received: Vec<Held>,
    queued: VecDeque<Held>,
    /// Frames that were kept longer than the knobs allowed.
    pub(crate) overheld: u64,
}

impl Watch {
    /// The stack may hold frames for so long from now on.
    pub(crate) fn allow(&mut self, hold_ns: u64, now_ns: u64) {
        self.now_ns = now_ns;
        self.hold_ns = hold_ns;
        self.received.iter_mut().chain(&mut self.queued).for_each(|held| held.allow(hold_ns, now_ns));
    }

    fn begin(&self) -> Held {
        Held { since_ns: self.now_ns, until_ns: self.now_ns.saturating_add(self.hold_ns) }
    }

    fn end(&mut self, held: Held) {
        self.overheld += u64::from(self.now_ns > held.until_ns);
    }
}

impl Rings {
    /// A frame comes from the link. False when the ring was full.
    pub(crate) fn deliver(&mut self, now_ns: u64, frame: &[u8], damaged: bool) -> bool {
        if damaged && self.device.checksum_offload {
            self.damaged += 1;
            return false;
        }
        let Some(buffer) = self.free.pop() else {
            self.overflows += 1;
            return false;
        };
        let slot = &mut self.slots[buffer as usize];
        slot.clear();
        slot.extend_from_slice(frame);
        let checksum_good = self.device.checksum_offload;
        let len = frame.len() as u32;
        self.watch.now_ns = now_ns;
        self.watch.received[buffer as usize] = self.watch.begin();
        self.unseen.push_back(Arrival { buffer, len, arrived_ns: now_ns, checksum_good });
        true
    }

    /// A frame goes to the link; it is complete with that.
    pub(crate) fn depart(&mut self) -> Option<Vec<u8>> {
        self.visible = self.visible.checked_sub(1)?;
        self.completed += 1;
        self.queued.pop_front()
    }
}

/// Makes a device and returns its halves and the simulator's face.
pub(crate) fn device(device: Device) -> (SimIngress, SimEgress, Rc<RefCell<Rings>>) {
    let rings = Rc::new(RefCell::new(Rings {
        device,
        slots: vec![Vec::new(); device.ring],
        free: (0..device.ring as u32).rev().collect(),
        waiting: VecDeque::new(),
        unseen: VecDeque::new(),
        queued: VecDeque::new(),
        visible: 0,
        sequence: 0,
        completed: 0,
        kicks: 0,
        overflows: 0,
        damaged: 0,
        watch: Watch { received: vec![Held::default(); device.ring], ..Watch::default() },
        frames_in: 0,
        bytes_in: 0,
    }));
    let ingress = SimIngress { rings: Rc::clone(&rings), taken: vec![Vec::new(); device.ring] };
    (ingress, SimEgress(Rc::clone(&rings)), rings)
}

/// The receiving half.
#[derive(Debug)]
pub struct SimIngress {
    rings: Rc<RefCell<Rings>>,
    /// The bytes of frames that are taken, out of the shared rings so that they can be borrowed.
    taken: Vec<Vec<u8>>,
}

impl Ingress for SimIngress {
    fn look(&mut self, now_ns: u64) -> usize {
        let rings = &mut *self.rings.borrow_mut();
        rings.watch.now_ns = now_ns;
        rings.waiting.append(&mut rings.unseen);
        rings.waiting.len()
    }

    fn oldest_ns(&self) -> Option<u64> {
        self.rings.borrow().waiting.front().map(|arrival| arrival.arrived_ns)
    }

    fn capacity(&self) -> usize {
        self.rings.borrow().device.ring
    }

    fn take(&mut self) -> Option<Arrival> {
        let rings = &mut *self.rings.borrow_mut();
        let arrival = rings.waiting.pop_front()?;
        let place = arrival.buffer as usize;
        std::mem::swap(&mut self.taken[place], &mut rings.slots[place]);
        rings.frames_in += 1;
        rings.bytes_in += u64::from(arrival.len);
        Some(arrival)
    }

    fn bytes(&self, arrival: &Arrival) -> &[u8] {
        &self.taken[arrival.buffer as usize][..arrival.len as usize]
    }

    fn give_back(&mut self, arrival: Arrival) {
        let place = arrival.buffer as usize;
        // Whoever still reads the buffer after this reads rubbish, as on a real device.
        self.taken[place].fill(0xdb);
        let rings = &mut *self.rings.borrow_mut();
        assert!(!rings.free.contains(&arrival.buffer), "a buffer was given back twice");
        rings.free.push(arrival.buffer);
        rings.watch.end(rings.watch.received[place]);
    }

    fn arm(&mut self) -> bool {
        let rings = self.rings.borrow();
        rings.waiting.is_empty() && rings.unseen.is_empty()
    }
}

/// The sending half.
#[derive(Debug)]
pub struct SimEgress(Rc<RefCell<Rings>>);

impl Egress for SimEgress {
    fn offloads(&self) -> Offloads {
        Offloads { checksum: self.0.borrow().device.checksum_offload, segmentation: false }
    }

    fn mtu(&self) -> usize {
        self.0.borrow().device.mtu
    }

    fn room(&self) -> usize {
        let rings = self.0.borrow();
        rings.device.ring - rings.queued.len()
    }

    fn capacity(&self) -> usize {
        self.0.borrow().device.ring
    }

    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full> {
        let rings = &mut *self.0.borrow_mut();
        if rings.queued.len() == rings.device.ring {
            return Err(Full);
        }
        assert!(frame.len() <= rings.device.mtu + 18, "a frame of {} bytes does not fit", frame.len());
        let mut bytes = Vec::with_capacity(frame.len());
        bytes.extend_from_slice(frame.headers);
        frame.payload.iter().for_each(|part| bytes.extend_from_slice(part));
        if let Some(checksum) = frame.checksum {
            let (start, place) = (usize::from(checksum.start), usize::from(checksum.start + checksum.offset));
            let sum = internet_checksum(&bytes[start..]);
            bytes[place..place + 2].copy_from_slice(&sum.to_be_bytes());
        }
        rings.queued.push_back(bytes);
        rings.watch.queued.push_back(rings.watch.begin());
        rings.sequence += 1;
        Ok(rings.sequence)
    }

    fn kick(&mut self) -> bool {
        let rings = &mut *self.0.borrow_mut();
        let notify = rings.visible < rings.queued.len();
        while let Some(held) = rings.watch.queued.pop_front() {
            rings.watch.end(held);
        }
        rings.visible = rings.queued.len();
        rings.kicks += u64::from(notify);
        notify
    }

    fn completed(&mut self) -> u64 {
        self.0.borrow().completed
    }
}

/// RFC 1071 over these bytes.
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u64 = 0;
    for pair in bytes.chunks(2) {
        sum += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

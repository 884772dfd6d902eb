//! The hook at a switch's queues: whoever brings a transport of its own decides here, frame by frame, in which queue
//! one waits, and whether it is marked, trimmed or dropped. The bounds of the queues hold whatever is decided.

use crate::port::internet_checksum;

/// Queues of a port, as many as Ethernet has priorities (802.1Q). 0 is the most urgent.
pub const PRIORITIES: usize = 8;

const ETHERNET_LEN: usize = 14;
const IPV4_LEN: usize = 20;

/// What is known when a frame is to join a queue.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// The time.
    pub now_ns: u64,
    /// The port by which the frame came.
    pub from: usize,
    /// The port by which it is to leave.
    pub to: usize,
    /// Bytes that wait at that port, by priority; the frame that is being sent does not wait any more.
    pub waiting_bytes: &'a [u64; PRIORITIES],
    /// Bytes that may wait in each of these.
    pub queue_bytes: u64,
}

impl Moment<'_> {
    /// Bytes that wait at the port in all its queues.
    pub fn waiting(&self) -> u64 {
        self.waiting_bytes.iter().sum()
    }
}

/// What was decided about a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It waits with this priority, below [`PRIORITIES`].
    Join(usize),
    /// The same, and it was marked.
    Marked(usize),
    /// The same, and it was made shorter.
    Trimmed(usize),
    /// It is dropped.
    Drop,
}

/// Decides about frames at the queues of a switch.
pub trait Discipline {
    /// A frame is to join a queue. It may be changed; who changes it says so by the verdict.
    fn admit(&mut self, moment: &Moment<'_>, frame: &mut Vec<u8>) -> Verdict;

    /// A frame waited for so long and begins to leave. It may be changed, but not in its length.
    fn leave(&mut self, waited_ns: u64, frame: &mut [u8]) {
        let _ = (waited_ns, frame);
    }
}

/// One queue for everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Discipline for Plain {
    fn admit(&mut self, _moment: &Moment<'_>, _frame: &mut Vec<u8>) -> Verdict {
        Verdict::Join(PRIORITIES - 1)
    }
}

/// By the class that the sender wrote into the IP header (RFC 2474, class selectors): 7 there is the most urgent.
/// What is not IP waits with the least urgent.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByClass;

impl Discipline for ByClass {
    fn admit(&mut self, _moment: &Moment<'_>, frame: &mut Vec<u8>) -> Verdict {
        let class = match frame.get(12..ETHERNET_LEN + 2) {
            Some([8, 0, _, class]) => class >> 5,
            // The traffic class stands across two bytes behind the version.
            Some([0x86, 0xdd, first, _]) => (first & 15) >> 1,
            _ => 0,
        };
        Verdict::Join(PRIORITIES - 1 - usize::from(class))
    }
}

/// One queue, in which congestion is marked beyond a threshold (RFC 3168, at the instant as RFC 8257 wants it) on IPv4
/// packets whose sender understands marks. Others join unmarked.
#[derive(Debug, Clone, Copy)]
pub struct Marking {
    /// Bytes that wait before marks begin.
    pub threshold_bytes: u64,
}

impl Discipline for Marking {
    fn admit(&mut self, moment: &Moment<'_>, frame: &mut Vec<u8>) -> Verdict {
        let priority = PRIORITIES - 1;
        let long = moment.waiting() > self.threshold_bytes;
        let ipv4 = frame.len() >= ETHERNET_LEN + IPV4_LEN && frame[12..=ETHERNET_LEN] == [8, 0, 0x45];
        if !(long && ipv4 && frame[ETHERNET_LEN + 1] & 3 != 0) {
            return Verdict::Join(priority);
        }
        let header = &mut frame[ETHERNET_LEN..ETHERNET_LEN + IPV4_LEN];
        header[1] |= 3;
        header[10..12].fill(0);
        let sum = internet_checksum(header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        Verdict::Marked(priority)
    }
}

/// What does not fit any more loses its payload and goes on in front of everything, so that the receiver hears at once
/// what is missing (NDP, SIGCOMM 2017). Headers that do not fit either are dropped.
#[derive(Debug, Clone, Copy)]
pub struct Trimming {
    /// Bytes of a frame that are kept.
    pub header_len: usize,
}

impl Discipline for Trimming {
    fn admit(&mut self, moment: &Moment<'_>, frame: &mut Vec<u8>) -> Verdict {
        let priority = PRIORITIES - 1;
        if moment.waiting_bytes[priority] + frame.len() as u64 <= moment.queue_bytes {
            return Verdict::Join(priority);
        }
        frame.truncate(self.header_len);
        Verdict::Trimmed(0)
    }
}

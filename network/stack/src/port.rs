//! Where frames come from and where they go: the two halves of a network device as the stack sees it.
//!
//! Both halves belong to one core and never block. The receiving half hands out buffers that the device filled and
//! wants them back; the sending half takes header bytes and a gather list of payload and answers with a sequence
//! number, so that the owner of the payload knows when the device has finished reading it.

/// A frame that waits in the receiving half: a handle, not the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The driver's own name of the buffer; only the driver that made it may read meaning into it.
    pub buffer: u32,
    /// Length of the Ethernet frame in bytes.
    pub len: u32,
    /// Upper bound of the time at which the frame arrived: when the driver last saw the ring without it.
    pub arrived_ns: u64,
    /// The device vouches for the transport checksum.
    pub checksum_good: bool,
}

/// The receiving half.
pub trait Ingress {
    /// Looks at the ring once, stamps what is new, and says how many frames wait.
    fn look(&mut self, now_ns: u64) -> usize;

    /// The arrival time of the oldest frame that waits, as of the last look.
    fn oldest_ns(&self) -> Option<u64>;

    /// How many frames may wait before the ring overflows; held batches stay well below it.
    fn capacity(&self) -> usize;

    /// Takes the oldest frame that waits. Its buffer is the taker's until [`Ingress::give_back`].
    fn take(&mut self) -> Option<Arrival>;

    /// The bytes of a frame that was taken and not yet given back.
    fn bytes(&self, arrival: &Arrival) -> &[u8];

    /// Returns a buffer to the device.
    fn give_back(&mut self, arrival: Arrival);

    /// Asks to be woken by the next frame and then looks once more: false when a frame came meanwhile, and the
    /// caller must not sleep. Called before every sleep; `look` after waking disarms again.
    fn arm(&mut self) -> bool;

    /// Frames that were lost here since the start, since there was no room where they were to be handed over.
    fn lost(&self) -> u64 {
        0
    }
}

/// A checksum that is left to the device: the sum of everything from `start` to the end of the frame goes to
/// `start + offset`, where the pseudo-header's sum already stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialChecksum {
    /// First byte that the checksum covers, from the start of the frame.
    pub start: u16,
    /// Place of the checksum field, from `start`.
    pub offset: u16,
}

/// A frame on its way out.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Ethernet, network and transport headers. Copied by the driver before `queue` returns.
    pub headers: &'a [u8],
    /// Payload in order, in memory that stays unchanged until the frame is complete.
    pub payload: &'a [&'a [u8]],
    /// Set when [`Offloads::checksum`] is offered and used; otherwise the checksum is already right.
    pub checksum: Option<PartialChecksum>,
    /// Payload bytes of each segment when the device is to cut the frame ([`Offloads::segmentation`]).
    pub segment_len: Option<u16>,
}

impl Frame<'_> {
    /// Bytes of the frame as it was handed over, before any cutting.
    pub fn len(&self) -> usize {
        self.headers.len() + self.payload.iter().map(|part| part.len()).sum::<usize>()
    }

    /// A frame without a single byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a device does for the stack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Completes transport checksums.
    pub checksum: bool,
    /// Cuts one large TCP segment into many.
    pub segmentation: bool,
}

/// The ring has no room for the frame; nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// The sending half.
pub trait Egress {
    /// What the device does for the stack. Fixed for the life of the device.
    fn offloads(&self) -> Offloads;

    /// The largest Ethernet payload (1500 on ordinary Ethernet).
    fn mtu(&self) -> usize;

    /// How many more frames `queue` will take now.
    fn room(&self) -> usize;

    /// How many frames the ring takes when it is empty.
    fn capacity(&self) -> usize;

    /// Puts a frame in the ring without telling the device, and names it by a sequence number that grows by one
    /// with every frame, starting at 1.
    fn queue(&mut self, frame: Frame<'_>) -> Result<u64, Full>;

    /// Makes everything queued so far visible to the device, with one notification at most. Returns whether the
    /// device had to be notified (a kick).
    fn kick(&mut self) -> bool;

    /// Every frame up to this sequence number has been read by the device for the last time.
    fn completed(&mut self) -> u64;

    /// Frames were shown long ago and nothing was read since: tells the device again, whether it asked to be told or not.
    fn remind(&mut self) {}
}

/// A device that has read nothing for so long is told again of what it was shown.
pub const REMIND_NS: u64 = 20_000_000;

/// How long a device that was shown frames may stand still, for whoever looks after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Patience {
    /// What was complete when that last changed, and since when.
    stands: (u64, u64),
}

impl Patience {
    /// Whether a device is to be reminded that has completed so much of what it was shown: once, until it stands still for as
    /// long again.
    #[inline]
    pub fn is_over(&mut self, completed: u64, last: u64, now_ns: u64) -> bool {
        if completed == last || completed != self.stands.0 {
            self.stands = (completed, now_ns);
            return false;
        }
        let is_over = now_ns.saturating_sub(self.stands.1) >= REMIND_NS;
        if is_over {
            self.stands.1 = now_ns;
        }
        is_over
    }
}

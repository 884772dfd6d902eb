//! One direction of a link, and what it does to frames.

use nom_load::random::Random;

/// What a link is. The default is a wire without length, without faults and without limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// Bits a second; 0 for a link that takes no time.
    pub rate_bits_per_s: u64,
    /// Time from the last bit sent to the last bit received.
    pub delay_ns: u64,
    /// Bytes that may wait for a link with a rate; what comes beyond is dropped.
    pub queue_bytes: u64,
    /// Part of the frames that is lost.
    pub loss: f64,
    /// Part of the frames that arrives twice.
    pub duplication: f64,
    /// Part of the frames that is held back for up to `reordering_ns`, so that later ones overtake it.
    pub reordering: f64,
    /// Longest such hold.
    pub reordering_ns: u64,
    /// Part of the frames in which one bit is wrong although the check sequence of the wire is right: behind the
    /// Ethernet header of IPv4 frames, where a checksum can tell. Frames of other kinds have no checksum but the
    /// wire's, so there the frame is lost instead.
    pub corruption: f64,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            rate_bits_per_s: 0,
            delay_ns: 0,
            queue_bytes: 1 << 20,
            loss: 0.0,
            duplication: 0.0,
            reordering: 0.0,
            reordering_ns: 0,
            corruption: 0.0,
        }
    }
}

impl Link {
    /// Gigabit Ethernet of 20 us, without faults.
    pub fn gigabit() -> Self {
        Self { rate_bits_per_s: 1_000_000_000, delay_ns: 20_000, ..Self::default() }
    }
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It arrives, once, as it was.
    Arrives,
    /// The link's queue was full.
    QueueFull,
    /// It was lost.
    Lost,
    /// It arrives twice.
    Twice,
    /// It arrives late.
    Late,
    /// It arrives with a wrong bit.
    Corrupt,
}

/// What a link did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Frames that were sent into it.
    pub frames: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Dropped because the queue was full.
    pub queue_full: u64,
    /// Lost.
    pub lost: u64,
    /// Doubled.
    pub doubled: u64,
    /// Held back.
    pub late: u64,
    /// With a wrong bit.
    pub corrupt: u64,
    /// Those of them that were lost by it, because nothing but the wire's own check sequence could tell.
    pub unreadable: u64,
    /// Arrivals: every frame that was not lost, once or twice.
    pub arrivals: u64,
}

impl LinkCounters {
    /// Every frame is accounted for: it arrived, twice if it was doubled, or a counter says why not.
    pub fn balance(&self) -> bool {
        self.frames + self.doubled == self.arrivals + self.queue_full + self.lost + self.unreadable
    }
}

/// Bytes that Ethernet adds to a frame on a wire: preamble, check sequence and gap.
const WIRE_OVERHEAD_LEN: u64 = 24;

const ETHERNET_LEN: usize = 14;

/// How long a frame takes to be sent at a rate; nothing at rate 0.
pub(crate) fn sending_ns(frame_len: usize, rate_bits_per_s: u64) -> u64 {
    if rate_bits_per_s == 0 {
        return 0;
    }
    let bits = (frame_len as u64 + WIRE_OVERHEAD_LEN) * 8;
    (u128::from(bits) * 1_000_000_000).div_ceil(u128::from(rate_bits_per_s)) as u64
}

/// A direction of a link at work. The simulation has two for each link; over real devices it serves as well.
#[derive(Debug)]
pub struct Direction {
    link: Link,
    random: Random,
    busy_until_ns: u64,
    /// What it did so far.
    pub counters: LinkCounters,
}

/// When a frame arrives, at most twice, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    /// When, once or twice.
    pub arrivals_ns: [Option<u64>; 2],
    /// What became of it.
    pub fate: Fate,
    /// A bit was changed.
    pub damaged: bool,
}

impl Passage {
    fn none(fate: Fate) -> Self {
        Self { arrivals_ns: [None; 2], fate, damaged: false }
    }
}

impl Direction {
    /// An idle direction.
    pub fn new(link: Link, random: Random) -> Self {
        Self { link, random, busy_until_ns: 0, counters: LinkCounters::default() }
    }

    /// Changes the link from now on; what is on its way stays as it was.
    pub fn set(&mut self, link: Link) {
        self.link = link;
    }

    /// Sends a frame; a corrupt one is changed in place.
    pub fn pass(&mut self, now_ns: u64, frame: &mut [u8]) -> Passage {
        let link = self.link;
        self.counters.frames += 1;
        self.counters.bytes += frame.len() as u64;
        // All four are drawn for every frame, so that one fault does not shift the others' luck.
        let lost = self.random.chance(link.loss);
        let twice = self.random.chance(link.duplication);
        let late = self.random.chance(link.reordering);
        let corrupt = self.random.chance(link.corruption);
        let begin_ns = self.busy_until_ns.max(now_ns);
        if link.rate_bits_per_s > 0 {
            let bits = u128::from(begin_ns - now_ns) * u128::from(link.rate_bits_per_s) / 1_000_000_000;
            if (bits / 8) as u64 + frame.len() as u64 > link.queue_bytes {
                self.counters.queue_full += 1;
                return Passage::none(Fate::QueueFull);
            }
            self.busy_until_ns = begin_ns + sending_ns(frame.len(), link.rate_bits_per_s);
        } else {
            self.busy_until_ns = now_ns;
        }
        let mut at_ns = self.busy_until_ns + link.delay_ns;
        if lost {
            self.counters.lost += 1;
            return Passage::none(Fate::Lost);
        }
        let mut fate = Fate::Arrives;
        if late {
            self.counters.late += 1;
            at_ns += self.random.below(link.reordering_ns) + 1;
            fate = Fate::Late;
        }
        if corrupt {
            self.counters.corrupt += 1;
            fate = Fate::Corrupt;
            if frame.len() <= ETHERNET_LEN || frame[12..ETHERNET_LEN] != [8, 0] {
                self.counters.unreadable += 1;
                return Passage::none(fate);
            }
            let bit = self.random.below((frame.len() - ETHERNET_LEN) as u64 * 8) as usize;
            frame[ETHERNET_LEN + bit / 8] ^= 1 << (bit % 8);
        }
        let mut second = None;
        if twice {
            self.counters.doubled += 1;
            second = Some(at_ns + self.random.below(link.reordering_ns) + 1);
            fate = Fate::Twice;
        }
        self.counters.arrivals += 1 + u64::from(second.is_some());
        Passage { arrivals_ns: [Some(at_ns), second], fate, damaged: corrupt }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_queue_hold() {
        // 1 Gbit/s: 1,000 bytes and 24 of overhead take 8,192 ns.
        let link = Link { queue_bytes: 3_000, ..Link::gigabit() };
        let mut direction = Direction::new(link, Random::new(1));
        let mut frame = [0; 1_000];
        let mut at = |now_ns| direction.pass(now_ns, &mut frame).arrivals_ns[0];
        assert_eq!(at(0), Some(28_192));
        assert_eq!(at(0), Some(36_384));
        assert_eq!(at(0), None, "two frames and the overheads wait already");
        assert_eq!(at(8_192), Some(44_576));
        assert_eq!(at(1_000_000), Some(1_028_192));
    }

    #[test]
    fn faults_come_as_often_as_they_should_and_one_bit_at_a_time() {
        let link = Link {
            loss: 0.1,
            duplication: 0.05,
            reordering: 0.2,
            reordering_ns: 10,
            corruption: 0.01,
            ..Link::default()
        };
        let mut direction = Direction::new(link, Random::new(1));
        for i in 0..100_000u64 {
            let mut frame = [0; 60];
            frame[12] = 8;
            let passage = direction.pass(i, &mut frame);
            let bits: u32 = frame.iter().map(|byte| byte.count_ones()).sum();
            assert_eq!(bits, 1 + u32::from(passage.damaged));
            assert_eq!(passage.fate == Fate::Lost, passage.arrivals_ns == [None; 2]);
        }
        assert!(direction.counters.balance(), "{:?}", direction.counters);
        let LinkCounters { lost, doubled, late, corrupt, .. } = direction.counters;
        for (count, expected) in [(lost, 10_000), (doubled, 4_500), (late, 18_000), (corrupt, 900)] {
            assert!((expected * 9 / 10..expected * 11 / 10).contains(&count), "{:?}", direction.counters);
        }
    }
}

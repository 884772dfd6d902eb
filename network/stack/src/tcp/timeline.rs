//! When the outstanding bytes were sent last: the one thing from which losses are told (RFC 8985).
//!
//! A step function over the sequence numbers, with few steps for any number of segments:
//!
//! ```text
//!   una          hole sent again           sent by the short way
//!    |   t1   |   t5   |   t1   |   t2   |  (no step: at most `sent_ns`)  | max
//! ```
//!
//! When there are too many steps the two neighbours whose times are nearest become one with the *later* time. A time
//! that is too late finds a loss later, never one that is none.

use super::sequence::Seq;

/// Steps of one connection.
pub(crate) const STEPS: usize = 16;

/// When bytes were sent, and whether that was not for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Stamp(u64);

impl Stamp {
    /// The bytes count as lost, whatever else is known.
    pub(crate) const LOST: Self = Self(0);

    pub(crate) fn first(at_ns: u64) -> Self {
        Self((at_ns << 1).max(2))
    }

    pub(crate) fn again(at_ns: u64) -> Self {
        Self((at_ns << 1).max(2) | 1)
    }

    pub(crate) fn at_ns(self) -> u64 {
        self.0 >> 1
    }

    pub(crate) fn is_again(self) -> bool {
        self.0 & 1 == 1
    }

    /// How much is forgotten when these two become one; nothing that is lost may be forgotten cheaply.
    fn distance(self, other: Self) -> u64 {
        if (self == Self::LOST) != (other == Self::LOST) { u64::MAX } else { self.0.abs_diff(other.0) }
    }

    fn joined(self, other: Self) -> Self {
        Self(self.0.max(other.0) | (self.0 | other.0) & 1)
    }
}

/// The steps, from the first unacknowledged byte on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Timeline {
    pub(crate) count: u8,
    ends: [Seq; STEPS],
    stamps: [Stamp; STEPS],
}

impl Timeline {
    /// Where the steps end; `una` when there are none.
    pub(crate) fn end(&self, una: Seq) -> Seq {
        match usize::from(self.count) {
            0 => una,
            count => self.ends[count - 1],
        }
    }

    /// The steps: each one's end and stamp.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (Seq, Stamp)> + '_ {
        let count = usize::from(self.count);
        self.ends[..count].iter().copied().zip(self.stamps[..count].iter().copied())
    }

    /// When the byte at a place was sent; nothing beyond the steps.
    pub(crate) fn stamp_of(&self, place: Seq) -> Option<Stamp> {
        self.steps().find(|(end, _)| end.after(place)).map(|(_, stamp)| stamp)
    }

    /// Forgets what is acknowledged.
    pub(crate) fn drop_before(&mut self, una: Seq) {
        let count = usize::from(self.count);
        let old = self.ends[..count].iter().take_while(|end| !end.after(una)).count();
        if old > 0 {
            self.ends.copy_within(old..count, 0);
            self.stamps.copy_within(old..count, 0);
            self.count -= old as u8;
        }
    }

    /// New bytes up to `end` were sent. Those of one eighth of a round trip share a step.
    pub(crate) fn append(&mut self, una: Seq, end: Seq, now_ns: u64, quantum_ns: u64) {
        let count = usize::from(self.count);
        let stamp = Stamp::first(now_ns);
        if let Some(last) = count.checked_sub(1) {
            let before = self.stamps[last];
            let quantum = 1u64 << quantum_ns.max(1).ilog2();
            if !before.is_again() && before != Stamp::LOST && before.at_ns() / quantum == now_ns / quantum {
                self.ends[last] = end;
                self.stamps[last] = stamp;
                return;
            }
        }
        if count < STEPS {
            self.ends[count] = end;
            self.stamps[count] = stamp;
            self.count += 1;
        } else {
            self.set(una, self.end(una), end, stamp);
        }
    }

    /// Bytes of a range were sent at another time, or are lost.
    pub(crate) fn set(&mut self, una: Seq, start: Seq, end: Seq, stamp: Stamp) {
        let mut steps = [(Seq(0), Stamp::LOST); STEPS + 2];
        let mut count = 0;
        let mut push = |end: Seq, stamp: Stamp| {
            if count > 0 && steps[count - 1].1 == stamp {
                steps[count - 1].0 = end;
            } else {
                steps[count] = (end, stamp);
                count += 1;
            }
        };
        let (mut from, mut placed) = (una, false);
        for (old_end, old) in self.steps() {
            if from.before(start) {
                push(old_end.min(start), old);
            }
            if old_end.after(start) && !placed {
                placed = true;
                push(end, stamp);
            }
            if old_end.after(end) {
                push(old_end, old);
            }
            from = old_end;
        }
        if !placed {
            push(end, stamp);
        }
        while count > STEPS {
            let nearest = (1..count).min_by_key(|&at| steps[at - 1].1.distance(steps[at].1)).unwrap_or(1);
            steps[nearest - 1] = (steps[nearest].0, steps[nearest - 1].1.joined(steps[nearest].1));
            steps.copy_within(nearest + 1..count, nearest);
            count -= 1;
        }
        for (at, &(end, stamp)) in steps[..count].iter().enumerate() {
            self.ends[at] = end;
            self.stamps[at] = stamp;
        }
        self.count = count as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use alloc::vec;

    #[test]
    fn times_are_never_earlier_than_they_were_and_losses_are_kept() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let una = Seq(u32::MAX - 500);
            let mut timeline = Timeline::default();
            let mut model = vec![];
            for now in 1..300u64 {
                if random.below(2) == 0 || model.is_empty() {
                    let len = 1 + random.below(20) as u32;
                    let end = una.plus(model.len() as u32 + len);
                    timeline.append(una, end, now, 8);
                    model.resize(model.len() + len as usize, Stamp::first(now));
                } else {
                    let start = random.below(model.len() as u64) as u32;
                    let end = (start + 1 + random.below(9) as u32).min(model.len() as u32);
                    let stamp = Stamp::again(now);
                    timeline.set(una, una.plus(start), una.plus(end), stamp);
                    model[start as usize..end as usize].fill(stamp);
                }
                assert_eq!(timeline.end(una), una.plus(model.len() as u32));
                for (place, stamp) in model.iter().enumerate() {
                    let found = timeline.stamp_of(una.plus(place as u32)).unwrap();
                    assert!(found.at_ns() >= stamp.at_ns() && found.at_ns() <= now);
                    assert!(found.is_again() || !stamp.is_again() || found.at_ns() > stamp.at_ns());
                }
            }
            timeline.set(una, una, una.plus(model.len() as u32), Stamp::LOST);
            assert_eq!(timeline.steps().collect::<vec::Vec<_>>().len(), 1);
            timeline.set(una, una.plus(3), una.plus(5), Stamp::again(1_000));
            assert_eq!(timeline.stamp_of(una.plus(2)), Some(Stamp::LOST));
            assert_eq!(timeline.stamp_of(una.plus(4)), Some(Stamp::again(1_000)));
            assert_eq!(timeline.stamp_of(una.plus(5)), Some(Stamp::LOST));
            timeline.drop_before(una.plus(5));
            assert_eq!(timeline.steps().count(), 1);
        }
    }
}

//! Which bytes beyond the acknowledgement arrived, as the other side reports them (RFC 2018).

use super::sequence::Seq;

/// Ranges that are remembered of one connection.
pub(crate) const REPORTED: usize = 22;

/// The ranges, in order and apart from each other.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scoreboard {
    pub(crate) count: u8,
    /// Bytes in all of them.
    pub(crate) bytes: u32,
    ranges: [(Seq, Seq); REPORTED],
}

impl Scoreboard {
    pub(crate) fn ranges(&self) -> &[(Seq, Seq)] {
        &self.ranges[..usize::from(self.count)]
    }

    /// Behind everything that was reported.
    pub(crate) fn end(&self) -> Option<Seq> {
        self.ranges().last().map(|range| range.1)
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets what is acknowledged by now.
    pub(crate) fn drop_before(&mut self, una: Seq) {
        let count = usize::from(self.count);
        let old = self.ranges().iter().take_while(|range| !range.1.after(una)).count();
        if old > 0 {
            self.ranges.copy_within(old..count, 0);
            self.count -= old as u8;
        }
        if let Some(first) = self.ranges[..usize::from(self.count)].first_mut() {
            first.0 = first.0.max(una);
        }
        self.sum();
    }

    /// Adds a range, joined with what it touches. When there is no place for another range the one that is farthest
    /// away is forgotten: at worst its bytes are sent again.
    pub(crate) fn add(&mut self, start: Seq, end: Seq) {
        let count = usize::from(self.count);
        let first = self.ranges().iter().take_while(|range| range.1.before(start)).count();
        let last = first + self.ranges[first..count].iter().take_while(|range| !range.0.after(end)).count();
        let mut range = (start, end);
        if first < last {
            range = (start.min(self.ranges[first].0), end.max(self.ranges[last - 1].1));
            self.ranges.copy_within(last..count, first + 1);
        } else if first == REPORTED {
            return;
        } else {
            self.ranges.copy_within(first..count.min(REPORTED - 1), first + 1);
        }
        self.ranges[first] = range;
        self.count = (count + 1 - (last - first)).min(REPORTED) as u8;
        self.sum();
    }

    fn sum(&mut self) {
        self.bytes = self.ranges().iter().map(|(start, end)| end.since(*start)).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn ranges_are_what_a_plain_list_of_bytes_says() {
        for seed in 0..100 {
            let mut random = Random::new(seed);
            let base = Seq(u32::MAX - 100);
            let mut scoreboard = Scoreboard::default();
            let mut model = [false; 200];
            let mut una = 0;
            for _ in 0..60 {
                if random.below(8) == 0 {
                    una = (una + random.below(20) as usize).min(199);
                    model[..una].fill(false);
                    scoreboard.drop_before(base.plus(una as u32));
                    continue;
                }
                let start = una + random.below(200 - una as u64) as usize;
                let end = (start + 1 + random.below(30) as usize).min(200);
                model[start..end].fill(true);
                scoreboard.add(base.plus(start as u32), base.plus(end as u32));
                // A hundred bytes in pieces of up to thirty never make more ranges than there is place for here.
                let told = |place: usize| {
                    let place = base.plus(place as u32);
                    scoreboard.ranges().iter().any(|range| !place.before(range.0) && place.before(range.1))
                };
                assert!((0..200).all(|place| told(place) == model[place]), "seed {seed}");
                assert_eq!(scoreboard.bytes as usize, model.iter().filter(|there| **there).count());
            }
        }
    }

    #[test]
    fn the_farthest_range_makes_room() {
        let mut scoreboard = Scoreboard::default();
        for range in (1..=REPORTED as u32).rev() {
            scoreboard.add(Seq(range * 10), Seq(range * 10 + 2));
        }
        scoreboard.add(Seq(5), Seq(6));
        assert_eq!(scoreboard.ranges()[0], (Seq(5), Seq(6)));
        assert_eq!(scoreboard.end(), Some(Seq((REPORTED as u32 - 1) * 10 + 2)));
        scoreboard.add(Seq(1_000), Seq(1_001));
        assert_eq!(scoreboard.count as usize, REPORTED);
    }
}

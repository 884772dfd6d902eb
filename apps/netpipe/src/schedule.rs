//! Which lengths of messages are tried: NetPIPE's own list, which both sides know and nobody sends.

/// Lengths that double in two steps, each with its neighbours on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// The first length.
    pub start: u32,
    /// No length, but for the neighbours above it, is longer.
    pub end: u32,
    /// How far the neighbours are away.
    pub perturbation: u32,
}

/// What `NPtcp` does when nothing is said.
impl Default for Schedule {
    fn default() -> Self {
        Self { start: 1, end: 10_000_000, perturbation: 3 }
    }
}

/// Points that are measured at most.
const POINTS_MAX: u32 = 8_000 - 3;

impl Schedule {
    /// The lengths in order.
    pub fn lengths(self) -> Lengths {
        let longer = self.start > 1;
        Lengths {
            schedule: self,
            // An empty message would never arrive.
            base: u64::from(self.start.max(1)),
            increment: if longer { u64::from(self.start) / 2 } else { 1 },
            round: u32::from(longer),
            next: None,
            points: 0,
        }
    }
}

/// See [`Schedule::lengths`].
#[derive(Debug, Clone)]
pub struct Lengths {
    schedule: Schedule,
    base: u64,
    increment: u64,
    round: u32,
    /// What is added to the base for the next length of this round; none between rounds.
    next: Option<i64>,
    points: u32,
}

impl Lengths {
    /// The distance to the neighbours, unless they would meet those of the lengths beside.
    fn apart(&self) -> Option<i64> {
        let apart = u64::from(self.schedule.perturbation);
        (apart > 0 && self.increment > apart + 1).then_some(apart as i64)
    }
}

impl Iterator for Lengths {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let offset = match self.next {
            Some(offset) => offset,
            None => {
                if self.points >= POINTS_MAX || self.base > u64::from(self.schedule.end) {
                    return None;
                }
                if self.round > 2 && self.round % 2 == 1 {
                    self.increment *= 2;
                }
                self.apart().map_or(0, |apart| -apart)
            }
        };
        let following = self
            .apart()
            .map(|apart| offset + apart)
            .filter(|offset| *offset <= i64::from(self.schedule.perturbation));
        self.next = following;
        let len = self.base.saturating_add_signed(offset);
        if following.is_none() {
            self.base += self.increment;
            self.round += 1;
        }
        self.points += 1;
        Some(u32::try_from(len).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn lengths(start: u32, end: u32, perturbation: u32) -> Vec<u32> {
        Schedule { start, end, perturbation }.lengths().collect()
    }

    #[test]
    fn the_lengths_are_those_that_nptcp_prints() {
        // As Debian's NPtcp 3.7.2 wrote them to its file, here up to 200 bytes.
        let seen = [
            1, 2, 3, 4, 6, 8, 12, 13, 16, 19, 21, 24, 27, 29, 32, 35, 45, 48, 51, 61, 64, 67, 93, 96, 99,
            125, 128, 131, 189, 192, 195,
        ];
        assert_eq!(lengths(1, 200, 3), seen);
        assert_eq!(lengths(1024, 1024, 0), [1024]);
        assert_eq!(lengths(1024, 3000, 0), [1024, 1536, 2048]);
    }

    #[test]
    fn it_ends_whatever_it_is_told() {
        for (start, end, perturbation) in
            [(1, u32::MAX, 0), (1, u32::MAX, u32::MAX), (u32::MAX, u32::MAX, 3), (2, 1, 3), (0, 100, 3)]
        {
            let all = lengths(start, end, perturbation);
            assert!(all.len() <= POINTS_MAX as usize + 2 && all.iter().all(|len| *len > 0));
        }
    }
}

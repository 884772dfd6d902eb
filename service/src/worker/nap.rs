//! Sleeping while frames gather, without being woken by each of them: most of what gathering saves is that.
//!
//! What ends a batch before its time (its bound, every connection heard) is not seen while nobody looks. So nobody naps
//! before a few batches in a row have lasted their whole time, and the first nap of a batch ends when a quarter of that is
//! left: a batch that was complete by then is found out, and the next ones are looked at frame by frame again.

use nom_stack::counters::{Counters, Flush};

/// Batches in a row that must have lasted their whole time.
const TRUSTED: u32 = 4;

/// What the last batches were like.
#[derive(Debug, Default)]
pub(crate) struct Nap {
    /// Those that ended by time, and before it, as of the last question.
    ended: [u64; 2],
    /// Batches in a row that lasted their whole time.
    lasted: u32,
}

impl Nap {
    /// Until when to sleep without hearing of frames, while a batch gathers that is due then and whose first frame may
    /// wait for so long; `None` to be woken by the next frame.
    pub(crate) fn until_ns(
        &mut self,
        counters: &Counters,
        now_ns: u64,
        (due_ns, delay_ns): (u64, u64),
    ) -> Option<u64> {
        let of = |reasons: &[Flush]| reasons.iter().map(|reason| counters.batches_in[*reason as usize]).sum();
        let ended = [of(&[Flush::Delay]), of(&[Flush::Bound, Flush::Ring, Flush::Early])];
        if ended[1] != self.ended[1] {
            self.lasted = 0;
        } else if ended[0] != self.ended[0] {
            self.lasted = self.lasted.saturating_add(1);
        }
        self.ended = ended;
        if self.lasted < TRUSTED {
            return None;
        }
        let look_ns = due_ns.saturating_sub(delay_ns / 4);
        Some(if look_ns > now_ns { look_ns } else { due_ns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_naps_has_seen_batches_that_lasted_and_looks_once_before_the_end() {
        let (mut nap, mut counters) = (Nap::default(), Counters::default());
        let batch = (1_000, 400);
        for _ in 0..TRUSTED {
            assert_eq!(nap.until_ns(&counters, 600, batch), None);
            counters.batches_in[Flush::Delay as usize] += 1;
        }
        assert_eq!(nap.until_ns(&counters, 600, batch), Some(900));
        // Woken before that by something else, and then in time.
        assert_eq!(nap.until_ns(&counters, 700, batch), Some(900));
        assert_eq!(nap.until_ns(&counters, 900, batch), Some(1_000));
    }

    #[test]
    fn a_batch_that_ended_before_its_time_is_looked_at_again() {
        for reason in [Flush::Bound, Flush::Ring, Flush::Early] {
            let (mut nap, mut counters) = (Nap::default(), Counters::default());
            for _ in 0..=TRUSTED {
                nap.until_ns(&counters, 600, (1_000, 400));
                counters.batches_in[Flush::Delay as usize] += 1;
            }
            assert!(nap.until_ns(&counters, 600, (1_000, 400)).is_some());
            // One of each since the last look: the doubt counts.
            counters.batches_in[Flush::Delay as usize] += 1;
            counters.batches_in[reason as usize] += 1;
            for _ in 0..TRUSTED {
                assert_eq!(nap.until_ns(&counters, 600, (1_000, 400)), None);
                counters.batches_in[Flush::Delay as usize] += 1;
            }
            assert!(nap.until_ns(&counters, 600, (1_000, 400)).is_some());
        }
    }

    #[test]
    fn batches_that_were_not_gathered_teach_nothing() {
        let (mut nap, mut counters) = (Nap::default(), Counters::default());
        for _ in 0..10 {
            counters.batches_in[Flush::Immediate as usize] += 1;
            counters.batches_in[Flush::Queued as usize] += 1;
            assert_eq!(nap.until_ns(&counters, 0, (1_000, 400)), None);
        }
    }
}

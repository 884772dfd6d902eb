//! The server of [`super::server`] under arrivals that do not wait for answers, with a core that may sleep.
//!
//! Whoever finds the door full is refused at once, unpaid and unbilled: latency stays bounded above capacity. A core that
//! slept begins later, and waking costs it that time; one that looks meanwhile is paid for as if it worked.

use super::server::{Costs, ELSEWHERE_ONE_IN, ELSEWHERE_US, UNEVEN};
use crate::profit::Random;
use nom_points::{Batching, Setting, Wait};
use std::collections::VecDeque;

/// Requests at the server at the same time.
pub const DOOR: usize = 24;
/// What it takes a core to begin after it slept.
pub const WAKE_US: f64 = 10.0;

/// What was seen of a setting under a load.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub setting: Setting,
    /// Answers a second.
    pub per_s: f64,
    pub mean_us: f64,
    pub jitter_us: f64,
    /// Answers that took longer than the limit, of all.
    pub late: u64,
    pub samples: u64,
    /// Core time a second: at work, waking up, and looking.
    pub cores: f64,
    /// Of that, looking.
    pub looking: f64,
    /// The part of the arrivals that was refused.
    pub refused: f64,
}

/// Replies that wait so long for others, on a core that never sleeps.
pub fn delayed(delay_us: u64) -> Setting {
    let batching = match delay_us {
        0 => Batching::RunToCompletion,
        delay_us => Batching::Hold { delay_ns: delay_us * 1_000 },
    };
    Setting::Serve { wait: Wait::Poll, batching, ack_delay_ns: None }
}

/// How a core waits, without a delay.
pub fn waiting(wait: Wait) -> Setting {
    Setting::Serve { wait, batching: Batching::RunToCompletion, ack_delay_ns: None }
}

/// Capacity without a delay.
pub fn capacity_per_s(costs: &Costs) -> f64 {
    1e6 / (costs.request_us + costs.kick_us + ELSEWHERE_US / ELSEWHERE_ONE_IN as f64)
}

/// Plays so many answers, after a tenth of them as a beginning.
pub fn play(costs: &Costs, setting: Setting, per_s: f64, limit_us: f64, answers: usize, seed: u64) -> Seen {
    let Setting::Serve { wait, batching, .. } = setting else {
        unreachable!("a server that serves is played")
    };
    let delay_us = match batching {
        Batching::Hold { delay_ns } => delay_ns as f64 / 1e3,
        _ => 0.0,
    };
    let mut random = Random::new(seed);
    let gap = |random: &mut Random| -(1.0 - random.part()).ln() * 1e6 / per_s;
    let way = |random: &mut Random| costs.path_us * (1.0 + UNEVEN * (2.0 * random.part() - 1.0));
    let warm = answers / 10;
    let (mut queue, mut held) = (VecDeque::<f64>::new(), Vec::<f64>::new());
    let (mut now, mut next, mut deadline) = (0.0f64, gap(&mut random), f64::INFINITY);
    let (mut count, mut from_us, mut used, mut looked) = (0usize, 0.0, 0.0f64, 0.0f64);
    let (mut arrived, mut refused) = (0u64, 0u64);
    let (mut sum, mut squares, mut late) = (0.0, 0.0, 0u64);
    while count < warm + answers {
        let counts = count >= warm;
        while next <= now {
            arrived += u64::from(counts);
            if queue.len() + held.len() < DOOR {
                queue.push_back(next);
            } else {
                refused += u64::from(counts);
            }
            next += gap(&mut random);
        }
        if !held.is_empty() && now >= deadline {
            now += costs.kick_us;
            used += costs.kick_us;
            for came in held.drain(..) {
                let latency_us = now - came + way(&mut random);
                count += 1;
                if count == warm {
                    (from_us, used, looked) = (now, 0.0, 0.0);
                }
                if count > warm {
                    sum += latency_us;
                    squares += latency_us * latency_us;
                    late += u64::from(latency_us > limit_us);
                }
            }
            deadline = f64::INFINITY;
        } else if let Some(came) = queue.pop_front() {
            let elsewhere = if random.below(ELSEWHERE_ONE_IN) == 0 { ELSEWHERE_US } else { 0.0 };
            now += costs.request_us + elsewhere;
            // Whoever else had the core meanwhile pays for it.
            used += costs.request_us;
            if held.is_empty() {
                deadline = now + delay_us;
            }
            held.push(came);
        } else {
            let until = next.min(deadline);
            let looks = match wait {
                Wait::Halt => 0.0,
                Wait::Spin { budget_ns } => (until - now).min(budget_ns as f64 / 1e3),
                Wait::Poll => until - now,
            };
            looked += looks;
            let slept = now + looks < until;
            now = until + if slept { WAKE_US } else { 0.0 };
            used += if slept { WAKE_US } else { 0.0 };
        }
    }
    let samples = (count - warm) as f64;
    let (mean_us, elapsed_us) = (sum / samples, now - from_us);
    Seen {
        setting,
        per_s: samples / elapsed_us * 1e6,
        mean_us,
        jitter_us: (squares / samples - mean_us * mean_us).max(0.0).sqrt(),
        late,
        samples: samples as u64,
        cores: (used + looked) / elapsed_us,
        looking: looked / elapsed_us,
        refused: refused as f64 / arrived.max(1) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSTS: Costs =
        Costs { name: "x", request_us: 20.0, kick_us: 5.0, path_us: 40.0, many: 16, answer_len: 100.0 };

    fn seen(setting: Setting, part: f64) -> Seen {
        play(&COSTS, setting, part * capacity_per_s(&COSTS), 750.0, 50_000, 5)
    }

    #[test]
    fn a_light_load_waits_for_nobody_and_a_core_that_sleeps_wakes_late() {
        let (poll, halt) = (seen(waiting(Wait::Poll), 0.05), seen(waiting(Wait::Halt), 0.05));
        assert!((poll.mean_us - 65.7).abs() < 1.0, "{poll:?}");
        assert!((halt.mean_us - poll.mean_us - WAKE_US).abs() < 1.0, "{halt:?}");
        assert!(poll.cores > 0.98 && halt.cores < 0.08 && halt.looking == 0.0, "{poll:?} {halt:?}");
        let spin = seen(waiting(Wait::Spin { budget_ns: 100_000 }), 0.05);
        assert!(
            halt.cores < spin.cores && spin.cores < poll.cores && spin.mean_us < halt.mean_us,
            "{spin:?}"
        );
    }

    #[test]
    fn above_capacity_the_door_bounds_latency_and_a_delay_serves_more() {
        let (none, some) = (seen(delayed(0), 1.4), seen(delayed(40), 1.4));
        assert!(none.refused > 0.2 && some.refused < none.refused && some.per_s > none.per_s * 1.05);
        // All that the door lets in, served one after the other, and the way.
        assert!(none.mean_us < DOOR as f64 * 25.0 + 60.0, "{none:?}");
        assert!((none.per_s / capacity_per_s(&COSTS) - 1.0).abs() < 0.02, "{none:?}");
    }
}

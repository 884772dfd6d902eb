//! A server with a stated cost of each request and each kick, asked in a closed loop, in virtual time.
//!
//! The paper's batching delay W is how long the first reply may wait for others before the device is kicked. One core; a
//! client sends its next request when it has its answer. Costs are stated, not measured: they are chosen so that one
//! client with W = 0 sees the latency that the paper shows, and many see about its throughput.
//!
//! ```text
//! client --path/2--> queue -> request_us of the core -> waits up to W -> kick_us of the core --path/2--> client
//! ```

use crate::profit::Random;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// An application by its costs.
#[derive(Debug, Clone, Copy)]
pub struct Costs {
    /// Its name.
    pub name: &'static str,
    /// Core time of a request.
    pub request_us: f64,
    /// Core time of a kick, the way out of the virtual machine included.
    pub kick_us: f64,
    /// From server to client and back, the client included.
    pub path_us: f64,
    /// Clients of the paper's *many*.
    pub many: usize,
    /// Bytes of an answer, which are what is billed.
    pub answer_len: f64,
}

/// What clients saw with one delay.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// The delay.
    pub delay_us: f64,
    /// Answers a second.
    pub per_s: f64,
    /// Mean latency.
    pub mean_us: f64,
    /// Standard deviation.
    pub jitter_us: f64,
    /// Answers that took longer than the limit.
    pub late: u64,
    /// All answers that count.
    pub samples: u64,
    /// Kicks a second.
    pub kicks_per_s: f64,
}

/// How much the way differs from one time to the next: as a part, either side.
pub const UNEVEN: f64 = 0.2;
/// Now and then somebody else has the core (`1` of so many requests), for so long: what makes a tail.
pub const ELSEWHERE_ONE_IN: usize = 2_000;
pub const ELSEWHERE_US: f64 = 400.0;

/// Plays so many answers, after a tenth of them as a beginning.
pub fn play(costs: &Costs, clients: usize, delay_us: f64, limit_us: f64, answers: usize, seed: u64) -> Seen {
    let mut random = Random::new(seed);
    let half_way = |random: &mut Random| costs.path_us / 2.0 * (1.0 + UNEVEN * (2.0 * random.part() - 1.0));
    // Nanoseconds as whole numbers have an order.
    let ns = |us: f64| (us * 1e3) as u64;
    let mut coming: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut sent = vec![0u64; clients];
    for client in 0..clients {
        coming.push(Reverse((ns(half_way(&mut random)), client)));
    }
    let mut queue: VecDeque<usize> = VecDeque::new();
    let mut held: Vec<usize> = Vec::new();
    let (mut now, mut deadline) = (0u64, u64::MAX);
    let warm = answers / 10;
    let (mut count, mut from, mut kicks) = (0usize, 0u64, 0u64);
    let (mut sum, mut squares, mut late) = (0.0, 0.0, 0u64);
    while count < warm + answers {
        while let Some(Reverse((at, client))) = coming.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            let _ = at;
            coming.pop();
            queue.push_back(client);
        }
        if !held.is_empty() && now >= deadline {
            now += ns(costs.kick_us);
            kicks += u64::from(count >= warm);
            for client in held.drain(..) {
                let there = now + ns(half_way(&mut random));
                let latency_us = (there - sent[client]) as f64 / 1e3;
                count += 1;
                if count == warm {
                    from = now;
                }
                if count > warm {
                    sum += latency_us;
                    squares += latency_us * latency_us;
                    late += u64::from(latency_us > limit_us);
                }
                sent[client] = there;
                coming.push(Reverse((there + ns(half_way(&mut random)), client)));
            }
            deadline = u64::MAX;
        } else if let Some(client) = queue.pop_front() {
            let elsewhere = if random.below(ELSEWHERE_ONE_IN) == 0 { ELSEWHERE_US } else { 0.0 };
            now += ns(costs.request_us + elsewhere);
            if held.is_empty() {
                deadline = now + ns(delay_us);
            }
            held.push(client);
        } else {
            let next = coming.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
            now = next.min(deadline);
        }
    }
    let samples = (count - warm) as f64;
    let mean_us = sum / samples;
    let seconds = (now - from) as f64 / 1e9;
    Seen {
        delay_us,
        per_s: samples / seconds,
        mean_us,
        jitter_us: (squares / samples - mean_us * mean_us).max(0.0).sqrt(),
        late,
        samples: samples as u64,
        kicks_per_s: kicks as f64 / seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSTS: Costs =
        Costs { name: "x", request_us: 20.0, kick_us: 5.0, path_us: 40.0, many: 16, answer_len: 100.0 };

    #[test]
    fn one_client_waits_for_the_delay_and_many_share_the_kick() {
        let alone = |delay| play(&COSTS, 1, delay, 750.0, 5_000, 1);
        // Way, request, kick and delay, and the 0.2 us that the core is elsewhere on average.
        assert!((alone(0.0).mean_us - 65.2).abs() < 1.0, "{:?}", alone(0.0));
        assert!((alone(10.0).mean_us - alone(0.0).mean_us - 10.0).abs() < 1.0);
        let many = |delay| play(&COSTS, 16, delay, 750.0, 20_000, 1);
        assert!((many(0.0).per_s / 40_000.0 - 1.0).abs() < 0.02, "{:?}", many(0.0));
        assert!(many(20.0).per_s > many(0.0).per_s * 1.04 && many(20.0).kicks_per_s < many(0.0).kicks_per_s);
    }

    #[test]
    fn the_law_of_little_holds_in_a_closed_loop() {
        let seen = play(&COSTS, 16, 5.0, 750.0, 20_000, 3);
        // Clients ask again at once, so that latency is all the time there is.
        let inside = seen.per_s * seen.mean_us / 1e6;
        assert!((inside - 16.0).abs() < 0.1, "{inside}");
    }
}

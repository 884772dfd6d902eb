//! Whatever comes from outside, the stack stays whole. The fuzzer goes on where this stops.

mod common;

use common::Random;

#[test]
fn seeded_plays_break_no_promise() {
    let mut reached = [0; 8];
    for seed in 0..500 {
        let mut random = Random::new(seed);
        let len = 200 + random.below(3_000);
        let input: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        let counters = nom_stack::fuzzing::play(&input);
        let places = [
            counters.accepted,
            counters.connected,
            counters.cookies_accepted,
            counters.out_of_order,
            counters.fast_retransmissions,
            counters.window_probes,
            counters.timeouts,
            counters.challenges,
        ];
        reached.iter_mut().zip(places).for_each(|(sum, count)| *sum += count);
    }
    assert!(reached.iter().all(|&count| count > 20), "the plays reach everything: {reached:?}");
}

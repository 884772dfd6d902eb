//! Whatever comes from outside, the stack stays whole. The fuzzer goes on where this stops.

mod common;

use common::Random;

#[test]
fn changed_values_of_connections_are_refused_or_keep_every_promise() {
    let values = nom_stack::fuzzing::exported();
    assert_eq!(values.len(), 3);
    let mut random = Random::new(9);
    let (mut taken, mut refused) = (0, 0);
    for value in &values {
        assert!(nom_stack::fuzzing::import(value), "a good value is taken");
        for _ in 0..300 {
            let mut changed = value.clone();
            for _ in 0..1 + random.below(3) {
                let place = random.below(changed.len().min(250) as u64) as usize;
                changed[place] = if random.chance(50) { random.next() as u8 } else { changed[place] ^ 1 };
            }
            let was_taken = nom_stack::fuzzing::import(&changed);
            taken += u32::from(was_taken);
            refused += u32::from(!was_taken);
        }
    }
    assert!(taken > 50 && refused > 200, "{taken} {refused}");
}

/// Found by the guided fuzzer: time stamps take their place from each segment, and a value may say that there are some.
#[test]
fn the_longest_segments_leave_room_for_whatever_else_a_value_says() {
    // Behind the mark, the state, the addresses, four flags and two shifts.
    const SEGMENT_MAX: usize = 6 + 1 + 8 + 6 + 4 + 2;
    /// The last byte of the other side's address.
    const REMOTE: usize = 6 + 1 + 3;
    let (mut taken, mut refused) = (0, 0);
    for value in nom_stack::fuzzing::exported() {
        let mut longest = value.clone();
        longest[SEGMENT_MAX..SEGMENT_MAX + 2].copy_from_slice(&1_460_u16.to_le_bytes());
        // Where nobody answers, so that everything is sent again.
        longest[REMOTE] = 0xfe;
        assert!(nom_stack::fuzzing::import(&longest), "1,460 bytes fit without anything else");
        for place in SEGMENT_MAX + 2..longest.len().min(250) {
            let mut changed = longest.clone();
            changed[place] |= 1;
            match nom_stack::fuzzing::import(&changed) {
                true => taken += 1,
                false => refused += 1,
            }
        }
    }
    assert!(taken > 100 && refused > 20, "{taken} {refused}");
}

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

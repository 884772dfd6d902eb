//! Histories of contexts: fair, prompt, and nothing lost.
#![cfg(test)]

use super::*;
use crate::tests::Dice;
extern crate std;
use std::vec;
use std::vec::Vec;

const HERE: Core = Core(0);

fn with(count: u8) -> (Schedule, Vec<Context>) {
    let mut schedule = Schedule::new();
    let contexts = (0..count).map(|number| schedule.add(Application(number), HERE).unwrap()).collect();
    (schedule, contexts)
}

/// What the kernel does when it looks.
fn look(schedule: &mut Schedule, now_ns: u64) -> Option<Context> {
    schedule.due(HERE, now_ns);
    if schedule.preempts(HERE, now_ns) {
        schedule.preempt(HERE, now_ns);
    }
    if schedule.current(HERE).is_none() {
        schedule.pick(HERE, now_ns);
    }
    schedule.current(HERE)
}

#[test]
fn alone_means_no_deadline() {
    let (mut schedule, contexts) = with(1);
    assert_eq!(look(&mut schedule, 5), Some(contexts[0]));
    assert_eq!(schedule.deadline_ns(HERE), FOREVER);
    let other = schedule.add(Application(1), HERE).unwrap();
    assert_eq!(schedule.deadline_ns(HERE), 5 + SLICE_NS);
    look(&mut schedule, 5 + SLICE_NS);
    assert_eq!(schedule.current(HERE), Some(other));
    // A neighbour that waits for ever does not count.
    schedule.block(HERE, FOREVER, 7 + SLICE_NS);
    look(&mut schedule, 8 + SLICE_NS);
    assert_eq!(schedule.current(HERE), Some(contexts[0]));
    assert_eq!(schedule.deadline_ns(HERE), FOREVER);
}

#[test]
fn those_who_always_run_get_equal_shares() {
    for count in 2..6 {
        let (mut schedule, contexts) = with(count);
        let mut had = vec![0_u64; usize::from(count)];
        let mut now_ns = 0;
        for _ in 0..1000 {
            let current = look(&mut schedule, now_ns).unwrap();
            let next_ns = schedule.deadline_ns(HERE);
            assert!(next_ns - now_ns <= SLICE_NS && next_ns > now_ns);
            had[contexts.iter().position(|&context| context == current).unwrap()] += next_ns - now_ns;
            now_ns = next_ns;
        }
        let (least, most) = (had.iter().min().unwrap(), had.iter().max().unwrap());
        assert!(most - least <= 2 * SLICE_NS, "{had:?}");
    }
}

#[test]
fn who_slept_comes_at_once_and_who_wakes_all_the_time_gets_no_more() {
    let (mut schedule, contexts) = with(2);
    let (busy, sleeper) = (contexts[0], contexts[1]);
    let mut now_ns = 0;
    // The sleeper goes to sleep.
    while look(&mut schedule, now_ns) != Some(sleeper) {
        now_ns += SLICE_NS;
    }
    schedule.block(HERE, FOREVER, now_ns);
    assert_eq!(look(&mut schedule, now_ns), Some(busy));
    now_ns += 50 * SLICE_NS;
    assert_eq!(schedule.post(sleeper, 1 << 20), Some(HERE));
    assert_eq!(look(&mut schedule, now_ns), Some(sleeper), "it did not come at once");
    assert_eq!(schedule.take(sleeper), 1 << 20);
    // Now it works nine tenths of a slice, sleeps for a moment, and is woken again, for a long time.
    let mut had = [0_u64; 2];
    for _ in 0..2000 {
        let current = look(&mut schedule, now_ns).unwrap();
        if current == sleeper {
            now_ns += SLICE_NS * 9 / 10;
            had[1] += SLICE_NS * 9 / 10;
            schedule.block(HERE, now_ns + 1000, now_ns);
        } else {
            let next_ns = schedule.deadline_ns(HERE).max(now_ns + 1);
            had[0] += next_ns - now_ns;
            now_ns = next_ns;
        }
    }
    assert!(had[0] * 11 / 10 + 2 * SLICE_NS >= had[1], "the busy one had {had:?}");
}

#[test]
fn nothing_is_lost_through_long_histories() {
    for seed in 1..40 {
        let mut dice = Dice::new(seed);
        let mut schedule = Schedule::new();
        let mut alive: Vec<Context> = Vec::new();
        let mut posted = [0_u64; CONTEXTS_MAX];
        let mut now_ns = 0;
        for _ in 0..3000 {
            now_ns += dice.below(SLICE_NS / 2);
            let core = Core(dice.below(3) as u8);
            match dice.below(9) {
                0 => {
                    if let Some(context) = schedule.add(Application(dice.below(4) as u8), core) {
                        assert!(!alive.contains(&context));
                        posted[usize::from(context.0)] = 0;
                        alive.push(context);
                    } else {
                        assert_eq!(alive.len(), CONTEXTS_MAX);
                    }
                }
                1 if alive.len() > 20 => {
                    let place = dice.below(alive.len() as u64) as usize;
                    schedule.remove(alive.swap_remove(place));
                }
                2 => schedule.block(core, now_ns + dice.below(5 * SLICE_NS), now_ns),
                3 | 4 if !alive.is_empty() => {
                    let context = alive[dice.below(alive.len() as u64) as usize];
                    let event = 1 << (16 + dice.below(32));
                    assert_eq!(schedule.post(context, event), schedule.core(context));
                    posted[usize::from(context.0)] |= event;
                }
                5 if !alive.is_empty() => {
                    let context = alive[dice.below(alive.len() as u64) as usize];
                    let runs = schedule.current(schedule.core(context).unwrap()) == Some(context);
                    assert_eq!(schedule.move_to(context, core), !runs);
                }
                _ => {
                    schedule.due(core, now_ns);
                    if schedule.preempts(core, now_ns) {
                        schedule.preempt(core, now_ns);
                    }
                    if schedule.current(core).is_none() {
                        let picked = schedule.pick(core, now_ns);
                        assert_eq!(picked.map(|picked| picked.context), schedule.current(core));
                    }
                    if let Some(context) = schedule.current(core) {
                        let events = schedule.take(context) & !TIMER;
                        assert_eq!(events, core::mem::take(&mut posted[usize::from(context.0)]));
                    }
                }
            }
            // Each runs on its own core, none is on two, and who has events does not wait.
            for number in 0..CORES_MAX as u8 {
                if let Some(context) = schedule.current(Core(number)) {
                    assert_eq!(schedule.core(context), Some(Core(number)));
                    assert!(alive.contains(&context));
                }
            }
            for &context in &alive {
                assert_eq!(schedule.events(context) & !TIMER, posted[usize::from(context.0)]);
                let waits =
                    matches!(schedule.entry(context).map(|entry| entry.state), Some(State::Waiting { .. }));
                assert!(!(waits && schedule.events(context) != 0), "it sleeps through an event");
            }
        }
    }
}

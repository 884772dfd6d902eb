//! Long random histories against a simple model, and every interleaving of halting and waking.

#![cfg(test)]

use super::*;
extern crate std;
use std::collections::{HashSet, VecDeque};
use std::vec::Vec;

struct Dice(u64);

impl Dice {
    fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

const N: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Free,
    Ready,
    Running(usize),
    Waiting {
        queue: Option<usize>,
        until_ns: u64,
    },
    /// Its deadline came and it did not run since.
    Late {
        queue: usize,
    },
}

/// No thread is lost or runs twice, queues are first come, first served, and nobody oversleeps.
#[test]
fn no_thread_is_lost_through_long_histories() {
    for seed in 1..200_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut scheduler = Scheduler::<N>::new();
        let mut queues = [Queue::new(), Queue::new()];
        let mut order: [VecDeque<usize>; 2] = Default::default();
        let mut ready: VecDeque<usize> = VecDeque::new();
        let mut is = [Is::Free; N];
        let mut now_ns = 0;
        for _ in 0..1500 {
            let core = dice.below(3) as usize;
            let running = is.iter().position(|&is| is == Is::Running(core));
            let queue = dice.below(2) as usize;
            let until_ns = if dice.below(2) == 0 { NEVER } else { now_ns + dice.below(40) };
            match (dice.below(9), running) {
                (0, _) => match scheduler.claim() {
                    Some(thread) => {
                        assert_eq!(is[thread.place()], Is::Free);
                        scheduler.ready(thread, false);
                        is[thread.place()] = Is::Ready;
                        ready.push_back(thread.place());
                    }
                    None => assert!(!is.contains(&Is::Free), "refused although there is room"),
                },
                (1, Some(number)) if dice.below(4) == 0 => {
                    scheduler.release(Thread(number as u16));
                    is[number] = Is::Free;
                }
                (2, Some(number)) => {
                    scheduler.block_in(&mut queues[queue], Thread(number as u16), until_ns);
                    order[queue].push_back(number);
                    is[number] = Is::Waiting { queue: Some(queue), until_ns };
                }
                (3, Some(number)) if until_ns != NEVER => {
                    scheduler.block(Thread(number as u16), until_ns);
                    is[number] = Is::Waiting { queue: None, until_ns };
                }
                (4, Some(number)) => {
                    let first = dice.below(2) == 0;
                    scheduler.ready(Thread(number as u16), first);
                    is[number] = Is::Ready;
                    if first { ready.push_front(number) } else { ready.push_back(number) }
                }
                (5, _) => {
                    let woken = scheduler.wake_first(&mut queues[queue]).map(Thread::place);
                    assert_eq!(woken, order[queue].pop_front());
                    if let Some(number) = woken {
                        if matches!(is[number], Is::Waiting { .. }) {
                            ready.push_back(number);
                        }
                        is[number] = Is::Ready;
                    }
                }
                (6, _) => {
                    now_ns += dice.below(20);
                    let before = ready.len();
                    scheduler.due(now_ns);
                    let mut late: Vec<(u64, usize)> = Vec::new();
                    for (number, is) in is.iter_mut().enumerate() {
                        if let Is::Waiting { queue, until_ns } = *is
                            && until_ns <= now_ns
                        {
                            late.push((until_ns, number));
                            *is = queue.map_or(Is::Ready, |queue| Is::Late { queue });
                        }
                    }
                    // Equal deadlines may come in any order: the next ones tell which it was.
                    let mut peek = scheduler.clone();
                    (0..before).for_each(|_| assert!(peek.next(0).is_some()));
                    let came: Vec<usize> =
                        late.iter().filter_map(|_| peek.next(0)).map(Thread::place).collect();
                    let times: Vec<u64> = came
                        .iter()
                        .map(|number| late.iter().find(|(_, other)| other == number).unwrap().0)
                        .collect();
                    assert_eq!(came.len(), late.len());
                    assert!(times.is_sorted(), "woken out of order: {times:?}");
                    ready.extend(came);
                }
                (_, None) => {
                    let next = scheduler.next(core).map(Thread::place);
                    assert_eq!(next, ready.pop_front());
                    if let Some(number) = next {
                        if let Is::Late { queue } = is[number] {
                            assert!(!scheduler.leave(&mut queues[queue], Thread(number as u16)));
                            order[queue].retain(|&other| other != number);
                        }
                        is[number] = Is::Running(core);
                    }
                }
                _ => {}
            }
            assert_eq!(scheduler.has_ready(), !ready.is_empty());
            assert_eq!(order[0].is_empty(), queues[0].is_empty());
        }
    }
}

#[test]
fn a_permit_is_kept_once() {
    let mut scheduler = Scheduler::<2>::new();
    let mut queue = Queue::new();
    let thread = scheduler.claim().unwrap();
    scheduler.unpark(thread);
    scheduler.unpark(thread);
    assert!(scheduler.park(&mut queue, thread, NEVER));
    assert!(!scheduler.park(&mut queue, thread, NEVER));
    assert_eq!(scheduler.next(0), None);
    scheduler.unpark(thread);
    assert_eq!(scheduler.next(0), Some(thread));
    assert!(scheduler.leave(&mut queue, thread) && queue.is_empty());
    // One that sleeps for another reason is not disturbed.
    scheduler.block(thread, 50);
    scheduler.unpark(thread);
    assert_eq!(scheduler.next(0), None);
    scheduler.due(50);
    assert_eq!(scheduler.next(0), Some(thread));
    assert!(scheduler.park(&mut queue, thread, NEVER));
    // Woken by way of the queue it has no permit left over.
    assert!(!scheduler.park(&mut queue, thread, NEVER));
    assert_eq!(scheduler.wake_first(&mut queue), Some(thread));
    assert_eq!(scheduler.next(0), Some(thread));
    assert!(scheduler.leave(&mut queue, thread));
    assert!(!scheduler.park(&mut queue, thread, NEVER));
}

/// Where a core of the model is. Each step is what is done under one holding of the lock, or one kernel call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum At {
    /// It looks for a thread.
    Look,
    /// It has found none and noted that it halts; the call comes next. The one who would wake it may act here.
    Halting { until_ns: u64 },
    /// In the kernel.
    Halted { until_ns: u64 },
    /// It runs a thread, which wakes the other sleeper, then sleeps or parks itself.
    Runs { thread: u16, step: u8 },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Model {
    queue: Queue,
    scheduler: Scheduler<3>,
    cores: [At; 2],
    /// Interrupts that the kernel holds for a core.
    called: [bool; 2],
    now_ns: u64,
    /// How many turns each thread still makes.
    turns: [u8; 3],
}

impl Model {
    /// Interrupts whoever must be: a call for each, after the lock.
    fn pokes(&mut self) {
        while let Some(core) = self.scheduler.poke() {
            self.called[core] = true;
        }
    }

    fn step(&mut self, core: usize) -> bool {
        match self.cores[core] {
            At::Look => {
                self.scheduler.awake(core);
                self.scheduler.due(self.now_ns);
                self.cores[core] = match self.scheduler.next(core) {
                    Some(thread) => {
                        self.scheduler.leave(&mut self.queue, thread);
                        At::Runs { thread: thread.0, step: 0 }
                    }
                    None => At::Halting { until_ns: self.scheduler.halt(core) },
                };
                self.pokes();
            }
            At::Halting { until_ns } => self.cores[core] = At::Halted { until_ns },
            At::Halted { until_ns } => {
                // The kernel keeps a core halted only while nothing came and no time is due.
                if !self.called[core] && until_ns > self.now_ns {
                    return false;
                }
                self.called[core] = false;
                self.cores[core] = At::Look;
            }
            At::Runs { thread, step: 0 } => {
                self.scheduler.unpark(Thread((thread + 1) % 3));
                self.pokes();
                self.cores[core] = At::Runs { thread, step: 1 };
            }
            At::Runs { thread, .. } => {
                let turns = &mut self.turns[usize::from(thread)];
                *turns = turns.saturating_sub(1);
                if *turns == 0 {
                    self.scheduler.release(Thread(thread));
                } else if thread == 0 {
                    self.scheduler.block(Thread(thread), self.now_ns + 2);
                } else if self.scheduler.park(
                    &mut self.queue,
                    Thread(thread),
                    if thread == 1 { self.now_ns + 3 } else { NEVER },
                ) {
                    self.scheduler.ready(Thread(thread), false);
                }
                self.cores[core] = At::Look;
            }
        }
        true
    }
}

/// Two cores, three threads that wake each other and sleep: in no interleaving does everything halt while there is a
/// thread to run or a deadline that nobody waits for.
#[test]
fn no_wake_up_is_lost_between_looking_and_halting() {
    let mut scheduler = Scheduler::<3>::new();
    for _ in 0..3 {
        let thread = scheduler.claim().unwrap();
        scheduler.ready(thread, false);
    }
    let start = Model {
        queue: Queue::new(),
        scheduler,
        cores: [At::Look; 2],
        called: [false; 2],
        now_ns: 0,
        turns: [2, 2, 1],
    };
    let mut seen = HashSet::from([start.clone()]);
    let mut open = VecDeque::from([start]);
    let mut ends = 0;
    while let Some(model) = open.pop_front() {
        let mut stuck = true;
        for core in 0..2 {
            let mut next = model.clone();
            if next.step(core) {
                stuck = false;
                if seen.insert(next.clone()) {
                    open.push_back(next);
                }
            }
        }
        // Time may pass at any moment: to the next deadline, as long as somebody has a reason to notice it.
        let noticed_ns = model.cores.iter().filter_map(|at| match at {
            At::Halted { until_ns } if *until_ns != NEVER => Some(*until_ns),
            _ => None,
        });
        let deadline_ns = noticed_ns.chain((!stuck).then(|| model.scheduler.timers.earliest_ns())).min();
        if let Some(at_ns) = deadline_ns.filter(|&at_ns| at_ns > model.now_ns && at_ns != NEVER) {
            let next = Model { now_ns: at_ns, ..model.clone() };
            if seen.insert(next.clone()) {
                open.push_back(next);
            }
        }
        if stuck && deadline_ns.is_none_or(|at_ns| at_ns <= model.now_ns) {
            ends += 1;
            assert!(!model.scheduler.has_ready(), "ready threads and halted cores: {model:?}");
            assert!(!model.scheduler.has_deadlines(), "nobody waits for a deadline: {model:?}");
            assert_eq!(model.turns, [0; 3], "a thread was forgotten");
        }
    }
    assert!(ends > 0 && seen.len() > 1000, "{ends} ends in {} states", seen.len());
}

/// A deadline is noticed although the core that halted for it was given a thread that runs on.
#[test]
fn a_deadline_finds_another_halted_core() {
    let mut scheduler = Scheduler::<4>::new();
    let [sleeper, runner] = [0; 2].map(|_| scheduler.claim().unwrap());
    assert_eq!(scheduler.halt(0), NEVER);
    scheduler.block(sleeper, 70);
    assert_eq!(scheduler.halt(1), 70);
    assert_eq!(scheduler.poke(), None);
    scheduler.ready(runner, false);
    assert_eq!(scheduler.poke(), Some(1));
    assert_eq!(scheduler.poke(), None);
    scheduler.awake(1);
    assert_eq!(scheduler.next(1), Some(runner));
    assert_eq!(scheduler.poke(), Some(0), "the other core halts for ever");
    scheduler.awake(0);
    assert_eq!(scheduler.halt(0), 70);
    assert_eq!(scheduler.poke(), None);
}

#[test]
fn a_leaving_core_takes_nothing() {
    let mut scheduler = Scheduler::<4>::new();
    let thread = scheduler.claim().unwrap();
    scheduler.ready(thread, false);
    scheduler.ask_back(1);
    assert_eq!(scheduler.next(1), None);
    assert_eq!(scheduler.next(0), Some(thread));
    scheduler.gone(1);
    scheduler.ready(thread, true);
    assert_eq!(scheduler.next(1), Some(thread));
}

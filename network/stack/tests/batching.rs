//! The knobs: what is held, for how long, and why it leaves. The device's two ends in `common` check every frame of
//! every test here: none is held longer than the knobs allowed when it came.

mod common;

use common::{Faults, Pair, Random, Talker, address};
use nom_stack::application::{Application, ConnectionId, Ended, Io, Pin};
use nom_stack::counters::Flush;
use nom_stack::knobs::{Batching, Early, Knobs};
use nom_stack::meter::Answer;

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

#[test]
fn no_packet_is_held_longer_than_the_delay_while_knobs_change_at_random() {
    for seed in 0..40 {
        let mut pair = Pair::talkers(seed, 60_000);
        pair.faults = Faults { loss: 1, reordering: 10, ..Faults::default() };
        for _ in 0..4 {
            let now_ns = pair.now_ns;
            pair.hosts[0].engine.connect(address(2), 80, now_ns).expect("a route");
        }
        let mut random = Random::new(seed);
        for _ in 0..200 {
            let which = random.below(2) as usize;
            let batching = match random.below(4) {
                0 => Batching::RunToCompletion,
                1 => Batching::TakeQueued,
                _ => Batching::Hold { delay_ns: 1 + random.below(300) * MICROSECOND },
            };
            let early = if random.chance(50) { Early::NoConnection } else { Early::EveryConnectionHeard };
            let now_ns = pair.now_ns;
            pair.hosts[which].batch(batching, early, now_ns);
            let end_ns = now_ns + random.below(3 * MILLISECOND);
            pair.run_until(end_ns);
        }
        pair.run_until(600 * SECOND);
        for host in &pair.hosts {
            let talker = host.engine.application();
            assert!(talker.flows.values().all(|flow| flow.read == 60_000), "seed {seed}");
            assert_eq!(talker.ended.len(), 4, "seed {seed}");
            assert!(host.engine.is_unused());
        }
    }
}

/// A client that asks again as soon as it was answered, or a server that answers. 64 bytes there, 100 back.
struct Caller {
    serves: bool,
    open: Vec<ConnectionId>,
    answers: u64,
    partial: usize,
}

impl Caller {
    fn new(serves: bool) -> Self {
        Self { serves, open: Vec::new(), answers: 0, partial: 0 }
    }
}

impl Application for Caller {
    fn opened(&mut self, io: &mut impl Io, _port: u16, outgoing: bool) {
        self.open.push(io.connection());
        if outgoing {
            io.write(&[1; 64]).expect("room");
        }
    }

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        let (question, answer) = if self.serves { (64, 100) } else { (100, 64) };
        let mut consumed = 0;
        while bytes.len() - consumed >= question {
            consumed += question;
            self.answers += 1;
            io.write(&[2; 100][..answer]).expect("room");
            if self.serves {
                io.answered(Answer::Accepted);
            }
        }
        self.partial = bytes.len() - consumed;
        consumed
    }

    fn writable(&mut self, _io: &mut impl Io) {}

    fn finished(&mut self, io: &mut impl Io) {
        io.close();
    }

    fn ended(&mut self, _connection: ConnectionId, _reason: Ended) {}

    fn pinned(&self, _pin: Pin) -> &[u8] {
        &[]
    }

    fn released(&mut self, _pin: Pin) {}
}

fn callers(batching: Batching, early: Early, connections: usize) -> Pair<Caller> {
    let mut pair = Pair {
        hosts: [
            common::Host::new(common::config(1), |_| Caller::new(false)),
            common::Host::new(common::config(2), |_| Caller::new(true)),
        ],
        wires: Default::default(),
        faults: Faults::default(),
        delay_ns: 20 * MICROSECOND,
        random: Random::new(1),
        now_ns: MILLISECOND,
        events: 0,
    };
    pair.hosts[1].engine.listen(80);
    for _ in 0..connections {
        let now_ns = pair.now_ns;
        pair.hosts[0].engine.connect(address(2), 80, now_ns).expect("a route");
    }
    let now_ns = pair.now_ns;
    pair.hosts[1].batch(batching, early, now_ns);
    let end_ns = now_ns + 50 * MILLISECOND;
    pair.run_until(end_ns);
    pair
}

#[test]
fn answers_carry_acknowledgements_and_every_operation_is_measured_once() {
    for batching in
        [Batching::RunToCompletion, Batching::TakeQueued, Batching::Hold { delay_ns: 100 * MICROSECOND }]
    {
        let pair = callers(batching, Early::NoConnection, 8);
        let engine = &pair.hosts[1].engine;
        let answers = engine.application().answers;
        assert!(answers > 1_000, "{answers} with {batching:?}");
        assert_eq!(engine.meter().accepted(), answers);
        assert!(engine.meter().measured() + 8 >= answers);
        let counters = engine.counters();
        assert!(counters.pure_acks_out < 20, "{} of {answers}", counters.pure_acks_out);
        let mean_ns = engine.meter().latency_sum_ns() as u64 / engine.meter().measured();
        let delay_ns = batching.delay_ns();
        assert!((delay_ns / 2..=2 * delay_ns).contains(&mean_ns), "{mean_ns} with {batching:?}");
    }
}

#[test]
fn run_to_completion_shows_every_answer_at_once_and_holding_gathers_them() {
    let kicks_of = |pair: &Pair<Caller>| {
        let engine = &pair.hosts[1].engine;
        engine.counters().flushes_out as f64 / engine.application().answers as f64
    };
    let single = callers(Batching::RunToCompletion, Early::NoConnection, 8);
    assert!(kicks_of(&single) > 0.99);
    let queued = callers(Batching::TakeQueued, Early::NoConnection, 8);
    assert!(kicks_of(&queued) < 0.2, "{}", kicks_of(&queued));
    let held = callers(Batching::Hold { delay_ns: 100 * MICROSECOND }, Early::NoConnection, 8);
    assert!(kicks_of(&held) < 0.2, "{}", kicks_of(&held));
    let counters = held.hosts[1].engine.counters();
    assert!(counters.batches_in[Flush::Delay as usize] > 100);
    assert!(counters.batches_out[Flush::Delay as usize] > 100);
}

#[test]
fn a_batch_goes_early_when_every_connection_was_heard() {
    let delay_ns = 300 * MICROSECOND;
    let patient = callers(Batching::Hold { delay_ns }, Early::NoConnection, 8);
    let clever = callers(Batching::Hold { delay_ns }, Early::EveryConnectionHeard, 8);
    let answers = |pair: &Pair<Caller>| pair.hosts[1].engine.application().answers;
    assert!(answers(&clever) > 5 * answers(&patient), "{} {}", answers(&clever), answers(&patient));
    let counters = clever.hosts[1].engine.counters();
    assert!(counters.batches_in[Flush::Early as usize] > 100);
    assert!(counters.batches_out[Flush::Early as usize] > 100);
}

#[test]
fn the_time_that_a_step_takes_is_part_of_the_latency() {
    let mut pair = callers(Batching::RunToCompletion, Early::NoConnection, 1);
    // A question is always on its way, here or there.
    while pair.wires[0].frames.is_empty() {
        pair.run_until(pair.now_ns + MICROSECOND);
    }
    let (_, frame) = pair.wires[0].frames.pop_first().expect("it is there");
    let now_ns = pair.now_ns;
    let host = &mut pair.hosts[1];
    let before = host.engine.meter().clone();
    // The test is late, not the stack.
    host.inbox.borrow_mut().hold_ns = SECOND;
    host.give(frame, now_ns);
    let step = host.engine.step(now_ns + 3 * MICROSECOND);
    assert!(step.worked, "so that nobody sleeps before it is measured");
    assert_eq!(host.engine.meter().since(&before).accepted(), 1);
    assert_eq!(host.engine.meter().since(&before).measured(), 0);
    host.engine.step(now_ns + 10 * MICROSECOND);
    let after = host.engine.meter().since(&before);
    assert_eq!((after.measured(), after.latency_sum_ns()), (1, 10_000));
}

#[test]
fn ten_thousand_idle_connections_cost_nothing() {
    let mut pair = Pair::talkers(1, 0);
    for host in &mut pair.hosts {
        host.engine.application_mut().close_first = false;
    }
    for _ in 0..100 {
        for _ in 0..100 {
            let now_ns = pair.now_ns;
            pair.hosts[0].engine.connect(address(2), 80, now_ns).expect("a port");
        }
        pair.run_until(pair.now_ns + MILLISECOND);
    }
    pair.run_until(pair.now_ns + SECOND);
    for host in &mut pair.hosts {
        assert_eq!(host.engine.open_connections(), 10_000);
        let step = host.engine.step(pair.now_ns);
        assert!(!step.worked);
        assert_eq!(step.deadline_ns, None, "nothing will ever be due");
    }
    let events = pair.events;
    pair.run_until(pair.now_ns + 10_000 * SECOND);
    assert_eq!(pair.events, events);
}

#[test]
fn a_bound_ends_a_batch() {
    let mut pair: Pair<Talker> = Pair::talkers(1, 0);
    let now_ns = pair.now_ns;
    pair.hosts[1].batch(Batching::Hold { delay_ns: 100 * MILLISECOND }, Early::NoConnection, now_ns);
    let knobs = Knobs { batch_bound: 8, ..*pair.hosts[1].engine.knobs() };
    pair.hosts[1].engine.set_knobs(knobs, now_ns);
    pair.hosts[1].engine.application_mut().close_first = false;
    pair.hosts[0].engine.application_mut().close_first = false;
    pair.hosts[0].engine.connect(address(2), 80, now_ns).expect("a route");
    pair.run_until(now_ns + SECOND);
    let id = pair.hosts[0].engine.application().opened[0].0;
    let now_ns = pair.now_ns;
    pair.hosts[0].engine.with_connection(id, now_ns, |talker, io| {
        talker.flows.get_mut(&id).expect("open").goal = 100_000;
        talker.pump(io);
    });
    pair.run_until(now_ns + 10 * SECOND);
    assert_eq!(pair.hosts[1].engine.application().flows.values().next().expect("one").read, 100_000);
    assert!(pair.hosts[1].engine.counters().batches_in[Flush::Bound as usize] > 0);
}

#[test]
fn what_is_held_leaves_as_early_as_the_old_delay_said() {
    let mut pair: Pair<Talker> = Pair::talkers(1, 0);
    for host in &mut pair.hosts {
        host.engine.application_mut().close_first = false;
    }
    let now_ns = pair.now_ns;
    pair.hosts[0].engine.connect(address(2), 80, now_ns).expect("a route");
    pair.run_until(now_ns + SECOND);
    let now_ns = pair.now_ns;
    let host = &mut pair.hosts[1];
    let hold = |delay_us: u64| Batching::Hold { delay_ns: delay_us * MICROSECOND };
    host.batch(hold(100), Early::NoConnection, now_ns);
    host.give(vec![0; 60], now_ns);
    let before = host.engine.counters().frames_in;
    host.step(now_ns + 10 * MICROSECOND);
    assert_eq!(host.deadline_ns, Some(now_ns + 100 * MICROSECOND));
    host.batch(hold(1_000_000), Early::NoConnection, now_ns + 50 * MICROSECOND);
    host.step(now_ns + 60 * MICROSECOND);
    assert_eq!(host.deadline_ns, Some(now_ns + 100 * MICROSECOND), "the old delay still counts");
    assert_eq!(host.engine.counters().frames_in, before);
    host.step(now_ns + 100 * MICROSECOND);
    assert_eq!(host.engine.counters().frames_in, before + 1);
    // And a shorter delay counts at once.
    host.give(vec![0; 60], now_ns + 200 * MICROSECOND);
    host.step(now_ns + 200 * MICROSECOND);
    assert_eq!(host.deadline_ns, Some(now_ns + 200 * MICROSECOND + SECOND));
    host.batch(hold(5), Early::NoConnection, now_ns + 300 * MICROSECOND);
    host.step(now_ns + 300 * MICROSECOND);
    assert_eq!(host.engine.counters().frames_in, before + 2);
}

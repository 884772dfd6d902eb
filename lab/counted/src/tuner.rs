//! Decisions of the tuner, and the estimators that feed it.

use crate::Load;
use nom_money::{Nano, PerByte, PerCoreNs, PerOperation, Prices};
use nom_points::{Batching, Class, Late, LoadKind, Noise, Point, Points, Range, Setting, Wait};
use nom_stack::meter::{Answer, Meter};
use nom_tuner::{Decision, Moment, Quoted, Rules, Tuner};
use nom_utility::expression::Expression;
use nom_utility::{Contract, LimitKind, TailRule};
use std::hint::black_box;

const LIMIT_NS: u64 = 750_000;
/// 0.2 $ a million operations.
const ALPHA: PerOperation = PerOperation(200_000_000_000);
/// Between two prices: long enough that the tuner may move each time.
const STEP_NS: u64 = 3_000_000_000;

fn contract(name: &str) -> Option<Contract> {
    Some(match name {
        "simple" => Contract::per_operation(ALPHA, LimitKind::Simple { limit_ns: LIMIT_NS }),
        "penalty" => Contract::per_operation(
            ALPHA,
            LimitKind::Penalty { limit_ns: LIMIT_NS, factor: Nano(10_000_000_000), tail: TailRule::Counted },
        ),
        "refund" => Contract::refund_per_operation(ALPHA, "100 $/(Mop s)".parse().ok()?),
        "bonus" => Contract::bonus_per_operation(ALPHA, "0.00001 $ s/Mop".parse().ok()?, None),
        "own" => {
            let text = "0.2 $/Mop * max(0, 1 - min(1, 10 * late) - mean / 2 ms)";
            Contract::own(Expression::parse(text).ok()?, Some(LIMIT_NS)).ok()?
        }
        _ => return None,
    })
}

/// The longer frames gather, the less core time and the fewer bytes an operation takes, and the later it is answered:
/// all of them are on the frontier.
fn points(count: usize) -> Points {
    let all = (0..count as u64).map(|place| {
        let part = place as f64 / count as f64;
        let batching =
            if place == 0 { Batching::RunToCompletion } else { Batching::Hold { delay_ns: place * 14_000 } };
        let late = |threshold_ns, above| Late { threshold_ns, above };
        Point {
            setting: Setting::serve(Wait::Halt, batching),
            throughput_per_s: 40e3 + 60e3 * part,
            useful_bytes: 100.0,
            wire_bytes: 190.0 - 40.0 * part,
            core_ns: 24e3 - 16e3 * part,
            idle_cores: 0.05 * part,
            memory_bytes: 8e6,
            mean_ns: 60e3 + 600e3 * part,
            server_ns: 0.0,
            jitter_ns: 15e3 + 80e3 * part,
            p99_ns: 0.0,
            samples: 100_000,
            late: vec![late(250_000, 3_000 * place), late(LIMIT_NS, 100 * place), late(2_000_000, place)],
        }
    });
    let class = Class {
        name: "many".into(),
        kind: LoadKind::Open,
        utilisation: Range::ALL,
        connections: Range::ALL,
        measured: None,
        points: all.collect(),
    };
    Points {
        application: "kv".into(),
        noise: Noise { throughput: 0.005, bytes: 0.001, cores: 0.01, memory: 0.02, latency: 0.01 },
        capacity_per_s: 100e3,
        classes: vec![class],
    }
}

/// Decides at one new price after the other. False when there is no such contract.
pub fn play(name: &str, load: &Load) -> bool {
    let Some(contract) = contract(name) else { return false };
    let mut tuner = Tuner::new(contract, points(load.connections), Rules::default());
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        i128::from(state % bound)
    };
    let mut moment = |round: usize| {
        let prices = Prices {
            bandwidth: Some(PerByte(below(1 << 32) >> below(16))),
            core: Some(PerCoreNs(below(1 << 26) >> below(16))),
            memory: None,
        };
        Moment {
            now_ns: round as u64 * STEP_NS,
            quoted: Some(Quoted { prices, generation: round as u64, valid_until_ns: 0 }),
            announced: None,
            arrival_per_s: 30e3,
            connections: 64.0,
        }
    };
    // The first one also looks for settings that cannot be told apart.
    black_box(tuner.decide(&moment(0)));
    let mut changes = 0;
    for round in 1..=load.rounds {
        let moment = moment(round);
        changes += usize::from(counted(&mut tuner, &moment).is_some_and(|said| said.change.is_some()));
    }
    println!("changes {changes}");
    true
}

#[inline(never)]
fn counted(tuner: &mut Tuner, moment: &Moment) -> Option<Decision> {
    tuner.decide(black_box(moment))
}

/// What the stack does for each request so that there is something to decide by.
pub fn estimate(load: &Load) {
    let mut meter = Meter::new();
    meter.set_threshold_ns(LIMIT_NS);
    let latencies: Vec<u64> = (0..load.batch as u64).map(|place| 20_000 + place * 7_919 % 900_000).collect();
    for _ in 0..load.rounds {
        measuring::counted(&mut meter, black_box(&latencies));
    }
    assert_eq!(meter.measured() as usize, load.batch * load.rounds);
}

mod measuring {
    use super::{Answer, Meter};

    #[inline(never)]
    pub fn counted(meter: &mut Meter, latencies: &[u64]) {
        for latency_ns in latencies {
            meter.count(Answer::Accepted);
            meter.measure(*latency_ns);
        }
    }
}

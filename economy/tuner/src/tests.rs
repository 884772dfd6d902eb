//! The tuner against brute force, and its habits.

mod announced;
mod credible;
mod exploring;
mod steadiness;

use crate::{Announced, Decision, Mode, Moment, Quoted, Rules, Tuner, best};
use alloc::vec;
use alloc::vec::Vec;
use nom_money::{Nano, PerByte, PerByteSecond, PerCoreNs, PerOperation, Prices};
use nom_points::{Batching, Class, Late, LoadKind, Measured, Noise, Point, Points, Range, Setting, Wait};
use nom_utility::{Contract, LimitKind, TailRule};

const MS: u64 = 1_000_000;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn part(&mut self) -> f64 {
        self.below(1 << 30) as f64 / (1u64 << 30) as f64
    }
}

fn setting(delay_us: u64) -> Setting {
    Setting::serve(Wait::Halt, Batching::from_us(delay_us))
}

trait FromMicroseconds {
    fn from_us(delay_us: u64) -> Self;
}

impl FromMicroseconds for Batching {
    fn from_us(delay_us: u64) -> Self {
        if delay_us == 0 { Self::RunToCompletion } else { Self::Hold { delay_ns: delay_us * 1000 } }
    }
}

/// A point with plain figures: 100 useful and 166 billed bytes an operation.
fn point(delay_us: u64, throughput_per_s: f64, mean_us: f64, core_ns: f64) -> Point {
    Point {
        setting: setting(delay_us),
        throughput_per_s,
        useful_bytes: 100.0,
        wire_bytes: 166.0,
        core_ns,
        idle_cores: 0.0,
        memory_bytes: 0.0,
        mean_ns: mean_us * 1000.0,
        server_ns: 0.0,
        jitter_ns: 1_000.0,
        p99_ns: 0.0,
        samples: 100_000,
        late: vec![Late { threshold_ns: 750_000, above: 0 }],
    }
}

fn class(name: &str, kind: LoadKind, connections: (f64, f64), points: Vec<Point>) -> Class {
    let connections = Range { from: connections.0, to: connections.1 };
    Class { name: name.into(), kind, utilisation: Range::ALL, connections, measured: None, points }
}

fn points(classes: Vec<Class>) -> Points {
    Points { application: "kv".into(), noise: Noise::same(0.02), capacity_per_s: 40_000.0, classes }
}

/// 0.2 $ a million operations less a tenth for each percent above 750 us.
fn penalty() -> Contract {
    let kind =
        LimitKind::Penalty { limit_ns: 750_000, factor: Nano(10_000_000_000), tail: TailRule::Counted };
    Contract::per_operation(PerOperation(200_000_000_000), kind)
}

fn core(text: &str) -> Prices {
    Prices { core: Some(text.parse().unwrap()), ..Prices::NONE }
}

fn moment(now_ms: u64, prices: Prices) -> Moment {
    let quoted = Some(Quoted { prices, generation: 1, valid_until_ns: 0 });
    Moment { now_ns: now_ms * MS, quoted, announced: None, arrival_per_s: 20_000.0, connections: 10.0 }
}

/// Run to completion is quick and takes cores, holding is slower and cheap.
fn quick_or_cheap() -> Points {
    let quick =
        Point { late: vec![Late { threshold_ns: 750_000, above: 0 }], ..point(0, 40e3, 60.0, 20_000.0) };
    let cheap = Point {
        late: vec![Late { threshold_ns: 750_000, above: 2_000 }],
        ..point(200, 40e3, 260.0, 5_000.0)
    };
    points(vec![class("many", LoadKind::Open, (0.0, f64::INFINITY), vec![quick, cheap])])
}

#[test]
fn without_hysteresis_the_choice_is_that_of_brute_force() {
    let mut random = Random(0x0123_4567_89ab_cdef);
    let (mut stopped, mut last) = (0, 0);
    for _ in 0..20_000 {
        let alpha = random.below(1 << 38) as i128;
        let factor = random.below(200);
        let beta = random.below(1 << 44) as i128;
        let kind = random.below(3);
        let contract = match kind {
            0 => Contract::per_operation(
                PerOperation(alpha),
                LimitKind::Penalty {
                    limit_ns: 750_000,
                    factor: Nano(factor * 1_000_000_000),
                    tail: TailRule::Counted,
                },
            ),
            1 => Contract::refund_per_operation(PerOperation(alpha), nom_money::RefundPerOperation(beta)),
            _ => Contract::bonus_per_operation(
                PerOperation(alpha),
                nom_money::BonusPerOperation(beta >> 20),
                None,
            ),
        };
        let prices = Prices {
            bandwidth: Some(PerByte(random.below(1 << 29) as i128)),
            core: Some(PerCoreNs(random.below(1 << 21) as i128)),
            memory: Some(PerByteSecond(random.below(5_000) as i128)),
        };
        let mut all = Vec::new();
        for delay_us in 0..1 + random.below(12) {
            let late = vec![Late { threshold_ns: 750_000, above: random.below(2_000) }];
            let (throughput, mean) = (1e4 + 4e4 * random.part(), 50.0 + 400.0 * random.part());
            let point = point(delay_us, throughput, mean, 2e4 * random.part());
            all.push(Point {
                late,
                idle_cores: random.part(),
                wire_bytes: 100.0 + 100.0 * random.part(),
                ..point
            });
        }
        let arrival = 5e4 * random.part();
        // From the paper's equations, with nothing of the code under test.
        let core_price = prices.core.unwrap().0 as f64 / 1e18;
        let idle = all.iter().map(|point| point.idle_cores).fold(1.0, f64::min);
        let mut expected = (Setting::Nothing, -core_price * idle * 1e9);
        for point in all.iter().rev() {
            let t = arrival.min(point.throughput_per_s);
            let latency_s = point.mean_ns / 1e9;
            let alpha = alpha as f64 / 1e18;
            let late = point.late[0].above as f64 / point.samples as f64;
            let r = match kind {
                0 => alpha * (1.0 - (factor as f64 * late).min(1.0)),
                1 => (alpha - beta as f64 / 1e18 * latency_s).max(0.0),
                _ => alpha + (beta >> 20) as f64 / 1e18 / latency_s,
            };
            let busy = t * point.core_ns / 1e9;
            let cores = busy + point.idle_cores * (1.0 - busy).max(0.0);
            let bandwidth = prices.bandwidth.unwrap().0 as f64 / 1e18;
            let profit = t * r - (bandwidth * t * point.wire_bytes + core_price * cores * 1e9);
            if profit >= expected.1 {
                expected = (point.setting, profit);
            }
        }
        let rules = Rules { hysteresis: false, ..Rules::default() };
        let all = points(vec![class("x", LoadKind::Open, (0.0, f64::INFINITY), all)]);
        let found = best(&contract.at(&prices), &all.classes[0], arrival, &rules, |_| true).unwrap();
        let difference = found.profit.total() - expected.1;
        assert!(difference.abs() <= 1e-12 * (1.0 + expected.1.abs()), "{found:?} {expected:?}");
        let mut tuner = Tuner::new(contract, all, rules);
        let now = Moment { arrival_per_s: arrival, ..moment(1, prices) };
        if let Some(decision) = tuner.decide(&now) {
            assert!(decision.line().len() <= 480);
        }
        assert_eq!(tuner.setting(), found.setting);
        stopped += u32::from(found.setting == Setting::Nothing);
        last += u32::from(found.setting != Setting::Nothing);
    }
    assert!(stopped > 1_000 && last > 1_000, "{stopped} {last}");
}

#[test]
fn a_price_change_moves_the_knob_and_says_why() {
    let mut tuner = Tuner::new(penalty(), quick_or_cheap(), Rules::default());
    // 2% late costs a fifth of 14.4 $/h; the quick setting uses 0.3 cores more.
    assert_eq!(tuner.decide(&moment(0, core("0.04 $/core/h"))), None);
    assert_eq!(tuner.setting(), setting(0));
    let decision = tuner.decide(&moment(1_000, core("20 $/core/h"))).unwrap();
    assert_eq!(decision.change, Some(setting(200)));
    let expected = "change wait=halt batch=0 -> wait=halt batch=200us by price: class many, 20000 op/s, 10 connections; \
                    core 20 $/core/h (generation 1, bandwidth counted as free, memory counted as free); \
                    expected 9.520 $/h (11.520 $/h - 2.000 $/h) instead of 6.400 $/h (14.400 $/h - 8.000 $/h); ";
    assert!(decision.line().starts_with(expected), "{}", decision.line());
    assert_eq!(tuner.decide(&moment(2_000, core("20 $/core/h"))), None);
    let decision = tuner.decide(&moment(3_000, core("0.04 $/core/h"))).unwrap();
    assert_eq!(decision.change, Some(setting(0)));
}

#[test]
fn small_gains_noise_and_haste_do_not_move_it() {
    // One percent less core time is within noise.
    let all = points(vec![class(
        "many",
        LoadKind::Open,
        (0.0, f64::INFINITY),
        vec![point(0, 40e3, 60.0, 20_000.0), point(14, 40e3, 60.5, 19_800.0)],
    )]);
    let mut tuner = Tuner::new(penalty(), all, Rules::default());
    let said = tuner.decide(&moment(0, core("20 $/core/h"))).unwrap();
    assert_eq!(said.change, None);
    assert!(said.line().contains("nothing to win"), "{}", said.line());
    assert_eq!(tuner.decide(&moment(1, core("20 $/core/h"))), None);
    // A stay too short to pay for the change.
    let rules = Rules { expected_stay_ns: MS, ..Rules::default() };
    let mut tuner = Tuner::new(penalty(), quick_or_cheap(), rules);
    assert_eq!(tuner.decide(&moment(0, core("20 $/core/h"))), None);
    // A change just now.
    let mut tuner = Tuner::new(penalty(), quick_or_cheap(), Rules::default());
    assert!(tuner.decide(&moment(0, core("20 $/core/h"))).is_some());
    assert_eq!(tuner.decide(&moment(99, core("0.04 $/core/h"))), None);
    assert!(tuner.decide(&moment(100, core("0.04 $/core/h"))).is_some());
}

#[test]
fn a_flapping_price_changes_the_knob_no_oftener_than_allowed() {
    let mut tuner = Tuner::new(penalty(), quick_or_cheap(), Rules::default());
    let mut changes = 0;
    for now_ms in 0..10_000 {
        let price = if now_ms % 2 == 0 { "0.04 $/core/h" } else { "20 $/core/h" };
        changes +=
            u32::from(tuner.decide(&moment(now_ms, core(price))).is_some_and(|said| said.change.is_some()));
    }
    assert!(changes <= 100, "{changes}");
}

#[test]
fn when_serving_loses_it_stops_and_comes_back() {
    let mut tuner = Tuner::new(penalty(), quick_or_cheap(), Rules::default());
    let bandwidth = |text: &str| Prices { bandwidth: Some(text.parse().unwrap()), ..Prices::NONE };
    assert_eq!(tuner.decide(&moment(0, bandwidth("0.09 $/GB"))), None);
    let stop = tuner.decide(&moment(1_000, bandwidth("20 $/Gbit"))).unwrap();
    assert_eq!(stop.change, Some(Setting::Nothing));
    // While nothing is served no load is seen, and that is no reason to think that there is none.
    let idle = Moment { arrival_per_s: 0.0, connections: 0.0, ..moment(2_000, bandwidth("0.09 $/GB")) };
    let back = tuner.decide(&idle).unwrap();
    assert_eq!(back.change, Some(setting(0)));
    let stubborn = Rules { may_stop: false, ..Rules::default() };
    let mut tuner = Tuner::new(penalty(), quick_or_cheap(), stubborn);
    for now_ms in 0..10 {
        tuner.decide(&moment(now_ms * 1_000, bandwidth("20 $/Gbit")));
        assert_ne!(tuner.setting(), Setting::Nothing);
    }
}

#[test]
fn hard_limits_come_before_profit() {
    let rules = Rules { latency_max_ns: Some(100_000), ..Rules::default() };
    let mut tuner = Tuner::new(penalty(), quick_or_cheap(), rules);
    assert_eq!(tuner.decide(&moment(0, core("20 $/core/h"))), None);
    assert_eq!(tuner.setting(), setting(0));
    let rules = Rules { spending_max: Some("5 $/h".parse().unwrap()), ..Rules::default() };
    let mut tuner = Tuner::new(penalty(), quick_or_cheap(), rules);
    // Not even a change just now delays what a limit asks for.
    tuner.force(setting(0), 0);
    let decision = tuner.decide(&moment(1, core("20 $/core/h"))).unwrap();
    assert_eq!(decision.change, Some(setting(200)));
    assert!(decision.line().contains("breaks a hard limit"), "{}", decision.line());
    let decision = tuner.decide(&moment(2, core("200 $/core/h"))).unwrap();
    assert_eq!(decision.change, Some(Setting::Nothing));
}

fn change(decision: Option<Decision>) -> Option<Setting> {
    decision.and_then(|decision| decision.change)
}

fn seen(mean_us: f64, core_ns: u64, late: u64) -> Measured {
    Measured {
        window_ns: 1_000 * MS,
        operations: 20_000,
        arrived: 20_000,
        useful_bytes: 2_000_000,
        wire_bytes: 3_320_000,
        core_ns: core_ns * 20_000,
        memory_bytes: 0,
        measured: 20_000,
        late,
        mean_ns: mean_us * 1000.0,
        jitter_ns: 1_000.0,
        counted_ns: 0.0,
    }
}

#[test]
fn a_change_that_earned_less_is_taken_back_and_not_repeated_at_once() {
    let mut tuner = Tuner::new(penalty(), quick_or_cheap(), Rules::default());
    let high = core("20 $/core/h");
    tuner.decide(&moment(0, core("0.04 $/core/h")));
    assert_eq!(tuner.observe(1_000 * MS, &seen(60.0, 20_000, 0)), None);
    assert_eq!(tuner.decide(&moment(2_000, high)).unwrap().change, Some(setting(200)));
    // Too early to judge.
    assert_eq!(tuner.observe(2_900 * MS, &seen(900.0, 5_000, 20_000)), None);
    // The profile lied: all of it is late.
    // One bad window may be chance.
    assert_eq!(change(tuner.observe(4_000 * MS, &seen(900.0, 5_000, 20_000))), None);
    let decision = tuner.observe(5_000 * MS, &seen(900.0, 5_000, 20_000)).unwrap();
    assert_eq!(decision.change, Some(setting(0)));
    assert!(
        decision.line().starts_with("return wait=halt batch=200us -> wait=halt batch=0: it earns -2.000 $/h"),
        "{}",
        decision.line()
    );
    assert_eq!(tuner.decide(&moment(6_000, high)), None);
    assert_eq!(tuner.setting(), setting(0));
    // After a while it may be tried again.
    tuner.decide(&moment(70_000, high));
    assert_eq!(change(tuner.decide(&moment(70_300, high))), Some(setting(200)));
}

#[test]
fn a_change_that_kept_its_promise_stays() {
    let mut tuner = Tuner::new(penalty(), quick_or_cheap(), Rules::default());
    tuner.decide(&moment(0, core("0.04 $/core/h")));
    tuner.observe(1_000 * MS, &seen(60.0, 20_000, 0));
    tuner.decide(&moment(2_000, core("20 $/core/h"))).unwrap();
    assert_eq!(tuner.observe(4_000 * MS, &seen(260.0, 5_000, 400)), None);
    assert_eq!(tuner.setting(), setting(200));
    // The trial is over: a later bad window is a matter of refining, not of returning.
    for turn in 5..9 {
        assert_eq!(change(tuner.observe(turn * 1_000 * MS, &seen(900.0, 5_000, 20_000))), None);
    }
}

#[test]
fn what_is_seen_refines_the_point_when_asked_to() {
    let rules = Rules { learn: true, ..Rules::default() };
    let mut tuner = Tuner::new(penalty(), quick_or_cheap(), rules);
    tuner.decide(&moment(0, core("0.04 $/core/h")));
    for turn in 1..200 {
        tuner.observe(turn * 1_000 * MS, &seen(90.0, 30_000, 2_000));
    }
    let point = &tuner.points().classes[0].points[0];
    assert!((point.mean_ns - 90_000.0).abs() < 500.0, "{point:?}");
    let (above, of) = point.late_above(750_000);
    assert!((above as f64 / of as f64 - 0.1).abs() < 0.01, "{above} of {of}");
    // 10% late eats all revenue, so the other setting is better now.
    tuner.decide(&moment(201_000, core("0.04 $/core/h")));
    assert_eq!(change(tuner.decide(&moment(201_300, core("0.04 $/core/h")))), Some(setting(200)));
}

#[test]
fn the_load_class_is_debounced() {
    let slow = vec![point(0, 40e3, 60.0, 20_000.0)];
    let batch = vec![point(0, 40e3, 300.0, 20_000.0), point(14, 40e3, 100.0, 10_000.0)];
    let all = points(vec![
        class("single", LoadKind::Open, (0.0, 4.0), slow),
        class("many", LoadKind::Closed, (4.0, f64::INFINITY), batch),
    ]);
    let mut tuner = Tuner::new(penalty(), all, Rules::default());
    let at = |now_ms, connections| Moment { connections, ..moment(now_ms, core("20 $/core/h")) };
    tuner.decide(&at(0, 1.0));
    assert_eq!(tuner.class(), Some("single"));
    for now_ms in 1..200 {
        // Never for 20 ms at a stretch.
        tuner.decide(&at(now_ms, if now_ms % 15 == 0 { 1.0 } else { 100.0 }));
        assert_eq!(tuner.class(), Some("single"));
    }
    for now_ms in 200..240 {
        tuner.decide(&at(now_ms, 100.0));
    }
    assert_eq!(tuner.class(), Some("many"));
    assert_eq!(tuner.setting(), setting(14));
}

#[test]
fn a_price_that_ran_out_counts_for_a_while_and_then_the_average_does() {
    let mut tuner = Tuner::new(penalty(), quick_or_cheap(), Rules::default());
    let never = Moment { quoted: None, ..moment(0, Prices::NONE) };
    assert_eq!(tuner.decide(&never), None);
    // For long it was low, then it is high for a moment, and nobody says more.
    let (low, high) = (core("0.04 $/core/h"), core("20 $/core/h"));
    let quick = Measured { arrived: 20_000, ..seen(60.0, 20_000, 0) };
    for second in 1..100 {
        assert_eq!(change(tuner.decide(&moment(second * 1_000, low))), None);
        tuner.observe(second * 1_000 * MS, &quick);
    }
    let until = |now_ms, prices| {
        let quoted = Some(Quoted { prices, generation: 1, valid_until_ns: 101_000 * MS });
        Moment { quoted, ..moment(now_ms, prices) }
    };
    assert_eq!(change(tuner.decide(&until(100_000, high))), Some(setting(200)));
    for now_ms in (101_000..=161_000).step_by(1_000) {
        assert_eq!(tuner.decide(&until(now_ms, high)), None);
    }
    let said = tuner.decide(&until(161_001, high)).unwrap();
    assert!(said.change.is_none() && said.line().contains("the price ran out 60s ago"), "{}", said.line());
    assert!(said.line().contains("0.04 $/core/h"), "{}", said.line());
    assert_eq!(change(tuner.decide(&until(161_002, high))), Some(setting(0)));
    // Load is still followed: without any, nothing changes and nothing is said again.
    assert_eq!(tuner.decide(&until(163_000, high)), None);
    // There is a price again.
    assert_eq!(change(tuner.decide(&moment(170_000, high))), Some(setting(200)));
}

#[test]
fn observing_says_once_what_it_would_do_and_off_is_silent() {
    let rules = Rules { mode: Mode::Observe, ..Rules::default() };
    let mut tuner = Tuner::new(penalty(), quick_or_cheap(), rules);
    let decision = tuner.decide(&moment(0, core("20 $/core/h"))).unwrap();
    assert_eq!(decision.change, None);
    assert!(decision.line().starts_with("would change"), "{}", decision.line());
    assert_eq!(tuner.decide(&moment(1, core("20 $/core/h"))), None);
    assert_eq!(tuner.setting(), setting(0));
    let rules = Rules { mode: Mode::Off, ..Rules::default() };
    let mut tuner = Tuner::new(penalty(), quick_or_cheap(), rules);
    assert_eq!(tuner.decide(&moment(0, core("20 $/core/h"))), None);
    assert_eq!(tuner.observe(1_000 * MS, &seen(60.0, 20_000, 0)), None);
}

#[test]
fn no_load_is_no_reason_to_stop() {
    let simple =
        Contract::per_operation(PerOperation(200_000_000_000), LimitKind::Simple { limit_ns: 750_000 });
    for contract in [penalty(), simple] {
        let mut all = quick_or_cheap();
        for point in &mut all.classes[0].points {
            point.idle_cores = 0.05;
            point.memory_bytes = 1e9;
        }
        let mut tuner = Tuner::new(contract, all, Rules::default());
        let prices = Prices { memory: Some(PerByteSecond(2_000)), ..core("20 $/core/h") };
        for now_ms in (0..100_000).step_by(100) {
            // Nobody comes, or one a second, which earns less than the idle core costs.
            let quiet = Moment {
                arrival_per_s: f64::from(now_ms % 2),
                connections: 0.0,
                ..moment(now_ms as u64, prices)
            };
            tuner.decide(&quiet);
            assert_ne!(tuner.setting(), Setting::Nothing, "{contract}");
        }
    }
}

#[test]
fn a_stop_under_overload_ends_when_the_load_has_gone() {
    // Under many all are late, so that serving only pays for bytes; under few it earns.
    let late = Point {
        late: vec![Late { threshold_ns: 750_000, above: 100_000 }],
        ..point(0, 40e3, 900.0, 20_000.0)
    };
    let all = points(vec![
        class("few", LoadKind::Open, (0.0, 50.0), vec![point(0, 40e3, 60.0, 20_000.0)]),
        class("many", LoadKind::Open, (50.0, f64::INFINITY), vec![late]),
    ]);
    let mut tuner = Tuner::new(penalty(), all, Rules::default());
    let at = |now_ms, connections| {
        let prices = Prices { bandwidth: Some("0.09 $/GB".parse().unwrap()), ..Prices::NONE };
        Moment { connections, ..moment(now_ms, prices) }
    };
    let (mut stopped, mut looks) = (0, 0);
    for now_ms in (0..200_000).step_by(10) {
        if let Some(line) = tuner.decide(&at(now_ms, 100.0)).map(|said| said.line()) {
            looks += u32::from(line.starts_with("look again"));
        }
        stopped += u32::from(tuner.setting() == Setting::Nothing);
    }
    assert!(looks == 3 && stopped > 19_500, "{looks} {stopped}");
    for now_ms in (200_000..300_000).step_by(10) {
        let connections = if tuner.setting() == Setting::Nothing { 0.0 } else { 10.0 };
        tuner.decide(&at(now_ms, connections));
    }
    assert_eq!((tuner.setting(), tuner.class()), (setting(0), Some("few")));
}

#[test]
fn who_looks_again_serves_with_what_costs_least_under_the_load_that_was_seen_last() {
    // Under few the quick one pays. Under many all are late and every core is lost: 200 us lose a quarter of it.
    let late = |delay_us, core_ns| Point {
        late: vec![Late { threshold_ns: 750_000, above: 100_000 }],
        ..point(delay_us, 40e3, 900.0, core_ns)
    };
    let few = vec![point(0, 40e3, 60.0, 20_000.0), late(200, 5_000.0)];
    let many = vec![late(0, 20_000.0), late(200, 5_000.0)];
    let all = |limit_ns| {
        let rules = Rules { latency_max_ns: limit_ns, ..Rules::default() };
        let classes = vec![
            class("few", LoadKind::Open, (0.0, 50.0), few.clone()),
            class("many", LoadKind::Open, (50.0, f64::INFINITY), many.clone()),
        ];
        Tuner::new(penalty(), points(classes), rules)
    };
    let looked = |mut tuner: Tuner| {
        (0..100_000).step_by(10).find_map(|now_ms| {
            let busy = Moment { connections: 100.0, ..moment(now_ms, core("20 $/core/h")) };
            let said = tuner.decide(&busy)?;
            said.line().starts_with("look again").then_some(said.change).flatten()
        })
    };
    assert_eq!(looked(all(None)), Some(setting(200)));
    // Where no setting keeps the owner's limit under many, the one that keeps it under few is taken.
    assert_eq!(looked(all(Some(500_000))), Some(setting(0)));
}

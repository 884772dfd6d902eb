//! A rehearsal leaves no trace, whatever came before it.

use super::*;
use alloc::string::String;

/// Two load classes with a few settings each, of which some may not be measured yet.
fn drawn(random: &mut Random) -> Points {
    let all = |random: &mut Random| {
        (0..2 + random.below(4))
            .map(|place| {
                let delay_us = place * 100;
                if random.below(6) == 0 {
                    return Point::unmeasured(setting(delay_us));
                }
                let above = random.below(3_000);
                let core_ns = 2_000.0 + 20_000.0 * random.part();
                let point =
                    point(delay_us, 20e3 + 40e3 * random.part(), 50.0 + 500.0 * random.part(), core_ns);
                Point { late: vec![Late { threshold_ns: 750_000, above }], ..point }
            })
            .collect()
    };
    let few = all(random);
    let many = all(random);
    points(vec![
        class("few", LoadKind::Open, (0.0, 10.0), few),
        class("many", LoadKind::Open, (10.0, f64::INFINITY), many),
    ])
}

fn rules(random: &mut Random) -> Rules {
    let rules = Rules { may_stop: random.below(2) == 0, stop_max_ns: 5_000 * MS, ..Rules::default() };
    match random.below(5) {
        0 => rules.following(),
        1 | 2 => rules.online(),
        3 if random.below(3) == 0 => Rules { mode: Mode::Observe, ..rules },
        _ => rules,
    }
}

/// Random prices, loads, measurements and orders; what was decided.
struct History {
    random: Random,
    now_ns: u64,
    prices: Prices,
    arrival_per_s: f64,
    connections: f64,
}

impl History {
    fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            now_ns: 0,
            prices: core("0.04 $/core/h"),
            arrival_per_s: 20_000.0,
            connections: 5.0,
        }
    }

    fn step(&mut self, tuner: &mut Tuner) -> Option<Decision> {
        let random = &mut self.random;
        self.now_ns += (1 + random.below(400)) * MS;
        if random.below(8) == 0 {
            let atto = |random: &mut Random| i128::from(random.below(1 << 26) >> random.below(12));
            self.prices = Prices {
                core: Some(PerCoreNs(atto(random))),
                bandwidth: (random.below(4) > 0).then(|| PerByte(atto(random) << 5)),
                memory: None,
            };
        }
        if random.below(30) == 0 {
            self.connections = random.below(20) as f64;
        }
        self.arrival_per_s = (self.arrival_per_s * (0.9 + 0.2 * random.part())).clamp(2_000.0, 60e3);
        let measured = Measured {
            late: random.below(1_000),
            ..seen(50.0 + 600.0 * random.part(), 2_000 + random.below(20_000), 0)
        };
        match random.below(20) {
            0..4 => tuner.observe(self.now_ns, &measured),
            4 => {
                let rules = rules(random);
                tuner.set_rules(rules, self.now_ns)
            }
            5 => {
                tuner.force(setting(random.below(5) * 100), self.now_ns);
                None
            }
            _ => {
                // Now and then they have run out, or others are announced.
                let until = [0, self.now_ns, self.now_ns.saturating_sub(100_000 * MS)];
                let valid_until_ns = until[random.below(8).saturating_sub(5) as usize];
                let quoted = Some(Quoted { prices: self.prices, generation: 1, valid_until_ns });
                let announced = (random.below(6) == 0).then(|| Announced {
                    at_ns: self.now_ns + random.below(3_000) * MS,
                    prices: core("3 $/core/h"),
                });
                let (arrival_per_s, connections) = (self.arrival_per_s, self.connections);
                tuner.decide(&Moment { now_ns: self.now_ns, quoted, announced, arrival_per_s, connections })
            }
        }
    }
}

fn all_of(tuner: &Tuner) -> String {
    alloc::format!("{tuner:?}")
}

#[test]
fn it_changes_nothing_and_no_later_decision() {
    let (mut came, mut changes, mut tried) = (0, 0, 0);
    for seed in 1..=60 {
        let mut draw = Random(seed * 0x9e37_79b9);
        let (points, rules) = (drawn(&mut draw), rules(&mut draw));
        let mut plain = Tuner::new(penalty(), points, rules);
        let mut rehearsed = plain.clone();
        let (mut alone, mut history) = (History::new(seed), History::new(seed));
        for _ in 0..200 {
            for _ in 0..draw.below(3) {
                let before = all_of(&rehearsed);
                // The prices in force, and any others.
                let prices = if draw.below(4) == 0 { core("70 $/core/h") } else { history.prices };
                let valid_until_ns = if draw.below(4) == 0 { 1 } else { 0 };
                let quoted = Quoted { prices, generation: 1, valid_until_ns };
                let mut put = 0;
                let whole = rehearsed.rehearse(&quoted, draw.below(100), &mut |_| put += 1);
                assert_eq!(put, u32::from(whole));
                assert_eq!(all_of(&rehearsed), before, "seed {seed}");
                came += put;
            }
            let (one, other) = (alone.step(&mut plain), history.step(&mut rehearsed));
            assert_eq!(one, other, "seed {seed}");
            changes += u32::from(one.as_ref().is_some_and(|decision| decision.change.is_some()));
            tried += u32::from(one.is_some_and(|decision| decision.line().starts_with("try ")));
        }
        assert_eq!(all_of(&plain), all_of(&rehearsed), "seed {seed}");
    }
    assert!(came > 3_000 && changes > 600 && tried > 20, "{came} {changes} {tried}");
}

#[test]
fn it_comes_to_the_knob_from_a_setting_that_earns_less() {
    let mut tuner = Tuner::new(penalty(), quick_or_cheap(), Rules::default());
    let quoted = |price| Quoted { prices: core(price), generation: 1, valid_until_ns: 0 };
    // Nothing was decided yet: there is no load to rehearse under.
    assert!(!tuner.rehearse(&quoted("20 $/core/h"), 0, &mut |_| panic!("nothing is put")));
    tuner.decide(&moment(0, core("20 $/core/h")));
    tuner.decide(&moment(3_000, core("20 $/core/h")));
    tuner.decide(&moment(3_400, core("20 $/core/h")));
    assert_eq!(tuner.setting(), setting(200));
    let mut put = Vec::new();
    assert!(tuner.rehearse(&quoted("20 $/core/h"), 0, &mut |setting| put.push(setting)));
    assert_eq!(put, [setting(200)], "what is in force");
    // Whoever only watches, and whoever serves nothing, has nothing to be quick at.
    let rules = Rules { mode: Mode::Observe, ..Rules::default() };
    tuner.set_rules(rules, 3_500 * MS);
    assert!(!tuner.rehearse(&quoted("20 $/core/h"), 0, &mut |_| panic!("nothing is put")));
    tuner.set_rules(Rules::default(), 3_600 * MS);
    tuner.force(Setting::Nothing, 3_700 * MS);
    assert!(!tuner.rehearse(&quoted("20 $/core/h"), 0, &mut |_| panic!("nothing is put")));
}

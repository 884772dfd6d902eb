//! The tuner stays where it is unless something really changed.

use super::*;

/// Quick and cheap are about even at this price and 20,000 operations a second: quick costs an idle core more.
fn about_even() -> (Points, Prices) {
    let quick = Point { idle_cores: 1.0, ..point(0, 40e3, 60.0, 5_000.0) };
    let cheap = Point {
        late: vec![Late { threshold_ns: 750_000, above: 2_000 }],
        ..point(200, 40e3, 260.0, 5_000.0)
    };
    // A fifth of 14.4 $/h for being late, against 0.9 of a core.
    let points = points(vec![class("many", LoadKind::Open, (0.0, f64::INFINITY), vec![quick, cheap])]);
    (points, core("3.2 $/core/h"))
}

/// Changes in a minute of decisions every 20 ms while arrivals swing by this part.
fn changes(rules: Rules, swing: f64) -> u32 {
    let (all, price) = about_even();
    let mut tuner = Tuner::new(penalty(), all, rules);
    let mut random = Random(0x0bad_cafe_0bad_cafe);
    let mut changes = 0;
    for now_ms in (0..60_000).step_by(20) {
        let arrival_per_s = 20_000.0 * (1.0 - swing + 2.0 * swing * random.part());
        let now = Moment { arrival_per_s, ..moment(now_ms, price) };
        changes += u32::from(change(tuner.decide(&now)).is_some());
    }
    changes
}

#[test]
fn a_load_that_swings_about_the_even_point_moves_nothing() {
    let hasty = Rules { stay_min_ns: 0, better_for_ns: 0, arrivals_margin_percent: 0, ..Rules::default() };
    assert!(changes(hasty, 0.09) > 100, "the load does swing about it");
    assert!(changes(Rules::default(), 0.09) <= 1);
    // Wild swings are never on one side for long enough.
    assert!(changes(Rules::default(), 0.5) <= 1);
}

#[test]
fn a_load_that_has_changed_moves_it_once() {
    let (all, price) = about_even();
    let mut tuner = Tuner::new(penalty(), all, Rules::default());
    let mut moves = Vec::new();
    for now_ms in (0..20_000).step_by(20) {
        let arrival_per_s = if now_ms < 10_000 { 40_000.0 } else { 4_000.0 };
        let now = Moment { arrival_per_s, ..moment(now_ms, price) };
        if let Some(decision) = tuner.decide(&now) {
            moves.push((now_ms, decision.change));
            assert!(decision.line().contains(" by load: "), "{}", decision.line());
        }
    }
    assert_eq!(moves, [(10_300, Some(setting(200)))]);
}

#[test]
fn a_new_price_need_not_wait_for_the_stay_but_a_load_must() {
    let (all, _) = about_even();
    let mut tuner = Tuner::new(penalty(), all, Rules::default());
    assert_eq!(change(tuner.decide(&moment(0, core("10 $/core/h")))), Some(setting(200)));
    assert_eq!(change(tuner.decide(&moment(150, core("0.1 $/core/h")))), Some(setting(0)));
    // Now the load asks for the other one, at once and for good; the setting stays its two seconds all the same.
    let mut changed_ms = 0;
    for now_ms in 151..5_000 {
        let few = Moment { arrival_per_s: 100.0, ..moment(now_ms, core("0.1 $/core/h")) };
        if change(tuner.decide(&few)).is_some() {
            assert_eq!(changed_ms, 0, "once");
            changed_ms = now_ms;
        }
    }
    assert_eq!(changed_ms, 2_150);
}

/// A server that sees next to nothing of the latency, whatever the setting.
fn blind(core_ns: u64) -> Measured {
    seen(2.0, core_ns, 0)
}

#[test]
fn a_server_that_sees_no_latency_does_not_undo_what_pays_for_its_clients() {
    let mut tuner = Tuner::new(penalty(), quick_or_cheap(), Rules::default());
    let (low, high) = (core("0.04 $/core/h"), core("20 $/core/h"));
    tuner.decide(&moment(0, high));
    assert_eq!(tuner.setting(), setting(200));
    let mut lines = Vec::new();
    for turn in 2..6 {
        lines.extend(tuner.observe(turn * 1_000 * MS, &blind(5_000)));
    }
    // Quick uses more of the core, and by what this server sees both are equally quick.
    assert_eq!(change(tuner.decide(&moment(7_000, low))), Some(setting(0)));
    for turn in 9..20 {
        lines.extend(tuner.observe(turn * 1_000 * MS, &blind(60_000)));
    }
    assert_eq!(tuner.setting(), setting(0));
    let (first, second) = (&lines[0], &lines[1]);
    assert!(first.line().starts_with("class many, wait=halt batch=200us: the mean latency seen here is 2us"));
    assert!(second.line().contains("batch=0") && second.line().contains("60us"), "{}", second.line());
    assert!(
        lines.len() == 2 && lines.iter().all(|decision| decision.change.is_none()),
        "said once a setting"
    );
}

#[test]
fn a_change_is_not_judged_at_other_prices_than_its_own() {
    let mut tuner = Tuner::new(penalty(), quick_or_cheap(), Rules::default());
    let (low, dear, dearer) = (core("0.04 $/core/h"), core("20 $/core/h"), core("19 $/core/h"));
    tuner.decide(&moment(0, low));
    tuner.observe(1_000 * MS, &seen(60.0, 20_000, 0));
    assert_eq!(change(tuner.decide(&moment(2_000, dear))), Some(setting(200)));
    tuner.decide(&moment(2_500, dearer));
    for turn in 4..9 {
        assert_eq!(change(tuner.observe(turn * 1_000 * MS, &seen(900.0, 5_000, 20_000))), None);
    }
}

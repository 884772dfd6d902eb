//! Trying other settings: it finds the better one, within its budget, and goes back when something moves.

use super::*;
use alloc::string::String;

fn unmeasured(delays_us: &[u64]) -> Points {
    let all = delays_us.iter().map(|delay_us| Point::unmeasured(setting(*delay_us))).collect();
    points(vec![class("many", LoadKind::Open, (0.0, f64::INFINITY), all)])
}

/// Holding costs latency and saves core time: 100 us take 6 us of core time less, up to 300 us.
fn shown(setting: Setting) -> Measured {
    let delay_us = match setting {
        Setting::Serve { batching: Batching::Hold { delay_ns }, .. } => delay_ns / 1_000,
        _ => 0,
    };
    seen(60.0 + delay_us as f64, 20_000 - 60 * delay_us.min(300), 20 * (delay_us / 100))
}

/// Serves for so many seconds; what was said, and how long each setting was in force.
fn serve(tuner: &mut Tuner, from_s: u64, seconds: u64, price: &str) -> (Vec<String>, Vec<(Setting, u64)>) {
    let (mut said, mut held): (Vec<String>, Vec<(Setting, u64)>) = (Vec::new(), Vec::new());
    for second in from_s..from_s + seconds {
        for look in 0..4 {
            said.extend(
                tuner.decide(&moment(second * 1_000 + look * 250, core(price))).map(|said| said.line()),
            );
        }
        let window = shown(tuner.setting());
        said.extend(tuner.observe((second * 1_000 + 999) * MS, &window).map(|said| said.line()));
        match held.iter_mut().find(|(held, _)| *held == tuner.setting()) {
            Some((_, count)) => *count += 1,
            None => held.push((tuner.setting(), 1)),
        }
    }
    (said, held)
}

#[test]
fn from_nothing_it_finds_what_earns_most_within_its_budget() {
    let rules = Rules::default().online();
    let mut tuner = Tuner::new(penalty(), unmeasured(&[0, 100, 200, 300, 400]), rules);
    let (said, _) = serve(&mut tuner, 1, 600, "20 $/core/h");
    assert_eq!(tuner.setting(), setting(300), "{said:#?}");
    assert!(said.iter().any(|line| line.starts_with("try wait=halt batch=0 -> wait=halt batch=100us")));
    assert!(said.iter().any(|line| line.starts_with("tried ") && line.contains(" $ are left for trying")));
    let (lost, _) = tuner.explored();
    // 14.4 $/h are earned.
    assert!(lost <= 0.01 * 14.4 / 6.0, "{lost}");
    // Once all is known there is little to try.
    let (said, held) = serve(&mut tuner, 601, 60, "20 $/core/h");
    assert!(held.iter().any(|(held, count)| *held == setting(300) && *count >= 50), "{held:?} {said:#?}");
}

#[test]
fn a_class_with_fewer_settings_is_weighed_from_its_own_place() {
    // Nothing pays, so that it is asked whether something better is to be found.
    let few = vec![point(400, 20e3, 60.0, 90_000.0), Point::unmeasured(setting(0))];
    let many: Vec<Point> = (0..5).map(|step| point(step * 100, 20e3, 60.0, 90_000.0)).collect();
    let (edge, endless) = (10.0, f64::INFINITY);
    let all = points(vec![
        class("few", LoadKind::Open, (0.0, edge), few),
        class("many", LoadKind::Open, (edge, endless), many),
    ]);
    let rules = Rules { start: setting(400), may_stop: false, ..Rules::default().online() };
    let mut tuner = Tuner::new(penalty(), all, rules);
    let prices = core("900 $/core/h");
    for step in 0..100 {
        let connections = if step / 10 % 2 == 0 { 20.0 } else { 5.0 };
        tuner.decide(&Moment { connections, ..moment(step * 300, prices) });
        tuner.observe((step * 300 + 200) * MS, &seen(60.0, 90_000, 0));
    }
}

#[test]
fn without_a_budget_and_while_observing_nothing_is_tried() {
    for rules in [
        Rules { learn: true, ..Rules::default() },
        Rules { mode: Mode::Observe, ..Rules::default().online() },
    ] {
        let mut tuner = Tuner::new(penalty(), unmeasured(&[0, 100]), rules);
        let (said, _) = serve(&mut tuner, 1, 100, "20 $/core/h");
        assert_eq!(tuner.setting(), setting(0), "{said:?}");
        assert!(said.is_empty(), "{said:?}");
    }
}

#[test]
fn a_limit_of_latency_is_not_tried_out() {
    let rules = Rules { latency_max_ns: Some(250_000), ..Rules::default().online() };
    let mut tuner = Tuner::new(penalty(), unmeasured(&[0, 100, 200, 300, 400]), rules);
    let (_, held) = serve(&mut tuner, 1, 600, "20 $/core/h");
    assert!(held.iter().all(|(held, _)| *held != setting(300) && *held != setting(400)), "{held:?}");
}

#[test]
fn what_is_tried_ends_when_prices_move() {
    let mut tuner = Tuner::new(penalty(), unmeasured(&[0, 100]), Rules::default().online());
    let mut second = 1;
    while tuner.setting() == setting(0) && second < 300 {
        serve(&mut tuner, second, 1, "20 $/core/h");
        second += 1;
    }
    assert_eq!(tuner.setting(), setting(100));
    let ended = tuner.decide(&moment(second * 1_000, core("0.04 $/core/h"))).unwrap();
    assert_eq!(ended.change, Some(setting(0)));
    assert!(ended.line().starts_with("end trying"), "{}", ended.line());
}

#[test]
fn what_is_tried_is_looked_at_for_long_enough_that_something_is_seen() {
    const WINDOW_NS: u64 = 5_000 * MS;
    let mut tuner = Tuner::new(penalty(), unmeasured(&[0, 100]), Rules::default().online());
    let few = |now_ms: u64| Moment { arrival_per_s: 300.0, ..moment(now_ms, core("20 $/core/h")) };
    let shown = |window_ns: u64| {
        let operations = 300 * window_ns / (1_000 * MS);
        Measured {
            window_ns,
            operations,
            arrived: operations,
            measured: operations,
            core_ns: 20_000 * operations,
            ..seen(60.0, 0, 0)
        }
    };
    let (mut now_ms, mut since_ms, mut tried) = (1_000, 1_000, 0);
    while now_ms < 600_000 {
        now_ms += 250;
        let mut said = tuner.decide(&few(now_ms));
        let window_ns = tuner.window_ns(WINDOW_NS);
        if said.is_none() && (now_ms - since_ms) * MS >= window_ns + 200 * MS {
            said = tuner.observe(now_ms * MS, &shown(window_ns));
            since_ms = now_ms;
        }
        let Some(said) = said else { continue };
        if said.change.is_some() {
            since_ms = now_ms;
        }
        tried += u32::from(said.line().starts_with("tried "));
    }
    assert!(tried >= 1, "a trial begins and ends");
}

/// Nearly the whole core is busy, and what is seen of the first two settings says that users pay for none: only by twice the
/// doubt may the third one be quick enough, and it is.
#[test]
fn it_does_not_stop_while_what_may_pay_is_untried() {
    let shown = |setting: Setting| match setting {
        Setting::Serve { batching: Batching::Hold { delay_ns: 200_000 }, .. } => seen(450.0, 42_000, 20),
        Setting::Serve { batching: Batching::Hold { .. }, .. } => seen(800.0, 46_500, 3_000),
        _ => seen(3_000.0, 48_000, 15_000),
    };
    let mut tuner = Tuner::new(penalty(), unmeasured(&[0, 100, 200]), Rules::default().online());
    let mut said = Vec::new();
    for second in 1..60 {
        let mut all = vec![tuner.decide(&moment(second * 1_000, core("1 $/core/h")))];
        all.push(tuner.observe((second * 1_000 + 999) * MS, &shown(tuner.setting())));
        said.extend(all.into_iter().flatten().map(|said| said.line()));
    }
    assert_eq!(tuner.setting(), setting(200), "{said:#?}");
    assert!(!said.iter().any(|line| line.contains("-> nothing")), "{said:#?}");
}

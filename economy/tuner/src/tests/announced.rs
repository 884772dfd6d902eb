//! A price that is known ahead: nothing is begun that it would undo, and it is followed at once.

use super::*;

fn coming(now_ms: u64, prices: Prices, at_ms: u64, next: Prices) -> Moment {
    Moment { announced: Some(Announced { at_ns: at_ms * MS, prices: next }), ..moment(now_ms, prices) }
}

#[test]
fn what_would_be_undone_at_once_is_not_done() {
    let (low, high) = (core("0.04 $/core/h"), core("20 $/core/h"));
    // Without an announcement the new price is followed.
    let mut tuner = Tuner::new(penalty(), quick_or_cheap(), Rules::default());
    assert_eq!(change(tuner.decide(&moment(0, high))), Some(setting(200)));
    // With one for the next millisecond the change would not pay for itself.
    let mut tuner = Tuner::new(penalty(), quick_or_cheap(), Rules::default());
    assert_eq!(change(tuner.decide(&coming(0, high, 1, low))), None);
    // One in an hour leaves time enough.
    assert_eq!(change(tuner.decide(&coming(1, high, 3_600_000, low))), None);
    assert_eq!(change(tuner.decide(&coming(301, high, 3_600_000, low))), Some(setting(200)));
}

#[test]
fn an_announced_price_is_followed_at_its_instant_and_named() {
    let (low, high) = (core("0.04 $/core/h"), core("20 $/core/h"));
    let mut tuner = Tuner::new(penalty(), quick_or_cheap(), Rules::default());
    assert_eq!(change(tuner.decide(&coming(0, high, 150, low))), Some(setting(200)));
    for now_ms in (10..150).step_by(10) {
        assert_eq!(tuner.decide(&coming(now_ms, high, 150, low)), None);
    }
    let decision = tuner.decide(&moment(150, low)).unwrap();
    assert_eq!(decision.change, Some(setting(0)));
    assert!(decision.line().contains(" by announced price: "), "{}", decision.line());
    // One that did not come is not waited for.
    assert_eq!(change(tuner.decide(&coming(300, high, 299, low))), Some(setting(200)));
}

#[test]
fn nothing_is_tried_when_prices_will_move_in_the_midst_of_it() {
    let price = core("20 $/core/h");
    let settings = [0, 100].map(|delay_us| Point::unmeasured(setting(delay_us)));
    let load = class("many", LoadKind::Open, (0.0, f64::INFINITY), settings.to_vec());
    let mut tuner = Tuner::new(penalty(), points(vec![load]), Rules::default().online());
    // Each price is announced two seconds ahead of its coming, again and again.
    for second in 1..60u64 {
        tuner.decide(&coming(second * 1_000, price, second * 1_000 + 2_000, core("1 $/core/h")));
        tuner.observe((second * 1_000 + 999) * MS, &seen(60.0, 20_000, 0));
        assert_eq!(tuner.setting(), setting(0));
    }
    let mut tried = false;
    for second in 60..120u64 {
        tried |=
            tuner.decide(&moment(second * 1_000, price)).is_some_and(|said| said.line().starts_with("try "));
        tuner.observe((second * 1_000 + 999) * MS, &seen(60.0, 20_000, 0));
    }
    assert!(tried, "without an announcement it is");
}

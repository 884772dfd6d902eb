//! A server that has lost sight of its latency is not believed more than its profile.

use super::*;

/// What the server saw was noted when both were profiled.
fn noted() -> Points {
    let mut all = quick_or_cheap();
    for point in &mut all.classes[0].points {
        point.server_ns = point.mean_ns;
    }
    all
}

/// The mean latencies that are believed after so many windows in which the server says this.
fn believed(mean_us: f64) -> f64 {
    let mut tuner = Tuner::new(penalty(), noted(), Rules::default().following());
    for second in 1..60 {
        tuner.decide(&moment(second * 1_000, core("0.04 $/core/h")));
        tuner.observe((second * 1_000 + 999) * MS, &seen(mean_us, 20_000, 0));
    }
    tuner.points().classes[0].points[0].mean_ns
}

#[test]
fn a_tenth_of_the_latency_is_not_learnt() {
    // The profile says 60 us.
    assert!((believed(6.0) - 60_000.0).abs() < 3_000.0, "{}", believed(6.0));
    // A little less, or much more, is.
    assert!((believed(45.0) - 45_000.0).abs() < 1_000.0, "{}", believed(45.0));
    assert!((believed(150.0) - 150_000.0).abs() < 3_000.0, "{}", believed(150.0));
}

#[test]
fn what_the_profile_says_is_hidden_from_the_server_is_added() {
    let mut all = noted();
    all.classes[0].points[0].server_ns = 20_000.0;
    let mut tuner = Tuner::new(penalty(), all, Rules::default().following());
    for second in 1..60 {
        tuner.decide(&moment(second * 1_000, core("0.04 $/core/h")));
        tuner.observe((second * 1_000 + 999) * MS, &seen(30.0, 20_000, 0));
    }
    let mean_ns = tuner.points().classes[0].points[0].mean_ns;
    assert!((mean_ns - 70_000.0).abs() < 1_500.0, "{mean_ns}");
}

/// Settings that nobody profiled, of which the server sees this part, and what is believed of 200 us after a minute.
fn unprofiled(part: f64, counted_us: f64, more: impl Fn(&mut Tuner)) -> (f64, Vec<Decision>) {
    let points = [0, 200].map(|delay_us| Point::unmeasured(setting(delay_us)));
    let all = points_of(points.to_vec());
    let rules = Rules { start: setting(200), ..Rules::default().following() };
    let mut tuner = Tuner::new(penalty(), all, rules);
    let mut said = Vec::new();
    for second in 1..60 {
        said.extend(tuner.decide(&moment(second * 1_000, core("0.04 $/core/h"))));
        let window = Measured { counted_ns: counted_us * 1_000.0, ..seen(260.0 * part, 20_000, 0) };
        said.extend(tuner.observe((second * 1_000 + 999) * MS, &window));
    }
    more(&mut tuner);
    (tuner.points().classes[0].points[1].mean_ns, said)
}

fn points_of(all: Vec<Point>) -> Points {
    points(vec![class("many", LoadKind::Open, (0.0, f64::INFINITY), all)])
}

#[test]
fn without_a_profile_the_number_that_waits_says_what_a_server_does_not_see() {
    // Nothing is counted: whatever the server says is learnt.
    let (believed_ns, said) = unprofiled(0.1, 0.0, |_| {});
    assert!((believed_ns - 26_000.0).abs() < 1_000.0 && said.is_empty(), "{believed_ns} {said:?}");
    // 180 us were counted, where 26 us were seen: said once.
    let (believed_ns, said) = unprofiled(0.1, 180.0, |_| {});
    assert!((believed_ns - 180_000.0).abs() < 5_000.0, "{believed_ns}");
    assert!(said.len() == 1 && said[0].line().contains("6.9 times what is seen counts"), "{said:?}");
    // An honest server counts less than it sees, and nothing changes.
    let (believed_ns, said) = unprofiled(1.0, 180.0, |_| {});
    assert!((believed_ns - 260_000.0).abs() < 5_000.0 && said.is_empty(), "{believed_ns} {said:?}");
}

#[test]
fn a_server_that_sees_again_is_believed_again() {
    let (believed_ns, _) = unprofiled(0.1, 180.0, |tuner| {
        for second in 60..180 {
            tuner.decide(&moment(second * 1_000, core("0.04 $/core/h")));
            let window = Measured { counted_ns: 180_000.0, ..seen(260.0, 20_000, 0) };
            tuner.observe((second * 1_000 + 999) * MS, &window);
        }
    });
    // What was learnt before is not forgotten at once.
    assert!((200_000.0..280_000.0).contains(&believed_ns), "{believed_ns}");
}

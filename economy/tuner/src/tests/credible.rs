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

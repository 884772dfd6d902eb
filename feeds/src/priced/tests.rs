//! priced against services that are right, slow, wrong and hostile, in virtual time.

use super::*;
use crate::board::from_board;
use crate::http::Url;
use crate::json::tests::Random;
use crate::metadata::Answer;
use crate::quote::Limits;
use alloc::format;
use alloc::vec;
use nom_money::PerByte;

const S: u64 = 1_000 * MS;
const UNIX: u64 = 1_700_000_000 * S;

fn priced() -> Priced {
    Priced::new(Settings::new(Url::parse("http://10.0.2.2:8080/prices").unwrap()), 42, 0)
}

fn answer(generation: u64, bandwidth: &str, valid_s: u64) -> String {
    let prices = Prices { bandwidth: Some(bandwidth.parse().unwrap()), ..Prices::NONE };
    let body =
        Answer { generation, provider_unix_ns: UNIX + generation, prices, next: None, valid_s }.to_json();
    http(&body)
}

fn http(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn all(priced: &mut Priced, now_ns: u64) -> Vec<Action> {
    core::iter::from_fn(|| priced.poll(now_ns)).collect()
}

/// Connects and takes the question.
fn asked(priced: &mut Priced, now_ns: u64) -> String {
    let url = Url::parse("http://10.0.2.2:8080/prices").unwrap();
    assert_eq!(all(priced, now_ns), [Action::Connect(url)]);
    priced.connected(now_ns);
    question(priced, now_ns)
}

fn question(priced: &mut Priced, now_ns: u64) -> String {
    match &all(priced, now_ns)[..] {
        [Action::Send(bytes)] => String::from_utf8(bytes.clone()).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn published(actions: &[Action]) -> Vec<(Option<PerByte>, u64)> {
    let bandwidth = |prices: &board::Prices| from_board(prices);
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Publish(prices) => Some(bandwidth(prices)),
            _ => None,
        })
        .map(|(prices, until_ns)| (prices.bandwidth, until_ns))
        .collect()
}

#[test]
fn prices_are_asked_published_and_waited_for() {
    let mut priced = priced();
    assert!(asked(&mut priced, 0).starts_with("GET /prices HTTP/1.1"));
    priced.received(2 * MS, UNIX, answer(7, "1 $/Gbit", 60).as_bytes());
    assert_eq!(published(&all(&mut priced, 2 * MS)), [(Some(PerByte(8_000_000_000)), 60 * S + 2 * MS)]);
    // Not sooner than allowed, and then a question that the service may hold.
    assert_eq!(priced.deadline_ns(), 50 * MS);
    assert_eq!(all(&mut priced, 49 * MS), []);
    assert!(question(&mut priced, 50 * MS).starts_with("GET /prices?generation=7 "));
    // The change comes in two pieces, and is published at once.
    let change = answer(8, "10 $/Gbit", 60);
    priced.received(20 * S, UNIX, &change.as_bytes()[..30]);
    assert_eq!(all(&mut priced, 20 * S), []);
    priced.received(20 * S, UNIX, &change.as_bytes()[30..]);
    let actions = all(&mut priced, 20 * S);
    assert_eq!(published(&actions), [(Some(PerByte(80_000_000_000)), 80 * S)]);
    assert!(matches!(actions[1], Action::Send(_)), "the next question follows at once: {actions:?}");
    assert_eq!(priced.counts(), Counts { asked: 3, published: 2, ..Counts::default() });
}

#[test]
fn a_connection_that_is_not_agreed_on_in_time_is_given_up_and_tried_again() {
    let url = Url::parse("https://prices.example/now").unwrap();
    let mut priced = Priced::new(Settings::new(url.clone()), 42, 0);
    assert_eq!(all(&mut priced, 0), [Action::Connect(url.clone())]);
    assert_eq!((all(&mut priced, 10 * S - 1), priced.deadline_ns()), (vec![], 10 * S));
    let actions = all(&mut priced, 10 * S);
    assert!(
        matches!(&actions[..], [Action::Disconnect, Action::Report(text)] if text.contains("takes too long"))
    );
    let again_ns = priced.deadline_ns();
    assert!((10 * S + 50 * MS..=10 * S + 100 * MS).contains(&again_ns));
    assert_eq!(all(&mut priced, again_ns), [Action::Connect(url.clone())]);
    // The reason is said, once.
    for turn in 0..3 {
        priced.failed(again_ns, "it is for another name");
        let reports: Vec<Action> = all(&mut priced, again_ns)
            .into_iter()
            .filter(|action| matches!(action, Action::Report(_)))
            .collect();
        assert_eq!(reports.len(), usize::from(turn == 0), "{reports:?}");
        let now_ns = priced.deadline_ns();
        assert_eq!(all(&mut priced, now_ns), [Action::Connect(url.clone())]);
    }
    assert_eq!(priced.counts(), Counts { failed: 4, ..Counts::default() });
}

#[test]
fn nobody_is_sent_elsewhere() {
    let mut priced = priced();
    asked(&mut priced, 0);
    let moved = "HTTP/1.1 302 Found\r\nLocation: http://10.0.0.66/\r\nContent-Length: 0\r\n\r\n";
    priced.received(0, UNIX, moved.as_bytes());
    let actions = all(&mut priced, 0);
    assert!(
        matches!(&actions[1], Action::Report(text) if text.contains("302: nobody is sent elsewhere")),
        "{actions:?}"
    );
    let again_ns = priced.deadline_ns();
    assert_eq!(asked(&mut priced, again_ns).split(' ').nth(1), Some("/prices"));
}

#[test]
fn short_lived_prices_are_asked_for_in_time() {
    let mut priced = priced();
    asked(&mut priced, 0);
    priced.received(0, UNIX, answer(7, "1 $/Gbit", 2).as_bytes());
    all(&mut priced, 0);
    assert_eq!(priced.deadline_ns(), 500 * MS);
    assert!(question(&mut priced, 500 * MS).starts_with("GET /prices HTTP"));
}

#[test]
fn bad_prices_never_reach_the_board_and_are_reported_once() {
    let good =
        "{\"generation\":9,\"provider_unix_ns\":0,\"prices\":{\"bandwidth\":\"1 $/Gbit\"},\"valid_s\":60}";
    for (from, to, why) in [
        ("1 $/Gbit", "-1 $/Gbit", "negative"),
        ("1 $/Gbit", "1000000 $/Gbit", "above any believable"),
        ("1 $/Gbit", "1 €/Gbit", "the unit is not known"),
        ("1 $/Gbit", "0.0001 $/Gbit", "jumped"),
        ("bandwidth", "disk", "no resource that we know"),
        ("\"valid_s\":60", "\"valid_s\":0", "valid for no time"),
        ("\"provider_unix_ns\":0", "\"provider_unix_ns\":1600000000000000000", "old"),
        ("\"provider_unix_ns\":0", "\"provider_unix_ns\":1800000000000000000", "ahead"),
        ("}", "", "no JSON"),
    ] {
        let mut priced = priced();
        asked(&mut priced, 0);
        priced.received(0, UNIX, answer(7, "1 $/Gbit", 60).as_bytes());
        all(&mut priced, 0);
        question(&mut priced, 50 * MS);
        priced.received(S, UNIX + S, http(&good.replacen(from, to, 1)).as_bytes());
        let actions = all(&mut priced, S);
        assert_eq!(published(&actions), []);
        let [Action::Report(report)] = &actions[..] else { panic!("{to}: {actions:?}") };
        assert!(report.contains(why) || why == "old" && report.contains(" ago"), "{to}: {report}");
        assert_eq!(priced.published().map(|(_, generation)| generation), Some(7));
        // The same again is not said again, and a good one ends it.
        let due = priced.deadline_ns();
        question(&mut priced, due);
        priced.received(due, UNIX + S, http(&good.replacen(from, to, 1)).as_bytes());
        assert_eq!(all(&mut priced, due), []);
        let due = priced.deadline_ns();
        question(&mut priced, due);
        priced.received(due, UNIX + S, answer(11, "2 $/Gbit", 60).as_bytes());
        assert_eq!(published(&all(&mut priced, due)).len(), 1);
    }
}

#[test]
fn a_clock_that_was_wrong_does_not_shut_out_the_right_one_for_ever() {
    let mut priced = priced();
    asked(&mut priced, 0);
    // Our own clock is not known, so a provider that is far ahead is believed.
    let ahead = answer(7, "1 $/Gbit", 60).replace("170000", "180000");
    priced.received(0, 0, ahead.as_bytes());
    assert_eq!(published(&all(&mut priced, 0)).len(), 1);
    let (mut now_ns, mut refused) = (0, 0);
    while published(&{
        now_ns = priced.deadline_ns().max(now_ns);
        question(&mut priced, now_ns);
        priced.received(now_ns, 0, answer(8, "1 $/Gbit", 60).as_bytes());
        all(&mut priced, now_ns)
    })
    .is_empty()
    {
        refused += 1;
    }
    assert!(refused > 0 && now_ns > 60 * S && now_ns < 120 * S, "{refused} {now_ns}");
}

#[test]
fn failures_are_answered_by_longer_and_longer_pauses() {
    let mut priced = priced();
    let (mut now_ns, mut pauses, mut reports) = (0, vec![], 0);
    for turn in 0..20 {
        let actions = all(&mut priced, now_ns);
        assert!(matches!(actions[..], [Action::Connect(..)]), "{actions:?}");
        let failed_ns = match turn % 2 {
            0 => {
                priced.closed(now_ns);
                now_ns
            }
            _ => {
                // Silence: nothing comes of the connection.
                let late = priced.deadline_ns();
                assert_eq!(late, now_ns + 10 * S);
                late
            }
        };
        for action in all(&mut priced, failed_ns) {
            match action {
                Action::Disconnect => {}
                Action::Report(_) => reports += 1,
                other => panic!("{other:?}"),
            }
        }
        pauses.push(priced.deadline_ns() - failed_ns);
        now_ns = priced.deadline_ns();
    }
    for (turn, pause) in pauses.iter().enumerate() {
        let full = ((100 * MS) << turn.min(20)).min(30 * S);
        assert!((full / 2..=full).contains(pause), "{turn}: {pause}");
    }
    assert_eq!(reports, 20, "each kind follows the other, so each is said");
    assert_eq!(priced.counts().failed, 20);
    // Two machines with other entropy do not ask in step.
    let pause = |entropy| {
        let mut priced =
            Priced::new(super::Settings::new(Url::parse("http://10.0.2.2/").unwrap()), entropy, 0);
        all(&mut priced, 0);
        priced.closed(0);
        all(&mut priced, 0);
        priced.deadline_ns()
    };
    assert_ne!(pause(1), pause(12_345));
}

#[test]
fn who_speaks_between_two_questions_is_not_listened_to() {
    let mut priced = priced();
    asked(&mut priced, 0);
    priced.received(MS, UNIX, answer(7, "1 $/Gbit", 60).as_bytes());
    assert_eq!(published(&all(&mut priced, MS)).len(), 1);
    // The connection is open and nothing was asked: whatever comes now is no answer.
    priced.received(2 * MS, UNIX, b"");
    assert_eq!(priced.counts().failed, 0);
    priced.received(2 * MS, UNIX, answer(8, "2 $/Gbit", 60).as_bytes());
    let actions = all(&mut priced, 2 * MS);
    assert!(actions.contains(&Action::Disconnect), "{actions:?}");
    assert_eq!((published(&actions).len(), priced.counts().failed), (0, 1));
}

#[test]
fn what_a_hostile_service_may_do() {
    let mut random = Random(31);
    let good = answer(7, "1 $/Gbit", 60);
    let mut seen = 0;
    let (_, body) = good.split_once("\r\n\r\n").unwrap();
    for turn in 0..30_000 {
        let mut priced = priced();
        asked(&mut priced, 0);
        // Half of them change only the body, so that it gets as far as being read.
        let text =
            if turn % 2 == 0 { random.mutate(&good) } else { random.mutate(body).map(|body| http(&body)) };
        let Some(text) = text else { continue };
        priced.received(1, UNIX, text.as_bytes());
        let mut actions = all(&mut priced, 1);
        // More than was asked for, at a time when nothing was asked for.
        priced.received(2, UNIX, b"HTTP/1.1 200 OK\r\n");
        actions.extend(all(&mut priced, 2));
        for (bandwidth, until_ns) in published(&actions) {
            seen += 1;
            assert!(bandwidth.is_some_and(|rate| rate.0 >= 0 && rate <= Limits::default().bandwidth_max));
            assert!(until_ns <= Limits::default().valid_max_ns + 2);
        }
        assert!(actions.len() <= 6, "{actions:?}");
        assert!(priced.deadline_ns() > 0);
    }
    assert!(seen > 250, "{seen}");
    let mut priced = priced();
    asked(&mut priced, 0);
    priced.received(1, UNIX, format!("{good}x").as_bytes());
    assert_eq!(published(&all(&mut priced, 1)), []);
    // A home that never polls keeps a bounded list.
    for turn in 0..1_000 {
        priced.connected(turn);
        priced.closed(turn);
        priced.received(turn, 0, b"x");
    }
    assert!(all(&mut priced, 0).len() <= ACTIONS_MAX);
}

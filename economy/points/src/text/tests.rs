//! What is read and written back, and what is refused, with the line and the words.

use super::*;
use alloc::format;

const GOOD: &str = "\
# measured by hand
nom-points 2
application kv
noise throughput=0.02 bytes=0.002 cores=0.1 memory=0.02 latency=0.2
capacity_per_s 40000
class single open utilisation 0..0.3 connections 1..4
point wait=halt batch=0 : throughput_per_s=18000 useful_bytes=100 wire_bytes=166.5 core_ns=9000 idle_cores=0.01 memory_bytes=16777216 mean_ns=63000 jitter_ns=13000 p99_ns=90000 samples=10000 late=750us:12,1ms:3
point wait=poll batch=14us : throughput_per_s=20000 useful_bytes=100 wire_bytes=166 core_ns=8000 idle_cores=1 memory_bytes=16777216 mean_ns=50000 jitter_ns=3000 p99_ns=0 samples=0
class many closed utilisation 0.3.. connections 4.. measured 0.5
point wait=halt batch=queued : throughput_per_s=4e4 useful_bytes=100 wire_bytes=120 core_ns=9000 idle_cores=0 memory_bytes=0 mean_ns=399000 server_ns=201000 jitter_ns=121000 p99_ns=800000 samples=10
";

#[test]
fn points_are_read_and_written_back() {
    let points = Points::parse(GOOD).unwrap();
    assert_eq!(points.classes.len(), 2);
    assert_eq!(points.classes[0].points[0].late_above(750_000), (12, 10_000));
    assert_eq!(points.classes[0].points[0].late_above(900_000), (12, 10_000));
    assert_eq!(points.classes[0].points[0].late_above(700_000), (10_000, 10_000));
    assert_eq!(points.classes[1].points[0].throughput_per_s, 40_000.0);
    assert_eq!((points.classes[0].measured, points.classes[0].measured()), (None, 0.15));
    assert_eq!((points.classes[1].measured(), points.classes[1].points[0].server_ns), (0.5, 201_000.0));
    let text = points.to_string();
    assert_eq!(Points::parse(&text), Ok(points), "{text}");
}

#[test]
fn a_setting_may_be_named_before_it_was_measured() {
    let text = GOOD.to_string() + "point wait=halt batch=3us : unmeasured\n";
    let points = Points::parse(&text).unwrap();
    assert!(points.classes[1].points[1].is_unmeasured() && !points.classes[1].points[0].is_unmeasured());
    assert_eq!(Points::parse(&points.to_string()), Ok(points));
}

#[test]
fn the_first_version_had_one_noise_for_all() {
    let old = GOOD.replacen("nom-points 2", "nom-points 1", 1).replacen(
        "throughput=0.02 bytes=0.002 cores=0.1 memory=0.02 latency=0.2",
        "0.07",
        1,
    );
    let points = Points::parse(&old).unwrap();
    assert_eq!(points.noise, Noise::same(0.07));
    assert_eq!(Points::parse(&points.to_string()), Ok(points));
    assert_eq!(Points::parse(&old.replacen("0.07", "2", 1)).unwrap_err().line, 4);
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let cases = [
        ("nom-points 2", "nom-points 3", 2),
        ("nom-points 2", "nom-points 1", 4),
        ("application kv", "application k v", 3),
        ("latency=0.2", "latency=2", 4),
        ("latency=0.2", "bytes=0.2", 4),
        (" latency=0.2", "", 4),
        ("latency=0.2", "jitter=0.2", 4),
        ("capacity_per_s 40000", "capacity_per_s 0", 5),
        ("0..0.3 connections", "0.3..0.3 connections", 6),
        ("connections 4..", "connections 3..", 0),
        ("0.3.. connections 4..", "0.2.. connections 3..", 9),
        ("batch=0", "batch=nothing", 7),
        ("idle_cores=0.01", "idle_cores=2", 7),
        ("core_ns=9000 idle_cores=0.01", "idle_cores=0.01", 7),
        ("mean_ns=63000", "mean_ns=-1", 7),
        ("mean_ns=63000", "mean_ns=NaN", 7),
        ("mean_ns=63000", "mean_ns=inf", 7),
        ("mean_ns=63000", "mean=63000", 7),
        ("mean_ns=63000", "mean_ns=1 mean_ns=1", 7),
        ("750us:12", "750us:2", 7),
        ("750us:12", "750:12", 7),
        ("wait=poll batch=14us", "wait=halt batch=0", 8),
        ("wait=poll batch=14us", "nothing", 8),
        ("class many closed", "class many", 9),
        ("measured 0.5", "measured", 9),
        ("measured 0.5", "measured half", 9),
        ("measured 0.5", "measured 0.5 again", 9),
        ("server_ns=201000", "server_ns=x", 10),
        ("server_ns=201000", "server_ns=1 server_ns=1", 10),
    ];
    for (from, to, line) in cases {
        // Line 0 stands for text that is still good.
        let wrong = Points::parse(&GOOD.replacen(from, to, 1)).err();
        assert_eq!(wrong.as_ref().map_or(0, |error| error.line), line, "{to}: {wrong:?}");
    }
    assert_eq!(Points::parse("").unwrap_err().line, 1);
    assert_eq!(Points::parse("nom-points 2\n").unwrap_err().line, 2);
}

/// Each refusal by its words: a case that another check refuses as well would hide that one is gone.
#[test]
fn every_refusal_says_what_is_wrong() {
    let late = |pairs: &str| format!("late={pairs}");
    let nine: String = (1..=9).map(|step| format!("{step}ms:1,")).collect();
    let (long, longest) = ("k".repeat(41), "k".repeat(40));
    let cases = [
        (2, "nom-points 2", "nom-pints 2", "expected 'nom-points 2'"),
        (2, "nom-points 2", "nom-points 3", "this version of points is not known"),
        (3, "application kv", "application", "expected 'application NAME'"),
        (3, "application kv", &format!("application {long}"), "expected a name of at most 40"),
        (3, "application kv", "application k.v", "expected a name of at most 40"),
        (4, "throughput=0.02", "speed=0.02", "noise: expected throughput, bytes"),
        (4, "latency=0.2", "latency=0.2 latency=0.2", "noise: latency stands twice"),
        (4, " latency=0.2", "", "noise: latency is missing"),
        (4, "latency=0.2", "latency=1", "noise is a part of a figure"),
        (5, "capacity_per_s 40000", "capacity_per_s 0.9", "expected at least 1 operation"),
        (5, "capacity_per_s 40000", "capacity_per_s 1e16", "is no figure"),
        (5, "capacity_per_s 40000", "capacity_per_s +40000", "is no figure"),
        (5, "capacity_per_s 40000", "capacity_per_s 4E4", "is no figure"),
        (6, "class single", "class s!ngle", "expected a name of at most 40"),
        (6, "class single open", "class single ajar", "expected open or closed"),
        (6, "class single open", "class single", "expected 'class NAME open|closed"),
        (6, "0..0.3 connections", "0 connections", "expected a range such as"),
        (6, "0..0.3 connections", "0.3..0.2 connections", "a range must rise"),
        (6, "connections 1..4", "connections 4..4", "a range must rise"),
        (6, "class single", "point wait=halt", "expected 'point SETTING : FIGURES'"),
        (6, "class single", "glass single", "expected 'class ...' or 'point ...'"),
        (7, "wait=halt batch=0 :", "wait=nap batch=0 :", "an unknown way to wait"),
        (7, "wait=halt batch=0 :", "nothing :", "'nothing' is always a point"),
        (7, "core_ns=9000", "core_ns", "expected FIGURE=NUMBER"),
        (7, "core_ns=9000", "core_s=9000", "'core_s' is not known"),
        (7, "core_ns=9000", "core_ns=9000 core_ns=9000", "core_ns stands twice"),
        (7, "samples=10000", "samples=10000 samples=10000", "samples stands twice"),
        (7, "samples=10000", "samples=1e4", "samples: expected a whole number"),
        (7, "samples=10000", "", "samples is missing"),
        (7, "samples=10000", "samples=11", "more late operations than samples"),
        (7, "core_ns=9000 ", "", "core_ns is missing"),
        (7, "p99_ns=90000 ", "", "p99_ns is missing"),
        (7, "idle_cores=0.01", "idle_cores=1.1", "idle_cores is a share"),
        (7, "late=750us:12", "late=1us:12 late=750us:12", "late stands twice"),
        (7, "late=750us:12", "late=750us", "expected THRESHOLD:COUNT"),
        (7, "late=750us:12", "late=750:12", "late: "),
        (7, "late=750us:12", "late=750us:x", "late: expected a whole number"),
        (7, "late=750us:12", "late=1ms:12", "thresholds must rise and counts must not"),
        (7, "late=750us:12", "late=2ms:12", "thresholds must rise and counts must not"),
        (7, "late=750us:12", "late=750us:2", "thresholds must rise and counts must not"),
        (7, "late=750us:12,1ms:3", &late(nine.trim_end_matches(',')), "late: more than 8 thresholds"),
        (8, "wait=poll batch=14us", "wait=halt batch=0", "this setting stands twice in its class"),
        (9, "class many", "class single", "class single overlaps class single"),
        (9, "0.3.. connections 4..", "0.2.. connections 3..", "class many overlaps class single"),
        (10, "server_ns=201000", "server_ns=1 server_ns=1", "server_ns stands twice"),
        (11, "point wait=halt batch=queued", "# point", "class many has no points"),
    ];
    for (line, from, to, why) in cases {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let wrong = Points::parse(&text).expect_err(to);
        assert!(wrong.line == line && wrong.message.contains(why), "{to}: {wrong}");
    }
    // What lies just within the bounds is good.
    let eight = late(nine.trim_end_matches(',').rsplit_once(',').unwrap().0);
    for (from, to) in [
        ("application kv", format!("application {longest}").as_str()),
        ("capacity_per_s 40000", "capacity_per_s 1"),
        ("capacity_per_s 40000", "capacity_per_s 1e15"),
        ("samples=10000", "samples=12"),
        ("idle_cores=0.01", "idle_cores=1"),
        ("late=750us:12,1ms:3", &eight),
        ("0.3.. connections 4..", "0.2.. connections 4.."),
    ] {
        let read = Points::parse(&GOOD.replacen(from, to, 1));
        assert!(read.is_ok(), "{to}: {read:?}");
    }
}

#[test]
fn a_file_has_its_bounds() {
    let refused = |text: &str| {
        let wrong = Points::parse(text).unwrap_err();
        (wrong.line, wrong.message)
    };
    // Comments count as well: nobody reads them to find out that they are some.
    let room = BYTES_MAX - GOOD.len() - 1;
    assert!(Points::parse(&format!("{GOOD}#{}", "x".repeat(room))).is_ok());
    let long = format!("{GOOD}#{}", "x".repeat(room + 1));
    assert_eq!(refused(&long), (1, "the file is larger than 256 KiB".into()));

    let header: String = GOOD.lines().take(5).map(|line| format!("{line}\n")).collect();
    assert_eq!(refused(&header), (6, "no class".into()));
    let class = |number: usize| {
        format!("class c{number} open utilisation 0.. connections {number}..{}\n", number + 1)
    };
    let point = |number: usize| format!("point wait=halt batch={}ns : unmeasured\n", number + 1);
    assert_eq!(refused(&(header.clone() + &point(0))), (6, "a point before any class".into()));
    let classes =
        |count: usize| (0..count).fold(header.clone(), |text, place| text + &class(place) + &point(0));
    assert_eq!(Points::parse(&classes(CLASSES_MAX)).unwrap().classes.len(), CLASSES_MAX);
    assert_eq!(refused(&classes(CLASSES_MAX + 1)), (6 + 2 * CLASSES_MAX, "more than 64 classes".into()));
    let points =
        |count: usize| (0..count).fold(header.clone() + &class(0), |text, place| text + &point(place));
    assert_eq!(Points::parse(&points(POINTS_MAX)).unwrap().classes[0].points.len(), POINTS_MAX);
    assert_eq!(refused(&points(POINTS_MAX + 1)), (7 + POINTS_MAX, "more than 256 points in a class".into()));
}

#[test]
fn mutated_text_never_breaks_the_reader() {
    let mut state = 0x1234_5678_9abc_def1u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut read = 0;
    for _ in 0..20_000 {
        let mut bytes = GOOD.as_bytes().to_vec();
        for _ in 0..=random() % 3 {
            let place = (random() as usize) % bytes.len();
            match random() % 3 {
                0 => bytes[place] = (random() % 128) as u8,
                1 => drop(bytes.remove(place)),
                _ => bytes.insert(place, b"0123456789.=:, \n-e"[(random() % 18) as usize]),
            }
        }
        let Ok(text) = core::str::from_utf8(&bytes) else { continue };
        if let Ok(points) = Points::parse(text) {
            read += 1;
            assert_eq!(Points::parse(&points.to_string()), Ok(points));
        }
    }
    assert!(read > 1000, "{read}");
}

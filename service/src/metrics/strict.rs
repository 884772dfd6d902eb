//! The page against a reader that allows what the standard allows and nothing else: families in one piece, known kinds,
//! suffixes by kind, units in names, labels escaped, buckets that rise, `# EOF` as the last line.

use super::*;
use alloc::string::ToString;
use alloc::vec::Vec;
use std::collections::{BTreeMap, BTreeSet};

type Samples = BTreeMap<String, f64>;

/// Reads a page, or says what is wrong with it.
fn read(page: &str) -> Result<Samples, String> {
    let body = page.strip_suffix("# EOF\n").ok_or("it does not end with # EOF")?;
    let (mut samples, mut seen) = (Samples::new(), BTreeSet::new());
    let (mut family, mut kind) = (String::new(), String::new());
    let mut last_bucket = (f64::NEG_INFINITY, 0.0);
    for line in body.lines() {
        let wrong = |what: &str| Err(format!("{what}: {line}"));
        if let Some(rest) = line.strip_prefix("# ") {
            let words: Vec<&str> = rest.splitn(3, ' ').collect();
            match words[..] {
                ["TYPE", name, new @ ("counter" | "gauge" | "histogram" | "info")] => {
                    if !seen.insert(name.to_string()) {
                        return wrong("a family stands twice");
                    }
                    (family, kind) = (name.into(), new.into());
                    last_bucket = (f64::NEG_INFINITY, 0.0);
                }
                ["UNIT", name, unit] if name == family && name.ends_with(&format!("_{unit}")) => {}
                ["HELP", name, help] if name == family && !help.is_empty() => {}
                _ => return wrong("no line of a family"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').ok_or(line)?;
        let name = series.split('{').next().unwrap_or_default();
        if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
            return wrong("no name");
        }
        let suffixes: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_count", "_sum"],
            _ => &["_info"],
        };
        if !suffixes.iter().any(|suffix| format!("{family}{suffix}") == name) {
            return wrong("it is not of the family above");
        }
        let labels = labels(&series[name.len()..]).ok_or(format!("labels: {line}"))?;
        let number: f64 = value.parse().map_err(|_| format!("no number: {line}"))?;
        if kind == "counter" && number < 0.0 || kind == "info" && number != 1.0 {
            return wrong("a number that cannot be");
        }
        if let (true, Some(end)) = (name.ends_with("_bucket"), labels.get("le")) {
            let end = if end == "+Inf" { f64::INFINITY } else { end.parse().map_err(|_| line)? };
            if end <= last_bucket.0 || number < last_bucket.1 {
                return wrong("buckets do not rise");
            }
            last_bucket = (end, number);
        }
        if name.ends_with("_count") && (last_bucket.0 != f64::INFINITY || number != last_bucket.1) {
            return wrong("the count is not that of the last bucket");
        }
        if samples.insert(series.into(), number).is_some() {
            return wrong("a series stands twice");
        }
    }
    Ok(samples)
}

/// `{name="text",...}` or nothing.
fn labels(text: &str) -> Option<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let Some(mut rest) = text.strip_prefix('{') else { return text.is_empty().then_some(found) };
    loop {
        let (name, behind) = rest.split_once("=\"")?;
        let (mut value, mut letters) = (String::new(), behind.char_indices());
        let end = loop {
            match letters.next()? {
                (at, '"') => break at,
                (_, '\\') => value.push(match letters.next()?.1 {
                    'n' => '\n',
                    letter @ ('\\' | '"') => letter,
                    _ => return None,
                }),
                (_, letter) => value.push(letter),
            }
        };
        found.insert(name.to_string(), value).is_none().then_some(())?;
        rest = &behind[end + 1..];
        match rest {
            "}" => return Some(found),
            _ => rest = rest.strip_prefix(',')?,
        }
    }
}

fn who() -> Who {
    Who { application: "k\"v\\\n".into(), version: "0.1.0".into(), home: "linux".into() }
}

#[test]
fn the_page_is_what_the_standard_wants() {
    let stats = Stats {
        accepted: u64::MAX,
        refused: 3,
        latency_sum_ns: 1_500_000_000,
        latency_counts: Words::new((1..=24).collect::<Vec<u64>>()),
        core_ns: 1,
        price_core: "0.04 $/core/h".into(),
        price_bandwidth: "-0.09 $/GB".into(),
        setting: "wait=halt batch=0".into(),
        profit_picodollars: -1,
        revenue_picodollars: i128::from(u64::MAX),
        serving: 1,
        ..Stats::default()
    };
    let samples = read(&page(&who(), &stats)).unwrap();
    let told =
        |series: &str| *samples.get(series).unwrap_or_else(|| panic!("{series} is missing: {samples:?}"));
    assert_eq!(told("nom_operations_total{outcome=\"refused\"}"), 3.0);
    assert_eq!(told("nom_latency_seconds_sum"), 1.5);
    assert_eq!(told("nom_latency_seconds_bucket{le=\"0.000004096\"}"), 1.0);
    assert_eq!(told("nom_latency_seconds_bucket{le=\"0.000008192\"}"), 3.0);
    assert_eq!(told("nom_latency_seconds_count"), 276.0);
    assert_eq!(told("nom_core_seconds_total"), 1e-9);
    assert_eq!(told("nom_profit_dollars"), -1e-12);
    let core = told("nom_price_dollars{resource=\"core\",unit=\"core hour\"}");
    assert!((core - 0.04).abs() < 1e-6, "{core}");
    assert!(told("nom_price_dollars{resource=\"bandwidth\",unit=\"GB\"}") < 0.0);
    assert_eq!(told("nom_ready"), 1.0);
    assert!(samples.contains_key("nom_info{application=\"k\\\"v\\\\\\n\",version=\"0.1.0\",home=\"linux\"}"));
    // Nothing is known: still a page.
    assert!(read(&page(&Who::default(), &Stats::default())).is_ok());
}

#[test]
fn the_reader_refuses_what_is_no_page() {
    let good = page(&who(), &Stats::default());
    for (from, to) in [
        ("# EOF\n", ""),
        ("# TYPE nom_sleeps counter", "# TYPE nom_sleeps number"),
        ("nom_sleeps_total 0", "nom_sleeps 0"),
        ("nom_sleeps_total 0", "nom_sleeps_total -1"),
        ("nom_sleeps_total 0", "nom_sleeps_total none"),
        ("nom_sleeps_total 0", "nom_sleeps_total 0\nnom_sleeps_total 0"),
        ("le=\"+Inf\"} 0", "le=\"+Inf\"} 1"),
        ("# UNIT nom_core_seconds seconds", "# UNIT nom_core_seconds hours"),
        ("outcome=\"refused\"", "outcome=\"refused"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        assert!(read(&bad).is_err(), "{to}");
    }
}

#[test]
fn latencies_fall_into_their_bucket_and_none_is_lost() {
    let meter = Meter::new();
    let counts = latency_counts(&meter);
    assert!(counts.is_empty());
    // Each of the meter's buckets lies within one of ours.
    for bucket in 1..meter.histogram().len() {
        let (begin, end) = (Meter::bucket_end_ns(bucket - 1), Meter::bucket_end_ns(bucket));
        assert!(begin >= end.next_power_of_two() / 2, "{begin} to {end}");
    }
}

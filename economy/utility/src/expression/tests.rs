//! What people may write, what they may not, and whether the counter-examples are ones.

use super::*;
use alloc::format;
use alloc::string::ToString;

fn at(quantities: &[(Quantity, f64)]) -> Conditions {
    quantities
        .iter()
        .fold(Conditions::default(), |conditions, (quantity, value)| conditions.with(*quantity, *value))
}

#[test]
fn revenues_mean_what_they_say() {
    let penalty = Expression::parse("0.2 $/Mop * (1 - min(1, 100 * late))").unwrap();
    assert_eq!(penalty.form(), Form::Unit(Basis::Operation));
    let conditions = at(&[(Quantity::Operations, 1e6), (Quantity::Late, 0.004)]);
    assert!((penalty.revenue(&conditions) - 0.12).abs() < 1e-12);
    let refund = Expression::parse("bytes * max(0, 20 $/Gbit - 10 $/(Gbit s) * mean)").unwrap();
    assert_eq!(refund.form(), Form::Rate);
    let conditions = at(&[(Quantity::Bytes, 125e6), (Quantity::Mean, 0.5)]);
    assert!((refund.revenue(&conditions) - 15.0).abs() < 1e-9);
    let steps = Expression::parse("if(p99 <= 750 us, 20 $/Gbit, if(p999 < 2 ms, 5 $/Gbit, 0))").unwrap();
    assert_eq!(steps.value(&at(&[(Quantity::P99, 750e-6)])), 20.0 / 125e6);
    assert_eq!(steps.value(&at(&[(Quantity::P99, 751e-6), (Quantity::P999, 1e-3)])), 5.0 / 125e6);
    let other_way = Expression::parse("if(mean > 1 ms, 0, 3 $/h)").unwrap();
    assert_eq!(
        (other_way.value(&at(&[(Quantity::Mean, 1e-3)])) * 3600.0, other_way.form()),
        (3.0, Form::Rate)
    );
    let edge = Expression::parse("if(mean >= 1 ms, 0, 3 $/h)").unwrap();
    assert_eq!(edge.value(&at(&[(Quantity::Mean, 1e-3)])), 0.0);
    for text in [
        "0.2 $/Mop",
        "operations * 0.2 $/Mop + bytes * 0.01 $/GB",
        "min(operations, 40 kop/s) * 0.2 $/Mop",
        "0.2 $/Mop * (1 - 2 * max(0, late - 5 %) / 2)",
        "0.2 $/Mop / (1 + jitter / 100 us) / (1 + mean / 1 ms)",
        "-(-1) * 2 $/s - 1 $/s * late",
        "max(0, 1 - mean / 2 ms - jitter / 3 ms) * 20 $/Gbit",
    ] {
        if let Err(error) = Expression::parse(text) {
            panic!("{text}: {error}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_named_with_its_place() {
    for (text, at, part) in [
        ("", 0, "expected"),
        ("0.2", 3, "plain number"),
        ("0", 1, "nothing"),
        ("0.2 $/Mop +", 11, "expected"),
        ("0.2 $/Mop + 1 s", 15, "do not go together"),
        ("0.2 $/Mop * mean", 16, "$ s/op"),
        ("0.2 $/Mop * latency", 12, "'latency' is not known"),
        ("0.2 $/Mop * (1 - late", 21, "')'"),
        ("0.2 $/Mop * min(1)", 17, "','"),
        ("if(mean, 1 $/s, 0)", 7, "comparison"),
        ("0.2. $/Mop", 0, "no number"),
        ("1.2.3 $/Mop", 0, "no number"),
        ("1 $/Mop / 0", 11, "divides by nothing"),
        ("0.2 $/Mops", 6, "expected"),
        ("0.2 € * late", 4, "operator"),
        ("2 $/s 3", 6, "operator"),
    ] {
        match Expression::parse(text) {
            Err(ExpressionError::Text { at: place, message }) => {
                assert!(place == at && message.contains(part), "{text}: {place}: {message}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    let deep = format!("{}1 $/s{}", "(".repeat(400), ")".repeat(100));
    let long = format!("1 $/s{}", " + 1 $/s".repeat(60));
    let wide = format!("{}1 $/s{}", "min(1 $/s, ".repeat(14), ")".repeat(14));
    for text in [deep, long, wide, "1 $/s".repeat(200)] {
        assert!(matches!(Expression::parse(&text), Err(ExpressionError::Text { .. })));
    }
}

#[test]
fn what_breaks_the_axiom_is_refused_with_a_counter_example_that_is_one() {
    for text in [
        "0.2 $/Mop * late",
        "mean * 3 $/(op s)",
        "0.2 $/Mop - 0.2 $/Mop * 2 * late",
        "1 $/s - operations * 0.2 $/Mop",
        "if(mean <= 1 ms, 1 $/s, if(mean <= 1.001 ms, 2 $/s, 0))",
        "if(late <= 0.1 %, 1 $/s, if(late <= 0.11 %, 2 $/s, 0))",
        "if(operations > 40 kop/s, 1 $/s, 2 $/s)",
        "0.2 $/Mop * (1 - jitter / 1 ms) * (1 - jitter / 1 ms)",
        "max(0, 1 - mean / 1 ms) * 1 $/s + max(0, p99 / 1 s - 1) * 1 $/h",
        "operations * 0.2 $/Mop * (20 kop/s - operations) / 1 kop/s",
        "1 $/s / (1 - late)",
        "1 $/s * min(2, p90 / p50)",
        // Windows whose ends stand nowhere in the text.
        "0.2 $/Mop * if(mean + 1 ms <= 3 ms, 1, if(mean + 1 ms <= 3.00001 ms, 2, 0))",
        "0.2 $/Mop * if(mean * 7 <= 13 ms, 1, if(mean * 7 <= 13.0000001 ms, 2, 0))",
        "0.2 $/Mop * (1 + if(late + 10 % >= 30.00001 %, if(late + 10 % <= 30.00002 %, 1, 0), 0))",
        "if(min(mean * 3, 1 ms + jitter) <= 0.7 ms, 1 $/s, if(mean * 3 <= 0.70001 ms, 2 $/s, 0))",
    ] {
        let Err(ExpressionError::Axiom(example)) = Expression::parse(text) else { panic!("{text}") };
        let (program, form) = parse::parse(text).unwrap();
        let broken = Expression { program, form };
        let (much, little) = (broken.revenue(&example.better.0), broken.revenue(&example.worse.0));
        if little.is_finite() {
            assert!(little > much, "{text}: {example}");
            let (better, worse) =
                (example.better.0.get(example.quantity), example.worse.0.get(example.quantity));
            assert_eq!(worse > better, !example.quantity.is_throughput(), "{text}");
        }
        assert!(example.to_string().contains(example.quantity.name()), "{example}");
    }
}

#[test]
fn noise_never_breaks_the_reader_or_the_search() {
    let good = "if(p99 <= 750 us, 20 $/Gbit, 5 $/Gbit) * (1 - min(1, 100 * late)) - 1 $/Gbit * jitter / 1 s";
    let mut random = 0x1234_5678_9abc_def1u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize
    };
    let mut read = 0;
    for _ in 0..20_000 {
        let mut bytes = good.as_bytes().to_vec();
        for _ in 0..=next() % 3 {
            let place = next() % bytes.len();
            match next() % 3 {
                0 => bytes[place] = b"0123456789.+-*/(),<=>$% abmnopst"[next() % 32],
                1 => drop(bytes.remove(place)),
                _ => bytes.insert(place, b"0123456789.+-*/(),<=>$% abmnopst"[next() % 32]),
            }
        }
        let text = alloc::string::String::from_utf8(bytes).unwrap();
        // The search costs more than reading, so only some of them are searched.
        let Ok((program, form)) = parse::parse(&text) else { continue };
        read += 1;
        if read % 50 == 0 {
            let _ = axiom::check(&Expression { program, form }).map_err(|example| example.to_string());
        }
    }
    assert!(read > 500, "{read}");
}

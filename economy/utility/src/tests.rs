//! The contracts against the paper's equations, the axiom, and the two mixtures that a normal tail gets wrong.

use crate::{
    Basis, Contract, Flow, Kind, LimitKind, Profit, Promise, Served, TailRule, Terms, TermsError, tail,
};
use alloc::string::ToString;
use alloc::vec::Vec;
use nom_money::{
    BonusPerByte, Exact, Nano, PerByte, PerByteSecond, PerCoreNs, PerOperation, Prices, RefundPerByte,
};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// From nothing to a lot, on all scales.
    fn scale(&mut self, decades: i32) -> f64 {
        let mut value = self.part();
        for _ in 0..self.next() % decades as u64 {
            value *= 10.0;
        }
        value
    }
}

fn text<R: core::str::FromStr<Err = nom_money::TextError>>(text: &str) -> R {
    text.parse().unwrap()
}

fn near(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs())), "{a} is not {b}");
}

/// The paper's section 6.4: alpha 20 $/Gbit, X 100, L0 750 us, beta 10 $/(Gbit s), gamma 0.01 $ s/Gbit, no delta.
fn paper(tail: TailRule) -> [Contract; 4] {
    let alpha: PerByte = text("20 $/Gbit");
    let limit_ns = 750_000;
    [
        Contract::per_byte(alpha, LimitKind::Simple { limit_ns }),
        Contract::per_byte(alpha, LimitKind::Penalty { limit_ns, factor: text("100"), tail }),
        Contract::refund_per_byte(alpha, text::<RefundPerByte>("10 $/(Gbit s)")),
        Contract::bonus_per_byte(alpha, text::<BonusPerByte>("0.01 $ s/Gbit"), None),
    ]
}

#[test]
fn the_papers_mode_gives_the_papers_equations() {
    let mut random = Random(0x5eed);
    let [simple, penalty, refund, bonus] = paper(TailRule::Normal);
    for _ in 0..10_000 {
        let t = random.scale(4);
        let (l_us, sigma_us) = (1.0 + 1000.0 * random.part(), 300.0 * random.part());
        let p = (random.next() % 40) as f64;
        let prices = Prices { bandwidth: Some(PerByte(p as i128 * 8_000_000_000)), ..Prices::NONE };
        let flow = Flow::paper(t * 125e6, l_us * 1000.0, sigma_us * 1000.0);
        let profit = |contract: &Contract| contract.evaluate(&flow, &prices).total();
        let l_s = l_us * 1e-6;
        let n = tail::normal_above(750.0, l_us, sigma_us);
        near(profit(&simple), if l_us <= 750.0 && p < 20.0 { t * (20.0 - p) } else { 0.0 });
        near(profit(&penalty), t * (20.0 * (1.0 - (100.0 * n).min(1.0)) - p));
        near(profit(&refund), t * ((20.0 - 10.0 * l_s).max(0.0) - p));
        near(profit(&bonus), t * (20.0 + 0.01 / l_s - p));
    }
}

#[test]
fn the_papers_table_gives_the_papers_story() {
    // Memcached, table 1, in us: mean and jitter for many and for a single client; 10 $/Gbit while single.
    let dear = Prices { bandwidth: Some(text("10 $/Gbit")), ..Prices::NONE };
    let normal = paper(TailRule::Normal)[1];
    let single = |mean_us: f64, jitter_us: f64| {
        normal.evaluate(&Flow::paper(125e6, mean_us * 1e3, jitter_us * 1e3), &dear).total()
    };
    near(single(63.0, 13.0), 10.0);
    near(single(82.0, 14.0), 10.0);
    // OSv: 88 us in the mean but 7,638 us of jitter. By the normal tail nearly half of its requests are late, so it
    // loses what it pays; that is all there is behind "does not profit at all".
    near(single(88.0, 7_638.0), -10.0);
    // Beta as it is printed takes a fifth of a thousandth of alpha at Linux's 402 us, so refund is T * (alpha - P).
    let refund = paper(TailRule::Normal)[2];
    let profit = refund.evaluate(&Flow::paper(125e6, 402e3, 499e3), &dear).total();
    assert!((profit - 10.0).abs() < 0.005 && profit < 10.0, "{profit}");
}

/// So many operations at each latency, in us.
fn mixture(parts: &[(u64, f64)]) -> (Flow, Served) {
    let n: u64 = parts.iter().map(|(count, _)| count).sum();
    let share = |f: &dyn Fn(f64) -> f64| {
        parts.iter().map(|(count, us)| *count as f64 * f(*us)).sum::<f64>() / n as f64
    };
    let mean = share(&|us| us);
    let jitter = libm::sqrt(share(&|us| (us - mean) * (us - mean)));
    let late: u64 = parts.iter().filter(|(_, us)| *us > 750.0).map(|(count, _)| count).sum();
    let flow = Flow { late: late as f64 / n as f64, ..Flow::paper(125e6, mean * 1e3, jitter * 1e3) };
    let sum = parts.iter().map(|(count, us)| u128::from(*count) * (*us * 1e3) as u128).sum();
    let served = Served {
        accepted: n,
        useful_bytes: 125_000_000,
        measured: n,
        late,
        latency_sum_ns: sum,
        ..Served::default()
    };
    (flow, served)
}

fn quality(contract: &Contract, flow: &Flow) -> f64 {
    contract.evaluate(flow, &Prices::NONE).revenue / 20.0
}

#[test]
fn the_normal_tail_does_not_see_a_late_crowd() {
    let (flow, served) = mixture(&[(98_000, 100.0), (2_000, 800.0)]);
    let [_, normal, ..] = paper(TailRule::Normal);
    let [_, counted, ..] = paper(TailRule::Counted);
    // Two of a hundred are late: a hundredfold credit for them is twice what users paid, so nothing is earned. The
    // normal tail says that a latency of 750 us is 6.5 sigma away and pays in full.
    assert!(quality(&normal, &flow) > 0.999_999);
    near(quality(&counted, &flow), 0.0);
    assert_eq!(counted.revenue(&served), Some(Exact(0)));
    // With a credit of ten times the fee a fifth is lost.
    let ten = LimitKind::Penalty { limit_ns: 750_000, factor: text("10"), tail: TailRule::Counted };
    let ten = Contract::per_byte(text("20 $/Gbit"), ten);
    near(quality(&ten, &flow), 0.8);
    assert_eq!(ten.revenue(&served).map(Exact::round).map(|pico| pico.to_string()), Some("16 $".into()));
}

#[test]
fn the_normal_tail_takes_a_few_very_late_ones_for_total_failure() {
    let (flow, served) = mixture(&[(99_500, 100.0), (500, 5_000.0)]);
    let [_, normal, ..] = paper(TailRule::Normal);
    let [_, counted, ..] = paper(TailRule::Counted);
    // Half a percent is late, whatever by: half of the revenue. The variance of those few makes 3.5% late of a normal
    // distribution, and nothing is left.
    near(quality(&normal, &flow), 0.0);
    near(quality(&counted, &flow), 0.5);
    assert_eq!(counted.revenue(&served).map(Exact::round).map(|pico| pico.to_string()), Some("10 $".into()));
    let fraction = tail::counted(500, 100_000);
    assert!(fraction.low > 0.0045 && fraction.high < 0.0055);
}

fn any_contract(random: &mut Random) -> Contract {
    let alpha = random.scale(14) as i128;
    let limit_ns = 1 + random.next() % 1_000_000;
    let factor = Nano(random.next() % 200_000_000_000);
    let tail = if random.next().is_multiple_of(2) { TailRule::Counted } else { TailRule::Normal };
    let kind = match random.next() % 4 {
        0 => Kind::Simple { limit_ns },
        1 => Kind::Penalty { limit_ns, factor, tail },
        2 => Kind::Refund { beta_atto: random.scale(18) as i128 },
        _ => Kind::Bonus {
            gamma_atto: random.scale(12) as i128,
            delta_atto: random.next().is_multiple_of(2).then(|| random.scale(14) as i128),
        },
    };
    let basis = if random.next().is_multiple_of(2) { Basis::Operation } else { Basis::UsefulByte };
    Contract { basis, alpha_atto: alpha, kind, own: None }
}

#[test]
fn the_axiom_holds_at_fixed_quantities() {
    let mut random = Random(0xa1103);
    for _ in 0..100_000 {
        let contract = any_contract(&mut random);
        let flow = Flow {
            operations_per_s: random.scale(7),
            useful_bytes_per_s: random.scale(10),
            wire_bytes_per_s: random.scale(10),
            cores: random.part(),
            memory_bytes: random.scale(10),
            latency_mean_ns: random.scale(7),
            latency_jitter_ns: random.scale(7),
            late: random.part() * random.part(),
        };
        let prices = Prices {
            bandwidth: Some(PerByte(random.scale(9) as i128)),
            core: Some(PerCoreNs(random.scale(6) as i128)),
            memory: Some(PerByteSecond(random.scale(4) as i128)),
        };
        let value = |flow: &Flow, prices: &Prices| contract.evaluate(flow, prices).total();
        let base = value(&flow, &prices);
        let slack = 1e-12 * (1.0 + base.abs());
        let worse = |flow: &Flow, prices: &Prices| {
            assert!(value(flow, prices) <= base + slack, "{contract:?} {flow:?}")
        };
        let more = 1.0 + random.part();
        let faster = Flow {
            operations_per_s: flow.operations_per_s * more,
            useful_bytes_per_s: flow.useful_bytes_per_s * more,
            ..flow
        };
        assert!(value(&faster, &prices) >= base - slack, "{contract:?} {flow:?}");
        worse(&Flow { latency_mean_ns: flow.latency_mean_ns * more, ..flow }, &prices);
        worse(&Flow { late: (flow.late * more).min(1.0), ..flow }, &prices);
        let dearer = Prices { bandwidth: prices.bandwidth.map(|rate| PerByte(rate.0 * 2 + 1)), ..prices };
        worse(&flow, &dearer);
        let dearer = Prices { core: prices.core.map(|rate| PerCoreNs(rate.0 * 2 + 1)), ..prices };
        worse(&flow, &dearer);
        let dearer = Prices { memory: prices.memory.map(|rate| PerByteSecond(rate.0 * 2 + 1)), ..prices };
        worse(&flow, &dearer);
        // The exemption: above the limit more jitter brings some of the normal distribution below it.
        let exempt = matches!(contract.kind, Kind::Penalty { limit_ns, tail: TailRule::Normal, .. }
            if flow.latency_mean_ns > limit_ns as f64);
        if !exempt {
            worse(&Flow { latency_jitter_ns: flow.latency_jitter_ns * more, ..flow }, &prices);
        }
    }
}

#[test]
fn settlement_is_what_the_rate_says_but_exact() {
    let mut random = Random(0x5e771e);
    for _ in 0..20_000 {
        let mut contract = any_contract(&mut random);
        if let Kind::Penalty { limit_ns, factor, .. } = contract.kind {
            contract.kind = Kind::Penalty { limit_ns, factor, tail: TailRule::Counted };
        }
        let measured = 1 + random.next() % 1_000_000;
        let late = random.next() % (measured + 1);
        let sum = u128::from(random.next() % 1_000_000) * u128::from(measured)
            + u128::from(random.next() % measured);
        let served = Served {
            accepted: measured + random.next() % 10,
            useful_bytes: random.next() % 1_000_000_000,
            measured,
            late,
            latency_sum_ns: sum,
            ..Served::default()
        };
        let flow = Flow {
            operations_per_s: served.accepted as f64,
            useful_bytes_per_s: served.useful_bytes as f64,
            latency_mean_ns: sum as f64 / measured as f64,
            late: late as f64 / measured as f64,
            ..Flow::default()
        };
        let Profit { revenue, .. } = contract.evaluate(&flow, &Prices::NONE);
        let exact = contract.revenue(&served).unwrap().0 as f64 / 1e27;
        // The simple contract's mean may fall on the limit, where floating point cannot decide.
        let edge = matches!(contract.kind, Kind::Simple { .. });
        let close = (exact - revenue).abs() <= 1e-9 * revenue.abs().max(1e-18 * served.useful_bytes as f64);
        assert!(edge || close, "{contract:?} {served:?} {exact} {revenue}");
        assert!(exact >= 0.0);
    }
}

#[test]
fn settlement_of_known_cases_is_to_the_last_digit() {
    let served = Served {
        accepted: 3,
        useful_bytes: 300,
        measured: 3,
        late: 1,
        latency_sum_ns: 3_000_000,
        ..Served::default()
    };
    let alpha = PerOperation(1_000_000_007);
    let penalty = LimitKind::Penalty { limit_ns: 1, factor: text("1"), tail: TailRule::Counted };
    // A third is late: 10^18 + 7 * 10^9 less a third of that, rounded once, three times.
    let expected = 3 * (1_000_000_007_000_000_000 - 333_333_335_666_666_667);
    assert_eq!(Contract::per_operation(alpha, penalty).revenue(&served), Some(Exact(expected)));
    // 10^9 attodollars a second of latency at a mean of 1 ms: 10^6 attodollars an operation.
    let refund = Contract::refund_per_operation(alpha, nom_money::RefundPerOperation(1_000_000_000));
    assert_eq!(refund.earned_per_unit(&served), Some(Exact((1_000_000_007 - 1_000_000) * 1_000_000_000)));
    let gone = Contract::refund_per_operation(alpha, nom_money::RefundPerOperation(i128::MAX));
    assert_eq!(gone.revenue(&served), Some(Exact(0)));
    // Gamma of 10^6 over 1 ms is 10^9.
    let gamma = nom_money::BonusPerOperation(1_000_000);
    let bonus = |delta| Contract::bonus_per_operation(alpha, gamma, delta).earned_per_unit(&served);
    assert_eq!(bonus(None), Some(Exact(2_000_000_007 * 1_000_000_000)));
    assert_eq!(bonus(Some(PerOperation(1))), Some(Exact(1_000_000_008 * 1_000_000_000)));
    // In a window where nothing was measured alpha is paid, and no bonus.
    let unknown = Served { measured: 0, late: 0, latency_sum_ns: 0, ..served };
    for contract in
        [Contract::per_operation(alpha, penalty), refund, Contract::bonus_per_operation(alpha, gamma, None)]
    {
        assert_eq!(contract.earned_per_unit(&unknown), Some(Exact(1_000_000_007 * 1_000_000_000)));
    }
}

#[test]
fn a_latency_at_its_limit_is_paid_and_more_late_ones_than_measured_are_not_believed() {
    let alpha: PerByte = text("20 $/Gbit");
    let simple = Contract::per_byte(alpha, LimitKind::Simple { limit_ns: 750_000 });
    let served =
        |latency_sum_ns| Served { useful_bytes: 1, measured: 2, latency_sum_ns, ..Served::default() };
    let whole = simple.earned_per_unit(&served(1_500_000)).unwrap();
    assert!(whole.0 > 0);
    assert_eq!(simple.earned_per_unit(&served(1_500_001)), Some(Exact(0)));
    let kind = LimitKind::Penalty { limit_ns: 750_000, factor: text("0.5"), tail: TailRule::Counted };
    let penalty = Contract::per_byte(alpha, kind);
    for late in [2, 3, u64::MAX] {
        let earned = penalty.earned_per_unit(&Served { late, ..served(0) }).unwrap();
        assert_eq!(earned.0, whole.0 / 2, "{late} of two were late");
    }
}

#[test]
fn terms_are_read_and_mixed_or_useless_ones_refused() {
    let penalty = Terms {
        utility: Some("penalty"),
        value: Some("0.2 $/Mop"),
        latency_limit: Some("750 us"),
        penalty_factor: Some("100"),
        ..Terms::default()
    };
    let contract = penalty.contract().unwrap();
    assert_eq!(contract.to_string(), "penalty: 0.2 $/Mop less 100 times the fraction above 750us");
    assert_eq!((contract.basis(), contract.limit_ns()), (Basis::Operation, Some(750_000)));
    let bonus = Terms {
        utility: Some("bonus"),
        value: Some("20 $/Gbit"),
        bonus: Some("0.01 $ s/Gbit"),
        bonus_max: Some("5 $/Gbit"),
        ..Terms::default()
    };
    assert_eq!(
        bonus.contract().unwrap().to_string(),
        "bonus: 20 $/Gbit and 0.01 $ s/Gbit over latency, at most 5 $/Gbit"
    );
    let refund = Terms {
        utility: Some("refund"),
        value: Some("1 $/Mop"),
        refund: Some("0.001 $/(op s)"),
        ..Terms::default()
    };
    assert!(refund.contract().is_ok());
    let simple = Terms { utility: Some("simple"), penalty_factor: None, ..penalty };
    assert!(simple.contract().is_ok());
    let wrong = [
        (Terms::default(), "utility"),
        (Terms { utility: Some("profit"), ..penalty }, "utility"),
        (Terms { value: None, ..penalty }, "value"),
        (Terms { value: Some("0.2 $"), ..penalty }, "value"),
        (Terms { value: Some("-0.2 $/Mop"), ..penalty }, "value"),
        (Terms { latency_limit: None, ..penalty }, "latency.limit"),
        (Terms { latency_limit: Some("750"), ..penalty }, "latency.limit"),
        (Terms { penalty_factor: None, ..penalty }, "penalty.factor"),
        (Terms { penalty_tail: Some("guessed"), ..penalty }, "penalty.tail"),
        (Terms { refund: Some("10 $/(Gbit s)"), ..penalty }, "refund"),
        (Terms { value: Some("1 $/Mop"), ..bonus }, "bonus"),
        (Terms { bonus_max: Some("5 $/Mop"), ..bonus }, "bonus.max"),
        (Terms { value: Some("20 $/Gbit"), ..refund }, "refund"),
        (Terms { utility: Some("simple"), ..penalty }, "penalty.factor"),
    ];
    for (terms, key) in wrong {
        assert_eq!(terms.contract().map_err(|error| error.key), Err(key), "{terms:?}");
    }
    let messages: Vec<_> = wrong.iter().map(|(terms, _)| terms.contract().unwrap_err().to_string()).collect();
    assert!(messages[3].contains("0.2 $/Mop"), "{}", messages[3]);
}

fn own<'a>(value: &'a str, limit: Option<&'a str>) -> Result<Contract, TermsError> {
    Terms { utility: Some("own"), value: Some(value), latency_limit: limit, ..Terms::default() }.contract()
}

#[test]
fn an_own_expression_settles_like_the_contract_that_it_spells_out() {
    let mut random = Random(0x0e2f);
    let text_of = "0.2 $/Mop * (1 - min(1, 100 * late))";
    let spelled = own(text_of, Some("750 us")).unwrap();
    let kind = LimitKind::Penalty { limit_ns: 750_000, factor: text("100"), tail: TailRule::Counted };
    let known = Contract::per_operation(text("0.2 $/Mop"), kind);
    assert_eq!((spelled.limit_ns(), spelled.basis()), (Some(750_000), Basis::Operation));
    for _ in 0..10_000 {
        let measured = 1 + random.next() % 1_000_000;
        let late = random.next() % (measured / 50 + 1);
        let sum = u128::from(random.next() % 1_000_000) * u128::from(measured);
        let served = Served { accepted: measured, measured, late, latency_sum_ns: sum, ..Served::default() };
        let (own, penalty) = (spelled.revenue(&served).unwrap(), known.revenue(&served).unwrap());
        // Within 10^-15 of what is at stake, so within a picodollar for a window of less than 1000 $.
        assert!((own.0 - penalty.0).abs() <= penalty.0.abs() / 1_000_000_000_000 + 1_000_000_000_000);
        let flow = Flow {
            operations_per_s: measured as f64,
            latency_mean_ns: sum as f64 / measured as f64,
            late: late as f64 / measured as f64,
            ..Flow::default()
        };
        near(spelled.evaluate(&flow, &Prices::NONE).revenue, known.evaluate(&flow, &Prices::NONE).revenue);
    }
    let unknown = Served { accepted: 5, ..Served::default() };
    assert_eq!(spelled.revenue(&unknown), Some(Exact(0)));
    let falling = own("max(0, 1 $/GB - 1 $/GB * mean / 1 s)", None).unwrap();
    let slow = Served { useful_bytes: 9, measured: 1, latency_sum_ns: 3_000_000_000, ..Served::default() };
    assert_eq!((falling.basis(), falling.revenue(&slow)), (Basis::UsefulByte, Some(Exact(0))));
}

#[test]
fn jitter_is_settled_by_the_squares_of_a_window() {
    let steady = own("0.2 $/Mop / (1 + jitter / 100 us)", None).unwrap();
    assert!(steady.needs_jitter() && !own("0.2 $/Mop", None).unwrap().needs_jitter());
    let mut random = Random(0x717e);
    for _ in 0..2_000 {
        let latencies: Vec<u64> =
            (0..1 + random.next() % 50).map(|_| random.next() % (1 << (10 + random.next() % 30))).collect();
        let count = latencies.len() as f64;
        let mean = latencies.iter().map(|ns| *ns as f64).sum::<f64>() / count;
        let variance =
            latencies.iter().map(|ns| (*ns as f64 - mean) * (*ns as f64 - mean)).sum::<f64>() / count;
        let served = Served {
            accepted: 7,
            measured: latencies.len() as u64,
            latency_sum_ns: latencies.iter().map(|ns| u128::from(*ns)).sum(),
            latency_square_sum: latencies.iter().map(|ns| u128::from(*ns) * u128::from(*ns)).sum(),
            ..Served::default()
        };
        let jitter_ns = libm::sqrt(variance);
        let expected = 7.0 * 0.2e-6 / (1.0 + jitter_ns / 1e5);
        near(steady.revenue(&served).unwrap().0 as f64 / 1e27, expected);
        let flow = Flow { operations_per_s: 7.0, latency_jitter_ns: jitter_ns, ..Flow::default() };
        near(steady.evaluate(&flow, &Prices::NONE).revenue, expected);
    }
    // Answers that all took the same time are paid best, whoever divides by jitter.
    let divided = own("0.2 $/Mop * 1 us / jitter", None).unwrap();
    let even = Served {
        accepted: 1,
        measured: 1,
        latency_sum_ns: 5_000,
        latency_square_sum: 25_000_000,
        ..Served::default()
    };
    let uneven = Served { latency_square_sum: 26_000_000, ..even };
    near(divided.revenue(&even).unwrap().0 as f64 / 1e27, 0.2e-3);
    near(divided.revenue(&uneven).unwrap().0 as f64 / 1e27, 0.2e-6);
    // Sums that leave 128 bits when multiplied, and squares that cannot be: no panic, no more than is paid at best.
    for squares in [0, 1, u128::MAX] {
        let served = Served {
            accepted: 1,
            measured: u64::MAX,
            latency_sum_ns: u128::MAX,
            latency_square_sum: squares,
            ..Served::default()
        };
        assert!(steady.revenue(&served).unwrap().0 <= 200_000_000_000_000_000_000);
    }
}

#[test]
fn an_own_expression_that_cannot_be_kept_is_refused() {
    for (value, limit, key, part) in [
        ("0.2 $/Mop * late", Some("1 ms"), "value", "users pay"),
        ("0.2 $/Mop * (1 - late)", None, "latency.limit", "needed"),
        ("0.2 $/Mop", Some("1 ms"), "latency.limit", "needed"),
        ("operations * 0.2 $/Mop", None, "value", "$/op"),
        ("if(p99 < 1 ms, 0.2 $/Mop, 0)", None, "value", "can be settled"),
        ("99999999999999 $/op", None, "value", "beyond belief"),
        ("1000.1 $/Gbit * (1 - late)", Some("1 ms"), "value", "beyond belief"),
        ("0.2 $/Mop / (jitter / 1 us) * 10000000000", None, "value", "beyond belief"),
        // Below nothing a further byte would cost its owner money.
        ("1 $/GB - 1 $/GB * mean / 1 s", None, "value", "with bytes"),
        ("0.2 $/Mop *", None, "value", "letter"),
        ("0.2 $/Mop * (1 - late)", Some("soon"), "latency.limit", "duration"),
    ] {
        let error = own(value, limit).unwrap_err();
        assert!(error.key == key && error.message.contains(part), "{value}: {error}");
    }
    let factor =
        Terms { utility: Some("own"), value: Some("1 $/Mop"), penalty_factor: Some("1"), ..Terms::default() };
    assert_eq!(factor.contract().map_err(|error| error.key), Err("penalty.factor"));
}

#[test]
fn a_plain_promise_earns_nothing_and_costs_what_it_costs() {
    let promise: Promise = "p99 < 1 ms".parse().unwrap();
    assert_eq!(promise, "slo p99 <= 1ms".parse().unwrap());
    assert_eq!((promise.limit_ns, promise.to_string().as_str()), (1_000_000, "p99 < 1ms"));
    let contract = promise.contract();
    assert_eq!(contract.limit_ns(), Some(1_000_000));
    let prices = Prices { core: Some(PerCoreNs(1_000)), bandwidth: Some(PerByte(7)), ..Prices::NONE };
    let flow =
        |cores| Flow { operations_per_s: 1e3, wire_bytes_per_s: 1e6, cores, late: 0.5, ..Flow::default() };
    let [cheap, dear] = [0.1, 1.0].map(|cores| contract.evaluate(&flow(cores), &prices));
    assert!(cheap.revenue == 0.0 && cheap.bandwidth > 0.0 && cheap.total() > dear.total());
    for text in ["", "p99", "p99 < ", "p99 < 1", "p99 > 1 ms", "p50 < 1 ms", "p99 < 0 s", "latency < 1 ms"] {
        assert!(text.parse::<Promise>().is_err(), "{text}");
    }
}

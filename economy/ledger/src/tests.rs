//! The ledger against the settlement of the whole history, and against careless or hostile hands.

use crate::{CSV_HEADER, Damage, Ledger, Reading, Totals, Trouble, Window, closing, recover, verify};
use alloc::string::String;
use alloc::vec::Vec;
use nom_money::{Exact, Nano, PerByte, PerByteSecond, PerCoreNs, PerOperation, Prices};
use nom_utility::{Contract, LimitKind, TailRule};

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn penalty() -> Contract {
    let kind = LimitKind::Penalty { limit_ns: 750_000, factor: Nano(3_000_000_000), tail: TailRule::Counted };
    Contract::per_operation(PerOperation(200_000_000_001), kind)
}

/// Users pay less for answers that come unevenly.
fn steady() -> Contract {
    let text = "0.2 $/Mop / (1 + jitter / 100 us)";
    Contract::own(nom_utility::expression::Expression::parse(text).unwrap(), None).unwrap()
}

/// One history: readings and price changes at random times.
struct History {
    windows: Vec<Window>,
    end: Reading,
    /// Exact bandwidth, core and memory of the whole history, added up price by price without any window.
    whole: [i128; 3],
}

fn history(contract: Contract, seed: u64, window_ns: u64) -> History {
    let mut random = Random(seed | 1);
    let mut ledger = Ledger::new(contract, window_ns, 5_000, Reading::default());
    let (mut now_ns, mut reading, mut prices) = (5_000, Reading::default(), Prices::NONE);
    let mut history = History { windows: Vec::new(), end: reading, whole: [0; 3] };
    for step in 0..200u64 {
        let before = (now_ns, reading);
        now_ns += random.below(1_000_000_000);
        let accepted = random.below(100_000);
        let late = random.below(accepted / 3 + 1);
        reading.accepted += accepted;
        reading.refused += random.below(10);
        reading.useful_bytes += accepted * 100;
        reading.wire_bytes += accepted * 166 + random.below(100);
        reading.core_ns += random.below(now_ns - before.0 + 1);
        reading.measured += accepted;
        reading.late += late;
        let latency_ns = u128::from(random.below(700_000) + 1);
        reading.latency_sum_ns += u128::from(accepted) * latency_ns;
        reading.latency_square_sum += u128::from(accepted) * latency_ns * (latency_ns + u128::from(late));
        let rate = |atto: Option<i128>| atto.unwrap_or(0);
        history.whole[0] +=
            rate(prices.bandwidth.map(|rate| rate.0)) * i128::from(reading.wire_bytes - before.1.wire_bytes);
        history.whole[1] +=
            rate(prices.core.map(|rate| rate.0)) * i128::from(reading.core_ns - before.1.core_ns);
        history.whole[2] += rate(prices.memory.map(|rate| rate.0))
            * i128::from(before.1.memory_bytes)
            * i128::from(now_ns - before.0);
        reading.memory_bytes = random.below(1 << 30);
        if random.below(10) == 0 {
            prices = Prices {
                bandwidth: Some(PerByte(i128::from(random.below(1 << 38)))),
                core: (random.below(3) > 0).then(|| PerCoreNs(i128::from(random.below(1_000_000)))),
                memory: Some(PerByteSecond(i128::from(random.below(5_000)))),
            };
            history
                .windows
                .extend(ledger.set_prices(prices, step + 1, step.checked_sub(1), now_ns, &reading).unwrap());
        }
        history.windows.extend(ledger.settle(now_ns, &reading).unwrap());
    }
    history.windows.extend(ledger.close(now_ns, &reading).unwrap());
    history.end = reading;
    history
}

#[test]
fn the_windows_add_up_to_the_settlement_of_the_whole_history() {
    for seed in 1..60 {
        let history = history(penalty(), seed * 7919, 1_000_000_000);
        let totals = verify(&history.windows, Some(&penalty())).unwrap();
        assert_eq!(totals.windows, history.windows.len() as u64);
        assert_eq!((totals.accepted, totals.refused), (history.end.accepted, history.end.refused));
        assert_eq!((totals.wire_bytes, totals.core_ns), (history.end.wire_bytes, history.end.core_ns));
        let [bandwidth, core, memory] = history.whole;
        // Attodollars times 10^9; memory's byte-nanoseconds bring that factor along.
        assert_eq!(totals.bandwidth, Exact(bandwidth * 1_000_000_000).round());
        assert_eq!(totals.core, Exact(core * 1_000_000_000).round());
        assert_eq!(totals.memory, Exact(memory).round());
        let last = history.windows.last().unwrap();
        assert_eq!(totals.profit(), last.profit_total());
        for window in &history.windows {
            assert!(window.start_ns < window.end_ns || window.accepted > 0);
        }
    }
}

#[test]
fn windows_carry_the_squares_of_latencies_where_jitter_is_paid_for_and_nowhere_else() {
    let steady = steady();
    let windows = history(steady, 7919, 1_000_000_000).windows;
    let totals = verify(&windows, Some(&steady)).unwrap();
    assert!(totals.revenue.0 > 0);
    let squares =
        windows.iter().filter(|window| window.latency_square_sum.is_some_and(|sum| sum > 0)).count();
    assert!(squares > 50 && windows.iter().all(|window| window.latency_square_sum.is_some()));
    for window in &windows {
        let json = window.to_json();
        assert_eq!(Window::parse(&json).as_ref(), Ok(window));
        assert!(
            json.contains(&alloc::format!("\"latency_square_sum\":{}", window.latency_square_sum.unwrap()))
        );
    }
    // What was earned hangs on them.
    let mut forged = windows.clone();
    let place = forged.iter().position(|window| window.accepted > 0).unwrap();
    forged[place].latency_square_sum = forged[place].latency_square_sum.map(|sum| sum / 4);
    forged[place].hash = forged[place].digest();
    assert!(verify(&forged[..=place], Some(&steady)).is_err());
    forged[place].latency_square_sum = None;
    forged[place].hash = forged[place].digest();
    assert!(verify(&forged[..=place], Some(&steady)).unwrap_err().what.contains("squared"));
    let plain = history(penalty(), 7919, 1_000_000_000).windows;
    assert!(plain.iter().all(|window| !window.to_json().contains("square")));
}

#[test]
fn however_fine_the_windows_costs_come_to_the_same() {
    for seed in 1..20 {
        let fine = history(penalty(), seed, 1);
        let coarse = history(penalty(), seed, u64::MAX);
        let (fine, coarse) = (verify(&fine.windows, None).unwrap(), verify(&coarse.windows, None).unwrap());
        assert!(fine.windows > coarse.windows);
        assert_eq!(fine.bandwidth, coarse.bandwidth);
        assert_eq!(fine.core, coarse.core);
        assert_eq!(fine.memory, coarse.memory);
    }
}

#[test]
fn a_window_ends_at_its_due_time_or_where_a_price_changes() {
    let mut ledger = Ledger::new(penalty(), 1_000, 0, Reading::default());
    let mut reading = Reading { accepted: 1, ..Reading::default() };
    assert_eq!(ledger.due_ns(), 1_000);
    assert_eq!(ledger.settle(999, &reading), Ok(None));
    let prices = |atto| Prices { bandwidth: Some(PerByte(atto)), ..Prices::NONE };
    reading.wire_bytes = 10;
    let first = ledger.set_prices(prices(7), 1, Some(40), 999, &reading).unwrap().unwrap();
    assert_eq!((first.number, first.start_ns, first.end_ns), (1, 0, 999));
    assert_eq!(first.prices, Prices::NONE);
    assert_eq!(ledger.due_ns(), 1_000);
    // The same prices again split nothing.
    assert_eq!(ledger.set_prices(prices(7), 2, None, 999, &reading), Ok(None));
    reading.wire_bytes = 1_000_010;
    let second = ledger.settle(1_700, &reading).unwrap().unwrap();
    assert_eq!((second.start_ns, second.end_ns, second.wire_bytes), (999, 1_700, 1_000_000));
    assert_eq!((second.generation, second.bandwidth.amount.0), (2, 7));
    // That they had been announced is theirs, however often they are said again.
    assert_eq!((first.announced_ns, second.announced_ns), (None, Some(40)));
    assert!(second.to_json().contains(",\"generation\":2,\"announced_ns\":40,\"bandwidth"));
    assert!(second.to_csv().ends_with(",40,") && first.to_csv().ends_with(",,"));
    assert_eq!(Window::parse(&second.to_json()).as_ref(), Ok(&second));
    assert_eq!(ledger.due_ns(), 2_000);
    let open = ledger.unsettled(1_800, &reading).unwrap();
    assert!(!open.sealed);
    let totals = verify(&[first, second, open], Some(&penalty())).unwrap();
    assert!(totals.unsettled);
    assert_eq!(totals.windows, 2);
}

#[test]
fn what_goes_back_is_refused_and_changes_nothing() {
    let mut ledger = Ledger::new(penalty(), 1_000, 50, Reading::default());
    let good = Reading { accepted: 10, wire_bytes: 10, ..Reading::default() };
    assert_eq!(ledger.settle(60, &good), Ok(None));
    let less = Reading { accepted: 9, ..good };
    assert!(matches!(ledger.settle(2_000, &less), Err(Trouble::WentBack(_))));
    assert!(matches!(ledger.settle(59, &good), Err(Trouble::WentBack("the clock"))));
    let window = ledger.settle(2_000, &good).unwrap().unwrap();
    assert_eq!((window.number, window.accepted), (1, 10));
    let absurd = Prices { bandwidth: Some(PerByte(i128::MAX)), ..Prices::NONE };
    assert_eq!(ledger.set_prices(absurd, 1, None, 2_000, &good), Ok(None));
    let more = Reading { wire_bytes: 11, ..good };
    assert_eq!(ledger.settle(4_000, &more), Err(Trouble::Overflow));
    assert_eq!(ledger.windows(), 1);
    assert!(ledger.close(4_000, &good).unwrap().is_some());
    assert_eq!(ledger.settle(5_000, &good), Err(Trouble::Closed));
}

#[test]
fn windows_are_written_and_read_back() {
    for seed in 1..20 {
        for window in history(penalty(), seed, 1_000_000_000).windows {
            let text = window.to_json();
            assert!(text.len() <= crate::LINE_MAX);
            assert_eq!(Window::parse(&text), Ok(window));
        }
    }
}

#[test]
fn any_change_of_a_line_is_noticed() {
    let windows = history(penalty(), 3, 1_000_000_000).windows;
    let text = windows[5].to_json();
    let mut random = Random(99);
    for _ in 0..20_000 {
        let mut bytes = text.clone().into_bytes();
        let place = random.below(bytes.len() as u64) as usize;
        match random.below(3) {
            0 => bytes[place] = b"0123456789-,:\"{}nx"[random.below(18) as usize],
            1 => drop(bytes.remove(place)),
            _ => bytes.insert(place, b"0123456789 "[random.below(11) as usize]),
        }
        let changed = String::from_utf8(bytes).unwrap();
        if changed != text {
            assert!(Window::parse(&changed).is_err(), "{changed}");
        }
    }
    assert!(Window::parse(&"9".repeat(5_000)).is_err());
}

#[test]
fn a_lost_doubled_moved_or_forged_window_is_noticed() {
    let windows = history(penalty(), 11, 1_000_000_000).windows;
    let contract = penalty();
    assert!(verify(&windows[7..], Some(&contract)).is_ok(), "a part of the history verifies too");
    let broken = |change: &dyn Fn(&mut Vec<Window>)| {
        let mut copy = windows.clone();
        change(&mut copy);
        verify(&copy, Some(&contract)).unwrap_err()
    };
    assert_eq!(
        broken(&|copy| {
            copy.remove(4);
        })
        .window,
        6
    );
    assert_eq!(broken(&|copy| copy.insert(4, copy[4].clone())).window, 5);
    assert_eq!(broken(&|copy| copy.swap(4, 5)).window, 6);
    assert_eq!(broken(&|copy| copy[4].wire_bytes += 1).window, 5);
    // A forger who computes hashes still has to make the amounts fit.
    let forged = |change: &dyn Fn(&mut Window)| {
        broken(&|copy| {
            change(&mut copy[0]);
            copy[0].hash = copy[0].digest();
        })
    };
    // No price was known in the first window: its bytes cost nothing, but its hash is not what the second carries.
    assert_eq!(forged(&|window| window.wire_bytes += 1_000_000).window, 2);
    assert_eq!(forged(&|window| window.late += 1).what, "its revenue is not what the contract gives");
    assert_eq!(
        forged(&|window| window.revenue.amount.0 += 1).what,
        "a line is not what its price and quantity give"
    );
}

/// An export as a service writes it: the open window now and then, each sealed one for good. With it the byte at which
/// each sealed window begins.
fn export(windows: &[Window], random: &mut Random) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut begins) = (Vec::new(), Vec::new());
    for window in windows {
        for _ in 0..random.below(3) {
            let mut open = Window { sealed: false, ..window.clone() };
            open.hash = open.digest();
            bytes.extend_from_slice(open.to_json().as_bytes());
            bytes.push(b'\n');
        }
        begins.push(bytes.len());
        bytes.extend_from_slice(window.to_json().as_bytes());
        bytes.push(b'\n');
    }
    (bytes, begins)
}

#[test]
fn killed_at_any_byte_at_most_the_open_window_is_lost_and_the_sums_add_up() {
    let mut random = Random(4_711);
    for turn in 0..1_000u64 {
        let windows = history(penalty(), 1 + turn % 13, 10_000_000_000).windows;
        let (mut bytes, begins) = export(&windows, &mut random);
        let end = bytes.len();
        bytes.extend_from_slice(closing(windows.last().unwrap()).as_bytes());
        let cut = random.below(bytes.len() as u64 + 1) as usize;
        let left = recover(&bytes[..cut], Some(&penalty())).unwrap();
        // Those that were begun are there, but for the last, of which a byte may be missing (its newline may not).
        let begun = begins.iter().filter(|begin| **begin < cut).count();
        let whole = begins
            .iter()
            .zip(&windows)
            .filter(|(begin, window)| **begin + window.to_json().len() <= cut)
            .count();
        assert!(begun - whole <= 1 && left.windows == windows[..whole], "cut at {cut}");
        let sums = verify(&windows[..whole], None).unwrap();
        assert_eq!(Totals { unsettled: false, ..left.totals }, sums);
        if let Some(last) = left.windows.last() {
            assert_eq!(left.totals.profit(), last.profit_total());
        }
        if let Some(open) = &left.open {
            assert!(!open.sealed && open.number == whole as u64 + 1);
        }
        assert_eq!(left.totals.unsettled, cut < bytes.len());
        assert_eq!(left.closed, cut == bytes.len());
        assert!(cut <= end || left.windows.len() == windows.len());
    }
}

#[test]
fn what_a_crash_does_not_do_is_damage() {
    let windows = history(penalty(), 3, 10_000_000_000).windows;
    let mut random = Random(5);
    let (bytes, begins) = export(&windows, &mut random);
    for _ in 0..2_000 {
        let mut damaged = bytes.clone();
        // Anywhere but in the last line, of which nobody can say why it is cut.
        let place = random.below(*begins.last().unwrap() as u64 - 1) as usize;
        damaged[place] ^= 1 << random.below(7);
        assert!(recover(&damaged, None).is_err(), "byte {place}");
    }
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let sealed = lines.iter().position(|line| line.windows(4).any(|four| four == b"true")).unwrap();
    let mut without = lines.clone();
    without.remove(sealed);
    assert!(matches!(recover(&without.concat(), None), Err(Damage::Fault(_))));
    let left = recover(b"", None).unwrap();
    assert!(left.windows.is_empty() && left.totals.unsettled);
    let closed = [&bytes, closing(windows.last().unwrap()).as_bytes(), b"\n"].concat();
    let left = recover(&closed, None).unwrap();
    assert!(left.closed && left.open.is_none() && !left.totals.unsettled);
    let behind = [&closed, &bytes[..begins[1]]].concat();
    assert!(matches!(recover(&behind, None), Err(Damage::Closed { .. })));
    let early = [&bytes[..begins[3]], closing(&windows[0]).as_bytes(), b"\n", &bytes[begins[3]..]].concat();
    assert!(matches!(recover(&early, None), Err(Damage::Closed { .. })));
    assert_eq!(recover(b"{\"window\":1,\"sea", None).map(|left| left.torn_bytes), Ok(16));
}

#[test]
fn an_open_window_has_to_follow_the_sealed_ones_too() {
    let windows = history(penalty(), 3, 10_000_000_000).windows;
    let open = |window: &Window| {
        let mut open = Window { sealed: false, ..window.clone() };
        open.hash = open.digest();
        open.to_json()
    };
    let first = windows[0].to_json();
    for (lines, number) in [
        (alloc::vec![first.clone(), open(&windows[1])], Some(2)),
        (alloc::vec![open(&windows[0])], Some(1)),
        (alloc::vec![first, open(&windows[2])], None),
        (alloc::vec![open(&windows[1])], None),
    ] {
        let left = recover(lines.join("\n").as_bytes(), None);
        assert_eq!(left.ok().and_then(|left| left.open).map(|open| open.number), number, "{lines:?}");
    }
}

#[test]
fn a_table_says_what_the_lines_say() {
    let columns: Vec<&str> = CSV_HEADER.split(',').collect();
    let paid_for = [penalty(), steady()].map(|contract| history(contract, 9, 1_000_000_000).windows);
    assert!(paid_for[1].iter().any(|window| window.latency_square_sum.is_some()));
    for window in paid_for.into_iter().flatten() {
        let (row, json) = (window.to_csv(), window.to_json());
        let fields: Vec<&str> = row.split(',').collect();
        assert_eq!(fields.len(), columns.len());
        for (column, field) in
            columns.iter().zip(fields).filter(|(column, _)| **column != "profit_total_pico")
        {
            let value = json.split(&alloc::format!("\"{column}\":")).nth(1);
            if matches!(*column, "announced_ns" | "latency_square_sum") && value.is_none() {
                assert_eq!(field, "");
                continue;
            }
            let value = value.unwrap().split([',', '}']).next().unwrap();
            assert_eq!(field, if value == "null" { "" } else { value }, "{column}");
        }
        assert!(row.contains(&alloc::format!(",{},", window.profit_total().0)));
    }
}

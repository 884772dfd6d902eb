//! Pages at several sizes, as they stand in `pages/`. `NOM_WRITE_PAGES=1 cargo test -p nom-view` writes them anew, to be
//! looked at before they are kept.

use nom_view::{Decision, Fixed, Latency, Line, Money, Price, Request, Snapshot, page, svg};
use std::path::PathBuf;
use std::time::Duration;

fn snapshot() -> Snapshot {
    let price = |name, text: &str, course: &[f64]| Price { name, text: text.into(), course: course.into() };
    let fixed = |setting: &str, current, latency_us: f64, cost: f64, profit_per_h, total| Fixed {
        setting: setting.into(),
        current,
        frontier: true,
        latency_ns: latency_us * 1e3,
        cost: cost / 1e6,
        profit_per_h,
        total,
    };
    Snapshot {
        service: "kv 0.1.0 (guest)".into(),
        place: "localhost:11211".into(),
        elapsed: Duration::from_millis(34_200),
        ends: Some(Duration::from_secs(60)),
        prices: vec![
            price("core", "3 $/core/h", &[0.04, 0.04, 0.04, 3.0, 3.0, 3.0, 3.0]),
            price("bandwidth", "0.09 $/GB", &[0.09; 7]),
            price("memory", "0.005 $/GiB/h", &[0.005; 7]),
        ],
        rates: Some(Money { revenue: 4.31, bandwidth: 1.12, core: 0.61, memory: 0.0003 }),
        total: Money { revenue: 0.0409, bandwidth: 0.0106, core: 0.0028, memory: 0.000_003 },
        profits: (0..60).map(|second| if second % 24 < 9 { 3.1 } else { 2.5 + f64::from(second % 5) / 20.0 }).collect(),
        operations_per_s: 5_998.0,
        operations: (0..30).map(|second| 5_900.0 + f64::from(second * 7 % 40) * 5.0).collect(),
        refused_per_s: 0.0,
        capacity_per_s: Some(98_465.0),
        connections: 5,
        latency: Some(Latency {
            p50_ns: 328_000,
            p90_ns: 700_000,
            p99_ns: 1_310_000,
            p999_ns: 2_000_000,
            mean_ns: 390_000,
            jitter_ns: 290_000,
        }),
        request: Some(Request {
            in_bytes: 96.2,
            out_bytes: 573.4,
            core_ns: 34_900.0,
            kicks: 0.31,
            sleeps: 0.28,
            cost: 0.0807e-6,
        }),
        setting: "wait=halt batch=2ms".into(),
        fixed: vec![
            fixed("wait=halt batch=0", false, 257.7, 0.0959, 2.31, 0.0268),
            fixed("wait=halt batch=2ms", true, 534.1, 0.0805, 2.60, 0.0271),
        ],
        decisions: vec![
            Decision {
                at: Duration::from_millis(8_204),
                before: "wait=halt batch=0".into(),
                after: "wait=halt batch=2ms".into(),
                why: "change wait=halt batch=0 -> wait=halt batch=2ms by price: at 5,998 op/s the gain is 0.29 $/h beyond noise, at least 0.2 $/h if \
                      10% fewer arrive; the change costs less than it brings within 10 s"
                    .into(),
                took_ns: 412_000,
            },
            Decision {
                at: Duration::from_millis(15_201),
                before: "wait=halt batch=2ms".into(),
                after: "wait=halt batch=0".into(),
                why: "the price of core is new".into(),
                took_ns: 380_000,
            },
        ],
    }
}

fn text(lines: &[Line]) -> String {
    lines.iter().map(|line| line.plain() + "\n").collect()
}

fn same(name: &str, text: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pages").join(name);
    if std::env::var_os("NOM_WRITE_PAGES").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(text == kept, "{name} has changed; it is now:\n{text}");
}

#[test]
fn pages_are_as_they_were_looked_at() {
    for (columns, rows) in [(80, 24), (100, 30), (140, 40), (60, 16), (40, 10), (24, 5)] {
        let lines = page(&snapshot(), columns, rows);
        assert!(lines.len() <= rows && lines.iter().all(|line| line.width() <= columns), "{columns}x{rows}");
        same(&format!("{columns}x{rows}.txt"), &text(&lines));
    }
    same("beginning.txt", &text(&page(&Snapshot::default(), 80, 24)));
    same("80x24.svg", &svg(&page(&snapshot(), 80, 24), 80, "the live view"));
}

/// Whatever is known and whatever the terminal: no panic, and nothing beyond the screen.
#[test]
fn every_size_has_a_page() {
    let mut odd = snapshot();
    odd.fixed[0].latency_ns = f64::NAN;
    odd.fixed[1].cost = f64::INFINITY;
    odd.profits = vec![f64::NAN, f64::INFINITY, -1e300, 1e300];
    odd.rates = Some(Money { revenue: 1e300, ..Money::default() });
    odd.decisions[0].why = "long".repeat(500);
    for now in [snapshot(), odd, Snapshot::default()] {
        for columns in 1..150 {
            for rows in 1..50 {
                let lines = page(&now, columns, rows);
                assert!(lines.len() <= rows, "{columns}x{rows}: {} rows", lines.len());
                assert!(lines.iter().all(|line| line.width() <= columns), "{columns}x{rows}");
            }
        }
        assert!(text(&page(&now, 60, 4)).contains("profit"), "the money is what stays");
    }
}

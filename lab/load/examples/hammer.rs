//! `hammer ADDRESS SECONDS CONNECTIONS [RATE] [/PATH]`: a closed loop, or a Poisson open loop at a rate, against a memcached
//! server, or a web server's page.

use nom_load::{Pace, Plan, Stop, Web, run};
use std::time::Duration;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |place: usize| words.get(place).map(String::as_str).unwrap_or_default();
    let (Ok(target), Ok(seconds), Ok(connections)) = (word(0).parse(), word(1).parse(), word(2).parse())
    else {
        eprintln!("usage: hammer ADDRESS:PORT SECONDS CONNECTIONS [OPERATIONS_A_SECOND] [/PATH]");
        std::process::exit(2);
    };
    let mut plan = Plan { duration: Duration::from_secs(seconds), connections, ..Plan::new(target) };
    if let Ok(per_s) = word(3).parse() {
        plan.pace = Pace::Poisson { per_s };
    }
    plan.mix.web = words.iter().find(|word| word.starts_with('/')).map(|path| Web::new(&[path], ""));
    match run(&plan, &Stop::default(), |_| {}) {
        Ok(report) => {
            let tally = &report.tally;
            println!(
                "{:.0} operations/s; {} sent, {} answered ({} stored), {} refused, {} wrong, {} lost, {} shed, {} closed; latency us p50 {} p99 {} max {}",
                report.per_s(),
                tally.sent,
                tally.answered,
                tally.stored,
                tally.refused,
                tally.wrong,
                tally.lost,
                tally.shed,
                tally.closed,
                tally.quantile_ns(0.5) / 1000,
                tally.quantile_ns(0.99) / 1000,
                tally.latency_ns.max() / 1000
            );
        }
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}

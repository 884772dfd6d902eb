//! A slice of `./nom bench kv --soak`: others notice nothing of clients that misbehave, and the books are right.

use crate::number;
use crate::started::{Process, TOKEN};
use nom_abi::board::{Prices, Rate, Resource};
use nom_linux_board::Publisher;
use nom_load::{Mix, Pace, Plan, Stop, abuse, run};
use std::io::{BufRead, BufReader, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const OPERATIONS: u64 = 20_000;
/// Connections that must have misbehaved, on however slow a machine.
const ACTS_LEAST: u64 = 10;

fn prices(turn: i128) -> Prices {
    let mut prices = Prices::NONE;
    let rate = |atto_per_unit| Some(Rate { atto_per_unit, valid_until_ns: 0 });
    prices.rates[Resource::Core as usize] = rate(1_000_000 * (1 + turn % 7));
    prices.rates[Resource::Bandwidth as usize] = rate(90_000_000 * (1 + turn % 3));
    prices
}

#[test]
fn others_notice_nothing_of_clients_that_misbehave_while_prices_move() {
    let Some(mut process) = Process::start("abuse") else { return };
    let mut publisher = Publisher::create(&process.place.0.join("board")).unwrap();
    let mut management = process.management();
    writeln!(management, "hello {TOKEN}").unwrap();
    let (stop, over) = (Stop::default(), AtomicBool::new(false));
    let plan = Plan {
        connections: 200,
        operations_max: OPERATIONS,
        // Long enough that prices move and everybody misbehaves while it is served; late is not wrong.
        pace: Pace::Poisson { per_s: 8_000.0 },
        duration: Duration::from_secs(100),
        grace: Duration::from_secs(60),
        mix: Mix { keys: 500, ..Mix::default() },
        ..Plan::new(process.address)
    };
    let (report, abused, turns) = thread::scope(|scope| {
        let abuser = scope.spawn(|| abuse(process.address, 7, &stop));
        let publishing = scope.spawn(|| {
            let mut turn = 0;
            while !over.load(Ordering::Relaxed) {
                publisher.publish(&prices(turn)).unwrap();
                turn += 1;
                thread::sleep(Duration::from_millis(100));
            }
            turn
        });
        let report = run(&plan, &Stop::default(), |_| {}).unwrap();
        stop.stop();
        over.store(true, Ordering::Relaxed);
        (report, abuser.join().unwrap(), publishing.join().unwrap())
    });
    let tally = &report.tally;
    assert_eq!((tally.answered, tally.wrong, tally.refused), (OPERATIONS, 0, 0));
    assert_eq!((tally.lost, tally.shed, tally.closed, tally.reconnects), (0, 0, 0, 0));
    assert!(abused.connections >= ACTS_LEAST && turns > 0, "{abused:?} {turns}");
    process.terminate();
    let lines: Vec<String> = BufReader::new(&management).lines().map(Result::unwrap).collect();
    assert!(process.child.wait().unwrap().success());
    let bye = lines.iter().find(|line| line.starts_with("{\"bye\":")).expect("a bye");
    assert_eq!(number(bye, "accepted"), report.accepted());
    assert!(number(bye, "refused") > 0, "garbage is refused, and counted");
    let windows: Vec<&String> = lines.iter().filter(|line| line.starts_with("{\"window\":")).collect();
    let settled: u64 = windows.iter().map(|line| number(line, "accepted")).sum();
    assert_eq!(settled, report.accepted());
}

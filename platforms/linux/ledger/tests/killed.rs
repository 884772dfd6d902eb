//! A writer that is killed at random points, again and again, by the kernel's own SIGKILL.
//!
//! The writer is this very program, started anew: it settles windows as fast as it can, appends each to the file, and
//! says so on its standard output. Whatever it had said is in the file, what is in the file adds up, and the rest is
//! marked unsettled.

use nom_ledger::{Ledger, Reading, Window, recover};
use nom_linux_ledger::Export;
use nom_money::{Nano, PerByte, PerByteSecond, PerCoreNs, PerOperation, Prices};
use nom_utility::{Contract, LimitKind, TailRule};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Tells the program that it is the writer, and where to write.
const FILE: &str = "NOM_LEDGER_WRITER";
/// Kills; `NOM_KILLS` is another number.
const KILLS: u64 = 1_000;
/// A writer that nobody kills ends by itself.
const WINDOWS_MAX: u64 = 200_000;
/// What a window holds.
const OPERATIONS: u64 = 1_003;
const WINDOW_NS: u64 = 1_000_000;

fn contract() -> Contract {
    let kind = LimitKind::Penalty { limit_ns: 750_000, factor: Nano(3_000_000_000), tail: TailRule::Counted };
    Contract::per_operation(PerOperation(200_000_000_001), kind)
}

/// The reading at the end of so many windows.
fn reading(windows: u64) -> Reading {
    Reading {
        accepted: OPERATIONS * windows,
        refused: windows,
        useful_bytes: 100 * OPERATIONS * windows,
        wire_bytes: 171 * OPERATIONS * windows + windows % 7,
        core_ns: 333_337 * windows,
        measured: OPERATIONS * windows,
        late: 3 * windows,
        latency_sum_ns: u128::from(90_001 * OPERATIONS * windows),
        memory_bytes: 8 << 20,
        ..Reading::default()
    }
}

fn settled(ledger: &mut Ledger, number: u64) -> Option<Window> {
    if number % 50 == 1 {
        let prices = Prices {
            bandwidth: Some(PerByte(90_000_000 + i128::from(number))),
            core: Some(PerCoreNs(13_889)),
            memory: Some(PerByteSecond(1)),
        };
        ledger.set_prices(prices, number, None, (number - 1) * WINDOW_NS, &reading(number - 1)).unwrap();
    }
    ledger.settle(number * WINDOW_NS, &reading(number)).unwrap()
}

fn ledger() -> Ledger {
    Ledger::new(contract(), WINDOW_NS, 0, reading(0))
}

#[test]
fn the_writer() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let (mut export, _) = Export::create(Path::new(&path)).unwrap();
    let (mut ledger, mut out) = (ledger(), std::io::stdout());
    for number in 1..=WINDOWS_MAX {
        let window = settled(&mut ledger, number).unwrap();
        export.seal(&window).unwrap();
        // Whoever started us may be gone.
        if writeln!(out, "sealed {number}").is_err() {
            return;
        }
    }
}

struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn place(name: &str) -> Place {
    let path = std::env::temp_dir().join(format!("nom-ledger-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    Place(path)
}

/// Lets a writer write, kills it after so many words and then so long, and returns what it had said last.
fn kill_after(file: &Path, words: u64, more: Duration) -> u64 {
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["the_writer", "--exact", "--nocapture", "--test-threads", "1"])
        .env(FILE, file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = 0;
    let mut take =
        |line: &str| said = line.strip_prefix("sealed ").map_or(said, |word| word.parse().unwrap());
    let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
    for line in lines.by_ref().take(words as usize) {
        take(&line.unwrap());
    }
    let begin = Instant::now();
    while begin.elapsed() < more {
        std::hint::spin_loop();
    }
    writer.kill().unwrap();
    // What it had said before it died still comes; a last word may be cut off, and then nobody knows that it was said.
    let mut rest: Vec<String> = lines.map_while(Result::ok).collect();
    rest.pop();
    rest.iter().for_each(|line| take(line));
    writer.wait().unwrap();
    said
}

#[test]
fn killed_at_random_points_at_most_the_open_window_is_lost_and_the_sums_add_up() {
    let place = place("kills");
    let file = place.0.join("ledger");
    let kills = std::env::var("NOM_KILLS").map_or(KILLS, |text| text.parse().expect("NOM_KILLS is a number"));
    let mut state = 0x853c_49e6_748f_ea9bu64;
    let mut random = |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % bound
    };
    // The windows as they must be, made as far as any writer came.
    let (mut expected, mut ledger) = (Vec::new(), ledger());
    let (mut torn, mut lost) = (0, 0);
    for _ in 0..kills {
        let said = kill_after(&file, random(60), Duration::from_nanos(random(300_000)));
        let left = recover(&std::fs::read(&file).unwrap_or_default(), Some(&contract())).unwrap();
        let count = left.windows.len() as u64;
        assert!(count >= said, "{said} windows were sealed, {count} are there");
        while (expected.len() as u64) < count {
            expected.push(settled(&mut ledger, expected.len() as u64 + 1).unwrap());
        }
        assert_eq!(left.windows, expected[..count as usize]);
        assert!(left.totals.unsettled && !left.closed, "nobody closed it");
        assert_eq!((left.totals.windows, left.totals.accepted), (count, count * OPERATIONS));
        if let Some(last) = left.windows.last() {
            assert_eq!(left.totals.profit(), last.profit_total());
        }
        torn += u64::from(left.torn_bytes > 0);
        lost += u64::from(count == said);
        let _ = std::fs::remove_file(&file);
    }
    println!(
        "{kills} kills: {torn} left a torn line, {lost} left exactly what had been said, none lost a window"
    );
}

#[test]
fn a_closed_file_is_settled_and_an_earlier_one_is_kept() {
    let place = place("closed");
    let file = place.0.join("ledger");
    for run in 0..3u32 {
        let (mut export, earlier) = Export::create(&file).unwrap();
        let expected = (run > 0).then(|| place.0.join(format!("ledger.{run}")));
        assert_eq!(earlier, expected);
        let mut ledger = ledger();
        for number in 1..=5 {
            export.seal(&settled(&mut ledger, number).unwrap()).unwrap();
        }
        export.close().unwrap();
        let left = recover(&std::fs::read(&file).unwrap(), Some(&contract())).unwrap();
        assert!(left.closed && !left.totals.unsettled && left.windows.len() == 5);
    }
    assert!(Export::create(&place.0.join("nowhere/ledger")).unwrap_err().to_string().contains("nowhere"));
}

#[test]
fn a_full_disk_loses_nothing_until_too_many_wait() {
    // Every write to it fails as on a full disk.
    let (mut export, _) = Export::create(Path::new("/dev/full")).unwrap();
    let mut ledger = ledger();
    let window = settled(&mut ledger, 1).unwrap();
    for _ in 0..nom_linux_ledger::WAITING_MAX {
        let error = export.seal(&window).unwrap_err().to_string();
        assert!(error.starts_with("ledger: cannot write /dev/full: "), "{error}");
    }
    assert!(export.seal(&window).unwrap_err().to_string().contains("the file ends here"));
    assert!(export.seal(&window).is_ok(), "said once");
}

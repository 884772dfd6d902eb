//! How much of a transfer gets through a link that loses frames: our sender against Linux's CUBIC, both to Linux's
//! receiver over the same link.

mod link;

use crate::Settings;
use crate::figures::Figure;
use crate::quiet;
use link::{Sender, goodput};
use nom_machine::trouble::{Outcome, Trouble};
use std::thread;
use std::time::Duration;

/// What is claimed.
pub const CLAIM: &str =
    "at 0.1, 1 and 3% loss, 1 and 50 ms, our sender gets at least 0.9 of what Linux's CUBIC gets through";

/// What is lost, with the name of it.
const LOSSES: [(f64, &str); 3] = [(0.001, "0_1pct"), (0.01, "1pct"), (0.03, "3pct")];
const ROUNDS_MS: [u64; 2] = [1, 50];
/// Pairs of transfers without `--runs`.
const RUNS: usize = 5;
const PEER: &str = "Linux CUBIC";

/// One link.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    /// Part of the frames towards the receiver that is lost.
    pub loss: f64,
    /// Time there and back on the empty link.
    pub round_ns: u64,
    /// Which frames are lost.
    pub seed: u64,
}

/// Transfers in turns.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let runs = settings.runs.unwrap_or(RUNS);
    let busy = quiet::wait_for_quiet(0.2, Duration::from_secs(1), 20);
    progress(&format!("recovery: {:.0}% of the machine is busy with other work", busy * 100.0));
    let mut figures = Vec::new();
    let mut least: Option<f64> = None;
    for round_ms in ROUNDS_MS {
        let mut ratios = [const { Vec::new() }; LOSSES.len()];
        let mut ours = ratios.clone();
        for run in 0..runs {
            let cells =
                LOSSES.map(|(loss, _)| Cell { loss, round_ns: round_ms * 1_000_000, seed: run as u64 + 1 });
            // Who is first changes, so that what changes with time favours nobody.
            let order =
                if run % 2 == 0 { [Sender::Linux, Sender::Ours] } else { [Sender::Ours, Sender::Linux] };
            let mut got = [[0.0; LOSSES.len()]; 2];
            for sender in order {
                got[sender as usize] = side(sender, cells)?;
            }
            for place in 0..LOSSES.len() {
                let (linux, nom) = (got[Sender::Linux as usize][place], got[Sender::Ours as usize][place]);
                progress(&format!(
                    "recovery: {round_ms} ms, {}: {:.2} Mbit/s, Linux {:.2}",
                    LOSSES[place].1,
                    nom / 1e6,
                    linux / 1e6
                ));
                ratios[place].push(nom / linux);
                ours[place].push(nom / 1e6);
            }
        }
        for (place, (_, loss)) in LOSSES.iter().enumerate() {
            let ratio =
                Figure::of(&format!("recovery.linux_ratio_{loss}_{round_ms}ms"), "x", None, &ratios[place]);
            let ratio = ratio.map(|figure| figure.against(PEER));
            let middle = ratio.as_ref().map_or(0.0, |figure| figure.value);
            least = Some(least.map_or(middle, |least| least.min(middle)));
            figures.extend(ratio);
            let name = format!("recovery.goodput_{loss}_{round_ms}ms_mbit_per_s");
            figures.extend(Figure::of(&name, "Mbit/s", None, &ours[place]));
        }
    }
    let least = least.ok_or_else(|| Trouble::new("nothing was measured"))?;
    let figure = Figure::of("recovery.linux_ratio_min", "x", Some(">=0.9"), &[least]);
    figures.splice(0..0, figure.map(|figure| figure.against(PEER)));
    Ok(figures)
}

/// All losses at the same time, by one kind of sender: bits a second.
fn side(sender: Sender, cells: [Cell; LOSSES.len()]) -> Outcome<[f64; LOSSES.len()]> {
    // A thread each: network namespaces belong to threads, and end with them.
    let threads = cells.map(|cell| thread::spawn(move || goodput(sender, cell)));
    let mut got = [0.0; LOSSES.len()];
    for (place, thread) in threads.into_iter().enumerate() {
        got[place] = thread.join().map_err(|_| Trouble::new("a transfer ended in a panic"))??;
    }
    Ok(got)
}

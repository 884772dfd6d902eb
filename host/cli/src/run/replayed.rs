//! What fixed settings really make: the arrivals of a run are played again, against each of them and against the tuner.
//!
//! The load is a function of its seed, so a new load of the same plan sends the same requests at the same times; each
//! block's arrivals are compared with the recording. A block is a service of its own under the prices of the schedule's
//! begin. A round has one block of everything, in an order of chance. Profit of record is what users pay for the latency
//! that the clients saw, less the ledger's costs. A block during which the hypervisor kept the processors for others says
//! nothing about settings, so it is played again; what its profit was has no part in that.

use super::options::Options;
use super::prices;
use super::profile::holding;
use super::seen::Terms;
use super::serve;
use super::session::Settled;
use super::teller::Teller;
use crate::arguments::Typed;
use crate::service::{configuration, progress};
use nom_experiments::figures::{Figure, table};
use nom_experiments::profile::shuffled;
use nom_experiments::quiet::stolen_during;
use nom_load::Recording;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_points::Setting;
use nom_service::configuration::Configuration;
use nom_utility::{Contract, Flow};
use std::io::sink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longest block, which the day of the first example fills.
const BLOCK_MAX: Duration = Duration::from_secs(24);
/// Rounds of prices that are shorter than this are played as often as makes it, so that a block sees enough clients.
const BLOCK_MIN: Duration = Duration::from_secs(10);
/// Times that a block is begun at most, when its arrivals were not those of the recording or others had the processors.
const TRIES: u32 = 3;
/// More of all processors than this kept by the hypervisor during a block: the block counts as disturbed.
const DISTURBED: f64 = 0.01;
/// Samples of the bootstrap.
const SAMPLES: usize = 10_000;
/// Of the order of the blocks, and of the samples.
const SEED: u64 = 1;

/// Plays what a run recorded, and says how the tuner compares with the best fixed setting.
pub fn replay(
    typed: &Typed,
    options: &Options,
    settled: &Settled,
    teller: &mut Teller,
    interrupted: &AtomicBool,
) -> Outcome<()> {
    let recorded = settled
        .report
        .as_ref()
        .and_then(|report| report.recording.as_ref())
        .ok_or_else(|| Trouble::new("--replay: no arrivals were recorded"))?;
    let text = configuration(typed, &[])?;
    let terms = Terms::of(&Configuration::parse(&text).context(|| "the configuration".into())?);
    let (Some(contract), Some(points)) = (terms.contract, terms.points) else {
        progress(
            "there are no measured points or no utility, so there is nothing to play the arrivals against",
        );
        return Ok(());
    };
    let mut settings: Vec<Option<Setting>> = vec![None];
    for point in points.classes.iter().flat_map(|class| &class.points) {
        if point.setting != Setting::Nothing && !settings.contains(&Some(point.setting)) {
            settings.push(Some(point.setting));
        }
    }
    // No longer than the recording: what came behind its last arrival is not known.
    let last_us = recorded.arrivals.last().map_or(0, |arrival| arrival.time_us);
    let round = prices::Schedule::read(&options.prices)?.round();
    let block = Duration::from_micros(last_us + 1).min(whole_rounds(round));
    let wanted = begin(recorded, block);
    let stage = Stage { typed, contract, block, wanted, interrupted };
    progress(&format!(
        "replay: {} arrivals of the first {} s, {} rounds of {} blocks; it takes about {} s",
        stage.wanted.arrivals.len(),
        block.as_secs(),
        options.replay,
        settings.len(),
        options.replay as u64 * settings.len() as u64 * (block.as_secs() + 4),
    ));
    let mut profits: Vec<Vec<f64>> = vec![Vec::new(); settings.len()];
    // On a machine that is always disturbed, replays shall not last for ever.
    let mut spare = settings.len();
    let mut disturbed = Vec::new();
    for round in 0..options.replay {
        for place in shuffled(settings.len(), SEED + round as u64) {
            let played = stage.play(settings[place], &mut spare)?;
            disturbed.push(f64::from(played.disturbed()));
            if interrupted.load(Ordering::SeqCst) {
                return Err(Trouble::new("interrupted: a part of the replay would mislead"));
            }
            let name = settings[place].map_or_else(|| "tuner".into(), |setting| setting.to_string());
            teller.json(&played.json(round, &name));
            progress(&format!(
                "round {}: {name:<22} {:+.6} $ (clients' mean {:.0} us){}",
                round + 1,
                played.profit,
                played.mean_ns / 1e3,
                if played.disturbed() { ", disturbed" } else { "" },
            ));
            profits[place].push(played.profit);
        }
    }
    let names: Vec<String> = settings.iter().flatten().map(Setting::to_string).collect();
    let Some(compared) = Compared::of(&profits) else {
        progress("no fixed setting makes a profit here: a ratio would be void");
        return Ok(());
    };
    let against = format!("the best of {} fixed settings, {}", names.len(), names[compared.best]);
    let emulated = !options.kvm && options.place == super::options::Place::Guest;
    let figure = |name: &str, goal, runs: &[f64]| {
        Figure::of(name, "x", goal, runs).map(|figure| figure.emulated(emulated).against(&against))
    };
    let mut ratio = figure("run.best_fixed_ratio", Some(">=0.99"), &compared.rounds);
    if let Some(ratio) = &mut ratio {
        // All rounds together, not the median of them.
        ratio.value = compared.ratio;
    }
    let figures: Vec<Figure> = [
        ratio,
        figure("run.best_fixed_ratio_low", None, &[compared.low]),
        figure("run.best_fixed_ratio_high", None, &[compared.high]),
        Figure::of("run.replay_disturbed", "blocks", None, &[disturbed.iter().sum()])
            .map(|figure| figure.emulated(emulated).against(&format!("{} blocks", disturbed.len()))),
        settled.headroom.and_then(|headroom| figure("run.headroom_estimate", None, &[headroom])),
    ]
    .into_iter()
    .flatten()
    .collect();
    for figure in &figures {
        teller.json(&figure.json());
    }
    table(&figures).lines().for_each(|line| teller.say(line));
    Ok(())
}

/// How long a block is: whole rounds of the prices, where they go round.
fn whole_rounds(round: Option<Duration>) -> Duration {
    let Some(round) = round.filter(|round| !round.is_zero()) else { return BLOCK_MAX };
    let block_ns = BLOCK_MIN.as_nanos().next_multiple_of(round.as_nanos()).min(BLOCK_MAX.as_nanos());
    Duration::from_nanos(block_ns as u64)
}

/// The arrivals of the first stretch of a recording.
fn begin(recording: &Recording, stretch: Duration) -> Recording {
    let until_us = stretch.as_micros() as u64;
    let arrivals = recording.arrivals.iter().take_while(|arrival| arrival.time_us < until_us);
    Recording { arrivals: arrivals.cloned().collect() }
}

/// What is the same for all blocks.
struct Stage<'a> {
    typed: &'a Typed,
    contract: Contract,
    block: Duration,
    wanted: Recording,
    interrupted: &'a AtomicBool,
}

/// What a block came to.
struct Played {
    /// By the clients' latencies, in dollars.
    profit: f64,
    /// By the ledger, which knows the service's own latencies.
    ledger_picodollars: i128,
    answered: u64,
    mean_ns: f64,
    same_arrivals: bool,
    /// The part of all processors that the hypervisor kept for others meanwhile.
    stolen: f64,
}

impl Stage<'_> {
    /// One block; the tuner's without a setting. Of tries that were disturbed it is the least disturbed one that counts;
    /// `spare` is how many more of them there may be.
    fn play(&self, setting: Option<Setting>, spare: &mut usize) -> Outcome<Played> {
        let typed = match setting {
            Some(setting) => holding(&self.typed.with("set", "tuner=off"), setting)?,
            None => self.typed.clone(),
        };
        let mut options = Options::read(&typed)?;
        (options.time, options.load_time) = (None, Some(self.block));
        (options.port, options.records, options.record) = (0, true, None);
        (options.ledger, options.metrics, options.web) = (None, None, None);
        let mut best: Option<Played> = None;
        for last in (0..TRIES).rev().map(|left| left == 0) {
            let mut teller = Teller::listening(Box::new(sink()));
            let (settled, stolen) = stolen_during(|| serve(&typed, &options, &mut teller, self.interrupted));
            let played = self.count(&settled?, stolen)?;
            let (same, disturbed) = (played.same_arrivals, played.disturbed());
            best = Some(match best {
                Some(best) if best.before(&played) => best,
                _ => played,
            });
            if last || same && !disturbed || self.interrupted.load(Ordering::SeqCst) {
                break;
            }
            if !same {
                progress(
                    "the generator could not send all that was recorded; this block is played once more",
                );
                continue;
            }
            if *spare == 0 {
                break;
            }
            *spare -= 1;
            progress(&format!(
                "the hypervisor kept {:.1} % of the processors meanwhile; this block is played once more",
                stolen * 100.0
            ));
        }
        Ok(best.expect("there was a try"))
    }

    fn count(&self, settled: &Settled, stolen: f64) -> Outcome<Played> {
        let report = settled.report.as_ref().ok_or_else(|| Trouble::new("a load of 0 measures nothing"))?;
        let tally = &report.tally;
        let seconds = self.block.as_secs_f64();
        let limit_ns = self.contract.limit_ns();
        let flow = Flow {
            operations_per_s: tally.answered as f64 / seconds,
            useful_bytes_per_s: tally.bytes_in as f64 / seconds,
            latency_mean_ns: tally.latency_ns.mean(),
            latency_jitter_ns: tally.latency_ns.stdev(),
            late: limit_ns.map_or(0.0, |limit_ns| tally.fraction_above(limit_ns)),
            ..Flow::default()
        };
        let earned = self.contract.evaluate(&flow, &nom_money::Prices::NONE).revenue * seconds;
        let arrivals = report.recording.as_ref().map(|recording| &recording.arrivals);
        Ok(Played {
            profit: earned - settled.total.cost() as f64 / 1e12,
            ledger_picodollars: settled.total.profit(),
            answered: tally.answered,
            mean_ns: tally.latency_ns.mean(),
            same_arrivals: arrivals == Some(&self.wanted.arrivals),
            stolen,
        })
    }
}

impl Played {
    fn disturbed(&self) -> bool {
        self.stolen > DISTURBED
    }

    /// Whether this try is believed rather than the other: with the arrivals of the recording, then the less disturbed.
    fn before(&self, other: &Played) -> bool {
        match (self.same_arrivals, other.same_arrivals) {
            (true, false) => true,
            (false, true) => false,
            _ => self.stolen <= other.stolen,
        }
    }

    fn json(&self, round: usize, name: &str) -> String {
        format!(
            "{{\"block\":{{\"round\":{},\"setting\":\"{name}\",\"profit_picodollars\":{:.0},\
             \"ledger_profit_picodollars\":{},\"answered\":{},\"client_mean_us\":{:.1},\"same_arrivals\":{},\
             \"stolen\":{:.4}}}}}",
            round + 1,
            self.profit * 1e12,
            self.ledger_picodollars,
            self.answered,
            self.mean_ns / 1e3,
            self.same_arrivals,
            self.stolen,
        )
    }
}

/// The tuner beside the best fixed setting.
#[derive(Debug, PartialEq)]
struct Compared {
    /// The place of the best fixed setting, over all rounds.
    best: usize,
    ratio: f64,
    /// The ratio of each round.
    rounds: Vec<f64>,
    /// An interval that holds 95% of what other rounds of this kind would give.
    low: f64,
    high: f64,
}

impl Compared {
    /// The tuner's profits by rounds are the first row, those of fixed settings the others. `None` when no fixed setting
    /// has a profit: what the ratio is against must be above nothing.
    fn of(profits: &[Vec<f64>]) -> Option<Self> {
        let (ours, fixed) = profits.split_first()?;
        // The best fixed setting is that of the same rounds, which favours it.
        let ratio = |rounds: &[usize]| {
            let sum = |row: &Vec<f64>| rounds.iter().map(|round| row[*round]).sum::<f64>();
            let sums = fixed.iter().map(sum).enumerate();
            let (best, most) = sums.max_by(|a, b| a.1.total_cmp(&b.1))?;
            (most > 0.0).then(|| (best, sum(ours) / most))
        };
        let all: Vec<usize> = (0..ours.len()).collect();
        let (best, whole) = ratio(&all)?;
        let mut state = SEED;
        let mut draw = |count: usize| {
            // Sebastiano Vigna's splitmix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ (mixed >> 31)) % count as u64) as usize
        };
        let mut samples: Vec<f64> = (0..SAMPLES)
            .filter_map(|_| ratio(&all.iter().map(|_| draw(all.len())).collect::<Vec<_>>()))
            .map(|(_, ratio)| ratio)
            .collect();
        samples.sort_by(f64::total_cmp);
        let at = |part: f64| samples[((samples.len() - 1) as f64 * part).round() as usize];
        let rounds = (0..ours.len()).map(|round| ours[round] / fixed[best][round]).collect();
        Some(Self { best, ratio: whole, rounds, low: at(0.025), high: at(0.975) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nom_load::Arrival;

    #[test]
    fn the_best_fixed_setting_is_the_one_that_made_most() {
        let compared =
            Compared::of(&[vec![1.1, 1.2, 1.0], vec![0.5, 0.6, 0.4], vec![1.0, 1.0, 1.0]]).unwrap();
        assert_eq!((compared.best, compared.rounds.len()), (1, 3));
        assert!((compared.ratio - 1.1).abs() < 1e-9, "{compared:?}");
        assert!((compared.low - 1.0).abs() < 0.04 && (compared.high - 1.2).abs() < 0.04, "{compared:?}");
        assert_eq!(
            compared,
            Compared::of(&[vec![1.1, 1.2, 1.0], vec![0.5, 0.6, 0.4], vec![1.0; 3]]).unwrap()
        );
    }

    #[test]
    fn a_ratio_against_a_loss_is_void() {
        assert_eq!(Compared::of(&[vec![1.0], vec![-1.0]]), None);
        assert_eq!(Compared::of(&[vec![1.0]]), None);
        assert_eq!(Compared::of(&[]), None);
    }

    #[test]
    fn the_least_disturbed_try_counts_whatever_it_made() {
        let played = |same_arrivals, stolen, profit| Played {
            profit,
            ledger_picodollars: 0,
            answered: 1,
            mean_ns: 1.0,
            same_arrivals,
            stolen,
        };
        assert!(played(true, 0.02, 1.0).before(&played(true, 0.03, 9.0)));
        assert!(!played(true, 0.03, 9.0).before(&played(true, 0.02, 1.0)));
        assert!(played(true, 0.5, 1.0).before(&played(false, 0.0, 9.0)));
        assert!(!played(false, 0.0, 9.0).before(&played(true, 0.5, 1.0)));
        assert!(played(true, 0.02, 1.0).disturbed() && !played(true, DISTURBED, 1.0).disturbed());
    }

    #[test]
    fn a_block_is_whole_rounds_of_the_prices() {
        let seconds = |round: Option<u64>| whole_rounds(round.map(Duration::from_secs)).as_secs();
        assert_eq!([None, Some(24), Some(12), Some(3600), Some(0)].map(seconds), [24, 24, 12, 24, 24]);
        assert_eq!([Some(1), Some(4), Some(7)].map(seconds), [10, 12, 14]);
        assert_eq!(whole_rounds(Some(Duration::from_nanos(1))), BLOCK_MIN);
    }

    #[test]
    fn the_begin_of_a_recording_ends_in_time() {
        let arrival = |time_us| Arrival { time_us, connection: 0, request: b"get a\r\n".to_vec() };
        let recording = Recording { arrivals: [1, 999_999, 1_000_000].map(arrival).into() };
        assert_eq!(begin(&recording, Duration::from_secs(1)).arrivals.len(), 2);
    }
}

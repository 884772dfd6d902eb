//! Beyond the paper, in the model: loads below and above capacity, a core with a price, two applications with one guest.

use super::adapting::{Game, Load, Outcome as Played, Step};
use super::chart::{Series, bars, plot, short};
use super::claims::{APPLICATIONS, Found, answers};
use super::money::{self, LIMIT_US, Swept, contracts};
use super::open::{DOOR, Seen, WAKE_US, capacity_per_s, delayed, play, waiting};
use super::server::Costs;
use crate::Settings;
use crate::figures::Figure;
use nom_machine::trouble::Outcome;
use nom_money::{PerCoreNs, PerOperation, Prices, RefundPerOperation};
use nom_points::{Batching, Setting, Wait};
use nom_utility::Contract;

/// Parts of the capacity without a delay.
const PARTS: [f64; 5] = [0.1, 0.5, 0.8, 0.95, 1.4];
const DELAYS_US: [u64; 7] = [0, 5, 10, 20, 40, 100, 200];
const WAITS: [Wait; 4] =
    [Wait::Halt, Wait::Spin { budget_ns: 20_000 }, Wait::Spin { budget_ns: 100_000 }, Wait::Poll];
/// What more comes than any setting can serve.
const FLOOD: f64 = 3.0;
const TOLD: u64 = 101;
const SCORED: u64 = 203;
/// Dollars an hour of a core.
const CORE_PRICES: [f64; 4] = [0.0, 0.01, 0.04, 0.1];
/// What an operation is worth, and what a second of latency takes of it, in attodollars: 0.002 $ a million, of which 100 us
/// take a quarter. Margins are thin on purpose: with fat ones the price of a core does not matter.
const WORTH: PerOperation = PerOperation(2_000_000_000);
const REFUND: RefundPerOperation = RefundPerOperation(5_000_000_000_000);

fn loads(costs: &Costs, settings: &[Setting], parts: &[f64], answers: usize) -> Vec<Load> {
    let sweep = |part: f64, seed: u64| -> Vec<Seen> {
        let one = |(place, setting): (usize, &Setting)| {
            let seed = seed + place as u64 * 7;
            play(costs, *setting, part * capacity_per_s(costs), LIMIT_US as f64, answers, seed)
        };
        settings.iter().enumerate().map(one).collect()
    };
    parts
        .iter()
        .map(|part| Load { part: *part, told: sweep(*part, TOLD), scored: sweep(*part, SCORED) })
        .collect()
}

fn game<'a>(costs: &'a Costs, loads: &'a [Load], contract: Contract, answers: usize) -> Game<'a> {
    let most = |seen: &Seen| {
        play(costs, seen.setting, FLOOD * capacity_per_s(costs), LIMIT_US as f64, answers, TOLD).per_s
    };
    Game { costs, loads, contract, most_per_s: loads[0].told.iter().map(most).collect(), limit_us: LIMIT_US }
}

/// A setting in a word or two.
fn word(setting: Setting) -> String {
    match setting {
        Setting::Serve { batching: Batching::Hold { delay_ns }, .. } => format!("{} us", delay_ns / 1_000),
        Setting::Serve { wait: Wait::Halt, .. } => "halt".into(),
        Setting::Serve { wait: Wait::Spin { budget_ns }, .. } => format!("spin {} us", budget_ns / 1_000),
        Setting::Serve { wait: Wait::Poll, .. } => "poll".into(),
        _ => "serve nothing".into(),
    }
}

/// The same where delays are what differs.
fn delay_word(setting: Setting) -> String {
    if setting == delayed(0) { "0 us".into() } else { word(setting) }
}

/// Ratios over all games, and which of them had something to win.
struct Over {
    least: Option<f64>,
    headroom: Option<f64>,
    word: fn(Setting) -> String,
}

impl Over {
    /// Over games whose settings are told in these words.
    fn new(word: fn(Setting) -> String) -> Self {
        Self { least: None, headroom: None, word }
    }

    /// A row of the table; nothing is compared with a fixed setting that makes no profit.
    fn row(&mut self, names: [&str; 2], played: &Played, found: &mut Found) {
        let Played { fixed, fixed_setting, adaptive, oracle, chosen } = played;
        let part = (adaptive.profit - fixed.profit) / fixed.revenue.max(f64::MIN_POSITIVE);
        if fixed.revenue > 0.0 {
            self.least = Some(self.least.map_or(part, |least| least.min(part)));
        }
        if fixed.profit > 0.0 && oracle.profit / fixed.profit >= 1.1 {
            let ratio = adaptive.profit / fixed.profit;
            self.headroom = Some(self.headroom.map_or(ratio, |least| least.min(ratio)));
        }
        let dollars = |made: f64| format!("{} $", short(made));
        let word = self.word;
        found.rows.push(vec![
            names[0].into(),
            names[1].into(),
            format!("{} ({})", dollars(fixed.profit), word(*fixed_setting)),
            dollars(adaptive.profit),
            dollars(oracle.profit),
            format!("{:+.2}%", part * 100.0),
            chosen.iter().map(|setting| word(*setting)).collect::<Vec<_>>().join(", "),
        ]);
    }

    fn figures(&self, name: &str) -> Vec<Figure> {
        let one = |what: &str, goal, value: Option<f64>| {
            value.and_then(|value| Figure::of(&format!("paper.{name}_{what}"), "", Some(goal), &[value]))
        };
        [one("static_part_min", ">=-0.01", self.least), one("headroom_ratio_min", ">=1", self.headroom)]
            .into_iter()
            .flatten()
            .collect()
    }

    fn words(&self) -> String {
        let least = self.least.unwrap_or(f64::NAN) * 100.0;
        match self.headroom {
            Some(ratio) => format!(
                "Adapting makes at least {least:+.2}% of revenue more than the best fixed setting; where the oracle could make \
                 10% more than that one, at least {ratio:.3} times as much."
            ),
            None => {
                format!("Adapting makes at least {least:+.2}% of revenue more than the best fixed setting.")
            }
        }
    }
}

const HEAD: [&str; 7] = [
    "",
    "",
    "best fixed, in hindsight",
    "adaptive",
    "oracle",
    "adaptive over fixed, of revenue",
    "chosen at each step",
];

/// Arrivals that do not wait for answers.
pub fn open(settings: &Settings, _: &mut dyn FnMut(&str)) -> Outcome<Found> {
    let answers = answers(settings) / 4;
    let mut found = Found {
        configuration: format!(
            "Model in virtual time: Poisson arrivals, {} of the capacity without a delay, each for 30 s at 1 $/Gbit and \
             then at 10 $/Gbit; delays of {} us on a core that does not sleep; {DOOR} requests at the server at once, \
             who comes beyond that is refused, unpaid and unbilled. Contracts as in the claim profit.",
            listed(&PARTS),
            listed(&DELAYS_US)
        ),
        rows: vec![HEAD.map(String::from).into()],
        ..Found::default()
    };
    let (mut over, mut gains) = (Over::new(delay_word), Vec::new());
    for costs in &APPLICATIONS[..2] {
        let loads = loads(costs, &DELAYS_US.map(delayed), &PARTS, answers);
        let steps: Vec<Step> = money::PRICES
            .iter()
            .flat_map(|price| (0..PARTS.len()).map(|load| (load, Some(*price))))
            .map(|(load, bandwidth)| Step { load, prices: Prices { bandwidth, ..Prices::NONE } })
            .collect();
        for (name, contract) in contracts() {
            let played = game(costs, &loads, contract, answers).play(&steps);
            over.row([costs.name, name], &played, &mut found);
        }
        let curve = |load: &Load| Series {
            name: format!("{}%", (load.part * 100.0).round()),
            points: load.scored.iter().zip(DELAYS_US).map(|(seen, us)| (us as f64, seen.mean_us)).collect(),
            words: Vec::new(),
        };
        found.charts.push(plot(
            &format!("{}: latency under open loads, in parts of the capacity", costs.name),
            "batching delay, us",
            "mean latency, us",
            &loads.iter().map(curve).collect::<Vec<_>>(),
        ));
        let flooded = &loads[PARTS.len() - 1].scored;
        let none = &flooded[0];
        let most = flooded.iter().fold(none, |a, b| if b.per_s > a.per_s { b } else { a });
        let one = |what: &str, unit, value| {
            Figure::of(&format!("paper.open_{}_{what}", costs.name), unit, None, &[value])
        };
        gains.push(most.per_s / none.per_s);
        found.figures.extend(one("overload_gain_ratio", "x", most.per_s / none.per_s));
        found.figures.extend(one("overload_refused", "", none.refused));
        found.figures.extend(one("overload_refused_delayed", "", most.refused));
    }
    found.figures.extend(over.figures("open"));
    found.ours = format!(
        "Far below capacity a delay serves nobody more and only costs latency. Near it a few microseconds already lower latency, since \
         shared kicks leave more of the core; above it a delay serves more (kv {:.2}, httpd {:.2} times as many as without), up to \
         what the contract bears. {}",
        gains[0],
        gains[1],
        over.words()
    );
    Ok(found)
}

/// Figures in a sentence.
fn listed<F: ToString>(all: &[F]) -> String {
    all.iter().map(F::to_string).collect::<Vec<_>>().join(", ")
}

fn core(dollars_an_hour: f64) -> PerCoreNs {
    PerCoreNs((dollars_an_hour / 3_600.0 / 1e9 * 1e18) as i128)
}

/// A core that has a price: halting, looking for a while, polling.
pub fn cores(settings: &Settings, _: &mut dyn FnMut(&str)) -> Outcome<Found> {
    let answers = answers(settings) / 4;
    let parts = &PARTS[..4];
    let mut found = Found {
        configuration: format!(
            "Model in virtual time: Poisson arrivals, {} of the capacity, each for 30 s at {} $ an hour of a \
             core, bandwidth free; waking takes the core and the request {WAKE_US} us. An operation is worth 0.002 $ a million, \
             less 0.000005 $ a million for each microsecond of mean latency.",
            listed(parts),
            listed(&CORE_PRICES)
        ),
        rows: vec![HEAD.map(String::from).into()],
        ..Found::default()
    };
    let mut over = Over::new(word);
    let contract = Contract::refund_per_operation(WORTH, REFUND);
    let mut kinds = 0;
    for costs in &APPLICATIONS[..2] {
        let loads = loads(costs, &WAITS.map(waiting), parts, answers);
        let game = game(costs, &loads, contract, answers);
        let step = |load: usize, price: f64| Step {
            load,
            prices: Prices { core: Some(core(price)), ..Prices::NONE },
        };
        let courses: Vec<(String, Vec<Step>)> = [
            (
                "both move".to_string(),
                CORE_PRICES
                    .iter()
                    .flat_map(|price| (0..parts.len()).map(|load| step(load, *price)))
                    .collect(),
            ),
            ("price alone".to_string(), CORE_PRICES.iter().map(|price| step(1, *price)).collect()),
            ("load alone".to_string(), (0..parts.len()).map(|load| step(load, CORE_PRICES[2])).collect()),
        ]
        .into();
        for (name, steps) in &courses {
            let played = game.play(steps);
            let mut chosen = played.chosen.clone();
            chosen.dedup();
            kinds = kinds.max(chosen.len());
            over.row([costs.name, name], &played, &mut found);
        }
        let columns = WAITS.map(|wait| {
            let cost = |load: &Load| {
                let seen = load.scored.iter().find(|seen| seen.setting == waiting(wait));
                seen.map_or(f64::NAN, |seen| seen.cores)
            };
            (word(waiting(wait)), loads.iter().map(cost).collect::<Vec<f64>>())
        });
        let names: Vec<String> = parts.iter().map(|part| format!("{}%", (part * 100.0).round())).collect();
        found.charts.push(bars(&format!("{}: cores in use, by load", costs.name), &names, &columns, "cores"));
    }
    found.figures.extend(over.figures("cores"));
    found.figures.extend(Figure::of("paper.cores_changes", "", None, &[kinds.saturating_sub(1) as f64]));
    found.ours = format!(
        "A free core polls; with a price, settings follow price and load (the last column says which). {}",
        over.words()
    );
    Ok(found)
}

/// Two applications in one guest, each with a core of its own and other users.
pub fn two(settings: &Settings, _: &mut dyn FnMut(&str)) -> Outcome<Found> {
    let mut found = Found {
        configuration: "Model in virtual time, the paper's two minutes for both at once: kv and httpd in one guest, each with a core, \
                        a stack and a contract of its own. Shared: one delay for both, as one kernel's stack would have, the best \
                        one in hindsight; the shared oracle moves it each minute, knowing what comes. Own: each has its tuner, \
                        which is told a profile."
            .into(),
        rows: vec![
            ["kv", "httpd", "one fixed delay for both", "one delay, oracle", "each its own tuner", "own / fixed", "own / oracle"]
                .map(String::from)
                .into(),
        ],
        ..Found::default()
    };
    let [kv, httpd, _] = &APPLICATIONS;
    let pairs = [Swept::pair(kv, answers(settings)), Swept::pair(httpd, answers(settings))];
    let (mut least, mut most): (f64, f64) = (f64::INFINITY, 0.0);
    let mut beside_oracle: (f64, f64) = (f64::INFINITY, 0.0);
    let (mut names, mut columns) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
    let all = contracts();
    // Of each application, with each contract: what it makes alone is what it makes beside the other.
    let tuned = pairs.each_ref().map(|pair| {
        all.each_ref().map(|(_, contract)| money::adaptive(contract, &pair[0], &pair[1]).total())
    });
    for (place, (first, a)) in all.iter().enumerate() {
        for (other, (second, b)) in all.iter().enumerate().filter(|(other, _)| *other != place) {
            let shared = money::shared([(a, &pairs[0][1]), (b, &pairs[1][1])]);
            let own = tuned[0][place] + tuned[1][other];
            if shared.fixed <= 0.0 {
                continue;
            }
            let ratio = own / shared.fixed;
            (least, most) = (least.min(ratio), most.max(ratio));
            let part = own / shared.oracle;
            beside_oracle = (beside_oracle.0.min(part), beside_oracle.1.max(part));
            found.rows.push(vec![
                (*first).into(),
                (*second).into(),
                format!("{:.1} $", shared.fixed),
                format!("{:.1} $", shared.oracle),
                format!("{own:.1} $"),
                format!("{ratio:.4}"),
                format!("{part:.4}"),
            ]);
            if names.len() < 6 {
                names.push(format!("{first} + {second}"));
                for (column, made) in columns.iter_mut().zip([shared.fixed, shared.oracle, own]) {
                    column.push(made);
                }
            }
        }
    }
    let titles = ["one fixed delay", "one delay, oracle", "each its own"];
    let series: Vec<(String, Vec<f64>)> = titles.map(String::from).into_iter().zip(columns).collect();
    found.charts.push(bars(
        "Two applications (kv + httpd): profit of both in two minutes",
        &names,
        &series,
        "dollars",
    ));
    found.figures.extend(Figure::of("paper.two_own_shared_ratio_min", "x", Some(">=0.99"), &[least]));
    found.figures.extend(Figure::of("paper.two_own_shared_ratio_max", "x", None, &[most]));
    found.ours = format!(
        "With other contracts for the two, each moving its own stack makes {least:.4} to {most:.4} times what the best fixed delay \
         for both would have made, and {:.4} to {:.4} times what one delay would make that moves each minute and knows what comes.",
        beside_oracle.0, beside_oracle.1
    );
    Ok(found)
}

//! Two applications in one real guest, behind one switch on one card, with different utilities: many hurried requests that
//! are worth much and lose it soon, and many more that are worth little and can wait. A core has a price, and the guest's
//! owner pays for both.
//!
//! First each application is profiled with each setting, the other one being silent; then all settings that both may share
//! are measured beside tuners that live in the guest, each with its own contract and its own points. What was earned
//! follows from what clients counted, what was paid from the time that the guest's processor had on the host.

use super::chart::{bars, short};
use super::claims::Found;
use super::systems::in_time;
use crate::figures::Figure;
use crate::{Settings, emulator_threads};
use nom_feeds::metadata::Answer;
use nom_load::pace::Pace;
use nom_load::{Mix, Plan as LoadPlan, Report, Stop, run};
use nom_machine::machine::{Machine, Nameless};
use nom_machine::metadata::{Metadata, Source};
use nom_machine::qemu::{Accelerator, HOST_FROM_GUEST, Kind, Plan};
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_machine::{artefacts, image};
use nom_money::Prices;
use nom_points::{Batching, Class, LoadKind, Noise, Point, Points, Range, Setting, Wait};
use nom_service::configuration::Configuration;
use nom_utility::{Contract, Flow};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long frames gather, in milliseconds: what both may share.
const GATHER_MS: [u64; 3] = [0, 1, 4];
const CORE: &str = "0.04 $/core/h";
const PORT: u16 = 11_211;
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 16);
const MEMORY_MIB: u32 = 48;
const VALUE_LEN: usize = 100;
const KEYS: u32 = 64;
/// What a tuner needs to see prices and load, and to choose.
const WARM_UP: Duration = Duration::from_millis(1_500);
const SPAN: Duration = Duration::from_secs(3);
const GRACE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(60);
const ATTEMPT: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(5);
const ROUNDS: usize = 5;
const ROUNDS_QUICK: usize = 2;
const QUIET: f64 = 0.1;
const LOOK: Duration = Duration::from_secs(1);
const LOOKS: u32 = 8;

/// An application and its users.
struct Users {
    name: &'static str,
    connections: usize,
    per_s: f64,
    /// What a request is worth, in times of what its core time costs where nothing gathers.
    worth: f64,
    /// After so long everything is paid back.
    patience_ms: f64,
}

const USERS: [Users; 2] = [
    Users { name: "kv-1", connections: 8, per_s: 2_000.0, worth: 2.0, patience_ms: 200.0 },
    Users { name: "kv-2", connections: 2, per_s: 200.0, worth: 20.0, patience_ms: 8.0 },
];

fn setting(place: usize) -> Setting {
    let batching = match GATHER_MS[place] {
        0 => Batching::RunToCompletion,
        ms => Batching::Hold { delay_ns: ms * 1_000_000 },
    };
    Setting::serve(Wait::Halt, batching)
}

/// How the two choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Both have this setting.
    Shared(usize),
    /// Each has its tuner.
    Own,
}

impl Way {
    fn name(self) -> String {
        match self {
            Self::Shared(place) => format!("both {} ms", GATHER_MS[place]),
            Self::Own => "each its own tuner".into(),
        }
    }
}

/// What one application's clients saw, and what the guest's processor took meanwhile.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    per_s: f64,
    mean_ms: f64,
    deviation_ms: f64,
    p99_ms: f64,
    answers: u64,
}

/// Both applications in a block, and the part of a core that the guest had.
type Block = ([Option<Seen>; 2], f64);

/// The price of a core, for good.
struct Fixed;

impl Source for Fixed {
    fn at(&self, _: Duration) -> (u64, String, Option<Duration>) {
        let unix_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let answer =
            Answer { generation: 1, provider_unix_ns: unix_ns, prices: prices(), next: None, valid_s: 600 };
        (1, answer.to_json(), None)
    }
}

fn prices() -> Prices {
    Prices { core: CORE.parse().ok(), ..Prices::NONE }
}

/// Kernel and applications.
struct Programs(Vec<PathBuf>);

impl Programs {
    fn image(&self, configuration: &str) -> Outcome<Nameless> {
        let [kernel, switch, kv] = &self.0[..] else {
            return Err(Trouble::new("three programs were asked for"));
        };
        let parts = [("switch", &**switch), (USERS[0].name, &**kv), (USERS[1].name, &**kv)];
        Nameless::new(&image::assemble(kernel, configuration, &parts)?)
    }
}

/// What both ways say.
fn common(price_port: u16) -> String {
    let mut text = format!(
        "kernel.application = switch, kv-1, kv-2\nkernel.publisher = kv-1\nkernel.heap = 1 MiB\n\
         kernel.heap.switch = 4 MiB\nkernel.heap.kv-1 = 6 MiB\nkernel.heap.kv-2 = 6 MiB\nimage.trusted = yes\n\
         network = switch\nlisten = {PORT}\ngateway = {HOST_FROM_GUEST}\nconnections = 32\nmemory.items = 1 MiB\n\
         memory.send = 256 KiB\nmemory.receive = 256 KiB\nwait = halt\nmanagement = no\nprices = board\n\
         application.kv-1.prices = http://{HOST_FROM_GUEST}:{price_port}/prices\n\
         application.kv-1.address = 10.0.2.15/24\napplication.kv-2.address = {SECOND}/24\n"
    );
    for Users { name, .. } in USERS {
        text += &format!("kernel.channel.switch.{name} = switch, {name}, 512 KiB\n");
    }
    text
}

fn configuration(way: Way, price_port: u16, terms: &str) -> String {
    let chosen = match way {
        Way::Shared(place) => format!("tuner = off\nbatch = {} ms\n", GATHER_MS[place]),
        Way::Own => "tuner = on\nbatch = 0\n".into(),
    };
    common(price_port) + &chosen.replace("batch = 0 ms", "batch = 0") + terms
}

/// Contracts of both, and the points that their tuners are told.
fn terms(profiles: &[[Seen; GATHER_MS.len()]; 2], core_us: &[[f64; GATHER_MS.len()]; 2]) -> Outcome<String> {
    let dollars_a_core_ns = prices().core.map_or(0.0, |core| core.0 as f64 / 1e18);
    let mut text = String::new();
    for (place, users) in USERS.iter().enumerate() {
        let own = |key: &str, value: &str| format!("application.{}.{key} = {value}\n", users.name);
        let dollars_a_million = users.worth * core_us[place][0] * 1e3 * dollars_a_core_ns * 1e6;
        let back_a_second = dollars_a_million / (users.patience_ms / 1e3);
        text += &own("utility", "refund");
        text += &own("value", &format!("{dollars_a_million:.9} $/Mop"));
        text += &own("refund", &format!("{back_a_second:.9} $/(Mop s)"));
        let point = |number: usize| {
            let seen = &profiles[place][number];
            Point {
                throughput_per_s: users.per_s * 10.0,
                useful_bytes: VALUE_LEN as f64,
                wire_bytes: 200.0,
                core_ns: core_us[place][number] * 1e3,
                mean_ns: seen.mean_ms * 1e6,
                jitter_ns: seen.deviation_ms * 1e6,
                p99_ns: seen.p99_ms * 1e6,
                samples: seen.answers,
                ..Point::unmeasured(setting(number))
            }
        };
        let class = Class {
            name: "any".into(),
            kind: LoadKind::Open,
            utilisation: Range::ALL,
            connections: Range::ALL,
            measured: None,
            points: (0..GATHER_MS.len()).map(point).collect(),
        };
        let noise = Noise { throughput: 0.02, bytes: 0.02, cores: 0.02, memory: 0.02, latency: 0.02 };
        let points = Points {
            application: "kv".into(),
            noise,
            capacity_per_s: users.per_s * 10.0,
            classes: vec![class],
        };
        text.extend(points.to_string().lines().map(|line| own("points", line)));
    }
    Ok(text)
}

fn contracts(text: &str) -> Outcome<[Contract; 2]> {
    let one = |users: &Users| {
        let all =
            Configuration::parse_for(text, users.name).context(|| "the bench's configuration".into())?;
        all.contract.ok_or_else(|| Trouble::new("the bench's configuration has no contract"))
    };
    Ok([one(&USERS[0])?, one(&USERS[1])?])
}

fn free_port() -> Outcome<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .context(|| "no free port on localhost".into())
}

/// Starts a guest, and loads it: those applications alone that are wanted. All threads of the emulator have one
/// processor, the clients the other.
fn block(image: &Nameless, accelerator: Accelerator, wanted: [bool; 2], seed: u64) -> Outcome<Block> {
    let ports = [free_port()?, free_port()?];
    let plan = Plan {
        accelerator,
        memory_mib: MEMORY_MIB,
        forward: Some((ports[0], PORT)),
        beside: vec![(ports[1], SECOND, PORT)],
        entropy: true,
        ..Plan::new(Kind::Microvm)
    };
    let mut machine = Machine::start(&plan, image, None)?;
    for port in ports {
        wait(&mut machine, port)?;
    }
    let _apart = emulator_threads::apart(machine.id())?;
    let both = |span: Duration, seed: u64| -> Outcome<[Option<Report>; 2]> {
        let load = |place: usize| {
            wanted[place].then(|| {
                let users = &USERS[place];
                let plan = LoadPlan {
                    connections: users.connections,
                    pace: Pace::Poisson { per_s: users.per_s },
                    duration: span,
                    grace: GRACE,
                    mix: Mix {
                        keys: KEYS,
                        value_len_min: VALUE_LEN,
                        value_len_max: VALUE_LEN,
                        ..Mix::default()
                    },
                    seed: seed + place as u64,
                    ..LoadPlan::new(SocketAddr::from((Ipv4Addr::LOCALHOST, ports[place])))
                };
                run(&plan, &Stop::default(), |_| {}).map_err(|error| Trouble::new(error.to_string()))
            })
        };
        std::thread::scope(|scope| {
            let second = scope.spawn(|| load(1).transpose());
            let first = load(0).transpose();
            let second = second.join().unwrap_or_else(|_| Err(Trouble::new("a load ended in a panic")));
            Ok([first?, second?])
        })
    };
    both(WARM_UP, seed)?;
    let busy = || -> Outcome<u64> { Ok(emulator_threads::times_ns(machine.id())?[0]) };
    let (before, begun) = (busy()?, Instant::now());
    let reports = both(SPAN, seed + 2)?;
    let cores = (busy()? - before) as f64 / begun.elapsed().as_nanos() as f64;
    if machine.ended().is_some() {
        return Err(machine.autopsy());
    }
    machine.kill();
    Ok((reports.map(|report| report.map(|report| seen(&report))), cores))
}

fn seen(report: &Report) -> Seen {
    let latency = &report.tally.latency_ns;
    Seen {
        per_s: report.per_s(),
        mean_ms: latency.mean() / 1e6,
        deviation_ms: latency.stdev() / 1e6,
        p99_ms: report.tally.quantile_ns(0.99) as f64 / 1e6,
        answers: report.tally.answered,
    }
}

/// Waits until an application answers: the emulator accepts before the guest does.
fn wait(machine: &mut Machine, port: u16) -> Outcome<()> {
    let deadline = Instant::now() + PATIENCE;
    let answers = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(ATTEMPT))?;
        stream.write_all(b"get nothing\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(&answer == b"END\r\n")
    };
    while Instant::now() < deadline && machine.ended().is_none() {
        if matches!(answers(), Ok(true)) {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    Err(machine.autopsy())
}

/// Dollars an hour: what both users paid, less what the guest's processor cost.
fn made(contracts: &[Contract; 2], block: &Block) -> (f64, f64) {
    let revenue: f64 = contracts
        .iter()
        .zip(&block.0)
        .filter_map(|(contract, seen)| {
            let seen = (*seen)?;
            let flow = Flow {
                operations_per_s: seen.per_s,
                ..Flow::paper(0.0, seen.mean_ms * 1e6, seen.deviation_ms * 1e6)
            };
            Some(contract.evaluate(&flow, &Prices::NONE).revenue)
        })
        .sum();
    let core = prices().core.map_or(0.0, |core| core.0 as f64 / 1e18) * 1e9;
    (3_600.0 * revenue, 3_600.0 * core * block.1)
}

pub fn together(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Found> {
    in_time(settings)?;
    let programs = Programs(artefacts::guest(&["nom-kernel", "nom-switch-guest", "nom-kv-guest"], progress)?);
    let metadata = Metadata::start(Fixed)?;
    let port = metadata.port();
    let accelerator = if settings.kvm { Accelerator::Kvm } else { Accelerator::Tcg };
    // Each alone, with each setting: what a profile is. What an idle guest takes is in it, and is little.
    let mut profiles = [[Seen::default(); GATHER_MS.len()]; 2];
    let mut core_us = [[0.0; GATHER_MS.len()]; 2];
    for number in 0..GATHER_MS.len() {
        let image = programs.image(&configuration(Way::Shared(number), port, ""))?;
        for place in 0..2 {
            let (all, cores) = block(&image, accelerator, [place == 0, place == 1], 10 * number as u64)?;
            let seen = all[place].ok_or_else(|| Trouble::new("nobody was asked"))?;
            profiles[place][number] = seen;
            core_us[place][number] = cores / seen.per_s * 1e6;
            progress(&format!(
                "  {} alone, {}: {:.0}/s, {:.2} ms, {:.1} us of CPU each",
                USERS[place].name,
                Way::Shared(number).name(),
                seen.per_s,
                seen.mean_ms,
                core_us[place][number]
            ));
        }
    }
    let terms = terms(&profiles, &core_us)?;
    let ways: Vec<Way> = (0..GATHER_MS.len()).map(Way::Shared).chain([Way::Own]).collect();
    let all_contracts = contracts(&configuration(Way::Own, port, &terms))?;
    let images = ways
        .iter()
        .map(|way| programs.image(&configuration(*way, port, &terms)))
        .collect::<Outcome<Vec<_>>>()?;
    let mut rounds: Vec<Vec<Block>> = Vec::new();
    let mut disturbed = 0;
    let count = settings.runs.unwrap_or(if settings.quick { ROUNDS_QUICK } else { ROUNDS });
    for round in 0..count {
        disturbed += settings.quiet(QUIET, LOOK, LOOKS, round, progress);
        let mut blocks: Vec<Option<Block>> = vec![None; ways.len()];
        // In turns: who comes first changes with every round.
        for turn in 0..ways.len() {
            let which = (turn + round) % ways.len();
            let seen = block(&images[which], accelerator, [true; 2], 100 + 10 * round as u64)?;
            let (earned, paid) = made(&all_contracts, &seen);
            let one = |place: usize| {
                seen.0[place].map_or(String::new(), |seen| {
                    format!("{} {:.0}/s, {:.2} ms; ", USERS[place].name, seen.per_s, seen.mean_ms)
                })
            };
            progress(&format!(
                "  {}: {}{}{:.3} of a core; {} - {} $/h",
                ways[which].name(),
                one(0),
                one(1),
                seen.1,
                short(earned),
                short(paid)
            ));
            blocks[which] = Some(seen);
        }
        rounds.push(blocks.into_iter().flatten().collect());
    }
    Ok(told(&ways, &rounds, &all_contracts, disturbed, &terms, !settings.kvm))
}

fn told(
    ways: &[Way],
    rounds: &[Vec<Block>],
    contracts: &[Contract; 2],
    disturbed: usize,
    terms: &str,
    emulated: bool,
) -> Found {
    let median = |mut all: Vec<f64>| {
        all.sort_by(f64::total_cmp);
        (all[(all.len() - 1) / 2] + all[all.len() / 2]) / 2.0
    };
    let of = |which: usize, what: &dyn Fn(&Block) -> f64| -> Vec<f64> {
        rounds.iter().map(|round| what(&round[which])).collect()
    };
    let profit = |block: &Block| {
        let (earned, paid) = made(contracts, block);
        earned - paid
    };
    let own = ways.len() - 1;
    let profits: Vec<f64> = (0..ways.len()).map(|which| median(of(which, &profit))).collect();
    let best = (0..own).max_by(|a, b| profits[*a].total_cmp(&profits[*b])).unwrap_or(0);
    let revenue = median(of(best, &|block| made(contracts, block).0));
    let head = [
        "",
        "kv-1, hurried by nobody",
        "kv-2, in a hurry",
        "cores",
        "earned an hour",
        "paid an hour",
        "profit an hour",
    ];
    let mut rows = vec![head.map(String::from).to_vec()];
    for (which, way) in ways.iter().enumerate() {
        let app = |place: usize| {
            let get = |what: fn(&Seen) -> f64| {
                median(of(which, &|block| block.0[place].map_or(0.0, |seen| what(&seen))))
            };
            format!(
                "{:.0}/s, {} ms ({} ms)",
                get(|seen| seen.per_s),
                short(get(|seen| seen.mean_ms)),
                short(get(|seen| seen.deviation_ms))
            )
        };
        rows.push(vec![
            way.name(),
            app(0),
            app(1),
            short(median(of(which, &|block| block.1))),
            format!("{} $", short(median(of(which, &|block| made(contracts, block).0)))),
            format!("{} $", short(median(of(which, &|block| made(contracts, block).1)))),
            format!("{} $", short(profits[which])),
        ]);
    }
    let ratios: Vec<f64> = rounds.iter().map(|round| profit(&round[own]) / profit(&round[best])).collect();
    let part = (profits[own] - profits[best]) / revenue.max(f64::MIN_POSITIVE);
    let figures = [
        Figure::of("paper.together_own_shared_ratio", "x", None, &ratios),
        Figure::of("paper.together_own_shared_part", "", Some(">=-0.01"), &[part]),
        Figure::of("paper.together_disturbed_rounds", "", None, &[disturbed as f64]),
    ];
    let mut figures: Vec<Figure> =
        figures.into_iter().flatten().map(|figure| figure.emulated(emulated)).collect();
    for (which, way) in ways.iter().enumerate() {
        let key = match way {
            Way::Shared(place) => format!("shared_{}_ms", GATHER_MS[*place]),
            Way::Own => "own".into(),
        };
        let one = |what: &str, unit, of: Vec<f64>| {
            Figure::of(&format!("paper.together_{key}_{what}"), unit, None, &of)
                .map(|figure| figure.emulated(emulated))
        };
        figures.extend(one("profit_per_h", "$", of(which, &profit)));
        for (place, users) in USERS.iter().enumerate() {
            let name = users.name.replace('-', "_");
            let get =
                |what: fn(&Seen) -> f64| of(which, &|block| block.0[place].map_or(0.0, |seen| what(&seen)));
            figures.extend(one(&format!("{name}_per_s"), "1/s", get(|seen| seen.per_s)));
            figures.extend(one(&format!("{name}_ms"), "ms", get(|seen| seen.mean_ms)));
        }
    }
    let ratio = |which: usize| profits[own] / profits[which];
    let series = vec![("profit an hour".to_string(), profits.clone())];
    let names: Vec<String> = ways.iter().map(|way| way.name()).collect();
    let prices: String =
        terms.lines().filter(|line| !line.contains(".points")).collect::<Vec<_>>().join("\n");
    Found {
        configuration: format!(
            "One guest of {MEMORY_MIB} MiB and one processor: a switch that owns the card, and two caches behind it, \
             over QEMU's user networking. Poisson arrivals, {:.0} a second over {} connections and {:.0} over {}, at the same time; a core at \
             {CORE}. A request is worth {} and {} times what its core time costs where nothing gathers, as the profile saw it; all of it is \
             paid back after {} and {} ms. Profile: each application alone with each setting. Then {} rounds of the shared settings and of \
             the tuners in the guest, who is first changing with each. Earned is what clients counted; paid is the time that the guest's \
             processor had on the host.\n{prices}",
            USERS[0].per_s,
            USERS[0].connections,
            USERS[1].per_s,
            USERS[1].connections,
            USERS[0].worth,
            USERS[1].worth,
            USERS[0].patience_ms,
            USERS[1].patience_ms,
            rounds.len()
        ),
        rows,
        tables: Vec::new(),
        charts: vec![bars("Two caches in one guest: profit of both", &names, &series, "dollars an hour")],
        figures,
        ours: format!(
            "Tuners of their own make {} times what the best setting for both makes in hindsight ({}), {} times what the worst one makes; \
             {disturbed} of {} rounds began while others used the machine.",
            short(ratio(best)),
            ways[best].name(),
            short((0..own).map(ratio).fold(0.0, f64::max)),
            rounds.len()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profiles() -> ([[Seen; 3]; 2], [[f64; 3]; 2]) {
        let seen = |per_s, mean_ms| Seen {
            per_s,
            mean_ms,
            deviation_ms: 0.1,
            p99_ms: 2.0 * mean_ms,
            answers: 1_000,
        };
        let of = |per_s| [seen(per_s, 0.5), seen(per_s, 1.5), seen(per_s, 4.5)];
        ([of(2_000.0), of(200.0)], [[100.0, 70.0, 50.0], [150.0, 148.0, 145.0]])
    }

    /// The terms that come of a profile are a configuration, and ask the two for different settings.
    #[test]
    fn each_application_wants_another_setting() {
        let (profiles, core_us) = profiles();
        let terms = terms(&profiles, &core_us).unwrap();
        let text = configuration(Way::Own, 1, &terms);
        for (place, wanted) in [(0, 2), (1, 0)] {
            let own = Configuration::parse_for(&text, USERS[place].name).unwrap();
            let (contract, points) = (own.contract.unwrap(), own.points.unwrap());
            let evaluator = contract.at(&prices());
            let rules = nom_tuner::Rules::default();
            let best = nom_tuner::best(&evaluator, &points.classes[0], USERS[place].per_s, &rules, |_| true)
                .unwrap();
            assert_eq!(best.setting, setting(wanted), "{}", USERS[place].name);
        }
        for place in 0..GATHER_MS.len() {
            let text = configuration(Way::Shared(place), 1, &terms);
            for users in &USERS {
                Configuration::parse_for(&text, users.name).unwrap();
            }
        }
    }

    #[test]
    fn what_was_made_is_what_users_paid_less_the_core() {
        let (profiles, core_us) = profiles();
        let terms = terms(&profiles, &core_us).unwrap();
        let contracts = contracts(&configuration(Way::Own, 1, &terms)).unwrap();
        let block = |first: usize, second: usize, cores| {
            ([Some(profiles[0][first]), Some(profiles[1][second])], cores)
        };
        let (earned, paid) = made(&contracts, &block(0, 0, 0.25));
        // Prices are whole attodollars a nanosecond.
        assert!((paid - 0.01).abs() < 1e-6);
        // 2,000 a second worth twice 100 us of a core, and 200 worth twenty times 150 us, less what latency takes.
        let (first, second) = (0.4 * (1.0 - 0.5 / 200.0), 0.6 * (1.0 - 0.5 / 8.0));
        assert!((earned / (0.04 * (first + second)) - 1.0).abs() < 1e-4, "{earned}");
        let ways = [Way::Shared(0), Way::Shared(1), Way::Shared(2), Way::Own];
        let round = vec![block(0, 0, 0.23), block(1, 1, 0.17), block(2, 2, 0.13), block(2, 0, 0.14)];
        let found = told(&ways, &[round], &contracts, 0, &terms, true);
        let value = |name: &str| found.figures.iter().find(|figure| figure.name == name).unwrap().value;
        assert!(value("paper.together_own_shared_ratio") > 1.05, "{}", found.ours);
        assert_eq!((found.rows.len(), found.charts.len()), (1 + 4, 1));
        assert!(!found.configuration.contains("nom-points") && found.configuration.contains("$/Mop"));
    }
}

//! The paper's claims, one each: what is played or measured, what the paper found, what we found, why they differ.

use super::chart::{Series, bars, plot, short};
use super::money::{DELAYS_US, Strategies, Swept, contracts, frontier, strategies};
use super::server::Costs;
use crate::figures::Figure;
use crate::{BENCHES, Settings};
use nom_machine::trouble::Outcome;

/// Answers of each delay and load: enough for a tail, and few enough for a test.
const ANSWERS: usize = 1_000_000;
const ANSWERS_QUICK: usize = 200_000;

/// The paper's applications, by stated costs: with W = 0 a single client sees the paper's latency, and many see about
/// its throughput. Figures 3 and 4 are read from the pictures: they are as good as a ruler is.
pub const APPLICATIONS: [Costs; 3] = [
    Costs { name: "kv", request_us: 21.0, kick_us: 4.0, path_us: 38.0, many: 16, answer_len: 1_100.0 },
    Costs { name: "httpd", request_us: 14.0, kick_us: 7.0, path_us: 40.0, many: 16, answer_len: 420.0 },
    Costs { name: "netpipe", request_us: 9.0, kick_us: 4.0, path_us: 22.0, many: 1, answer_len: 1_100.0 },
];

/// A claim as it stands in the report.
#[derive(Default)]
pub struct Found {
    /// What was played, in a line a person can repeat.
    pub configuration: String,
    /// Rows of a table, names first.
    pub rows: Vec<Vec<String>>,
    pub charts: Vec<String>,
    pub figures: Vec<Figure>,
    /// What we found.
    pub ours: String,
}

/// What plays a claim. The callback gets lines for the person who waits.
type Find = fn(&Settings, &mut dyn FnMut(&str)) -> Outcome<Found>;

/// A claim: its name, title, what the paper found, why ours may differ, and what plays it.
pub struct Claim {
    pub name: &'static str,
    pub title: &'static str,
    pub paper: &'static str,
    pub why: &'static str,
    pub find: Find,
    /// Whether it is pure arithmetic in virtual time: the same figures each time, on any machine.
    pub virtual_time: bool,
}

pub static CLAIMS: &[Claim] = &[
    Claim {
        name: "batching",
        title: "Figures 11 to 16: what a batching delay does to throughput and latency, and the frontier",
        paper: "memcached's throughput with many clients has its best at 14 us, nhttpd's at 12 us, NetPIPE's at none; each \
                microsecond of delay costs a single client about one of latency. memcached and nhttpd have a frontier of \
                several delays, NetPIPE has one point.",
        why: "This server is a model with a stated cost of each request and each kick; the paper's is a guest on KVM. The \
              model shows why there is a frontier (a kick that is shared, a client that waits) and that NetPIPE has none \
              (nobody to share with). Its best delay is where all that can gather has gathered, and follows from costs \
              that were put in. On our own guest under QEMU's translator a delay of microseconds before a kick gains \
              nothing: its kick costs about as much as a request's share of everything else, and the emulator's loop \
              gathers by itself. What moves there is how long frames gather before the service wakes, by milliseconds, \
              which the live service tunes.",
        find: batching,
        virtual_time: true,
    },
    Claim {
        name: "profit",
        title: "Figures 8 to 10: fixed settings and adapting, three applications by three utilities",
        paper: "Adapting makes more than any fixed delay for memcached and nhttpd: with the penalty, the delay of the greatest \
                throughput makes 82% (memcached) and 73% (nhttpd) of it, that of the least latency 14% and 94%. For \
                NetPIPE all columns are the same.",
        why: "How much a fixed delay loses by the penalty depends on how late answers are counted. The paper takes a normal \
              tail from mean and deviation; this model's deviation is small beside the limit, so that tail sees almost \
              nothing (penalty, normal), while the counted one (penalty) sees that the core is elsewhere now and then. The \
              paper's own refund takes 10 $/(Gbit s), which is nothing at microseconds: a steeper one, under which many \
              clients are not worth serving, stands beside it. Costs are stated, so shares are those of this model; that \
              no delay is the best one for both minutes, and that a ping-pong has nothing to win, are the paper's findings.",
        find: profit,
        virtual_time: true,
    },
    Claim {
        name: "days",
        title: "Beyond the paper: open load, real price days, load and price apart and together",
        paper: "One step of price and load, in a closed loop, with bandwidth alone priced.",
        why: "Cores are priced too, arrivals do not wait for answers, and the surface bends and moves in ways that the tuner \
              is not told. `nom bench profit` is this claim with more runs.",
        find: days,
        virtual_time: true,
    },
    Claim {
        name: "systems",
        title: "Figures 2 to 4, tables 1 and 2: a guest of ours beside one of Linux",
        paper: "nom has 1.01x to 1.28x of Linux' throughput for memcached, 1.2x to 3.9x for nhttpd, up to 1.42x for NetPIPE; \
                latency up to 9.1x better, memcached's jitter 499 us (Linux) and 121 us (nom) with many and 14 and 13 us \
                with one; 10,834 and 18,280 exits a second instead of 43,146 and 90,166.",
        why: "Both guests run under QEMU's translator, which has a price of its own for everything: small code gains more \
              than it would on hardware, so these ratios are not a headline. Kicks and interrupts an operation stand in \
              for exits and injections. OSv is not packaged and was not run.",
        find: systems,
        virtual_time: false,
    },
];

fn answers(settings: &Settings) -> usize {
    if settings.quick { ANSWERS_QUICK } else { ANSWERS }
}

fn costs_line() -> String {
    let one = |costs: &Costs| {
        let Costs { name, request_us, kick_us, path_us, many, answer_len } = costs;
        format!(
            "{name}: {request_us} us a request, {kick_us} us a kick, {path_us} us of way, {many} clients, {answer_len} bytes an answer"
        )
    };
    APPLICATIONS.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn batching(settings: &Settings, _: &mut dyn FnMut(&str)) -> Outcome<Found> {
    let mut found = Found {
        configuration: format!("Model in virtual time. {}.", costs_line()),
        rows: vec![
            [
                "",
                "best delay",
                "gain over none",
                "kicks a second, none",
                "at the best",
                "one client",
                "latency a us of delay",
                "delays on the frontier",
            ]
            .map(String::from)
            .into(),
        ],
        ..Found::default()
    };
    let mut words = Vec::new();
    for costs in &APPLICATIONS {
        let [_, swept] = Swept::pair(costs, answers(settings));
        let most =
            swept.many.iter().max_by(|a, b| a.per_s.total_cmp(&b.per_s)).copied().unwrap_or(swept.many[0]);
        let gain = most.per_s / swept.many[0].per_s;
        let (first, last) = (swept.single[0], swept.single[DELAYS_US.len() - 1]);
        let slope = (last.mean_us - first.mean_us) / last.delay_us;
        let front = frontier(&swept);
        found.rows.push(vec![
            costs.name.into(),
            format!("{} us", most.delay_us),
            format!("{:+.1}%", (gain - 1.0) * 100.0),
            format!("{:.0}", swept.many[0].kicks_per_s),
            format!("{:.0}", most.kicks_per_s),
            format!("{:.1} us", first.mean_us),
            format!("{slope:.2} us"),
            front.iter().map(|place| DELAYS_US[*place].to_string()).collect::<Vec<_>>().join(" "),
        ]);
        let curve =
            |name: &str, points: Vec<(f64, f64)>| Series { name: name.into(), points, words: Vec::new() };
        found.charts.push(plot(
            &format!("{}: throughput with many clients", costs.name),
            "delay, us",
            &format!("{}: answers a second, many clients", costs.name),
            &[curve("many", swept.many.iter().map(|seen| (seen.delay_us, seen.per_s)).collect())],
        ));
        found.charts.push(plot(
            &format!("{}: latency of one client", costs.name),
            "delay, us",
            &format!("{}: mean latency of one client, us", costs.name),
            &[curve("single", swept.single.iter().map(|seen| (seen.delay_us, seen.mean_us)).collect())],
        ));
        let point = |place: &usize| (swept.many[*place].per_s, swept.single[*place].mean_us);
        let others: Vec<usize> = (0..DELAYS_US.len()).filter(|place| !front.contains(place)).collect();
        let marks = |name: &str, places: &[usize]| Series {
            name: name.into(),
            points: places.iter().map(point).collect(),
            words: places.iter().map(|place| DELAYS_US[*place].to_string()).collect(),
        };
        found.charts.push(plot(
            &format!("{}: the frontier", costs.name),
            "answers a second with many clients",
            &format!("{}: mean latency of one client, us (numbers: delay)", costs.name),
            &[marks("on the frontier", &front), marks("others", &others)],
        ));
        let one = |name: &str, unit, value| {
            Figure::of(&format!("paper.{}_{name}", costs.name), unit, None, &[value])
        };
        found.figures.extend(one("best_delay_us", "us", most.delay_us));
        found.figures.extend(one("best_delay_gain_ratio", "x", gain));
        found.figures.extend(one("latency_slope", "us/us", slope));
        found.figures.extend(one("frontier_points", "", front.len() as f64));
        words.push(format!(
            "{} serves most at {} us ({:+.1}%) and has {} delays on its frontier",
            costs.name,
            most.delay_us,
            (gain - 1.0) * 100.0,
            front.len()
        ));
    }
    found.ours = format!("{}. A microsecond of delay costs a single client one.", words.join("; "));
    Ok(found)
}

fn profit(settings: &Settings, _: &mut dyn FnMut(&str)) -> Outcome<Found> {
    let mut found = Found {
        configuration: format!(
            "Model in virtual time, 60 s at 1 $/Gbit with many clients, then 60 s at 10 $/Gbit with one; alpha 20 $/Gbit, \
             penalty 100 at 750 us, refund 10 and 100,000 $/(Gbit s), bonus 0.01 $ s/Gbit without a bound. Delays are \
             chosen by one profile and scored on another one; the best fixed one is that of the score itself, which favours it. The \
             adaptive one may serve nothing. {}.",
            costs_line()
        ),
        rows: vec![
            [
                "",
                "",
                "throughput",
                "latency",
                "best fixed, in hindsight",
                "adaptive",
                "oracle",
                "first minute",
                "second minute",
                "adaptive / fixed",
            ]
            .map(String::from)
            .into(),
        ],
        ..Found::default()
    };
    let (mut least, mut gained): (f64, Option<f64>) = (f64::INFINITY, None);
    for costs in &APPLICATIONS {
        let [told, scored] = Swept::pair(costs, answers(settings));
        let mut columns: [Vec<f64>; 5] = Default::default();
        let mut names = Vec::new();
        for (name, contract) in contracts() {
            let Strategies { throughput, latency, fixed, adaptive, oracle } =
                strategies(&contract, &told, &scored);
            let all = [throughput, latency, fixed, adaptive, oracle];
            let best = oracle.total();
            found.rows.push(
                [costs.name.to_string(), name.to_string()]
                    .into_iter()
                    .chain(all.iter().map(|made| format!("{:.3} $", made.total())))
                    .chain(adaptive.phases.iter().map(|made| format!("{made:.3} $")))
                    .chain([format!("{:.4}", adaptive.total() / fixed.total())])
                    .collect(),
            );
            for (column, made) in columns.iter_mut().zip(&all) {
                column.push(if best > 0.0 { 100.0 * made.total() / best } else { f64::NAN });
            }
            names.push(name.to_string());
            let key: String =
                name.chars().filter(|letter| letter.is_alphanumeric() || *letter == ' ').collect();
            let key = format!("paper.{}_{}_adaptive_ratio", costs.name, key.replace(' ', "_"));
            // What is void is not counted: a fixed setting that loses money is no reference.
            if fixed.total() > 0.0 {
                let ratio = adaptive.total() / fixed.total();
                found.figures.extend(Figure::of(&key, "x", None, &[ratio]));
                least = least.min(ratio);
                if oracle.total() / fixed.total() >= 1.1 {
                    gained = Some(gained.map_or(ratio, |gained| gained.min(ratio)));
                }
            }
        }
        let titles = ["most throughput", "least latency", "best fixed", "adaptive", "oracle"];
        let series: Vec<(String, Vec<f64>)> = titles.map(String::from).into_iter().zip(columns).collect();
        let title = format!("{}: profit, % of the oracle's", costs.name);
        found.charts.push(bars(&title, &names, &series, &title));
    }
    found.figures.extend(Figure::of("paper.adaptive_fixed_ratio_min", "x", Some(">=0.99"), &[least]));
    found.figures.extend(gained.and_then(|gained| {
        Figure::of("paper.adaptive_fixed_ratio_with_headroom_min", "x", Some(">=1"), &[gained])
    }));
    found.ours = format!(
        "Adapting makes at least {least:.4} of the best fixed delay in every case; {}.",
        match gained {
            Some(gained) =>
                format!("where the oracle could make 10% more than it, at least {gained:.3} of it"),
            None =>
                "in no case could the oracle make 10% more than it, so equality is the honest result".into(),
        }
    );
    Ok(found)
}

/// The bench of this name as a part of the report.
fn bench(name: &str, settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let bench = BENCHES.iter().find(|bench| bench.name == name).expect("it is one of ours");
    (bench.measure)(settings, progress)
}

fn rows(figures: &[Figure]) -> Vec<Vec<String>> {
    let mut rows = vec![["figure", "value", "least", "most", "runs", "goal", ""].map(String::from).to_vec()];
    rows.extend(figures.iter().map(|figure| {
        vec![
            figure.name.clone(),
            format!("{} {}", short(figure.value), figure.unit),
            short(figure.min),
            short(figure.max),
            figure.runs.to_string(),
            figure.goal.unwrap_or_default().into(),
            match figure.met() {
                Some(true) => "met".into(),
                Some(false) => "missed".into(),
                None => String::new(),
            },
        ]
    }));
    rows
}

fn days(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Found> {
    let runs = settings.runs.or(settings.quick.then_some(3));
    let mut lines = Vec::new();
    let figures = bench("profit", &Settings { runs, ..settings.clone() }, &mut |line| {
        lines.push(line.to_string());
        progress(line);
    })?;
    let value = |name: &str| {
        figures.iter().find(|figure| figure.name == name).map_or(f64::NAN, |figure| figure.value)
    };
    let names = ["static_lower_bound", "oracle_ratio_offline_min", "oracle_ratio_online_min"];
    let chart = bars(
        "worst of all cells",
        &names[1..].iter().map(|name| name.replace('_', " ")).collect::<Vec<_>>(),
        &[(
            "of the oracle's profit".into(),
            names[1..].iter().map(|name| value(&format!("profit.{name}"))).collect(),
        )],
        "worst of all courses and loads, part of the oracle's profit",
    );
    let ours = format!(
        "Over {} cells, with profiled points the tuner makes at least {:.3} of the oracle, with none {:.3}; over the best fixed \
         setting it is at least {:+.3} of revenue (lower bound).",
        lines.iter().filter(|line| line.contains("offline over static")).count(),
        value("profit.oracle_ratio_offline_min"),
        value("profit.oracle_ratio_online_min"),
        value("profit.static_lower_bound"),
    );
    let rows = rows(&figures);
    Ok(Found { configuration: lines.join("\n"), rows, charts: vec![chart], figures, ours })
}

fn systems(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Found> {
    let runs = settings.runs.or(settings.quick.then_some(1));
    let mut found = Found {
        configuration:
            "`nom bench kv --on vm`, `nom bench httpd --on vm`, `nom bench netpipe`, in turns with Linux."
                .into(),
        ..Found::default()
    };
    let mut absent = Vec::new();
    for (name, on) in [("kv", Some("vm")), ("httpd", Some("vm")), ("netpipe", None)] {
        let settings = Settings { runs, on: on.map(String::from), question: "", ..settings.clone() };
        // What cannot be measured here is said and left out; the rest of the report stands.
        match bench(name, &settings, progress) {
            Ok(figures) => found.figures.extend(figures),
            Err(trouble) => absent.push(format!("{name} was not measured: {trouble}")),
        }
    }
    let value =
        |name: &str| found.figures.iter().find(|figure| figure.name == name).map(|figure| figure.value);
    let cells: [(&str, &str, f64); 6] = [
        ("kv many, throughput", "kv.vm_many_ratio", 1.01),
        ("kv single, latency", "kv.vm_single_ratio", 1.29),
        ("kv single, jitter", "kv.vm_jitter_ratio", 1.08),
        ("httpd many, throughput", "httpd.vm_many_ratio", 3.9),
        ("httpd single, latency", "httpd.vm_single_ratio", 1.2),
        ("httpd single, jitter", "httpd.vm_jitter_ratio", f64::NAN),
    ];
    let names: Vec<String> = cells.iter().map(|(name, ..)| (*name).into()).collect();
    let here: Vec<f64> = cells.iter().map(|(_, figure, _)| value(figure).unwrap_or(f64::NAN)).collect();
    let theirs: Vec<f64> = cells.iter().map(|(.., paper)| *paper).collect();
    let measured = here.iter().filter(|figure| figure.is_finite()).count();
    let better = here.iter().filter(|figure| **figure > 1.0).count();
    found.charts.push(bars(
        "a guest of ours over a guest of Linux",
        &names,
        &[("here (emulated)".into(), here), ("the paper (KVM)".into(), theirs)],
        "times better than Linux",
    ));
    found.rows = rows(&found.figures);
    found.ours =
        format!("Ours is ahead in {better} of {measured} measured cells (emulated). {}", absent.join("; "));
    Ok(found)
}

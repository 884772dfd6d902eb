//! Figures 8 to 10: what fixed delays and adapting make of the paper's two minutes, in the model.

use super::chart::bars;
use super::claims::{APPLICATIONS, Found, answers, costs_line};
use super::money::{self, Strategies, Swept, contracts, strategies};
use crate::Settings;
use crate::figures::Figure;
use nom_machine::trouble::Outcome;

pub fn profit(settings: &Settings, _: &mut dyn FnMut(&str)) -> Outcome<Found> {
    let mut found = Found {
        configuration: format!(
            "Model in virtual time, 60 s at 1 $/Gbit with many clients, then 60 s at 10 $/Gbit with one; alpha 20 $/Gbit, \
             penalty 100 at 750 us, refund 10 and 100,000 $/(Gbit s), bonus 0.01 $ s/Gbit without a bound. Delays are \
             chosen by one profile and scored on another one; the best fixed one is that of the score itself, which favours it. The \
             adaptive one may serve nothing. Online: the tuner that is told which delays there are and nothing about them. {}.",
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
                "online",
                "oracle",
                "first minute (adaptive)",
                "second minute (adaptive)",
                "adaptive / fixed",
            ]
            .map(String::from)
            .into(),
        ],
        ..Found::default()
    };
    let (mut least, mut gained): (f64, Option<f64>) = (f64::INFINITY, None);
    let mut from_nothing: f64 = f64::INFINITY;
    for (number, costs) in APPLICATIONS.iter().enumerate() {
        let pair = Swept::pair(costs, answers(settings));
        let [told, scored] = &*pair;
        let mut columns: [Vec<f64>; 6] = Default::default();
        let mut names = Vec::new();
        for (name, contract) in contracts() {
            let Strategies { throughput, latency, fixed, adaptive, oracle } =
                strategies(&contract, told, scored);
            let online = money::online(&contract, scored);
            let all = [throughput, latency, fixed, adaptive, online, oracle];
            let best = oracle.total();
            found.rows.push(
                [costs.name.to_string(), name.to_string()]
                    .into_iter()
                    .chain(all.iter().map(|made| format!("{:.1} $", made.total())))
                    .chain(adaptive.phases.iter().map(|made| format!("{made:.1} $")))
                    .chain([format!("{:.4}", adaptive.total() / fixed.total())])
                    .collect(),
            );
            for (column, made) in columns.iter_mut().zip(&all) {
                column.push(if best > 0.0 { 100.0 * made.total() / best } else { f64::NAN });
            }
            if best > 0.0 {
                from_nothing = from_nothing.min(online.total() / best);
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
        let titles = ["most throughput", "least latency", "best fixed", "adaptive", "online", "oracle"];
        let series: Vec<(String, Vec<f64>)> = titles.map(String::from).into_iter().zip(columns).collect();
        let title = format!("Figure {}: {}, fixed settings and adapting", 8 + number, costs.name);
        found.charts.push(bars(&title, &names, &series, "profit, % of the oracle's"));
    }
    found.figures.extend(Figure::of("paper.adaptive_fixed_ratio_min", "x", Some(">=0.99"), &[least]));
    found.figures.extend(gained.and_then(|gained| {
        Figure::of("paper.adaptive_fixed_ratio_with_headroom_min", "x", Some(">=1"), &[gained])
    }));
    found.figures.extend(Figure::of("paper.online_oracle_ratio_min", "", None, &[from_nothing]));
    found.ours = format!(
        "Adapting makes at least {least:.4} of the best fixed delay in every case; {}. From nothing (online) it makes at least \
         {from_nothing:.2} of the oracle: trying may cost a hundredth of an hour's revenue, which is a third of these two minutes; \
         in a closed loop it learns how late a delay makes answers, not how many more it would let the clients ask for; and it \
         serves at a loss while it looks (refund).",
        match gained {
            Some(gained) =>
                format!("where the oracle could make 10% more than it, at least {gained:.3} of it"),
            None =>
                "in no case could the oracle make 10% more than it, so equality is the honest result".into(),
        }
    );
    Ok(found)
}

/// The frontier's headroom from which adapting must make more.
const HEADROOM: f64 = 1.1;

/// Three applications by three utilities: never worse than the best fixed delay, better where there is something to win.
pub fn nine(settings: &Settings, _: &mut dyn FnMut(&str)) -> Outcome<Found> {
    let mut found = Found {
        configuration: format!(
            "As the claim profit. Worse or better is the difference of the profits, as a part of what users pay under the best \
             fixed delay in hindsight; headroom is the oracle's profit over it. Where no fixed delay makes a profit, the cell is \
             void for the ratio, and the difference counts. {}.",
            costs_line()
        ),
        rows: vec![
            [
                "",
                "",
                "best fixed",
                "adaptive",
                "oracle",
                "adaptive over fixed, of revenue",
                "headroom",
                "adaptive / fixed",
            ]
            .map(String::from)
            .into(),
        ],
        ..Found::default()
    };
    let (mut least, mut gain): (f64, Option<f64>) = (f64::INFINITY, None);
    let (mut cells, mut with_headroom) = (0, 0);
    let (mut names, mut columns) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
    for costs in &APPLICATIONS {
        let pair = Swept::pair(costs, answers(settings));
        let [told, scored] = &*pair;
        let three = contracts().into_iter().filter(|(name, _)| ["penalty", "refund", "bonus"].contains(name));
        for (name, contract) in three {
            let Strategies { fixed, adaptive, oracle, .. } = strategies(&contract, told, scored);
            let part = money::part(adaptive, fixed);
            let headroom = oracle.total() / fixed.total();
            let void = fixed.total() <= 0.0;
            cells += 1;
            if fixed.revenue > 0.0 {
                least = least.min(part);
            }
            if !void && headroom >= HEADROOM {
                with_headroom += 1;
                let ratio = adaptive.total() / fixed.total();
                gain = Some(gain.map_or(ratio, |gain| gain.min(ratio)));
            }
            let ratio = |value: f64| if void { "void".into() } else { format!("{value:.4}") };
            found.rows.push(vec![
                costs.name.into(),
                name.into(),
                format!("{:.1} $", fixed.total()),
                format!("{:.1} $", adaptive.total()),
                format!("{:.1} $", oracle.total()),
                format!("{:+.3}%", part * 100.0),
                ratio(headroom),
                ratio(adaptive.total() / fixed.total()),
            ]);
            let key = format!("paper.nine_{}_{name}_part", costs.name);
            found.figures.extend(Figure::of(&key, "", None, &[part]));
            names.push(format!("{} {name}", costs.name));
            let best = oracle.total();
            for (column, made) in columns.iter_mut().zip([fixed, adaptive, oracle]) {
                column.push(if best > 0.0 { 100.0 * made.total() / best } else { f64::NAN });
            }
        }
    }
    let titles = ["best fixed", "adaptive", "oracle"];
    let series: Vec<(String, Vec<f64>)> = titles.map(String::from).into_iter().zip(columns).collect();
    found.charts.push(bars(
        "Nine cases beside the best fixed delay",
        &names,
        &series,
        "profit, % of the oracle's",
    ));
    found.figures.extend(Figure::of("paper.nine_static_part_min", "", Some(">=-0.01"), &[least]));
    found.figures.extend(Figure::of("paper.nine_cases", "", Some(">=9"), &[f64::from(cells)]));
    found.figures.extend(Figure::of("paper.nine_headroom_cases", "", None, &[f64::from(with_headroom)]));
    found.figures.extend(
        gain.and_then(|gain| Figure::of("paper.nine_headroom_ratio_min", "x", Some(">=1.0001"), &[gain])),
    );
    found.ours = format!(
        "In {cells} cases adapting is never worse than the best fixed delay by more than {:.3}% of revenue; {}.",
        (-least).max(0.0) * 100.0,
        match gain {
            Some(gain) => format!(
                "in the {with_headroom} with a headroom of 10% it makes at least {gain:.3} times as much"
            ),
            None => "none has a headroom of 10%".into(),
        }
    );
    Ok(found)
}

//! Figures 11 to 16: throughput and latency over the batching delay, and the frontier, in the model.

use super::chart::{Series, plot};
use super::claims::{APPLICATIONS, Found, answers, costs_line};
use super::money::{DELAYS_US, Swept, frontier};
use crate::Settings;
use crate::figures::Figure;
use nom_machine::trouble::Outcome;

pub fn batching(settings: &Settings, _: &mut dyn FnMut(&str)) -> Outcome<Found> {
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
    // Of all applications first the sweeps and then the frontiers, as the paper has them.
    let (mut words, mut frontiers) = (Vec::new(), Vec::new());
    for (number, costs) in APPLICATIONS.iter().enumerate() {
        let pair = Swept::pair(costs, answers(settings));
        let [_, swept] = &*pair;
        let most =
            swept.many.iter().max_by(|a, b| a.per_s.total_cmp(&b.per_s)).copied().unwrap_or(swept.many[0]);
        let gain = most.per_s / swept.many[0].per_s;
        let (first, last) = (swept.single[0], swept.single[DELAYS_US.len() - 1]);
        let slope = (last.mean_us - first.mean_us) / last.delay_us;
        let front = frontier(swept);
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
            &format!("Figure {}: {}, throughput with many clients", 11 + number, costs.name),
            "batching delay, us",
            "answers a second",
            &[curve("many", swept.many.iter().map(|seen| (seen.delay_us, seen.per_s)).collect())],
        ));
        found.charts.push(plot(
            &format!("Figure {}: {}, latency of a single client", 11 + number, costs.name),
            "batching delay, us",
            "mean latency, us",
            &[curve("single", swept.single.iter().map(|seen| (seen.delay_us, seen.mean_us)).collect())],
        ));
        let point = |place: &usize| (swept.many[*place].per_s, swept.single[*place].mean_us);
        let others: Vec<usize> = (0..DELAYS_US.len()).filter(|place| !front.contains(place)).collect();
        let marks = |name: &str, places: &[usize]| Series {
            name: name.into(),
            points: places.iter().map(point).collect(),
            words: places.iter().map(|place| DELAYS_US[*place].to_string()).collect(),
        };
        frontiers.push(plot(
            &format!("Figure {}: {}, the frontier (numbers are delays)", 14 + number, costs.name),
            "answers a second with many clients",
            "mean latency of a single client, us",
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
            "{} serves most at {} us ({:+.1}%) and has {} on its frontier",
            costs.name,
            most.delay_us,
            (gain - 1.0) * 100.0,
            if front.len() == 1 { "one delay".into() } else { format!("{} delays", front.len()) }
        ));
    }
    found.charts.append(&mut frontiers);
    found.ours = format!("{}. A microsecond of delay costs a single client one.", words.join("; "));
    Ok(found)
}

//! Figures 5 to 7: what the measured throughput, latency and jitter of both systems earn on the paper's schedule, with the
//! tuner alive over the measured settings.

use super::cells::{APPLICATIONS, SCENARIOS, WAYS, cell, ours};
use super::chart::{bars, short};
use super::claims::Found;
use super::kept::Measured;
use super::money::{LIMIT_US, Made, Strategies, Swept, contracts, online, part, strategies};
use super::open::waiting;
use super::server::Seen;
use crate::Settings;
use crate::figures::Figure;
use crate::guests::PAPER_MANY;
use nom_machine::trouble::{Outcome, Trouble};
use nom_points::{Setting, Wait};
use nom_utility::Contract;

/// Outbound bytes of an answer; they scale both systems alike.
const ANSWER_LEN: [f64; 3] = [160.0, 300.0, 1_024.0];
/// Late answers are told as so many of these.
const SAMPLES: f64 = 1e6;
/// The paper's contracts, in the words of this report; the last one counts late answers, which the paper did not.
const CONTRACTS: [(&str, &str); 4] = [
    ("penalty", "penalty, normal"),
    ("refund", "refund, paper's"),
    ("bonus", "bonus"),
    ("penalty counted", "penalty"),
];
const HEAD: [&str; 11] = [
    "",
    "",
    "Linux",
    "best throughput",
    "best latency",
    "adaptive",
    "online",
    "oracle",
    "Linux, each minute",
    "adaptive, each minute",
    "adaptive / Linux",
];

pub fn earnings(settings: &Settings, _: &mut dyn FnMut(&str)) -> Outcome<Found> {
    let measured = Measured::read(&settings.out_folder().join("systems.json")).map_err(|_| {
        Trouble::new("the figures of the claim systems are needed; run that one first, with the same --out")
    })?;
    earned(&measured, !settings.kvm)
}

/// What was measured of these sides of an application, as a surface that can be played; `None` where a cell is missing.
fn swept(measured: &Measured, place: usize, sides: &[(&str, Setting)]) -> Option<(Swept, bool)> {
    let name = APPLICATIONS[place];
    let mut counted = true;
    let mut phase = |scenario: &str| -> Option<Vec<Seen>> {
        let seen = |(side, _): &(&str, Setting)| {
            let cell = cell(measured, name, side, scenario)?;
            counted &= cell.late.is_some();
            Some(Seen {
                delay_us: 0.0,
                per_s: cell.per_s,
                mean_us: cell.mean_us,
                jitter_us: cell.deviation_us.unwrap_or(0.0),
                late: (cell.late.unwrap_or(0.0) * SAMPLES) as u64,
                samples: SAMPLES as u64,
                kicks_per_s: 0.0,
            })
        };
        sides.iter().map(seen).collect()
    };
    let [many, single] = [phase(SCENARIOS[0])?, phase(SCENARIOS[1])?];
    let swept = Swept {
        name,
        answer_len: ANSWER_LEN[place],
        clients: PAPER_MANY as usize,
        settings: sides.iter().map(|(_, setting)| *setting).collect(),
        many,
        single,
    };
    Some((swept, counted))
}

/// A line of the table: what each way to choose made under a contract.
fn row(application: &str, name: &str, linux: Made, ways: &Strategies, online: &Made) -> Vec<String> {
    let Strategies { throughput, latency, adaptive, oracle, .. } = ways;
    let dollars = |made: &Made| format!("{} $", short(made.total()));
    let minutes = |made: &Made| made.phases.map(|made| format!("{} $", short(made))).join(" + ");
    let ratio = match linux.total() > 0.0 {
        true => short(adaptive.total() / linux.total()),
        false => "Linux makes no profit".into(),
    };
    [application.into(), name.into(), dollars(&linux)]
        .into_iter()
        .chain([throughput, latency, adaptive, online, oracle].map(dollars))
        .chain([minutes(&linux), minutes(adaptive), ratio])
        .collect()
}

fn earned(measured: &Measured, emulated: bool) -> Outcome<Found> {
    let mut found = Found {
        configuration: format!(
            "The medians of the claim systems are a surface of two settings (halting, polling), over which everybody plays in virtual \
             time: a minute of the many at 1 $/Gbit, then a minute of the single one at 10 $/Gbit; contracts and constants as the \
             paper's (penalty 100 at {LIMIT_US} us with a normal tail of mean and deviation, refund, bonus; the penalty also by late \
             answers that the client counted), 160, 300 and 1,024 bytes an answer of kv, httpd and netpipe. Best throughput, best latency: the \
             way of waiting that serves the many best, or the single one soonest, in both minutes. Adaptive: the tuner of a service, \
             ten looks a second, told these points. Online: the same, told nothing but that both ways exist. Oracle: the better one of \
             each minute, or nothing. Linux cannot choose, and serves at a loss too."
        ),
        rows: vec![HEAD.map(String::from).into()],
        ..Found::default()
    };
    let ours_of = [(WAYS[0], waiting(Wait::Halt)), (WAYS[1], waiting(Wait::Poll))];
    let theirs_of = [("linux", waiting(Wait::Halt))];
    let all: Vec<(&str, Contract)> = contracts().into();
    let (mut cases, mut more, mut least): (usize, usize, f64) = (0, 0, f64::INFINITY);
    let (mut never_worse, mut ahead) = (true, f64::INFINITY);
    for (place, application) in APPLICATIONS.into_iter().enumerate() {
        let (Some((linux, a)), Some((nom, b))) =
            (swept(measured, place, &theirs_of), swept(measured, place, &ours_of))
        else {
            continue;
        };
        let (mut names, mut columns): (Vec<String>, [Vec<f64>; 6]) = Default::default();
        for (name, known) in CONTRACTS {
            let counts = name == "penalty counted";
            let contract = all.iter().find(|(other, _)| *other == known).map(|(_, contract)| contract);
            let Some(contract) = contract.filter(|_| !counts || a && b) else { continue };
            let linux = linux.held(contract, 0);
            let ways = strategies(contract, &nom, &nom);
            let online = &online(contract, &nom);
            let Strategies { throughput, latency, fixed, adaptive, oracle } = &ways;
            found.rows.push(row(application, name, linux, &ways, online));
            for (column, made) in
                columns.iter_mut().zip([&linux, throughput, latency, adaptive, online, oracle])
            {
                column.push(made.total());
            }
            names.push(name.to_string());
            // The paper's nine cases; the counted tail stands beside.
            if !counts {
                cases += 1;
                more += usize::from(adaptive.total() > linux.total());
            }
            never_worse &= part(*adaptive, *fixed) >= -0.01;
            least = least.min(part(*adaptive, *fixed));
            if linux.total() > 0.0 {
                let ratio = adaptive.total() / linux.total();
                ahead = ahead.min(ratio);
                let key = format!("paper.{application}_{}_linux_profit_ratio", name.replace(' ', "_"));
                found.figures.extend(
                    Figure::of(&key, "x", Some(">=1"), &[ratio])
                        .map(|figure| figure.emulated(emulated).against("Linux in a guest")),
                );
            }
        }
        let titles = ["Linux", "best throughput", "best latency", "adaptive", "online", "oracle"];
        let series: Vec<(String, Vec<f64>)> = titles.map(String::from).into_iter().zip(columns).collect();
        let number = 5 + place;
        let title = format!("Figure {number}: {application}, profit of the two minutes");
        found.charts.push(bars(&title, &names, &series, "dollars"));
        let which = |scenario| ours(measured, application, scenario).map_or("", |(way, _)| way);
        found.ours.push_str(&format!(
            "{application} serves the many best {}, the single one {}. ",
            which("many"),
            which("single")
        ));
    }
    if cases == 0 {
        return Err(Trouble::new("the claim systems has measured no application whole"));
    }
    found.figures.extend(Figure::of("paper.earnings_cases", "", None, &[cases as f64]));
    found.figures.extend(Figure::of("paper.earnings_static_part_min", "", Some(">=-0.01"), &[least]));
    found.ours.push_str(&format!(
        "Ours makes more than Linux in {more} of {cases} cases (where Linux makes a profit at all, at least {} times as much); the tuner \
         is {} worse than the better of both fixed ways by more than a hundredth of the revenue.",
        short(ahead),
        if never_worse { "never" } else { "somewhere" }
    ));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::systems::tests::figures;
    use super::*;

    #[test]
    fn more_and_sooner_earns_more_and_the_tuner_takes_the_better_way() {
        let found = earned(&Measured::of(&figures()), true).unwrap();
        assert_eq!((found.rows.len(), found.charts.len()), (1 + 3 * CONTRACTS.len(), 3));
        let value = |name: &str| found.figures.iter().find(|figure| figure.name == name).unwrap().value;
        assert!(value("paper.kv_refund_linux_profit_ratio") > 2.0);
        assert!(found.ours.contains("9 of 9") && found.ours.contains("never worse"), "{}", found.ours);
        assert!(found.ours.starts_with("kv serves the many best halting, the single one polling."));
        // In the second minute it polls, which is what makes more there: that is adapting, and no fixed way does it.
        let bonus = found.rows.iter().find(|row| row[0] == "kv" && row[1] == "bonus").unwrap();
        let dollars = |at: usize| bonus[at].trim_end_matches(" $").parse::<f64>().unwrap();
        assert!(dollars(5) > dollars(3) && dollars(5) > dollars(4) && dollars(7) >= dollars(5), "{bonus:?}");
        assert!(earned(&Measured::of(&[]), true).is_err());
    }

    #[test]
    fn without_late_answers_the_counted_tail_is_left_out() {
        let figures: Vec<Figure> =
            figures().into_iter().filter(|figure| !figure.name.ends_with("late_part")).collect();
        let found = earned(&Measured::of(&figures), true).unwrap();
        assert_eq!(found.rows.len(), 1 + 9);
    }
}

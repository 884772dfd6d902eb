//! The paper's evaluation, run again: each claim with its command, its configuration, its figures and its charts, and
//! one report of all.
//!
//! ```text
//! nom bench paper [--quick] [--claim NAME[,NAME]] [--out FOLDER] [--resume]
//! FOLDER/report.html         everything, in one file; written anew after each claim
//! FOLDER/CLAIM.json          a claim's figures, one a line
//! FOLDER/CLAIM-N.svg         its charts
//! FOLDER/CLAIM.section.html  its part of the report: what `--resume` takes from a run that was interrupted
//! ```
//!
//! A quick run is through in a quarter of an hour: virtual time first, and of what is measured nothing is begun that would
//! not be over by then.

mod adapting;
mod batching;
mod beyond;
mod cells;
mod chart;
mod claims;
mod days;
mod earnings;
mod kept;
mod levers;
mod money;
mod native;
mod open;
mod profit;
mod report;
mod server;
mod systems;
mod together;

use crate::Settings;
use crate::figures::Figure;
use claims::{CLAIMS, Claim};
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::time::{Duration, Instant};

/// What is claimed.
pub const CLAIM: &str = "the paper's figures and tables again, with a report (--quick, --claim NAME, --out FOLDER, --resume): adapting \
                         never makes less than 99% of the best fixed setting, and more wherever there is something to win";

/// Until when a quick run begins what is measured: the longest part of it takes less than what is left of 15 minutes.
const QUICK_BEGINS: Duration = Duration::from_secs(750);

/// Measures all claims, or the one that was named, and writes the report.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let wanted = wanted(settings.claim.as_deref())?;
    if settings.kvm && wanted.iter().any(|claim| !claim.virtual_time) {
        systems::require_kvm(settings, progress)?;
    }
    play(&wanted, settings, progress)
}

fn play(
    wanted: &[&'static Claim],
    settings: &Settings,
    progress: &mut dyn FnMut(&str),
) -> Outcome<Vec<Figure>> {
    let folder = settings.out_folder();
    let begun = Instant::now();
    let settings = Settings {
        until: settings.quick.then(|| begun + QUICK_BEGINS),
        out: Some(folder.clone()),
        ..settings.clone()
    };
    std::fs::create_dir_all(&folder).context(|| format!("cannot make {}", folder.display()))?;
    let mut sections: Vec<(&Claim, Option<String>)> = wanted.iter().map(|claim| (*claim, None)).collect();
    for (claim, section) in &mut sections {
        *section = kept::section(&folder, claim, &settings).filter(|_| settings.resume);
        if section.is_none() {
            kept::forget(&folder, claim);
        }
    }
    let (mut figures, mut lost) = (Vec::new(), 0);
    // What is reckoned comes first, whatever the report's order: a run that is interrupted has that much.
    let mut order: Vec<usize> = (0..sections.len()).collect();
    order.sort_by_key(|place| !sections[*place].0.virtual_time);
    for (number, place) in order.into_iter().enumerate() {
        let claim = sections[place].0;
        let at = format!("[{}/{}, {} s]", number + 1, sections.len(), begun.elapsed().as_secs());
        if sections[place].1.is_some() {
            progress(&format!("{at} {}: kept from a run that was interrupted", claim.name));
            continue;
        }
        progress(&format!("{at} {}: {}", claim.name, claim.title));
        let section = match (claim.find)(&settings, progress) {
            Ok(mut found) => {
                let section = kept::keep(&folder, claim, &found, &settings)?;
                figures.append(&mut found.figures);
                section
            }
            Err(trouble) => {
                progress(&format!("{} was not measured: {trouble}", claim.name));
                lost += 1;
                report::section(claim, Err(&trouble.to_string()))
            }
        };
        sections[place].1 = Some(section);
        kept::put(&folder.join("report.html"), &report::report(&sections, about(&settings)))?;
    }
    let report = folder.join("report.html");
    kept::put(&report, &report::report(&sections, about(&settings)))?;
    progress(&format!("the report, after {} s: {}", begun.elapsed().as_secs(), report.display()));
    if lost == sections.len() {
        return Err(Trouble::new("no claim could be measured; the lines above say why"));
    }
    Ok(figures)
}

fn about(settings: &Settings) -> &'static str {
    match settings.quick {
        true => {
            "The quick run: few runs each, to see that everything works. Figures with spread are those of the full run."
        }
        false => "Each claim says whether it is virtual time or was measured here, and under what.",
    }
}

/// The claims of these names, separated by commas, in the report's order; all where nobody names any.
fn wanted(names: Option<&str>) -> Outcome<Vec<&'static Claim>> {
    let Some(names) = names else { return Ok(CLAIMS.iter().collect()) };
    let names: Vec<&str> = names.split(',').map(str::trim).collect();
    if let Some(strange) = names.iter().find(|name| CLAIMS.iter().all(|claim| claim.name != **name)) {
        let all: Vec<&str> = CLAIMS.iter().map(|claim| claim.name).collect();
        return Err(Trouble::new(format!("--claim {strange}: there are {}", all.join(", "))));
    }
    Ok(CLAIMS.iter().filter(|claim| names.contains(&claim.name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn settings(folder: &Path) -> Settings {
        Settings {
            runs: Some(1),
            cache: folder.into(),
            question: "",
            on: None,
            kvm: false,
            peer: None,
            recording: None,
            prices: None,
            quick: true,
            claim: None,
            out: Some(folder.into()),
            resume: false,
            until: None,
        }
    }

    /// The slice that runs with every change: what is virtual time, whole, with its report.
    #[test]
    fn the_claims_in_virtual_time_hold_and_every_figure_is_drawn() {
        let folder = nom_machine::scratch::Scratch::new().unwrap();
        let settings = settings(folder.path());
        let claims: Vec<&'static Claim> =
            CLAIMS.iter().filter(|claim| claim.virtual_time && claim.name != "days").collect();
        let figures = play(&claims, &settings, &mut |_| {}).unwrap();
        let missed: Vec<&Figure> = figures.iter().filter(|figure| figure.met() == Some(false)).collect();
        assert!(missed.is_empty(), "{missed:#?}");
        let value = |name: &str| figures.iter().find(|figure| figure.name == name).unwrap().value;
        // A ping-pong has nobody to share a kick with; the others do.
        assert_eq!(
            (value("paper.netpipe_best_delay_us"), value("paper.netpipe_frontier_points")),
            (0.0, 1.0)
        );
        assert!(value("paper.kv_best_delay_us") > 0.0 && value("paper.kv_frontier_points") >= 3.0);
        // Nine cases, and what the issue of each is: no worse anywhere, better where there is room.
        assert_eq!(value("paper.nine_cases"), 9.0);
        assert!(value("paper.nine_headroom_cases") >= 2.0 && value("paper.nine_headroom_ratio_min") > 1.0);
        assert!(value("paper.cores_changes") >= 1.0 && value("paper.open_kv_overload_gain_ratio") > 1.02);
        let report = std::fs::read_to_string(folder.file("report.html")).unwrap();
        assert_eq!(report.matches("</figcaption><svg").count(), 12 + 1 + 2 + 2 + 1, "charts");
        assert!(!report.contains("NaN") && !report.contains("src=") && !report.contains("href=\"http"));
        assert!(folder.file("profit-3.svg").is_file() && folder.file("batching.json").is_file());
    }

    #[test]
    fn what_an_interrupted_run_left_is_taken_and_what_others_left_is_not() {
        let folder = nom_machine::scratch::Scratch::new().unwrap();
        let fresh = settings(folder.path());
        let claims = wanted(Some("batching")).unwrap();
        let mut lines = Vec::new();
        let mut run = |settings: &Settings| {
            lines.clear();
            play(&claims, settings, &mut |line| lines.push(line.to_string())).unwrap().len()
        };
        assert!(run(&fresh) > 0);
        let again = Settings { resume: true, ..fresh.clone() };
        assert_eq!(run(&again), 0, "taken from the folder");
        let report = std::fs::read_to_string(folder.file("report.html")).unwrap();
        assert_eq!(report.matches("</figcaption><svg").count(), 9);
        assert!(run(&Settings { runs: Some(2), ..again }) > 0, "another run's section is none of ours");
        assert!(run(&fresh) > 0);
        let left = std::fs::read_dir(folder.path()).unwrap().filter_map(Result::ok);
        assert!(left.into_iter().all(|file| file.path().extension().is_some_and(|end| end != "half")));
    }

    #[test]
    fn a_claim_that_is_not_there_is_named_with_those_that_are() {
        assert!(wanted(Some("x")).err().unwrap().to_string().contains("there are systems, earnings, profit"));
        assert_eq!(wanted(None).unwrap().len(), CLAIMS.len());
        assert_eq!(wanted(Some("days")).unwrap().len(), 1);
        let two: Vec<&str> = wanted(Some("nine, batching")).unwrap().iter().map(|claim| claim.name).collect();
        assert_eq!(two, ["nine", "batching"]);
        assert!(wanted(Some("nine,x")).is_err() && wanted(Some("")).is_err());
    }
}

//! The paper's evaluation, run again: each claim with its command, its configuration, its figures and its charts, and
//! one report of all.
//!
//! ```text
//! nom bench paper [--quick] [--claim NAME] [--out FOLDER]
//! FOLDER/report.html    everything, in one file
//! FOLDER/CLAIM.json     a claim's figures, one a line
//! FOLDER/CLAIM-N.svg    its charts
//! ```

mod chart;
mod claims;
mod money;
mod report;
mod server;

use crate::Settings;
use crate::figures::Figure;
use claims::{CLAIMS, Claim, Found};
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::path::Path;

/// What is claimed.
pub const CLAIM: &str = "the paper's figures and tables again, with a report (--quick, --claim NAME, --out FOLDER): adapting never \
                         makes less than 99% of the best fixed setting, and more wherever there is something to win";

/// Measures all claims, or the one that was named, and writes the report.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let wanted = wanted(settings.claim.as_deref())?;
    let folder = settings.out.clone().unwrap_or_else(|| settings.cache.join("paper"));
    let mut found = Vec::new();
    for claim in wanted {
        progress(&format!("{}: {}", claim.name, claim.title));
        let result = (claim.find)(settings, progress).map_err(|trouble| trouble.to_string());
        if let Err(why) = &result {
            progress(&format!("{} was not measured: {why}", claim.name));
        }
        found.push((claim, result));
    }
    write(&folder, &found, settings.quick)?;
    progress(&format!("the report: {}", folder.join("report.html").display()));
    let lost = found.iter().filter(|(_, result)| result.is_err()).count();
    if lost == found.len() {
        return Err(Trouble::new("no claim could be measured; the lines above say why"));
    }
    Ok(found.into_iter().filter_map(|(_, result)| result.ok()).flat_map(|found| found.figures).collect())
}

fn wanted(name: Option<&str>) -> Outcome<Vec<&'static Claim>> {
    let all: Vec<&Claim> = CLAIMS.iter().filter(|claim| name.is_none_or(|name| claim.name == name)).collect();
    if all.is_empty() {
        let names: Vec<&str> = CLAIMS.iter().map(|claim| claim.name).collect();
        return Err(Trouble::new(format!(
            "--claim {}: there are {}",
            name.unwrap_or_default(),
            names.join(", ")
        )));
    }
    Ok(all)
}

fn write(folder: &Path, found: &[(&Claim, Result<Found, String>)], quick: bool) -> Outcome<()> {
    let put = |name: String, text: &str| {
        let file = folder.join(name);
        std::fs::write(&file, text).context(|| format!("cannot write {}", file.display()))
    };
    std::fs::create_dir_all(folder).context(|| format!("cannot make {}", folder.display()))?;
    for (claim, found) in found.iter().filter_map(|(claim, found)| Some((claim, found.as_ref().ok()?))) {
        let json: String = found.figures.iter().map(|figure| figure.json() + "\n").collect();
        put(format!("{}.json", claim.name), &json)?;
        for (number, chart) in found.charts.iter().enumerate() {
            put(format!("{}-{}.svg", claim.name, number + 1), chart)?;
        }
    }
    let about = match quick {
        true => {
            "The quick run: few runs each, to see that everything works. Figures with spread are those of the full run."
        }
        false => "Each claim says whether it is virtual time or was measured here, and under what.",
    };
    put("report.html".into(), &report::report(found, about))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            out: None,
        }
    }

    /// The slice that runs with every change: what is virtual time, whole, with its report.
    #[test]
    fn the_claims_in_virtual_time_hold_and_every_figure_is_drawn() {
        let folder = nom_machine::scratch::Scratch::new().unwrap();
        let settings = settings(folder.path());
        let mut found = Vec::new();
        for claim in CLAIMS.iter().filter(|claim| claim.virtual_time && claim.name != "days") {
            found.push((claim, (claim.find)(&settings, &mut |_| {}).map_err(|trouble| trouble.to_string())));
        }
        write(folder.path(), &found, true).unwrap();
        let figures: Vec<&Figure> =
            found.iter().flat_map(|(_, found)| &found.as_ref().unwrap().figures).collect();
        let missed: Vec<&Figure> =
            figures.iter().copied().filter(|figure| figure.met() == Some(false)).collect();
        assert!(missed.is_empty(), "{missed:#?}");
        let value = |name: &str| figures.iter().find(|figure| figure.name == name).unwrap().value;
        // A ping-pong has nobody to share a kick with; the others do.
        assert_eq!(
            (value("paper.netpipe_best_delay_us"), value("paper.netpipe_frontier_points")),
            (0.0, 1.0)
        );
        assert!(value("paper.kv_best_delay_us") > 0.0 && value("paper.kv_frontier_points") >= 3.0);
        let report = std::fs::read_to_string(folder.file("report.html")).unwrap();
        let charts: usize = found.iter().map(|(_, found)| found.as_ref().unwrap().charts.len()).sum();
        assert_eq!((charts, report.matches("<figure>").count()), (12, 12));
        assert!(!report.contains("NaN") && !report.contains("src=") && !report.contains("href=\"http"));
        assert!(folder.file("profit-3.svg").is_file() && folder.file("batching.json").is_file());
    }

    #[test]
    fn a_claim_that_is_not_there_is_named_with_those_that_are() {
        assert!(wanted(Some("x")).err().unwrap().to_string().contains("there are batching, profit"));
        assert_eq!(wanted(None).unwrap().len(), CLAIMS.len());
        assert_eq!(wanted(Some("days")).unwrap().len(), 1);
    }
}

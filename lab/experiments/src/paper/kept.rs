//! What a claim found, as it stays in the report's folder: an interrupted run goes on from there, and claims read each other.

use super::claims::{Claim, Found};
use super::report;
use crate::Settings;
use crate::figures::Figure;
use nom_machine::trouble::{Context, Outcome};
use std::fs;
use std::path::Path;

/// Figures by their names.
#[derive(Debug, Clone, Default)]
pub struct Measured(Vec<(String, f64)>);

impl Measured {
    pub fn of(figures: &[Figure]) -> Self {
        Self(figures.iter().map(|figure| (figure.name.clone(), figure.value)).collect())
    }

    /// Those of a file with one JSON object a line, as benches write it.
    pub fn read(file: &Path) -> Outcome<Self> {
        let text = fs::read_to_string(file).context(|| format!("cannot read {}", file.display()))?;
        Ok(Self(text.lines().filter_map(line).collect()))
    }

    pub fn value(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

fn line(text: &str) -> Option<(String, f64)> {
    let (name, rest) = text.strip_prefix("{\"name\":\"")?.split_once("\",\"value\":")?;
    let number = rest.split([',', '}']).next()?;
    Some((name.into(), number.parse().ok()?))
}

/// The first line of a section: a section of other settings is none of this run's.
fn key(settings: &Settings) -> String {
    let Settings { quick, runs, kvm, .. } = settings;
    format!("<!-- nom bench paper: quick={quick} runs={runs:?} kvm={kvm} -->\n")
}

fn section_of(folder: &Path, claim: &Claim) -> std::path::PathBuf {
    folder.join(format!("{}.section.html", claim.name))
}

/// The section that an interrupted run left, where it was one with the same settings.
pub fn section(folder: &Path, claim: &Claim, settings: &Settings) -> Option<String> {
    let text = fs::read_to_string(section_of(folder, claim)).ok()?;
    Some(text.strip_prefix(&key(settings))?.to_string())
}

/// Forgets what an earlier run found for a claim.
pub fn forget(folder: &Path, claim: &Claim) {
    let _ = fs::remove_file(section_of(folder, claim));
    let _ = fs::remove_file(folder.join(format!("{}.json", claim.name)));
    for number in 1.. {
        if fs::remove_file(folder.join(format!("{}-{number}.svg", claim.name))).is_err() {
            break;
        }
    }
}

/// Keeps what a claim found; the section goes last, since a claim that has one is taken for complete.
pub fn keep(folder: &Path, claim: &Claim, found: &Found, settings: &Settings) -> Outcome<String> {
    let json: String = found.figures.iter().map(|figure| figure.json() + "\n").collect();
    put(&folder.join(format!("{}.json", claim.name)), &json)?;
    for (number, chart) in found.charts.iter().enumerate() {
        put(&folder.join(format!("{}-{}.svg", claim.name, number + 1)), &chart.svg)?;
    }
    let section = report::section(claim, Ok(found));
    put(&section_of(folder, claim), &(key(settings) + &section))?;
    Ok(section)
}

/// Writes a file whole or not at all.
pub fn put(file: &Path, text: &str) -> Outcome<()> {
    let half = file.with_extension("half");
    let cannot = || format!("cannot write {}", file.display());
    fs::write(&half, text).context(cannot)?;
    fs::rename(&half, file).context(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_they_are_written() {
        let figures: Vec<Figure> = [("a.b_ratio", 1.5), ("c.d", 12_345.0)]
            .into_iter()
            .filter_map(|(name, value)| Figure::of(name, "x", Some(">=1"), &[value]))
            .collect();
        let text: String = figures.iter().map(|figure| figure.json() + "\n").collect();
        let read: Vec<(String, f64)> = text.lines().filter_map(line).collect();
        assert_eq!(read, [("a.b_ratio".to_string(), 1.5), ("c.d".to_string(), 12_345.0)]);
        assert_eq!(line("{\"name\":\"a\",\"value\":null}"), None);
        assert_eq!(line("nonsense"), None);
    }
}

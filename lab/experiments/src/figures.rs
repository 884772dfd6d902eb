//! The one form of figures: one JSON object a line, and the same as a table for people.

use std::fmt::Write;

/// A measured figure. `value` is the median of its runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// `bench.figure` in lower case with the unit last where it has one. Kept for good: other tools read it.
    pub name: String,
    /// Median.
    pub value: f64,
    /// Unit.
    pub unit: &'static str,
    /// What it should be: `>=20`, `<=300`, `<80`; `None` when it only explains.
    pub goal: Option<&'static str>,
    /// How many runs it was taken from.
    pub runs: usize,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// Whether it was measured under an emulator.
    pub emulated: bool,
    /// The other system of a ratio.
    pub against: Option<String>,
}

impl Figure {
    /// The figure of some runs; `None` without any.
    pub fn of(name: &str, unit: &'static str, goal: Option<&'static str>, runs: &[f64]) -> Option<Self> {
        let mut sorted = runs.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let (below, above) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        let value = (below + above) / 2.0;
        let name = name.to_string();
        Some(Self { name, value, unit, goal, runs: sorted.len(), min, max, emulated: false, against: None })
    }

    /// Marks it as measured under an emulator.
    pub fn emulated(mut self, emulated: bool) -> Self {
        self.emulated = emulated;
        self
    }

    /// Names the other system of a ratio.
    pub fn against(mut self, other: &str) -> Self {
        self.against = Some(other.into());
        self
    }

    /// Whether the goal is met; `None` when there is no goal.
    pub fn met(&self) -> Option<bool> {
        let goal = self.goal?;
        if let Some(number) = goal.strip_prefix(">=") {
            return Some(self.value >= number.parse().ok()?);
        }
        if let Some(number) = goal.strip_prefix("<=") {
            return Some(self.value <= number.parse().ok()?);
        }
        Some(self.value < goal.strip_prefix('<')?.parse().ok()?)
    }

    /// The line of JSON.
    pub fn json(&self) -> String {
        let text = |text: Option<&str>| text.map_or("null".into(), quoted);
        format!(
            "{{\"name\":{},\"value\":{},\"unit\":{},\"goal\":{},\"runs\":{},\"min\":{},\"max\":{},\
             \"emulated\":{},\"against\":{}}}",
            quoted(&self.name),
            short(self.value),
            quoted(self.unit),
            text(self.goal),
            self.runs,
            short(self.min),
            short(self.max),
            self.emulated,
            text(self.against.as_deref()),
        )
    }
}

/// Four digits are more than any of these measurements holds.
fn short(value: f64) -> String {
    if !value.is_finite() {
        return "null".into();
    }
    let digits = 3 - value.abs().max(1e-9).log10().floor() as i32;
    let text = format!("{value:.*}", digits.clamp(0, 9) as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            control if control.is_control() => {
                let _ = write!(out, "\\u{:04x}", control as u32);
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// The figures as a table.
pub fn table(figures: &[Figure]) -> String {
    let mut text = String::new();
    for figure in figures {
        let verdict = match figure.met() {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        let _ = writeln!(
            text,
            "{:<32} {:>9} {:<4} ({} to {}, {} runs) {} {verdict}{}{}",
            figure.name,
            short(figure.value),
            figure.unit,
            short(figure.min),
            short(figure.max),
            figure.runs,
            figure.goal.unwrap_or(""),
            if figure.emulated { " [emulated]" } else { "" },
            figure.against.as_ref().map_or(String::new(), |other| format!(" against {other}")),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_kept() {
        let figure =
            Figure::of("boot.linux_ratio", "x", Some(">=20"), &[24.0, 21.9, 23.1, 23.3, 22.5]).unwrap();
        assert_eq!(figure.met(), Some(true));
        assert_eq!(
            figure.emulated(true).against("Linux \"6.1\"").json(),
            "{\"name\":\"boot.linux_ratio\",\"value\":23.1,\"unit\":\"x\",\"goal\":\">=20\",\"runs\":5,\
             \"min\":21.9,\"max\":24,\"emulated\":true,\"against\":\"Linux \\\"6.1\\\"\"}"
        );
        assert_eq!(Figure::of("a", "ms", None, &[]), None);
        assert_eq!(Figure::of("a", "ms", Some("<80"), &[81.0, 83.0]).unwrap().met(), Some(false));
        assert_eq!(Figure::of("a", "", Some("<=80"), &[80.0]).unwrap().met(), Some(true));
        assert_eq!(
            (short(0.012345), short(123456.7), short(0.0)),
            ("0.01235".into(), "123457".into(), "0".into())
        );
    }
}

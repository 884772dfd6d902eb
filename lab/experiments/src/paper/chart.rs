//! Charts as SVG, drawn here: bars in groups, and lines or marks over two axes.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 310.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 64.0;
/// How wide a letter is, about.
const LETTER: f64 = 7.0;
/// Colours that differ in print and for those who see fewer of them.
const COLOURS: [&str; 6] = ["#0b6e8a", "#e08a1e", "#6b7a90", "#b3446c", "#4a8f3c", "#2b2f6b"];
/// Most series of a chart.
pub const SERIES_MAX: usize = COLOURS.len();

/// What is drawn, and what it is called.
pub struct Chart {
    pub title: String,
    pub svg: String,
}

/// A series of a chart: a name and its figures.
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    /// Marks alone, with these words beside them; empty for a line.
    pub words: Vec<String>,
}

/// Bars in groups: a row of names below, a figure of each series above each name.
pub fn bars(title: &str, groups: &[String], series: &[(String, Vec<f64>)], unit: &str) -> Chart {
    let figures =
        || series.iter().flat_map(|(_, figures)| figures.iter().copied()).filter(|figure| figure.is_finite());
    let top = figures().fold(0.0, f64::max);
    let bottom = figures().fold(0.0, f64::min);
    let axis = Axis::new(bottom, top, HEIGHT - BOTTOM, TOP);
    let mut out = frame(title, unit, &axis);
    let wide = (WIDTH - LEFT - RIGHT) / groups.len().max(1) as f64;
    let bar = wide * 0.8 / series.len().max(1) as f64;
    for (group, name) in groups.iter().enumerate() {
        let from = LEFT + group as f64 * wide + wide * 0.1;
        for (number, (what, figures)) in series.iter().enumerate() {
            let Some(figure) = figures.get(group).copied().filter(|figure| figure.is_finite()) else {
                continue;
            };
            let (a, b) = (axis.place(figure.max(0.0)), axis.place(figure.min(0.0)));
            let _ = writeln!(
                out,
                "<rect x=\"{:.1}\" y=\"{a:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"><title>{}: {} {}</title></rect>",
                from + number as f64 * bar,
                bar * 0.92,
                (b - a).max(0.5),
                COLOURS[number % SERIES_MAX],
                escape(what),
                short(figure),
                escape(unit),
            );
        }
        for (number, line) in lines(name, wide).iter().enumerate() {
            text(&mut out, from + wide * 0.4, HEIGHT - BOTTOM + 16.0 + 13.0 * number as f64, "middle", line);
        }
    }
    legend(&mut out, series.iter().map(|(name, _)| name.as_str()));
    Chart { title: title.into(), svg: out + "</svg>\n" }
}

/// Lines, or marks with words.
pub fn plot(title: &str, x_name: &str, y_name: &str, series: &[Series]) -> Chart {
    let all = || series.iter().flat_map(|series| &series.points);
    let range = |pick: fn(&(f64, f64)) -> f64| {
        all()
            .map(pick)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), figure| (a.min(figure), b.max(figure)))
    };
    let ((left, right), (bottom, top)) = (range(|point| point.0), range(|point| point.1));
    let room = |a: f64, b: f64| (b - a).max(a.abs() * 0.02).max(1e-9) * 0.08;
    let y = Axis::new(bottom - room(bottom, top), top + room(bottom, top), HEIGHT - BOTTOM, TOP);
    let x = Axis::new(left - room(left, right), right + room(left, right), LEFT, WIDTH - RIGHT);
    let mut out = frame(title, y_name, &y);
    for tick in x.ticks() {
        text(&mut out, x.place(tick), HEIGHT - BOTTOM + 16.0, "middle", &short(tick));
    }
    text(&mut out, WIDTH - RIGHT, HEIGHT - BOTTOM + 32.0, "end", x_name);
    for (number, series) in series.iter().enumerate() {
        let colour = COLOURS[number % SERIES_MAX];
        let at = |point: &(f64, f64)| (x.place(point.0), y.place(point.1));
        if series.words.is_empty() {
            let path: Vec<String> =
                series.points.iter().map(at).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let _ = writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                path.join(" ")
            );
        }
        for (place, point) in series.points.iter().enumerate() {
            let (x, y) = at(point);
            let size = if series.words.is_empty() { 2.0 } else { 4.0 };
            let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{size}\" fill=\"{colour}\"/>");
            if let Some(word) = series.words.get(place) {
                text(&mut out, x, y - 7.0, "middle", word);
            }
        }
    }
    legend(&mut out, series.iter().map(|series| series.name.as_str()));
    Chart { title: title.into(), svg: out + "</svg>\n" }
}

/// From a figure to a place, and back to round figures.
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Axis {
    fn new(from: f64, to: f64, start: f64, end: f64) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        Self { from, to, start, end }
    }

    fn place(&self, figure: f64) -> f64 {
        self.start + (figure - self.from) / (self.to - self.from) * (self.end - self.start)
    }

    /// Four to ten round figures.
    fn ticks(&self) -> Vec<f64> {
        let rough = (self.to - self.from) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(power);
        let first = (self.from / step).ceil() as i64;
        (first..first + 12).map(|number| number as f64 * step).take_while(|tick| *tick <= self.to).collect()
    }
}

fn frame(title: &str, y_name: &str, y: &Axis) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13.5\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        escape(title)
    );
    for tick in y.ticks() {
        let at = y.place(tick);
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {at:.1}H{:.0}\" stroke=\"#d9dee6\" stroke-width=\"1\"/>",
            WIDTH - RIGHT
        );
        text(&mut out, LEFT - 6.0, at + 4.0, "end", &short(tick));
    }
    text(&mut out, 4.0, 14.0, "start", y_name);
    out
}

fn legend<'a>(out: &mut String, names: impl Iterator<Item = &'a str>) {
    let mut x = LEFT;
    for (number, name) in names.enumerate() {
        let y = HEIGHT - 8.0;
        let _ = writeln!(
            out,
            "<rect x=\"{x:.0}\" y=\"{:.0}\" width=\"10\" height=\"10\" fill=\"{}\"/>",
            y - 9.0,
            COLOURS[number % SERIES_MAX]
        );
        text(out, x + 14.0, y, "start", name);
        x += 26.0 + name.chars().count() as f64 * LETTER;
    }
}

/// Words below a group: in two lines where one would reach the neighbours'.
fn lines(words: &str, wide: f64) -> Vec<String> {
    if words.chars().count() as f64 * LETTER <= wide {
        return vec![words.into()];
    }
    let middle = words.len() / 2;
    let spaces = words.match_indices(' ').map(|(at, _)| at);
    match spaces.min_by_key(|at| at.abs_diff(middle)) {
        Some(at) => vec![words[..at].into(), words[at + 1..].into()],
        None => vec![words.into()],
    }
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#3c4654\">{}</text>",
        escape(words)
    );
}

/// Three digits that mean something.
pub fn short(figure: f64) -> String {
    if figure.abs() >= 10_000.0 {
        return format!("{}k", short(figure / 1_000.0));
    }
    let digits = (2 - figure.abs().max(1e-6).log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{figure:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

/// Words inside of markup.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_marks_are_drawn_one_for_each_figure() {
        let chart = bars(
            "a < b",
            &["x".into(), "y".into()],
            &[("p".into(), vec![1.0, -2.0]), ("q".into(), vec![3.0, f64::NAN])],
            "$",
        )
        .svg;
        assert_eq!(
            chart.matches("<rect").count(),
            1 + 3 + 2,
            "the ground, three bars, two in the legend: {chart}"
        );
        assert!(chart.contains("a &lt; b") && !chart.contains("NaN"));
        let line = Series { name: "l".into(), points: vec![(0.0, 1.0), (1.0, 2.0)], words: Vec::new() };
        let marks = Series { name: "m".into(), points: vec![(0.5, 1.5)], words: vec!["14".into()] };
        let chart = plot("t", "x", "y", &[line, marks]).svg;
        assert_eq!((chart.matches("<circle").count(), chart.matches("<polyline").count()), (3, 1), "{chart}");
        assert!(chart.contains(">14</text>"));
    }

    #[test]
    fn long_names_take_two_lines() {
        assert_eq!(lines("kv", 60.0), ["kv"]);
        assert_eq!(lines("netpipe penalty", 62.0), ["netpipe", "penalty"]);
        assert_eq!(lines("penalty + refund, paper's", 90.0), ["penalty +", "refund, paper's"]);
        assert_eq!(lines("unbreakable", 10.0), ["unbreakable"]);
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(Axis::new(0.0, 10.0, 0.0, 1.0).ticks(), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!((short(12_345.0), short(0.5), short(0.0)), ("12.3k".into(), "0.5".into(), "0".into()));
    }
}

//! Courses and frontiers drawn with letters.

use crate::paint::{Line, Paint};

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A course as a row of bars, the newest on the right; each bar is the mean of its share when there are more figures
/// than columns. A course that does not move is a low row.
pub fn course(figures: &[f64], columns: usize) -> String {
    let count = figures.len().min(columns);
    let bars: Vec<f64> = (0..count)
        .map(|bar| &figures[bar * figures.len() / count..(bar + 1) * figures.len() / count])
        .map(|share| share.iter().sum::<f64>() / share.len() as f64)
        .collect();
    let known = || bars.iter().copied().filter(|figure| figure.is_finite());
    let (least, most) = (known().fold(f64::INFINITY, f64::min), known().fold(f64::NEG_INFINITY, f64::max));
    let bar = |figure: &f64| {
        let part = (figure - least) / (most - least);
        BARS[if part.is_finite() { (part * 7.0).round().clamp(0.0, 7.0) as usize } else { 0 }]
    };
    bars.iter().map(bar).collect()
}

/// A mark at a place.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    /// Left to right; above 0, drawn by its logarithm.
    pub x: f64,
    /// Bottom to top.
    pub y: f64,
    /// What is drawn.
    pub letter: char,
    /// How.
    pub paint: Paint,
}

/// Marks within a frame of so many columns and rows, axes included; later marks cover earlier ones. `x` and `y` put the
/// ends of the axes into words.
pub fn scatter(
    marks: &[Mark],
    (columns, rows): (usize, usize),
    x: impl Fn(f64) -> String,
    y: impl Fn(f64) -> String,
) -> Vec<Line> {
    let marks: Vec<Mark> = marks
        .iter()
        .copied()
        .filter(|mark| mark.x > 0.0 && mark.x.is_finite() && mark.y.is_finite())
        .collect();
    if marks.is_empty() || columns < 16 || rows < 4 {
        return Vec::new();
    }
    let (left, right) = stretched(marks.iter().map(|mark| mark.x.ln()), 0.2);
    let (bottom, top) = stretched(marks.iter().map(|mark| mark.y), 0.0);
    let words = [y(top), y(bottom)];
    let margin = words.iter().map(|word| word.chars().count()).max().unwrap_or(0);
    let (wide, high) = (columns.saturating_sub(margin + 2).max(4), rows - 2);
    let mut cells = vec![vec![(Paint::Plain, ' '); wide]; high];
    for mark in &marks {
        let column = (mark.x.ln() - left) / (right - left) * (wide - 1) as f64;
        let row = (top - mark.y) / (top - bottom) * (high - 1) as f64;
        cells[(row.round() as usize).min(high - 1)][(column.round() as usize).min(wide - 1)] =
            (mark.paint, mark.letter);
    }
    let mut lines: Vec<Line> = Vec::new();
    for (row, cells) in cells.into_iter().enumerate() {
        let word = if row == 0 {
            &words[0]
        } else if row + 1 == high {
            &words[1]
        } else {
            ""
        };
        let mut line = Line::new().add(Paint::Quiet, format!("{word:>margin$} │"));
        for (paint, letter) in cells {
            line = line.add(paint, letter.to_string());
        }
        lines.push(line);
    }
    lines.push(Line::new().add(Paint::Quiet, format!("{:margin$} └{}", "", "─".repeat(wide))));
    let (from, to) = (x(left.exp()), x(right.exp()));
    let gap = wide.saturating_sub(from.chars().count() + to.chars().count());
    lines.push(Line::new().add(Paint::Quiet, format!("{:margin$}  {from}{}{to}", "", " ".repeat(gap))));
    lines
}

/// The least and the most, with some room when they are (nearly) the same.
fn stretched(figures: impl Iterator<Item = f64>, room: f64) -> (f64, f64) {
    let (least, most) =
        figures.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), figure| (a.min(figure), b.max(figure)));
    if most - least > least.abs() * 1e-9 {
        let room = (most - least) * room;
        return (least - room, most + room);
    }
    let room = (least.abs() * 0.1).max(1e-12);
    (least - room, most + room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_is_a_row_of_bars() {
        assert_eq!(course(&[0.0, 7.0, 3.5, f64::NAN], 9), "▁█▅▁");
        assert_eq!(course(&[5.0, 5.0], 9), "▁▁");
        assert_eq!(course(&[0.0, 2.0, 7.0, 9.0, 3.0, 5.0], 3), "▁█▄");
        assert_eq!(course(&[], 9), "");
    }

    #[test]
    fn marks_stand_where_they_belong() {
        let mark = |x, y, letter| Mark { x, y, letter, paint: Paint::Plain };
        let marks =
            [mark(1.0, 1.0, 'a'), mark(100.0, 3.0, 'b'), mark(f64::NAN, 1.0, 'c'), mark(0.0, 1.0, 'd')];
        let lines = scatter(&marks, (20, 5), |x| format!("{x:.1}"), |y| format!("{y}"));
        let text: Vec<String> = lines.iter().map(Line::plain).collect();
        let drawn = ["3 │              b", "  │", "1 │  a", "  └─────────────────", "   0.4         251.2"];
        assert_eq!(text, drawn, "{text:#?}");
        assert!(scatter(&[], (20, 5), |_| String::new(), |_| String::new()).is_empty());
        // One mark alone, and marks on one spot, have a place too.
        assert_eq!(scatter(&marks[..1], (20, 5), |_| String::new(), |_| String::new()).len(), 5);
    }
}

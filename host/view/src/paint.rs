//! Text with meaning: what a colour is for is said here, and what it looks like only where it is drawn.

use std::fmt::Write as _;

/// What a piece of text means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Paint {
    /// Nothing in particular.
    #[default]
    Plain,
    /// Of less weight: units, frames, names.
    Quiet,
    /// What is to be seen first.
    Strong,
    /// Money that came in.
    Good,
    /// Money that went out.
    Bad,
    /// What is in force now.
    Now,
}

impl Paint {
    /// The terminal's code.
    fn code(self) -> &'static str {
        match self {
            Paint::Plain => "0",
            Paint::Quiet => "2",
            Paint::Strong => "1",
            Paint::Good => "32",
            Paint::Bad => "31",
            Paint::Now => "36;1",
        }
    }

    /// Its class in a picture.
    fn class(self) -> &'static str {
        match self {
            Paint::Plain => "plain",
            Paint::Quiet => "quiet",
            Paint::Strong => "strong",
            Paint::Good => "good",
            Paint::Bad => "bad",
            Paint::Now => "now",
        }
    }
}

/// A line of painted pieces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line(Vec<(Paint, String)>);

impl Line {
    /// An empty line.
    pub fn new() -> Self {
        Self::default()
    }

    /// The line and a further piece. What comes from a service is not trusted to be text: whatever a terminal could
    /// obey becomes a question mark.
    #[must_use]
    pub fn add(mut self, paint: Paint, text: impl AsRef<str>) -> Self {
        let text = text.as_ref().chars().map(|letter| if shown(letter) { letter } else { '?' }).collect();
        self.0.push((paint, text));
        self
    }

    /// The line with blanks up to a column.
    #[must_use]
    pub fn to(self, column: usize) -> Self {
        let missing = column.saturating_sub(self.width());
        self.add(Paint::Plain, " ".repeat(missing))
    }

    /// The line and all pieces of another one.
    #[must_use]
    pub fn join(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Columns that it takes.
    pub fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// At most so many columns of it.
    #[must_use]
    pub fn cut(self, columns: usize) -> Self {
        let mut left = columns;
        let cut = |(paint, text): (Paint, String)| {
            let text: String = text.chars().take(left).collect();
            left -= text.chars().count();
            (paint, text)
        };
        Self(self.0.into_iter().map(cut).filter(|(_, text)| !text.is_empty()).collect())
    }

    /// As letters alone.
    pub fn plain(&self) -> String {
        let text: String = self.0.iter().map(|(_, text)| text.as_str()).collect();
        text.trim_end().into()
    }

    /// For a terminal that knows colours.
    pub fn coloured(&self) -> String {
        let mut out = String::new();
        for (paint, text) in &self.0 {
            match paint {
                Paint::Plain => out.push_str(text),
                // Writing to a String cannot fail.
                paint => drop(write!(out, "\x1b[{}m{text}\x1b[0m", paint.code())),
            }
        }
        out
    }
}

/// One column, and no order to a terminal. Letters from the blocks, frames and arrows that are drawn here are among them.
fn shown(letter: char) -> bool {
    matches!(letter, ' '..='~' | '\u{a1}'..='\u{2ff}' | '\u{2500}'..='\u{25ff}' | '→' | '≤' | '–')
        && letter != '\u{ad}'
}

/// The same for a terminal that knows ASCII only.
pub fn ascii(text: &str) -> String {
    let plain = |letter| match letter {
        '─' => '-',
        '│' | '┤' => '|',
        '└' => '+',
        '→' => '>',
        '●' => '*',
        '▁' | '▂' => '_',
        '▃' | '▄' => '-',
        '▅' | '▆' => '=',
        '▇' | '█' => '#',
        letter if letter.is_ascii() => letter,
        _ => '?',
    };
    text.chars().map(plain).collect()
}

/// A picture of a terminal that shows these lines.
pub fn svg(lines: &[Line], columns: usize, title: &str) -> String {
    const WIDTH: f64 = 8.4;
    const HEIGHT: f64 = 18.0;
    let (width, height) = (columns as f64 * WIDTH + 32.0, lines.len() as f64 * HEIGHT + 48.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{}\">\n\
         <style>text{{font:14px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;white-space:pre;fill:#d5dae3}}\
         .quiet{{fill:#8490a5}}.strong{{font-weight:700;fill:#fff}}.good{{fill:#5fd38d}}.bad{{fill:#f08a7e}}\
         .now{{fill:#62cfe8;font-weight:700}}</style>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#161a21\"/>\n\
         <circle cx=\"18\" cy=\"15\" r=\"5\" fill=\"#3a4251\"/><circle cx=\"34\" cy=\"15\" r=\"5\" fill=\"#3a4251\"/>\
         <circle cx=\"50\" cy=\"15\" r=\"5\" fill=\"#3a4251\"/>\n",
        escape(title)
    );
    for (row, line) in lines.iter().enumerate() {
        let y = 46.0 + row as f64 * HEIGHT;
        let mut column = 0;
        for (paint, text) in &line.0 {
            let count = text.chars().count();
            if !text.trim().is_empty() {
                // A given length keeps columns straight whatever letters the reader's machine has.
                let _ = writeln!(
                    out,
                    "<text class=\"{}\" x=\"{:.1}\" y=\"{y:.0}\" textLength=\"{:.1}\" xml:space=\"preserve\">{}</text>",
                    paint.class(),
                    16.0 + column as f64 * WIDTH,
                    count as f64 * WIDTH,
                    escape(text)
                );
            }
            column += count;
        }
    }
    out.push_str("</svg>\n");
    out
}

/// Text inside of markup.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_and_painted() {
        let line = Line::new().add(Paint::Plain, "ab").add(Paint::Good, "cd").to(6).add(Paint::Bad, "e");
        assert_eq!((line.plain().as_str(), line.width()), ("abcd  e", 7));
        assert_eq!(line.clone().cut(3).coloured(), "ab\x1b[32mc\x1b[0m");
        assert!(svg(&[line], 7, "a \"b\"").contains("class=\"good\" x=\"32.8\""));
    }

    #[test]
    fn what_a_service_says_gives_a_terminal_no_orders() {
        let line = Line::new().add(Paint::Plain, "a\x1b[2Jb\rc\u{9b}d\u{202e}e\u{4e00}");
        assert_eq!(line.plain(), "a?[2Jb?c?d?e?");
        assert_eq!(ascii("▁█ é →"), "_# ? >");
    }
}

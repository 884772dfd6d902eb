//! Documents as laws look at them: paragraphs, links and figures.

use std::path::{Path, PathBuf};

/// The paragraphs of a document with the line they start at; what stands in a fenced block is left out.
pub fn paragraphs(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open: Option<(usize, String)> = None;
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            found.extend(open.take());
        } else if line.trim().is_empty() {
            found.extend(open.take());
        } else if !fenced {
            let (_, paragraph) = open.get_or_insert((number + 1, String::new()));
            paragraph.push_str(line);
            paragraph.push('\n');
        }
    }
    found.extend(open);
    found
}

/// The targets of links within the tree: file, and heading if there is one.
pub fn links(document: &Path, text: &str) -> Vec<(PathBuf, Option<String>)> {
    let folder = document.parent().expect("a document is in a folder");
    text.match_indices("](")
        .filter_map(|(at, _)| text[at + 2..].split_once(')').map(|(target, _)| target))
        .filter(|target| !target.contains("://") && !target.contains(' '))
        .map(|target| match target.split_once('#') {
            Some(("", heading)) => (document.to_path_buf(), Some(heading.into())),
            Some((file, heading)) => (folder.join(file), Some(heading.into())),
            None => (folder.join(target), None),
        })
        .collect()
}

/// The names by which the headings of a document are linked.
pub fn anchors(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter_map(|letter| match letter {
                    ' ' => Some('-'),
                    '-' | '_' => Some(letter),
                    letter if letter.is_alphanumeric() => Some(letter),
                    _ => None,
                })
                .collect()
        })
        .collect()
}

/// Units that make a number a measured figure. Sizes and counts are not among them: they are mostly limits.
const MEASURED: [&str; 8] = ["ms", "us", "ns", "µs", "req/s", "requests/s", "operations/s", "times"];

/// Whether a paragraph states a measured figure: a number before one of the units, outside of code spans.
pub fn states_figure(paragraph: &str) -> bool {
    let plain: String = paragraph.split('`').step_by(2).collect();
    let words: Vec<&str> = plain.split_whitespace().collect();
    words.windows(2).any(|pair| {
        let number = pair[0].trim_start_matches(['(', '~', '<', '>', '=']).replace([',', '.'], "");
        let unit = pair[1].trim_end_matches(['.', ',', ';', ':', ')', '|']);
        !number.is_empty() && number.chars().all(|letter| letter.is_ascii_digit()) && MEASURED.contains(&unit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_seen() {
        assert!(states_figure("It boots in 41.5 ms, on a good day."));
        assert!(states_figure("23 times sooner"));
        assert!(!states_figure("It takes `latency.limit = 750 us` and 16 MiB, see section 8."));
    }

    #[test]
    fn paragraphs_links_and_headings() {
        let text = "# One Two: three\na\nb\n\n```\ncode 5 ms\n```\nc [x](d.md#one) [y](https://z)\n";
        let lines: Vec<usize> = paragraphs(text).iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 8]);
        assert_eq!(links(Path::new("docs/a.md"), text), [("docs/d.md".into(), Some("one".into()))]);
        assert_eq!(anchors(text), ["one-two-three"]);
    }
}

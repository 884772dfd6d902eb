//! Law 7 and the documents: figures stand next to their command, links lead somewhere.

use nom_laws::documents::{anchors, links, paragraphs, states_figure};
use nom_laws::{files, root, shown, text};

#[test]
fn a_figure_stands_next_to_the_command_that_prints_it() {
    for file in files(&root(), &[".md"]) {
        let document = text(&file);
        let all = paragraphs(&document);
        for (place, (line, paragraph)) in all.iter().enumerate() {
            let near = &all[place.saturating_sub(1)..all.len().min(place + 2)];
            let command =
                near.iter().any(|(_, text)| text.contains("./nom ")) || fence_near(&document, *line);
            assert!(
                !states_figure(paragraph) || command,
                "{}:{line}: which ./nom command prints this figure?",
                shown(&file)
            );
        }
    }
}

/// Whether a fenced block with a command of ours stands within a few lines.
fn fence_near(document: &str, line: usize) -> bool {
    let lines: Vec<&str> = document.lines().collect();
    let near = line.saturating_sub(8)..lines.len().min(line + 12);
    lines[near].iter().any(|line| line.trim_start().starts_with("./nom "))
}

#[test]
fn links_lead_somewhere() {
    for file in files(&root(), &[".md"]) {
        let document = text(&file);
        for (target, heading) in links(&file, &document) {
            assert!(target.exists(), "{}: {} is not there", shown(&file), target.display());
            if let Some(heading) = heading {
                assert!(
                    anchors(&text(&target)).contains(&heading),
                    "{}: {} has no heading #{heading}",
                    shown(&file),
                    target.display()
                );
            }
        }
    }
}

/// The map in the architecture document names files: each must be there.
#[test]
fn the_map_is_true() {
    let map = text(&root().join("docs/architecture.md"));
    let mut places = 0;
    for line in map.lines().filter(|line| line.starts_with("| ")) {
        for place in
            line.split('`').skip(1).step_by(2).filter(|place| place.contains('/') && !place.contains(' '))
        {
            places += 1;
            assert!(root().join(place).exists(), "docs/architecture.md: {place} is not there");
        }
    }
    assert!(places >= 10, "the map has only {places} places");
}

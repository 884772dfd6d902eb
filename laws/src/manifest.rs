//! The few things that laws ask about a `Cargo.toml`, read line by line: our manifests are written that plainly.

use crate::{root, text};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where a dependency stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// `[dependencies]` and `[build-dependencies]`: what ships.
    Ships,
    /// `[dev-dependencies]`: what only tests see.
    Tests,
}

/// A line that names a dependency.
#[derive(Debug, Clone)]
pub struct Dependency {
    /// The package's name.
    pub name: String,
    /// Where it stands.
    pub section: Section,
    /// Whether a comment stands above it or behind it.
    pub explained: bool,
}

/// A member of the workspace.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its folder from the root: `network/stack`.
    pub folder: String,
    /// Its package name: `nom-stack`.
    pub package: String,
    /// What it depends on.
    pub dependencies: Vec<Dependency>,
    /// All section headings, as they stand.
    pub sections: Vec<String>,
}

impl Member {
    /// The file that its crate starts with.
    pub fn entry(&self) -> PathBuf {
        let source = root().join(&self.folder).join("src");
        let library = source.join("lib.rs");
        if library.is_file() { library } else { source.join("main.rs") }
    }
}

/// All members, in the order of the root manifest.
pub fn members() -> Vec<Member> {
    let manifest = text(&root().join("Cargo.toml"));
    let list = manifest.split("members = [").nth(1).and_then(|rest| rest.split(']').next());
    let list = list.expect("the root manifest lists its members");
    list.split('"').skip(1).step_by(2).map(member).collect()
}

fn member(folder: &str) -> Member {
    let manifest = text(&root().join(folder).join("Cargo.toml"));
    let mut member = Member {
        folder: folder.into(),
        package: String::new(),
        dependencies: Vec::new(),
        sections: Vec::new(),
    };
    let mut section = String::new();
    let mut comment_above = false;
    for line in manifest.lines() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.into();
            member.sections.push(section.clone());
        } else if let Some((key, value)) = line.split_once('=')
            && !line.starts_with('#')
        {
            let name = key.trim().split('.').next().unwrap_or_default();
            let place = match section.as_str() {
                "dependencies" | "build-dependencies" => Some(Section::Ships),
                "dev-dependencies" => Some(Section::Tests),
                _ => None,
            };
            if section == "package" && name == "name" {
                member.package = value.trim().trim_matches('"').into();
            } else if let Some(place) = place {
                let explained = comment_above || value.contains('#');
                member.dependencies.push(Dependency { name: name.into(), section: place, explained });
            }
        }
        comment_above = line.starts_with('#');
    }
    member
}

/// The table of who may depend on whom: folder to the folders of our own crates, as `docs/dependencies.md` has it.
pub fn table() -> BTreeMap<String, Vec<String>> {
    let document = text(&root().join("docs/dependencies.md"));
    let quoted =
        |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_string).collect() };
    document
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|rest| {
            let (folder, rest) = rest.split_once('`')?;
            let cell = rest.trim_start().strip_prefix('|')?.split('|').next()?;
            Some((folder.to_string(), quoted(cell)))
        })
        .collect()
}

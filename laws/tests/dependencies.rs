//! Law 1 and the manifests: who may depend on whom is the table in `docs/dependencies.md`, no more and no less.

use nom_laws::manifest::{Member, Section, members, table};
use std::collections::{BTreeMap, BTreeSet};

/// Nothing may depend on what stands at the end of the chain.
const ENDS: [&str; 3] = ["images/", "host/cli", "lab/experiments"];
/// The one that may: the command calls the experiments.
const MAY_USE_ENDS: [(&str, &str); 1] = [("host/cli", "lab/experiments")];

fn folders(all: &[Member]) -> BTreeMap<String, String> {
    all.iter().map(|member| (member.package.clone(), member.folder.clone())).collect()
}

fn inner(member: &Member, section: Section, folders: &BTreeMap<String, String>) -> BTreeSet<String> {
    member
        .dependencies
        .iter()
        .filter(|dependency| dependency.section == section)
        .filter_map(|dependency| folders.get(&dependency.name).cloned())
        .collect()
}

#[test]
fn the_table_is_what_the_manifests_say() {
    let (all, table) = (members(), table());
    let folders = folders(&all);
    let mut wrong = Vec::new();
    for member in &all {
        let Some(allowed) = table.get(&member.folder) else {
            wrong.push(format!("{} has no row", member.folder));
            continue;
        };
        let allowed: BTreeSet<String> = allowed.iter().cloned().collect();
        let real = inner(member, Section::Ships, &folders);
        for edge in real.difference(&allowed) {
            wrong.push(format!("{} depends on {edge}, which its row does not allow", member.folder));
        }
        for edge in allowed.difference(&real) {
            wrong.push(format!("{} no longer depends on {edge}: take it out of its row", member.folder));
        }
    }
    for row in table.keys().filter(|row| all.iter().all(|member| member.folder != **row)) {
        wrong.push(format!("{row} has a row and is no member"));
    }
    assert!(wrong.is_empty(), "docs/dependencies.md:\n{}", wrong.join("\n"));
}

#[test]
fn nothing_depends_on_the_ends() {
    let all = members();
    let folders = folders(&all);
    for member in &all {
        for section in [Section::Ships, Section::Tests] {
            for edge in inner(member, section, &folders) {
                let end = ENDS.iter().any(|end| edge.starts_with(end));
                let allowed = MAY_USE_ENDS.contains(&(member.folder.as_str(), edge.as_str()));
                assert!(!end || allowed, "{} depends on {edge}", member.folder);
            }
        }
    }
}

#[test]
fn every_dependency_from_outside_says_why() {
    let all = members();
    let folders = folders(&all);
    for member in &all {
        for dependency in &member.dependencies {
            assert!(
                dependency.explained || folders.contains_key(&dependency.name),
                "{}/Cargo.toml: say in a comment above `{}` why it is needed",
                member.folder,
                dependency.name
            );
        }
    }
}

#[test]
fn there_are_no_features() {
    for member in members() {
        assert!(!member.sections.iter().any(|name| name == "features"), "{} has features", member.folder);
    }
}

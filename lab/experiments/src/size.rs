//! How small it is: the kernel's file, the smallest machine that serves, the kernel's own memory, and the text that
//! runs in ring 0.
//!
//! - `size.kernel_image_kib`: the kernel's file without symbols.
//! - `size.guest_min_mib`: the smallest memory of a machine in which the key-value cache boots and answers a set and a
//!   get over the network, found by trying, larger ones first. Its items have 256 KiB.
//! - `size.kernel_memory_kib`: code, data, stacks and page tables of the kernel at 128 MiB and one processor, as the
//!   kernel counts its frames; the table of frames, a byte for each, is apart.
//! - `size.ring0_lines`: lines of code, as rustfmt leaves them (110 columns), of every crate linked into ring 0,
//!   without comments, blank lines and tests; assembly is counted too. Also what the linker throws away counts.

use crate::figures::Figure;
use crate::{Settings, serving};
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_machine::{artefacts, packages};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What is claimed.
pub const CLAIM: &str =
    "a kernel of 300 KiB and 8,000 lines that needs 1 MiB, and serves in a machine of 8 MiB";

/// Sizes that are tried.
const TRIED_MIB: [u32; 11] = [16, 12, 10, 8, 7, 6, 5, 4, 3, 2, 1];
/// How long a machine may take to answer.
const PATIENCE: Duration = Duration::from_secs(8);

/// Measures.
pub fn measure(_settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let image_kib = stripped_len(progress)? as f64 / 1024.0;
    let (rust, assembly) = ring0_lines(&artefacts::root()?)?;
    progress(&format!("ring 0: {rust} lines of Rust, {assembly} of assembly"));
    let memory = serving::spin(0, progress)?.kernel_kib as f64;
    let least = least_memory(progress)?;
    let figures = [
        Figure::of("size.kernel_image_kib", "KiB", Some("<=300"), &[image_kib]),
        Figure::of("size.guest_min_mib", "MiB", Some("<=8"), &[f64::from(least)]),
        Figure::of("size.kernel_memory_kib", "KiB", Some("<=1024"), &[memory]),
        Figure::of("size.ring0_lines", "", Some("<=8000"), &[(rust + assembly) as f64]),
    ];
    Ok(figures.into_iter().flatten().collect())
}

/// Bytes of the kernel's file without symbols.
pub fn stripped_len(progress: &mut dyn FnMut(&str)) -> Outcome<u64> {
    let kernel = artefacts::guest(&["nom-kernel"], progress)?.remove(0);
    let strip = packages::ensure("strip", "binutils", progress)?;
    let folder = Scratch::new()?;
    let stripped = folder.file("kernel");
    let status = Command::new(strip).arg("-o").arg(&stripped).arg(&kernel).status();
    if !status.context(|| "cannot start strip".into())?.success() {
        return Err(Trouble::new("strip failed"));
    }
    Ok(std::fs::metadata(&stripped).context(|| "no stripped kernel".into())?.len())
}

fn least_memory(progress: &mut dyn FnMut(&str)) -> Outcome<u32> {
    let image = serving::small_image(progress)?;
    let mut least = None;
    for memory_mib in TRIED_MIB {
        match serving::answered(&image, memory_mib, PATIENCE) {
            Ok(mut machine) => {
                machine.kill();
                least = Some(memory_mib);
            }
            Err(why) => {
                progress(&format!("{memory_mib} MiB are too few: {why}"));
                break;
            }
        }
    }
    least.ok_or_else(|| Trouble::new("no machine served, the largest neither"))
}

/// Lines of Rust and of assembly in the crates that are linked into ring 0.
pub fn ring0_lines(root: &Path) -> Outcome<(usize, usize)> {
    let mut rooms = BTreeSet::new();
    collect(root, "kernel/image", &mut rooms)?;
    let (mut rust, mut assembly) = (0, 0);
    let mut assembly_files = BTreeSet::new();
    for room in &rooms {
        let mut sources = Vec::new();
        for file in files(&root.join(room).join("src"))? {
            if file.extension().is_some_and(|ending| ending == "rs") {
                sources.push((read(&file)?, file));
            }
        }
        let tests: BTreeSet<PathBuf> =
            sources.iter().flat_map(|(text, file)| only_tests(file, text)).collect();
        for (text, file) in sources.iter().filter(|(_, file)| !tests.contains(file)) {
            rust += code_lines(text);
            assembly_files.extend(included(file, text));
        }
    }
    for file in assembly_files {
        let text = read(&file)?;
        assembly += text.lines().map(str::trim).filter(|line| counts(line) && !line.starts_with('#')).count();
    }
    Ok((rust, assembly))
}

fn read(file: &Path) -> Outcome<String> {
    std::fs::read_to_string(file).context(|| format!("cannot read {}", file.display()))
}

/// A room and those it depends on, as the workspace's manifests say.
fn collect(root: &Path, room: &str, rooms: &mut BTreeSet<String>) -> Outcome<()> {
    if !rooms.insert(room.into()) {
        return Ok(());
    }
    let workspace = read(&root.join("Cargo.toml"))?;
    let manifest = read(&root.join(room).join("Cargo.toml"))?;
    let own = manifest.split("[dependencies]").nth(1).unwrap_or("").split("\n[").next().unwrap_or("");
    for line in own.lines().filter(|line| line.starts_with("nom-")) {
        let name = line.split(['.', ' ', '=']).next().unwrap_or("");
        let declared = workspace.lines().find(|line| line.starts_with(&format!("{name} = {{ path = \"")));
        let path = declared.and_then(|line| line.split('"').nth(1));
        let path = path.ok_or_else(|| Trouble::new(format!("no path for {name} in Cargo.toml")))?;
        collect(root, path, rooms)?;
    }
    Ok(())
}

fn files(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).context(|| format!("cannot read {}", folder.display()))? {
        let path = entry.context(|| "cannot read a folder".into())?.path();
        match path.is_dir() {
            true if path.file_name().is_some_and(|name| name == "tests") => {}
            true => found.extend(files(&path)?),
            false => found.push(path),
        }
    }
    Ok(found)
}

/// Lines of code before the tests, which stand at the end of a file.
fn code_lines(text: &str) -> usize {
    let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
    let declared = test_modules(text).map(|(declaration, ..)| declaration.lines().count()).sum::<usize>();
    shipped.lines().map(str::trim).filter(|line| counts(line)).count().saturating_sub(declared)
}

/// Modules in files of their own that only tests have: the text that declares one, the path that it names, its name.
fn test_modules(text: &str) -> impl Iterator<Item = (&str, Option<&str>, &str)> {
    const ONLY_TESTS: &str = "#[cfg(test)]\n";
    text.match_indices(ONLY_TESTS).filter_map(|(at, _)| {
        let rest = &text[at + ONLY_TESTS.len()..];
        let path = rest.strip_prefix("#[path = \"").and_then(|rest| rest.split_once("\"]\n"));
        let (path, line) = path.map_or((None, rest), |(path, rest)| (Some(path), rest));
        let (name, _) = line.strip_prefix("mod ")?.split_once('\n')?;
        let end = at + text[at..].find(';')? + 1;
        Some((&text[at..end], path, name.strip_suffix(';')?))
    })
}

/// The files of those modules.
fn only_tests(file: &Path, text: &str) -> Vec<PathBuf> {
    let folder = file.parent().unwrap_or(Path::new(""));
    // A module in a file named after its parent lies in a folder of that name.
    let own = match file.file_stem().and_then(|stem| stem.to_str()) {
        Some("lib" | "main" | "mod") | None => folder.to_path_buf(),
        Some(stem) => folder.join(stem),
    };
    test_modules(text)
        .map(|(_, path, name)| match path {
            Some(path) => folder.join(path),
            None => own.join(format!("{name}.rs")),
        })
        .collect()
}

fn counts(line: &str) -> bool {
    !line.is_empty() && !line.starts_with("//")
}

/// Assembly that a file takes in.
fn included(file: &Path, text: &str) -> Vec<PathBuf> {
    text.split("include_str!(\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .filter(|name| name.ends_with(".s") || name.ends_with(".S"))
        .filter_map(|name| file.parent()?.join(name).canonicalize().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_code_are_neither_comments_nor_blank_nor_tests() {
        let text =
            "//! for\n\nfn a() {\n    // why\n    b(); // x\n}\n\n#[cfg(test)]\nmod tests {\n    use x;\n}\n";
        assert_eq!(code_lines(text), 3);
    }

    #[test]
    fn files_that_only_tests_have_do_not_count() {
        let text = "mod shipped;\n#[cfg(test)]\nmod model;\n#[cfg(test)]\n#[path = \"a_tests.rs\"]\nmod tests;\n\
            #[cfg(test)]\nfn helper() {}\n";
        let found = |file: &str| only_tests(Path::new(file), text);
        assert_eq!(found("src/a.rs"), ["src/a/model.rs", "src/a_tests.rs"].map(PathBuf::from));
        assert_eq!(found("src/lib.rs"), ["src/model.rs", "src/a_tests.rs"].map(PathBuf::from));
        assert_eq!(code_lines(text), 3, "the helper counts, its file ships");
        assert_eq!(code_lines("#[cfg(test)]\nmod tests {\n}\nfn a() {}\n"), 0);
    }
}

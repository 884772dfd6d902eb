//! Modules of the Linux peer's kernel: what a network card needs, in an order in which they can be loaded.

use nom_machine::trouble::{Context, Outcome, Trouble};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where those that are kept are, in the cache folder.
const KEPT: &str = "linux/modules";
/// Where a kernel package has all of them.
const ALL: &str = "linux/lib";
/// The way to a network card on either machine type.
const WANTED: [&str; 3] = ["virtio_mmio", "virtio_pci", "virtio_net"];
/// How deep folders of modules are.
const DEPTH_MAX: usize = 8;

/// A module.
#[derive(Debug)]
pub struct Module {
    /// Its name; of one that is kept, its file's.
    pub name: String,
    /// Its file.
    pub bytes: Vec<u8>,
}

/// Whether the cache folder has them.
pub fn are_kept(cache: &Path) -> bool {
    cache.join(KEPT).is_dir()
}

/// Keeps those of a card out of an unpacked package, numbered in the order of loading; the others are large and go.
pub fn keep(cache: &Path) -> Outcome<()> {
    let mut files = BTreeMap::new();
    find(&cache.join(ALL), DEPTH_MAX, &mut files)?;
    let mut modules = Vec::new();
    for name in WANTED {
        add(name, &files, &mut modules)?;
    }
    let folder = cache.join(KEPT);
    fs::create_dir_all(&folder).context(|| format!("cannot make {}", folder.display()))?;
    for (number, Module { name, bytes }) in modules.iter().enumerate() {
        let file = folder.join(format!("{number:02}-{name}.ko"));
        fs::write(&file, bytes).context(|| format!("cannot write {}", file.display()))?;
    }
    let _ = fs::remove_dir_all(cache.join(ALL));
    Ok(())
}

/// Those that are kept, in the order of loading.
pub fn kept(cache: &Path) -> Outcome<Vec<Module>> {
    let folder = cache.join(KEPT);
    let unreadable = || format!("cannot read {}", folder.display());
    let entries = fs::read_dir(&folder).context(unreadable)?;
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    let read = |name: String| Ok(Module { bytes: fs::read(folder.join(&name)).context(unreadable)?, name });
    names.into_iter().map(read).collect()
}

fn find(folder: &Path, depth: usize, files: &mut BTreeMap<String, PathBuf>) -> Outcome<()> {
    let entries = fs::read_dir(folder).context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries.flatten() {
        let (path, kind) = (entry.path(), entry.file_type());
        if kind.is_ok_and(|kind| kind.is_dir()) && depth > 0 {
            find(&path, depth - 1, files)?;
        } else if let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".ko")) {
            files.insert(one_name(name), path);
        }
    }
    Ok(())
}

/// A file may have a dash where other modules have a line.
fn one_name(name: &str) -> String {
    name.replace('-', "_")
}

fn add(name: &str, files: &BTreeMap<String, PathBuf>, modules: &mut Vec<Module>) -> Outcome<()> {
    if modules.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let path = files.get(name).ok_or_else(|| {
        Trouble::new(format!(
            "the Linux peer's kernel has no module {name}: remove .cache/linux and try again"
        ))
    })?;
    let bytes = fs::read(path).context(|| format!("cannot read {}", path.display()))?;
    for needed in needs(&bytes) {
        add(&one_name(&needed), files, modules)?;
    }
    modules.push(Module { name: name.into(), bytes });
    Ok(())
}

/// What a module says that it needs: the words of `depends=a,b` among its strings.
fn needs(module: &[u8]) -> Vec<String> {
    let strings = module.split(|byte| *byte == 0);
    let words = strings.filter_map(|string| string.strip_prefix(b"depends=")).next().unwrap_or_default();
    let words = String::from_utf8_lossy(words);
    words.split(',').filter(|word| !word.is_empty()).map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nom_machine::scratch::Scratch;

    #[test]
    fn a_module_comes_behind_what_it_needs() {
        let scratch = Scratch::new().unwrap();
        let folder = scratch.path().join(ALL).join("modules/6.1/kernel");
        fs::create_dir_all(&folder).unwrap();
        let put = |name: &str, needs: &str| {
            fs::write(folder.join(format!("{name}.ko")), format!("\x7fELF\0x=y\0depends={needs}\0z\0"))
                .unwrap()
        };
        put("virtio_mmio", "virtio,virtio-ring");
        put("virtio_pci", "virtio");
        put("virtio", "virtio_ring");
        put("virtio-ring", "");
        assert!(keep(scratch.path()).unwrap_err().to_string().contains("virtio_net"));
        assert!(!are_kept(scratch.path()));
        put("virtio_net", "virtio");
        keep(scratch.path()).unwrap();
        let modules = kept(scratch.path()).unwrap();
        let names: Vec<&str> = modules.iter().map(|module| module.name.as_str()).collect();
        let expected = ["virtio_ring", "virtio", "virtio_mmio", "virtio_pci", "virtio_net"];
        assert!(names.iter().zip(expected).all(|(name, expected)| name[3..] == format!("{expected}.ko")));
        assert!(names.len() == expected.len() && !folder.exists());
    }
}

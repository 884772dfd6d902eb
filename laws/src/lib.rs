//! The laws of the house, checked by an ordinary test: what the files of this tree say about themselves.
//!
//! Here are the readers (manifests, Rust text without comments, documents); the laws are in `tests/`. They read text
//! and not compiler output on purpose: a law that a person cannot check with `grep` is not one.

#![forbid(unsafe_code)]

pub mod documents;
pub mod manifest;
pub mod rust_text;

use std::path::{Path, PathBuf};

/// The folder that holds the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("laws is inside the workspace").to_path_buf()
}

/// Reads a file of the tree; a file that cannot be read fails the law that asked.
pub fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below a folder whose names end like one of `endings`, sorted; build folders and hidden ones are left out.
pub fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("the folder can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A path as the documents write it: from the root, with slashes.
pub fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned()
}

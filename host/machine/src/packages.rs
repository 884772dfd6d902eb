//! Programs of the system that nom needs, fetched when that is allowed and otherwise named.

use crate::trouble::{Outcome, Trouble};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Finds a program in `PATH` and in the folders of the system's administrator.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Whether this process may install packages.
fn may_install() -> bool {
    rustix::process::geteuid().is_root() && find("apt-get").is_some()
}

/// Finds a program, installing the Debian package that has it when this process is root; otherwise says in one
/// line what to install.
pub fn ensure(program: &str, package: &str, progress: &mut dyn FnMut(&str)) -> Outcome<PathBuf> {
    if let Some(found) = find(program) {
        return Ok(found);
    }
    let advice = || {
        Trouble::new(format!(
            "{program} is missing: install it (Debian: apt-get install {package}) and try again"
        ))
    };
    if !may_install() {
        return Err(advice());
    }
    progress(&format!("installing {package}"));
    // A fresh machine has no package lists yet; a failure of the update shows in the install.
    let apt = |arguments: &[&str]| {
        Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let install = ["install", "-y", "-q", "--no-install-recommends", package];
    if !apt(&install) {
        apt(&["update", "-q"]);
        apt(&install);
    }
    find(program).ok_or_else(advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_name() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-of-nom").is_none());
    }
}

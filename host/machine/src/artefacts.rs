//! What cargo builds for us: the kernel, guest applications and the processes of Linux homes.

use crate::machine::bound_to_us;
use crate::trouble::{Context, Outcome, Trouble};
use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The profile that everything inside a guest is built with; see the root manifest.
const GUEST_PROFILE: &str = "guest";
/// The profile of Linux processes.
const LINUX_PROFILE: &str = "release";
/// The profile of the fuzzer: sums that overflow and promises that break end it.
const CHECKED_PROFILE: &str = "checked";
/// What cargo holds while it builds in a folder.
const LOCK: &str = ".cargo-lock";
/// How long somebody waits for another cargo without being told why.
const SILENCE: Duration = Duration::from_secs(2);
/// How often it is looked whether that one is through.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The folder that holds the workspace: what `./nom` says, or the nearest one above the current folder.
pub fn root() -> Outcome<PathBuf> {
    if let Some(root) = std::env::var_os("NOM_ROOT") {
        return Ok(root.into());
    }
    let here = std::env::current_dir().context(|| "cannot tell the current folder".into())?;
    here.ancestors()
        .find(|folder| folder.join("nom").is_file() && folder.join("Cargo.toml").is_file())
        .map(Path::to_path_buf)
        .ok_or_else(|| Trouble::new("this is not inside a checkout of nom: go there and try again"))
}

/// Builds packages for the inside of a guest and says where their programs are, in the order of `packages`.
pub fn guest(packages: &[&str], progress: &mut dyn FnMut(&str)) -> Outcome<Vec<PathBuf>> {
    build(GUEST_PROFILE, packages, progress)
}

/// Builds packages that run as Linux processes and says where their programs are, in the order of `packages`.
pub fn linux(packages: &[&str], progress: &mut dyn FnMut(&str)) -> Outcome<Vec<PathBuf>> {
    build(LINUX_PROFILE, packages, progress)
}

/// Builds a package so that it sees where its code goes: the compiler puts a counter at each place and calls a function
/// of the package at each comparison. In a folder of its own, since nothing else is to be built so.
pub fn watched(package: &str, progress: &mut dyn FnMut(&str)) -> Outcome<PathBuf> {
    const PASSES: [&str; 4] = [
        "-Cpasses=sancov-module",
        "-Cllvm-args=-sanitizer-coverage-level=3",
        "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
        "-Cllvm-args=-sanitizer-coverage-trace-compares",
    ];
    let root = root()?;
    let targets = targets(&root);
    let library = if cfg!(target_env = "musl") { "musl" } else { "gnu" };
    let host = format!("{}-unknown-linux-{library}", std::env::consts::ARCH);
    let more = |cargo: &mut Command| {
        // With a named target cargo keeps the flags away from what runs while building.
        cargo
            .args(["--target", &host])
            .env("CARGO_TARGET_DIR", targets.join("watched"))
            .env("CARGO_ENCODED_RUSTFLAGS", PASSES.join("\x1f"));
    };
    Ok(build_with(CHECKED_PROFILE, &[package], more, progress)?.remove(0))
}

/// Where cargo puts what it builds.
fn targets(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

fn build(profile: &str, packages: &[&str], progress: &mut dyn FnMut(&str)) -> Outcome<Vec<PathBuf>> {
    tell_of_another(&targets(&root()?).join(profile), SILENCE, progress);
    build_with(profile, packages, |_| {}, progress)
}

fn build_with(
    profile: &str,
    packages: &[&str],
    more: impl FnOnce(&mut Command),
    progress: &mut dyn FnMut(&str),
) -> Outcome<Vec<PathBuf>> {
    // A second time within one command cargo only looks; nobody needs to hear of it again.
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let what = packages.join(", ");
    if SAID.lock().unwrap_or_else(PoisonError::into_inner).insert(what.clone()) {
        progress(&format!("building {what}"));
    }
    let mut cargo = bound_to_us(Path::new(&std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())));
    cargo
        .current_dir(root()?)
        .args(["build", "--quiet", "--profile", profile, "--message-format=json-render-diagnostics"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    for package in packages {
        cargo.args(["-p", package]);
    }
    more(&mut cargo);
    let output = cargo.output().context(|| "cannot start cargo".into())?;
    if let Some(signal) = output.status.signal() {
        return Err(Trouble::new(format!("the build of {what} was ended by signal {signal}; try again")));
    }
    if !output.status.success() {
        return Err(Trouble::new(format!("cargo could not build {what} (see above)")));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    packages
        .iter()
        .map(|package| {
            executable(&messages, package)
                .ok_or_else(|| Trouble::new(format!("cargo built no program in {package}")))
        })
        .collect()
}

/// Says so when another cargo builds in the same folder for longer than this. Ours waits for that one, and is told to say
/// nothing.
fn tell_of_another(folder: &Path, silence: Duration, progress: &mut dyn FnMut(&str)) {
    let Ok(lock) = File::open(folder.join(LOCK)) else { return };
    let begun = Instant::now();
    while let Err(TryLockError::WouldBlock) = lock.try_lock_shared() {
        if begun.elapsed() >= silence {
            return progress(&format!("another cargo is building in {}: waiting for it", folder.display()));
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// Finds the program of a package, or its shared library, among cargo's messages.
fn executable(messages: &str, package: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let library = || {
            let files = message.get("filenames")?.as_array()?;
            files.iter().filter_map(|file| file.as_str()).find(|file| file.ends_with(".so"))
        };
        let executable = message.get("executable").and_then(|file| file.as_str()).or_else(library)?;
        // A package is named by its folder and its name: `path+file:///…/kernel/image#nom-kernel@0.1.0`.
        let id = message.get("package_id")?.as_str()?;
        let name = id.rsplit('#').next()?.split('@').next()?;
        (name == package).then(|| PathBuf::from(executable))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn who_waits_for_another_cargo_is_told() {
        let folder = Scratch::new().unwrap();
        let told = |silence| {
            let mut lines = Vec::new();
            tell_of_another(folder.path(), silence, &mut |line| lines.push(line.to_string()));
            lines
        };
        assert!(told(Duration::ZERO).is_empty(), "nobody has built there yet");
        let lock = File::create(folder.file(LOCK)).unwrap();
        assert!(told(Duration::ZERO).is_empty());
        lock.lock().unwrap();
        let line = format!("another cargo is building in {}: waiting for it", folder.path().display());
        assert_eq!(told(Duration::ZERO), [line]);
        std::thread::scope(|scope| {
            // It is through in time.
            scope.spawn(|| lock.unlock());
            assert!(told(Duration::from_secs(60)).is_empty());
        });
    }

    #[test]
    fn a_program_is_found_among_messages() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"package_id\":\"path+file:///x/a#nom-a@0.1.0\",",
            "\"executable\":null}\n",
            "not json\n",
            "{\"reason\":\"compiler-artifact\",\"package_id\":\"path+file:///x/b#nom-b@0.1.0\",",
            "\"executable\":\"/t/b\"}\n",
        );
        assert_eq!(executable(messages, "nom-b"), Some(PathBuf::from("/t/b")));
        assert_eq!(executable(messages, "nom-a"), None);
        assert_eq!(executable(messages, "b"), None);
    }
}

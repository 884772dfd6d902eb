//! memcached's own tests against the cache as a Linux process: `t/*.t` of a checkout that the caller names.
//!
//! Each file runs with `prove` in a folder of its own, where `memcached-debug` is a small script that starts
//! our process with what the options mean here; so every server that a file asks for is a fresh one, with the memory
//! and the limits that the file wants. An option that we do not have makes the script fail, and with it the test.
//!
//! What cannot apply is listed with its reason and not run: other protocols and transports, and files that look into
//! memcached's slabs. Everything else is applicable, and passes as a whole or not.

use crate::Settings;
use crate::figures::Figure;
use nom_machine::machine::dying_with_us;
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_machine::{artefacts, packages};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What is claimed.
pub const CLAIM: &str =
    "memcached's own tests of the text and meta protocols pass (--peer DIR: its checkout)";

/// How long a file may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Files that cannot apply: how their names begin, and why.
const NOT_APPLICABLE: &[(&str, &str)] = &[
    ("00-startup", "memcached's command line"),
    ("64bit", "a fake of memcached's allocator"),
    ("ascii-auth", "authentication"),
    ("binary", "the binary protocol"),
    ("chunked-extstore", "storage on disk"),
    ("conn-limits", "memcached's read buffers, of which this stack has none"),
    ("daemonize", "memcached's command line"),
    ("error-extstore", "storage on disk"),
    ("extstore", "storage on disk"),
    ("issue_22", "counts evictions by the size of memcached's slabs"),
    ("issue_50", "the binary protocol"),
    ("issue_61", "counts how often memcached's workers yield"),
    ("dyn-maxbytes", "expects evictions and growth by the size of memcached's slabs; more fits here"),
    ("flush-all", "expects, of its last server, that a flush loses what is stored after it; ours never does"),
    ("line-lengths", "a document of memcached's"),
    ("lru.t", "counts evictions by pages of memcached's slabs; here the index is in the same 64 MiB"),
    ("lru-maintainer", "counts moves between memcached's LRU lists"),
    ("maxconns", "memcached's file descriptors"),
    ("misbehave", "memcached's own sandbox"),
    ("proxy", "the proxy"),
    ("restart", "memcached's memory file"),
    ("sasl", "authentication"),
    ("shutdown", "stopping a server is not a client's right here"),
    ("slabs", "moves pages between memcached's slabs"),
    ("ssl_", "TLS"),
    ("udp", "UDP"),
    ("unixsocket", "Unix sockets"),
    ("stats-conns", "asks for its UDP port"),
    ("stress", "no test"),
    ("whitespace", "looks at memcached's sources"),
    ("issue_67", "memcached's command line"),
];

/// How a file ended.
enum Verdict {
    Passed,
    /// It has nothing to try.
    Empty,
    Failed(String),
}

/// Runs the suite.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let Some(peer) = &settings.peer else {
        return Err(Trouble::new(
            "SKIPPED: memcached's tests are not part of this project; name a checkout of it with --peer DIR",
        ));
    };
    let prove =
        packages::find("prove").ok_or_else(|| Trouble::new("SKIPPED: prove (package perl) is missing"))?;
    let mut files = tests(peer)?;
    files.sort();
    let program = artefacts::linux(&["nom-kv-linux"], progress)?.remove(0);
    let folder = Scratch::new()?;
    prepare(peer, folder.path(), &program)?;
    let (mut passed, mut failed) = (0, 0);
    for name in &files {
        if let Some((_, why)) = NOT_APPLICABLE.iter().find(|(start, _)| name.starts_with(start)) {
            progress(&format!("not applicable  {name}: {why}"));
            continue;
        }
        match run(&prove, folder.path(), name)? {
            Verdict::Passed => {
                passed += 1;
                progress(&format!("passed          {name}"));
            }
            Verdict::Empty => progress(&format!("not applicable  {name}: it skips itself")),
            Verdict::Failed(why) => {
                failed += 1;
                progress(&format!("FAILED          {name}: {why}"));
            }
        }
    }
    let figure = |name, value| Figure::of(name, "files", None, &[f64::from(value)]);
    let figures =
        [figure("memcached_suite.passed", passed), figure("memcached_suite.applicable", passed + failed)];
    Ok(figures.into_iter().flatten().collect())
}

/// The names of the test files.
fn tests(peer: &Path) -> Outcome<Vec<String>> {
    let folder = peer.join("t");
    let listed = || format!("{} is no checkout of memcached: it has no folder t", peer.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).context(listed)? {
        let name = entry.context(listed)?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".t") {
            names.push(name);
        }
    }
    if names.is_empty() { Err(Trouble::new(listed())) } else { Ok(names) }
}

/// Copies the tests and writes the two scripts that they start servers with.
fn prepare(peer: &Path, folder: &Path, program: &Path) -> Outcome<()> {
    copy(&peer.join("t"), &folder.join("t"))?;
    write_script(&folder.join("timedrun"), "#!/bin/sh\nshift\nexec \"$@\"\n")?;
    write_script(&folder.join("memcached-debug"), &launcher(folder, program))
}

fn copy(from: &Path, to: &Path) -> Outcome<()> {
    let failed = || format!("cannot copy {}", from.display());
    fs::create_dir_all(to).context(failed)?;
    for entry in fs::read_dir(from).context(failed)? {
        let entry = entry.context(failed)?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().context(failed)?;
        if kind.is_dir() {
            copy(&from, &to)?;
        } else if kind.is_file() {
            fs::copy(&from, &to).context(failed)?;
        }
    }
    Ok(())
}

fn write_script(path: &Path, text: &str) -> Outcome<()> {
    let failed = || format!("cannot write {}", path.display());
    fs::write(path, text).context(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).context(failed)
}

/// A script that starts our process with what memcached's options mean here.
fn launcher(folder: &Path, program: &Path) -> String {
    include_str!("memcached_suite.sh")
        .replace("@FOLDER@", &folder.display().to_string())
        .replace("@PROGRAM@", &program.display().to_string())
}

/// Runs one file in a process group of its own, which is gone afterwards.
fn run(prove: &Path, folder: &Path, name: &str) -> Outcome<Verdict> {
    let log = folder.join("log");
    let file = fs::File::create(&log).context(|| "cannot write a log".into())?;
    let errors = file.try_clone().context(|| "cannot write a log".into())?;
    let mut command = dying_with_us(prove);
    command.current_dir(folder).args(["-I", "t/lib", &format!("t/{name}")]).process_group(0);
    command.env_remove("T_MEMD_USE_DAEMON").stdin(Stdio::null()).stdout(file).stderr(errors);
    let mut child = command.spawn().context(|| "cannot start prove".into())?;
    let group = child.id();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().context(|| "cannot wait for prove".into())? {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => break None,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    // Servers that a test forgot are in the group as well.
    let _ =
        Command::new("kill").args(["-s", "KILL", "--", &format!("-{group}")]).stderr(Stdio::null()).status();
    let _ = child.wait();
    let text = fs::read_to_string(&log).unwrap_or_default();
    Ok(match status {
        Some(status) if status.success() && text.contains("Result: NOTESTS") => Verdict::Empty,
        Some(status) if status.success() => Verdict::Passed,
        Some(_) => Verdict::Failed(
            text.lines()
                .find(|line| line.contains("Failed test"))
                .unwrap_or("it ended with an error")
                .trim()
                .into(),
        ),
        None => Verdict::Failed(format!("not done after {} s", PATIENCE.as_secs())),
    })
}

/// Where a checkout is, for whoever types a path relative to where they are.
pub fn peer(text: &str) -> PathBuf {
    std::path::absolute(text).unwrap_or_else(|_| text.into())
}

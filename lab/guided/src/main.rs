//! `nom fuzz --guided` builds this program so that the compiler counts where it goes, and runs it, a process a target:
//! one that ends the process ends no other.
//!
//! `nom-guided TARGET SEED SECONDS CORPUS`. Inputs that go new ways are kept in the folder CORPUS, under names made
//! from their bytes, and are begun with next time. A finding's bytes go to standard output, after a line that says what
//! was found.

mod watched;

use nom_fuzz::{guided, targets};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    match play() {
        Ok(code) => code,
        Err(why) => {
            eprintln!("nom-guided: {why}");
            ExitCode::from(2)
        }
    }
}

fn play() -> Result<ExitCode, String> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [target, seed, seconds, corpus] = &words[..] else {
        return Err("nom-guided TARGET SEED SECONDS CORPUS; `nom fuzz --guided` runs it".into());
    };
    let target = targets::find(target).ok_or_else(|| format!("no target {target:?}"))?;
    let seed: u64 = seed.parse().map_err(|_| format!("{seed:?} is no seed"))?;
    let seconds: u64 = seconds.parse().map_err(|_| format!("{seconds:?} is no number of seconds"))?;
    let corpus = PathBuf::from(corpus);
    std::fs::create_dir_all(&corpus).map_err(|error| format!("cannot make {}: {error}", corpus.display()))?;
    let known = read(&corpus)?;
    let mut watched = watched::Watched::new()
        .ok_or("this program was built without counters; `nom fuzz --guided` builds it with them")?;
    // A panic is a finding here, and is told once.
    std::panic::set_hook(Box::new(|_| {}));
    let mut lost = None;
    let outcome = guided::run(
        target,
        &mut watched,
        known,
        seed,
        Duration::from_secs(seconds),
        u64::MAX,
        &mut |input| {
            if let Err(error) = std::fs::write(corpus.join(name(input)), input) {
                lost = Some(error);
            }
        },
    );
    if let Some(error) = lost {
        eprintln!("nom-guided: not all inputs could be kept in {}: {error}", corpus.display());
    }
    let guided::Outcome { inputs, places, kept, finding } = outcome;
    println!("{inputs} inputs, {kept} of them kept, {places} of {} places passed", watched.places());
    let Some(finding) = finding else { return Ok(ExitCode::SUCCESS) };
    println!("{}", finding.what.replace('\n', " "));
    std::io::stdout()
        .write_all(&finding.input)
        .map_err(|error| format!("cannot say what was found: {error}"))?;
    Ok(ExitCode::FAILURE)
}

/// A name that the same bytes always have.
fn name(input: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn read(folder: &Path) -> Result<Vec<Vec<u8>>, String> {
    let wrong = |error| format!("cannot read {}: {error}", folder.display());
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(wrong)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(wrong)?;
    // In an order that does not depend on the file system, so that a seed means the same again.
    files.sort();
    files.iter().map(|file| std::fs::read(file).map_err(wrong)).collect()
}

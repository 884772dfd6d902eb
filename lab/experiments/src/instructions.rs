//! Counting instructions with valgrind's callgrind: the same program gives the same number, whoever else uses the
//! machine. What is counted is the build for guests, run as a Linux process.

use nom_machine::machine::dying_with_us;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_machine::{artefacts, packages};
use std::path::PathBuf;
use std::process::Stdio;

/// The tool, and the Debian package that has it.
pub const PROGRAM: &str = "valgrind";
/// Only what happens inside of functions of this name is collected.
const COLLECTED: &str = "*counted::*::counted*";
/// Requests that one count is taken from; the count is exact, more only smooth what happens now and then.
const REQUESTS: usize = 6_400;

/// What is played through `nom-counted`.
#[derive(Debug, Clone, Copy)]
pub struct Play {
    /// `stack`, `smoltcp`, `kv`, `httpd`, `driver`, `least` or `switch`.
    pub program: &'static str,
    /// Open connections; for `switch` bytes of a frame.
    pub connections: usize,
    /// Requests that arrive together.
    pub batch: usize,
    /// Whether checksums are computed by the processor.
    pub checksum: bool,
}

impl Play {
    /// With checksums as if the device did them.
    pub const fn new(program: &'static str, connections: usize, batch: usize) -> Self {
        Self { program, connections, batch, checksum: false }
    }
}

/// The counter: the tool and the program.
pub struct Counter {
    /// Where the tool is.
    pub valgrind: PathBuf,
    program: PathBuf,
}

impl Counter {
    /// Finds the tool and builds the program.
    pub fn new(progress: &mut dyn FnMut(&str)) -> Outcome<Self> {
        let valgrind = packages::ensure(PROGRAM, PROGRAM, progress)?;
        let program = artefacts::guest(&["nom-counted"], progress)?.remove(0);
        Ok(Self { valgrind, program })
    }

    /// What the program itself counted for each request, under this word.
    pub fn printed(&self, play: Play, word: &str) -> Outcome<f64> {
        let rounds = (REQUESTS / play.batch).max(1);
        let output = dying_with_us(&self.program)
            .args([play.program, &play.connections.to_string(), &play.batch.to_string(), &rounds.to_string()])
            .output()
            .context(|| "cannot start nom-counted".into())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let number =
            |word: &str| text.lines().find_map(|line| line.strip_prefix(word)?.trim().parse::<f64>().ok());
        number(word)
            .zip(number("requests"))
            .map(|(count, requests)| count / requests)
            .ok_or_else(|| Trouble::new(format!("nom-counted did not say {word:?}")))
    }

    /// Instructions of one request.
    pub fn per_request(&self, play: Play, progress: &mut dyn FnMut(&str)) -> Outcome<f64> {
        let rounds = (REQUESTS / play.batch).max(1);
        let mut command = dying_with_us(&self.valgrind);
        command
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no", "--vgdb=no"])
            .arg(format!("--toggle-collect={COLLECTED}"))
            .arg(&self.program)
            .args([play.program, &play.connections.to_string(), &play.batch.to_string(), &rounds.to_string()])
            .args(play.checksum.then_some("checksum"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = command.output().context(|| format!("cannot start {PROGRAM}"))?;
        let words = String::from_utf8_lossy(&output.stderr);
        let requests = String::from_utf8_lossy(&output.stdout)
            .lines()
            .find_map(|line| line.strip_prefix("requests ")?.parse::<f64>().ok())
            .filter(|_| output.status.success())
            .ok_or_else(|| {
                Trouble::new(format!("nom-counted failed: {}", words.lines().last().unwrap_or("")))
            })?;
        let each = collected(&words).ok_or_else(|| Trouble::new("callgrind said no count"))? / requests;
        progress(&format!(
            "{}: {each:.0} instructions a request, {} connections, {} at a time{}",
            play.program,
            play.connections,
            play.batch,
            if play.checksum { ", checksums computed" } else { "" },
        ));
        Ok(each)
    }
}

/// The count in callgrind's words: `==123== Collected : 4567`.
pub fn collected(words: &str) -> Option<f64> {
    let line = words.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_callgrinds_words() {
        let words = "==1== Events    : Ir\n==1== Collected : 5186320\n==1== \n";
        assert_eq!(collected(words), Some(5_186_320.0));
        assert_eq!(collected("==1== nothing"), None);
    }
}

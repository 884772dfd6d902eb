//! What a GET costs in time where the link costs nothing: two private stacks in one thread with memory between them, the
//! cache on one of them and 32 connections on the other, which ask for the same key of 32 bytes and its 100 bytes.
//!
//! A batch of requests, one a connection, is answered in one turn of the serving side, and its turns alone are timed, with
//! the processor's time stamp counter. What the other side leaves in the caches counts as it would from a device.

use crate::Settings;
use crate::figures::Figure;
use crate::memory_link::{
    Asker, CLIENT, CLIENT_MAC, CONNECTIONS, SERVER, SERVER_MAC, Side, opened, settled, side, until,
};
use nom_kv::Kv;
use nom_machine::trouble::{Outcome, Trouble};
use nom_memory_link::{LinkConfig, pair, ticks};
use nom_stack::application::Io;
use std::time::Instant;

const RUNS: usize = 7;
/// GETs on each connection in one run.
const GETS: u32 = 20_000;
const PORT: u16 = 11_211;
const REQUEST: &[u8] = b"get a-key-of-32-bytes-for-the-count!\r\n";
const VALUE_LEN: usize = 100;
/// `VALUE key 0 100`, the value, and `END`, with the ends of three lines.
const ANSWER_LEN: usize = 6 + 32 + 6 + 2 + VALUE_LEN + 2 + 5;
const MEMORY_BYTES: usize = 8 << 20;

/// Both sides, connected, with a request on its way on each connection.
struct Both {
    asker: Side<Asker>,
    server: Side<Kv>,
}

impl Both {
    fn open() -> Outcome<Self> {
        let (left, right) = pair(LinkConfig::default());
        let kv = Kv::new(nom_kv::Config::new(MEMORY_BYTES, [7; 16], 1));
        let mut server = side(left, kv, SERVER_MAC, SERVER);
        let mut asker = side(right, Asker::new(REQUEST, ANSWER_LEN), CLIENT_MAC, CLIENT);
        opened(&mut asker, &mut server, PORT)?;
        let value = "v".repeat(VALUE_LEN);
        let set = format!("set a-key-of-32-bytes-for-the-count! 0 0 {VALUE_LEN} noreply\r\n{value}\r\n");
        let all = asker.application().connections.clone();
        for (number, id) in all.into_iter().enumerate() {
            let first = if number == 0 { set.as_bytes() } else { &[] };
            asker.with_connection(id, 1_000_000_000, |_, io| io.write(&[first, REQUEST].concat()));
            // Whoever asks next finds the value.
            server.step(1_000_000_000);
        }
        Ok(Self { asker, server })
    }

    /// Ticks of the serving side for so many GETs.
    fn run(&mut self, gets: u64) -> Outcome<u64> {
        let goal = self.asker.application().answers + gets;
        let (server, mut spent) = (&mut self.server, 0);
        until(goal, &mut self.asker, |now_ns| {
            let begin = ticks();
            server.step(now_ns);
            spent += ticks() - begin;
        })?;
        Ok(spent)
    }
}

/// Ticks of one GET, batched.
fn one() -> Outcome<f64> {
    let gets = u64::from(GETS) * CONNECTIONS as u64;
    let mut both = Both::open()?;
    both.run(gets / 10)?;
    let accepted = both.server.meter().accepted();
    let spent = both.run(gets)?;
    // As many as there are connections may have been answered before, and heard of within.
    if both.server.meter().accepted() - accepted + (CONNECTIONS as u64) < gets {
        return Err(Trouble::new("not every GET was served"));
    }
    Ok(spent as f64 / gets as f64)
}

/// Measures.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let (begin, start) = (ticks(), Instant::now());
    let mut cycles = Vec::new();
    for run in 0..settings.runs.unwrap_or(RUNS) {
        let load = settled();
        let ticks = one()?;
        progress(&format!(
            "run {}: {ticks:.0} cycles a GET ({:.0}% of the machine busy before)",
            run + 1,
            load * 100.0
        ));
        cycles.push(ticks);
    }
    let ghz = (ticks() - begin) as f64 / start.elapsed().as_nanos() as f64;
    let figures = [
        Figure::of("kv.cycles", "", Some("<=1200"), &cycles),
        Figure::of("kv.cycles_tsc_ghz", "GHz", None, &[ghz]),
    ];
    Ok(figures.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_is_answered_whole_and_again() {
        let mut both = Both::open().unwrap();
        both.run(10 * CONNECTIONS as u64).unwrap();
        assert!(both.asker.application().answers >= 10 * CONNECTIONS as u64);
        assert!(both.server.meter().accepted() >= 10 * CONNECTIONS as u64);
    }
}

//! What a guest makes the machine around it do: the emulator's equivalents of exits and of injected interrupts.
//!
//! The emulator writes a line for each access to a register of a device (`memory_region_ops_*`: on hardware each is an exit) and
//! for each interrupt that reaches the processor's controller (`apic_deliver_irq`, `apic_local_deliver`). Halts are no line
//! there. The lines that come while the client asks are counted, in runs of their own: writing them takes time.

use super::{Ask, Started};
use crate::emulator_threads;
use crate::figures::Figure;
use crate::first_answer::{self, Probe};
use crate::tap_home::{GUEST, Guest};
use nom_machine::qemu::Plan;
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::Path;

const EVENTS: [&str; 4] =
    ["memory_region_ops_read", "memory_region_ops_write", "apic_deliver_irq", "apic_local_deliver"];

/// Of each operation.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Exits {
    accesses: f64,
    injections: f64,
}

/// Counts a guest's, with many connections and with one.
pub fn counted(started: &Started, probe: &Probe, ask: Ask, many: u32) -> Outcome<[Exits; 2]> {
    let folder = Scratch::new()?;
    let file = folder.file("trace");
    let mut plan: Plan = started.plan.clone();
    plan.further.extend(EVENTS.iter().flat_map(|event| ["-trace".into(), (*event).into()]));
    plan.further.extend(["-D".into(), file.display().to_string()]);
    let mut guest = Guest::start_as(plan, &started.kernel, started.initial.as_ref())?;
    first_answer::wait(&mut guest, probe)?;
    let _apart = emulator_threads::apart(guest.id())?;
    let mut exits = [Exits::default(); 2];
    for (exits, connections) in exits.iter_mut().zip([many, 1]) {
        let from = len(&file)?;
        let seen = ask(SocketAddr::from((GUEST, probe.port)), connections)?;
        let until = len(&file)?;
        let open = || format!("cannot read {}", file.display());
        let mut lines = File::open(&file).context(open)?;
        lines.seek(SeekFrom::Start(from)).context(open)?;
        let [accesses, injections] = count(BufReader::new(lines.take(until - from)));
        *exits = Exits {
            accesses: accesses as f64 / seen.operations,
            injections: injections as f64 / seen.operations,
        };
    }
    Ok(exits)
}

fn len(file: &Path) -> Outcome<u64> {
    Ok(std::fs::metadata(file).context(|| format!("no trace in {}", file.display()))?.len())
}

fn count(mut lines: impl BufRead) -> [u64; 2] {
    let (mut counts, mut line) = ([0, 0], Vec::new());
    while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line);
        counts[0] += u64::from(text.contains("memory_region_ops_"));
        counts[1] += u64::from(text.contains("apic_deliver_irq") || text.contains("apic_local_deliver"));
        line.clear();
    }
    counts
}

/// The figures of a side.
pub fn figures(contest: &str, side: &str, exits: &[Exits; 2]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (load, exits) in ["many", "single"].into_iter().zip(exits) {
        for (what, each) in [("accesses", exits.accesses), ("injections", exits.injections)] {
            let name = format!("{contest}.vm_{side}_{load}_{what}_per_operation");
            figures.extend(Figure::of(&name, "", None, &[each]));
        }
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_by_what_they_tell() {
        let text = "1@2:memory_region_ops_write cpu 0 mr 0x1 addr 0xfee000b0 value 0x0 size 4 name 'apic-msi'\n\
                    memory_region_ops_read cpu 0\napic_deliver_irq dest 0\napic_local_deliver vector 1 delivery mode 0\n\
                    something else\nmemory_region_ops_re";
        assert_eq!(count(text.as_bytes()), [3, 2]);
        let figures = figures("kv", "linux", &[Exits { accesses: 2.0, injections: 0.5 }, Exits::default()]);
        let names: Vec<&str> = figures.iter().map(|figure| figure.name.as_str()).collect();
        assert_eq!(
            names[..2],
            ["kv.vm_linux_many_accesses_per_operation", "kv.vm_linux_many_injections_per_operation"]
        );
        assert_eq!((figures.len(), figures[0].value), (4, 2.0));
    }
}

//! A victim beside a hostile neighbour, and machines at the ends of what there may be.

use super::Cases;
use super::guest::whole;
use crate::image;
use crate::service::progress;
use nom_machine::machine::Nameless;
use nom_machine::qemu::{Kind, Plan};
use nom_machine::trouble::{Outcome, Trouble};

/// Who may share memory with whom; one channel's other end is never opened.
const NEIGHBOURS: &str = "image.trusted = yes
kernel.application = victim
kernel.heap = 1 MiB
kernel.channel.orders = victim, hostile, 8 KiB
kernel.channel.own = hostile, nobody, 4 KiB
kernel.end = victim
";
/// What a victim says at its end, before the number.
const MISSED: &str = "neighbour missed_beats ";

/// Machine type, processors, memory in MiB, and how much of it lies below 4 GiB when some lies above.
const EXTREMES: [(Kind, u32, u32, u32); 4] = [
    (Kind::Microvm, 8, 64, 0),
    (Kind::Q35, 8, 64, 0),
    (Kind::Microvm, 1, 8, 0),
    // The emulator's memory is sparse: only what is touched costs the host anything.
    (Kind::Q35, 2, 6144, 64),
];

/// Runs them all.
pub fn hostile(cases: &mut Cases) -> Outcome<()> {
    let image = Nameless::new(&image::build_several("trial", &["victim", "hostile"], NEIGHBOURS)?)?;
    for processors in [1, 3] {
        let mut plan = Plan { processors, ..Plan::new(Kind::Microvm) };
        let mut title = format!("microvm with a hostile neighbour, {processors} processors");
        if processors == 1 {
            // An instruction takes 8 ns, whatever the host is busy with; sleep takes no time of the host's.
            plan.further = ["-icount", "shift=3,sleep=off"].map(String::from).into();
            title += " in counted time";
        }
        let [lines, _] = whole(&plan, &image, &title, cases)?;
        let figure = lines.iter().find_map(|line| line.split_once(MISSED)).map(|(_, rest)| rest);
        let verdict = match figure.and_then(|figure| figure.split(' ').next()) {
            Some("0") => Ok(()),
            _ => Err(Trouble::new(format!("missed beats: {}", figure.unwrap_or("not said")))),
        };
        progress(&format!("neighbour.missed_beats on {title}: {}", figure.unwrap_or("not said")));
        cases.note(&format!("guest on {title}: neighbour.missed_beats is 0"), verdict);
    }
    for (kind, processors, mib, below) in EXTREMES {
        let configuration = format!(
            "image.trusted = yes\nkernel.heap = 1 MiB\n# processors = {processors}\n# mib = {mib}\n# mib_below_4_gib = {below}\n"
        );
        let image = Nameless::new(&image::build_several("trial", &["extremes"], &configuration)?)?;
        let mut plan = Plan { processors, memory_mib: mib, ..Plan::new(kind) };
        if below > 0 {
            plan.further = vec!["-machine".into(), format!("max-ram-below-4g={below}M")];
        }
        whole(&plan, &image, &format!("{} with {processors} processors and {mib} MiB", kind.name()), cases)?;
    }
    Ok(())
}

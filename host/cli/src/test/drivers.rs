//! The drivers alone on a machine's devices: a disk whose file is looked at afterwards, a source of entropy, a network
//! card; and a service that has no entropy but a device's.

use super::guest::{PATIENCE, free_port, read};
use super::{Cases, Verdict};
use crate::image;
use nom_machine::machine::{End, Machine, Nameless};
use nom_machine::qemu::{Disk, Kind, Plan};
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::path::Path;

const HEAP: &str = "kernel.heap = 8 MiB\n";
const SERVICE_PORT: u16 = 11_211;
const SERVICE: &str = "listen = 11211\naddress = 10.0.2.15/24\ngateway = 10.0.2.2\nconnections = 64\n\
    memory.items = 256 KiB\nitem.max = 64 KiB\nmemory.send = 64 KiB\nmemory.receive = 64 KiB\n\
    tuner = off\nkernel.heap = 3 MiB\nimage.trusted = yes\n";
/// Bytes of a disk.
const DISK_LEN: u64 = 2 << 20;
/// Cases that must not be skipped: their devices are there.
const CASES_MIN: usize = 4;

/// Runs the cases of the drivers on both machine types.
pub fn drivers(cases: &mut Cases) -> Outcome<()> {
    let trusted = image("yes")?;
    for kind in Kind::ALL {
        one(&trusted, &Plan::new(kind), &format!("{}: drivers", kind.name()), cases)?;
    }
    without_processor_entropy(cases)
}

/// The same behind an IOMMU, in an image that is not trusted: the devices reach what was registered, and that is enough.
pub fn behind_iommu(cases: &mut Cases) -> Outcome<()> {
    let plan = Plan { iommu: true, ..Plan::new(Kind::Q35) };
    one(&image("no")?, &plan, "q35 with an IOMMU: drivers", cases)
}

fn image(trusted: &str) -> Outcome<Nameless> {
    Nameless::new(&image::build("drivers", &format!("image.trusted = {trusted}\n{HEAP}"))?)
}

fn one(image: &Nameless, plan: &Plan, title: &str, cases: &mut Cases) -> Outcome<()> {
    let scratch = Scratch::new()?;
    let (written, read_only) = (scratch.file("disk"), scratch.file("read-only"));
    fill(&written, DISK_LEN / 2)?;
    fill(&read_only, DISK_LEN)?;
    let before = contents(&read_only)?;
    let disks = vec![
        Disk { file: written.clone(), read_only: false },
        Disk { file: read_only.clone(), read_only: true },
    ];
    let forward = Some((free_port()?, 7));
    let plan = Plan { entropy: true, forward, disks, ..plan.clone() };
    let mut machine = Machine::start(&plan, image, None)?;
    let end = machine.wait(PATIENCE);
    let lines: Vec<String> = machine.serial.lines().into_iter().map(|line| line.text).collect();
    let passed =
        lines.iter().filter(|line| line.contains("case ") && line.trim_end().ends_with(" ok")).count();
    read(&lines, title, cases);
    let verdict = match end {
        Some(End::Code(0)) if passed >= CASES_MIN => Ok(()),
        Some(End::Code(0)) => Err(Trouble::new(format!("{passed} of {CASES_MIN} cases passed"))),
        None => Err(Trouble::new(format!("it did not end in time; last words: {:?}", lines.last()))),
        Some(_) => Err(machine.autopsy()),
    };
    cases.note(&format!("guest on {title} end in order"), verdict);
    machine.kill();
    let verdict = match contents(&written)? {
        bytes if wrong(&bytes, 1, 0..DISK_LEN / 2) || wrong(&bytes, 2, DISK_LEN / 2..DISK_LEN) => {
            Verdict::Failed("the file does not hold what the guest wrote".into())
        }
        _ => Verdict::Passed,
    };
    cases.note(&format!("guest on {title}: disk_is_written_as_the_file_shows"), verdict);
    let verdict = if contents(&read_only)? == before {
        Verdict::Passed
    } else {
        Verdict::Failed("it was written".into())
    };
    cases.note(&format!("guest on {title}: disk_that_may_not_be_written_was_not"), verdict);
    Ok(())
}

/// A service on a processor without a generator: with a source of entropy it serves, without any it refuses to.
fn without_processor_entropy(cases: &mut Cases) -> Outcome<()> {
    let image = Nameless::new(&image::build("kv", SERVICE)?)?;
    for (entropy, wanted) in [(true, "kv: serving on port"), (false, "kv: no entropy")] {
        let forward = Some((free_port()?, SERVICE_PORT));
        let plan = Plan { entropy, forward, lacking: vec!["rdrand", "rdseed"], ..Plan::new(Kind::Microvm) };
        let mut machine = Machine::start(&plan, &image, None)?;
        let said = machine.serial.wait_for(PATIENCE, |line| line.contains(wanted)).is_some();
        let verdict = if said { Ok(()) } else { Err(machine.autopsy()) };
        machine.kill();
        let title = if entropy { "serves" } else { "refuses to serve without one" };
        cases.note(&format!("guest: kv with a source of entropy alone {title}"), verdict);
    }
    Ok(())
}

/// What stands at this place of a disk, by the number of the pattern; the guest has the same.
fn pattern(number: u64, place: u64) -> u8 {
    ((place / 512).wrapping_mul(31) + place + number * 101) as u8
}

fn wrong(bytes: &[u8], number: u64, range: std::ops::Range<u64>) -> bool {
    bytes.len() as u64 != DISK_LEN
        || range.into_iter().any(|place| bytes[place as usize] != pattern(number, place))
}

/// A disk whose first `len` bytes are pattern 1, and the rest nothing.
fn fill(file: &Path, len: u64) -> Outcome<()> {
    let mut bytes: Vec<u8> = (0..len).map(|place| pattern(1, place)).collect();
    bytes.resize(DISK_LEN as usize, 0);
    std::fs::write(file, bytes).context(|| format!("cannot write {}", file.display()))
}

fn contents(file: &Path) -> Outcome<Vec<u8>> {
    std::fs::read(file).context(|| format!("cannot read {}", file.display()))
}

//! The cases that only a ring-3 application in a guest can try, on each machine type.

use super::{Cases, Verdict};
use crate::image;
use crate::service::progress;
use nom_linux_program::OUTPUT;
use nom_machine::machine::{End, Machine, Nameless};
use nom_machine::packages;
use nom_machine::qemu::{Kind, PACKAGE, PROGRAM, Plan};
use nom_machine::serial::Serial;
use nom_machine::trouble::{Outcome, Trouble};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

/// How long one machine may take for all its cases.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// What the trial guest needs: it is a trusted image, as all are that run without an IOMMU.
const CONFIGURATION: &str = "image.trusted = yes\n";

/// Several applications in one image: what they may do to each other, and which memory they may share.
const SEVERAL: &str = "image.trusted = yes
kernel.application = many
kernel.heap = 1 MiB
kernel.channel.orders = many, peer, 8 KiB
kernel.channel.secret = many, other, 4 KiB
kernel.restart.again = always 2
";
/// Ways in which an application ends, or one of its threads ends it: the code, and what a line says.
const ENDINGS: [(&str, u8, &str); 12] = [
    ("code", 7, " ended with code 7"),
    ("null", 102, "application ended: page fault at 0x8, "),
    ("undefined", 102, "application ended: exception 0x6, "),
    ("panic", 101, "application panicked: at "),
    ("allocation", 101, "memory allocation of 100000 bytes failed"),
    ("thread_overflow", 102, "thread 2: its stack is full"),
    ("thread_panic", 101, "application panicked: thread 2: at "),
    ("overflow", 102, "application ended: page fault at 0x7eff"),
    ("nesting", 102, "no handler could take it"),
    ("stackless", 102, "no handler could take it"),
    ("demand", 102, "no frame for a page of a demand-zero range (NoMemory)"),
    ("store", 102, "of a working set of 100: StoreFull"),
];
/// The names of the trial guest in that image.
const NAMES: [&str; 4] = ["many", "peer", "other", "again"];
/// With how many processors the several are tried.
const PROCESSORS: [u32; 3] = [1, 2, 4];

/// With this the machine ends when the kernel itself fails (`abi/src/exit.rs`).
const KERNEL_FAILED: u8 = 103;
/// A trial guest that ends at once.
const ENDS: &str = "image.trusted = yes\nkernel.heap = 1 MiB\n# ending = code\n";
/// What the kernel is asked to try on itself, the code with which the machine then ends, and what must be said.
const CHECKS: [(&str, u8, &str); 4] = [
    ("check=rights", 7, "pages: 0 can be written and executed, 0 can be written and hold code or constants"),
    ("check=code", KERNEL_FAILED, "failed: vector 14 on processor 0, address 0xffff80000010"),
    ("check=overflow:0", KERNEL_FAILED, "failed: stack overflow on processor 0"),
    ("check=overflow:1", KERNEL_FAILED, "failed: stack overflow on processor 1"),
];

/// Whether a machine ends with this code and says this.
fn protected(image: &Nameless, kind: Kind, check: &str, code: u8, said: &str) -> Outcome<Verdict> {
    let plan = Plan { processors: 2, command_line: Some(check.into()), ..Plan::new(kind) };
    let mut machine = Machine::start(&plan, image, None)?;
    let end = machine.wait(PATIENCE);
    let lines: Vec<String> = machine.serial.lines().into_iter().map(|line| line.text).collect();
    let right = end == Some(End::Code(code)) && lines.iter().any(|line| line.contains(said));
    let why =
        || format!("expected code {code} and {said:?}; it ended with {end:?}, last words {:?}", lines.last());
    Ok(if right { Verdict::Passed } else { Verdict::Failed(why()) })
}

/// Runs the trial guest on both machine types: alone, and several in one image with one and more processors.
pub fn guest(cases: &mut Cases) -> Outcome<()> {
    packages::ensure(PROGRAM, PACKAGE, &mut progress)?;
    let alone = Nameless::new(&image::build("trial", CONFIGURATION)?)?;
    let several = Nameless::new(&image::build_several("trial", &NAMES, SEVERAL)?)?;
    for (ending, code, words) in ENDINGS {
        let configuration = format!("{CONFIGURATION}# ending = {ending}\n");
        let image = Nameless::new(&image::build("trial", &configuration)?)?;
        let verdict = ended(&Plan::new(Kind::Microvm), &image, code)
            .and_then(|lines| says(&lines, words).and_then(|()| says(&lines, "; 0 frames leaked")));
        cases.note(&format!("guest that ends by {ending}"), verdict);
    }
    super::lives::lives(cases)?;
    super::hostile::hostile(cases)?;
    let checked = Nameless::new(&image::build("trial", ENDS)?)?;
    for kind in Kind::ALL {
        for (check, code, said) in CHECKS {
            let verdict = protected(&checked, kind, check, code, said)?;
            cases.note(&format!("kernel on {}: {check}", kind.name()), verdict);
        }
        let said = one(&alone, kind, 1, kind.name(), cases)?;
        let verdict = linux_program(&said);
        cases.note(&format!("guest on {}: what a program for Linux prints is logged", kind.name()), verdict);
        for processors in PROCESSORS {
            let title = format!("{} with {processors} processors", kind.name());
            one(&several, kind, processors, &title, cases)?;
        }
    }
    super::drivers::drivers(cases)
}

/// Runs a machine until it ends with this code; what it has printed.
pub fn ended(plan: &Plan, image: &Nameless, code: u8) -> Outcome<Vec<String>> {
    let mut machine = Machine::start(plan, image, None)?;
    match machine.wait(PATIENCE) {
        Some(End::Code(found)) if found == code => {}
        _ => return Err(machine.autopsy()),
    }
    Ok(machine.serial.lines().into_iter().map(|line| line.text).collect())
}

/// A line says this.
pub fn says(lines: &[String], words: &str) -> Outcome<()> {
    match lines.iter().any(|line| line.contains(words)) {
        true => Ok(()),
        false => Err(Trouble::new(format!("no line says {words:?}: {lines:?}"))),
    }
}

fn one(
    image: &Nameless,
    kind: Kind,
    processors: u32,
    title: &str,
    cases: &mut Cases,
) -> Outcome<Vec<String>> {
    let forward = Some((free_port()?, 7));
    let plan = Plan { management: true, entropy: true, forward, processors, ..Plan::new(kind) };
    whole(&plan, image, title, cases).map(|[said, _]| said)
}

/// Whether a guest has logged what the program prints, line after line.
fn linux_program(said: &[String]) -> Verdict {
    let mut said = said.iter();
    match OUTPUT.lines().find(|wanted| !said.any(|line| line.ends_with(wanted))) {
        None => Verdict::Passed,
        Some(missing) => Verdict::Failed(format!("{missing:?} was not logged, or too early")),
    }
}

/// Runs a machine to its end and reads its cases; what it and the emulator have printed.
pub fn whole(plan: &Plan, image: &Nameless, title: &str, cases: &mut Cases) -> Outcome<[Vec<String>; 2]> {
    let mut machine = Machine::start(plan, image, None)?;
    let end = machine.wait(PATIENCE);
    judge(&mut machine, end, title, cases)
}

/// Reads the cases of a machine that has ended, or should have.
pub fn judge(
    machine: &mut Machine,
    end: Option<End>,
    title: &str,
    cases: &mut Cases,
) -> Outcome<[Vec<String>; 2]> {
    let texts = |serial: &Serial| serial.lines().into_iter().map(|line| line.text).collect::<Vec<_>>();
    let lines = texts(&machine.serial);
    let ran = read(&lines, title, cases);
    let verdict = match end {
        Some(End::Code(0)) if ran > 0 => Ok(()),
        None => Err(Trouble::new(format!("it did not end in time; last words: {:?}", lines.last()))),
        Some(_) => Err(machine.autopsy()),
    };
    cases.note(&format!("guest on {title} ends in order"), verdict);
    let leak = |line: &&String| line.contains(" frames leaked") && !line.contains("; 0 frames leaked");
    let verdict = match lines.iter().find(leak) {
        None => Ok(()),
        Some(line) => Err(Trouble::new(line.clone())),
    };
    cases.note(&format!("guest on {title} loses no frame"), verdict);
    Ok([lines, texts(&machine.complaints)])
}

/// Reads `case NAME ok` and `case NAME FAILED why`, wherever on a line they begin; says how many there were.
pub fn read(lines: &[String], kind: &str, cases: &mut Cases) -> usize {
    let mut ran = 0;
    for line in lines {
        let Some((name, end)) = line.split_once("case ").and_then(|(_, rest)| rest.split_once(' ')) else {
            continue;
        };
        let verdict = match end.trim().split_once(' ').unwrap_or((end.trim(), "")) {
            ("ok", _) => Verdict::Passed,
            ("FAILED", why) => Verdict::Failed(why.into()),
            ("skipped" | "SKIPPED", why) => Verdict::Skipped(why.into()),
            _ => continue,
        };
        ran += 1;
        cases.note(&format!("guest on {kind}: {name}"), verdict);
    }
    ran
}

/// A port that is free at the moment.
pub fn free_port() -> Outcome<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| Trouble::new(format!("no free port on localhost: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_read_from_the_serial_line() {
        let lines = [
            "boot",
            "application: case a ok",
            "case b FAILED it hung",
            "case c skipped no device",
            "case d?",
        ];
        let mut cases = Cases::default();
        assert_eq!(read(&lines.map(String::from), "q35", &mut cases), 3);
        assert_eq!(cases.sum(), "1 passed, 1 failed, 1 skipped");
    }
}

//! Devices and what they may reach: with an IOMMU and without one, in trusted images and others.

use super::guest::whole;
use super::plug::plug;
use super::{Cases, Verdict};
use crate::image;
use crate::service::progress;
use nom_machine::machine::Nameless;
use nom_machine::packages;
use nom_machine::qemu::{Kind, PACKAGE, PROGRAM, Plan};
use nom_machine::trouble::{Outcome, Trouble};

/// The first of the names tries things with devices, the second does what it is ordered.
const NAMES: [&str; 2] = ["devices", "peer"];
const CONFIGURATION: &str = "kernel.application = devices
kernel.heap = 1 MiB
kernel.channel.orders = devices, peer, 8 KiB
kernel.ports.devices = serial2
kernel.ports.peer = serial3
";

/// What a machine is tried for.
struct Trial {
    title: &'static str,
    kind: Kind,
    iommu: bool,
    trusted: bool,
    processors: u32,
    /// Part of `nom test`; the others only run with `nom test guest --devices`.
    short: bool,
    /// A device that goes past the IOMMU.
    bypass: bool,
    /// The card has no messages: it interrupts by a pin.
    pin: bool,
}

const TRIAL: Trial = Trial {
    title: "",
    kind: Kind::Q35,
    iommu: true,
    trusted: false,
    processors: 1,
    short: false,
    bypass: false,
    pin: false,
};

const TRIALS: [Trial; 9] = [
    Trial { title: "q35 with an IOMMU and 2 processors", processors: 2, short: true, ..TRIAL },
    Trial { title: "q35 with an IOMMU", ..TRIAL },
    Trial { title: "q35 with an IOMMU, trusted", trusted: true, ..TRIAL },
    Trial { title: "q35 without an IOMMU, trusted", iommu: false, trusted: true, ..TRIAL },
    Trial { title: "q35 without an IOMMU, not trusted", iommu: false, short: true, ..TRIAL },
    Trial { title: "q35 with a device that goes past the IOMMU", bypass: true, ..TRIAL },
    Trial { title: "q35 with an IOMMU and a card with a pin", pin: true, processors: 2, ..TRIAL },
    Trial { title: "q35 and a card with a pin, trusted", pin: true, iommu: false, trusted: true, ..TRIAL },
    Trial { title: "microvm, trusted", kind: Kind::Microvm, iommu: false, trusted: true, ..TRIAL },
];

/// The short form.
pub fn short(cases: &mut Cases) -> Outcome<()> {
    some(cases, |trial| trial.short)
}

/// All machines.
pub fn full(cases: &mut Cases) -> Outcome<()> {
    some(cases, |_| true)?;
    plug(cases, false)?;
    super::drivers::behind_iommu(cases)?;
    super::liar::liar(cases)?;
    super::pairs::pairs(cases)
}

fn some(cases: &mut Cases, wanted: impl Fn(&Trial) -> bool) -> Outcome<()> {
    packages::ensure(PROGRAM, PACKAGE, &mut progress)?;
    let image = |trusted: &str| {
        let text = format!("{CONFIGURATION}image.trusted = {trusted}\n");
        Nameless::new(&image::build_several("trial", &NAMES, &text)?)
    };
    let (trusted, not) = (image("yes")?, image("no")?);
    for trial in TRIALS.iter().filter(|trial| wanted(trial)) {
        let before = cases.count();
        one(trial, if trial.trusted { &trusted } else { &not }, cases)?;
        println!("{}: {} cases", trial.title, cases.count() - before);
    }
    plug(cases, true)
}

fn one(trial: &Trial, image: &Nameless, cases: &mut Cases) -> Outcome<()> {
    let mut plan = Plan {
        management: true,
        entropy: !trial.bypass,
        processors: trial.processors,
        iommu: trial.iommu,
        ..Plan::new(trial.kind)
    };
    // A ring as large as they are.
    let messages = if trial.pin { ",vectors=0" } else { "" };
    let card = format!("virtio-net-{},netdev=card,rx_queue_size=1024{messages}", plan.bus());
    plan.further =
        ["-netdev", "user,id=card", "-device", &card, "-serial", "null"].map(String::from).to_vec();
    if trial.bypass {
        plan.further.extend(["-device", "virtio-rng-pci,disable-legacy=on"].map(String::from));
    }
    let [guest, emulator] = whole(&plan, image, trial.title, cases)?;
    if trial.trusted || trial.bypass {
        return Ok(());
    }
    if trial.iommu {
        let name = format!("guest on {}: the emulator reports what was blocked", trial.title);
        cases.note(&name, reported(&guest, &emulator));
    } else {
        let why = guest.iter().any(|line| line.contains("the IOMMU cannot be used, there is none"));
        let verdict = if why { Ok(()) } else { Err(Trouble::new("the kernel does not say why")) };
        cases.note(&format!("guest on {}: the reason is told", trial.title), verdict);
    }
    Ok(())
}

/// Every address that the guest saw blocked stands in the emulator's own report of faults.
fn reported(guest: &[String], emulator: &[String]) -> Verdict {
    let faults: Vec<&str> =
        emulator.iter().filter_map(|line| line.split_once("vtd_dmar_fault ").map(|(_, rest)| rest)).collect();
    let addresses: Vec<&str> =
        guest.iter().filter_map(|line| line.split_once("blocked 0x").map(|(_, address)| address)).collect();
    let missing: Vec<&&str> = addresses
        .iter()
        .filter(|address| !faults.iter().any(|fault| fault.contains(&format!("addr 0x{address} "))))
        .collect();
    if addresses.is_empty() {
        Verdict::Failed("the guest saw nothing blocked".into())
    } else if missing.is_empty() {
        Verdict::Passed
    } else {
        Verdict::Failed(format!("the emulator does not report {missing:?}; it reports {faults:?}"))
    }
}

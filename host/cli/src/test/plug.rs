//! Plugs a device into a running guest and takes it out, by the emulator's own protocol (QMP).

use super::Cases;
use super::guest::judge;
use super::monitor::{Monitor, Place};
use crate::image;
use nom_machine::machine::{Machine, Nameless};
use nom_machine::qemu::{Kind, Plan};
use nom_machine::trouble::{Outcome, Trouble};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(100);
const CONFIGURATION: &str = "# plug\nkernel.application = devices\nkernel.heap = 1 MiB\n";

/// Runs a guest that asks twice for a device and to have it taken out again.
pub fn plug(cases: &mut Cases, iommu: bool) -> Outcome<()> {
    let trusted = if iommu { "no" } else { "yes" };
    let text = format!("{CONFIGURATION}image.trusted = {trusted}\n");
    let image = Nameless::new(&image::build_several("trial", &["devices", "peer"], &text)?)?;
    let monitor = Place::new()?;
    let mut plan = Plan { management: true, iommu, ..Plan::new(Kind::Q35) };
    let device = format!("virtio-rng-{}", plan.bus());
    plan.further = [
        // Otherwise the firmware's interpreted tables would have to be asked.
        "-global",
        "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
        "-device",
        "pcie-root-port,id=rootport,chassis=1,slot=1",
    ]
    .map(String::from)
    .into_iter()
    .chain(monitor.arguments())
    .collect();
    let title = if iommu { "q35 with an IOMMU, plugging" } else { "q35 without an IOMMU, plugging" };
    let mut machine = Machine::start(&plan, &image, None)?;
    let plugged = drive(&machine, &monitor, &device);
    let end = machine.wait(if plugged.is_ok() { PATIENCE } else { Duration::from_secs(1) });
    judge(&mut machine, end, title, cases)?;
    cases.note(&format!("guest on {title}: the emulator says that the device has left"), plugged);
    Ok(())
}

fn drive(machine: &Machine, monitor: &Place, device: &str) -> Outcome<()> {
    let (driver, properties) = device.split_once(',').unwrap_or((device, ""));
    let properties: String = properties
        .split(',')
        .filter_map(|property| property.split_once('='))
        .map(|(name, value)| format!(",\"{name}\":\"{value}\""))
        .collect();
    said(machine, "plug: in", 1)?;
    let mut emulator = Monitor::open(monitor)?;
    for turn in 1..=4 {
        said(machine, "plug: in", turn)?;
        // The one that vanishes keeps its name.
        let id = if turn == 4 { "last" } else { "hot" };
        emulator.command(&format!(
            "{{\"execute\":\"device_add\",\"arguments\":{{\"driver\":\"{driver}\",\"id\":\"{id}\",\"bus\":\"rootport\"{properties}}}}}"
        ))?;
        if turn == 3 {
            // Past the port, which would ask the guest, or at least tell it.
            said(machine, "plug: vanish", 1)?;
            emulator.command("{\"execute\":\"qom-set\",\"arguments\":{\"path\":\"/machine/peripheral/hot\",\"property\":\"realized\",\"value\":false}}")?;
        }
        if turn >= 3 {
            continue;
        }
        said(machine, "plug: out", turn)?;
        emulator.command("{\"execute\":\"device_del\",\"arguments\":{\"id\":\"hot\"}}")?;
        emulator.event("DEVICE_DELETED", "hot")?;
    }
    Ok(())
}

/// Waits until the guest has said this for so many times.
fn said(machine: &Machine, words: &str, times: usize) -> Outcome<()> {
    let deadline = Instant::now() + PATIENCE;
    let count = || machine.serial.lines().iter().filter(|line| line.text.contains(words)).count();
    while count() < times {
        if Instant::now() > deadline {
            return Err(Trouble::new(format!("the guest did not say {words:?} for the {times}. time")));
        }
        machine.serial.wait_for(Duration::from_millis(20), |_| false);
    }
    Ok(())
}

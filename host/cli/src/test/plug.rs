//! Plugs a device into a running guest and takes it out, by the emulator's own protocol (QMP).

use super::Cases;
use super::guest::{free_port, judge};
use crate::image;
use nom_machine::machine::{Machine, Nameless};
use nom_machine::qemu::{Kind, Plan};
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(100);
const CONFIGURATION: &str = "# plug\nkernel.application = devices\nkernel.heap = 1 MiB\n";

/// Runs a guest that asks twice for a device and to have it taken out again.
pub fn plug(cases: &mut Cases, iommu: bool) -> Outcome<()> {
    let trusted = if iommu { "no" } else { "yes" };
    let text = format!("{CONFIGURATION}image.trusted = {trusted}\n");
    let image = Nameless::new(&image::build_several("trial", &["devices", "peer"], &text)?)?;
    let port = free_port()?;
    let mut plan = Plan { management: true, iommu, ..Plan::new(Kind::Q35) };
    let device = format!("virtio-rng-{}", plan.bus());
    plan.further = [
        // Otherwise the firmware's interpreted tables would have to be asked.
        "-global",
        "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
        "-device",
        "pcie-root-port,id=rootport,chassis=1,slot=1",
        "-qmp",
        &format!("tcp:127.0.0.1:{port},server=on,wait=off"),
    ]
    .map(String::from)
    .to_vec();
    let title = if iommu { "q35 with an IOMMU, plugging" } else { "q35 without an IOMMU, plugging" };
    let mut machine = Machine::start(&plan, &image, None)?;
    let plugged = drive(&machine, port, &device);
    let end = machine.wait(if plugged.is_ok() { PATIENCE } else { Duration::from_secs(1) });
    judge(&mut machine, end, title, cases)?;
    cases.note(&format!("guest on {title}: the emulator says that the device has left"), plugged);
    Ok(())
}

fn drive(machine: &Machine, port: u16, device: &str) -> Outcome<()> {
    let mut emulator = Emulator::connect(port)?;
    let (driver, properties) = device.split_once(',').unwrap_or((device, ""));
    let properties: String = properties
        .split(',')
        .filter_map(|property| property.split_once('='))
        .map(|(name, value)| format!(",\"{name}\":\"{value}\""))
        .collect();
    for turn in 1..=3 {
        said(machine, "plug: in", turn)?;
        emulator.ask(&format!(
            "{{\"execute\":\"device_add\",\"arguments\":{{\"driver\":\"{driver}\",\"id\":\"hot\",\"bus\":\"rootport\"{properties}}}}}"
        ))?;
        if turn == 3 {
            break;
        }
        said(machine, "plug: out", turn)?;
        emulator.ask("{\"execute\":\"device_del\",\"arguments\":{\"id\":\"hot\"}}")?;
        emulator.until("DEVICE_DELETED", "\"device\": \"hot\"")?;
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

struct Emulator {
    lines: BufReader<TcpStream>,
}

impl Emulator {
    fn connect(port: u16) -> Outcome<Emulator> {
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                Ok(stream) => break stream,
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
                Err(error) => return Err(Trouble::new(format!("the emulator does not listen: {error}"))),
            }
        };
        stream.set_read_timeout(Some(PATIENCE)).context(|| "no time limit for the emulator".into())?;
        let mut emulator = Emulator { lines: BufReader::new(stream) };
        emulator.ask("{\"execute\":\"qmp_capabilities\"}")?;
        Ok(emulator)
    }

    fn ask(&mut self, order: &str) -> Outcome<()> {
        let to = self.lines.get_mut();
        to.write_all(format!("{order}\n").as_bytes())
            .context(|| "the emulator does not take orders".into())?;
        self.until("\"return\"", "")
    }

    /// Reads until a line with both words.
    fn until(&mut self, word: &str, other: &str) -> Outcome<()> {
        loop {
            let mut line = String::new();
            let len =
                self.lines.read_line(&mut line).context(|| format!("the emulator did not say {word}"))?;
            if len == 0 || line.starts_with("{\"error\"") {
                return Err(Trouble::new(format!("the emulator refused: {line}")));
            }
            if line.contains(word) && line.contains(other) {
                return Ok(());
            }
        }
    }
}

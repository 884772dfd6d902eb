//! Finding virtio devices, giving their registers away, and silencing them.

use nom_abi::call::PAGE_LEN;
use nom_abi::device::state::BROKEN;
use nom_abi::device::{DEVICES_MAX, DeviceInfo, TRANSPORT_MMIO, TRANSPORT_PCI, VECTORS_MAX};
use nom_kernel_core::command_line::mmio_devices;
use nom_kernel_core::devices::{Device, Devices, Known, LINES_MAX, Line};
use nom_kernel_core::frames::Frames;
use nom_pci::{
    Bases, COMMAND_BUS_MASTER, COMMAND_MEMORY, COMMAND_NO_PIN, COMMAND_PORTS, Configurable,
    ConfigurationSpace, Function, Place, Virtio,
};

use crate::cpu;
use crate::ecam::Ecam;
use crate::interrupts::{self, read32, write32};
use crate::iommu::Iommu;
use crate::lines::{Source, Standing};
use crate::paging;
use crate::paging::{Leaf, Space};
use crate::plug::{PLUGS_MAX, Plug};
use crate::serial::say;

/// How often a device is asked whether it has finished its reset.
const RESET_ATTEMPTS: usize = 100_000;

/// Where a device is.
#[derive(Clone, Copy)]
enum Where {
    /// virtio-mmio: its registers, and where the kernel sees them.
    Mmio { registers: Place, seen: u64 },
    /// Virtio over PCI, and where the kernel sees the common configuration.
    Pci { function: Function, virtio: Virtio, common_seen: u64 },
    /// It was taken out; its owner still has pages where its registers were.
    Gone { pages: u64 },
}

/// What was found.
pub struct Found {
    places: [Option<Where>; DEVICES_MAX as usize],
    /// PCI configuration space.
    pub ecam: Option<Ecam>,
    /// Ports for plugging.
    pub plugs: [Option<Plug>; PLUGS_MAX],
    /// The IOMMU, when it is driven.
    pub iommu: Option<Iommu>,
    /// How the devices' interrupts stand.
    pub lines: &'static mut [Standing; LINES_MAX],
}

/// Finds the devices that the command line names and those on the PCI buses. Whoever is not published may not touch
/// memory.
pub fn find(
    command_line: &str,
    ecam: Option<Ecam>,
    iommu: Option<Iommu>,
    lines: &'static mut [Standing; LINES_MAX],
    space: &Space,
    frames: &mut Frames<'_>,
    devices: &mut Devices,
) -> Found {
    let (places, plugs) = ([None; DEVICES_MAX as usize], [None; PLUGS_MAX]);
    let mut found = Found { places, ecam, iommu, plugs, lines };
    for named in mmio_devices(command_line) {
        match named {
            Ok(device) => {
                let registers = Place { address: device.address, len: device.len };
                let added = add_mmio(registers, device.interrupt, space, frames, devices, &mut found);
                if let Err(why) = added {
                    say!("the device at {:#x} on the command line {why}; left out", device.address);
                }
            }
            Err(word) => say!("the command line names a device that cannot be: {word}; left out"),
        }
    }
    if let Some(ecam) = ecam {
        nom_pci::functions(&ecam, &mut |one| {
            // Bridges hand on what is behind them; nobody else may touch memory yet.
            match nom_pci::secondary(&ecam, one.function) {
                Some(_) => ecam.command(one.function, COMMAND_BUS_MASTER | COMMAND_MEMORY, 0),
                None => ecam.command(one.function, COMMAND_NO_PIN, COMMAND_BUS_MASTER),
            }
            found.add_plug(one, space, frames);
            if nom_pci::is_virtio(&ecam, one.function) {
                let bases = nom_pci::bases(&ecam, one.function);
                if let Err(why) = found.add_pci(one, &bases, space, frames, devices) {
                    say!("the PCI device {:#x} {why}; left out", one.function.requester());
                }
            }
        });
    }
    found
}

fn add_mmio(
    registers: Place,
    pin: u32,
    space: &Space,
    frames: &mut Frames<'_>,
    devices: &mut Devices,
    found: &mut Found,
) -> Result<(), &'static str> {
    const MAGIC: u32 = 0x7472_6976;
    const MODERN: u32 = 2;
    let seen = space.show_registers(registers.address, registers.len, frames).ok_or("cannot be mapped")?;
    if read32(seen) != MAGIC {
        return Err("is no virtio device");
    }
    // An empty slot has device number 0.
    let kind = read32(seen + 8);
    if kind == 0 {
        return Ok(());
    }
    if read32(seen + 4) != MODERN {
        return Err("is a legacy one (start QEMU with -global virtio-mmio.force-legacy=false)");
    }
    if pin >= interrupts::pins() {
        return Err("has an interrupt that does not exist");
    }
    // Several may share a page of registers, but no IOMMU: each is a group of its own.
    let group = u16::MAX - devices.all().count() as u16;
    let device = devices.add(kind as u16, 0, group, false).ok_or("is one too many")?;
    reset_mmio(seen);
    found.attach(Line { device, vector: 0 }, Source::Pin(pin, false));
    found.places[device.0 as usize] = Some(Where::Mmio { registers, seen });
    Ok(())
}

fn structures(virtio: &Virtio) -> impl Iterator<Item = Place> {
    [Some(virtio.common), Some(virtio.notify), Some(virtio.interrupt_status), virtio.device]
        .into_iter()
        .flatten()
}

impl Found {
    /// Publishes a virtio device on PCI. It is reset and silent.
    pub fn add_pci(
        &mut self,
        one: nom_pci::Found,
        bases: &Bases,
        space: &Space,
        frames: &mut Frames<'_>,
        devices: &mut Devices,
    ) -> Result<Device, &'static str> {
        let nom_pci::Found { function, group, root, .. } = one;
        let ecam = self.ecam.ok_or("has no configuration space")?;
        let virtio = nom_pci::virtio(&ecam, function, bases).ok_or("makes no sense, or is a legacy one")?;
        // Interrupt messages are writes to anywhere: their table is the kernel's alone.
        let tables =
            virtio.messages.map_or_else(Default::default, |messages| [messages.table, messages.pending]);
        if structures(&virtio).any(|place| tables.iter().any(|table| place.shares_page(table))) {
            return Err("has registers on the page of its MSI-X table");
        }
        let pin = match virtio.messages {
            Some(_) => None,
            None => Some(self.free_pin(&ecam, &one)?),
        };
        let (set, clear) = if pin.is_some() { (0, COMMAND_NO_PIN) } else { (COMMAND_NO_PIN, 0) };
        ecam.command(function, COMMAND_MEMORY | set, COMMAND_BUS_MASTER | clear);
        let mut show = |place: Place| space.show_registers(place.address, place.len, frames);
        let seen = show(virtio.common).zip(show(tables[0]));
        let (common_seen, table_seen) = seen.ok_or("cannot be mapped")?;
        let requester = function.requester();
        let confined = self.iommu.as_mut().is_some_and(|iommu| {
            iommu.covers(root) && offers_platform_access(common_seen) && iommu.prepare(requester, frames)
        });
        let added = devices.add(virtio.kind as u16, requester, group.requester(), confined);
        let device = added.ok_or("is one too many")?;
        if !reset_pci(common_seen) {
            devices.mark(device, BROKEN);
        }
        self.places[device.0 as usize] = Some(Where::Pci { function, virtio, common_seen });
        if let Some(ports) = nom_pci::ports(&ecam, function) {
            devices.set_ports(device, ports);
            ecam.command(function, COMMAND_PORTS, 0);
        }
        if let Some(pin) = pin {
            self.attach(Line { device, vector: 0 }, Source::Pin(pin, true));
        }
        if let Some(messages) = virtio.messages {
            const ENABLE: u32 = 1 << 31;
            const MASK_ALL: u32 = 1 << 30;
            devices.set_vectors(device, messages.entries);
            for line in devices.lines(device) {
                self.attach(line, Source::Message(table_seen + 16 * u64::from(line.vector)));
            }
            let control = ecam.read(function, messages.offset);
            ecam.write(function, messages.offset, (control | ENABLE) & !MASK_ALL);
        }
        Ok(device)
    }

    /// The pin by which a function without messages interrupts. What shares it with another device could not be masked by
    /// its own owner alone.
    fn free_pin(&self, ecam: &Ecam, one: &nom_pci::Found) -> Result<u32, &'static str> {
        let pin = nom_pci::pin(ecam, one).filter(|&pin| pin < interrupts::pins());
        let pin = pin.ok_or("has no MSI-X, and nobody knows where its pin leads")?;
        if self.iommu.as_ref().is_some_and(|iommu| iommu.found.controller == 0) {
            return Err("has no MSI-X, and the IOMMU's table does not name the I/O interrupt controller");
        }
        let taken = self.lines.iter().any(|standing| standing.source == Source::Pin(pin, true));
        if taken { Err("has no MSI-X, and shares its pin with another device") } else { Ok(pin) }
    }

    /// What a device's requests carry.
    pub fn requester(&self, device: Device) -> u16 {
        match self.places[device.0 as usize] {
            Some(Where::Pci { function, .. }) => function.requester(),
            _ => 0,
        }
    }

    /// Pages of address space that the device's registers take.
    pub fn pages(&self, device: Device) -> u64 {
        match self.places.get(device.0 as usize).copied().flatten() {
            Some(Where::Mmio { registers, .. }) => registers.pages().1,
            Some(Where::Pci { virtio, .. }) => structures(&virtio).map(|place| place.pages().1).sum(),
            Some(Where::Gone { pages }) => pages,
            None => 0,
        }
    }

    /// Maps the registers from `address` on and says where each structure is. There must be frames for the tables.
    pub fn show(
        &self,
        device: Device,
        known: &Known,
        address: u64,
        space: &Space,
        frames: &mut Frames<'_>,
    ) -> DeviceInfo {
        let (kind, mut next) = (u32::from(known.kind), address);
        let mut map = |place: Place| {
            let (first, pages) = place.pages();
            let at = next + place.address % PAGE_LEN;
            for page in 0..pages {
                // Decoding has seen to it that there are frames enough.
                let _ = space.map(next, first + page * PAGE_LEN, Leaf::Registers, frames);
                next += PAGE_LEN;
            }
            at
        };
        match self.places[device.0 as usize] {
            Some(Where::Mmio { registers, .. }) => DeviceInfo {
                kind,
                transport: TRANSPORT_MMIO,
                registers: map(registers),
                registers_len: registers.len,
                ..DeviceInfo::default()
            },
            Some(Where::Pci { virtio, .. }) => {
                let own = virtio.device.unwrap_or_default();
                DeviceInfo {
                    kind,
                    transport: TRANSPORT_PCI,
                    vectors: virtio.messages.map_or(0, |messages| messages.entries.min(VECTORS_MAX)),
                    notify_multiplier: virtio.notify_multiplier,
                    registers: map(virtio.common),
                    registers_len: virtio.common.len,
                    notify: map(virtio.notify),
                    notify_len: virtio.notify.len,
                    interrupt_status: map(virtio.interrupt_status),
                    configuration: virtio.device.map_or(0, &mut map),
                    configuration_len: own.len,
                    ports: known.ports.0.into(),
                    ports_len: known.ports.1.into(),
                }
            }
            Some(Where::Gone { .. }) | None => DeviceInfo::default(),
        }
    }

    /// From now on the device reaches memory, what its owner registered (`tables` and domain) or everything, and its
    /// interrupts come to the core that this runs on.
    pub fn connect(&mut self, device: Device, tables: Option<(u64, u64)>) {
        let here = Some(cpu::here());
        lines_of(device).for_each(|line| self.route(line, here));
        let Some(Where::Pci { function, .. }) = self.places[device.0 as usize] else { return };
        if let Some(iommu) = &mut self.iommu {
            iommu.assign(function.requester(), tables, false);
        }
        if let Some(ecam) = self.ecam {
            ecam.command(function, COMMAND_BUS_MASTER, 0);
        }
    }

    /// Resets a device, so that it touches no memory any more, and keeps its interrupts out; then the IOMMU forgets it.
    /// False when it did not finish its reset: then nobody may have it again.
    pub fn silence(&mut self, device: Device) -> bool {
        let done = match self.places[device.0 as usize] {
            Some(Where::Mmio { seen, .. }) => reset_mmio(seen),
            // One that has left without a word says nothing that could be believed.
            Some(Where::Pci { function, common_seen, .. }) => {
                self.ecam.is_some_and(|ecam| ecam.read(function, 0) != !0) && reset_pci(common_seen)
            }
            Some(Where::Gone { .. }) | None => return true,
        };
        self.disconnect(device);
        if !done {
            say!("device {} does not finish its reset: nobody gets it again", device.0);
        }
        done
    }

    /// It is not there any more.
    pub fn forget(&mut self, device: Device) {
        let pages = self.pages(device);
        self.disconnect(device);
        lines_of(device).for_each(|line| self.lines[line.number()] = Standing::NONE);
        self.places[device.0 as usize] = Some(Where::Gone { pages });
    }

    /// Whatever the device does, it reaches nothing and raises no interrupt.
    pub fn disconnect(&mut self, device: Device) {
        lines_of(device).for_each(|line| self.route(line, None));
        let Some(Where::Pci { function, .. }) = self.places[device.0 as usize] else { return };
        if let Some(ecam) = self.ecam {
            ecam.command(function, 0, COMMAND_BUS_MASTER);
        }
        if let Some(iommu) = &mut self.iommu {
            iommu.assign(function.requester(), None, false);
        }
    }
}

/// All interrupts that a device may have.
fn lines_of(device: Device) -> impl Iterator<Item = Line> {
    (0..VECTORS_MAX).map(move |vector| Line { device, vector })
}

fn reset_mmio(seen: u64) -> bool {
    const STATUS: u64 = 0x70;
    write32(seen + STATUS, 0);
    (0..RESET_ATTEMPTS).any(|_| read32(seen + STATUS) == 0)
}

fn reset_pci(common_seen: u64) -> bool {
    const STATUS: u64 = 0x14;
    paging::write_register8(common_seen + STATUS, 0);
    (0..RESET_ATTEMPTS).any(|_| paging::read_register8(common_seen + STATUS) == 0)
}

/// Whether it says that it asks the IOMMU. One that does not goes past it.
fn offers_platform_access(common_seen: u64) -> bool {
    const SELECT: u64 = 0;
    const FEATURES: u64 = 4;
    const ACCESS_PLATFORM: u32 = 1 << 1;
    write32(common_seen + SELECT, 1);
    read32(common_seen + FEATURES) & ACCESS_PLATFORM != 0
}

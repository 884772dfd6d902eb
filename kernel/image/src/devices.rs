//! Finding virtio devices, giving their registers away, and silencing them.

use nom_abi::call::PAGE_LEN;
use nom_abi::device::{DEVICES_MAX, DeviceInfo, TRANSPORT_MMIO, TRANSPORT_PCI};
use nom_kernel_core::command_line::mmio_devices;
use nom_kernel_core::devices::{Device, Devices};
use nom_kernel_core::frames::Frames;
use nom_pci::{
    COMMAND, COMMAND_BUS_MASTER, COMMAND_MEMORY, COMMAND_NO_PIN, ConfigurationSpace, Function, Place, Virtio,
};

use crate::interrupts::{self, read32, write32};
use crate::paging::{Leaf, Space};
use crate::serial::say;
use crate::{cpu, paging};

/// How often a device is asked whether it has finished its reset.
const RESET_ATTEMPTS: usize = 100_000;
/// MSI-X entries that are used of a device: configuration, receiving, sending.
const MESSAGES_MAX: u32 = 3;

/// Where a device is.
#[derive(Clone, Copy)]
enum Where {
    /// virtio-mmio: its registers, and where the kernel sees them.
    Mmio { registers: Place, seen: u64 },
    /// Virtio over PCI, and where the kernel sees the common configuration.
    Pci { function: Function, virtio: Virtio, common_seen: u64 },
}

/// What was found.
pub struct Found {
    places: [Option<Where>; DEVICES_MAX as usize],
}

/// Configuration space by the two old ports: 256 bytes a function, enough for what is read here.
struct Ports;

impl Ports {
    fn select(function: Function, offset: u8) {
        let address = u32::from(function.bus) << 16
            | u32::from(function.device) << 11
            | u32::from(function.function) << 8
            | u32::from(offset & 0xfc);
        cpu::out32(0xcf8, 1 << 31 | address);
    }

    fn write(&self, function: Function, offset: u8, value: u32) {
        Ports::select(function, offset);
        cpu::out32(0xcfc, value);
    }
}

impl ConfigurationSpace for Ports {
    fn read(&self, function: Function, offset: u8) -> u32 {
        Ports::select(function, offset);
        cpu::in32(0xcfc)
    }
}

/// Finds the devices that the command line names and those on the PCI buses.
pub fn find(
    command_line: &str,
    has_pci: bool,
    space: &Space,
    frames: &mut Frames<'_>,
    devices: &mut Devices,
) -> Found {
    let mut found = Found { places: [None; DEVICES_MAX as usize] };
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
    if has_pci {
        nom_pci::functions(&Ports, &mut |function| {
            if let Some(virtio) = nom_pci::virtio(&Ports, function)
                && add_pci(function, virtio, space, frames, devices, &mut found).is_none()
            {
                say!("a PCI device ({function:?}) makes no sense or is one too many; left out");
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
    let device = devices.add(kind).ok_or("is one too many")?;
    reset_mmio(seen);
    interrupts::attach_pin(device.0, pin);
    found.places[device.0 as usize] = Some(Where::Mmio { registers, seen });
    Ok(())
}

fn add_pci(
    function: Function,
    virtio: Virtio,
    space: &Space,
    frames: &mut Frames<'_>,
    devices: &mut Devices,
    found: &mut Found,
) -> Option<()> {
    // Interrupt messages are writes to anywhere: their table is the kernel's alone.
    let messages = virtio.messages?;
    if structures(&virtio)
        .any(|place| place.shares_page(&messages.table) || place.shares_page(&messages.pending))
    {
        return None;
    }
    let command = Ports.read(function, COMMAND) as u16;
    Ports.write(
        function,
        COMMAND,
        (u32::from(command) | COMMAND_MEMORY | COMMAND_NO_PIN) & !COMMAND_BUS_MASTER,
    );
    let common_seen = space.show_registers(virtio.common.address, virtio.common.len, frames)?;
    let table_seen = space.show_registers(messages.table.address, messages.table.len, frames)?;
    let device = devices.add(virtio.kind)?;
    reset_pci(common_seen);
    interrupts::attach_messages(device.0, table_seen, messages.entries.min(MESSAGES_MAX));
    const ENABLE: u32 = 1 << 31;
    const MASK_ALL: u32 = 1 << 30;
    let control = Ports.read(function, messages.offset);
    Ports.write(function, messages.offset, (control | ENABLE) & !MASK_ALL);
    found.places[device.0 as usize] = Some(Where::Pci { function, virtio, common_seen });
    Some(())
}

fn structures(virtio: &Virtio) -> impl Iterator<Item = Place> {
    [Some(virtio.common), Some(virtio.notify), Some(virtio.interrupt_status), virtio.device]
        .into_iter()
        .flatten()
}

impl Found {
    /// Pages of address space that the device's registers take.
    pub fn pages(&self, device: Device) -> u64 {
        match self.places.get(device.0 as usize).copied().flatten() {
            Some(Where::Mmio { registers, .. }) => registers.pages().1,
            Some(Where::Pci { virtio, .. }) => structures(&virtio).map(|place| place.pages().1).sum(),
            None => 0,
        }
    }

    /// Maps the registers from `address` on and says where each structure is. There must be frames for the tables.
    pub fn show(
        &self,
        device: Device,
        kind: u32,
        address: u64,
        space: &Space,
        frames: &mut Frames<'_>,
    ) -> DeviceInfo {
        let mut next = address;
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
            Some(Where::Pci { function, virtio, .. }) => {
                let command = Ports.read(function, COMMAND) as u16;
                Ports.write(function, COMMAND, u32::from(command) | COMMAND_BUS_MASTER);
                let own = virtio.device.unwrap_or_default();
                DeviceInfo {
                    kind,
                    transport: TRANSPORT_PCI,
                    vectors: virtio.messages.map_or(0, |messages| messages.entries.min(MESSAGES_MAX)),
                    notify_multiplier: virtio.notify_multiplier,
                    registers: map(virtio.common),
                    registers_len: virtio.common.len,
                    notify: map(virtio.notify),
                    notify_len: virtio.notify.len,
                    interrupt_status: map(virtio.interrupt_status),
                    configuration: virtio.device.map_or(0, &mut map),
                    configuration_len: own.len,
                }
            }
            None => DeviceInfo::default(),
        }
    }

    /// Resets a device, so that it touches no memory any more, and keeps its interrupts out.
    pub fn silence(&self, device: Device) {
        let done = match self.places[device.0 as usize] {
            Some(Where::Mmio { seen, .. }) => reset_mmio(seen),
            Some(Where::Pci { function, common_seen, .. }) => {
                let done = reset_pci(common_seen);
                let command = Ports.read(function, COMMAND) as u16;
                Ports.write(function, COMMAND, u32::from(command) & !COMMAND_BUS_MASTER);
                done
            }
            None => true,
        };
        if !done {
            say!("device {} does not finish its reset", device.0);
        }
        interrupts::mask(device.0);
    }
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

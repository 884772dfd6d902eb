//! Ports for plugging: devices come and go while the guest runs.
//!
//! Whoever is to be taken out is announced: its owner has a moment to give it back. After that, and when it is gone without
//! asking, the owner finds memory full of ones where the registers were, as a bus answers for nobody.

use nom_abi::call::PAGE_LEN;
use nom_abi::device::state::LEAVING;
use nom_abi::upcall::DEVICES;
use nom_kernel_core::call::Rights;
use nom_kernel_core::devices::Device;
use nom_kernel_core::frames::{Frames, Owner};
use nom_kernel_core::iommu::{interrupt_entry, message_address};
use nom_kernel_core::plug::{EVENTS, GRACE_NS, Step, control, occupied, step};
use nom_pci::{Configurable, ConfigurationSpace, Function};

use crate::devices::Found;
use crate::interrupts::{self, PLUG_VECTOR, write32};
use crate::iommu::PORT_ENTRY;
use crate::paging::{self, Leaf, Space};
use crate::serial::say;
use crate::state::Kernel;
use crate::{clock, processors};

/// The most ports for plugging.
pub const PLUGS_MAX: usize = 8;
/// How often a port is looked at for one interrupt: what comes later interrupts again.
const LOOKS: usize = 8;
/// How often a device that was given power is looked for.
const ATTEMPTS: usize = 1_000_000;
const CONTROL: u8 = 0x18;
const STATUS: u8 = 0x1a;

/// A port for plugging.
#[derive(Clone, Copy)]
pub struct Plug {
    port: Function,
    offset: u8,
    bus: u8,
    /// What is behind is taken out then.
    until_ns: Option<u64>,
}

impl Found {
    /// Has a port tell what is plugged in; nothing when it cannot.
    pub fn add_plug(&mut self, one: nom_pci::Found, space: &Space, frames: &mut Frames<'_>) {
        let Some(ecam) = self.ecam else { return };
        let Some(port) = nom_pci::port(&ecam, one.function).filter(|port| port.hot_plug) else { return };
        let Some(bus) = nom_pci::secondary(&ecam, one.function) else { return };
        let Some(place) = self.plugs.iter().position(Option::is_none) else {
            return say!("a port for plugging is one too many; left out");
        };
        let bases = nom_pci::bases(&ecam, one.function);
        let messages = nom_pci::function_messages(&ecam, one.function, &bases);
        let Some(messages) = messages.filter(|messages| u32::from(port.message) < messages.entries) else {
            return say!("a port for plugging has no MSI-X; nothing can be plugged there");
        };
        let Some(table) = space.show_registers(messages.table.address, messages.table.len, frames) else {
            return;
        };
        let message = match &mut self.iommu {
            Some(iommu) => {
                let entry = PORT_ENTRY + place as u16;
                let (vector, requester) = (PLUG_VECTOR as u8, one.function.requester());
                iommu.route(entry, Some(interrupt_entry(vector, interrupts::identity(), requester, false)));
                (message_address(entry), 0)
            }
            None => interrupts::direct(PLUG_VECTOR as u8),
        };
        let entry = table + 16 * u64::from(port.message);
        interrupts::write_message(entry, message);
        write32(entry + 12, 0);
        const ENABLE: u32 = 1 << 31;
        let word = ecam.read(one.function, messages.offset);
        ecam.write(one.function, messages.offset, word | ENABLE);
        let plug = Plug { port: one.function, offset: port.offset, bus, until_ns: None };
        self.plugs[place] = Some(plug);
        let status = plug.status(self);
        plug.clear(self, status);
        plug.power(self, occupied(status));
    }
}

impl Plug {
    fn status(&self, found: &Found) -> u16 {
        found.ecam.map_or(0, |ecam| (ecam.read(self.port, self.offset + CONTROL) >> 16) as u16)
    }

    fn clear(&self, found: &Found, status: u16) {
        if let Some(ecam) = found.ecam {
            ecam.write16(self.port, self.offset + STATUS, status & EVENTS);
        }
    }

    fn power(&self, found: &Found, on: bool) {
        if let Some(ecam) = found.ecam {
            ecam.write16(self.port, self.offset + CONTROL, control(on));
        }
    }
}

impl Kernel {
    fn behind(&self, plug: &Plug) -> impl Iterator<Item = Device> + '_ {
        let bus = plug.bus;
        self.devices.all().filter(move |&device| {
            self.devices
                .known(device)
                .is_some_and(|known| known.state != 0 && known.requester >> 8 == u16::from(bus))
        })
    }

    /// A port has something to tell.
    pub fn plugged(&mut self) {
        for place in 0..PLUGS_MAX {
            for _ in 0..LOOKS {
                let Some(plug) = self.found.plugs[place] else { break };
                let status = plug.status(&self.found);
                if status & EVENTS == 0 {
                    break;
                }
                plug.clear(&self.found, status);
                let known = self.behind(&plug).next().is_some();
                match step(status, known) {
                    Step::Nothing => {}
                    Step::Enter => self.enter(&plug),
                    Step::Leave => self.announce(place),
                    Step::Gone => self.gone(place),
                    Step::Changed => {
                        self.gone(place);
                        self.enter(&plug);
                    }
                }
            }
        }
    }

    fn enter(&mut self, plug: &Plug) {
        let Some(ecam) = self.found.ecam else { return };
        plug.power(&self.found, true);
        let first = Function { bus: plug.bus, device: 0, function: 0 };
        if !(0..ATTEMPTS).any(|_| ecam.read(first, 0) != !0) {
            return say!("what was plugged in does not answer");
        }
        let mut window = nom_pci::memory_window(&ecam, plug.port).unwrap_or_default();
        nom_pci::functions_behind(&ecam, plug.port, &mut |one| {
            if !nom_pci::is_virtio(&ecam, one.function) {
                return;
            }
            let mut bases = nom_pci::bases(&ecam, one.function);
            let Some(end) = nom_pci::assign(&ecam, one.function, &mut bases, window) else {
                return say!("there is no room behind the port for {:#x}", one.function.requester());
            };
            window.len -= end - window.address;
            window.address = end;
            let added = self.found.add_pci(one, &bases, &self.space, &mut self.frames, &mut self.devices);
            match added {
                Ok(device) => {
                    say!("device {} was plugged in", device.0);
                    self.list(device);
                }
                Err(why) => say!("the PCI device {:#x} {why}; left out", one.function.requester()),
            }
        });
        self.post_all(DEVICES);
    }

    /// The owners of what is behind a port have a moment.
    fn announce(&mut self, place: usize) {
        let Some(plug) = self.found.plugs[place] else { return };
        let mut next = 0;
        loop {
            let found = self.behind(&plug).find(|device| device.0 >= next);
            let Some(device) = found else { break };
            next = device.0 + 1;
            self.devices.mark(device, LEAVING);
            self.list(device);
        }
        if let Some(plug) = &mut self.found.plugs[place] {
            plug.until_ns = Some(clock::now_ns() + GRACE_NS);
        }
        self.post_all(DEVICES);
        self.plug_released();
        // Some core has to look when the moment is over.
        processors::attend(crate::cpu::here());
    }

    /// When somebody must have given a device back.
    pub fn plug_deadline_ns(&self) -> Option<u64> {
        self.found.plugs.iter().map_while(Option::as_ref).filter_map(|plug| plug.until_ns).min()
    }

    /// Something was given back: perhaps the last thing that a port waits for.
    pub fn plug_released(&mut self) {
        self.plug_due(None);
    }

    /// What nobody owns, or whose moment is over, is taken out.
    pub fn plug_due(&mut self, now_ns: Option<u64>) {
        for place in 0..PLUGS_MAX {
            let Some(plug) = self.found.plugs[place] else { break };
            let Some(until_ns) = plug.until_ns else { continue };
            let owned = self.behind(&plug).any(|device| self.devices.owner(device).is_some());
            if !owned || now_ns.is_some_and(|now_ns| until_ns <= now_ns) {
                self.gone(place);
                plug.power(&self.found, false);
            }
        }
    }

    /// What is behind a port is not there any more, or will not be: its owner loses it.
    fn gone(&mut self, place: usize) {
        let Some(plug) = self.found.plugs[place] else { return };
        if let Some(plug) = &mut self.found.plugs[place] {
            plug.until_ns = None;
        }
        loop {
            let next = self.behind(&plug).next();
            let Some(device) = next else { break };
            if occupied(plug.status(&self.found)) {
                self.found.silence(device);
            }
            self.show_nobody(device);
            self.found.forget(device);
            self.devices.leave(device);
            self.list(device);
            say!("device {} was taken out", device.0);
        }
        self.post_all(DEVICES);
    }

    /// Where the owner sees registers it finds ones from now on: what lies at their place next is not for it.
    fn show_nobody(&mut self, device: Device) {
        let Some(owner) = self.devices.owner(device) else { return };
        let Some(space) = self.living(owner).map(|running| running.space) else { return };
        let window = self.windows[device.0 as usize];
        for page in (0..self.found.pages(device)).map(|page| window + page * PAGE_LEN) {
            space.unmap(page);
            // Without memory nothing is there, and looking is a fault of the owner's.
            if let Some(frame) = self.frames.allocate(Owner::application(owner)) {
                paging::fill(frame, 0, &[0xff; PAGE_LEN as usize]);
                let rights = Rights { access: true, write: true, execute: false };
                let _ = space.map(page, frame.address(), Leaf::Own(rights), &mut self.frames);
            }
        }
        processors::forget(&space);
    }
}

//! Devices change hands: acquired, given back, blocked, stopped. The bulletin board always says how it stands.

use core::fmt::Arguments;

use nom_abi::board;
use nom_abi::call::PAGE_LEN;
use nom_abi::device::list;
use nom_abi::device::state::{BLOCKED, BROKEN, CONFINED, STOPPED};
use nom_abi::upcall::DEVICES;
use nom_kernel_core::Application;
use nom_kernel_core::devices::Device;
use nom_kernel_core::frames::Owner;
use nom_kernel_core::iommu::{Forget, domain};

use crate::paging::{self, Space};
use crate::processors;
use crate::serial::say;
use crate::state::{Caller, Kernel};

impl Kernel {
    /// Writes on the board how a device stands.
    pub fn list(&self, device: Device) {
        let board = paging::words(self.shared[0], board::WORDS);
        list(board, device.0, self.devices.listed(device));
    }

    /// The tables of an application's devices, made when they are first needed.
    fn reach(&mut self, number: Application) -> Option<Space> {
        let running = self.running[usize::from(number.0)].as_mut()?;
        if running.reach.is_none() {
            running.reach = Space::for_devices(&mut self.frames, Owner::application(number));
        }
        running.reach
    }

    /// A device is the caller's from now on. Decoding has seen to it that there are frames enough.
    pub fn give_device(&mut self, device: Device, address: u64, place: u64, caller: &Caller) {
        let Some(known) = self.devices.known(device) else { return };
        self.devices.acquire(device, caller.number);
        let info = self.found.show(device, &known, address, &caller.space, &mut self.frames);
        caller.space.words_out(place, &info.words());
        self.windows[device.0 as usize] = address;
        for line in self.devices.lines(device) {
            self.found.lines[line.number()].hears = Some(caller.context);
        }
        let confined = known.state & CONFINED != 0;
        let tables = if confined { self.reach(caller.number) } else { None };
        self.found.connect(device, tables.map(|tables| (tables.root(), domain(caller.number))));
        self.list(device);
    }

    /// A device is nobody's any more: it is silent before anything else happens. What its owner could see of it is gone
    /// where the owner goes on living.
    pub fn take_device(&mut self, device: Device, space: Option<&Space>) {
        let owner = self.devices.owner(device);
        if !self.found.silence(device) {
            self.devices.mark(device, BROKEN);
        }
        let window = core::mem::take(&mut self.windows[device.0 as usize]);
        if let Some(space) = space {
            (0..self.found.pages(device)).for_each(|page| {
                // What was put in the place of registers that are gone is a frame of the owner's.
                let (_, frame) = space.unmap(window + page * PAGE_LEN);
                if let (Some(frame), Some(owner)) = (frame, owner) {
                    let _ = self.frames.release(frame, Owner::application(owner));
                }
            });
            processors::forget(space);
        }
        let events = self.devices.release(device);
        if let Some(owner) = owner {
            self.schedule.forget(owner, events);
        }
        self.list(device);
        self.plug_released();
    }

    /// The caller's devices reach these pages from now on; without `new` only those that they reach already, whose rights
    /// have changed.
    pub fn register_dma(&mut self, caller: &Caller, address: u64, pages: u64, new: bool) {
        let there = self.living(caller.number).and_then(|running| running.reach);
        let Some(reach) = (if new { self.reach(caller.number) } else { there }) else { return };
        let large = self.found.iommu.as_ref().is_some_and(|iommu| iommu.unit.large);
        let mut at = address;
        while at < address + pages * PAGE_LEN {
            let end = caller.space.page_end(at);
            if new || reach.unreach(at, (end - at) / PAGE_LEN) {
                caller.space.reach(&reach, at, large, &mut self.frames);
            }
            at = end;
        }
        self.forget_reach(caller.number);
    }

    /// The caller's devices reach these pages no more: before the frames can have another owner.
    pub fn withdraw_dma(&mut self, caller: &Caller, address: u64, pages: u64) {
        let reach = self.living(caller.number).and_then(|running| running.reach);
        let changed = reach.is_some_and(|reach| reach.unreach(address, pages));
        if changed {
            self.forget_reach(caller.number);
        }
    }

    fn forget_reach(&mut self, number: Application) {
        if let Some(iommu) = &mut self.found.iommu {
            iommu.forget(&[Forget::Domain(domain(number))]);
        }
    }

    /// The IOMMU has blocked something: the owner is told once, and the device is stopped if it goes on.
    pub fn transfers_blocked(&mut self) {
        while let Some(blocked) = self.found.iommu.as_ref().and_then(|iommu| iommu.blocked()) {
            let Some(device) = self.devices.requesting(blocked.requester) else {
                say!("{:#x} was kept from {blocked}", blocked.requester);
                continue;
            };
            if self.devices.mark(device, BLOCKED) & BLOCKED != 0 {
                self.stop_device(device, format_args!("it goes on with what was blocked"));
                continue;
            }
            say!("device {} was kept from {blocked}", device.0);
            self.tell_owner(device);
        }
    }

    /// A device does what cannot be borne: it is cut off until its owner gives it back.
    pub fn stop_device(&mut self, device: Device, why: Arguments<'_>) {
        if self.devices.mark(device, STOPPED) & STOPPED == 0 {
            say!("device {} is stopped: {why}", device.0);
            self.found.disconnect(device);
            self.tell_owner(device);
        }
    }

    fn tell_owner(&mut self, device: Device) {
        self.list(device);
        if let Some(owner) = self.devices.owner(device) {
            self.post_home(owner, DEVICES);
        }
    }
}

//! The facts about who calls, as the kernel's image has them.

use super::{FRAMES, Machine, Mapped, device_pages};
use nom_abi::call::PAGE_LEN;
use nom_kernel_core::Application;
use nom_kernel_core::call::Facts;
use nom_kernel_core::channels::Channels;
use nom_kernel_core::cores::{Core, Cores};
use nom_kernel_core::devices::{Device, Devices};
use nom_kernel_core::frames::Shape;

/// Who calls, in which machine.
pub(super) struct Calling<'a> {
    pub(super) machine: &'a Machine<'a>,
    pub(super) caller: Application,
}

impl Calling<'_> {
    fn at(&self, start: u64, pages: u64, wanted: impl Fn(Option<&Mapped>) -> bool) -> bool {
        let mapped = &self.machine.living[&self.caller.0].pages;
        (0..pages).all(|page| wanted(mapped.get(&(start / PAGE_LEN + page))))
    }
}

impl Facts for Calling<'_> {
    fn caller(&self) -> Application {
        self.caller
    }
    fn trusted(&self) -> bool {
        self.caller.0 != 1
    }
    /// No IOMMU here: regions for devices cannot be registered.
    fn confined(&self) -> bool {
        false
    }
    /// No context here asks to move on when its core is taken.
    fn displaced(&self) -> bool {
        false
    }
    fn publisher(&self) -> bool {
        self.caller.0 == 0
    }
    fn cores(&self) -> &Cores {
        &self.machine.cores
    }
    fn devices(&self) -> &Devices {
        &self.machine.devices
    }
    fn channels(&self) -> &Channels {
        &self.machine.channels
    }
    fn context_room(&self) -> bool {
        self.machine.schedule.has_room()
    }
    fn has_context_on(&self, core: Core) -> bool {
        self.machine.context_on(self.caller, core).is_some()
    }
    fn readable(&self, start: u64, len: u64) -> bool {
        let pages = (start % PAGE_LEN + len).div_ceil(PAGE_LEN);
        pages <= FRAMES as u64 && self.at(start, pages, |mapped| mapped.is_some())
    }
    fn writable(&self, start: u64, len: u64) -> bool {
        self.readable(start, len)
    }
    fn executable(&self, address: u64) -> bool {
        self.readable(address, 1)
    }
    fn unmapped(&self, start: u64, pages: u64) -> bool {
        self.at(start, pages, |mapped| mapped.is_none())
    }
    fn owned(&self, start: u64, pages: u64) -> bool {
        pages <= FRAMES as u64 && self.at(start, pages, |mapped| matches!(mapped, Some(Mapped::Own(_))))
    }
    fn free_frames(&self) -> u64 {
        self.machine.frames.free()
    }
    fn pieces(&self, shape: Shape, pieces: u64) -> bool {
        self.machine.frames.has(shape, pieces)
    }
    fn only_owned(&self, start: u64, pages: u64) -> bool {
        let range = start / PAGE_LEN..start / PAGE_LEN + pages;
        let mut mapped = self.machine.living[&self.caller.0].pages.range(range);
        mapped.all(|(_, mapped)| matches!(mapped, Mapped::Own(_)))
    }
    /// There are too few frames for one.
    fn large(&self, _: u64) -> bool {
        false
    }
    fn owns_ports(&self, first: u16, count: u16) -> bool {
        self.machine.devices.owns_ports(first, count, self.caller)
    }
    fn device_pages(&self, device: Device) -> u64 {
        device_pages(device)
    }
}

//! Either transport over mapped registers, for a guest that learns at boot which one it has. The choice is one branch
//! a notification; a pointer to code would cost more (under emulation much more).

use super::{Bell, Mmio, Pci, StartError, Transport};
use crate::ring::Places;
use nom_dma::Window;

/// A ring was used, the configuration changed (virtio 1.2, 4.2.2).
const CAUSES: u32 = 3;

/// A device over mapped registers.
#[derive(Debug)]
pub enum Mapped {
    /// virtio-mmio.
    Mmio(Mmio),
    /// Modern virtio-pci.
    Pci(Pci),
}

/// The bell of one queue over mapped registers.
#[derive(Debug, Clone, Copy)]
pub struct MappedBell {
    window: Window,
    place: usize,
    queue: u16,
    wide: bool,
    interrupt: Interrupt,
}

#[derive(Debug, Clone, Copy)]
enum Interrupt {
    /// A message: nothing to acknowledge.
    Vector,
    /// A line that falls when its causes are written to this register.
    Line { acknowledge: usize },
    /// A line that falls when the register is read.
    LineRead { status: Window },
}

impl MappedBell {
    pub(super) fn line(window: Window, place: usize, queue: u16, acknowledge: usize) -> Self {
        Self { window, place, queue, wide: true, interrupt: Interrupt::Line { acknowledge } }
    }

    pub(super) fn line_read(window: Window, place: usize, queue: u16, status: Window) -> Self {
        Self { window, place, queue, wide: false, interrupt: Interrupt::LineRead { status } }
    }

    pub(super) fn vector(window: Window, place: usize, queue: u16) -> Self {
        Self { window, place, queue, wide: false, interrupt: Interrupt::Vector }
    }
}

impl Bell for MappedBell {
    #[inline]
    fn ring(&self) {
        if self.wide {
            self.window.write_u32(self.place, u32::from(self.queue));
        } else {
            self.window.write_u16(self.place, self.queue);
        }
    }

    #[inline]
    fn acknowledge(&self) {
        match self.interrupt {
            Interrupt::Vector => {}
            // Which cause it was is not asked, since whoever acknowledges looks at everything afterwards anyway: a register
            // less for each interrupt.
            Interrupt::Line { acknowledge } => self.window.write_u32(acknowledge, CAUSES),
            Interrupt::LineRead { status } => {
                status.read_u8(0);
            }
        }
    }
}

macro_rules! either {
    ($self:ident, $device:ident => $call:expr) => {
        match $self {
            Mapped::Mmio($device) => $call,
            Mapped::Pci($device) => $call,
        }
    };
}

impl Transport for Mapped {
    type Bell = MappedBell;

    fn kind(&self) -> Result<u32, StartError> {
        either!(self, device => device.kind())
    }

    fn status(&self) -> u8 {
        either!(self, device => device.status())
    }

    fn set_status(&mut self, status: u8) {
        either!(self, device => device.set_status(status));
    }

    fn offered(&mut self) -> u64 {
        either!(self, device => device.offered())
    }

    fn accept(&mut self, features: u64) {
        either!(self, device => device.accept(features));
    }

    fn queue_size_max(&mut self, queue: u16) -> u16 {
        either!(self, device => device.queue_size_max(queue))
    }

    unsafe fn install(
        &mut self,
        queue: u16,
        size: u16,
        places: Places,
        vector: Option<u16>,
    ) -> Result<(), StartError> {
        // SAFETY: what the caller promises is what is asked for.
        unsafe { either!(self, device => device.install(queue, size, places, vector)) }
    }

    fn announce_changes(&mut self, vector: Option<u16>) -> Result<(), StartError> {
        either!(self, device => device.announce_changes(vector))
    }

    fn bell(&mut self, queue: u16) -> MappedBell {
        either!(self, device => device.bell(queue))
    }

    fn config(&self, offset: usize) -> u8 {
        either!(self, device => device.config(offset))
    }

    fn config_generation(&self) -> u32 {
        either!(self, device => device.config_generation())
    }
}

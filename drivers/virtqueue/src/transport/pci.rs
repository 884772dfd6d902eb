//! Modern virtio over PCI (virtio 1.2, 4.1.4). Whoever owns configuration space (the kernel) found the four register
//! blocks by their capabilities and mapped them; interrupts are MSI-X vectors that the kernel programmed.

use super::{MappedBell, StartError, Transport};
use crate::ring::Places;
use nom_dma::Window;

mod register {
    pub const FEATURES_SELECT: usize = 0x00;
    pub const FEATURES: usize = 0x04;
    pub const DRIVER_FEATURES_SELECT: usize = 0x08;
    pub const DRIVER_FEATURES: usize = 0x0c;
    pub const CONFIG_VECTOR: usize = 0x10;
    pub const STATUS: usize = 0x14;
    pub const CONFIG_GENERATION: usize = 0x15;
    pub const QUEUE_SELECT: usize = 0x16;
    pub const QUEUE_SIZE: usize = 0x18;
    pub const QUEUE_VECTOR: usize = 0x1a;
    pub const QUEUE_ENABLE: usize = 0x1c;
    pub const QUEUE_NOTIFY_OFFSET: usize = 0x1e;
    pub const DESCRIPTORS: usize = 0x20;
    pub const DRIVER_AREA: usize = 0x28;
    pub const DEVICE_AREA: usize = 0x30;
    pub const LEN: usize = 0x38;
}

/// No interrupt vector.
const NO_VECTOR: u16 = 0xffff;

/// A modern virtio-pci device.
#[derive(Debug)]
pub struct Pci {
    kind: u32,
    common: Window,
    notify: Window,
    notify_multiplier: u32,
    status: Window,
    device: Window,
    vectors: bool,
}

impl Pci {
    /// A device of this kind (PCI device id less 0x1040) with its register blocks: common configuration, notification
    /// and its multiplier, interrupt status, device configuration. `vectors` tells whether MSI-X is enabled; then
    /// interrupts need no acknowledgement.
    pub fn new(
        kind: u32,
        common: Window,
        notify: Window,
        notify_multiplier: u32,
        status: Window,
        device: Window,
        vectors: bool,
    ) -> Self {
        Self { kind, common, notify, notify_multiplier, status, device, vectors }
    }

    fn write_address(&self, register: usize, address: u64) {
        self.common.write_u32(register, address as u32);
        self.common.write_u32(register + 4, (address >> 32) as u32);
    }
}

impl Transport for Pci {
    type Bell = MappedBell;

    fn kind(&self) -> Result<u32, StartError> {
        if self.common.len() >= register::LEN { Ok(self.kind) } else { Err(StartError::NotModern) }
    }

    fn status(&self) -> u8 {
        self.common.read_u8(register::STATUS)
    }

    fn set_status(&mut self, status: u8) {
        self.common.write_u8(register::STATUS, status);
    }

    fn offered(&mut self) -> u64 {
        let mut features = 0;
        for half in 0..2 {
            self.common.write_u32(register::FEATURES_SELECT, half);
            features |= u64::from(self.common.read_u32(register::FEATURES)) << (32 * half);
        }
        features
    }

    fn accept(&mut self, features: u64) {
        for half in 0..2 {
            self.common.write_u32(register::DRIVER_FEATURES_SELECT, half);
            self.common.write_u32(register::DRIVER_FEATURES, (features >> (32 * half)) as u32);
        }
    }

    fn queue_size_max(&mut self, queue: u16) -> u16 {
        self.common.write_u16(register::QUEUE_SELECT, queue);
        if self.common.read_u16(register::QUEUE_SELECT) != queue {
            return 0;
        }
        self.common.read_u16(register::QUEUE_SIZE)
    }

    unsafe fn install(
        &mut self,
        queue: u16,
        size: u16,
        places: Places,
        vector: Option<u16>,
    ) -> Result<(), StartError> {
        self.common.write_u16(register::QUEUE_SELECT, queue);
        self.common.write_u16(register::QUEUE_SIZE, size);
        if self.vectors {
            let vector = vector.unwrap_or(NO_VECTOR);
            self.common.write_u16(register::QUEUE_VECTOR, vector);
            // The device answers with NO_VECTOR when it has no room for one (4.1.5.1.3).
            if self.common.read_u16(register::QUEUE_VECTOR) != vector {
                return Err(StartError::Vector(queue));
            }
        }
        self.write_address(register::DESCRIPTORS, places.descriptors);
        self.write_address(register::DRIVER_AREA, places.available);
        self.write_address(register::DEVICE_AREA, places.used);
        self.common.write_u16(register::QUEUE_ENABLE, 1);
        Ok(())
    }

    fn announce_changes(&mut self, vector: Option<u16>) -> Result<(), StartError> {
        if !self.vectors {
            return Ok(());
        }
        let vector = vector.unwrap_or(NO_VECTOR);
        self.common.write_u16(register::CONFIG_VECTOR, vector);
        let taken = self.common.read_u16(register::CONFIG_VECTOR) == vector;
        if taken { Ok(()) } else { Err(StartError::ChangeVector) }
    }

    fn bell(&mut self, queue: u16) -> MappedBell {
        self.common.write_u16(register::QUEUE_SELECT, queue);
        let offset = u64::from(self.common.read_u16(register::QUEUE_NOTIFY_OFFSET));
        let place = (offset * u64::from(self.notify_multiplier)) as usize;
        if self.vectors {
            MappedBell::vector(self.notify, place, queue)
        } else {
            MappedBell::line_read(self.notify, place, queue, self.status)
        }
    }

    fn config(&self, offset: usize) -> u8 {
        if offset < self.device.len() { self.device.read_u8(offset) } else { 0 }
    }

    fn config_generation(&self) -> u32 {
        u32::from(self.common.read_u8(register::CONFIG_GENERATION))
    }
}

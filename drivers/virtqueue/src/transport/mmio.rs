//! virtio-mmio, version 2 (virtio 1.2, 4.2.2).

use super::{MappedBell, StartError, Transport};
use crate::ring::Places;
use nom_dma::Window;

const MAGIC: u32 = 0x7472_6976;
const VERSION: u32 = 2;

mod register {
    pub const MAGIC: usize = 0x000;
    pub const VERSION: usize = 0x004;
    pub const DEVICE: usize = 0x008;
    pub const FEATURES: usize = 0x010;
    pub const FEATURES_SELECT: usize = 0x014;
    pub const DRIVER_FEATURES: usize = 0x020;
    pub const DRIVER_FEATURES_SELECT: usize = 0x024;
    pub const QUEUE_SELECT: usize = 0x030;
    pub const QUEUE_SIZE_MAX: usize = 0x034;
    pub const QUEUE_SIZE: usize = 0x038;
    pub const QUEUE_READY: usize = 0x044;
    pub const NOTIFY: usize = 0x050;
    pub const INTERRUPT_ACKNOWLEDGE: usize = 0x064;
    pub const STATUS: usize = 0x070;
    pub const DESCRIPTORS: usize = 0x080;
    pub const DRIVER_AREA: usize = 0x090;
    pub const DEVICE_AREA: usize = 0x0a0;
    pub const CONFIG_GENERATION: usize = 0x0fc;
    pub const CONFIG: usize = 0x100;
}

/// A virtio-mmio device. Its interrupt is one line for everything.
#[derive(Debug)]
pub struct Mmio {
    window: Window,
}

impl Mmio {
    /// The device whose register block this window is (0x200 bytes at QEMU: registers and configuration).
    pub fn new(window: Window) -> Self {
        Self { window }
    }

    fn write_address(&self, register: usize, address: u64) {
        self.window.write_u32(register, address as u32);
        self.window.write_u32(register + 4, (address >> 32) as u32);
    }
}

impl Transport for Mmio {
    type Bell = MappedBell;

    fn kind(&self) -> Result<u32, StartError> {
        let modern = self.window.len() >= register::CONFIG
            && self.window.read_u32(register::MAGIC) == MAGIC
            && self.window.read_u32(register::VERSION) == VERSION;
        if modern { Ok(self.window.read_u32(register::DEVICE)) } else { Err(StartError::NotModern) }
    }

    fn status(&self) -> u8 {
        self.window.read_u32(register::STATUS) as u8
    }

    fn set_status(&mut self, status: u8) {
        self.window.write_u32(register::STATUS, u32::from(status));
    }

    fn offered(&mut self) -> u64 {
        let mut features = 0;
        for half in 0..2 {
            self.window.write_u32(register::FEATURES_SELECT, half);
            features |= u64::from(self.window.read_u32(register::FEATURES)) << (32 * half);
        }
        features
    }

    fn accept(&mut self, features: u64) {
        for half in 0..2 {
            self.window.write_u32(register::DRIVER_FEATURES_SELECT, half);
            self.window.write_u32(register::DRIVER_FEATURES, (features >> (32 * half)) as u32);
        }
    }

    fn queue_size_max(&mut self, queue: u16) -> u16 {
        self.window.write_u32(register::QUEUE_SELECT, u32::from(queue));
        u16::try_from(self.window.read_u32(register::QUEUE_SIZE_MAX)).unwrap_or(u16::MAX)
    }

    unsafe fn install(
        &mut self,
        queue: u16,
        size: u16,
        places: Places,
        _vector: Option<u16>,
    ) -> Result<(), StartError> {
        self.window.write_u32(register::QUEUE_SELECT, u32::from(queue));
        self.window.write_u32(register::QUEUE_SIZE, u32::from(size));
        self.write_address(register::DESCRIPTORS, places.descriptors);
        self.write_address(register::DRIVER_AREA, places.available);
        self.write_address(register::DEVICE_AREA, places.used);
        self.window.write_u32(register::QUEUE_READY, 1);
        Ok(())
    }

    fn bell(&mut self, queue: u16) -> MappedBell {
        MappedBell::line(self.window, register::NOTIFY, queue, register::INTERRUPT_ACKNOWLEDGE)
    }

    fn config(&self, offset: usize) -> u8 {
        let place = register::CONFIG + offset;
        if place < self.window.len() { self.window.read_u8(place) } else { 0 }
    }

    fn config_generation(&self) -> u32 {
        self.window.read_u32(register::CONFIG_GENERATION)
    }
}

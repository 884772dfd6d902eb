//! The joint between a guest's runtime and the drivers: acquires a device and turns the plain addresses that the
//! kernel answered into register windows, and the registered heap into memory for rings.
//!
//! Drivers know no platform and the runtime knows no driver; here is the one place that vouches for the addresses, so
//! an image's own text stays free of unsafe code.

#![no_std]

extern crate alloc;

mod entropy;
mod port;

pub use entropy::{NoSource, contribute_entropy};
pub use port::{CHANNELS, Doorbell, Memory, NoPort, PortReceiver, PortSender, open_port};

use nom_dma::{HeapMemory, Region, Regions, Window};
use nom_runtime::device::{Device, Transport, acquire_kind};
use nom_runtime::{CallError, heap_region};
use nom_virtqueue::transport::{Mapped, Mmio, Pci};

/// Bytes of the interrupt status register of virtio-pci.
const STATUS_LEN: usize = 1;

/// A device that was acquired.
#[derive(Debug)]
pub struct Acquired {
    /// Its registers.
    pub registers: Mapped,
    /// Its name for the runtime.
    pub device: Device,
    /// MSI-X vectors it may raise; 0 where it has a line.
    pub vectors: u32,
}

impl Acquired {
    /// The vector for a queue of this driver, where there are vectors. All lead to the device's one event unless
    /// [`Device::own_event`] gives one of them its own.
    pub fn vector(&self, queue: u16) -> Option<u16> {
        let last = u16::try_from(self.vectors).unwrap_or(u16::MAX).checked_sub(1)?;
        Some(queue.min(last))
    }
}

/// Acquires the first free device of a kind (`nom_runtime::abi::device::kind`).
pub fn acquire(kind: u32) -> Result<Acquired, CallError> {
    let device = acquire_kind(kind)?;
    // SAFETY (for all windows here): the kernel answered with registers that it mapped uncached for us, at addresses
    // where nothing of Rust's lies, and which stay until the device is released, after its driver is gone. The
    // device was just acquired, so nobody else has windows over it.
    let window = |base: usize, len: usize| {
        // SAFETY: as said above.
        unsafe { Window::new(base, len) }
    };
    let (registers, vectors) = match device.transport {
        Transport::Mmio { registers, len } => (Mapped::Mmio(Mmio::new(window(registers, len))), 0),
        Transport::Pci {
            common,
            common_len,
            notify,
            notify_len,
            notify_multiplier,
            interrupt_status,
            configuration,
            configuration_len,
            vectors,
        } => {
            let pci = Pci::new(
                device.kind,
                window(common, common_len),
                window(notify, notify_len),
                notify_multiplier,
                window(interrupt_status, STATUS_LEN),
                window(configuration, configuration_len),
                vectors > 0,
            );
            (Mapped::Pci(pci), vectors)
        }
    };
    Ok(Acquired { registers, device, vectors })
}

/// The image is not trusted with physical addresses, and the machine has no IOMMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Untrusted;

/// The heap as memory for devices.
pub fn memory() -> Result<HeapMemory, Untrusted> {
    let heap = heap_region();
    if heap.physical_base == 0 {
        return Err(Untrusted);
    }
    // SAFETY: the kernel mapped this region contiguously at this physical address, or registered it for our devices at
    // its own address, for as long as the application runs, and it is the application's own heap.
    let region = unsafe { Region::new(heap.virtual_base, heap.len, heap.physical_base) };
    Ok(HeapMemory::new(Regions::one(region)))
}

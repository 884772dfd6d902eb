//! Devices as an application sees them: plain addresses of registers that the kernel mapped for it.

/// The most devices that a guest may have.
pub const DEVICES_MAX: u32 = 32;
/// Bytes of address space that one device's registers may take.
pub const WINDOW_LEN: u64 = 1 << 20;

/// What a device is for: the device numbers of the virtio standard, section 5.
pub mod kind {
    /// A network card.
    pub const NETWORK: u32 = 1;
    /// A block device.
    pub const BLOCK: u32 = 2;
    /// A console: the management channel.
    pub const CONSOLE: u32 = 3;
    /// A source of entropy.
    pub const ENTROPY: u32 = 4;
}

/// Registers as virtio-mmio (virtio 1.2, section 4.2): one block.
pub const TRANSPORT_MMIO: u32 = 1;
/// Registers as virtio over PCI, modern (virtio 1.2, section 4.1): four structures.
pub const TRANSPORT_PCI: u32 = 2;

/// A device that was acquired: where its registers are in the owner's address space.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DeviceInfo {
    /// One of [`kind`].
    pub kind: u32,
    /// [`TRANSPORT_MMIO`] or [`TRANSPORT_PCI`].
    pub transport: u32,
    /// MSI-X vectors that the driver may name (0 to this, exclusive); 0 where the line is fixed.
    pub vectors: u32,
    /// PCI: bytes between the notification addresses of two queues.
    pub notify_multiplier: u32,
    /// MMIO: the register block, device configuration from 0x100 on. PCI: the common configuration.
    pub registers: u64,
    /// Bytes from there.
    pub registers_len: u64,
    /// PCI: the notification structure.
    pub notify: u64,
    /// Bytes from there.
    pub notify_len: u64,
    /// PCI: the interrupt status byte.
    pub interrupt_status: u64,
    /// PCI: the device's own configuration.
    pub configuration: u64,
    /// Bytes from there.
    pub configuration_len: u64,
}

/// Words of a [`DeviceInfo`].
pub const DEVICE_INFO_WORDS: usize = 9;

impl DeviceInfo {
    /// The same as words, in the order of the layout.
    pub fn words(&self) -> [u64; DEVICE_INFO_WORDS] {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        [
            pair(self.kind, self.transport),
            pair(self.vectors, self.notify_multiplier),
            self.registers,
            self.registers_len,
            self.notify,
            self.notify_len,
            self.interrupt_status,
            self.configuration,
            self.configuration_len,
        ]
    }

    /// Reverses [`DeviceInfo::words`].
    pub fn from_words(words: &[u64; DEVICE_INFO_WORDS]) -> DeviceInfo {
        DeviceInfo {
            kind: words[0] as u32,
            transport: (words[0] >> 32) as u32,
            vectors: words[1] as u32,
            notify_multiplier: (words[1] >> 32) as u32,
            registers: words[2],
            registers_len: words[3],
            notify: words[4],
            notify_len: words[5],
            interrupt_status: words[6],
            configuration: words[7],
            configuration_len: words[8],
        }
    }
}

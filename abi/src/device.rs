//! Devices as an application sees them: which there are, by the bulletin board, and plain addresses of the registers
//! that the kernel mapped for it.

use core::sync::atomic::{AtomicU64, Ordering};

/// The most devices that a guest may have.
pub const DEVICES_MAX: u32 = 32;
/// The most interrupts of one device that can be told apart: those of four pairs of queues, and one more. MSI-X vectors
/// beyond are not used.
pub const VECTORS_MAX: u32 = 5;
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

/// First of the board's words about devices, one a device; 0 where there is none.
const BOARD_WORDS: usize = 256;

/// What is to be known about a device beside what it is.
pub mod state {
    /// It is there.
    pub const PRESENT: u8 = 1;
    /// It is to be taken out: its owner has a moment to give it back.
    pub const LEAVING: u8 = 2;
    /// It did not finish its reset: nobody gets it any more.
    pub const BROKEN: u8 = 4;
    /// It has tried to reach memory that its owner did not register, or another's interrupt; that was blocked.
    pub const BLOCKED: u8 = 8;
    /// It went on with it, or raised interrupts without end: it was stopped until it is given back.
    pub const STOPPED: u8 = 16;
    /// An IOMMU stands before it: images that are not trusted may have it.
    pub const CONFINED: u8 = 32;
}

/// What the bulletin board says of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// One of [`kind`].
    pub kind: u16,
    /// Bits of [`state`].
    pub state: u8,
    /// The number of the application that owns it.
    pub owner: Option<u8>,
    /// What its requests carry on PCI (bus, device, function); 0 for others.
    pub requester: u16,
    /// Devices of one group belong to one application at a time.
    pub group: u16,
}

impl Listed {
    fn word(&self) -> u64 {
        u64::from(self.kind)
            | u64::from(self.state) << 16
            | self.owner.map_or(0, |owner| u64::from(owner) + 1) << 24
            | u64::from(self.requester) << 32
            | u64::from(self.group) << 48
    }
}

/// Reads about the device of this number.
pub fn listed(board: &[AtomicU64], number: u32) -> Option<Listed> {
    let word = board.get(BOARD_WORDS..BOARD_WORDS + DEVICES_MAX as usize)?.get(number as usize)?;
    let word = word.load(Ordering::Acquire);
    (word != 0).then_some(Listed {
        kind: word as u16,
        state: (word >> 16) as u8,
        owner: ((word >> 24) as u8).checked_sub(1),
        requester: (word >> 32) as u16,
        group: (word >> 48) as u16,
    })
}

/// Writes about it.
pub fn list(board: &[AtomicU64], number: u32, listed: Option<Listed>) {
    if let Some(word) = board.get(BOARD_WORDS + (number % DEVICES_MAX) as usize) {
        word.store(listed.map_or(0, |listed| listed.word()), Ordering::Release);
    }
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
    /// PCI: its first port, for [`crate::call::Call::Port`].
    pub ports: u32,
    /// How many follow it; 0 when it has none.
    pub ports_len: u32,
}

/// Words of a [`DeviceInfo`].
pub const DEVICE_INFO_WORDS: usize = 10;

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
            pair(self.ports, self.ports_len),
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
            ports: words[9] as u32,
            ports_len: (words[9] >> 32) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_board_says_what_was_written() {
        let board = [const { AtomicU64::new(0) }; crate::board::WORDS];
        crate::board::initialise(&board).unwrap();
        let device = Listed {
            kind: 4,
            state: state::PRESENT | state::CONFINED,
            owner: None,
            requester: 0x110,
            group: 0,
        };
        let owned = Listed { owner: Some(0), group: 0xffff, ..device };
        list(&board, 0, Some(device));
        list(&board, DEVICES_MAX - 1, Some(owned));
        assert_eq!((listed(&board, 0), listed(&board, 1)), (Some(device), None));
        assert_eq!(listed(&board, DEVICES_MAX - 1), Some(owned));
        assert_eq!(listed(&board, DEVICES_MAX), None);
        list(&board, 0, None);
        assert_eq!(listed(&board, 0), None);
        assert_eq!(crate::board::read(&board), Ok(crate::board::Prices::NONE), "prices were touched");
    }
}

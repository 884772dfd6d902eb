//! Finding out what a device offers, starting it, and ringing its bells.

mod mapped;
mod mmio;
mod pci;

use crate::ring::Places;
pub use mapped::{Mapped, MappedBell};
pub use mmio::Mmio;
pub use pci::Pci;

/// Kind of a network device (virtio 1.2, 5).
pub const KIND_NETWORK: u32 = 1;
/// Kind of a block device.
pub const KIND_BLOCK: u32 = 2;
/// Kind of a console.
pub const KIND_CONSOLE: u32 = 3;
/// Kind of a source of entropy.
pub const KIND_ENTROPY: u32 = 4;

/// Status bits (2.1).
pub mod status {
    /// The driver saw the device.
    pub const ACKNOWLEDGE: u8 = 1;
    /// The driver knows how to drive it.
    pub const DRIVER: u8 = 2;
    /// The driver is set up; the device is live.
    pub const DRIVER_OK: u8 = 4;
    /// Features are agreed.
    pub const FEATURES_OK: u8 = 8;
    /// The device met an error and wants to be reset.
    pub const NEEDS_RESET: u8 = 64;
    /// The driver gave up.
    pub const FAILED: u8 = 128;
}

/// Feature: event index instead of flags (6).
pub const FEATURE_EVENT_INDEX: u64 = 1 << 29;
/// Feature: virtio 1.0 and later. Without it nothing here works.
pub const FEATURE_VERSION_1: u64 = 1 << 32;
/// Feature: addresses go through the platform's IOMMU.
pub const FEATURE_ACCESS_PLATFORM: u64 = 1 << 33;

/// How often a device is asked whether its reset is done: at 100 ns a read, 10 ms.
const RESET_ATTEMPTS: usize = 100_000;

/// Why a device does not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartError {
    /// Another kind of device than the driver's.
    WrongKind,
    /// The registers are not those of a virtio device, or of an old version.
    NotModern,
    /// It does not finish its reset.
    Stuck,
    /// It lacks features that the driver needs (these), or refused the choice (0).
    Features(u64),
    /// It lacks this queue, or the queue is too small.
    Queue(u16),
    /// It did not take the interrupt vector of this queue.
    Vector(u16),
    /// It did not take the interrupt vector for changes of its configuration.
    ChangeVector,
    /// It refused a command, or did not answer it.
    Command,
    /// Its configuration says what cannot be.
    Configuration,
    /// No memory for rings and buffers within the registered regions.
    Memory,
}

impl core::fmt::Display for StartError {
    fn fmt(&self, to: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::WrongKind => write!(to, "the device is of another kind"),
            Self::NotModern => {
                write!(to, "not a virtio 1.0 device; start QEMU with -global virtio-mmio.force-legacy=false")
            }
            Self::Stuck => write!(to, "the device does not finish its reset"),
            Self::Features(missing) => write!(to, "the device lacks the features {missing:#x}"),
            Self::Queue(queue) => write!(to, "the device lacks queue {queue} or it is too small"),
            Self::Vector(queue) => write!(to, "the device refused the interrupt vector of queue {queue}"),
            Self::ChangeVector => write!(to, "the device refused the interrupt vector of its configuration"),
            Self::Configuration => write!(to, "the device's configuration says what cannot be"),
            Self::Command => write!(to, "the device refused a command that it says it knows"),
            Self::Memory => {
                write!(to, "no registered memory for rings and buffers; give the guest more memory")
            }
        }
    }
}

/// The registers of a device: used at start and for its configuration, not on the data path.
pub trait Transport {
    /// What a queue's user touches while running.
    type Bell: Bell;

    /// What kind of device it is (5).
    fn kind(&self) -> Result<u32, StartError>;
    /// The status register.
    fn status(&self) -> u8;
    /// Writes the status register; 0 asks for a reset.
    fn set_status(&mut self, status: u8);
    /// All features that the device offers.
    fn offered(&mut self) -> u64;
    /// The features that the driver takes.
    fn accept(&mut self, features: u64);
    /// The largest size of a queue; 0 when there is none.
    fn queue_size_max(&mut self, queue: u16) -> u16;
    /// Tells the device where a queue lies and, where there are vectors, which one it raises (`None`: no interrupt);
    /// then enables it.
    ///
    /// # Safety
    ///
    /// The device reads and writes at `places` by itself. They are those of a ring of `size` descriptors in memory that
    /// the device may reach, which nothing else uses and which stays allocated until the device was reset.
    unsafe fn install(
        &mut self,
        queue: u16,
        size: u16,
        places: Places,
        vector: Option<u16>,
    ) -> Result<(), StartError>;
    /// Which vector the device raises when its configuration changes, where there are vectors. Where there is a line,
    /// a change raises it anyway.
    fn announce_changes(&mut self, _vector: Option<u16>) -> Result<(), StartError> {
        Ok(())
    }
    /// The bell of a queue.
    fn bell(&mut self, queue: u16) -> Self::Bell;
    /// A byte of the device's configuration; 0 behind its end.
    fn config(&self, offset: usize) -> u8;
    /// Changes when the device changed its configuration.
    fn config_generation(&self) -> u32;
}

/// What a half of a driver touches while it runs.
pub trait Bell {
    /// Tells the device that chains were published.
    fn ring(&self);
    /// Takes note of an interrupt, where the device wants to hear that (line interrupts). Harmless otherwise.
    fn acknowledge(&self);
}

/// Resets a device and agrees on features: everything in `required`, and what is offered of `wanted`. Queues are
/// installed next, then [`live`].
pub fn negotiate(
    transport: &mut impl Transport,
    kind: u32,
    required: u64,
    wanted: u64,
) -> Result<u64, StartError> {
    negotiate_by(transport, kind, required, |_| wanted)
}

/// Like [`negotiate`], where what is wanted depends on what is offered: features that are of use only together.
pub fn negotiate_by(
    transport: &mut impl Transport,
    kind: u32,
    required: u64,
    wanted: impl FnOnce(u64) -> u64,
) -> Result<u64, StartError> {
    if transport.kind()? != kind {
        return Err(StartError::WrongKind);
    }
    reset(transport)?;
    transport.set_status(status::ACKNOWLEDGE);
    transport.set_status(status::ACKNOWLEDGE | status::DRIVER);
    let offered = transport.offered();
    let required = required | FEATURE_VERSION_1;
    let missing = required & !offered;
    if missing != 0 {
        transport.set_status(status::FAILED);
        return Err(StartError::Features(missing));
    }
    // Access through the platform is the device's demand, not a choice: where it is offered it must be taken (6.1).
    let features = offered & (required | wanted(offered) | FEATURE_ACCESS_PLATFORM);
    transport.accept(features);
    transport.set_status(status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK);
    if transport.status() & status::FEATURES_OK == 0 {
        transport.set_status(status::FAILED);
        return Err(StartError::Features(0));
    }
    Ok(features)
}

/// The device may use its queues from now on.
pub fn live(transport: &mut impl Transport) {
    let all = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK;
    transport.set_status(all);
}

/// Stops the device; when this returns `Ok` it uses no memory any more.
pub fn reset(transport: &mut impl Transport) -> Result<(), StartError> {
    transport.set_status(0);
    for _ in 0..RESET_ATTEMPTS {
        if transport.status() == 0 {
            return Ok(());
        }
        core::hint::spin_loop();
    }
    Err(StartError::Stuck)
}

/// Reads `N` bytes of configuration that belong together.
pub fn config_bytes<const N: usize>(transport: &impl Transport, offset: usize) -> [u8; N] {
    /// How often a configuration may change under the reader's hands before it takes what it has.
    const ATTEMPTS: usize = 8;
    let mut bytes = [0; N];
    for _ in 0..ATTEMPTS {
        let before = transport.config_generation();
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = transport.config(offset + place);
        }
        if transport.config_generation() == before {
            break;
        }
    }
    bytes
}

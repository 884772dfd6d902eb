//! Devices: which there are, and acquiring them.

use core::sync::atomic::{AtomicU64, Ordering};

use nom_abi::call::CallError;
use nom_abi::device::state::{LEAVING, PRESENT};
use nom_abi::device::{DEVICES_MAX, DeviceInfo, TRANSPORT_MMIO, WINDOW_LEN, listed};
use nom_abi::upcall::device_event;

const WINDOWS_ADDRESS: u64 = 0x2000_0000_0000;
/// Windows lie apart, so that running over the end of one faults.
const WINDOW_STEP: u64 = 16 * WINDOW_LEN;

/// The events that the interrupts of each of our devices have.
static OWN_EVENTS: [AtomicU64; DEVICES_MAX as usize] = [const { AtomicU64::new(0) }; DEVICES_MAX as usize];

/// A device of the guest, not yet acquired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Its number, for [`acquire`].
    pub number: u32,
    /// One of [`nom_abi::device::kind`].
    pub kind: u32,
}

/// Where a device's registers are. Plain addresses, mapped uncached, for volatile access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// virtio-mmio: the register block; device configuration begins at `registers + 0x100`.
    Mmio {
        /// First address.
        registers: usize,
        /// Bytes.
        len: usize,
    },
    /// virtio over PCI, modern.
    Pci {
        /// The common configuration.
        common: usize,
        /// Its bytes.
        common_len: usize,
        /// The notification structure.
        notify: usize,
        /// Its bytes.
        notify_len: usize,
        /// Bytes between the notification addresses of two queues (by `queue_notify_off`).
        notify_multiplier: u32,
        /// The interrupt status byte.
        interrupt_status: usize,
        /// The device's own configuration (0 when it has none).
        configuration: usize,
        /// Its bytes.
        configuration_len: usize,
        /// MSI-X vectors, 0 to this, exclusive, that the driver may write into the vector fields. All lead to the
        /// device's one event until [`Device::own_event`] says otherwise.
        vectors: u32,
    },
}

/// A device that is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Its number.
    pub number: u32,
    /// One of [`nom_abi::device::kind`].
    pub kind: u32,
    /// Its registers.
    pub transport: Transport,
    /// Its ports ([`crate::call::read_port`]): the first, and how many; 0 when it has none.
    pub ports: (u16, u16),
}

impl Device {
    /// The event of its interrupts.
    pub fn event(&self) -> u64 {
        device_event(self.number)
    }

    /// Gives the interrupts of one vector an event of their own, which is answered. It is heard by the context that
    /// unmasks it, and the interrupts come to that one's core: nobody else is woken.
    pub fn own_event(&self, vector: u32) -> Result<u64, CallError> {
        let owned = OWN_EVENTS.iter().fold(0, |taken, own| taken | own.load(Ordering::Acquire));
        // From the top: the lowest ones are those of devices as they are acquired.
        let free = (0..DEVICES_MAX).rev().map(device_event).find(|event| owned & event == 0);
        let event = free.ok_or(CallError::NoMemory)?;
        self.steer(vector, event)?;
        OWN_EVENTS[self.number as usize % OWN_EVENTS.len()].fetch_or(event, Ordering::AcqRel);
        Ok(event)
    }

    /// Has the interrupts of one vector told as this event ([`nom_abi::upcall::ALL_DEVICES`]).
    pub fn steer(&self, vector: u32, event: u64) -> Result<(), CallError> {
        crate::call::steer(self.number, vector, event)
    }

    /// Lets its interrupt in again. It is masked at first and after each interrupt. [`crate::wait`] can do the same
    /// without a call of its own.
    pub fn unmask(&self) -> Result<(), CallError> {
        crate::call::unmask(self.event())
    }

    /// Gives it back: the kernel resets it and takes its registers away.
    ///
    /// # Safety
    /// Nothing may use its registers any more.
    pub unsafe fn release(self) -> Result<(), CallError> {
        OWN_EVENTS[self.number as usize % OWN_EVENTS.len()].store(0, Ordering::Release);
        crate::call::release_device(self.number)
    }
}

/// The devices that the guest has at the moment, as the bulletin board says. The event
/// [`nom_abi::upcall::DEVICES`] tells that it says something new.
pub fn list() -> impl Iterator<Item = Listed> {
    (0..DEVICES_MAX).filter_map(|number| {
        let listed = listed(crate::board(), number)?;
        let there = listed.state & (PRESENT | LEAVING) == PRESENT;
        there.then_some(Listed { number, kind: u32::from(listed.kind) })
    })
}

/// How a device stands: bits of [`nom_abi::device::state`]; 0 when it is not there.
pub fn state(number: u32) -> u8 {
    listed(crate::board(), number).map_or(0, |listed| listed.state)
}

/// Makes the device of this number ours and maps its registers.
pub fn acquire(number: u32) -> Result<Device, CallError> {
    let address = WINDOWS_ADDRESS + u64::from(number) * WINDOW_STEP;
    let info = crate::call::acquire_device(number, address)?;
    OWN_EVENTS[number as usize % OWN_EVENTS.len()].store(device_event(number), Ordering::Release);
    Ok(device(number, &info))
}

/// Acquires the first device of this kind that is free.
pub fn acquire_kind(kind: u32) -> Result<Device, CallError> {
    let mut refused = CallError::NoSuch;
    for listed in list().filter(|listed| listed.kind == kind) {
        match acquire(listed.number) {
            Ok(device) => return Ok(device),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn device(number: u32, info: &DeviceInfo) -> Device {
    let transport = if info.transport == TRANSPORT_MMIO {
        Transport::Mmio { registers: info.registers as usize, len: info.registers_len as usize }
    } else {
        Transport::Pci {
            common: info.registers as usize,
            common_len: info.registers_len as usize,
            notify: info.notify as usize,
            notify_len: info.notify_len as usize,
            notify_multiplier: info.notify_multiplier,
            interrupt_status: info.interrupt_status as usize,
            configuration: info.configuration as usize,
            configuration_len: info.configuration_len as usize,
            vectors: info.vectors,
        }
    };
    let ports = (info.ports as u16, info.ports_len as u16);
    Device { number, kind: info.kind, transport, ports }
}

//! Who owns which device.

use nom_abi::call::CallError;
use nom_abi::device::DEVICES_MAX;
use nom_abi::upcall::device_event;

use crate::Application;

/// A device, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device(pub u32);

impl Device {
    /// Its bit among events.
    pub fn event(self) -> u64 {
        device_event(self.0)
    }
}

/// All devices and their owners.
#[derive(Debug, Clone)]
pub struct Devices {
    kinds: [u32; DEVICES_MAX as usize],
    owners: [Option<Application>; DEVICES_MAX as usize],
    count: u32,
}

impl Devices {
    /// None yet.
    pub const fn new() -> Devices {
        Devices { kinds: [0; DEVICES_MAX as usize], owners: [None; DEVICES_MAX as usize], count: 0 }
    }

    /// Another device that was found; `None` when there are too many already, and it stays unused.
    pub fn add(&mut self, kind: u32) -> Option<Device> {
        let device = Device(self.count);
        *self.kinds.get_mut(self.count as usize)? = kind;
        self.count += 1;
        Some(device)
    }

    /// What each device is for.
    pub fn kinds(&self) -> &[u32] {
        &self.kinds[..self.count as usize]
    }

    /// The device that an argument means.
    pub fn named(&self, claim: u64) -> Result<Device, CallError> {
        u32::try_from(claim).ok().filter(|&number| number < self.count).map(Device).ok_or(CallError::NoSuch)
    }

    /// Who owns it.
    pub fn owner(&self, device: Device) -> Option<Application> {
        self.owners.get(device.0 as usize).copied().flatten()
    }

    /// Whether it may be acquired. Changes nothing.
    pub fn may_acquire(&self, device: Device) -> Result<(), CallError> {
        if self.owner(device).is_none() { Ok(()) } else { Err(CallError::Taken) }
    }

    /// Whether `application` may give it back. Changes nothing.
    pub fn may_release(&self, device: Device, application: Application) -> Result<(), CallError> {
        if self.owner(device) == Some(application) { Ok(()) } else { Err(CallError::NotOwner) }
    }

    /// Gives a free device to an application.
    pub fn acquire(&mut self, device: Device, application: Application) {
        if let Some(owner @ None) = self.owners[..self.count as usize].get_mut(device.0 as usize) {
            *owner = Some(application);
        }
    }

    /// Takes it back from its owner, who must have lost its registers, and it must have been reset.
    pub fn release(&mut self, device: Device) {
        if let Some(owner) = self.owners.get_mut(device.0 as usize) {
            *owner = None;
        }
    }

    /// What an application owns.
    pub fn owned(&self, application: Application) -> impl Iterator<Item = Device> + '_ {
        (0..self.count).map(Device).filter(move |&device| self.owner(device) == Some(application))
    }

    /// The events that an application may ask to unmask: those of its own devices.
    pub fn events(&self, application: Application) -> u64 {
        self.owned(application).fold(0, |events, device| events | device.event())
    }
}

impl Default for Devices {
    fn default() -> Self {
        Devices::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Dice;

    #[test]
    fn a_device_has_one_owner_through_long_histories() {
        let mut dice = Dice::new(5);
        let mut devices = Devices::new();
        for kind in 0..6 {
            assert_eq!(devices.add(kind), Some(Device(kind)));
        }
        let mut owners = [None; 6];
        for _ in 0..20_000 {
            let application = Application(dice.below(3) as u8);
            let claim = dice.below(8);
            let Ok(device) = devices.named(claim) else {
                assert!(claim >= 6);
                continue;
            };
            let held = &mut owners[claim as usize];
            if dice.below(2) == 0 {
                assert_eq!(devices.may_acquire(device).is_ok(), held.is_none());
                devices.acquire(device, application);
                *held = held.or(Some(application));
            } else if devices.may_release(device, application).is_ok() {
                assert_eq!(*held, Some(application));
                devices.release(device);
                *held = None;
            } else {
                assert_ne!(*held, Some(application));
            }
            let events = (0..6_u32)
                .filter(|&number| owners[number as usize] == Some(application))
                .fold(0, |events, number| events | device_event(number));
            assert_eq!(devices.events(application), events);
        }
    }

    #[test]
    fn the_table_is_bounded() {
        let mut devices = Devices::default();
        for _ in 0..DEVICES_MAX {
            assert!(devices.add(1).is_some());
        }
        assert_eq!(devices.add(1), None);
        assert_eq!(devices.kinds().len(), DEVICES_MAX as usize);
        assert_eq!(devices.named(u64::from(DEVICES_MAX)), Err(CallError::NoSuch));
    }
}

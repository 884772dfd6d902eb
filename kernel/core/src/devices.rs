//! Who owns which device.

use nom_abi::call::CallError;
use nom_abi::device::state::{BLOCKED, BROKEN, CONFINED, LEAVING, PRESENT, STOPPED};
use nom_abi::device::{DEVICES_MAX, Listed, VECTORS_MAX};
use nom_abi::upcall::{ALL_DEVICES, device_event};

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

/// The most interrupts that are told apart.
pub const LINES_MAX: usize = (DEVICES_MAX * VECTORS_MAX) as usize;

/// One interrupt of a device: a vector of its table, or its pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Whose.
    pub device: Device,
    /// Which.
    pub vector: u32,
}

impl Line {
    /// Its number among all of them.
    pub fn number(self) -> usize {
        (self.device.0 * VECTORS_MAX + self.vector) as usize % LINES_MAX
    }

    /// The one with this number.
    pub fn of(number: usize) -> Line {
        let number = number as u32;
        Line { device: Device(number / VECTORS_MAX), vector: number % VECTORS_MAX }
    }
}

/// What is known of one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// One of [`nom_abi::device::kind`].
    pub kind: u16,
    /// What its requests carry; 0 where there is nothing like it.
    pub requester: u16,
    /// Devices that cannot be told apart by an IOMMU, or that reach one another past it, have the same group: they
    /// belong to one application at a time.
    pub group: u16,
    /// Bits of [`nom_abi::device::state`]. None set: it has left, and its number waits for its owner.
    pub state: u8,
    /// Whose it is.
    pub owner: Option<Application>,
    /// What each of its interrupts is told as; 0 where it has none.
    pub events: [u64; VECTORS_MAX as usize],
    /// Its ports: the first, and how many; 0 when it has none.
    pub ports: (u16, u16),
}

/// Whether so many ports from `first` on lie within a range.
pub fn within(first: u16, count: u16, (start, len): (u16, u16)) -> bool {
    first.checked_sub(start).is_some_and(|offset| u32::from(offset) + u32::from(count) <= u32::from(len))
}

/// All devices and their owners.
#[derive(Debug, Clone)]
pub struct Devices {
    known: [Option<Known>; DEVICES_MAX as usize],
    /// Places from here on were never taken: what every sleep looks through is as long as there are devices.
    end: usize,
}

impl Devices {
    /// None yet.
    pub const fn new() -> Devices {
        Devices { known: [None; DEVICES_MAX as usize], end: 0 }
    }

    /// Another device that was found, with one interrupt, at the lowest number that is free; `None` when there are too
    /// many already, and it stays unused.
    pub fn add(&mut self, kind: u16, requester: u16, group: u16, confined: bool) -> Option<Device> {
        let place = self.known.iter().position(Option::is_none)?;
        self.end = self.end.max(place + 1);
        let state = PRESENT | if confined { CONFINED } else { 0 };
        let events = [0; VECTORS_MAX as usize];
        self.known[place] = Some(Known { kind, requester, group, state, owner: None, events, ports: (0, 0) });
        let device = Device(place as u32);
        self.set_vectors(device, 1);
        Some(device)
    }

    /// How many interrupts a device has. All are told as its one event.
    pub fn set_vectors(&mut self, device: Device, count: u32) {
        if let Some(Some(known)) = self.known.get_mut(device.0 as usize) {
            let event = |vector: usize| if vector < count as usize { device.event() } else { 0 };
            known.events = core::array::from_fn(event);
        }
    }

    /// Which ports a device has.
    pub fn set_ports(&mut self, device: Device, ports: (u16, u16)) {
        if let Some(Some(known)) = self.known.get_mut(device.0 as usize) {
            known.ports = ports;
        }
    }

    /// Whether so many ports from this one on are those of one device of an application's, which is there.
    pub fn owns_ports(&self, first: u16, count: u16, application: Application) -> bool {
        let there = |known: &Known| known.state & PRESENT != 0 && within(first, count, known.ports);
        self.own(application).any(|(_, known)| there(known))
    }

    /// The interrupts of a device.
    pub fn lines(&self, device: Device) -> impl Iterator<Item = Line> + use<> {
        let events = self.known(device).map_or([0; VECTORS_MAX as usize], |known| known.events);
        (0..VECTORS_MAX)
            .filter(move |&vector| events[vector as usize] != 0)
            .map(move |vector| Line { device, vector })
    }

    /// What an interrupt is told as.
    pub fn event(&self, line: Line) -> u64 {
        let known = self.known(line.device);
        known.and_then(|known| known.events.get(line.vector as usize).copied()).unwrap_or(0)
    }

    /// The interrupt that a call may tell as `event` from now on. Changes nothing.
    pub fn may_steer(&self, line: [u64; 2], event: u64, application: Application) -> Result<Line, CallError> {
        let device = self.named(line[0])?;
        self.may_release(device, application)?;
        let named = self.lines(device).find(|known| u64::from(known.vector) == line[1]);
        let one = event.is_power_of_two() && event & ALL_DEVICES != 0;
        if one { named.ok_or(CallError::NoSuch) } else { Err(CallError::BadArgument) }
    }

    /// From now on it is told as this.
    pub fn steer(&mut self, line: Line, event: u64) {
        if let Some(Some(known)) = self.known.get_mut(line.device.0 as usize) {
            known.events[line.vector as usize % VECTORS_MAX as usize] = event;
        }
    }

    /// The interrupts of an application that are told as one of these events; a device that was stopped stays silent.
    pub fn told_as(&self, events: u64, application: Application) -> impl Iterator<Item = Line> + '_ {
        let go = self.own(application).filter(|(_, known)| known.state & STOPPED == 0);
        go.flat_map(move |(device, known)| {
            // This is looked through with every sleep: those that a device has come first.
            let there = known.events.iter().zip(0..).take_while(|(event, _)| **event != 0);
            let told = there.filter(move |(event, _)| **event & events != 0);
            told.map(move |(_, vector)| Line { device, vector })
        })
    }

    /// What is known of it.
    pub fn known(&self, device: Device) -> Option<Known> {
        self.known.get(device.0 as usize).copied().flatten()
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = Device> + '_ {
        self.entries().map(|(device, _)| device)
    }

    fn entries(&self) -> impl Iterator<Item = (Device, &Known)> {
        let there = self.known.iter().take(self.end).enumerate();
        there.filter_map(|(number, known)| Some((Device(number as u32), known.as_ref()?)))
    }

    fn own(&self, application: Application) -> impl Iterator<Item = (Device, &Known)> {
        self.entries().filter(move |(_, known)| known.owner == Some(application))
    }

    /// The device whose requests carry this.
    pub fn requesting(&self, requester: u16) -> Option<Device> {
        let mut by = self.entries().filter(|(_, known)| known.requester == requester && requester != 0);
        by.next().map(|(device, _)| device)
    }

    /// The device that an argument means.
    pub fn named(&self, claim: u64) -> Result<Device, CallError> {
        let device = u32::try_from(claim).map(Device).map_err(|_| CallError::NoSuch)?;
        self.known(device).map(|_| device).ok_or(CallError::NoSuch)
    }

    /// Who owns it.
    pub fn owner(&self, device: Device) -> Option<Application> {
        self.known(device)?.owner
    }

    /// Whether an application may acquire it: it is there and works, and neither it nor another one of its group is
    /// somebody else's. Changes nothing.
    pub fn may_acquire(&self, device: Device, application: Application) -> Result<(), CallError> {
        let known = self.known(device).ok_or(CallError::NoSuch)?;
        if known.owner.is_some() {
            return Err(CallError::Taken);
        }
        if known.state & (PRESENT | LEAVING | BROKEN) != PRESENT {
            return Err(CallError::Gone);
        }
        let others = |other: &Known| {
            other.group == known.group && other.owner.is_some_and(|owner| owner != application)
        };
        if self.known.iter().flatten().any(others) { Err(CallError::Taken) } else { Ok(()) }
    }

    /// Whether `application` may give it back. Changes nothing.
    pub fn may_release(&self, device: Device, application: Application) -> Result<(), CallError> {
        if self.owner(device) == Some(application) { Ok(()) } else { Err(CallError::NotOwner) }
    }

    /// Gives a free device to an application.
    pub fn acquire(&mut self, device: Device, application: Application) {
        if let Some(Some(known)) = self.known.get_mut(device.0 as usize)
            && known.owner.is_none()
        {
            known.owner = Some(application);
        }
    }

    /// Takes it back from its owner, who must have lost its registers, and it must have been reset. What it did wrong
    /// meanwhile is forgotten, and how its interrupts were told; a number whose device has left is free now. Answers the
    /// events that its owner cannot get any more.
    pub fn release(&mut self, device: Device) -> u64 {
        let (owner, count) = (self.owner(device), self.lines(device).count());
        let events = self.lines(device).fold(0, |events, line| events | self.event(line));
        self.set_vectors(device, count as u32);
        let Some(place) = self.known.get_mut(device.0 as usize) else { return 0 };
        *place = place.filter(|known| known.state & PRESENT != 0).map(|known| Known {
            owner: None,
            state: known.state & !(BLOCKED | STOPPED),
            ..known
        });
        events & !owner.map_or(0, |owner| self.events(owner))
    }

    /// Adds to its state; answers what it was before.
    pub fn mark(&mut self, device: Device, state: u8) -> u8 {
        let Some(Some(known)) = self.known.get_mut(device.0 as usize) else { return 0 };
        let before = known.state;
        known.state |= state;
        before
    }

    /// It is not there any more. Its number stays its owner's until that gives it back.
    pub fn leave(&mut self, device: Device) {
        let Some(place) = self.known.get_mut(device.0 as usize) else { return };
        *place = place.filter(|known| known.owner.is_some()).map(|known| Known { state: 0, ..known });
    }

    /// What an application owns.
    pub fn owned(&self, application: Application) -> impl Iterator<Item = Device> + '_ {
        self.own(application).map(|(device, _)| device)
    }

    /// The events that an application may ask to unmask: those of its own devices.
    pub fn events(&self, application: Application) -> u64 {
        self.own(application).flat_map(|(_, known)| known.events).fold(0, |events, event| events | event)
    }

    /// What the bulletin board says of it.
    pub fn listed(&self, device: Device) -> Option<Listed> {
        let Known { kind, requester, group, state, owner, .. } = self.known(device)?;
        Some(Listed { kind, state, owner: owner.map(|owner| owner.0), requester, group })
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

    /// Devices come, are acquired and released, leave with and without an owner; two of them share a group.
    #[test]
    fn a_group_has_one_owner_through_long_histories() {
        let mut dice = Dice::new(5);
        let mut devices = Devices::new();
        // What each number's device is, whose, and whether it is there.
        let mut model: [Option<(u16, Option<Application>, bool)>; 6] = [None; 6];
        for _ in 0..50_000 {
            let application = Application(dice.below(3) as u8);
            let place = dice.below(6) as usize;
            let device = Device(place as u32);
            match dice.below(4) {
                0 => {
                    let free = model.iter().position(Option::is_none);
                    if let Some(free) = free {
                        let group = (free / 2) as u16;
                        assert_eq!(devices.add(1, 7 + free as u16, group, true), Some(Device(free as u32)));
                        model[free] = Some((group, None, true));
                    }
                }
                1 => {
                    let taken = |group| {
                        let mut all = model.iter().flatten();
                        all.any(|other| other.0 == group && other.1.is_some_and(|owner| owner != application))
                    };
                    let may = model[place]
                        .is_some_and(|(group, owner, there)| owner.is_none() && there && !taken(group));
                    assert_eq!(devices.may_acquire(device, application).is_ok(), may);
                    if may {
                        devices.acquire(device, application);
                        model[place].as_mut().unwrap().1 = Some(application);
                    }
                }
                2 => {
                    let may = model[place].is_some_and(|(_, owner, _)| owner == Some(application));
                    assert_eq!(devices.may_release(device, application).is_ok(), may);
                    if may {
                        devices.mark(device, BLOCKED);
                        devices.release(device);
                        model[place] = model[place].filter(|one| one.2).map(|one| (one.0, None, true));
                        assert!(devices.known(device).is_none_or(|known| known.state & BLOCKED == 0));
                    }
                }
                _ => {
                    devices.leave(device);
                    let stays = model[place].filter(|one| one.1.is_some());
                    model[place] = stays.map(|one| (one.0, one.1, false));
                }
            }
            for (number, one) in (0..).zip(&model) {
                let found = devices
                    .known(Device(number))
                    .map(|known| (known.group, known.owner, known.state & PRESENT != 0));
                assert_eq!(found, *one);
                assert_eq!(devices.named(number.into()).is_ok(), one.is_some());
            }
            let events = (0..6_u32)
                .filter(|&number| model[number as usize].is_some_and(|one| one.1 == Some(application)))
                .fold(0, |events, number| events | device_event(number));
            assert_eq!(devices.events(application), events);
        }
    }

    #[test]
    fn what_is_broken_or_leaving_is_nobodys() {
        let mut devices = Devices::default();
        let device = devices.add(1, 8, 8, false).unwrap();
        assert_eq!(devices.mark(device, LEAVING), PRESENT);
        assert_eq!(devices.may_acquire(device, Application(0)), Err(CallError::Gone));
        let other = devices.add(1, 16, 16, false).unwrap();
        devices.acquire(other, Application(0));
        devices.mark(other, BROKEN);
        devices.release(other);
        assert_eq!(devices.may_acquire(other, Application(0)), Err(CallError::Gone));
        assert_eq!(devices.requesting(16), Some(other));
        assert_eq!(devices.requesting(0), None);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut devices = Devices::default();
        for _ in 0..DEVICES_MAX {
            assert!(devices.add(1, 0, 0, false).is_some());
        }
        assert_eq!(devices.add(1, 0, 0, false), None);
        assert_eq!(devices.all().count(), DEVICES_MAX as usize);
        for claim in [u64::from(DEVICES_MAX), u64::MAX, 1 << 32] {
            assert_eq!(devices.named(claim), Err(CallError::NoSuch));
        }
    }
}

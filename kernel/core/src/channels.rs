//! Channels: memory that two applications share, and who hears whom.
//!
//! The image names each channel, its two ends and its size: an application can open what is its own and learns
//! nothing of others. The memory comes with the first end and goes with the last. A peer that died may come again
//! and finds the memory as it was; whoever cannot live with that closes its own end, too.

use nom_abi::call::CallError;
use nom_abi::channel::CHANNELS_MAX;

use crate::Application;
use crate::frames::Frame;
use crate::schedule::Context;

/// One side of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Whose it is.
    pub application: Application,
    /// Which context hears.
    pub context: Context,
    /// Where the memory is in that application.
    pub address: u64,
}

/// A channel, by its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel(pub u8);

#[derive(Debug, Clone, Copy)]
struct Place {
    ends: [Option<End>; 2],
    /// First frame and their number, while an end is open.
    memory: Option<(Frame, u64)>,
}

/// All channels.
#[derive(Debug, Clone)]
pub struct Channels {
    places: [Place; CHANNELS_MAX as usize],
}

impl Default for Channels {
    fn default() -> Channels {
        Channels::new()
    }
}

impl Channels {
    /// None is open.
    pub const fn new() -> Channels {
        Channels { places: [Place { ends: [None; 2], memory: None }; CHANNELS_MAX as usize] }
    }

    fn place(&self, channel: Channel) -> Result<&Place, CallError> {
        self.places.get(usize::from(channel.0)).ok_or(CallError::NoSuch)
    }

    /// The channel that an argument means, if this application has opened it.
    pub fn named(&self, claim: u64, application: Application) -> Result<Channel, CallError> {
        let channel = u8::try_from(claim).map(Channel).map_err(|_| CallError::NoSuch)?;
        let owns = |end: &End| end.application == application;
        // A foreign channel is as absent as one that does not exist.
        if self.place(channel)?.ends.iter().flatten().any(owns) {
            Ok(channel)
        } else {
            Err(CallError::NoSuch)
        }
    }

    /// Whether this end may be opened now. Changes nothing.
    pub fn may_open(&self, channel: Channel, side: usize) -> Result<(), CallError> {
        match self.place(channel)?.ends.get(side) {
            Some(None) => Ok(()),
            _ => Err(CallError::Taken),
        }
    }

    /// The memory, while an end is open.
    pub fn memory(&self, channel: Channel) -> Option<(Frame, u64)> {
        self.place(channel).ok()?.memory
    }

    /// Opens an end; `memory` is what [`Channels::memory`] said or what was allocated since it said nothing.
    pub fn open(&mut self, channel: Channel, side: usize, end: End, memory: (Frame, u64)) {
        if let Some(place) = self.places.get_mut(usize::from(channel.0))
            && let Some(slot @ None) = place.ends.get_mut(side)
        {
            *slot = Some(end);
            place.memory = Some(memory);
        }
    }

    /// Both ends.
    pub fn ends(&self, channel: Channel) -> [Option<End>; 2] {
        self.place(channel).map_or([None; 2], |place| place.ends)
    }

    /// Who is at the other end.
    pub fn peer(&self, channel: Channel, application: Application) -> Option<End> {
        let ends = self.place(channel).ok()?.ends;
        ends.into_iter().flatten().find(|end| end.application != application)
    }

    /// Closes an application's end. Answers it and, when it was the last one, the memory that is free now.
    pub fn close(
        &mut self,
        channel: Channel,
        application: Application,
    ) -> Option<(End, Option<(Frame, u64)>)> {
        let place = self.places.get_mut(usize::from(channel.0))?;
        let owns = |end: &Option<End>| end.is_some_and(|end| end.application == application);
        let end = place.ends.iter_mut().find(|end| owns(end))?.take()?;
        let last = place.ends.iter().all(Option::is_none);
        Some((end, if last { place.memory.take() } else { None }))
    }

    /// A channel that this application has open.
    pub fn any_of(&self, application: Application) -> Option<Channel> {
        (0..CHANNELS_MAX as u8).map(Channel).find(|channel| {
            self.places[usize::from(channel.0)]
                .ends
                .iter()
                .flatten()
                .any(|end| end.application == application)
        })
    }

    /// A context ends: what it heard, another one hears.
    pub fn hear_instead(&mut self, gone: Context, instead: Context) {
        for end in self.places.iter_mut().flat_map(|place| place.ends.iter_mut()).flatten() {
            if end.context == gone {
                end.context = instead;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Dice;
    extern crate std;
    use std::collections::BTreeMap;

    #[test]
    fn memory_lives_as_long_as_an_end_and_strangers_see_nothing() {
        for seed in 1..30 {
            let mut dice = Dice::new(seed);
            let mut channels = Channels::new();
            // Channel n joins applications n and n + 1.
            let mut open: BTreeMap<(u8, usize), End> = BTreeMap::new();
            let mut allocated: BTreeMap<u8, Frame> = BTreeMap::new();
            let mut next = 100;
            for _ in 0..4000 {
                let channel = Channel(dice.below(CHANNELS_MAX) as u8);
                let side = dice.below(2) as usize;
                let application = Application(channel.0 + side as u8);
                let stranger = Application(channel.0 + 2);
                assert_eq!(channels.named(u64::from(channel.0), stranger), Err(CallError::NoSuch));
                if dice.below(2) == 0 {
                    let may = channels.may_open(channel, side);
                    assert_eq!(may.is_ok(), !open.contains_key(&(channel.0, side)));
                    if may.is_ok() {
                        let memory = channels.memory(channel).unwrap_or((Frame(next), 3));
                        next += 1;
                        assert_eq!(*allocated.entry(channel.0).or_insert(memory.0), memory.0);
                        let end = End { application, context: Context(side as u8), address: next };
                        channels.open(channel, side, end, memory);
                        open.insert((channel.0, side), end);
                    }
                } else {
                    let closed = channels.close(channel, application);
                    assert_eq!(closed.map(|(end, _)| end), open.remove(&(channel.0, side)));
                    if let Some((_, Some((frame, 3)))) = closed {
                        assert_eq!(allocated.remove(&channel.0), Some(frame));
                    }
                }
                let ends = open.keys().filter(|(number, _)| *number == channel.0).count();
                assert_eq!(allocated.contains_key(&channel.0), ends > 0);
                assert_eq!(channels.memory(channel).is_some(), ends > 0);
                let other = Application(channel.0 + 1 - side as u8);
                assert_eq!(
                    channels.peer(channel, application),
                    open.get(&(channel.0, usize::from(other.0 - channel.0))).copied()
                );
            }
        }
    }
}

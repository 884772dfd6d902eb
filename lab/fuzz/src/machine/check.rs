//! What must hold after every step.

use super::{DEVICES, FIRST, FRAMES, Machine, Mapped};
use nom_abi::channel::CHANNELS_MAX;
use nom_kernel_core::channels::Channel;
use nom_kernel_core::devices::Device;
use nom_kernel_core::frames::{Frame, Owner};
use nom_kernel_core::schedule::Context;
use nom_kernel_core::{APPLICATIONS_MAX, Application};

impl Machine<'_> {
    /// No frame, core, device or channel has two owners, or one that is dead.
    pub(super) fn check(&self) {
        let mut owners = vec![Owner::FREE; FRAMES];
        let mut claim = |frame: Frame, owner: Owner| {
            let place = &mut owners[frame.0 as usize];
            assert_eq!(*place, Owner::FREE, "frame {} has two owners", frame.0);
            *place = owner;
        };
        for (&number, living) in &self.living {
            let owner = Owner::application(Application(number));
            for mapped in living.pages.values() {
                match *mapped {
                    Mapped::Own(frame) => claim(frame, owner),
                    Mapped::Device(device) => {
                        assert_eq!(
                            self.devices.owner(device),
                            Some(Application(number)),
                            "registers of another's"
                        );
                    }
                    Mapped::Channel(channel) => {
                        let ends = self.channels.ends(channel);
                        assert!(
                            ends.iter().flatten().any(|end| end.application.0 == number),
                            "a closed channel"
                        );
                    }
                }
            }
            living.contexts.values().for_each(|&frame| claim(frame, owner));
            let contexts: Vec<u8> = self.schedule.of(Application(number)).map(|context| context.0).collect();
            assert!(contexts.iter().eq(living.contexts.keys()), "contexts of {number}");
            let home = self.schedule.core(living.home);
            assert_eq!(home, self.cores.home(Application(number)), "{number} is not at home");
            for context in contexts {
                let core = self.schedule.core(Context(context)).expect("it is somewhere");
                let at_home = living.home.0 == context;
                let owns = self.cores.owner(core) == Some(Application(number));
                assert!(owns || at_home, "{number} runs on a core of another's");
            }
        }
        for channel in (0..CHANNELS_MAX as u8).map(Channel) {
            let ends = self.channels.ends(channel);
            assert_eq!(self.channels.memory(channel).is_some(), ends.iter().any(Option::is_some));
            if let Some((first, pages)) = self.channels.memory(channel) {
                (first.0..first.0 + pages).for_each(|frame| claim(Frame(frame), Owner::channel(channel)));
            }
            for end in ends.iter().flatten() {
                let application = self.schedule.application(end.context);
                assert_eq!(application, Some(end.application), "a channel is heard by nobody");
            }
        }
        for (frame, owner) in owners.iter().enumerate().skip(FIRST as usize) {
            assert_eq!(self.frames.owner(Frame(frame as u64)), *owner, "frame {frame}");
        }
        let free = owners.iter().skip(FIRST as usize).filter(|owner| **owner == Owner::FREE).count();
        assert_eq!(self.frames.free(), free as u64);
        for core in self.cores.all() {
            let owner = self.cores.owner(core);
            assert!(owner.is_none_or(|owner| self.living.contains_key(&owner.0)), "a dead one owns a core");
            let residents = self.cores.residents(core).count();
            assert!(residents == 0 || owner.is_some(), "residents of a free core");
            if let Some(context) = self.schedule.current(core) {
                assert_eq!(self.schedule.core(context), Some(core), "it runs elsewhere");
            }
        }
        let [one, other] = [1, 2].map(|device| self.devices.owner(Device(device)));
        assert!(one.is_none() || other.is_none() || one == other, "a group has two owners");
        for device in (0..DEVICES).map(Device) {
            let owner = self.devices.owner(device);
            for line in self.devices.lines(device) {
                let hears = self.hears[line.number()];
                assert_eq!(hears.and_then(|context| self.schedule.application(context)), owner, "{line:?}");
            }
        }
        let living = self.lives.living().map(|number| number.0);
        assert!(living.eq(self.living.keys().copied()), "who lives");
        assert!(self.living.len() <= usize::from(APPLICATIONS_MAX));
    }
}

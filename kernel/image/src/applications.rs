//! Applications begin and end. What one had comes back when it ends: first nothing of it runs any more, then its devices
//! are reset, then its memory is free.

use core::fmt::Arguments;

use nom_abi::application::NAME_LEN_MAX;
use nom_abi::call::{CallError, PAGE_LEN};
use nom_abi::channel::channel_event;
use nom_abi::exit;
use nom_abi::start::Start;
use nom_abi::upcall::{CORE_LOST, CORE_WANTED, ENDED};
use nom_kernel_core::bundle::{self, Bundle, Part};
use nom_kernel_core::channels::Channel;
use nom_kernel_core::cores::Core;
use nom_kernel_core::frames::{Frame, Owner};
use nom_kernel_core::lives::Restart;
use nom_kernel_core::schedule::Context;
use nom_kernel_core::{Application, elf};

use crate::serial::say;
use crate::state::{Caller, Kernel, Name, Running};
use crate::{end, load, paging, processors};

/// The core that starts applications again: one must be told when.
pub const RESTARTER: Core = Core(0);

/// The applications of a bundle; an application's number is its place here.
pub fn parts<'a>(bundle: &Bundle<'a>) -> impl Iterator<Item = Part<'a>> + use<'a> {
    bundle.parts().filter(|part| part.kind == bundle::Kind::Application)
}

impl Kernel {
    /// The application of this name.
    pub fn numbered(&self, name: &str) -> Result<Application, CallError> {
        let (bundle, _) = self.image.as_ref().ok_or(CallError::NoSuch)?;
        let place = parts(bundle).position(|part| part.name == name).ok_or(CallError::NoSuch)?;
        u8::try_from(place).map(Application).map_err(|_| CallError::NoSuch)
    }

    /// Starts an application; `starter` is nobody when the configuration named it.
    pub fn begin(&mut self, number: Application, starter: Option<Application>) -> Result<(), CallError> {
        self.lives.may_start(number)?;
        let (bundle, configuration) = self.image.ok_or(CallError::NoSuch)?;
        let part = parts(&bundle).nth(usize::from(number.0)).ok_or(CallError::NoSuch)?;
        let file = match elf::application(part.bytes) {
            Ok(file) => file,
            Err(why) => {
                say!("application {} cannot be loaded: {why}", part.name);
                return Err(CallError::NoSuch);
            }
        };
        if !self.schedule.has_room() {
            return Err(CallError::NoMemory);
        }
        let entry = file.entry;
        let mut name = [0; NAME_LEN_MAX as usize];
        name[..part.name.len()].copy_from_slice(part.name.as_bytes());
        let plan = load::Plan {
            number,
            file,
            configuration: bundle.configuration(),
            content: bundle.content(part.name),
            shared: self.shared,
            start: Start {
                magic: 0,
                configuration: 0,
                configuration_len: 0,
                content: 0,
                content_len: 0,
                board: 0,
                clock: 0,
                statistics: 0,
                heap_len: configuration.heap_len(part.name),
                confined: u64::from(self.found.iommu.is_some()),
                cores: u64::from(self.cores.count()),
                trusted: u64::from(configuration.trusted),
                name,
            },
        };
        let space = load::load(&plan, &self.space, &mut self.frames).map_err(|_| CallError::NoMemory)?;
        let core = self.cores.settle(number);
        let Some(home) = self.add_context(number, core, entry, load::STACK_END, load::SHARED) else {
            self.cores.release_all(number);
            space.take_apart(&mut self.frames);
            return Err(CallError::NoMemory);
        };
        let publisher = match configuration.publisher {
            Some(publisher) => publisher == part.name,
            None => number == self.first,
        };
        self.running[usize::from(number.0)] = Some(Running {
            name: Name::new(part.name),
            space,
            reach: None,
            home,
            publisher,
            ports: configuration.ports(part.name),
        });
        self.lives.started(number, starter, crate::clock::now_ns());
        self.show_application(number);
        say!("application {} starts on core {}", part.name, core.0);
        self.relieve();
        Ok(())
    }

    /// A context of an application; it runs when its core looks.
    pub fn add_context(
        &mut self,
        number: Application,
        core: Core,
        entry: u64,
        stack: u64,
        argument: u64,
    ) -> Option<Context> {
        let owner = Owner::application(number);
        let frame = self.frames.allocate(owner)?;
        let Some(context) = self.schedule.add(number, core) else {
            let _ = self.frames.release(frame, owner);
            return None;
        };
        paging::zero(frame);
        self.pages[usize::from(context.0)] = Some(frame);
        self.page(context)?.begin(entry, stack, argument);
        processors::attend(core);
        Some(context)
    }

    /// A context ends. It may run on another core: then it was stopped before this returns.
    fn remove_context(&mut self, context: Context, owner: Owner) {
        let Some(core) = self.schedule.core(context) else { return };
        let runs = self.schedule.current(core) == Some(context);
        self.schedule.remove(context);
        if runs {
            processors::leave(core);
        }
        for last in &mut self.last {
            *last = last.filter(|&last| last != context);
        }
        if let Some(frame) = self.pages[usize::from(context.0)].take() {
            let _ = self.frames.release(frame, owner);
        }
    }

    /// Takes a further core back from an application, with what runs there.
    pub fn take_core(&mut self, core: Core, number: Application) {
        while let Some(context) = crate::state::context_on(self, number, core) {
            self.end_context(context, number);
        }
        self.cores.release(core);
        self.relieve();
        self.show_memory(number);
    }

    /// A further context of an application ends. What it heard, the first one hears from now on.
    pub fn end_context(&mut self, context: Context, number: Application) {
        let Some(home) = self.living(number).map(|running| running.home) else { return };
        self.channels.hear_instead(context, home);
        for line in self.found.lines.iter_mut().filter(|line| line.hears == Some(context)) {
            line.hears = Some(home);
        }
        // What its block holds is not in the schedule any more, and was not handled yet.
        let events = self.schedule.take(context) | self.pending(context);
        self.remove_context(context, Owner::application(number));
        self.post(home, events);
    }

    /// Contexts that asked for it go on on their application's home when this core is taken, and are told. None runs.
    fn move_contexts_home(&mut self, core: Core, number: Application) {
        let Some(home) = self.cores.home(number) else { return };
        for place in 0..self.pages.len() as u8 {
            let context = Context(place);
            let moves =
                self.page(context).and_then(|page| page.upcalls).is_some_and(|upcalls| upcalls.moves != 0);
            if moves && self.schedule.core(context) == Some(core) && self.schedule.move_to(context, home) {
                self.post(context, CORE_LOST);
            }
        }
    }

    /// Whether a context goes on although the further core that it was on was taken.
    pub fn is_displaced(&self, context: Context, number: Application) -> bool {
        let first = self.living(number).map(|running| running.home);
        let core = self.schedule.core(context);
        let own = core.is_some_and(|core| self.cores.owner(core) == Some(number))
            && core != self.cores.home(number);
        Some(context) != first && !own
    }

    /// A core that was asked for and not given back in time is taken.
    pub fn take_overdue(&mut self, here: Core, now_ns: u64) {
        if self.cores.taken_at_ns(here).is_some_and(|at_ns| at_ns <= now_ns)
            && let Some(owner) = self.cores.owner(here)
        {
            self.move_contexts_home(here, owner);
            self.take_core(here, owner);
            self.post_home(owner, CORE_LOST);
        }
    }

    /// Whoever shares a core may move to a free one; when none is free, further cores are asked back.
    pub fn relieve(&mut self) {
        loop {
            let runs = |context| {
                let core = self.schedule.core(context);
                core.is_some_and(|core| self.schedule.current(core) == Some(context))
            };
            let may_move = |mover| self.living(mover).is_some_and(|running| !runs(running.home));
            let Some((mover, core)) = self.cores.relief(may_move) else { break };
            let Some(home) = self.living(mover).map(|running| running.home) else { break };
            if !self.schedule.move_to(home, core) {
                break;
            }
            self.cores.move_home(mover, core);
            processors::attend(core);
        }
        self.show_cores();
        // Who runs at the moment moves when it rests.
        self.may_relieve = self.cores.relief(|_| true).is_some();
        if let Some((core, owner)) = self.cores.want_back(crate::clock::now_ns()) {
            self.post_home(owner, CORE_WANTED);
            processors::attend(core);
        }
    }

    /// Ends an application; `why` when that was not its own wish.
    pub fn end(&mut self, number: Application, code: u8, why: Option<Arguments<'_>>) {
        let Some(running) = self.running[usize::from(number.0)].take() else { return };
        let owner = Owner::application(number);
        if let Some(why) = why {
            say!("application {} ended: {why}", running.name);
        }
        loop {
            let next = self.schedule.of(number).next();
            let Some(context) = next else { break };
            self.remove_context(context, owner);
        }
        processors::leave_space(&running.space);
        loop {
            let next = self.devices.owned(number).next();
            let Some(device) = next else { break };
            self.take_device(device, None);
        }
        if let Some(reach) = running.reach {
            reach.take_apart(&mut self.frames);
        }
        while let Some(channel) = self.channels.any_of(number) {
            self.close_channel(channel, number, None);
        }
        self.cores.release_all(number);
        running.space.take_apart(&mut self.frames);
        let leaked = self.frames.count(owner);
        say!(
            "application {} ended with code {code}; {leaked} frames leaked, {} in the kernel",
            running.name,
            self.frames.count(Owner::KERNEL)
        );
        if number == self.decides {
            self.code = code;
        }
        let policy = self.image.and_then(|(bundle, configuration)| {
            parts(&bundle).nth(usize::from(number.0)).map(|part| configuration.restart(part.name))
        });
        let on_purpose = code == exit::ENDED;
        let now_ns = crate::clock::now_ns();
        let policy = policy.unwrap_or(Restart::Never);
        let again_ns = self.lives.ended(number, code, policy, on_purpose, now_ns);
        self.show_application(number);
        if let Some(at_ns) = again_ns {
            say!(
                "application {} starts again in {} ms",
                running.name,
                at_ns.saturating_sub(now_ns) / 1_000_000
            );
            processors::attend(RESTARTER);
        }
        if self.lives.is_over() || self.ends_all && self.lives.is_gone(self.decides) {
            end::machine(self.code);
        }
        self.relieve();
        self.post_all(ENDED);
    }

    /// Starts those again whose pause is over.
    pub fn restart_due(&mut self, now_ns: u64) {
        while let Some(number) = self.lives.due(now_ns) {
            if let Err(error) = self.begin(number, None) {
                say!("application {} cannot start again: {error:?}", number.0);
                self.lives.give_up(number);
                if self.lives.is_over() || self.ends_all && self.lives.is_gone(self.decides) {
                    end::machine(self.code);
                }
            }
        }
    }

    /// Closes an application's end of a channel and, while it lives, takes the memory out of its space.
    pub fn close_channel(&mut self, channel: Channel, number: Application, caller: Option<&Caller>) {
        let peer = self.channels.peer(channel, number);
        let memory = self.channels.memory(channel);
        let Some((end, free)) = self.channels.close(channel, number) else { return };
        self.show_channel(channel);
        if let (Some(caller), Some((_, pages))) = (caller, memory) {
            for page in 0..pages {
                caller.space.unmap(end.address + page * PAGE_LEN);
            }
            processors::forget(&caller.space);
        }
        if let Some((first, pages)) = free {
            for page in 0..pages {
                let _ = self.frames.release(Frame(first.0 + page), Owner::channel(channel));
            }
        }
        if let Some(peer) = peer {
            self.post(peer.context, channel_event(u32::from(channel.0)));
        }
    }
}

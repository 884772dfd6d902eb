//! A machine of decisions alone: frames, cores, devices, channels and applications that start, call and die at any
//! point, as the bytes of an input say.
//!
//! Every decision is the kernel's own (`kernel/core`); here is only what its image does with the answers, with a map
//! from addresses to frames in place of page tables. After every step nothing may have two owners or none that lives,
//! and at the end, when everybody is dead, everything must be free again.

mod check;
mod facts;

use facts::Calling;
use nom_abi::call::{CALLS, Call, CallError, FOREVER, PAGE_LEN, USER_END};
use nom_abi::channel::channel_event;
use nom_abi::device::DEVICES_MAX;
use nom_abi::upcall::{CORE_LOST, CORE_WANTED, ENDED};
use nom_kernel_core::Application;
use nom_kernel_core::call::{Request, channel_fits, decode};
use nom_kernel_core::channels::{Channel, Channels, End};
use nom_kernel_core::cores::{Core, Cores};
use nom_kernel_core::devices::{Device, Devices, LINES_MAX, Line, within};
use nom_kernel_core::frames::{Frame, Frames, Owner, Shape};
use nom_kernel_core::lives::{Lives, Restart};
use nom_kernel_core::schedule::{Context, Schedule};
use std::collections::BTreeMap;

/// Frames of the machine.
const FRAMES: usize = 400;
/// The first of them; those below are not memory.
const FIRST: u64 = 8;
/// Applications of its image, and what the first thing is that each of them maps.
const APPLICATIONS: u8 = 6;
const OWN_PAGES: u64 = 4;
const DEVICES: u32 = 3;
/// The ports of each: neighbours, which nobody may run over.
fn device_ports(device: u32) -> (u16, u16) {
    (0x1000 + 4 * device as u16, 4)
}
/// Interrupts of each.
const VECTORS: u32 = 2;
const CHANNEL_PAGES: u64 = 3;
/// Where applications map things: few places, so that they collide.
const PLACES: u64 = 0x40_0000;
/// Bytes of an input that make a step.
const STEP_LEN: usize = 5;

/// What is mapped somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mapped {
    Own(Frame),
    Channel(Channel),
    Device(Device),
}

/// An application that lives.
#[derive(Debug)]
struct Living {
    pages: BTreeMap<u64, Mapped>,
    contexts: BTreeMap<u8, Frame>,
    home: Context,
}

struct Machine<'a> {
    frames: Frames<'a>,
    cores: Cores,
    devices: Devices,
    channels: Channels,
    lives: Lives,
    schedule: Schedule,
    living: BTreeMap<u8, Living>,
    /// Where each device is mapped.
    windows: [u64; DEVICES_MAX as usize],
    /// Who hears each interrupt.
    hears: [Option<Context>; LINES_MAX],
    now_ns: u64,
}

impl<'a> Machine<'a> {
    fn new(table: &'a mut [u8], cores: usize) -> Machine<'a> {
        let mut frames = Frames::new(table);
        frames.offer(Frame(FIRST), u64::MAX);
        let mut devices = Devices::new();
        for kind in 0..DEVICES as u16 {
            // The last two cannot be told apart: they belong to one application at a time.
            let group = kind.min(1);
            let device = devices.add(kind, kind + 1, group, false).expect("there is room");
            devices.set_vectors(device, VECTORS);
            devices.set_ports(device, device_ports(device.0));
        }
        Machine {
            frames,
            cores: Cores::new(cores),
            devices,
            channels: Channels::new(),
            lives: Lives::new(usize::from(APPLICATIONS)),
            schedule: Schedule::new(),
            living: BTreeMap::new(),
            windows: [0; DEVICES_MAX as usize],
            hears: [None; LINES_MAX],
            now_ns: 0,
        }
    }

    fn context_on(&self, number: Application, core: Core) -> Option<Context> {
        let mut contexts = self.schedule.on(core);
        contexts.find(|&context| self.schedule.application(context) == Some(number))
    }

    fn own(&mut self, number: Application) -> &mut Living {
        self.living.get_mut(&number.0).expect("it lives")
    }

    fn post(&mut self, context: Context, events: u64) {
        let told = self.schedule.post(context, events).is_some();
        assert!(told || events == 0, "events for a context that is not there");
    }

    fn post_home(&mut self, number: Application, events: u64) {
        if let Some(home) = self.living.get(&number.0).map(|living| living.home) {
            self.post(home, events);
        }
    }

    fn begin(&mut self, number: Application, starter: Option<Application>) -> Result<(), CallError> {
        self.lives.may_start(number)?;
        if !self.schedule.has_room() || self.frames.free() < OWN_PAGES + 1 {
            return Err(CallError::NoMemory);
        }
        let owner = Owner::application(number);
        let pages = (0..OWN_PAGES).map(|page| {
            let frame = self.frames.allocate(owner).expect("they were counted");
            (PLACES / PAGE_LEN + page, Mapped::Own(frame))
        });
        let pages = pages.collect();
        let core = self.cores.settle(number);
        let home = self.schedule.add(number, core).expect("there was room");
        let frame = self.frames.allocate(owner).expect("they were counted");
        self.living.insert(number.0, Living { pages, contexts: BTreeMap::from([(home.0, frame)]), home });
        self.lives.started(number, starter, self.now_ns);
        self.relieve();
        Ok(())
    }

    fn remove_context(&mut self, number: Application, context: Context) {
        self.schedule.remove(context);
        let frame = self.own(number).contexts.remove(&context.0).expect("it has a page");
        assert_eq!(self.frames.release(frame, Owner::application(number)), Ok(()));
    }

    fn release(&mut self, device: Device, owner: Application) {
        self.devices.lines(device).for_each(|line| self.hears[line.number()] = None);
        let events = self.devices.release(device);
        self.schedule.forget(owner, events);
    }

    fn take_core(&mut self, core: Core, number: Application) {
        let home = self.living[&number.0].home;
        while let Some(context) = self.context_on(number, core) {
            self.channels.hear_instead(context, home);
            for hears in &mut self.hears {
                *hears = hears.map(|hears| if hears == context { home } else { hears });
            }
            let events = self.schedule.take(context);
            self.remove_context(number, context);
            self.post(home, events);
        }
        self.cores.release(core);
        self.relieve();
    }

    fn relieve(&mut self) {
        loop {
            let rests = |number: Application| {
                let home = self.living.get(&number.0).map(|living| living.home);
                home.is_some_and(|home| {
                    self.schedule.core(home).is_some_and(|core| self.schedule.current(core) != Some(home))
                })
            };
            let Some((mover, core)) = self.cores.relief(rests) else { break };
            let home = self.living[&mover.0].home;
            assert!(self.schedule.move_to(home, core), "it rests");
            self.cores.move_home(mover, core);
        }
        if let Some((_, owner)) = self.cores.want_back(self.now_ns) {
            self.post_home(owner, CORE_WANTED);
        }
    }

    fn close_channel(&mut self, channel: Channel, number: Application) {
        let peer = self.channels.peer(channel, number);
        let (end, free) = self.channels.close(channel, number).expect("it is open");
        if let Some(living) = self.living.get_mut(&number.0) {
            for page in 0..CHANNEL_PAGES {
                let mapped = living.pages.remove(&(end.address / PAGE_LEN + page));
                assert_eq!(mapped, Some(Mapped::Channel(channel)));
            }
        }
        if let Some((first, pages)) = free {
            for frame in first.0..first.0 + pages {
                assert_eq!(self.frames.release(Frame(frame), Owner::channel(channel)), Ok(()));
            }
        }
        if let Some(peer) = peer {
            self.post(peer.context, channel_event(u32::from(channel.0)));
        }
    }

    fn end(&mut self, number: Application, code: u8, on_purpose: bool) {
        let owner = Owner::application(number);
        loop {
            let next = self.schedule.of(number).next();
            let Some(context) = next else { break };
            self.remove_context(number, context);
        }
        let living = self.living.remove(&number.0).expect("it lives");
        assert!(living.contexts.is_empty(), "a context's page is left");
        loop {
            let next = self.devices.owned(number).next();
            let Some(device) = next else { break };
            self.windows[device.0 as usize] = 0;
            self.release(device, number);
        }
        while let Some(channel) = self.channels.any_of(number) {
            self.close_channel(channel, number);
        }
        self.cores.release_all(number);
        for mapped in living.pages.values() {
            if let Mapped::Own(frame) = mapped {
                assert_eq!(self.frames.release(*frame, owner), Ok(()));
            }
        }
        assert_eq!((self.frames.held(owner), self.frames.count(owner)), (0, 0), "frames leaked");
        let policy = if number.0 == 2 { Restart::Always(3) } else { Restart::Never };
        let _ = self.lives.ended(number, code, policy, on_purpose, self.now_ns);
        self.relieve();
        for other in 0..APPLICATIONS {
            self.post_home(Application(other), ENDED);
        }
    }

    /// What is due on a core, and who runs there then.
    fn look(&mut self, core: Core) -> Option<Application> {
        while let Some(number) = self.lives.due(self.now_ns) {
            if self.begin(number, None).is_err() {
                self.lives.give_up(number);
            }
        }
        if self.cores.taken_at_ns(core).is_some_and(|at_ns| at_ns <= self.now_ns)
            && let Some(owner) = self.cores.owner(core)
        {
            self.take_core(core, owner);
            self.post_home(owner, CORE_LOST);
        }
        self.schedule.due(core, self.now_ns);
        if self.schedule.preempts(core, self.now_ns) {
            self.schedule.preempt(core, self.now_ns);
            self.relieve();
        }
        let current = self.schedule.current(core);
        let context =
            current.or_else(|| self.schedule.pick(core, self.now_ns).map(|picked| picked.context))?;
        self.schedule.take(context);
        self.schedule.application(context)
    }

    fn call(&mut self, core: Core, number: u64, arguments: [u64; 5]) {
        let Some(caller) = self.look(core) else { return };
        let context = self.schedule.current(core).expect("it runs");
        let facts = Calling { machine: self, caller };
        let Ok(request) = decode(number, arguments, &facts) else { return };
        let owner = Owner::application(caller);
        match request {
            Request::Exit { code } => self.end(caller, code, false),
            Request::AcquireCore { core, .. } => {
                self.cores.acquire(core, caller);
                let frame = self.frames.allocate(owner).expect("it was counted");
                let context = self.schedule.add(caller, core).expect("there was room");
                self.own(caller).contexts.insert(context.0, frame);
            }
            Request::ReleaseCore(core) => self.take_core(core, caller),
            Request::Map { address, pages, shape, .. } => {
                let mut from = Frame(0);
                for page in 0..pages {
                    let within = page % shape.count;
                    let frame = match shape {
                        Shape::ANY => self.frames.allocate(owner).expect("they were counted"),
                        _ if within > 0 => Frame(from.0 + within),
                        _ => self.frames.take(shape, from, owner).expect("they were found"),
                    };
                    from = Frame(frame.0 - within);
                    let before = self.own(caller).pages.insert(address / PAGE_LEN + page, Mapped::Own(frame));
                    assert_eq!(before, None, "mapped twice");
                }
            }
            Request::Unmap { address, pages } => {
                let range = address / PAGE_LEN..address / PAGE_LEN + pages;
                let places: Vec<u64> = self.own(caller).pages.range(range).map(|(&place, _)| place).collect();
                for place in places {
                    let mapped = self.own(caller).pages.remove(&place);
                    let Some(Mapped::Own(frame)) = mapped else { panic!("unmapped {mapped:?}") };
                    assert_eq!(self.frames.release(frame, owner), Ok(()));
                }
            }
            Request::AcquireDevice { device, address, .. } => {
                self.devices.acquire(device, caller);
                for page in 0..device_pages(device) {
                    let place = address / PAGE_LEN + page;
                    assert_eq!(self.own(caller).pages.insert(place, Mapped::Device(device)), None);
                }
                self.windows[device.0 as usize] = address;
                for line in self.devices.lines(device) {
                    self.hears[line.number()] = Some(context);
                }
            }
            Request::ReleaseDevice(device) => {
                let window = core::mem::take(&mut self.windows[device.0 as usize]);
                for page in 0..device_pages(device) {
                    let mapped = self.own(caller).pages.remove(&(window / PAGE_LEN + page));
                    assert_eq!(mapped, Some(Mapped::Device(device)));
                }
                self.release(device, caller);
            }
            Request::Port { port, bytes, .. } => {
                let own = (0..DEVICES).find(|&device| within(port, bytes, device_ports(device)));
                let owner = own.and_then(|device| self.devices.owner(Device(device)));
                assert_eq!(owner, Some(caller), "a foreign port was reached");
            }
            Request::Steer { line, event } => {
                assert_eq!(self.devices.owner(line.device), Some(caller), "a foreign device was steered");
                self.devices.steer(line, event);
            }
            Request::Unmask { events } | Request::Wait { events, .. } => {
                for line in self.devices.told_as(events, caller) {
                    assert_eq!(
                        self.devices.owner(line.device),
                        Some(caller),
                        "a foreign device was unmasked"
                    );
                    self.hears[line.number()] = Some(context);
                }
                if let Request::Wait { until_ns, .. } = request {
                    self.schedule.block(core, until_ns, self.now_ns);
                    self.relieve();
                }
            }
            Request::SetTimer { at_ns } => self.schedule.set_timer(context, at_ns),
            // The name's place stands for the name.
            Request::StartApplication(name) => {
                let _ = self.begin(named(name.text), Some(caller));
            }
            Request::EndApplication(name) => {
                let number = named(name.text);
                if self.lives.may_end(number, caller).is_ok() {
                    self.end(number, nom_abi::exit::ENDED, true);
                }
            }
            Request::OpenChannel { name, address } => self.open_channel(caller, context, name.text, address),
            Request::CloseChannel(channel) => self.close_channel(channel, caller),
            Request::NotifyChannel(channel) => {
                let peer = self.channels.peer(channel, caller).expect("it was checked");
                assert_ne!(peer.application, caller);
                self.post(peer.context, channel_event(u32::from(channel.0)));
            }
            Request::CallCore(core) => {
                let context = self.context_on(caller, core).expect("it was checked");
                self.post(context, nom_abi::upcall::CALLED);
            }
            _ => {}
        }
    }

    /// Channel n joins applications n and n + 1.
    fn open_channel(&mut self, caller: Application, context: Context, name: u64, address: u64) {
        let channel = Channel(named(name).0);
        let Some(side) = caller.0.checked_sub(channel.0).filter(|side| *side < 2) else { return };
        if self.channels.may_open(channel, usize::from(side)).is_err() {
            return;
        }
        let there = self.channels.memory(channel);
        let facts = Calling { machine: self, caller };
        if channel_fits(address, CHANNEL_PAGES, there.is_none(), &facts).is_err() {
            return;
        }
        let mut fresh =
            || self.frames.take(Shape::together(CHANNEL_PAGES), Frame(0), Owner::channel(channel));
        let Some(memory) = there.or_else(|| fresh().map(|first| (first, CHANNEL_PAGES))) else { return };
        for page in 0..CHANNEL_PAGES {
            let place = address / PAGE_LEN + page;
            assert_eq!(self.own(caller).pages.insert(place, Mapped::Channel(channel)), None);
        }
        self.channels.open(channel, usize::from(side), End { application: caller, context, address }, memory);
        if let Some(peer) = self.channels.peer(channel, caller) {
            self.post(peer.context, channel_event(u32::from(channel.0)));
        }
    }
}

fn device_pages(device: Device) -> u64 {
    u64::from(device.0) + 1
}

fn named(place: u64) -> Application {
    Application((place / 8 % u64::from(APPLICATIONS)) as u8)
}

/// The last two are read by `Map` alone, or by nobody: mostly no colours, sometimes some, now and then nonsense.
fn arguments(one: u64, two: u64, three: u64) -> [u64; 5] {
    match one.wrapping_add(two).wrapping_add(three) % 8 {
        0..5 => [one, two, three, 0, 0],
        5 => [one, two, three, 2, 1],
        6 => [one, two, three, 8, two % 8],
        _ => [one, two, three, one, two],
    }
}

/// An argument of a call: often one that fits, sometimes one that hurts.
fn argument(byte: u8) -> u64 {
    let small = u64::from(byte & 0x3f);
    match byte >> 6 {
        0 => small & 7,
        1 => PLACES + small * PAGE_LEN,
        2 => PLACES + small * 8,
        _ => [u64::MAX, USER_END, 0, FOREVER - 1, 1 << 63, PAGE_LEN, 0xffff << 16, PLACES + 1]
            [(byte & 7) as usize],
    }
}

/// Plays an input.
pub fn play(bytes: &[u8]) {
    let Some((&first, steps)) = bytes.split_first() else { return };
    let mut table = vec![0; FRAMES];
    let mut machine = Machine::new(&mut table, 1 + usize::from(first % 8));
    let total = machine.frames.free();
    for step in steps.chunks_exact(STEP_LEN) {
        let core = Core((step[0] >> 5) % machine.cores.count());
        machine.now_ns = machine.now_ns.saturating_add(u64::from(step[4]) * 100_000);
        let number = Application(step[1] % APPLICATIONS);
        match step[0] & 0x1f {
            // What comes from outside of ring 3.
            0x1c => drop(machine.begin(number, None)),
            0x1d if machine.living.contains_key(&number.0) => {
                machine.end(number, nom_abi::exit::FAULTED, false)
            }
            0x1e => {
                let device = Device(u32::from(step[1]) % DEVICES);
                let line = Line { device, vector: u32::from(step[2]) % VECTORS };
                if let Some(context) = machine.hears[line.number()] {
                    machine.post(context, machine.devices.event(line));
                }
            }
            0x1f | 0x1d => drop(machine.look(core)),
            kind => {
                let kind = usize::from(kind) % CALLS.len();
                let [one, two, three] = [step[1], step[2], step[3]].map(argument);
                machine.call(core, CALLS[kind] as u64, arguments(one, two, three));
            }
        }
        machine.check();
    }
    for number in 0..APPLICATIONS {
        if machine.living.contains_key(&number) {
            machine.end(Application(number), 0, true);
        }
        machine.check();
    }
    assert_eq!(machine.frames.free(), total, "frames are lost");
    assert!(machine.cores.all().all(|core| machine.cores.owner(core).is_none()), "a core is lost");
    assert!((0..DEVICES).all(|device| machine.devices.owner(Device(device)).is_none()), "a device is lost");
}

/// Inputs in which much happens.
pub fn seeds() -> Vec<Vec<u8>> {
    let busy = |cores: u8| {
        let mut bytes = vec![cores - 1];
        for number in 0..APPLICATIONS {
            bytes.extend([0x1c, number, 0, 0, 1]);
        }
        for (kind, call) in CALLS.iter().enumerate() {
            if matches!(call, Call::Exit) {
                continue;
            }
            for core in 0..cores.min(4) {
                bytes.extend([core << 5 | kind as u8, core + 1, 0x41, 0x48, 3]);
                bytes.extend([core << 5 | kind as u8, 0x50 + core, 2, 1, 0]);
                bytes.extend([core << 5 | kind as u8, 0x80, 3, 0x60, 90]);
            }
        }
        bytes
    };
    [1, 2, 4, 8].map(busy).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn long_random_histories_lose_nothing_and_share_nothing() {
        for seed in 1..=24 {
            let mut random = Random::new(seed);
            let mut bytes = vec![seed as u8];
            bytes.extend((0..5_000 * STEP_LEN).map(|_| random.below(256) as u8));
            play(&bytes);
        }
    }

    /// A history in which nothing is ever granted would prove nothing.
    #[test]
    fn histories_do_something() {
        let mut granted = [0_u32; 5];
        for seed in 1..=4 {
            let mut random = Random::new(seed);
            let mut table = vec![0; FRAMES];
            let mut machine = Machine::new(&mut table, 8);
            for number in 0..3 {
                machine.begin(Application(number), None).unwrap();
            }
            for _ in 0..20_000 {
                let kind = random.below(CALLS.len() as u64) as usize;
                let [one, two, three] = [0; 3].map(|_: u8| argument(random.below(256) as u8));
                let sleeps = matches!(CALLS[kind], Call::Wait) && random.below(16) > 0;
                if sleeps || matches!(CALLS[kind], Call::Exit) {
                    continue;
                }
                let core = Core(random.below(8) as u8);
                machine.now_ns += 50_000;
                machine.call(core, CALLS[kind] as u64, arguments(one, two, three));
                machine.check();
                granted[0] += u32::from(machine.living.len() > 3);
                granted[1] += u32::from(machine.living.values().any(|living| living.contexts.len() > 1));
                granted[2] +=
                    u32::from((0..DEVICES).any(|device| machine.devices.owner(Device(device)).is_some()));
                let open = |channel: u8| machine.channels.ends(Channel(channel)).iter().any(Option::is_some);
                granted[3] += u32::from((0..APPLICATIONS).any(open));
                granted[4] += u32::from(machine.frames.free() < 350);
            }
        }
        assert!(granted.iter().all(|count| *count > 100), "{granted:?}");
    }
}

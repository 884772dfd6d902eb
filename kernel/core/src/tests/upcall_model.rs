//! Upcalls on several cores, explored: every interleaving of what two contexts of an application do in ring 3 with
//! events from other cores, with the revocation of one of the cores, with faults, and with a peer that notifies and dies.
//!
//! The kernel's side is the very code that ships: `upcall`, `schedule`, `cores`, `channels`. Around it stands what the
//! image does with their answers, under its lock, a step at a time; in ring 3 stands what the runtime does, an
//! instruction that matters at a time. Time stands still, except that the deadline of a revocation may come.
//!
//! An event counts as lost when it was posted and nobody took it afterwards, although everybody is at rest; as
//! doubled when it was taken more often than posted.
#![cfg(test)]

extern crate std;

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::vec::Vec;

use nom_abi::call::FOREVER;
use nom_abi::channel::channel_event;
use nom_abi::upcall::{CORE_LOST, CORE_WANTED, NESTING_MAX, device_event};

use crate::Application;
use crate::channels::{Channel, Channels, End};
use crate::cores::{Core, Cores, REVOCATION_NS};
use crate::frames::Frame;
use crate::schedule::{Context, Schedule};
use crate::upcall::{Step, View, asynchronous, fault};

const OURS: Application = Application(0);
const PEER: Application = Application(1);
const CHANNEL: Channel = Channel(0);
const DEVICE: u64 = device_event(0);
const NEWS: u64 = channel_event(0);
const EVENTS: [u64; 4] = [DEVICE, NEWS, CORE_WANTED, CORE_LOST];
const HOME: usize = 0;
const FAR: usize = 1;

/// Where a context is in ring 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum At {
    /// A further context that has not registered its upcalls yet.
    Starting,
    /// In the program, upcalls enabled.
    Program,
    /// The program has disabled upcalls.
    Closed,
    /// `enable` has set the flag and not yet looked at the pending bits.
    Opened,
    /// In the `Wait` call.
    Waiting,
    /// At the first instruction of the handler of events.
    Entered,
    /// The handler of events has taken what was pending.
    Handled,
    /// In a handler of faults.
    Faulted,
    /// About to compare pending with 0: the range begins.
    Compare,
    /// Found nothing; about to enable.
    Enable,
    /// Enabled; about to execute the range's last instruction.
    Return,
    /// At `again`.
    Again,
}

/// A frame on an upcall stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Saved {
    at: At,
    was_enabled: bool,
}

/// One context as ring 3 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Program {
    context: Context,
    at: At,
    registered: bool,
    enabled: bool,
    pending: u64,
    /// What the block says.
    nesting: u64,
    frames: [Option<Saved>; NESTING_MAX as usize],
}

impl Program {
    fn new(context: Context, at: At) -> Program {
        let running = at == At::Program;
        let frames = [None; NESTING_MAX as usize];
        Program { context, at, registered: running, enabled: running, pending: 0, nesting: 0, frames }
    }

    fn depth(&self) -> usize {
        self.frames.iter().flatten().count()
    }

    fn view(&self) -> View {
        View {
            enabled: self.enabled,
            pending: self.pending != 0,
            nesting: self.nesting,
            returning: matches!(self.at, At::Compare | At::Enable | At::Return),
        }
    }

    /// The kernel puts a frame on the stack.
    fn enter(&mut self, was_enabled: bool, nesting: u64, handler: At) {
        let depth = self.depth();
        self.frames[depth] = Some(Saved { at: self.at, was_enabled });
        (self.enabled, self.nesting, self.at) = (false, nesting, handler);
    }

    fn top(&self) -> Saved {
        self.frames[self.depth() - 1].expect("a frame is in use")
    }

    /// The way back out of a handler.
    fn leave(&mut self) {
        if self.top().was_enabled {
            assert_eq!(self.depth(), 1, "enabled under a frame: {self:?}");
            self.nesting = 0;
            self.at = At::Compare;
        } else {
            self.at = self.top().at;
            self.nesting -= 1;
            self.frames[self.depth() - 1] = None;
        }
    }
}

/// Does something to a copy of a world.
type Then<'a> = &'a mut dyn FnMut(&dyn Fn(&mut World));

/// What may still come from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Ahead {
    interrupts: u8,
    notifications: u8,
    faults: u8,
    /// The peer may start where no core is free, and die.
    squeeze: bool,
    death: bool,
    /// The application may acquire the core once more.
    acquire: bool,
}

#[derive(Debug, Clone)]
struct World {
    schedule: Schedule,
    cores: Cores,
    channels: Channels,
    programs: [Option<Program>; 2],
    hears_device: Context,
    attention: [bool; 2],
    peer: Option<Context>,
    ahead: Ahead,
    /// The application was ended.
    ended: bool,
    /// How often each event was posted more than taken.
    posted: [u8; 4],
    /// It was posted, and not taken since.
    fresh: [bool; 4],
}

impl World {
    /// The application on two cores; what it hears, it hears on the further one.
    fn new(ahead: Ahead) -> World {
        let (mut schedule, mut cores, mut channels) = (Schedule::new(), Cores::new(2), Channels::new());
        let home_core = cores.settle(OURS);
        let home = schedule.add(OURS, home_core).unwrap();
        assert_eq!(cores.may_acquire(Core(1), OURS), Ok(()));
        cores.acquire(Core(1), OURS);
        let far = schedule.add(OURS, Core(1)).unwrap();
        let end = End { application: OURS, context: far, address: 0x10_0000 };
        channels.open(CHANNEL, 0, end, (Frame(7), 1));
        for core in [Core(0), Core(1)] {
            schedule.pick(core, 0);
        }
        World {
            schedule,
            cores,
            channels,
            programs: [Some(Program::new(home, At::Program)), Some(Program::new(far, At::Program))],
            hears_device: far,
            attention: [false; 2],
            peer: None,
            ahead,
            ended: false,
            posted: [0; 4],
            fresh: [false; 4],
        }
    }

    fn key(&self) -> u128 {
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            salt.hash(&mut hasher);
            self.schedule.hash_used(&mut hasher);
            let ends = self.channels.ends(CHANNEL).map(|end| end.map(|end| (end.application, end.context)));
            (&self.cores, ends, &self.programs, self.hears_device).hash(&mut hasher);
            (self.attention, self.peer, self.ahead, self.ended, self.posted, self.fresh).hash(&mut hasher);
            u128::from(hasher.finish())
        };
        half(1) << 64 | half(2)
    }

    fn program(&mut self, which: usize) -> &mut Program {
        self.programs[which].as_mut().expect("it runs")
    }

    fn which(&self, context: Context) -> Option<usize> {
        self.programs.iter().position(|program| program.is_some_and(|program| program.context == context))
    }

    /// Somebody means these events for the application.
    fn post_new(&mut self, context: Context, events: u64) {
        for (place, event) in EVENTS.into_iter().enumerate() {
            if events & event != 0 && !self.ended {
                self.posted[place] += 1;
                self.fresh[place] = true;
            }
        }
        self.post(context, events);
    }

    fn post(&mut self, context: Context, events: u64) {
        if let Some(core) = self.schedule.post(context, events) {
            self.attention[usize::from(core.0)] = true;
        }
    }

    /// Ring 3 has these events in its hands.
    fn taken(&mut self, events: u64) {
        for (place, event) in EVENTS.into_iter().enumerate() {
            if events & event != 0 {
                assert!(self.posted[place] > 0, "event {event:#x} came twice: {self:?}");
                self.posted[place] -= 1;
                self.fresh[place] = false;
            }
        }
    }

    fn pending(&mut self, which: usize) -> u64 {
        let program = self.program(which);
        if program.registered { core::mem::take(&mut program.pending) } else { 0 }
    }

    // What the image does with the answers, under its lock.

    /// Before the way back to ring 3.
    fn look(&mut self, which: usize, core: Core) {
        self.attention[usize::from(core.0)] = false;
        self.schedule.due(core, 0);
        assert!(!self.schedule.preempts(core, 0), "nobody else is runnable");
        let context = self.program(which).context;
        if !self.program(which).registered {
            return;
        }
        let events = self.schedule.take(context);
        let program = self.program(which);
        program.pending |= events;
        match asynchronous(program.view()) {
            Step::Resume => {}
            Step::Restart => (program.enabled, program.at) = (false, At::Again),
            Step::Enter { was_enabled, nesting } => {
                assert!(was_enabled && program.depth() == 0, "entered above a frame: {program:?}");
                program.enter(was_enabled, nesting, At::Entered);
            }
            Step::End => panic!("ended for an event"),
        }
    }

    /// A core without a context looks for one.
    fn next(&mut self, core: Core) {
        self.attention[usize::from(core.0)] = false;
        self.schedule.due(core, 0);
        let Some(picked) = self.schedule.pick(core, 0) else { return };
        let which = self.which(picked.context).expect("the peer never runs");
        if picked.asked {
            let events = self.schedule.take(picked.context) | self.pending(which);
            self.taken(events);
            self.program(which).at = At::Opened;
            self.program(which).enabled = true;
        } else {
            self.look(which, core);
        }
    }

    fn wait(&mut self, which: usize, core: Core) {
        self.schedule.due(core, 0);
        let context = self.program(which).context;
        let came = self.schedule.take(context) | self.pending(which);
        self.taken(came);
        if came != 0 {
            self.program(which).at = At::Opened;
            self.program(which).enabled = true;
            return;
        }
        self.program(which).at = At::Waiting;
        self.schedule.block(core, FOREVER, 0);
        self.attention[usize::from(core.0)] = true;
    }

    /// The further core goes back, with what runs there.
    fn take_core(&mut self) {
        let home = self.program(HOME).context;
        if let Some(far) = self.programs[FAR] {
            self.channels.hear_instead(far.context, home);
            if self.hears_device == far.context {
                self.hears_device = home;
            }
            let events = self.schedule.take(far.context) | self.pending(FAR);
            self.schedule.remove(far.context);
            self.programs[FAR] = None;
            self.attention[1] = true;
            self.post(home, events);
        }
        self.cores.release(Core(1));
        self.relieve();
    }

    fn relieve(&mut self) {
        while let Some((mover, core)) = self.cores.relief(|mover| mover == PEER) {
            assert_eq!((Some(mover), core), (Some(PEER), Core(1)));
            let moved = self.schedule.move_to(self.peer.expect("it lives"), core);
            assert!(moved, "what sleeps can move");
            self.cores.move_home(mover, core);
            self.attention[usize::from(core.0)] = true;
        }
        if let Some((core, owner)) = self.cores.want_back(0) {
            assert_eq!((core, owner), (Core(1), OURS));
            let home = self.program(HOME).context;
            self.post_new(home, CORE_WANTED);
            self.attention[1] = true;
        }
    }

    fn end(&mut self) {
        self.ended = true;
        for program in self.programs.iter_mut().filter_map(Option::take) {
            self.schedule.remove(program.context);
        }
        self.channels.close(CHANNEL, OURS);
        self.cores.release_all(OURS);
        assert!(self.cores.all().all(|core| self.cores.owner(core) != Some(OURS)));
        assert_eq!(self.schedule.of(OURS).count(), 0);
    }

    // What may happen next.

    fn steps(&self, out: &mut Vec<World>) {
        if self.ended {
            return;
        }
        let mut then = |work: &dyn Fn(&mut World)| {
            let mut world = self.clone();
            work(&mut world);
            out.push(world);
        };
        if self.ahead.interrupts > 0 {
            then(&|world| {
                world.ahead.interrupts -= 1;
                world.post_new(world.hears_device, DEVICE);
            });
        }
        if let Some(peer) = self.peer {
            let ours = self.channels.peer(CHANNEL, PEER).expect("our end is open");
            if self.ahead.notifications > 0 {
                then(&|world| {
                    world.ahead.notifications -= 1;
                    world.post_new(ours.context, NEWS);
                });
            }
            if self.ahead.death {
                then(&|world| {
                    world.ahead.death = false;
                    world.peer = None;
                    world.schedule.remove(peer);
                    let closed = world.channels.close(CHANNEL, PEER);
                    assert!(closed.is_some_and(|(_, memory)| memory.is_none()), "our end still has it");
                    world.post_new(ours.context, NEWS);
                    world.cores.release_all(PEER);
                    world.relieve();
                });
            }
        } else if self.ahead.squeeze {
            then(&|world| {
                world.ahead.squeeze = false;
                let core = world.cores.settle(PEER);
                let context = world.schedule.add(PEER, core).expect("there is room");
                // It sleeps all the time: what it does happens while others run.
                world.schedule.put_to_sleep(context);
                world.peer = Some(context);
                let end = End { application: PEER, context, address: 0x20_0000 };
                let memory = world.channels.memory(CHANNEL).expect("it is open");
                world.channels.open(CHANNEL, 1, end, memory);
                world.relieve();
            });
        }
        if self.cores.taken_at_ns(Core(1)) == Some(REVOCATION_NS) {
            then(&|world| {
                world.take_core();
                let home = world.program(HOME).context;
                world.post_new(home, CORE_LOST);
            });
        }
        for core in [Core(0), Core(1)] {
            self.core_steps(core, &mut then);
        }
    }

    fn core_steps(&self, core: Core, then: Then<'_>) {
        let current = self.schedule.current(core);
        let Some(which) = current.and_then(|context| self.which(context)) else {
            if self.attention[usize::from(core.0)] {
                then(&|world| world.next(core));
            }
            return;
        };
        if self.attention[usize::from(core.0)] {
            then(&|world| world.look(which, core));
        }
        let program = self.programs[which].expect("it runs");
        let faults = matches!(
            program.at,
            At::Program | At::Closed | At::Opened | At::Entered | At::Handled | At::Faulted
        );
        if faults && self.ahead.faults > 0 {
            then(&|world| {
                world.ahead.faults -= 1;
                match fault(program.view()) {
                    Step::Enter { was_enabled, nesting } => {
                        assert_eq!(was_enabled, program.enabled);
                        world.program(which).enter(was_enabled, nesting, At::Faulted);
                    }
                    Step::End => {
                        assert_eq!(program.nesting, NESTING_MAX, "ended below the bound");
                        world.end();
                    }
                    step => panic!("a fault became {step:?}"),
                }
            });
        }
        match program.at {
            At::Starting => then(&|world| {
                let program = world.program(which);
                *program = Program::new(program.context, At::Opened);
                (program.registered, program.enabled) = (true, true);
            }),
            At::Program => {
                then(&|world| {
                    world.program(which).enabled = false;
                    world.program(which).at = At::Closed;
                });
                if self.cores.may_release(Core(1), OURS).is_ok() {
                    then(&|world| world.take_core());
                } else if which == HOME && self.ahead.acquire && self.cores.may_acquire(Core(1), OURS).is_ok()
                {
                    then(&|world| {
                        world.ahead.acquire = false;
                        world.cores.acquire(Core(1), OURS);
                        let context = world.schedule.add(OURS, Core(1)).expect("there is room");
                        world.programs[FAR] = Some(Program::new(context, At::Starting));
                        world.attention[1] = true;
                    });
                }
            }
            At::Closed => {
                then(&|world| {
                    world.program(which).enabled = true;
                    world.program(which).at = At::Opened;
                });
                then(&|world| world.wait(which, core));
            }
            At::Opened => then(&|world| {
                world.program(which).at = At::Program;
                if program.pending != 0 {
                    // The call that does nothing else.
                    world.look(which, core);
                }
            }),
            At::Entered => then(&|world| {
                let events = world.pending(which);
                world.taken(events);
                world.program(which).at = At::Handled;
            }),
            At::Handled | At::Faulted => then(&|world| world.program(which).leave()),
            At::Compare => then(&|world| {
                world.program(which).at = if program.pending != 0 { At::Again } else { At::Enable };
            }),
            At::Enable => then(&|world| {
                world.program(which).enabled = true;
                world.program(which).at = At::Return;
            }),
            At::Return => then(&|world| {
                world.program(which).at = program.top().at;
                world.program(which).frames = [None; NESTING_MAX as usize];
            }),
            At::Again => then(&|world| {
                world.program(which).nesting = 1;
                world.program(which).at = At::Entered;
            }),
            At::Waiting => panic!("it runs and waits"),
        }
    }

    /// What must hold whenever the lock is free.
    fn check(&self) {
        if self.ended {
            return;
        }
        for program in self.programs.iter().flatten() {
            assert!(!program.enabled || program.depth() == 0 || program.at == At::Return, "{self:?}");
            assert!(self.schedule.application(program.context) == Some(OURS), "{self:?}");
        }
        let far = self.programs[FAR].is_some();
        assert_eq!(far, self.cores.owner(Core(1)) == Some(OURS), "a context without its core: {self:?}");
        let rests = |program: &Program| matches!(program.at, At::Program | At::Waiting);
        if self.attention == [false; 2] && self.programs.iter().flatten().all(rests) {
            assert_eq!(self.fresh, [false; 4], "an event was lost: {self:?}");
        }
    }
}

/// Every state that can be reached; says how many.
fn explore(ahead: Ahead) -> usize {
    let first = World::new(ahead);
    let mut seen = HashSet::from([first.key()]);
    let mut open = std::vec![first];
    let mut next = Vec::new();
    while let Some(world) = open.pop() {
        world.check();
        world.steps(&mut next);
        open.extend(next.drain(..).filter(|world| seen.insert(world.key())));
    }
    seen.len()
}

const NOTHING: Ahead =
    Ahead { interrupts: 0, notifications: 0, faults: 0, squeeze: false, death: false, acquire: false };

#[test]
fn nothing_is_lost_or_doubled_when_a_core_is_revoked() {
    let states = explore(Ahead { interrupts: 2, squeeze: true, acquire: true, ..NOTHING });
    std::println!("{states} states");
    assert!(states > 1_000, "{states}");
}

#[test]
fn nothing_is_lost_or_doubled_when_the_peer_notifies_and_dies() {
    let states = explore(Ahead { notifications: 2, squeeze: true, death: true, ..NOTHING });
    std::println!("{states} states");
    assert!(states > 1_000, "{states}");
}

#[test]
fn nothing_is_lost_or_doubled_when_handlers_fault_to_their_bound() {
    let states = explore(Ahead { interrupts: 2, faults: NESTING_MAX as u8 + 1, ..NOTHING });
    std::println!("{states} states");
    assert!(states > 1_000, "{states}");
}

#[test]
fn nothing_is_lost_or_doubled_with_everything_at_once() {
    let states = explore(Ahead {
        interrupts: 1,
        notifications: 1,
        faults: 1,
        squeeze: true,
        death: true,
        acquire: true,
    });
    std::println!("{states} states");
    assert!(states > 10_000, "{states}");
}

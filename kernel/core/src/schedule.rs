//! Which context runs on which core, and when another one must.
//!
//! A context is what an application runs on one core. As long as a core has one runnable context nothing interrupts
//! it. With more, each runs for at most [`SLICE_NS`] at a time, in the order of the time they had: one that slept
//! comes at once, unless it already had more than its neighbours. What waits costs nothing.

use nom_abi::call::FOREVER;
use nom_abi::upcall::TIMER;

use crate::Application;
use crate::cores::{CORES_MAX, Core};

/// The most contexts at a time.
pub const CONTEXTS_MAX: usize = 32;
/// How long a context runs while another wants the core. What an address-space switch costs is below a
/// hundredth of it even under an emulator.
pub const SLICE_NS: u64 = 1_000_000;

/// A context, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Context(pub u8);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    Free,
    Ready,
    Running,
    Waiting { until_ns: u64 },
}

#[derive(Debug, Clone, Copy, Hash)]
struct Entry {
    application: Application,
    core: Core,
    state: State,
    /// When it wants a timer event.
    timer_ns: u64,
    /// Events that it was not told yet.
    events: u64,
    /// Time that it had, comparable among the contexts of its core.
    had_ns: u64,
    /// It was woken and did not run since.
    woken: bool,
    /// It waits, or has waited, and was not answered.
    asked: bool,
}

/// What a core does now.
#[derive(Debug, Clone, Copy, Hash)]
struct Seat {
    current: Option<Context>,
    /// When the current one came.
    picked_ns: u64,
    /// Until when its time was counted.
    counted_ns: u64,
    /// No context here counts as having had less, one slice excepted.
    floor_ns: u64,
}

/// A context that was chosen to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picked {
    /// Which.
    pub context: Context,
    /// It had called to wait and must be answered.
    pub asked: bool,
}

/// All contexts.
#[derive(Debug, Clone, Hash)]
pub struct Schedule {
    entries: [Entry; CONTEXTS_MAX],
    /// Places from here on are free: what is looked through on every way is as long as there are contexts.
    end: usize,
    seats: [Seat; CORES_MAX],
}

const FREE: Entry = Entry {
    application: Application(0),
    core: Core(0),
    state: State::Free,
    timer_ns: FOREVER,
    events: 0,
    had_ns: 0,
    woken: false,
    asked: false,
};
const EMPTY: Seat = Seat { current: None, picked_ns: 0, counted_ns: 0, floor_ns: 0 };

impl Default for Schedule {
    fn default() -> Schedule {
        Schedule::new()
    }
}

impl Schedule {
    /// No context yet.
    pub const fn new() -> Schedule {
        Schedule { entries: [FREE; CONTEXTS_MAX], end: 0, seats: [EMPTY; CORES_MAX] }
    }

    fn entry(&self, context: Context) -> Option<&Entry> {
        self.entries.get(usize::from(context.0)).filter(|entry| entry.state != State::Free)
    }

    fn entry_mut(&mut self, context: Context) -> Option<&mut Entry> {
        self.entries.get_mut(usize::from(context.0)).filter(|entry| entry.state != State::Free)
    }

    fn seat(&mut self, core: Core) -> &mut Seat {
        &mut self.seats[usize::from(core.0) % CORES_MAX]
    }

    fn all(&self) -> impl Iterator<Item = (Context, &Entry)> {
        let used = self.entries.iter().take(self.end).enumerate();
        let used = used.filter(|(_, entry)| entry.state != State::Free);
        used.map(|(place, entry)| (Context(place as u8), entry))
    }

    /// Whether there is room for another context.
    pub fn has_room(&self) -> bool {
        self.entries.iter().any(|entry| entry.state == State::Free)
    }

    /// A new context, ready to run on this core; `None` when there are too many.
    pub fn add(&mut self, application: Application, core: Core) -> Option<Context> {
        let place = self.entries.iter().position(|entry| entry.state == State::Free)?;
        let had_ns = self.seat(core).floor_ns;
        self.end = self.end.max(place + 1);
        self.entries[place] = Entry { application, core, state: State::Ready, had_ns, woken: true, ..FREE };
        Some(Context(place as u8))
    }

    /// A context ends. The core where it ran has no current one then.
    pub fn remove(&mut self, context: Context) {
        if let Some(entry) = self.entry_mut(context) {
            let core = entry.core;
            *entry = FREE;
            let seat = self.seat(core);
            if seat.current == Some(context) {
                seat.current = None;
            }
            let last = self.entries.iter().rposition(|entry| entry.state != State::Free);
            self.end = last.map_or(0, |last| last + 1);
        }
    }

    /// The contexts of an application.
    pub fn of(&self, application: Application) -> impl Iterator<Item = Context> {
        self.all().filter(move |(_, entry)| entry.application == application).map(|(context, _)| context)
    }

    /// The contexts on a core.
    pub fn on(&self, core: Core) -> impl Iterator<Item = Context> {
        self.all().filter(move |(_, entry)| entry.core == core).map(|(context, _)| context)
    }

    /// Whose context it is.
    pub fn application(&self, context: Context) -> Option<Application> {
        self.entry(context).map(|entry| entry.application)
    }

    /// Where it runs.
    pub fn core(&self, context: Context) -> Option<Core> {
        self.entry(context).map(|entry| entry.core)
    }

    /// What runs on a core.
    pub fn current(&self, core: Core) -> Option<Context> {
        self.seats.get(usize::from(core.0)).and_then(|seat| seat.current)
    }

    /// A context that does not run at the moment goes on elsewhere; false when it runs.
    pub fn move_to(&mut self, context: Context, core: Core) -> bool {
        let floor_ns = self.seat(core).floor_ns;
        match self.entry_mut(context) {
            Some(entry) if entry.state != State::Running => {
                entry.core = core;
                entry.had_ns = floor_ns;
                true
            }
            _ => false,
        }
    }

    /// Notes events for a context and answers its core, which must look; none for no events.
    pub fn post(&mut self, context: Context, events: u64) -> Option<Core> {
        let entry = self.entry_mut(context).filter(|_| events != 0)?;
        entry.events |= events;
        let core = entry.core;
        if matches!(entry.state, State::Waiting { .. }) {
            self.wake(context);
        }
        Some(core)
    }

    fn wake(&mut self, context: Context) {
        let Some(core) = self.core(context) else { return };
        let floor_ns = self.seat(core).floor_ns;
        if let Some(entry) = self.entry_mut(context) {
            entry.state = State::Ready;
            entry.woken = true;
            entry.had_ns = entry.had_ns.max(floor_ns.saturating_sub(SLICE_NS));
        }
    }

    /// Events that a context was not told yet.
    pub fn events(&self, context: Context) -> u64 {
        self.entry(context).map_or(0, |entry| entry.events)
    }

    /// Takes them: they are being told.
    pub fn take(&mut self, context: Context) -> u64 {
        self.entry_mut(context).map_or(0, |entry| core::mem::take(&mut entry.events))
    }

    /// A device is not the application's any more: neither are its events.
    pub fn forget(&mut self, application: Application, events: u64) {
        let own = self.entries.iter_mut().filter(|entry| entry.application == application);
        own.for_each(|entry| entry.events &= !events);
    }

    /// When a context wants its timer event; [`FOREVER`] for none.
    pub fn set_timer(&mut self, context: Context, at_ns: u64) {
        if let Some(entry) = self.entry_mut(context) {
            entry.timer_ns = at_ns;
        }
    }

    /// The current context of a core waits for an event or a time.
    pub fn block(&mut self, core: Core, until_ns: u64, now_ns: u64) {
        self.account(core, now_ns);
        let Some(context) = self.seat(core).current.take() else { return };
        if let Some(entry) = self.entry_mut(context) {
            entry.asked = true;
            entry.state = State::Waiting { until_ns };
            if entry.events != 0 || until_ns <= now_ns {
                self.wake(context);
            }
        }
    }

    /// Counts the current context's time.
    fn account(&mut self, core: Core, now_ns: u64) {
        let seat = self.seat(core);
        let passed_ns = now_ns.saturating_sub(seat.counted_ns);
        seat.counted_ns = seat.counted_ns.max(now_ns);
        if let Some(context) = seat.current
            && let Some(entry) = self.entry_mut(context)
        {
            entry.had_ns = entry.had_ns.saturating_add(passed_ns);
        }
        let runnable = |entry: &Entry| matches!(entry.state, State::Ready | State::Running);
        let least = self.all().filter(|(_, entry)| entry.core == core && runnable(entry));
        if let Some(least_ns) = least.map(|(_, entry)| entry.had_ns).min() {
            let seat = self.seat(core);
            seat.floor_ns = seat.floor_ns.max(least_ns);
        }
    }

    /// Times that have come on this core: timers become events, waits end.
    pub fn due(&mut self, core: Core, now_ns: u64) {
        for place in 0..self.end.min(CONTEXTS_MAX) {
            let entry = &mut self.entries[place];
            if entry.state == State::Free || entry.core != core {
                continue;
            }
            if entry.timer_ns <= now_ns {
                entry.timer_ns = FOREVER;
                entry.events |= TIMER;
            }
            if let State::Waiting { until_ns } = entry.state
                && (entry.events != 0 || until_ns <= now_ns)
            {
                self.wake(Context(place as u8));
            }
        }
    }

    /// The ready context that should come next.
    fn best(&self, core: Core) -> Option<(Context, &Entry)> {
        let ready = self.all().filter(|(_, entry)| entry.core == core && entry.state == State::Ready);
        ready.min_by_key(|(_, entry)| entry.had_ns)
    }

    /// Whether another context must run instead of the current one.
    pub fn preempts(&mut self, core: Core, now_ns: u64) -> bool {
        self.account(core, now_ns);
        let seat = *self.seat(core);
        let Some((_, best)) = self.best(core) else { return false };
        let Some(current) = seat.current.and_then(|context| self.entry(context)) else { return true };
        let over = now_ns.saturating_sub(seat.picked_ns) >= SLICE_NS;
        let preempts = best.had_ns < current.had_ns && (over || best.woken);
        if over && !preempts {
            // It had less so far: another slice.
            self.seat(core).picked_ns = now_ns;
        }
        preempts
    }

    /// The current context has to wait until it is picked again.
    pub fn preempt(&mut self, core: Core, now_ns: u64) {
        self.account(core, now_ns);
        if let Some(context) = self.seat(core).current.take()
            && let Some(entry) = self.entry_mut(context)
        {
            entry.state = State::Ready;
        }
    }

    /// Chooses what runs now on a core that has no current context.
    pub fn pick(&mut self, core: Core, now_ns: u64) -> Option<Picked> {
        self.account(core, now_ns);
        let context = self.best(core)?.0;
        let seat = self.seat(core);
        seat.current = Some(context);
        seat.picked_ns = now_ns;
        let entry = self.entry_mut(context)?;
        entry.state = State::Running;
        entry.woken = false;
        Some(Picked { context, asked: core::mem::take(&mut entry.asked) })
    }

    /// When this core must look again by itself; [`FOREVER`] when nothing is due: the current context is alone.
    pub fn deadline_ns(&self, core: Core) -> u64 {
        let here = self.all().filter(|(_, entry)| entry.core == core);
        let (mut at_ns, mut ready) = (FOREVER, false);
        for (_, entry) in here {
            at_ns = at_ns.min(entry.timer_ns);
            match entry.state {
                State::Waiting { until_ns } => at_ns = at_ns.min(until_ns),
                State::Ready => ready = true,
                State::Running | State::Free => {}
            }
        }
        match self.seats.get(usize::from(core.0)) {
            Some(Seat { current: Some(_), picked_ns, .. }) if ready => {
                at_ns.min(picked_ns.saturating_add(SLICE_NS))
            }
            _ => at_ns,
        }
    }
}

#[cfg(test)]
impl Schedule {
    /// Makes a context wait that never ran, for tests in which it is a mere place.
    pub(crate) fn put_to_sleep(&mut self, context: Context) {
        if let Some(entry) = self.entry_mut(context) {
            entry.state = State::Waiting { until_ns: FOREVER };
        }
    }

    /// Hashes all that differs from an empty schedule.
    pub(crate) fn hash_used(&self, hasher: &mut impl core::hash::Hasher) {
        use core::hash::Hash;
        self.all().for_each(|used| used.hash(hasher));
        self.seats.iter().filter(|seat| seat.current.is_some()).for_each(|seat| seat.hash(hasher));
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;

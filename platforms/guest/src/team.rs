//! The cores of one application in a guest: what wakes one, what guards what they share, how one starts and sleeps.

use crate::network::{self, Incoming, Outgoing};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use nom_runtime::call::call_core;
use nom_runtime::thread::Mutex;
use nom_runtime::{CallError, Events, core_count, cores, log, now_ns, wait};
use nom_service::configuration::Configuration;
use nom_service::follower::Follower;
use nom_service::team::{self, Guarded, Means, Ring, Seat};
use nom_spread::Gone;
use nom_stack::application::Application;

/// Most cores of an application.
const CORES_MAX: usize = 8;

/// Wakes a core of this application, by its number in the machine.
#[derive(Debug, Clone, Copy)]
pub struct Bell(u32);

impl Ring for Bell {
    fn ring(&self) {
        // A core that has ended need not be woken.
        let _ = call_core(self.0);
    }
}

/// Who sends or hands over frames wakes by the same bell.
impl nom_spread::Bell for Bell {
    fn ring(&self) -> Result<(), Gone> {
        Ring::ring(self);
        Ok(())
    }
}

/// Cores of a guest.
#[derive(Debug)]
pub struct Cores;

impl Means for Cores {
    type Bell = Bell;
    type Guarded<T: Send> = Spun<T>;
}

/// Who finds somebody there tries again: what is done inside takes no longer than copying it, and a core must not sleep on
/// a lock while its network's events are its own.
pub struct Spun<T>(Mutex<T>);

impl<T> Guarded<T> for Spun<T> {
    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        loop {
            if let Some(mut value) = self.0.try_lock() {
                return act(&mut value);
            }
            core::hint::spin_loop();
        }
    }
}

/// All cores of one application.
pub type Team = team::Team<Cores>;

/// The first cores of the machine; the application began on the first one.
pub(crate) fn team(configuration: &Configuration) -> Result<Arc<Team>, String> {
    let (wanted, there) = (configuration.cores, core_count() as usize);
    if wanted > there.min(CORES_MAX) {
        let plural = if there == 1 { "" } else { "s" };
        return Err(format!(
            "kv.cores = {wanted}: this machine has {there} processor{plural}; give it {wanted}, or set kv.cores = {there}"
        ));
    }
    Ok(Arc::new(Team::new((0..wanted as u32).map(Bell))))
}

/// What a core that is led serves with.
pub(crate) struct Place {
    pub(crate) core: usize,
    pub(crate) team: Arc<Team>,
    pub(crate) mac: [u8; 6],
    pub(crate) ingress: Incoming,
    pub(crate) egress: Outgoing,
    /// The event of its queue's interrupts; none where the core's bell rings instead.
    pub(crate) events: Events,
    pub(crate) seed: [u8; 32],
}

type Work = Box<dyn FnOnce() + Send>;

/// What a core begins with, until it has begun.
static WORK: [Mutex<Option<Work>>; CORES_MAX] = [const { Mutex::new(None) }; CORES_MAX];

fn run(core: u64) {
    let work = WORK.get(core as usize).and_then(|work| work.try_lock()?.take());
    match work {
        Some(work) => work(),
        None => log!("core {core} was started with nothing to do"),
    }
}

/// Starts a core that serves until the leader says that it is over. Its application is made there.
pub(crate) fn start<A: Application>(
    configuration: Configuration,
    place: impl FnOnce() -> Place + Send + 'static,
    core: usize,
    application: impl FnOnce() -> A + Send + 'static,
) -> Result<(), String> {
    let work = move || {
        let Place { core, team, mac, ingress, egress, events, seed } = place();
        let mut follower = Follower::new(&configuration, mac, ingress, egress, application(), seed, now_ns());
        let mut seat = Here { events, started_ns: now_ns(), waited_ns: 0 };
        // There is no successor to leave anything to.
        team.follow(core, &mut follower, &mut seat);
        team.tell(core, follower.share(seat.core_ns()));
    };
    if let Some(mut place) = WORK[core].try_lock() {
        *place = Some(Box::new(work));
    }
    cores::start(core as u32, run, core as u64).map_err(|error| match error {
        CallError::Taken => format!("core {core} of this machine is another application's"),
        error => format!("core {core} does not start: {error:?}"),
    })
}

struct Here {
    events: Events,
    started_ns: u64,
    waited_ns: u64,
}

impl Seat<Incoming, Outgoing> for Here {
    fn now_ns(&self) -> u64 {
        now_ns()
    }

    fn fault(&self, incoming: &Incoming, outgoing: &Outgoing) -> Option<String> {
        network::fault(incoming, outgoing)
    }

    fn core_ns(&self) -> u64 {
        now_ns().saturating_sub(self.started_ns + self.waited_ns)
    }

    fn sleep(&mut self, until_ns: u64) {
        let before_ns = now_ns();
        wait(Some(until_ns), self.events);
        self.waited_ns += now_ns().saturating_sub(before_ns);
    }
}

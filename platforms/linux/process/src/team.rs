//! The cores of one application as threads: what wakes one, what guards what they share, and how one sleeps.

use crate::deployed::Last;
use crate::home::clock_ns;
use crate::start::text;
use crate::succession::Left;
use nom_service::configuration::Configuration;
use nom_service::follower::Follower;
pub(crate) use nom_service::team::WITHDRAW_NS;
use nom_service::team::{self, End, Guarded, Means, Ring, Seat};
use nom_service::worker::Moved;
use nom_spread::Gone;
use nom_stack::application::Application;
use nom_stack::port::{Egress, Ingress};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::time::ClockId;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

/// Longest sleep.
const SLEEP_MAX_NS: u64 = 500_000_000;

/// What wakes a core that sleeps.
#[derive(Debug, Clone)]
pub struct Bell(Arc<OwnedFd>);

impl Bell {
    fn new() -> std::io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?)))
    }

    /// The core is awake: it has heard all that rang.
    pub(crate) fn heard(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// What a core watches that has no queue of the device: whoever hands it frames rings.
    pub(crate) fn instead_of_a_queue(&self) -> std::io::Result<OwnedFd> {
        self.0.try_clone()
    }
}

impl Ring for Bell {
    fn ring(&self) {
        // A counter that is full has rung.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

/// Who sends or hands over frames wakes by the same bell.
impl nom_spread::Bell for Bell {
    fn ring(&self) -> Result<(), Gone> {
        Ring::ring(self);
        Ok(())
    }
}

/// Threads of a Linux process.
#[derive(Debug)]
pub struct Threads;

impl Means for Threads {
    type Bell = Bell;
    type Guarded<T: Send> = Locked<T>;
}

/// Behind the system's lock.
#[derive(Debug)]
pub struct Locked<T>(Mutex<T>);

impl<T> Guarded<T> for Locked<T> {
    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        // What is in it is replaced as a whole: it is right even when somebody died there.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// All cores of one application.
pub type Team = team::Team<Threads>;

/// As many cores.
pub(crate) fn team(cores: usize) -> std::io::Result<Team> {
    let bells: Vec<Bell> = (0..cores).map(|_| Bell::new()).collect::<std::io::Result<_>>()?;
    Ok(Team::new(bells))
}

/// What a core that is led serves with.
pub(crate) struct Place<I, E, A> {
    pub(crate) core: usize,
    pub(crate) team: Arc<Team>,
    pub(crate) mac: [u8; 6],
    pub(crate) ingress: I,
    pub(crate) egress: E,
    /// Becomes readable when a frame waits.
    pub(crate) wakes: OwnedFd,
    pub(crate) application: A,
    pub(crate) seed: [u8; 32],
    /// Connections of a predecessor.
    pub(crate) moved: Vec<Moved>,
}

/// Writes what an application has, at this time.
pub(crate) type Bequeath<A> = fn(&A, u64, &mut dyn FnMut(&[u8]));

fn now_ns() -> u64 {
    clock_ns(ClockId::Monotonic)
}

/// What this thread took.
fn core_ns() -> u64 {
    clock_ns(ClockId::ThreadCPUTime)
}

struct Thread<'a> {
    wakes: &'a OwnedFd,
    bell: &'a Bell,
}

impl<I, E> Seat<I, E> for Thread<'_> {
    fn now_ns(&self) -> u64 {
        now_ns()
    }

    fn core_ns(&self) -> u64 {
        core_ns()
    }

    fn sleep(&mut self, until_ns: u64) {
        let sleep_ns = until_ns.saturating_sub(now_ns()).min(SLEEP_MAX_NS);
        let timeout = Timespec { tv_sec: 0, tv_nsec: sleep_ns as i64 };
        let mut fds =
            [self.wakes.as_fd(), self.bell.as_fd()].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        // An interrupted sleep is an early one.
        let _ = poll(&mut fds, Some(&timeout));
        if !fds[1].revents().is_empty() {
            self.bell.heard();
        }
    }
}

/// Serves on a core until the leader says that it is over; what it leaves to a successor, if it is to.
pub(crate) fn follow<I: Ingress, E: Egress, A: Application>(
    configuration: &Configuration,
    place: Place<I, E, A>,
    bequeath: Bequeath<A>,
    last: Option<Last<A>>,
) -> Result<Option<Left>, String> {
    let Place { core, team, mac, ingress, egress, wakes, application, seed, moved } = place;
    let mut follower = Follower::new(configuration, mac, ingress, egress, application, seed, now_ns());
    let kept = follower.take_over(&moved, now_ns());
    if kept < moved.len() {
        eprintln!("core {core}: {} of {} connections could not go on", moved.len() - kept, moved.len());
    }
    drop(moved);
    let mut seat = Thread { wakes: &wakes, bell: team.bell(core) };
    let mut left = None;
    let end = team.follow(core, &mut follower, &mut seat);
    if end == End::Leaves {
        let moved = follower.hand_over(now_ns);
        let (application, at_ns) = (follower.application(), now_ns());
        let contents = |write: &mut dyn FnMut(&[u8])| bequeath(application, at_ns, write);
        let queue = wakes.try_clone().map_err(text)?;
        left = Some(Left::write(queue, &contents, &moved).map_err(text)?);
    } else if let Some(last) = last {
        last(follower.application(), now_ns())?;
    }
    team.tell(core, follower.share(core_ns()));
    Ok(left)
}

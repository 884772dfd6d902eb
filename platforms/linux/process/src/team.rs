//! The cores of one application: the first one leads, in the thread that the process began with; each other one has a thread,
//! a queue of the device and a stack of its own.

use crate::home::clock_ns;
use crate::start::text;
use crate::succession::Left;
use nom_service::configuration::Configuration;
use nom_service::follower::Follower;
use nom_service::share::Share;
use nom_service::worker::{Moved, Round};
use nom_stack::application::Application;
use nom_stack::knobs::Knobs;
use nom_stack::port::{Egress, Ingress};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::time::ClockId;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Longest time between two tellings of what a core counts, while it counts anything.
const TELL_NS: u64 = 10_000_000;
/// Time between two looks at what is still under way.
pub(crate) const WITHDRAW_NS: u64 = 1_000_000;
/// Longest sleep.
const SLEEP_MAX_NS: u64 = 500_000_000;

/// What wakes a core that sleeps. What rang before its sleep keeps it from that.
#[derive(Debug)]
pub struct Bell(OwnedFd);

impl Bell {
    fn new() -> std::io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
    }

    /// Wakes the core.
    pub fn ring(&self) {
        // A counter that is full has rung.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// The core is awake: it has heard all that rang.
    pub(crate) fn heard(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What the leader wants.
#[derive(Debug, Clone, Copy, Default)]
struct Order {
    knobs: Option<Knobs>,
    drains: bool,
    ends: bool,
    /// Nothing is asked of other cores any more.
    withdraws: bool,
    /// What is served leaves for a successor.
    leaves: bool,
}

/// A core as the others see it.
#[derive(Debug)]
struct Member {
    bell: Bell,
    share: Mutex<Share>,
    is_drained: AtomicBool,
    /// It has withdrawn, and nothing is under way.
    is_idle: AtomicBool,
}

/// All cores of one application.
#[derive(Debug)]
pub struct Team {
    members: Box<[Member]>,
    order: Mutex<Order>,
    /// Counts orders.
    orders: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in it is replaced as a whole: it is right even when somebody died there.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Team {
    /// As many cores.
    pub fn new(cores: usize) -> std::io::Result<Self> {
        let member = || {
            Ok(Member {
                bell: Bell::new()?,
                share: Mutex::default(),
                is_drained: AtomicBool::new(false),
                is_idle: AtomicBool::new(false),
            })
        };
        let members = (0..cores).map(|_| member()).collect::<std::io::Result<_>>()?;
        Ok(Self { members, order: Mutex::default(), orders: AtomicU64::new(0) })
    }

    /// How many there are.
    pub fn cores(&self) -> usize {
        self.members.len()
    }

    /// What wakes a core.
    pub fn bell(&self, core: usize) -> &Bell {
        &self.members[core].bell
    }

    /// What all but the first one have counted.
    pub(crate) fn others(&self) -> Option<Share> {
        let mut sum: Option<Share> = None;
        for member in &self.members[1..] {
            sum.get_or_insert_default().add(&locked(&member.share));
        }
        sum
    }

    fn order(&self, change: impl FnOnce(&mut Order)) {
        change(&mut locked(&self.order));
        self.orders.fetch_add(1, Ordering::Release);
        self.members[1..].iter().for_each(|member| member.bell.ring());
    }

    pub(crate) fn lead(&self, knobs: &Knobs) {
        self.order(|order| order.knobs = Some(*knobs));
    }

    /// All others end their connections; true once none has any.
    pub(crate) fn drain(&self) -> bool {
        if !locked(&self.order).drains {
            self.order(|order| order.drains = true);
        }
        self.members[1..].iter().all(|member| member.is_drained.load(Ordering::Acquire))
    }

    /// No core asks another one for anything any more; true once none of the others has anything under way.
    pub(crate) fn withdraw(&self) -> bool {
        if !locked(&self.order).withdraws {
            self.order(|order| order.withdraws = true);
        }
        self.members[1..].iter().all(|member| member.is_idle.load(Ordering::Acquire))
    }

    /// The others leave what they have to a successor, and end.
    pub(crate) fn leave(&self) {
        self.order(|order| order.leaves = true);
    }

    /// The others end.
    pub(crate) fn end(&self) {
        self.order(|order| order.ends = true);
    }
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

/// Serves on a core until the leader says that it is over; what it leaves to a successor, if it is to.
pub(crate) fn follow<I: Ingress, E: Egress, A: Application>(
    configuration: &Configuration,
    place: Place<I, E, A>,
    bequeath: Bequeath<A>,
) -> Result<Option<Left>, String> {
    let Place { core, team, mac, ingress, egress, wakes, application, seed, moved } = place;
    let now_ns = || clock_ns(ClockId::Monotonic);
    let mut follower = Follower::new(configuration, mac, ingress, egress, application, seed, now_ns());
    let member = &team.members[core];
    let kept = follower.take_over(&moved, now_ns());
    if kept < moved.len() {
        eprintln!("core {core}: {} of {} connections could not go on", moved.len() - kept, moved.len());
    }
    drop(moved);
    let mut left = None;
    let (mut orders, mut told_ns, mut untold, mut withdraws) = (0, 0, true, false);
    loop {
        let at_ns = now_ns();
        let said = team.orders.load(Ordering::Acquire);
        if said != orders {
            orders = said;
            let order = *locked(&team.order);
            if let Some(knobs) = order.knobs {
                follower.obey(knobs, at_ns);
            }
            if order.drains {
                follower.drain(at_ns);
            }
            withdraws = order.withdraws;
            if order.leaves {
                let moved = follower.hand_over(now_ns);
                let (application, at_ns) = (follower.application(), now_ns());
                let contents = |write: &mut dyn FnMut(&[u8])| bequeath(application, at_ns, write);
                let queue = wakes.try_clone().map_err(text)?;
                left = Some(Left::write(queue, &contents, &moved).map_err(text)?);
            }
            if order.ends || order.leaves {
                break;
            }
        }
        let round = follower.round(at_ns);
        // The end of a drain is to be seen, whether or not there was work.
        untold |= round == Round::Worked || follower.is_draining();
        if withdraws {
            member.is_idle.store(follower.withdraw(), Ordering::Release);
        }
        if untold && at_ns.saturating_sub(told_ns) >= TELL_NS {
            (told_ns, untold) = (at_ns, false);
            *locked(&member.share) = follower.share(clock_ns(ClockId::ThreadCPUTime));
            // What is counted is told before: who sees this sees that.
            member.is_drained.store(follower.is_drained(), Ordering::Release);
        }
        let Round::Idle { until_ns } = round else { continue };
        if !follower.may_sleep(at_ns) {
            std::hint::spin_loop();
            continue;
        }
        let until_ns = if withdraws { until_ns.min(at_ns + WITHDRAW_NS) } else { until_ns };
        let until_ns = if untold { until_ns.min(told_ns + TELL_NS) } else { until_ns };
        let sleep_ns = until_ns.saturating_sub(now_ns()).min(SLEEP_MAX_NS);
        let timeout = Timespec { tv_sec: 0, tv_nsec: sleep_ns as i64 };
        let mut fds =
            [wakes.as_fd(), member.bell.as_fd()].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        // An interrupted sleep is an early one.
        let _ = poll(&mut fds, Some(&timeout));
        if !fds[1].revents().is_empty() {
            member.bell.heard();
        }
    }
    *locked(&member.share) = follower.share(clock_ns(ClockId::ThreadCPUTime));
    Ok(left)
}

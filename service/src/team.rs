//! The cores of one application: the first one leads, each other one has a stack of its own, does as the leader says and
//! tells what it counts. What wakes a core, and what guards what they share, is the home's.

use crate::follower::Follower;
use crate::share::Share;
use crate::worker::Round;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use nom_stack::application::Application;
use nom_stack::knobs::Knobs;
use nom_stack::port::{Egress, Ingress};

/// Longest time between two tellings of what a core counts, while it counts anything.
const TELL_NS: u64 = 10_000_000;
/// Time between two looks at what is still under way.
pub const WITHDRAW_NS: u64 = 1_000_000;

/// Wakes one core. What rang before its sleep keeps it from that.
pub trait Ring {
    /// Wakes it.
    fn ring(&self);
}

/// A value that one core at a time reaches.
pub trait Guarded<T> {
    /// Around this value.
    fn new(value: T) -> Self;

    /// Reaches it, as soon as nobody else does.
    fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R;
}

/// What a home has for cores.
pub trait Means {
    /// What wakes one.
    type Bell: Ring;
    /// What guards what they share.
    type Guarded<T: Send>: Guarded<T>;
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
struct Member<M: Means> {
    bell: M::Bell,
    share: M::Guarded<Share>,
    is_drained: AtomicBool,
    /// It has withdrawn, and nothing is under way.
    is_idle: AtomicBool,
}

/// All cores of one application.
pub struct Team<M: Means> {
    members: Box<[Member<M>]>,
    order: M::Guarded<Order>,
    /// Counts orders.
    orders: AtomicU64,
    /// Some core cannot go on, ...
    has_trouble: AtomicBool,
    /// ... and why: what came first.
    trouble: M::Guarded<Option<String>>,
}

/// Where a core that is led runs, with these halves of a network.
pub trait Seat<I, E> {
    /// The clock of the whole application.
    fn now_ns(&self) -> u64;

    /// Core time that this core took.
    fn core_ns(&self) -> u64;

    /// Sleeps until a frame comes, the core's bell rings, or this time.
    fn sleep(&mut self, until_ns: u64);

    /// Why the network cannot be gone on with, where a device can be found out.
    fn fault(&self, _ingress: &I, _egress: &E) -> Option<String> {
        None
    }
}

/// Why a core does not serve any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The application ends.
    Over,
    /// What is served leaves for a successor.
    Leaves,
}

impl<M: Means> Team<M> {
    /// As many cores as there are bells, the leader's first.
    pub fn new(bells: impl IntoIterator<Item = M::Bell>) -> Self {
        let member = |bell| Member {
            bell,
            share: Guarded::new(Share::default()),
            is_drained: AtomicBool::new(false),
            is_idle: AtomicBool::new(false),
        };
        let members = bells.into_iter().map(member).collect();
        Self {
            members,
            order: Guarded::new(Order::default()),
            orders: AtomicU64::new(0),
            has_trouble: AtomicBool::new(false),
            trouble: Guarded::new(None),
        }
    }

    /// How many there are.
    pub fn cores(&self) -> usize {
        self.members.len()
    }

    /// What wakes a core.
    pub fn bell(&self, core: usize) -> &M::Bell {
        &self.members[core].bell
    }

    /// What all but the first one have counted.
    pub fn others(&self) -> Option<Share> {
        let mut sum: Option<Share> = None;
        for member in &self.members[1..] {
            member.share.with(|share| sum.get_or_insert_default().add(share));
        }
        sum
    }

    /// This is what a core has counted.
    pub fn tell(&self, core: usize, share: Share) {
        self.members[core].share.with(|told| *told = share);
    }

    /// Why a core other than the first one cannot go on: which one, and what is wrong. The application ends by it, as it does
    /// by the same trouble of the first.
    pub fn trouble(&self) -> Option<String> {
        if self.has_trouble.load(Ordering::Acquire) { self.trouble.with(|why| why.clone()) } else { None }
    }

    fn cannot_go_on(&self, core: usize, why: &str) {
        self.trouble.with(|trouble| _ = trouble.get_or_insert_with(|| format!("core {core}: {why}")));
        self.has_trouble.store(true, Ordering::Release);
        self.members[0].bell.ring();
    }

    fn order(&self, change: impl FnOnce(&mut Order)) {
        self.order.with(change);
        self.orders.fetch_add(1, Ordering::Release);
        self.members[1..].iter().for_each(|member| member.bell.ring());
    }

    /// All others serve as these knobs say.
    pub fn lead(&self, knobs: &Knobs) {
        self.order(|order| order.knobs = Some(*knobs));
    }

    /// All others end their connections; true once none has any.
    pub fn drain(&self) -> bool {
        if !self.order.with(|order| order.drains) {
            self.order(|order| order.drains = true);
        }
        self.members[1..].iter().all(|member| member.is_drained.load(Ordering::Acquire))
    }

    /// No core asks another one for anything any more; true once none of the others has anything under way.
    pub fn withdraw(&self) -> bool {
        if !self.order.with(|order| order.withdraws) {
            self.order(|order| order.withdraws = true);
        }
        self.members[1..].iter().all(|member| member.is_idle.load(Ordering::Acquire))
    }

    /// The others leave what they have to a successor, and end.
    pub fn leave(&self) {
        self.order(|order| order.leaves = true);
    }

    /// The others end.
    pub fn end(&self) {
        self.order(|order| order.ends = true);
    }

    /// Serves on a core until the leader says that it is over. What is counted after that is to be told by [`Team::tell`].
    pub fn follow<I: Ingress, E: Egress, A: Application>(
        &self,
        core: usize,
        follower: &mut Follower<I, E, A>,
        seat: &mut impl Seat<I, E>,
    ) -> End {
        let member = &self.members[core];
        let (mut orders, mut told_ns, mut untold, mut withdraws) = (0, 0, true, false);
        let mut faulty = false;
        loop {
            let at_ns = seat.now_ns();
            let said = self.orders.load(Ordering::Acquire);
            if said != orders {
                orders = said;
                let order = self.order.with(|order| *order);
                if let Some(knobs) = order.knobs {
                    follower.obey(knobs, at_ns);
                }
                if order.drains {
                    follower.drain(at_ns);
                }
                withdraws = order.withdraws;
                if order.leaves {
                    return End::Leaves;
                }
                if order.ends {
                    return End::Over;
                }
            }
            let round = follower.round(at_ns);
            let (ingress, egress) = follower.halves();
            if !faulty && let Some(why) = seat.fault(ingress, egress) {
                // It is told once, and the first core ends the application.
                faulty = true;
                self.cannot_go_on(core, &why);
            }
            // The end of a drain is to be seen, whether or not there was work.
            untold |= round == Round::Worked || follower.is_draining();
            if withdraws {
                member.is_idle.store(follower.withdraw(), Ordering::Release);
            }
            if untold && at_ns.saturating_sub(told_ns) >= TELL_NS {
                (told_ns, untold) = (at_ns, false);
                self.tell(core, follower.share(seat.core_ns()));
                // What is counted is told before: who sees this sees that.
                member.is_drained.store(follower.is_drained(), Ordering::Release);
            }
            let Round::Idle { until_ns } = round else { continue };
            if !follower.may_sleep(at_ns) {
                core::hint::spin_loop();
                continue;
            }
            let until_ns = if withdraws { until_ns.min(at_ns + WITHDRAW_NS) } else { until_ns };
            seat.sleep(if untold { until_ns.min(told_ns + TELL_NS) } else { until_ns });
        }
    }
}

#[cfg(test)]
mod tests;

//! What a core does next: the context that is due, or sleep.

use core::sync::atomic::Ordering;

use nom_abi::call::FOREVER;
use nom_abi::exit::FAULTED;
use nom_abi::statistics::Counter;
use nom_kernel_core::cores::Core;
use nom_kernel_core::schedule::Context;

use crate::applications::RESTARTER;
use crate::context::Vectors;
use crate::state::{Kernel, count, with};
use crate::trap::{Block, Trap, deliver};
use crate::{clock, cpu, interrupts, processors};

unsafe extern "C" {
    fn resume_cleared(trap: *const Trap) -> !;
    fn resume_whole(trap: *const Trap, vectors: *const u8, xsave: u64) -> !;
}

/// A context to go on with.
struct Ready {
    trap: *const Trap,
    vectors: *const u8,
    /// Its vector registers must be loaded.
    load: bool,
    xsave: bool,
}

/// From now on this core does what is due. What is on the stack is forgotten.
pub fn core() -> ! {
    let here = cpu::here();
    loop {
        match with(|kernel| kernel.next(here)).flatten() {
            // SAFETY: the page of a context that was just made this core's current one: nobody takes it away before
            // this core has left it, and that it does in ring 3 or at the kernel's lock only.
            Some(ready) => unsafe {
                if ready.load {
                    resume_whole(ready.trap, ready.vectors, u64::from(ready.xsave));
                }
                resume_cleared(ready.trap)
            },
            None => processors::rest(here),
        }
    }
}

/// What a context finds when it is about to return to ring 3.
pub enum After {
    /// It goes on, where it was or where it is told something.
    Same,
    /// It does not go on: another one is due, or it has ended.
    Gone,
}

impl Kernel {
    /// Looks whether the current context may go on, and tells it what came.
    pub fn look(&mut self, here: Core, trap: &mut Trap, vectors: Vectors) -> After {
        processors::looking(here);
        let now_ns = clock::now_ns();
        if self.cores.taken_at_ns(here).is_some_and(|at_ns| at_ns <= now_ns)
            && let Some(caller) = self.caller(here)
        {
            // It may go on elsewhere.
            self.rest(caller.context, trap, vectors);
            self.schedule.preempt(here, now_ns);
        }
        self.due(here, now_ns);
        let Some(caller) = self.caller(here) else { return After::Gone };
        if self.schedule.preempts(here, now_ns) {
            self.rest(caller.context, trap, vectors);
            self.schedule.preempt(here, now_ns);
            if self.may_relieve {
                self.relieve();
            }
            return After::Gone;
        }
        self.program(here);
        self.tell(here, trap)
    }

    /// Tells the current context what came.
    pub fn tell(&mut self, here: Core, trap: &mut Trap) -> After {
        let Some(caller) = self.caller(here) else { return After::Gone };
        match deliver(self, &caller, trap) {
            Ok(()) => After::Same,
            Err(why) => {
                self.end(caller.number, FAULTED, Some(format_args!("{why}")));
                After::Gone
            }
        }
    }

    /// A context comes to rest.
    pub fn rest(&mut self, context: Context, trap: &Trap, vectors: Vectors) {
        let xsave = self.xsave;
        if let Some(page) = self.page(context) {
            page.save(trap, vectors, xsave);
        }
    }

    /// Does what is due by time on this core.
    fn due(&mut self, here: Core, now_ns: u64) {
        if now_ns >= interrupts::quiet_until_ns(here) {
            if here == RESTARTER {
                self.restart_due(now_ns);
            }
            self.take_overdue(here, now_ns);
            self.plug_due(Some(now_ns));
            self.schedule.due(here, now_ns);
        }
    }

    fn program(&self, here: Core) {
        let asked_ns = self.cores.taken_at_ns(here).unwrap_or(FOREVER);
        let again_ns = if here == RESTARTER { self.lives.due_ns() } else { FOREVER };
        let unplug_ns = self.plug_deadline_ns().unwrap_or(FOREVER);
        let due_ns = self.schedule.deadline_ns(here).min(asked_ns).min(again_ns).min(unplug_ns);
        interrupts::wake_at(here, due_ns);
    }

    /// What this core goes on with, or nothing.
    fn next(&mut self, here: Core) -> Option<Ready> {
        loop {
            processors::looking(here);
            let now_ns = clock::now_ns();
            self.due(here, now_ns);
            let picked = self.schedule.pick(here, now_ns);
            self.program(here);
            let context = picked?.context;
            let Some(caller) = self.caller(here) else {
                // Never: a context has an application that lives.
                self.schedule.remove(context);
                continue;
            };
            if picked?.asked {
                let events = self.schedule.take(context) | self.pending(context);
                let page = self.page(context)?;
                page.trap.rax = 0;
                page.trap.rdx = events;
            } else if self.schedule.events(context) != 0 {
                let mut trap = self.page(context)?.trap;
                if let Err(why) = deliver(self, &caller, &mut trap) {
                    self.end(caller.number, FAULTED, Some(format_args!("{why}")));
                    continue;
                }
                self.page(context)?.trap = trap;
            }
            processors::enter(here, &caller.space);
            let stayed = self.last[usize::from(here.0)] == Some(context);
            if !stayed {
                count(Counter::Switches);
                for last in &mut self.last {
                    *last = last.filter(|&last| last != context);
                }
                self.last[usize::from(here.0)] = Some(context);
            }
            let xsave = self.xsave;
            let page = self.page(context)?;
            if !stayed {
                page.show();
            }
            let load = page.whole || !stayed;
            return Some(Ready { trap: &raw const page.trap, vectors: page.vectors(), load, xsave });
        }
    }

    /// Takes what is pending in a context's block.
    pub fn pending(&mut self, context: Context) -> u64 {
        let Some(registered) = self.page(context).and_then(|page| page.upcalls) else { return 0 };
        let space = self.schedule.application(context).and_then(|number| self.living(number));
        let block = space.and_then(|running| Block::of(&running.space, &registered));
        block.map_or(0, |block| block.pending.swap(0, Ordering::AcqRel))
    }
}

//! The prices of bytes and of core time decide which content is compressed, and how hard.
//!
//! The work is done a piece at a time while nothing else is there to do, and a piece with each round of chores where there
//! always is, so that no request waits for more than one.

use super::{Worker, reprice};
use crate::home::Home;
use crate::management::Level;
use alloc::format;
use nom_abi::board::Resource;
use nom_stack::application::{Application, Wish};
use nom_stack::port::{Egress, Ingress};
use nom_tuner::{Press, Wished};

/// Contents that are weighed in one look.
const WISHES_MAX: usize = 32;
/// What the efforts are called.
const CALLED: [&str; 3] = ["quickly", "well", "as small as can be"];

/// What is going on.
#[derive(Debug, Default)]
pub(super) struct Pressroom {
    rule: Press,
    /// How hard is being pressed, and the core time that it took.
    effort: usize,
    core_ns: u64,
    working: bool,
}

impl<I: Ingress, E: Egress, A: Application> Worker<I, E, A> {
    /// Whether there is work for a moment of rest.
    pub(super) fn has_pressing(&self) -> bool {
        self.pressroom.working
    }

    /// Looks whether something is worth pressing.
    pub(super) fn look_for_pressing(&mut self, now_ns: u64) {
        if self.pressroom.working || self.frozen || self.is_draining() {
            return;
        }
        // A price that has run out, or was never published, decides nothing.
        let mut prices = reprice::typed(&self.prices);
        let valid = |resource: Resource| {
            let until_ns = self.prices.rates[resource as usize].map_or(0, |rate| rate.valid_until_ns);
            until_ns == 0 || now_ns < until_ns
        };
        prices.bandwidth = prices.bandwidth.filter(|_| valid(Resource::Bandwidth));
        prices.core = prices.core.filter(|_| valid(Resource::Core));
        prices.memory = prices.memory.filter(|_| valid(Resource::Memory));
        let Some(content) = self.engine.application_mut().application.compressible() else { return };
        for _ in 0..WISHES_MAX {
            let Some(Wish { content: name, len, sent, effort }) = content.wish() else { return };
            let chosen = self.pressroom.rule.choose(&prices, &Wished { len, sent, effort });
            if let Some(chosen) = chosen
                && content.press(name, chosen.effort)
            {
                let line = format!(
                    "{len} bytes were sent {sent} times larger than need be, for {:.2e} $ at {prices}; they are pressed \
                     {}, which should cost {:.2e} $",
                    chosen.saved, CALLED[chosen.effort], chosen.costs
                );
                (self.pressroom.effort, self.pressroom.core_ns) = (chosen.effort, 0);
                self.pressroom.working = true;
                self.log(now_ns, Level::Info, line);
                return;
            }
        }
    }

    /// A piece of the work.
    pub(super) fn press_on(&mut self, home: &impl Home) {
        let Some(content) = self.engine.application_mut().application.compressible() else { return };
        let begun_ns = home.now_ns();
        let pressed = content.go_on();
        self.pressroom.working = content.is_pressing();
        let now_ns = home.now_ns();
        let room = &mut self.pressroom;
        room.core_ns += now_ns.saturating_sub(begun_ns);
        let Some(pressed) = pressed else { return };
        room.rule.learn(room.effort, pressed.len, pressed.to.unwrap_or(pressed.len), room.core_ns);
        let took_us = room.core_ns / 1000;
        let line = match pressed.to {
            Some(to) => {
                format!(
                    "{}: {to} bytes instead of {} from now on; it took {took_us} us",
                    pressed.name, pressed.len
                )
            }
            None => format!(
                "{}: {} bytes stay as they are, smaller they do not become or have no room; it took {took_us} us",
                pressed.name, pressed.len
            ),
        };
        self.log(now_ns, Level::Info, line);
        self.look_for_pressing(now_ns);
    }
}

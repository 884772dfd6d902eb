//! The price of memory decides how much of it a cache has.

use super::{Worker, reprice};
use crate::management::Level;
use alloc::format;
use nom_abi::board::Resource;
use nom_money::print_bytes;
use nom_stack::application::Application;
use nom_stack::port::{Egress, Ingress};

/// Time between two decisions: long enough to see how much is asked.
const EVERY_NS: u64 = 1_000_000_000;

/// What was seen at the last one.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Sized {
    at_ns: u64,
    asked: u64,
}

impl<I: Ingress, E: Egress, A: Application> Worker<I, E, A> {
    pub(super) fn size(&mut self, now_ns: u64) {
        let Some(sizing) = self.configuration.allowed.sizing else { return };
        let passed_ns = now_ns.saturating_sub(self.sized.at_ns);
        if passed_ns < EVERY_NS {
            return;
        }
        let Some(elastic) = self.engine.application_mut().application.elastic() else { return };
        let asked = elastic.asked();
        let asked_per_s = asked.saturating_sub(self.sized.asked) as f64 * 1e9 / passed_ns as f64;
        self.sized = Sized { at_ns: now_ns, asked };
        // A price that has run out, or was never published, decides nothing.
        let until_ns = self.prices.rates[Resource::Memory as usize].map_or(0, |rate| rate.valid_until_ns);
        let Some(memory) = reprice::typed(&self.prices).memory.filter(|_| until_ns == 0 || now_ns < until_ns)
        else {
            return;
        };
        let before = elastic.bytes();
        let chosen = sizing.choose(memory, asked_per_s, before, |bytes| elastic.miss_ratio(bytes));
        if let Some(resized) = chosen
            && elastic.resize(resized.bytes)
        {
            let line = format!(
                "memory for items: {} instead of {} at {memory}, {asked_per_s:.0} asked a second; saves {:.2e} $/s",
                print_bytes(resized.bytes),
                print_bytes(before),
                resized.saved_per_s
            );
            self.log(now_ns, Level::Info, line);
        }
    }
}

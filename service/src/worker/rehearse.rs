//! A change of price, played through without effect while nothing else is to be done.
//!
//! From a new price to the knob in force lies code that nothing else executes. In a service with few requests minutes pass
//! between two prices, and by then caches, and an emulator's tables, have given its place to others: the first price that
//! counts would fetch it, as late as that takes. A rehearsal executes it meanwhile: the board is read, the tuner decides as
//! if the prices in force were new, and the knobs in force are set once more. The tuner takes its part back
//! ([`nom_tuner::Tuner::rehearse`]), and nothing is said, settled, learnt or spent.
//!
//! It is rehearsed only in idle moments of a tuner that is on, while requests arrive (otherwise a price moves nothing that
//! anybody waits for), and at most every [`AGAIN_NS`]; not while the service drains or serves nothing, and on several
//! cores without the knobs, which would wake the others.

use super::{Worker, reprice};
use crate::home::Home;
use crate::setting;
use nom_points::Setting;
use nom_stack::application::Application;
use nom_stack::port::{Egress, Ingress};

/// Time between two rehearsals.
const AGAIN_NS: u64 = 100_000_000;
/// Where it was not the moment for one, another moment is looked for after this time.
const LATER_NS: u64 = 1_000_000;

/// What was rehearsed.
#[derive(Debug, Default)]
pub(super) struct Rehearsal {
    /// Those that came to the knob.
    count: u64,
    /// Which setting is left: another one when a rehearsal did not come to the knob.
    turn: u64,
    again_ns: u64,
}

impl<I: Ingress, E: Egress, A: Application> Worker<I, E, A> {
    /// How often a change of price was rehearsed.
    pub fn rehearsals(&self) -> u64 {
        self.rehearsal.count
    }

    /// Rehearses in an idle moment, when it is time to.
    #[inline]
    pub(super) fn keep_fresh(&mut self, home: &mut impl Home, now_ns: u64) {
        if now_ns >= self.rehearsal.again_ns && self.configuration.rehearsal {
            self.rehearse(home, now_ns);
        }
    }

    #[inline(never)]
    fn rehearse(&mut self, home: &mut impl Home, now_ns: u64) {
        let may = self.tuning.is_asked()
            && self.setting != Setting::Nothing
            && !self.is_draining()
            && self.engine.is_at_rest()
            && setting::knobs(self.setting, &self.configuration.knobs) == *self.engine.knobs();
        self.rehearsal.again_ns = now_ns.saturating_add(if may { AGAIN_NS } else { LATER_NS });
        if !may {
            return;
        }
        let Ok(said) = self.consult(home, now_ns) else { return };
        let Some(quoted) = reprice::quoted(&said.prices) else { return };
        let alone = home.others().is_none();
        let (engine, configuration, setting) = (&mut self.engine, &self.configuration, self.setting);
        let mut put = |_| {
            if alone {
                reprice::in_force(engine, configuration, home, setting);
            }
        };
        match self.tuning.rehearse(&quoted, self.rehearsal.turn, &mut put) {
            true => self.rehearsal.count += 1,
            false => self.rehearsal.turn += 1,
        }
    }
}

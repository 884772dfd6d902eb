//! A new price: the tuner is asked, the knobs change, and what came before the price is settled at the old one.

use super::{Worker, reading};
use crate::configuration::Configuration;
use crate::home::Home;
use crate::management::{KnobChange, Level, Message};
use crate::setting;
use crate::tuning::Figures;
use alloc::format;
use alloc::string::ToString;
use core::sync::atomic::Ordering::Relaxed;
use nom_abi::board::{self, RESOURCES, Resource};
use nom_abi::statistics::Counter;
use nom_feeds::quote::Limits;
use nom_ledger::{Reading, Trouble, Window};
use nom_money::Prices;
use nom_points::Setting;
use nom_stack::Engine;
use nom_stack::application::Application;
use nom_stack::port::{Egress, Ingress};
use nom_tuner::{Decision, Quoted, Why};

/// The board's rates as typed prices. A rate that has run out still stands here: it is billed until another one
/// replaces it; whether it may still be decided by is the tuner's question.
pub(super) fn typed(prices: &board::Prices) -> Prices {
    nom_feeds::board::typed(rates(prices))
}

fn rates(prices: &board::Prices) -> [Option<i128>; RESOURCES.len()] {
    prices.rates.map(|rate| rate.map(|rate| rate.atto_per_unit))
}

/// A rate so many times beyond what priced lets through by default is a publisher's mistake: a ledger that takes it
/// cannot add up any more.
const BEYOND_LIMITS: i128 = 1000;

/// Whether the ledger can reckon with these rates.
pub(super) fn plausible(rates: &[Option<i128>; RESOURCES.len()]) -> bool {
    let limits = Limits::default();
    let within = |resource: Resource, most: i128| {
        let rate = rates[resource as usize].unwrap_or(0);
        rate.unsigned_abs() <= most.unsigned_abs().saturating_mul(BEYOND_LIMITS.unsigned_abs())
    };
    within(Resource::Bandwidth, limits.bandwidth_max.0)
        && within(Resource::Core, limits.core_max.0)
        && within(Resource::Memory, limits.memory_max.0)
}

/// The same for the tuner; none when nothing was published yet. What runs out first ends all of it.
fn quoted(prices: &board::Prices) -> Option<Quoted> {
    let ends = prices.rates.iter().flatten().map(|rate| rate.valid_until_ns).filter(|until| *until != 0);
    (prices.generation != 0).then(|| Quoted {
        prices: typed(prices),
        generation: prices.generation,
        valid_until_ns: ends.min().unwrap_or(0),
    })
}

impl<I: Ingress, E: Egress, A: Application> Worker<I, E, A> {
    /// Takes what the board says now. False when it cannot be read or used.
    pub(super) fn reprice(&mut self, home: &mut impl Home) -> bool {
        let seen_ns = home.now_ns();
        match board::read(home.board()) {
            Ok(prices) if !plausible(&rates(&prices)) => {
                // The prices in force stay, as with a board that cannot be read.
                if !core::mem::replace(&mut self.board_unreadable, true) {
                    let generation = prices.generation;
                    let text = format!(
                        "the bulletin board's prices {generation} are refused: a rate is beyond all measure; \
                         look at who publishes them"
                    );
                    self.log(seen_ns, Level::Warning, text);
                }
                false
            }
            Ok(prices) => {
                let (announced_ns, credible) = self.foreseen.turn(&prices, seen_ns);
                self.announced_ns = announced_ns;
                self.prices = prices;
                self.board_unreadable = false;
                // What was done until now belongs to the prices before. It is sealed when the knob has moved: that need
                // not wait for sums and hashes.
                let reading = reading::reading(&self.engine, home);
                self.tune(home, seen_ns, Some(reading));
                self.settle_prices(home, seen_ns, &reading);
                if !credible && !self.announcement_refused {
                    let text = "what the bulletin board announces is refused: it is beyond all measure, or not for later; \
                                look at who publishes it";
                    self.log(seen_ns, Level::Warning, text);
                }
                self.announcement_refused = !credible;
                true
            }
            Err(error) => {
                // Torn: the publisher is at it, or dead. The prices in force stay; the next turn looks again.
                if !core::mem::replace(&mut self.board_unreadable, true) {
                    self.log(
                        seen_ns,
                        Level::Warning,
                        format!("the bulletin board cannot be read: {error:?}"),
                    );
                }
                false
            }
        }
    }

    /// Settles what came before the prices in force, and tells the ledger of these. What fails is owed.
    pub(super) fn settle_prices(&mut self, home: &mut impl Home, now_ns: u64, reading: &Reading) {
        let prices = typed(&self.prices);
        let (generation, announced_ns) = (self.prices.generation, self.announced_ns);
        let sealed = self.ledger.set_prices(prices, generation, announced_ns, now_ns, reading);
        self.prices_owed = sealed.is_err();
        self.sealed(home, sealed, now_ns);
    }

    /// Keeps a sealed window and sends it.
    pub(super) fn sealed(
        &mut self,
        home: &mut impl Home,
        sealed: Result<Option<Window>, Trouble>,
        now_ns: u64,
    ) {
        match sealed {
            Ok(Some(window)) => {
                home.sealed(&window);
                self.channel.push(&Message::Window(window.to_json()));
                self.last_window = Some(window);
                self.trouble = None;
            }
            Ok(None) => {}
            Err(trouble) => {
                // It is tried again with every chore, and said once.
                if self.trouble.replace(trouble) != Some(trouble) {
                    self.log(now_ns, Level::Error, format!("the ledger cannot settle: {trouble}"));
                }
            }
        }
    }

    /// Asks the tuner and does what it says. `seen_ns` is when its cause was seen; of a price, with the reading of then.
    pub(super) fn tune(&mut self, home: &mut impl Home, seen_ns: u64, priced: Option<Reading>) {
        if self.is_draining() {
            return;
        }
        let interrupted = priced.is_some().then(|| interrupts(home));
        let (squares, guests) =
            home.others().map_or((0, 0), |others| (others.meter.latency_square_sum(), others.connections));
        let figures = Figures {
            reading: priced.unwrap_or_else(|| reading::reading(&self.engine, home)),
            latency_square_sum: self.engine.meter().latency_square_sum() + squares,
            connections: self.engine.application().guests() + guests,
            frames: [self.engine.counters().frames_in, self.engine.counters().frames_out],
            gathered: self.engine.gathered(),
        };
        let (engine, configuration) = (&mut self.engine, &self.configuration);
        let mut at = None;
        let mut put = |setting| at = Some(in_force(engine, configuration, home, setting));
        let (quoted, announced) = (quoted(&self.prices), self.foreseen.announced());
        match self.tuning.look(seen_ns, &figures, quoted, announced, &mut put) {
            Some(Decision { change: Some(setting), why }) => {
                let at = at.unwrap_or_else(|| in_force(&mut self.engine, &self.configuration, home, setting));
                self.tell_of(setting, &why, seen_ns, (at, interrupted))
            }
            Some(Decision { change: None, why }) => self.log(seen_ns, Level::Info, why.line()),
            None => {}
        }
    }

    /// Does what was decided for another reason than a price.
    pub(super) fn decided(&mut self, home: &mut impl Home, decision: Decision, seen_ns: u64) {
        match decision.change {
            Some(setting) => {
                let at = in_force(&mut self.engine, &self.configuration, home, setting);
                self.tell_of(setting, &decision.why, seen_ns, (at, None));
            }
            None => self.log(seen_ns, Level::Info, decision.why.line()),
        }
    }

    /// Tells of a setting that is in force since then; because of a price, with the interrupts until it was seen.
    fn tell_of(&mut self, setting: Setting, why: &Why, seen_ns: u64, (at, before): (InForce, Option<u64>)) {
        let priced = before.is_some();
        let interrupts = at.interrupts.saturating_sub(before.unwrap_or(at.interrupts));
        let before = core::mem::replace(&mut self.setting, setting);
        self.setting_ns = at.at_ns;
        self.knob_changes += 1;
        self.channel.push(&Message::Knobs(KnobChange {
            number: self.knob_changes,
            price_generation: self.prices.generation,
            provider_unix_ns: if priced { self.prices.provider_unix_ns } else { 0 },
            in_force_unix_ns: at.unix_ns,
            published_ns: if priced { self.prices.published_ns } else { 0 },
            seen_ns,
            in_force_ns: at.at_ns,
            interrupts,
            before: before.to_string(),
            after: setting.to_string(),
            why: why.line(),
        }));
    }
}

/// A setting is in force: since when, by both clocks, and what the machine had been interrupted by until then.
struct InForce {
    at_ns: u64,
    unix_ns: u64,
    interrupts: u64,
}

/// Interrupts that the machine has taken so far, where it is the application's own.
fn interrupts(home: &impl Home) -> u64 {
    let count = |which: Counter| home.machine().get(which as usize).map_or(0, |word| word.load(Relaxed));
    count(Counter::Interrupts) + count(Counter::TimerInterrupts)
}

/// Puts a setting in force on all cores.
fn in_force<I: Ingress, E: Egress, A: Application>(
    engine: &mut Engine<I, E, A>,
    configuration: &Configuration,
    home: &mut impl Home,
    setting: Setting,
) -> InForce {
    let knobs = setting::knobs(setting, &configuration.knobs);
    engine.set_knobs(knobs, home.now_ns());
    home.lead(&knobs);
    InForce { at_ns: home.now_ns(), unix_ns: home.unix_ns(), interrupts: interrupts(home) }
}

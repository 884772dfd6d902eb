//! One application on one core: its stack, its prices, its ledger, and how it waits.
//!
//! [`Worker::turn`] is one round: the stack does what is due, the board is looked at (one load when nothing
//! changed), and chores (management, statistics, settlement, tuning) are done when their time has come; then the
//! core waits as its knob says. Nothing here is done per request.
//!
//! Files: `reprice` (a new price, and what it changes), `foreseen` (prices that are announced), `reload` (another configuration, and orders), `chores` (what is
//! due by time), `drain` (the end), `nap` (sleeping while frames gather), `size` (the price of memory), `press` (what leaves smaller), `succession` (going on in
//! another process), `eyes` (what a person looks at),
//! `provider` (asking for prices over the application's own stack), `reading` (cumulative figures).

mod chores;
mod drain;
mod eyes;
mod foreseen;
mod lease;
mod names;
mod nap;
mod press;
mod provider;
mod reading;
mod reload;
mod reprice;
mod size;
mod succession;

use crate::configuration::{Configuration, PriceSource};
use crate::home::Home;
use crate::management::channel::Channel;
use crate::management::{Level, Message};
use crate::metrics::Who;
use crate::setting;
use crate::together::Together;
use crate::tuning::Tuning;
use alloc::string::String;
use core::fmt::{self, Display};
use core::net::IpAddr;
use drain::Phase;
pub(crate) use drain::{close_answered, cut_all, quiet_ns};
use eyes::Eyes;
use nap::Nap;
use nom_abi::board;
use nom_feeds::Priced;
use nom_feeds::priced::Settings;
use nom_ledger::{Ledger, Trouble, Window};
use nom_money::PerOperation;
use nom_points::Setting;
use nom_stack::application::{Application, ConnectionId};
use nom_stack::config::Config;
use nom_stack::dhcp;
use nom_stack::knobs::Wait;
use nom_stack::port::{Egress, Ingress};
use nom_stack::tap::Tapped;
use nom_stack::{ConnectError, Engine, Handle};
use nom_utility::{Contract, LimitKind};
use reading::Interval;
pub use succession::Moved;
pub(crate) use succession::{move_in, move_out};

/// Time between two looks at the chores while there is always something else to do.
const CHORES_NS: u64 = 10_000_000;

/// Why a worker does not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartError {
    /// The home has no entropy, without which others could guess connections and collide keys.
    NoEntropy,
    /// The bulletin board is none.
    Board(board::Unreadable),
}

impl Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEntropy => {
                f.write_str("no entropy: give the guest a CPU with RDRAND or a virtio-rng device")
            }
            Self::Board(board::Unreadable::Short) => f.write_str("the bulletin board is shorter than a page"),
            Self::Board(_) => f.write_str("the bulletin board is not one, or of another version"),
        }
    }
}

/// What a round came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// Something was done: there may be more.
    Worked,
    /// Nothing was there to do; something is due at this time even if nothing arrives.
    Idle {
        /// When.
        until_ns: u64,
    },
    /// The work is over.
    Over,
}

/// Who is served, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The application's name.
    pub application: String,
    /// Its version.
    pub version: String,
    /// `guest`, `linux` or the name of another home.
    pub home: String,
}

impl Identity {
    /// The same for a page of metrics.
    pub fn who(&self) -> Who {
        let Self { application, version, home } = self.clone();
        Who { application, version, home }
    }
}

/// An application with everything it needs.
pub struct Worker<I: Ingress, E: Egress, A: Application> {
    engine: Engine<Tapped<I>, Tapped<E>, Together<A>>,
    eyes: Eyes,
    /// Who asks for our address, where that is not configured.
    lease: Option<dhcp::Client>,
    /// Who finds names out, where a price service has one.
    names: Option<names::Names>,
    identity: Identity,
    configuration: Configuration,
    channel: Channel,
    ledger: Ledger,
    tuning: Tuning,
    priced: Option<Priced>,
    /// The prices in force and where they came from.
    prices: board::Prices,
    /// What the board announces beside them.
    foreseen: foreseen::Foreseen,
    /// How long before they came the prices in force were announced.
    announced_ns: Option<u64>,
    /// It was said that the board cannot be read, or not be used.
    board_unreadable: bool,
    /// It was said that what it announces cannot be believed.
    announcement_refused: bool,
    ready_ns: u64,
    setting: Setting,
    /// Since when.
    setting_ns: u64,
    knob_changes: u64,
    /// The setting stays, whatever the tuner thinks.
    frozen: bool,
    /// Connections that tables were made for.
    connections_made: u32,
    interval: Interval,
    sized: size::Sized,
    pressroom: press::Pressroom,
    last_window: Option<Window>,
    /// What the ledger said last when it could not settle.
    trouble: Option<Trouble>,
    /// It could not settle what came before the prices in force: it has not been told of them yet.
    prices_owed: bool,
    sleeps: u64,
    nap: Nap,
    /// The last time there was work.
    worked_ns: u64,
    chores_ns: u64,
    stats_ns: u64,
    phase: Phase,
}

/// The seeds of everything that others must not guess, for [`Worker::new`] and for the application.
pub fn seed<const N: usize>(home: &mut impl Home) -> Result<[u8; N], StartError> {
    let mut seed = [0; N];
    if home.entropy(&mut seed) { Ok(seed) } else { Err(StartError::NoEntropy) }
}

fn contract(configuration: &Configuration) -> Contract {
    let nothing = || Contract::per_operation(PerOperation(0), LimitKind::Simple { limit_ns: u64::MAX });
    configuration.contract.unwrap_or_else(nothing)
}

/// The stack of a core as the configuration wants it, open to clients.
pub(crate) fn engine<I: Ingress, E: Egress, A: Application>(
    configuration: &Configuration,
    mac: [u8; 6],
    ingress: I,
    egress: E,
    application: A,
    seed: [u8; 32],
    now_ns: u64,
) -> Engine<I, E, Together<A>> {
    let connections = configuration.knobs.connections_max;
    let config = Config {
        gateway: configuration.gateway,
        send_memory_bytes: configuration.send_memory_bytes,
        receive_memory_bytes: configuration.receive_memory_bytes,
        admission: configuration.admission.clone(),
        ipv6: configuration.ipv6,
        time_stamps: configuration.tcp.time_stamps,
        congestion_marks: configuration.tcp.congestion_marks,
        receive_window_bytes: configuration.tcp.window_bytes,
        // Half-open and lingering ones beside the open ones.
        connections: connections + connections / 8 + 64,
        ..Config::new(mac, configuration.address, configuration.prefix_len)
    };
    let mut engine = Engine::new(config, ingress, egress, Together::new(application), seed, now_ns);
    // The first terms always find a place.
    let _ = engine.set_terms_of_ports(configuration.tcp.terms);
    engine.listen(configuration.listen);
    engine.set_knobs(configuration.knobs, now_ns);
    if let Some(limit_ns) = contract(configuration).limit_ns() {
        engine.set_latency_threshold_ns(limit_ns);
    }
    engine
}

impl<I: Ingress, E: Egress, A: Application> Worker<I, E, A> {
    /// Starts to serve.
    pub fn new(
        identity: Identity,
        configuration: Configuration,
        mac: [u8; 6],
        ingress: I,
        egress: E,
        application: A,
        home: &mut impl Home,
    ) -> Result<Self, StartError> {
        let now_ns = home.now_ns();
        board::read(home.board()).map_err(StartError::Board)?;
        let connections = configuration.knobs.connections_max;
        let eyes = Eyes::new();
        let (ingress, egress) =
            (Tapped::new(ingress, eyes.tap.clone()), Tapped::new(egress, eyes.tap.clone()));
        let contract = contract(&configuration);
        let engine = engine(&configuration, mac, ingress, egress, application, seed(home)?, now_ns);
        home.lead(&configuration.knobs);
        let reading = reading::reading(&engine, home);
        let priced = match &configuration.prices {
            PriceSource::Board => None,
            PriceSource::Feeds(feeds) => {
                let entropy = u64::from_le_bytes(seed(home)?);
                // The configuration has one to four feeds, or it would not have been read.
                Settings::of(feeds.clone()).ok().map(|settings| Priced::new(settings, entropy, now_ns))
            }
        };
        let setting = setting::setting(&configuration.knobs);
        let mut worker = Self {
            interval: Interval::new(engine.meter(), now_ns),
            sized: size::Sized::default(),
            pressroom: press::Pressroom::default(),
            ledger: Ledger::new(contract, configuration.window_ns, now_ns, reading),
            tuning: Tuning::new(&configuration, setting, now_ns),
            channel: Channel::new(configuration.token.clone()),
            priced,
            prices: board::Prices::NONE,
            foreseen: foreseen::Foreseen::default(),
            announced_ns: None,
            board_unreadable: false,
            announcement_refused: false,
            ready_ns: now_ns,
            setting,
            setting_ns: now_ns,
            knob_changes: 0,
            frozen: false,
            connections_made: connections,
            last_window: None,
            trouble: None,
            prices_owed: false,
            sleeps: 0,
            nap: Nap::default(),
            worked_ns: now_ns,
            chores_ns: now_ns,
            stats_ns: now_ns,
            phase: Phase::Serving,
            identity,
            configuration,
            eyes,
            lease: None,
            names: None,
            engine,
        };
        if worker.configuration.prices.has_names() {
            let seed = u64::from_le_bytes(seed(home)?);
            worker.names = Some(names::Names::new(&worker.configuration.name_servers, seed));
        }
        if worker.configuration.address.is_unspecified() {
            worker.begin_lease(mac, u64::from_le_bytes(seed(home)?), now_ns);
        }
        if let Some(line) = worker.tuning.opening() {
            worker.log(now_ns, Level::Info, line);
        }
        if worker.configuration.token.is_none() {
            worker.hello(home);
        }
        Ok(worker)
    }

    /// The stack, to look at.
    pub fn engine(&self) -> &Engine<Tapped<I>, Tapped<E>, Together<A>> {
        &self.engine
    }

    /// The application, between two turns.
    pub fn application_mut(&mut self) -> &mut A {
        &mut self.engine.application_mut().application
    }

    /// Calls the application with a connection between two turns, to write to it, to close it, or to take what it left
    /// unconsumed. Nothing when the connection is not open.
    pub fn with_connection<R>(
        &mut self,
        id: ConnectionId,
        now_ns: u64,
        call: impl FnOnce(&mut A, &mut Handle<'_>) -> R,
    ) -> Option<R> {
        self.engine.with_connection(id, now_ns, |together, io| call(&mut together.application, io))
    }

    /// Lets others open connections to this port as well, until a drain begins.
    pub fn listen(&mut self, port: u16) {
        if !self.is_draining() {
            self.engine.listen(port);
        }
    }

    /// The port that the configuration names.
    pub fn port(&self) -> u16 {
        self.configuration.listen
    }

    /// Begins to open a connection of the application's own, which hears of it by `opened`, or by `ended` when that failed.
    pub fn connect(
        &mut self,
        address: impl Into<IpAddr>,
        port: u16,
        now_ns: u64,
    ) -> Result<ConnectionId, ConnectError> {
        let id = self.engine.connect(address, port, now_ns)?;
        self.engine.application_mut().expect(id);
        Ok(id)
    }

    /// The setting in force.
    pub fn setting(&self) -> Setting {
        self.setting
    }

    /// How many windows were sealed, and the last of them.
    pub fn settled(&self) -> (u64, Option<&Window>) {
        (self.ledger.windows(), self.last_window.as_ref())
    }

    /// Serves until it was drained.
    pub fn run(&mut self, home: &mut impl Home) {
        while self.turn(home) {}
    }

    /// One round and, when there was nothing to do, a wait. False when the work is over.
    pub fn turn(&mut self, home: &mut impl Home) -> bool {
        self.turn_until(home, u64::MAX)
    }

    /// The same for whoever has something else to do at a time of their own: no wait goes on beyond it.
    pub fn turn_until(&mut self, home: &mut impl Home, limit_ns: u64) -> bool {
        match self.round(home) {
            Round::Worked => true,
            Round::Idle { until_ns } => {
                if limit_ns == u64::MAX || limit_ns > home.now_ns() {
                    self.rest(home, until_ns.min(limit_ns));
                }
                true
            }
            Round::Over => false,
        }
    }

    /// One round without waiting: for whoever waits in a way of their own, such as virtual time.
    pub fn round(&mut self, home: &mut impl Home) -> Round {
        let now_ns = home.now_ns();
        let step = self.engine.step(now_ns);
        // What is changed here may make work for the stack: it is asked again before anybody sleeps.
        let mut again = step.worked;
        if self.lease.is_some() {
            again |= self.keep_lease(now_ns);
        }
        if self.names.is_some() {
            again |= self.keep_names(now_ns);
        }
        if self.priced.is_some() {
            again |= self.ask_for_prices(home, now_ns);
        }
        if board::generation(home.board()) != self.prices.generation {
            again |= self.reprice(home);
        }
        if now_ns >= self.chores_ns {
            self.chores(home);
            again = true;
        }
        if self.phase == Phase::Over {
            return Round::Over;
        }
        if step.worked {
            self.worked_ns = now_ns;
        }
        if !again && self.has_pressing() {
            self.press_on(home);
            again = true;
        }
        if again {
            return Round::Worked;
        }
        let due_ns = self.due_ns();
        Round::Idle { until_ns: step.deadline_ns.map_or(due_ns, |deadline| deadline.min(due_ns)) }
    }

    /// To be called after a wait that [`Worker::turn`] did not do.
    pub fn woke(&mut self, home: &impl Home) {
        self.sleeps += 1;
        if home.management_pending() {
            self.chores_ns = 0;
        }
    }

    /// Waits as the knob says.
    fn rest(&mut self, home: &mut impl Home, until_ns: u64) {
        let sleep = match self.engine.knobs().wait {
            Wait::Halt => true,
            Wait::Spin { budget_ns } => home.now_ns().saturating_sub(self.worked_ns) >= budget_ns,
            Wait::Poll => false,
        };
        if !sleep || !self.engine.application_mut().may_rest() {
            return core::hint::spin_loop();
        }
        let gathers = self.engine.gathers_until_ns();
        let nap = gathers.and_then(|batch| self.nap.until_ns(self.engine.counters(), home.now_ns(), batch));
        if let Some(nap_ns) = nap {
            home.nap(until_ns.min(nap_ns));
        } else if self.engine.ingress_mut().arm() {
            home.wait(Some(until_ns));
        } else {
            return core::hint::spin_loop();
        }
        self.woke(home);
    }

    fn log(&mut self, at_ns: u64, level: Level, text: impl Into<String>) {
        self.channel.push(&Message::Log { at_ns, level, text: text.into() });
    }
}

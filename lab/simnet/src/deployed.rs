//! A deployed application in virtual time: the worker that ships, on a home whose clock is the simulation's.
//!
//! The core's time is modelled: work costs what [`Cost`] says; idle time is used when the knob says poll, used up to
//! the budget when it says spin, and free when it says halt. A wake-up from a halt costs more than one from a poll.
//! Prices are published on the board at given times, as a schedule would.

use crate::host::Cost;
use crate::port::{Device, Rings, SimEgress, SimIngress, device};
use crate::simulation::{Node, Rest};
use nom_abi::board::{self, Prices};
use nom_load::random::Random;
use nom_service::configuration::Configuration;
use nom_service::home::{Home, NotMine};
use nom_service::management::Message;
use nom_service::worker::{Identity, Round, StartError, Worker};
use nom_stack::application::Application;
use nom_stack::knobs::Wait;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;

/// The day on which every simulation begins.
const START_UNIX_NS: u64 = 1_800_000_000_000_000_000;

/// A home of virtual time.
pub struct VirtualHome {
    now_ns: u64,
    core_ns: u64,
    memory_bytes: u64,
    board: Vec<AtomicU64>,
    random: Random,
    commands: VecDeque<u8>,
    lines: Vec<u8>,
    /// The configuration's file as it is now.
    file: Option<String>,
}

impl Home for VirtualHome {
    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn unix_ns(&self) -> u64 {
        START_UNIX_NS + self.now_ns
    }

    fn wait(&mut self, _until_ns: Option<u64>) {
        unreachable!("in virtual time the simulation waits")
    }

    fn configuration(&mut self) -> Option<Result<String, String>> {
        self.file.clone().map(Ok)
    }

    fn board(&self) -> &[AtomicU64] {
        &self.board
    }

    fn publish(&mut self, prices: &Prices) -> Result<u64, NotMine> {
        board::publish(&self.board, prices).map_err(|_| NotMine)
    }

    fn management_read(&mut self, bytes: &mut [u8]) -> usize {
        let len = bytes.len().min(self.commands.len());
        for (place, byte) in self.commands.drain(..len).enumerate() {
            bytes[place] = byte;
        }
        len
    }

    fn management_write(&mut self, bytes: &[u8]) -> usize {
        self.lines.extend_from_slice(bytes);
        bytes.len()
    }

    fn management_pending(&self) -> bool {
        !self.commands.is_empty()
    }

    fn core_time_ns(&self) -> u64 {
        self.core_ns
    }

    fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    fn entropy(&mut self, bytes: &mut [u8]) -> bool {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.random.next().to_le_bytes()[..chunk.len()]);
        }
        true
    }
}

/// A worker as a node.
pub struct Deployed<A: Application> {
    worker: Worker<SimIngress, SimEgress, A>,
    home: VirtualHome,
    rings: Rc<RefCell<Rings>>,
    cost: Cost,
    prices: VecDeque<(u64, Prices)>,
    /// Idle since then; nothing while at work.
    idle_ns: Option<u64>,
    before: [u64; 3],
    over: bool,
}

impl<A: Application> Deployed<A> {
    /// A worker that starts at time 0 with prices to come, by rising time. `application` is made with the home's
    /// entropy.
    pub fn new(
        configuration: Configuration,
        kind: Device,
        cost: Cost,
        memory_bytes: u64,
        prices: Vec<(u64, Prices)>,
        seed: u64,
        application: impl FnOnce(&Configuration, [u8; 16]) -> A,
    ) -> Result<Self, StartError> {
        let board: Vec<AtomicU64> = (0..board::WORDS).map(|_| AtomicU64::new(0)).collect();
        board::initialise(&board).map_err(StartError::Board)?;
        let mut home = VirtualHome {
            now_ns: 0,
            core_ns: 0,
            memory_bytes,
            board,
            random: Random::new(seed),
            commands: VecDeque::new(),
            lines: Vec::new(),
            file: None,
        };
        let (ingress, egress, rings) = device(kind);
        let application = application(&configuration, nom_service::worker::seed(&mut home)?);
        let identity =
            Identity { application: "simulated".into(), version: "0".into(), home: "virtual".into() };
        let mac = [2, 0, 0, 0, 0, 1];
        let worker = Worker::new(identity, configuration, mac, ingress, egress, application, &mut home)?;
        let prices = prices.into();
        Ok(Self { worker, home, rings, cost, prices, idle_ns: None, before: [0; 3], over: false })
    }

    /// The worker.
    pub fn worker(&self) -> &Worker<SimIngress, SimEgress, A> {
        &self.worker
    }

    /// Sends a command through the management channel. Touch the node afterwards.
    pub fn command(&mut self, line: &str) {
        self.home.commands.extend(line.bytes());
    }

    /// Writes the file of the configuration, which the command `reload` reads.
    pub fn write_file(&mut self, text: &str) {
        self.home.file = Some(text.into());
    }

    /// The meter of core time begins anew, as a careless host's would: less was used than the ledger has seen.
    pub fn reset_core_meter(&mut self) {
        self.home.core_ns = 0;
    }

    /// What came through the management channel since the last call.
    ///
    /// # Panics
    ///
    /// When a line is none: then the worker or the reader is wrong.
    pub fn messages(&mut self) -> Vec<Message> {
        let text = String::from_utf8(std::mem::take(&mut self.home.lines)).expect("lines are UTF-8");
        text.lines()
            .map(|line| Message::parse(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }

    /// It was drained and has said bye.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Bills the time since it became idle, and says whether it had halted.
    fn wake(&mut self, now_ns: u64) -> bool {
        let Some(since_ns) = self.idle_ns.take() else { return false };
        let idle_ns = now_ns - since_ns;
        match self.worker.engine().knobs().wait {
            Wait::Halt => true,
            Wait::Spin { budget_ns } => {
                self.home.core_ns += idle_ns.min(budget_ns);
                idle_ns > budget_ns
            }
            Wait::Poll => {
                self.home.core_ns += idle_ns;
                false
            }
        }
    }

    fn work_cost_ns(&mut self) -> u64 {
        let counters = self.worker.engine().counters();
        let now = [
            counters.frames_in + counters.frames_out,
            counters.bytes_in + counters.bytes_out,
            counters.kicks,
        ];
        let before = std::mem::replace(&mut self.before, now);
        let work = |place: usize| now[place] - before[place];
        let some = u64::from(now != before);
        work(0) * self.cost.frame_ns
            + work(1) * self.cost.kilobyte_ns / 1000
            + work(2) * self.cost.kick_ns
            + some * self.cost.batch_ns
    }
}

impl<A: Application> Node for Deployed<A> {
    fn deliver(&mut self, now_ns: u64, _port: usize, frame: &[u8], damaged: bool) {
        self.rings.borrow_mut().deliver(now_ns, frame, damaged);
    }

    fn step(&mut self, now_ns: u64) -> Rest {
        self.home.now_ns = now_ns;
        if self.over {
            return Rest { worked: false, deadline_ns: None, free_ns: now_ns };
        }
        while let Some((_, prices)) = self.prices.pop_front_if(|(at_ns, _)| *at_ns <= now_ns) {
            let written = Prices { published_ns: now_ns, provider_unix_ns: START_UNIX_NS + now_ns, ..prices };
            // The board is a whole one and this is its only publisher.
            let _ = self.home.publish(&written);
        }
        let mut cost_ns = 0;
        if self.wake(now_ns) {
            self.worker.woke(&self.home);
            cost_ns += self.cost.wake_ns;
        }
        let round = self.worker.round(&mut self.home);
        cost_ns += self.work_cost_ns();
        let next_ns = self.prices.front().map(|(at_ns, _)| *at_ns);
        self.home.core_ns += cost_ns;
        let free_ns = now_ns + cost_ns;
        match round {
            Round::Worked => Rest { worked: true, deadline_ns: None, free_ns },
            Round::Idle { until_ns } => {
                self.idle_ns = Some(free_ns);
                let until_ns = next_ns.map_or(until_ns, |next| next.min(until_ns));
                Rest { worked: false, deadline_ns: Some(until_ns), free_ns }
            }
            Round::Over => {
                self.over = true;
                Rest { worked: false, deadline_ns: None, free_ns }
            }
        }
    }

    fn depart(&mut self) -> Option<(usize, Vec<u8>)> {
        let frame = self.rings.borrow_mut().depart()?;
        Some((0, frame))
    }
}

//! What is due by time: management, statistics, settlement, tuning.

use super::{CHORES_NS, Worker, reading, reprice};
use crate::home::Home;
use crate::management::channel::Asked;
use crate::management::{Hello, Level, Machine, Message, Stats, Words};
use crate::metrics;
use crate::share::Share;
use alloc::string::{String, ToString};
use core::sync::atomic::Ordering;
use nom_points::Setting;
use nom_stack::application::Application;
use nom_stack::port::{Egress, Ingress};

/// Commands of the host that are obeyed in one round.
const COMMANDS_MAX: usize = 8;

/// Places in the channel that an application's words leave to others.
const SPARED: usize = 4;

impl<I: Ingress, E: Egress, A: Application> Worker<I, E, A> {
    /// Does everything that is due.
    pub(super) fn chores(&mut self, home: &mut impl Home) {
        let now_ns = home.now_ns();
        if self.prices_owed && !self.is_closed() {
            let reading = reading::reading(&self.engine, home);
            self.settle_prices(home, now_ns, &reading);
        } else if now_ns >= self.ledger.due_ns() && !self.is_closed() {
            let reading = reading::reading(&self.engine, home);
            let sealed = self.ledger.settle(now_ns, &reading);
            self.sealed(home, sealed, now_ns);
        }
        if self.tuning.is_due(now_ns) {
            self.tune(home, now_ns, None);
        }
        self.size(now_ns);
        self.hear_application(now_ns);
        if self.has_pressing() {
            self.press_on(home);
        } else {
            self.look_for_pressing(now_ns);
        }
        if now_ns >= self.stats_ns {
            self.stats_ns = now_ns + self.configuration.stats_interval_ns;
            if home.has_listeners() {
                self.report(home);
            }
        }
        for _ in 0..COMMANDS_MAX {
            match self.channel.turn(home) {
                Some(Asked::Hello) => self.hello(home),
                Some(Asked::Report) => self.report(home),
                Some(Asked::Machine) => self.show_machine(home),
                Some(Asked::Capture(snap)) => self.show_frames(snap, now_ns),
                Some(Asked::Connections(from)) => self.show_connections(from, now_ns),
                Some(Asked::Drain) => self.drain(now_ns),
                Some(Asked::Reload) => self.ordered_reload(home),
                Some(Asked::Set(key, value)) => self.set(home, &key, &value),
                Some(Asked::Freeze) => self.freeze(home),
                Some(Asked::Thaw) => self.thaw(home),
                None => break,
            }
        }
        self.eyes.rest(now_ns);
        if self.setting == Setting::Nothing {
            self.serve_nothing(now_ns);
        }
        self.drain_turn(home, now_ns);
        // Whoever sleeps until something is due finds that the chores are due then too.
        let now_ns = home.now_ns();
        self.chores_ns = now_ns + CHORES_NS;
        self.chores_ns = self.due_ns().clamp(now_ns + 1, self.chores_ns);
    }

    /// Passes on what the application says to people, while the channel has room for others too.
    fn hear_application(&mut self, now_ns: u64) {
        while self.channel.room() > SPARED
            && let Some(text) = self.engine.application_mut().application.said()
        {
            self.log(now_ns, Level::Info, text);
        }
    }

    /// When the next chore is due, for a sleep. What comes through the management channel wakes the home by itself.
    pub(super) fn due_ns(&self) -> u64 {
        let mut due_ns = self.stats_ns.min(self.tuning.wake_ns()).min(self.lease_ns()).min(self.names_ns());
        if !self.is_closed() {
            // What could not be settled is tried again with every chore, not without a pause.
            let again_ns = if self.trouble.is_some() { self.chores_ns } else { 0 };
            due_ns = due_ns.min(self.ledger.due_ns().max(again_ns));
        }
        if let Some(priced) = &self.priced {
            due_ns = due_ns.min(priced.deadline_ns());
        }
        // A channel that was full, or a drain, is looked at again soon.
        if self.channel.is_held_up() || self.is_draining() {
            due_ns = due_ns.min(self.chores_ns);
        }
        due_ns
    }

    pub(super) fn hello(&mut self, home: &mut impl Home) {
        self.channel.push(&Message::Hello(Hello {
            application: self.identity.application.clone(),
            version: self.identity.version.clone(),
            home: self.identity.home.clone(),
            ready_ns: self.ready_ns,
            unix_ns: home.unix_ns(),
            configuration_crc: self.configuration.crc,
        }));
    }

    /// Queues the counters of the machine.
    fn show_machine(&mut self, home: &impl Home) {
        let words = Words::new(home.machine().iter().map(|word| word.load(Ordering::Relaxed)));
        self.channel.push(&Message::Machine(Machine { at_ns: home.now_ns(), words }));
    }

    /// Queues a line of statistics.
    pub(super) fn report(&mut self, home: &mut impl Home) {
        let now_ns = home.now_ns();
        let reading = reading::reading(&self.engine, home);
        let all = home.others().map(|mut others| {
            others.meter.add(self.engine.meter());
            others
        });
        let meter = all.as_ref().map_or(self.engine.meter(), |all| &all.meter);
        let others = |figure: fn(&Share) -> u64| all.as_ref().map_or(0, figure);
        let (latency_p50_ns, latency_p99_ns) = self.interval.take(meter, now_ns);
        let prices = reprice::typed(&self.prices);
        let counters = self.engine.counters();
        let text = |price: Option<String>| price.unwrap_or_default();
        let last = self.last_window.as_ref();
        let stats = Stats {
            at_ns: now_ns,
            unix_ns: home.unix_ns(),
            accepted: reading.accepted,
            refused: reading.refused,
            latency_sum_ns: u64::try_from(reading.latency_sum_ns).unwrap_or(u64::MAX),
            latency_counts: metrics::latency_counts(meter),
            late: reading.late,
            latency_p50_ns,
            latency_p99_ns,
            wire_in_bytes: counters.bytes_in + others(|all| all.bytes_in),
            wire_out_bytes: counters.bytes_out + others(|all| all.bytes_out),
            frames_in: counters.frames_in + others(|all| all.frames_in),
            frames_out: counters.frames_out + others(|all| all.frames_out),
            frames_lost: self.engine.halves().0.lost() + others(|all| all.frames_lost),
            kicks: counters.kicks + others(|all| all.kicks),
            sleeps: self.sleeps + others(|all| all.sleeps),
            retransmissions: counters.retransmitted_segments + others(|all| all.retransmitted_segments),
            core_ns: reading.core_ns,
            memory_bytes: reading.memory_bytes,
            connections: u64::from(self.engine.application().guests())
                + others(|all| u64::from(all.connections)),
            price_generation: self.prices.generation,
            price_bandwidth: text(prices.bandwidth.map(|rate| rate.to_string())),
            price_core: text(prices.core.map(|rate| rate.to_string())),
            price_memory: text(prices.memory.map(|rate| rate.to_string())),
            setting: self.setting.to_string(),
            setting_changes: self.knob_changes,
            serving: u32::from(!self.is_draining()),
            windows: self.ledger.windows(),
            profit_picodollars: last.map_or(0, |window| window.profit_total().0),
            revenue_picodollars: last.map_or(0, |window| window.revenue.total.0),
            lines_dropped: self.channel.lines_dropped(),
            windows_dropped: self.channel.windows_dropped(),
        };
        home.told(&stats);
        self.channel.push(&Message::Stats(stats));
    }
}

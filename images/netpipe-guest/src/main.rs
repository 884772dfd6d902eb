//! netpipe in a guest: answers whoever measures, or measures whom its configuration names.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use core::net::Ipv4Addr;
use nom_guest_home::Guest;
use nom_guest_home::deployed::{self, Deployed};
use nom_netpipe::schedule::Schedule;
use nom_netpipe::{Netpipe, Plan};
use nom_runtime::log;
use nom_service::configuration::Configuration;
use nom_service::home::Home;

nom_runtime::entry!(main);

fn main() -> u8 {
    deployed::main::<Deployment>()
}

/// Between two openings: the other side may not be there yet.
const AGAIN_NS: u64 = 100_000_000;

struct Deployment {
    /// Whom we measure.
    target: Option<(Ipv4Addr, u16)>,
    /// How many connections had been opened, and had ended too early, when the last one was asked for.
    asked: Option<(u64, u64)>,
    /// None is asked for before this time.
    again_ns: u64,
    /// Lengths that were measured.
    lengths: u32,
}

impl Deployed for Deployment {
    type Application = Netpipe;

    const NAME: &'static str = "netpipe";

    fn open(configuration: &Configuration) -> Result<Self, String> {
        let target = configuration.netpipe.target;
        Ok(Self { target, asked: None, again_ns: 0, lengths: 0 })
    }

    fn application(&mut self, configuration: &Configuration, _home: &mut Guest) -> Result<Netpipe, String> {
        let told = &configuration.netpipe;
        let schedule = Schedule { start: told.first, end: told.last, perturbation: told.apart };
        // Who streams makes a connection for each trial, as NPtcp does.
        let (streams, resets) = (told.streams, told.streams);
        Ok(Netpipe::new(Plan { schedule, streams, resets, repeats: told.repeats, ..Plan::default() }))
    }

    fn turn(&mut self, netpipe: &mut Netpipe, home: &Guest) -> Option<(Ipv4Addr, u16)> {
        let target = self.target?;
        for sample in netpipe.take_samples() {
            self.lengths += 1;
            let mbit = f64::from(sample.len) * 8e3 / sample.one_way_ns;
            log!("netpipe: {} bytes: {:.1} us, {mbit:.1} Mbit/s", sample.len, sample.one_way_ns / 1e3);
        }
        if netpipe.completed() > 0 {
            log!("netpipe: measured {} lengths", self.lengths);
            self.target = None;
            return None;
        }
        let now_ns = home.now_ns();
        let (opened, broken) = (netpipe.connections(), netpipe.broken());
        if self.asked.is_some_and(|(_, before)| broken > before) {
            self.asked = None;
            self.again_ns = now_ns + AGAIN_NS;
        }
        // One that is being opened is neither opened nor broken yet.
        let wanted = self.asked.is_none_or(|(before, _)| opened > before && netpipe.wants_connection());
        if !wanted || now_ns < self.again_ns {
            return None;
        }
        self.asked = Some((opened, broken));
        Some(target)
    }
}

//! kv in a guest, on one core or several.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use nom_guest_home::deployed::{self, Deployed, Part};
use nom_guest_home::{Bell, Guest, Team};
use nom_kv::Kv;
use nom_kv::shards::{Shards, Wake};
use nom_kv_setup::Began;
use nom_service::configuration::Configuration;
use nom_service::home::Home;
use nom_service::team::Ring;
use nom_service::worker::seed;

nom_runtime::entry!(main);

fn main() -> u8 {
    deployed::main::<Deployment>()
}

#[derive(Default)]
struct Deployment {
    /// Our part of the keys, where other cores have the others.
    shards: Option<Shards>,
    /// When the clock of items began, where other cores have it too.
    began: Option<Began>,
}

/// A core that another one wakes.
struct Core(Bell);

impl Wake for Core {
    fn wake(&self) {
        self.0.ring();
    }
}

fn began(home: &Guest) -> Began {
    Began { now_ns: home.now_ns(), unix_ns: home.unix_ns() }
}

impl Deployed for Deployment {
    type Application = Kv;

    const NAME: &'static str = "kv";

    fn heap_bytes(configuration: &Configuration) -> usize {
        nom_kv_setup::heap_bytes(configuration)
    }

    fn open(_configuration: &Configuration) -> Result<Self, String> {
        Ok(Self::default())
    }

    fn parts(
        &mut self,
        configuration: &Configuration,
        team: &Arc<Team>,
        home: &mut Guest,
    ) -> Result<Vec<Part<Kv>>, String> {
        let waker = |core| Arc::new(Core(*team.bell(core))) as Arc<dyn Wake>;
        let wakers: Vec<Arc<dyn Wake>> = (0..team.cores()).map(waker).collect();
        // All cores have the same clock of items.
        let began = began(home);
        let mut seed = || seed(home).map_err(|error| error.to_string());
        let (shards, parts) = nom_kv_setup::parts(configuration, seed()?, &wakers, began, seed)?;
        (self.shards, self.began) = (shards, Some(began));
        Ok(parts)
    }

    fn application(&mut self, configuration: &Configuration, home: &mut Guest) -> Result<Kv, String> {
        let seed = seed(home).map_err(|error| error.to_string())?;
        let began = self.began.unwrap_or_else(|| began(home));
        let mut kv = Kv::new(nom_kv_setup::config(configuration, seed, began));
        if let Some(shards) = self.shards.take() {
            kv.join(shards);
        }
        Ok(kv)
    }
}

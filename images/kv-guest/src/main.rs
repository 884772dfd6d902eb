//! kv in a guest.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::{String, ToString};
use nom_guest_home::Guest;
use nom_guest_home::deployed::{self, Deployed};
use nom_kv::Kv;
use nom_service::configuration::Configuration;
use nom_service::home::Home;
use nom_service::worker::seed;

nom_runtime::entry!(main);

fn main() -> u8 {
    deployed::main::<Deployment>()
}

struct Deployment;

impl Deployed for Deployment {
    type Application = Kv;

    const NAME: &'static str = "kv";

    fn heap_bytes(configuration: &Configuration) -> usize {
        configuration.items_bytes
    }

    fn open(_configuration: &Configuration) -> Result<Self, String> {
        Ok(Self)
    }

    fn application(&mut self, configuration: &Configuration, home: &mut Guest) -> Result<Kv, String> {
        let allowed = configuration.allowed;
        let seed = seed(home).map_err(|error| error.to_string())?;
        Ok(Kv::new(nom_kv::Config {
            item_bytes_max: configuration.item_bytes_max,
            inline_value_bytes: configuration.inline_value_bytes,
            memory_bytes_max: allowed.items_bytes_max,
            evicts: allowed.evicts,
            crawls: allowed.crawls,
            sender_limit_s: allowed.sender_limit_s,
            idle_limit_s: allowed.idle_limit_s,
            may_flush: allowed.flush,
            may_watch: allowed.watch,
            may_move_time: allowed.move_time,
            start_unix_ns: home.unix_ns(),
            ..nom_kv::Config::new(configuration.items_bytes, seed, home.now_ns())
        }))
    }
}

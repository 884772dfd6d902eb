//! kv in a guest.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::{String, ToString};
use nom_guest_home::{Place, ended};
use nom_kv::Kv;
use nom_service::home::Home;
use nom_service::worker::seed;

nom_runtime::entry!(main);

fn main() -> u8 {
    ended("kv", serve())
}

fn serve() -> Result<(), String> {
    let mut place = Place::open("kv", |configuration| configuration.items_bytes)?;
    let Place { configuration, home, .. } = &mut place;
    let allowed = configuration.allowed;
    let application = Kv::new(nom_kv::Config {
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
        ..nom_kv::Config::new(
            configuration.items_bytes,
            seed(home).map_err(|error| error.to_string())?,
            home.now_ns(),
        )
    });
    place.serve(application)
}

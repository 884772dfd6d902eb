//! echo in a guest.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use nom_echo::Echo;
use nom_guest_home::Guest;
use nom_guest_home::deployed::{self, Deployed};
use nom_service::configuration::Configuration;

nom_runtime::entry!(main);

fn main() -> u8 {
    deployed::main::<Deployment>()
}

struct Deployment;

impl Deployed for Deployment {
    type Application = Echo;

    const NAME: &'static str = "echo";

    fn open(_configuration: &Configuration) -> Result<Self, String> {
        Ok(Self)
    }

    fn application(&mut self, _configuration: &Configuration, _home: &mut Guest) -> Result<Echo, String> {
        Ok(Echo::default())
    }
}

//! echo as a Linux process.

#![forbid(unsafe_code)]

use nom_echo::Echo;
use nom_linux_process::arguments::{Arguments, Program};
use nom_linux_process::deployed::{self, Deployed};
use nom_linux_process::home::LinuxHome;
use nom_service::configuration::Configuration;
use std::process::ExitCode;

fn main() -> ExitCode {
    deployed::main::<Deployment>()
}

struct Deployment;

impl Deployed for Deployment {
    type Application = Echo;

    const PROGRAM: Program = Program { name: "nom-echo-linux", files: &[] };
    const NAME: &'static str = "echo";

    fn open(_configuration: &Configuration, _arguments: &Arguments) -> Result<Self, String> {
        Ok(Self)
    }

    fn application(&mut self, _configuration: &Configuration, _home: &mut LinuxHome) -> Result<Echo, String> {
        Ok(Echo::default())
    }
}

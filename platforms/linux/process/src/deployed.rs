//! The whole life of an application as a Linux process, for those that need nothing special: `main` names the application.

use crate::arguments::{Arguments, Program};
use crate::home::LinuxHome;
use crate::network::{self, Device, Serve};
use crate::running::{Prepared, Who};
use crate::start::{die_with_parent, read_configuration};
use nom_service::configuration::Configuration;
use nom_stack::application::Application;
use nom_stack::port::{Egress, Ingress};
use std::process::ExitCode;

/// An application, and what it does in this home beside serving.
pub trait Deployed: Sized {
    /// What is served.
    type Application: Application;

    /// The process.
    const PROGRAM: Program;

    /// The application's name, for people and for prices that are its own.
    const NAME: &'static str;

    /// Opens what has to be opened while the process still has its rights and the host's network.
    fn open(configuration: &Configuration, arguments: &Arguments) -> Result<Self, String>;

    /// The application, before anybody can ask.
    fn application(
        &mut self,
        configuration: &Configuration,
        home: &mut LinuxHome,
    ) -> Result<Self::Application, String>;

    /// After each turn of the service.
    fn turn(&mut self, _application: &mut Self::Application, _home: &LinuxHome) {}

    /// After the last one.
    fn end(self, _application: &mut Self::Application) -> Result<(), String> {
        Ok(())
    }
}

/// From the command line to the exit code.
pub fn main<D: Deployed>() -> ExitCode {
    let name = D::PROGRAM.name;
    let arguments = match Arguments::read(D::PROGRAM, std::env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(what) => {
            eprintln!("{name}: {what}");
            return ExitCode::from(2);
        }
    };
    match serve::<D>(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("{name}: {what}");
            ExitCode::FAILURE
        }
    }
}

fn serve<D: Deployed>(arguments: &Arguments) -> Result<(), String> {
    die_with_parent()?;
    let configuration = read_configuration(&arguments.config)?;
    let deployed = D::open(&configuration, arguments)?;
    let who = Who { program: D::PROGRAM, name: D::NAME, dies_with_parent: true };
    let (prepared, porch) = Prepared::open(who, arguments, &configuration)?;
    network::serve(&configuration, porch, Process { prepared, deployed })
}

/// The process, but for its device.
struct Process<D> {
    prepared: Prepared,
    deployed: D,
}

impl<D: Deployed> Serve for Process<D> {
    fn serve<I: Ingress, E: Egress>(self, device: Device<I, E>) -> Result<(), String> {
        let Self { prepared, mut deployed } = self;
        let mut ready = prepared.ready(device)?;
        let application = deployed.application(&ready.configuration, &mut ready.home)?;
        let mut running = ready.serve(application)?;
        while running.turn(u64::MAX) {
            deployed.turn(running.worker.application_mut(), &running.home);
        }
        deployed.end(running.worker.application_mut())
    }
}

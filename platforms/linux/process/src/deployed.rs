//! The whole life of an application as a Linux process, for those that need nothing special: `main` names the application.

use crate::arguments::{Arguments, Program};
use crate::home::{LinuxHome, Parts};
use crate::management::Management;
use crate::network::{self, Device, Reached, Serve};
use crate::notify::Notifier;
use crate::outside::Outside;
use crate::privileges::{self, User};
use crate::start::{die_with_parent, listen, read_configuration, say_ready, stop_signals, text};
use nom_service::configuration::Configuration;
use nom_service::home::Home;
use nom_service::worker::{Identity, Worker};
use nom_stack::application::Application;
use nom_stack::port::{Egress, Ingress};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    let user = arguments.user.as_deref().map(User::find).transpose()?;
    let configuration = read_configuration(&arguments.config)?;
    let deployed = D::open(&configuration, arguments)?;
    // Everything of the host's network is opened before it is left.
    let porch = network::porch(&configuration, arguments.port)?;
    let management = Management::new(listen(&arguments.run.join("management.sock"))?).map_err(text)?;
    let outside = Outside::open(D::PROGRAM, D::NAME, arguments, &configuration)?;
    let asked = Arc::new(AtomicBool::new(false));
    let stop = stop_signals(&asked).map_err(|error| format!("no signal handler: {error}"))?;
    let process = Process {
        configuration: configuration.clone(),
        deployed,
        management,
        outside,
        stop,
        asked,
        board: arguments.board.clone(),
        user,
        notifier: Notifier::from_environment()?,
    };
    network::serve(&configuration, porch, process)
}

/// The process, but for its device.
struct Process<D> {
    configuration: Configuration,
    deployed: D,
    management: Management,
    outside: Outside,
    stop: UnixStream,
    asked: Arc<AtomicBool>,
    board: PathBuf,
    user: Option<User>,
    notifier: Notifier,
}

impl<D: Deployed> Serve for Process<D> {
    fn serve<I: Ingress, E: Egress>(self, device: Device<I, E>) -> Result<(), String> {
        let Self { configuration, mut deployed, management, mut outside, stop, asked, board, .. } = self;
        let (user, mut notifier) = (self.user, self.notifier);
        privileges::give_up(user)?;
        // Whom we are has changed, and with it Linux has forgotten who our parent is.
        die_with_parent()?;
        outside.start()?;
        let sleep_max_ns = notifier.sleep_max_ns();
        let program = D::PROGRAM.name;
        let parts = Parts { program, device: device.wakes, stop, management, board, sleep_max_ns, outside };
        let mut home = LinuxHome::new(parts).map_err(text)?;
        let port = match device.reached {
            Reached::Address => configuration.listen,
            Reached::Porch(porch, target) => {
                let port = porch.port();
                porch.open(target).map_err(text)?;
                port
            }
        };
        let application = deployed.application(&configuration, &mut home)?;
        let identity = Identity {
            application: D::NAME.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            home: "linux".into(),
        };
        let Device { mac, ingress, egress, .. } = device;
        let mut worker = Worker::new(identity, configuration, mac, ingress, egress, application, &mut home)
            .map_err(text)?;
        say_ready(port);
        notifier.say("READY=1");
        while worker.turn(&mut home) {
            notifier.is_alive(home.last_ns());
            if asked.swap(false, Ordering::Relaxed) {
                notifier.say("STOPPING=1");
                worker.drain(home.now_ns());
            }
            if home.is_asked_again() {
                worker.reload(&mut home);
            }
            deployed.turn(worker.application_mut(), &home);
        }
        deployed.end(worker.application_mut())
    }
}

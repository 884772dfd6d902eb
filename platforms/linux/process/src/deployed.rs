//! The whole life of an application as a Linux process: `main` names the application and what is special about it.

use crate::arguments::{Arguments, Program};
use crate::home::LinuxHome;
use crate::network::{self, Device, Serve};
use crate::running::{Heritage, Prepared, Ready, Running, Who};
use crate::start::{die_with_parent, read_configuration, text};
use crate::succession::{Legacy, Predecessor, become_successor};
use crate::team::{Place, Team, follow};
use nom_service::configuration::Configuration;
use nom_service::home::Home;
use nom_service::worker::seed;
use nom_stack::application::Application;
use nom_stack::port::{Egress, Ingress};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

/// Makes the application of one core, in that core's thread.
pub type Part<A> = Box<dyn FnOnce() -> A + Send>;

/// An application, and what it does in this home beside serving.
pub trait Deployed: Sized {
    /// What is served.
    type Application: Application + 'static;

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

    /// Its parts on further cores, by their number from 1 on. Called before [`Deployed::application`], where there are any.
    fn parts(
        &mut self,
        _configuration: &Configuration,
        _team: &Arc<Team>,
        _home: &mut LinuxHome,
    ) -> Result<Vec<Part<Self::Application>>, String> {
        Err(format!("{} runs on one core: remove the line kv.cores", Self::NAME))
    }

    /// What a successor of this process is to have besides connections, part by part.
    fn bequeath(_application: &Self::Application, _now_ns: u64, _write: &mut dyn FnMut(&[u8])) {}

    /// Takes over what a predecessor left.
    fn inherit(_application: &mut Self::Application, _now_ns: u64, _left: &[u8]) -> Result<(), String> {
        Ok(())
    }

    /// After each turn of the service.
    fn turn(&mut self, _application: &mut Self::Application, _home: &LinuxHome) {}

    /// After the last one.
    fn end(self, _application: &mut Self::Application, _home: &LinuxHome) -> Result<(), String> {
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
    let predecessor = arguments.inherited.map(Predecessor::inherit).transpose()?;
    let configuration = read_configuration(&arguments.config)?;
    let deployed = D::open(&configuration, arguments)?;
    let who = Who { program: D::PROGRAM, name: D::NAME, dies_with_parent: true };
    let (prepared, porch) = Prepared::open(who, arguments, &configuration, predecessor.as_ref())?;
    let device = predecessor.as_ref().map(|predecessor| predecessor.device.try_clone()).transpose();
    let process = Process { prepared, deployed, predecessor };
    match device.map_err(text)? {
        Some(device) => network::resume(&configuration, device, process),
        None => network::serve(&configuration, porch, process),
    }
}

/// The process, but for its device.
struct Process<D> {
    prepared: Prepared,
    deployed: D,
    predecessor: Option<Predecessor>,
}

impl<D: Deployed> Serve for Process<D> {
    fn serve<I: Ingress + 'static, E: Egress + 'static>(self, device: Device<I, E>) -> Result<(), String> {
        let Self { prepared, mut deployed, predecessor } = self;
        let mut ready = prepared.ready(device)?;
        let served = ready.configuration.clone();
        let parts = match served.cores {
            1 => Vec::new(),
            _ => deployed.parts(&served, &ready.team, &mut ready.home)?,
        };
        let mut application = deployed.application(&served, &mut ready.home)?;
        let mut moved = Vec::new();
        if let Some(predecessor) = predecessor {
            let left;
            (left, moved) = predecessor.read()?;
            D::inherit(&mut application, ready.home.now_ns(), left)?;
        }
        let cores = Cores::start(&mut ready, parts)?;
        let mut running = ready.serve(application, &moved)?;
        drop(moved);
        while running.turn(u64::MAX) {
            if running.heritage.restart.swap(false, Ordering::Relaxed) {
                match can_restart(&running.heritage, &served) {
                    Ok(()) => return Err(restart::<I, E, D>(&mut running)),
                    Err(what) => eprintln!("{}: no restart: {what}", D::PROGRAM.name),
                }
            }
            deployed.turn(running.worker.application_mut(), &running.home);
            cores.are_alive()?;
        }
        cores.end()?;
        deployed.end(running.worker.application_mut(), &running.home)
    }
}

/// Threads of further cores.
struct Cores {
    team: Arc<Team>,
    threads: Vec<JoinHandle<Result<(), String>>>,
}

impl Cores {
    fn start<I: Ingress + 'static, E: Egress + 'static, A: Application + 'static>(
        ready: &mut Ready<I, E>,
        parts: Vec<Part<A>>,
    ) -> Result<Self, String> {
        let mut threads = Vec::new();
        let mac = ready.mac;
        for (number, (more, part)) in core::mem::take(&mut ready.more).into_iter().zip(parts).enumerate() {
            let core = number + 1;
            let (configuration, team) = (ready.configuration.clone(), Arc::clone(&ready.team));
            let seed = seed(&mut ready.home).map_err(text)?;
            let serve = move || {
                let (ingress, egress, wakes) = more()?;
                let application = part();
                follow(&configuration, Place { core, team, mac, ingress, egress, wakes, application, seed });
                Ok(())
            };
            let thread = thread::Builder::new().name(format!("core {core}")).spawn(serve);
            threads.push(thread.map_err(|error| format!("no thread for core {core}: {error}"))?);
        }
        Ok(Self { team: Arc::clone(&ready.team), threads })
    }

    /// A core that ends before it is told to takes its part with it: the process must not go on as if it were there.
    fn are_alive(&self) -> Result<(), String> {
        if self.threads.iter().any(JoinHandle::is_finished) {
            return Err("a core has failed, and with it a part of what is served".into());
        }
        Ok(())
    }

    fn end(self) -> Result<(), String> {
        self.team.end();
        let join = |thread: JoinHandle<_>| thread.join().unwrap_or_else(|_| Err("a core has failed".into()));
        self.threads.into_iter().try_for_each(join)
    }
}

/// Whether a restart would keep what it is for.
fn can_restart(heritage: &Heritage, served: &Configuration) -> Result<(), String> {
    if !heritage.lasts {
        return Err("only a TAP device with a name (network.interface) works on without this process".into());
    }
    if served.cores > 1 {
        return Err(
            "a cache on several cores (kv.cores) cannot be moved yet: stop it, and start it again".into()
        );
    }
    heritage.own.check()?;
    let next = read_configuration(&heritage.config)?;
    let place = |configuration: &Configuration| {
        (configuration.network.clone(), configuration.address, configuration.listen, configuration.cores)
    };
    if place(&next) == place(served) {
        Ok(())
    } else {
        let file = heritage.config.display();
        Err(format!("{file}: network, address, listen and kv.cores must stay as they are"))
    }
}

/// Becomes the successor; what comes back is why that failed.
fn restart<I: Ingress, E: Egress, D: Deployed>(running: &mut Running<I, E, D::Application>) -> String {
    let Running { worker, home, heritage, .. } = running;
    let (device, listener) = match home.inheritance() {
        Ok(inheritance) => inheritance,
        Err(error) => return text(error),
    };
    let moved = worker.hand_over(home);
    let (application, now_ns) = (worker.engine().application().application(), home.now_ns());
    let contents = |write: &mut dyn FnMut(&[u8])| D::bequeath(application, now_ns, write);
    become_successor(&heritage.own, Legacy { device, listener, contents: &contents, moved })
}

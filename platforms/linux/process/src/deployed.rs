//! The whole life of an application as a Linux process: `main` names the application and what is special about it.

use crate::arguments::{Arguments, Program};
use crate::home::{LinuxHome, clock_ns};
use crate::network::{self, Device, Serve};
use crate::running::{Heritage, Prepared, Ready, Running, Who};
use crate::start::{die_with_parent, read_configuration, text};
use crate::succession::{Left, Predecessor, State, become_successor};
use crate::team::{Place, Team, WITHDRAW_NS, follow};
use nom_service::configuration::Configuration;
use nom_service::home::Home;
use nom_service::worker::seed;
use nom_stack::application::Application;
use nom_stack::port::{Egress, Ingress};
use rustix::time::ClockId;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

/// Makes the application of one core, in that core's thread.
pub type Part<A> = Box<dyn FnOnce() -> A + Send>;
/// What a further core does at its end, on that core: with its application, at this time.
pub type Last<A> = Box<dyn FnOnce(&A, u64) -> Result<(), String> + Send>;
/// How long requests that cores have with each other may take when they are to be moved; the connections of the others are cut.
const WITHDRAW_MAX_NS: u64 = 1_000_000_000;

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

    /// Its parts on further cores, by their number from 1 on. Called before [`Deployed::application`], where there are any,
    /// with what the first core of a predecessor left.
    fn parts(
        &mut self,
        _configuration: &Configuration,
        _team: &Arc<Team>,
        _home: &mut LinuxHome,
        _left: Option<&[u8]>,
    ) -> Result<Vec<Part<Self::Application>>, String> {
        Err(format!("{} runs on one core: remove the line kv.cores", Self::NAME))
    }

    /// What the core with this number, from 1 on, does after its last turn, unless a successor goes on with what it has.
    fn last(&self, _core: usize) -> Option<Last<Self::Application>> {
        None
    }

    /// What the first core's successor is to know besides, before the rest.
    fn bequeath_first(&self, _write: &mut dyn FnMut(&[u8])) {}

    /// What the successor of a core is to have besides connections, part by part.
    fn bequeath(_application: &Self::Application, _now_ns: u64, _write: &mut dyn FnMut(&[u8])) {}

    /// Takes over what the first core of a predecessor left.
    fn inherit(&self, application: &mut Self::Application, now_ns: u64, left: &[u8]) -> Result<(), String> {
        Self::inherit_part(application, now_ns, left)
    }

    /// The same for what any other one left.
    fn inherit_part(_application: &mut Self::Application, _now_ns: u64, _left: &[u8]) -> Result<(), String> {
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
    if std::env::args_os().skip(1).any(|word| word == "--help" || word == "-h") {
        println!("{}", D::PROGRAM);
        return ExitCode::SUCCESS;
    }
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
    let predecessor = arguments.inherited.clone().map(Predecessor::inherit).transpose()?;
    let configuration = read_configuration(&arguments.config)?;
    let deployed = D::open(&configuration, arguments)?;
    let who = Who { program: D::PROGRAM, name: D::NAME, dies_with_parent: true };
    let (prepared, porch) = Prepared::open(who, arguments, &configuration, predecessor.as_ref())?;
    match predecessor {
        Some(Predecessor { queues, states, .. }) => {
            network::resume(&configuration, queues, Process { prepared, deployed, states })
        }
        None => {
            let team = Arc::clone(&prepared.team);
            network::serve(&configuration, &team, porch, Process { prepared, deployed, states: Vec::new() })
        }
    }
}

/// The process, but for its device.
struct Process<D> {
    prepared: Prepared,
    deployed: D,
    /// What each core of a predecessor left.
    states: Vec<State>,
}

impl<D: Deployed> Serve for Process<D> {
    fn serve<I: Ingress + 'static, E: Egress + 'static>(self, device: Device<I, E>) -> Result<(), String> {
        let Self { prepared, mut deployed, states } = self;
        let mut ready = prepared.ready(device)?;
        let served = ready.configuration.clone();
        let mut states = states.into_iter();
        let first = states.next();
        let (left, moved) = match &first {
            Some(state) => state.read().map(|(left, moved)| (Some(left), moved))?,
            None => (None, Vec::new()),
        };
        let parts = match served.cores {
            1 => Vec::new(),
            _ => deployed.parts(&served, &ready.team, &mut ready.home, left)?,
        };
        let mut application = deployed.application(&served, &mut ready.home)?;
        if let Some(left) = left {
            deployed.inherit(&mut application, ready.home.now_ns(), left)?;
        }
        drop(first);
        let cores = Cores::start::<I, E, D>(&deployed, &mut ready, parts, states)?;
        let mut running = ready.serve(application, &moved)?;
        drop(moved);
        while running.turn(u64::MAX) {
            if running.heritage.restart.swap(false, Ordering::Relaxed) {
                match can_restart(&running.heritage, &served) {
                    Ok(()) => return Err(restart::<I, E, D>(&deployed, &mut running, cores)),
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
    threads: Vec<JoinHandle<Result<Option<Left>, String>>>,
}

impl Cores {
    fn start<I: Ingress + 'static, E: Egress + 'static, D: Deployed>(
        deployed: &D,
        ready: &mut Ready<I, E>,
        parts: Vec<Part<D::Application>>,
        mut states: impl Iterator<Item = State>,
    ) -> Result<Self, String> {
        let mut threads = Vec::new();
        let mac = ready.mac;
        for (number, (more, part)) in core::mem::take(&mut ready.more).into_iter().zip(parts).enumerate() {
            let core = number + 1;
            let (configuration, team) = (ready.configuration.clone(), Arc::clone(&ready.team));
            let seed = seed(&mut ready.home).map_err(text)?;
            let (state, last) = (states.next(), deployed.last(core));
            let serve = move || {
                let (ingress, egress, wakes) = more()?;
                let (mut application, mut moved) = (part(), Vec::new());
                if let Some(state) = state {
                    let left;
                    (left, moved) = state.read()?;
                    D::inherit_part(&mut application, clock_ns(ClockId::Monotonic), left)?;
                }
                let place = Place { core, team, mac, ingress, egress, wakes, application, seed, moved };
                follow(&configuration, place, D::bequeath, last)
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
        self.join().map(|_| ())
    }

    /// All leave what they have to a successor.
    fn leave(self) -> Result<Vec<Left>, String> {
        self.team.leave();
        self.join()
    }

    fn join(self) -> Result<Vec<Left>, String> {
        let join = |thread: JoinHandle<_>| thread.join().unwrap_or_else(|_| Err("a core has failed".into()));
        self.threads.into_iter().map(join).filter_map(Result::transpose).collect()
    }
}

/// Whether a restart would keep what it is for.
fn can_restart(heritage: &Heritage, served: &Configuration) -> Result<(), String> {
    if !heritage.lasts {
        return Err(
            "only a TAP device with a name (network.interface) and AF_PACKET work on without this process"
                .into(),
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
fn restart<I: Ingress, E: Egress, D: Deployed>(
    deployed: &D,
    running: &mut Running<I, E, D::Application>,
    cores: Cores,
) -> String {
    // What cores have of each other comes to its end first.
    let until_ns = running.home.now_ns() + WITHDRAW_MAX_NS;
    loop {
        // Both are asked, whatever the first one says.
        let is_idle = running.worker.withdraw() & cores.team.withdraw();
        let now_ns = running.home.now_ns();
        if is_idle || now_ns >= until_ns || !running.turn(now_ns + WITHDRAW_NS) {
            break;
        }
    }
    let left = cores.leave().and_then(|others| {
        let Running { worker, home, .. } = running;
        let (queue, listener) = home.inheritance().map_err(text)?;
        let moved = worker.hand_over(home);
        let (application, now_ns) = (worker.engine().application().application(), home.now_ns());
        let contents = |write: &mut dyn FnMut(&[u8])| {
            deployed.bequeath_first(write);
            D::bequeath(application, now_ns, write);
        };
        let mut all = vec![Left::write(queue, &contents, &moved).map_err(text)?];
        all.extend(others);
        Ok((all, listener))
    });
    match left {
        Ok((all, listener)) => become_successor(&running.heritage.own, listener, &all),
        Err(what) => what,
    }
}

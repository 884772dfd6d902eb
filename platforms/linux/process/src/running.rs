//! A service in this process, in three steps: what is opened in the host's network and with the rights that the process
//! has ([`Prepared`]), what there is once the device is open and rights are given up ([`Ready`]), and what runs
//! ([`Running`]). Whoever owns the loop calls [`Running::turn`].

use crate::arguments::{Arguments, Program};
use crate::home::{LinuxHome, Parts};
use crate::management::Management;
use crate::network::{self, Device, More, Reached};
use crate::notify::Notifier;
use crate::outside::Outside;
use crate::privileges::{self, User};
use crate::start::{die_with_parent, listen, say_ready, stop_and_restart_signals, text};
use crate::succession::{OwnProgram, Predecessor};
use crate::team::{Team, team};
use nom_service::configuration::Configuration;
use nom_service::home::Home;
use nom_service::worker::{Identity, Moved, Worker};
use nom_stack::application::Application;
use nom_stack::port::{Egress, Ingress};
use nom_tap::Porch;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Who is served, and by which rules of the house.
#[derive(Debug, Clone, Copy)]
pub struct Who {
    /// The process.
    pub program: Program,
    /// The application's name, for people and for prices that are its own.
    pub name: &'static str,
    /// It ends when whoever started it has ended.
    pub dies_with_parent: bool,
}

/// A process, but for its device.
pub struct Prepared {
    who: Who,
    configuration: Configuration,
    management: Management,
    outside: Outside,
    stop: UnixStream,
    asked: Arc<AtomicBool>,
    board: PathBuf,
    user: Option<User>,
    notifier: Notifier,
    heritage: Heritage,
    /// The cores, of which this is the first.
    pub team: Arc<Team>,
}

/// Where this process comes from, and what becomes of it.
pub(crate) struct Heritage {
    /// SIGUSR2 came.
    pub(crate) restart: Arc<AtomicBool>,
    pub(crate) own: OwnProgram,
    pub(crate) config: PathBuf,
    /// The device works on without this process.
    pub(crate) lasts: bool,
}

impl Prepared {
    /// Opens everything of the host's network before that is left; the porch, where clients come through one. What a
    /// predecessor left is not opened anew.
    pub fn open(
        who: Who,
        arguments: &Arguments,
        configuration: &Configuration,
        predecessor: Option<&Predecessor>,
    ) -> Result<(Self, Option<Porch>), String> {
        let user = arguments.user.as_deref().map(User::find).transpose()?;
        let own = OwnProgram::own().map_err(text)?;
        let (porch, listener) = match predecessor {
            Some(predecessor) => (None, predecessor.listener.try_clone().map_err(text)?),
            None => {
                let porch = network::porch(configuration, arguments.port)?;
                (porch, listen(&arguments.run.join("management.sock"))?)
            }
        };
        let management = Management::new(listener).map_err(text)?;
        let outside = Outside::open(who.program, who.name, arguments, configuration)?;
        let asked = Arc::new(AtomicBool::new(false));
        let restart = Arc::new(AtomicBool::new(false));
        let stop = stop_and_restart_signals(&asked, &restart)
            .map_err(|error| format!("no signal handler: {error}"))?;
        let prepared = Self {
            who,
            configuration: configuration.clone(),
            management,
            outside,
            stop,
            asked,
            board: arguments.board.clone(),
            user,
            notifier: Notifier::from_environment()?,
            heritage: Heritage { restart, own, config: arguments.config.clone(), lasts: false },
            team: Arc::new(team(configuration.cores).map_err(text)?),
        };
        Ok((prepared, porch))
    }

    /// The device is open: rights are given up, and clients may come.
    pub fn ready<I: Ingress, E: Egress>(self, device: Device<I, E>) -> Result<Ready<I, E>, String> {
        let Self { who, configuration, management, mut outside, stop, asked, board, user, team, .. } = self;
        let (notifier, heritage) = (self.notifier, Heritage { lasts: device.lasts, ..self.heritage });
        privileges::give_up(user)?;
        if who.dies_with_parent {
            // Whom we are has changed, and with it Linux has forgotten who our parent is.
            die_with_parent()?;
        }
        outside.start()?;
        let sleep_max_ns = notifier.sleep_max_ns();
        let program = who.program.name;
        let device_wakes = device.wakes;
        let parts = Parts {
            program,
            device: device_wakes,
            stop,
            management,
            board,
            sleep_max_ns,
            outside,
            team: Arc::clone(&team),
        };
        let home = LinuxHome::new(parts).map_err(text)?;
        let port = match device.reached {
            Reached::Address => configuration.listen,
            Reached::Porch(porch, target) => {
                let port = porch.port();
                porch.open(target).map_err(text)?;
                port
            }
        };
        let Device { mac, ingress, egress, more, .. } = device;
        Ok(Ready {
            home,
            configuration,
            team,
            more,
            mac,
            who,
            ingress,
            egress,
            port,
            asked,
            notifier,
            heritage,
        })
    }
}

/// Everything but the application.
pub struct Ready<I, E> {
    /// Where it will run.
    pub home: LinuxHome,
    /// What it was told.
    pub configuration: Configuration,
    /// The cores, of which this is the first.
    pub team: Arc<Team>,
    /// Queues of further cores.
    pub(crate) more: Vec<More<I, E>>,
    pub(crate) mac: [u8; 6],
    who: Who,
    ingress: I,
    egress: E,
    port: u16,
    asked: Arc<AtomicBool>,
    notifier: Notifier,
    heritage: Heritage,
}

impl<I: Ingress, E: Egress> Ready<I, E> {
    /// Serves an application, with the connections of a predecessor, and says so.
    pub fn serve<A: Application>(self, application: A, moved: &[Moved]) -> Result<Running<I, E, A>, String> {
        let Self {
            mut home, configuration, who, ingress, egress, mac, port, asked, notifier, heritage, ..
        } = self;
        let identity = Identity {
            application: who.name.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            home: "linux".into(),
        };
        let mut worker = Worker::new(identity, configuration, mac, ingress, egress, application, &mut home)
            .map_err(text)?;
        let kept = worker.take_over(moved, home.now_ns());
        if kept < moved.len() {
            let (program, gone) = (who.program.name, moved.len() - kept);
            eprintln!("{program}: {gone} of {} connections could not go on", moved.len());
        }
        say_ready(port);
        notifier.say("READY=1");
        let program = who.program.name;
        Ok(Running { worker, home, heritage, program, asked, notifier })
    }
}

/// What runs.
pub struct Running<I: Ingress, E: Egress, A: Application> {
    /// The service.
    pub worker: Worker<I, E, A>,
    /// Where.
    pub home: LinuxHome,
    pub(crate) heritage: Heritage,
    program: &'static str,
    asked: Arc<AtomicBool>,
    notifier: Notifier,
}

impl<I: Ingress, E: Egress, A: Application> Running<I, E, A> {
    /// One round and, when there was nothing to do, a wait that ends at `until_ns` at the latest. False when all is over.
    pub fn turn(&mut self, until_ns: u64) -> bool {
        if !self.worker.turn_until(&mut self.home, until_ns) {
            return false;
        }
        self.notifier.is_alive(self.home.last_ns());
        if self.asked.swap(false, Ordering::Relaxed) {
            self.drain();
        }
        if self.home.is_asked_again() {
            // Who sends a signal does not listen at the management channel.
            let program = self.program;
            match self.worker.reload(&mut self.home) {
                Ok(what) => eprintln!("{program}: reload: {what}"),
                Err(why) => eprintln!("{program}: reload is refused, nothing has changed: {why}"),
            }
        }
        true
    }

    /// Begins the end.
    pub fn drain(&mut self) {
        self.notifier.say("STOPPING=1");
        self.worker.drain(self.home.now_ns());
    }
}

//! A service in this process, in three steps: what is opened in the host's network and with the rights that the process
//! has ([`Prepared`]), what there is once the device is open and rights are given up ([`Ready`]), and what runs
//! ([`Running`]). Whoever owns the loop calls [`Running::turn`].

use crate::arguments::{Arguments, Program};
use crate::home::{LinuxHome, Parts};
use crate::management::Management;
use crate::network::{self, Device, Reached};
use crate::notify::Notifier;
use crate::outside::Outside;
use crate::privileges::{self, User};
use crate::start::{die_with_parent, listen, say_ready, stop_signals, text};
use nom_service::configuration::Configuration;
use nom_service::home::Home;
use nom_service::worker::{Identity, Worker};
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
}

impl Prepared {
    /// Opens everything of the host's network before that is left; the porch, where clients come through one.
    pub fn open(
        who: Who,
        arguments: &Arguments,
        configuration: &Configuration,
    ) -> Result<(Self, Option<Porch>), String> {
        let user = arguments.user.as_deref().map(User::find).transpose()?;
        let porch = network::porch(configuration, arguments.port)?;
        let management = Management::new(listen(&arguments.run.join("management.sock"))?).map_err(text)?;
        let outside = Outside::open(who.program, who.name, arguments, configuration)?;
        let asked = Arc::new(AtomicBool::new(false));
        let stop = stop_signals(&asked).map_err(|error| format!("no signal handler: {error}"))?;
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
        };
        Ok((prepared, porch))
    }

    /// The device is open: rights are given up, and clients may come.
    pub fn ready<I: Ingress, E: Egress>(self, device: Device<I, E>) -> Result<Ready<I, E>, String> {
        let Self { who, configuration, management, mut outside, stop, asked, board, user, notifier } = self;
        privileges::give_up(user)?;
        if who.dies_with_parent {
            // Whom we are has changed, and with it Linux has forgotten who our parent is.
            die_with_parent()?;
        }
        outside.start()?;
        let sleep_max_ns = notifier.sleep_max_ns();
        let program = who.program.name;
        let parts = Parts { program, device: device.wakes, stop, management, board, sleep_max_ns, outside };
        let home = LinuxHome::new(parts).map_err(text)?;
        let port = match device.reached {
            Reached::Address => configuration.listen,
            Reached::Porch(porch, target) => {
                let port = porch.port();
                porch.open(target).map_err(text)?;
                port
            }
        };
        let Device { mac, ingress, egress, .. } = device;
        Ok(Ready { home, configuration, who, ingress, egress, mac, port, asked, notifier })
    }
}

/// Everything but the application.
pub struct Ready<I, E> {
    /// Where it will run.
    pub home: LinuxHome,
    /// What it was told.
    pub configuration: Configuration,
    who: Who,
    ingress: I,
    egress: E,
    mac: [u8; 6],
    port: u16,
    asked: Arc<AtomicBool>,
    notifier: Notifier,
}

impl<I: Ingress, E: Egress> Ready<I, E> {
    /// Serves an application, and says so.
    pub fn serve<A: Application>(self, application: A) -> Result<Running<I, E, A>, String> {
        let Self { mut home, configuration, who, ingress, egress, mac, port, asked, notifier } = self;
        let identity = Identity {
            application: who.name.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            home: "linux".into(),
        };
        let worker = Worker::new(identity, configuration, mac, ingress, egress, application, &mut home)
            .map_err(text)?;
        say_ready(port);
        notifier.say("READY=1");
        Ok(Running { worker, home, asked, notifier })
    }
}

/// What runs.
pub struct Running<I: Ingress, E: Egress, A: Application> {
    /// The service.
    pub worker: Worker<I, E, A>,
    /// Where.
    pub home: LinuxHome,
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
            self.worker.reload(&mut self.home);
        }
        true
    }

    /// Begins the end.
    pub fn drain(&mut self) {
        self.notifier.say("STOPPING=1");
        self.worker.drain(self.home.now_ns());
    }
}

//! kv as a Linux process: the network that the configuration names, and the service that every deployed application
//! shares.

#![forbid(unsafe_code)]

mod contents;

use nom_kv::Kv;
use nom_linux_process::arguments::{Arguments, Program};
use nom_linux_process::home::{LinuxHome, Parts};
use nom_linux_process::management::Management;
use nom_linux_process::network::{self, Device, Reached, Serve};
use nom_linux_process::notify::Notifier;
use nom_linux_process::outside::Outside;
use nom_linux_process::privileges::{self, User};
use nom_linux_process::start::{
    die_with_parent, listen, read_configuration, say_ready, stop_and_restart_signals, text,
};
use nom_linux_process::succession::{Legacy, OwnProgram, Predecessor, become_successor};
use nom_service::configuration::Configuration;
use nom_service::home::Home;
use nom_service::worker::{Identity, Worker, seed};
use nom_stack::port::{Egress, Ingress};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const PROGRAM: Program = Program { name: "nom-kv-linux", files: &["contents"] };

fn main() -> ExitCode {
    let arguments = match Arguments::read(PROGRAM, std::env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(what) => {
            eprintln!("nom-kv-linux: {what}");
            return ExitCode::from(2);
        }
    };
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("nom-kv-linux: {what}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> Result<(), String> {
    die_with_parent()?;
    let user = arguments.user.as_deref().map(User::find).transpose()?;
    let own = OwnProgram::own().map_err(text)?;
    let mut predecessor = arguments.inherited.map(Predecessor::inherit).transpose()?;
    let configuration = read_configuration(&arguments.config)?;
    let listener = match &mut predecessor {
        Some(predecessor) => predecessor.listener.try_clone().map_err(text)?,
        None => listen(&arguments.run.join("management.sock"))?,
    };
    let management = Management::new(listener).map_err(text)?;
    let (asked, restart) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let stop =
        stop_and_restart_signals(&asked, &restart).map_err(|error| format!("no signal handler: {error}"))?;
    let device = predecessor.as_mut().map(|predecessor| predecessor.device.try_clone()).transpose();
    let device = device.map_err(text)?;
    // Everything of the host's network is opened before it is left.
    let outside = Outside::open(PROGRAM, "kv", arguments, &configuration)?;
    let porch = match device {
        Some(_) => None,
        None => network::porch(&configuration, arguments.port)?,
    };
    let service = Service {
        configuration: configuration.clone(),
        management,
        outside,
        stop,
        asked,
        restart,
        own,
        config: arguments.config.clone(),
        predecessor,
        board: arguments.board.clone(),
        contents: arguments.file("contents").map(PathBuf::from),
        user,
        notifier: Notifier::from_environment()?,
    };
    match device {
        Some(device) => network::resume(&configuration, device, service),
        None => network::serve(&configuration, porch, service),
    }
}

/// The service, but for its device.
struct Service {
    configuration: Configuration,
    management: Management,
    outside: Outside,
    stop: UnixStream,
    asked: Arc<AtomicBool>,
    restart: Arc<AtomicBool>,
    own: OwnProgram,
    config: PathBuf,
    predecessor: Option<Predecessor>,
    board: PathBuf,
    contents: Option<PathBuf>,
    user: Option<User>,
    notifier: Notifier,
}

impl Serve for Service {
    fn serve<I: Ingress, E: Egress>(self, device: Device<I, E>) -> Result<(), String> {
        let Self { configuration, management, mut outside, stop, asked, board, .. } = self;
        let Self { contents, user, mut notifier, predecessor, .. } = self;
        let (restart, own, config) = (self.restart, self.own, self.config);
        privileges::give_up(user)?;
        // Whom we are has changed, and with it Linux has forgotten who our parent is.
        die_with_parent()?;
        outside.start()?;
        let sleep_max_ns = notifier.sleep_max_ns();
        let parts = Parts {
            program: PROGRAM.name,
            device: device.wakes,
            stop,
            management,
            board,
            sleep_max_ns,
            outside,
        };
        let mut home = LinuxHome::new(parts).map_err(text)?;
        let port = match device.reached {
            Reached::Address => configuration.listen,
            Reached::Porch(porch, target) => {
                let port = porch.port();
                porch.open(target).map_err(text)?;
                port
            }
        };
        let allowed = configuration.allowed;
        let mut application = Kv::new(nom_kv::Config {
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
            ..nom_kv::Config::new(configuration.items_bytes, seed(&mut home).map_err(text)?, home.now_ns())
        });
        let (inherited, moved) = match &predecessor {
            Some(predecessor) => predecessor.read().map(|(contents, moved)| (Some(contents), moved))?,
            None => (None, Vec::new()),
        };
        if let Some(inherited) = inherited {
            application.load(home.now_ns(), inherited).map_err(text)?;
        }
        if let Some(path) = &contents {
            contents::take_over(&mut application, path, home.now_ns())?;
            contents::can_be_left(path)?;
        }
        let identity = Identity {
            application: "kv".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            home: "linux".into(),
        };
        let Device { mac, ingress, egress, lasts, .. } = device;
        let served = configuration.clone();
        let mut worker = Worker::new(identity, configuration, mac, ingress, egress, application, &mut home)
            .map_err(text)?;
        let kept = worker.take_over(&moved, home.now_ns());
        if kept < moved.len() {
            eprintln!("nom-kv-linux: {} of {} connections could not go on", moved.len() - kept, moved.len());
        }
        drop((moved, predecessor));
        say_ready(port);
        notifier.say("READY=1");
        while worker.turn(&mut home) {
            notifier.is_alive(home.last_ns());
            if asked.swap(false, Ordering::Relaxed) {
                notifier.say("STOPPING=1");
                worker.drain(home.now_ns());
            }
            if restart.swap(false, Ordering::Relaxed) {
                match can_restart(lasts, &own, &config, &served) {
                    Ok(()) => return Err(restart_with(&own, &mut worker, &mut home)),
                    Err(what) => eprintln!("nom-kv-linux: no restart: {what}"),
                }
            }
            if home.is_asked_again() {
                worker.reload(&mut home);
            }
        }
        match &contents {
            Some(path) => contents::leave(worker.engine().application().application(), path, home.now_ns()),
            None => Ok(()),
        }
    }
}

/// Whether a restart would keep what it is for.
fn can_restart(lasts: bool, own: &OwnProgram, config: &Path, served: &Configuration) -> Result<(), String> {
    if !lasts {
        return Err("only a TAP device with a name (network.interface) works on without this process".into());
    }
    own.check()?;
    let next = read_configuration(config)?;
    let place = |configuration: &Configuration| {
        (configuration.network.clone(), configuration.address, configuration.listen)
    };
    if place(&next) == place(served) {
        Ok(())
    } else {
        Err(format!("{}: network, address and listen must stay as they are", config.display()))
    }
}

/// Becomes the successor; what comes back is why that failed.
fn restart_with<I: Ingress, E: Egress>(
    own: &OwnProgram,
    worker: &mut Worker<I, E, Kv>,
    home: &mut LinuxHome,
) -> String {
    let (device, listener) = match home.inheritance() {
        Ok(inheritance) => inheritance,
        Err(error) => return text(error),
    };
    let moved = worker.hand_over(home);
    let (kv, now_ns) = (worker.engine().application().application(), home.now_ns());
    let contents = |write: &mut dyn FnMut(&[u8])| kv.save(now_ns, write);
    become_successor(own, Legacy { device, listener, contents: &contents, moved })
}

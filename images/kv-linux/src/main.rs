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
use nom_linux_process::start::{die_with_parent, listen, read_configuration, say_ready, stop_signals, text};
use nom_service::configuration::Configuration;
use nom_service::home::Home;
use nom_service::worker::{Identity, Worker, seed};
use nom_stack::port::{Egress, Ingress};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
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
    let configuration = read_configuration(&arguments.config)?;
    // Everything of the host's network is opened before it is left.
    let porch = network::porch(&configuration, arguments.port)?;
    let management = Management::new(listen(&arguments.run.join("management.sock"))?).map_err(text)?;
    let outside = Outside::open(PROGRAM, "kv", arguments, &configuration)?;
    let asked = Arc::new(AtomicBool::new(false));
    let stop = stop_signals(&asked).map_err(|error| format!("no signal handler: {error}"))?;
    let service = Service {
        configuration: configuration.clone(),
        management,
        outside,
        stop,
        asked,
        board: arguments.board.clone(),
        contents: arguments.file("contents").map(PathBuf::from),
        user,
        notifier: Notifier::from_environment()?,
    };
    network::serve(&configuration, porch, service)
}

/// The service, but for its device.
struct Service {
    configuration: Configuration,
    management: Management,
    outside: Outside,
    stop: UnixStream,
    asked: Arc<AtomicBool>,
    board: PathBuf,
    contents: Option<PathBuf>,
    user: Option<User>,
    notifier: Notifier,
}

impl Serve for Service {
    fn serve<I: Ingress, E: Egress>(self, device: Device<I, E>) -> Result<(), String> {
        let Self { configuration, management, mut outside, stop, asked, board, contents, user, mut notifier } =
            self;
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
        if let Some(path) = &contents {
            contents::take_over(&mut application, path, home.now_ns())?;
            contents::can_be_left(path)?;
        }
        let identity = Identity {
            application: "kv".into(),
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
        }
        match &contents {
            Some(path) => contents::leave(worker.engine().application().application(), path, home.now_ns()),
            None => Ok(()),
        }
    }
}

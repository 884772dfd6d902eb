//! kv as a Linux process: the network that the configuration names, and the service that every deployed application
//! shares.

#![forbid(unsafe_code)]

mod arguments;
mod contents;
mod home;
mod management;
mod network;
mod notify;
mod privileges;

use arguments::Arguments;
use home::{LinuxHome, Parts};
use management::Management;
use network::{Device, Reached, Serve};
use nom_kv::Kv;
use nom_service::configuration::{Configuration, PriceSource};
use nom_service::home::Home;
use nom_service::worker::{Identity, Worker, seed};
use nom_stack::port::{Egress, Ingress};
use notify::Notifier;
use privileges::User;
use std::fs;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args_os().skip(1)) {
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
    let mut configuration = read_configuration(&arguments.config)?;
    // A Linux process never asks for prices itself: `priced` does, and writes the board.
    configuration.prices = PriceSource::Board;
    // Everything of the host's network is opened before it is left.
    let porch = network::porch(&configuration, arguments.port)?;
    let management = Management::new(listen(&arguments.run.join("management.sock"))?).map_err(text)?;
    let asked = Arc::new(AtomicBool::new(false));
    let stop = stop_signals(&asked).map_err(|error| format!("no signal handler: {error}"))?;
    let service = Service {
        configuration: configuration.clone(),
        management,
        stop,
        asked,
        board: arguments.board.clone(),
        contents: arguments.contents.clone(),
        user,
        notifier: Notifier::from_environment()?,
    };
    network::serve(&configuration, porch, service)
}

/// The service, but for its device.
struct Service {
    configuration: Configuration,
    management: Management,
    stop: UnixStream,
    asked: Arc<AtomicBool>,
    board: PathBuf,
    contents: Option<PathBuf>,
    user: Option<User>,
    notifier: Notifier,
}

impl Serve for Service {
    fn serve<I: Ingress, E: Egress>(self, device: Device<I, E>) -> Result<(), String> {
        let Self { configuration, management, stop, asked, board, contents, user, mut notifier } = self;
        privileges::give_up(user)?;
        // Whom we are has changed, and with it Linux has forgotten who our parent is.
        die_with_parent()?;
        let parts =
            Parts { device: device.wakes, stop, management, board, sleep_max_ns: notifier.sleep_max_ns() };
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

/// Tells whoever started us where we are. Nobody has to listen.
fn say_ready(port: u16) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "ready port={port}").and_then(|()| out.flush());
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Whoever started this process is the one who ends it; when that one is gone, so is this.
fn die_with_parent() -> Result<(), String> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM)).map_err(text)
}

fn read_configuration(path: &Path) -> Result<Configuration, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Configuration::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The management socket. One that an earlier process left is replaced.
fn listen(path: &Path) -> Result<UnixListener, String> {
    if UnixStream::connect(path).is_ok() {
        return Err(format!("{} is in use: another process serves there", path.display()));
    }
    let _ = fs::remove_file(path);
    UnixListener::bind(path).map_err(|error| format!("cannot listen on {}: {error}", path.display()))
}

/// SIGTERM and SIGINT as a flag, and as bytes in a socket, which wake a sleeper.
fn stop_signals(asked: &Arc<AtomicBool>) -> std::io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    write.set_nonblocking(true)?;
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(asked))?;
        signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
    }
    Ok(read)
}

//! httpd as a Linux process: the network that the configuration names, content from a folder that is watched for
//! changes, an access log in a file, and the service that every deployed application shares.

#![forbid(unsafe_code)]

mod folder;
mod journal;

use folder::Folder;
use journal::Journal;
use nom_httpd::Httpd;
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
use nom_service::worker::{Identity, Worker};
use nom_stack::port::{Egress, Ingress};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const PROGRAM: Program = Program { name: "nom-httpd-linux", files: &["log"] };

fn main() -> ExitCode {
    let arguments = match Arguments::read(PROGRAM, std::env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(what) => {
            eprintln!("nom-httpd-linux: {what}");
            return ExitCode::from(2);
        }
    };
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("nom-httpd-linux: {what}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> Result<(), String> {
    die_with_parent()?;
    let user = arguments.user.as_deref().map(User::find).transpose()?;
    let configuration = read_configuration(&arguments.config)?;
    let Some(root) = &configuration.web.content else {
        return Err("there is nothing to serve: name a folder, such as web.content = /srv/www".into());
    };
    let folder = Folder::open(root.into())?;
    let journal = Journal::open(arguments.file("log"))?;
    // Everything of the host's network is opened before it is left.
    let porch = network::porch(&configuration, arguments.port)?;
    let management = Management::new(listen(&arguments.run.join("management.sock"))?).map_err(text)?;
    let outside = Outside::open(PROGRAM, "httpd", arguments, &configuration)?;
    let asked = Arc::new(AtomicBool::new(false));
    let stop = stop_signals(&asked).map_err(|error| format!("no signal handler: {error}"))?;
    let service = Service {
        configuration: configuration.clone(),
        folder,
        journal,
        management,
        outside,
        stop,
        asked,
        board: arguments.board.clone(),
        user,
        notifier: Notifier::from_environment()?,
    };
    network::serve(&configuration, porch, service)
}

/// The service, but for its device.
struct Service {
    configuration: Configuration,
    folder: Folder,
    journal: Journal,
    management: Management,
    outside: Outside,
    stop: UnixStream,
    asked: Arc<AtomicBool>,
    board: PathBuf,
    user: Option<User>,
    notifier: Notifier,
}

impl Serve for Service {
    fn serve<I: Ingress, E: Egress>(self, device: Device<I, E>) -> Result<(), String> {
        let Self {
            configuration,
            folder,
            mut journal,
            management,
            mut outside,
            stop,
            asked,
            board,
            user,
            mut notifier,
        } = self;
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
        let web = &configuration.web;
        let mut application = Httpd::new(nom_httpd::Config {
            lean: web.lean,
            request_content_max: web.request_content_max,
            head_limit_s: web.head_limit_s,
            content_limit_s: web.content_limit_s,
            reading_limit_s: web.reading_limit_s,
            idle_limit_s: web.idle_limit_s,
            logs: journal.is_open(),
            ..nom_httpd::Config::new(configuration.items_bytes, home.now_ns(), home.unix_ns())
        });
        // The first look is done before anybody can ask.
        folder.first(application.site_mut())?;
        let watched = folder.watch()?;
        let identity = Identity {
            application: "httpd".into(),
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
            if watched.has_changes() {
                watched.apply(worker.application_mut().site_mut());
            }
            journal.fetch(worker.application_mut().log_mut(), &home);
        }
        journal.end(worker.application_mut().log_mut());
        Ok(())
    }
}

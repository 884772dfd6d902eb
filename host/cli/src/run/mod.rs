//! `nom run`: a service with prices and a small load, watched until somebody ends it.
//!
//! Order matters: everything that a person typed is checked before anything is started, and whatever was started is
//! owned by a value that ends it. The main thread waits for the service's words, for the clock and for Ctrl-C; the
//! load has a thread of its own.

mod guard;
mod guest;
pub mod ledger;
mod linux;
mod load;
mod options;
pub mod prices;
pub mod profile;
mod replayed;
mod seen;
mod session;
mod teller;
mod web;
mod wire;

use crate::arguments::Typed;
use crate::interrupted::interrupts;
use crate::service;
use nom_machine::file::try_writing;
use nom_machine::management::Management;
use nom_machine::metadata::Metadata;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_machine::watch::About;
use options::{Options, Place};
use seen::Terms;
use session::Settled;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use teller::Teller;

/// A service that was started, wherever it runs. Dropping it ends it.
pub trait Service {
    /// Our end of its management channel; once.
    fn management(&mut self) -> Outcome<Management>;

    /// Why it is gone, if it is.
    fn gone(&mut self) -> Option<Trouble>;

    /// What those who watch it are told of it.
    fn about(&self, port: u16) -> About;

    /// What its users pay, for the ledger to be added up again, and what was measured of fixed settings.
    fn terms(&self) -> &Terms;

    /// Where clients reach it, unless that is a port of localhost.
    fn at(&self) -> Option<SocketAddr> {
        None
    }

    /// Ports on localhost of applications that serve beside it and are not watched.
    fn beside(&self) -> &[u16] {
        &[]
    }

    /// Waits until it has ended by itself; false when it must be ended by force.
    fn ended(&mut self, timeout: Duration) -> bool;
}

/// The command.
pub fn run(typed: &Typed) -> Outcome<ExitCode> {
    let options = Options::read(typed)?;
    let interrupted = interrupts()?;
    for (name, file) in [("picture", &options.picture), ("record", &options.record)] {
        // What is written at the end is tried at the begin: nobody wants to hear of it after an hour.
        if let Some(file) = file {
            std::fs::File::create(file).context(|| format!("--{name}: cannot write {}", file.display()))?;
        }
    }
    if let Some(file) = &options.ledger {
        try_writing(file).context(|| "--ledger".into())?;
    }
    let mut teller = Teller::new(options.json.as_deref(), options.plain)?;
    let settled = serve(typed, &options, &mut teller, &interrupted)?;
    teller
        .say(&format!("others    {} accepted operations of other clients (the difference)", settled.others));
    teller.say("the ledger adds up");
    if options.replay > 0 && !interrupted.load(std::sync::atomic::Ordering::SeqCst) {
        replayed::replay(typed, &options, &settled, &mut teller, &interrupted)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts a service and watches it to its end.
fn serve(
    typed: &Typed,
    options: &Options,
    teller: &mut Teller,
    interrupted: &AtomicBool,
) -> Outcome<Settled> {
    let schedule = prices::Schedule::read(&options.prices)?;
    // What has to be built is built before the schedule's clock begins.
    match (&options.image, options.place) {
        (Some(_), _) => {}
        (None, Place::Guest) => {
            service::configuration(typed, &[])?;
            guest::build(options)?;
        }
        (None, Place::Linux) => {
            service::configuration(typed, &[])?;
            linux::build(options.application)?;
        }
    }
    let token = token()?;
    let mut metadata = Metadata::start(schedule)?;
    let port = if options.wire.is_some() { 0 } else { options.reserve_port()? };
    let mut service: Box<dyn Service> = match options.place {
        Place::Guest => Box::new(guest::start(typed, options, port, &mut metadata, &token)?),
        Place::Linux => Box::new(linux::start(typed, options, port, metadata.port(), &token)?),
    };
    let target = service.at().unwrap_or((Ipv4Addr::LOCALHOST, port).into());
    session::watch(service.as_mut(), options, target, teller, interrupted)
}

/// The word by which a service knows that it is us who speaks: fresh for every run.
fn token() -> Outcome<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context(|| "cannot draw a token from /dev/urandom".into())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

//! What `nom run` was asked for, checked.

use super::web;
use super::wire::Wire;
use crate::arguments::Typed;
use crate::service::{self, file_or_example};
use crate::shared;
use nom_machine::image as images;
use nom_machine::qemu::Kind;
use nom_machine::trouble::{Outcome, Trouble};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The schedule of the demonstration, from the root of the checkout.
const SCHEDULE: &str = "examples/day.prices";
/// Connections of the load: enough that frames which gather are answers to many clients.
const CONNECTIONS: usize = 64;
/// Memory of a machine, for each application.
const MEMORY_MIB: u32 = 64;
/// Most cores that are asked for.
const CORES_MAX: u32 = 64;
/// A run that lasts so long shows afterwards what fixed settings would really have made, in so many rounds.
const REPLAY_FROM: Duration = Duration::from_secs(60);
const REPLAY_ROUNDS: usize = 3;
/// The ports that clients expect.
const PORTS: [(&str, u16); 3] = [("kv", 11211), ("httpd", 8080), ("echo", 7007)];

/// Where the service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a virtual machine.
    Guest,
    /// As a process.
    Linux,
}

/// The checked options.
#[derive(Debug)]
pub struct Options {
    /// What is served.
    pub application: &'static str,
    /// Where.
    pub place: Place,
    /// How long; `None`: until somebody ends it.
    pub time: Option<Duration>,
    /// Port on localhost; 0: the system chooses.
    pub port: u16,
    /// Requests a second of the load; 0: none.
    pub rate: u32,
    /// How long the load lasts once it has stored its values; `None`: as long as the service.
    pub load_time: Option<Duration>,
    /// Connections of the load.
    pub connections: usize,
    /// Machine type.
    pub kind: Kind,
    /// Memory of the machine.
    pub memory_mib: u32,
    /// Hardware virtualisation.
    pub kvm: bool,
    /// How many applications share the network card; `None`: there is one.
    pub apps: Option<u32>,
    /// The TAP device that the guest has instead of the emulator's own network.
    pub wire: Option<Wire>,
    /// A ready image.
    pub image: Option<PathBuf>,
    /// The price schedule.
    pub prices: PathBuf,
    /// Port on localhost for metrics.
    pub metrics: Option<u16>,
    /// Where sealed windows are kept.
    pub ledger: Option<PathBuf>,
    /// How often the recorded arrivals are played against everything afterwards.
    pub replay: usize,
    /// Whether arrivals are recorded.
    pub records: bool,
    /// Where they are written.
    pub record: Option<PathBuf>,
    /// Where a picture of the live view at its end goes.
    pub picture: Option<PathBuf>,
    /// Where the page is served.
    pub web: Option<SocketAddr>,
    /// Where JSON goes.
    pub json: Option<String>,
    /// Lines instead of a page, in a terminal too.
    pub plain: bool,
}

impl Options {
    /// Checks what was typed.
    pub fn read(typed: &Typed) -> Outcome<Self> {
        let place = match typed.text("on") {
            None | Some("guest") => Place::Guest,
            Some("linux") => Place::Linux,
            Some(other) => return Err(Trouble::new(format!("--on {other}: guest or linux is expected"))),
        };
        if place == Place::Linux
            && let Some(name) =
                ["machine", "memory", "kvm", "image", "apps", "tap"].into_iter().find(|name| typed.has(name))
        {
            return Err(Trouble::new(format!(
                "--{name} is about a virtual machine and cannot go with --on linux"
            )));
        }
        let settings = ["config", "set", "utility", "slo", "cores"];
        if let Some(name) = settings.into_iter().find(|name| typed.has("image") && typed.has(name)) {
            return Err(Trouble::new(format!("--image brings its own configuration: leave out --{name}")));
        }
        if typed.has("image") && typed.has("apps") {
            return Err(Trouble::new("--image holds what it holds: assemble it with `nom image --apps N`"));
        }
        let apps = shared::count(typed)?;
        if let Some(other) = ["port", "apps"].into_iter().find(|other| typed.has("tap") && typed.has(other)) {
            return Err(Trouble::new(format!(
                "--{other} is about ports of localhost; with --tap clients reach the guest's own address: leave one out"
            )));
        }
        let wire = typed.text("tap").map(Wire::find).transpose()?;
        let application = match typed.text("image") {
            Some(file) => held(typed, Path::new(file))?,
            None => service::application(typed)?,
        };
        let caches = application == "kv";
        if !caches && apps.is_some() {
            return Err(Trouble::new("--apps is for kv: leave it out"));
        }
        let usual = PORTS.iter().find(|(name, _)| *name == application).map_or(0, |(_, port)| *port);
        let time = typed.number("seconds", 1, 10_000_000)?.map(Duration::from_secs);
        let rate = typed.number("rate", 0, 1_000_000)?.unwrap_or(if caches { 6_000 } else { 0 });
        if rate > 0 && application == "echo" {
            return Err(Trouble::new("echo has no load of ours: leave out --rate, and ask it yourself"));
        }
        let replayable = rate > 0 && !typed.has("image");
        let record = typed.text("record").map(PathBuf::from);
        if record.is_some() && rate == 0 {
            return Err(Trouble::new(
                "--record writes down what the load sends, and there is none: leave out --rate 0",
            ));
        }
        let cores = typed.number("cores", 1, CORES_MAX)?.unwrap_or(1);
        if cores > 1 && !caches {
            return Err(Trouble::new(format!(
                "--cores {cores}: {application} serves on one core; kv on several"
            )));
        }
        if cores > 1 && apps.is_some() {
            return Err(Trouble::new(
                "--cores: several cores are for a cache alone in its machine: leave out --apps",
            ));
        }
        let replay = match typed.number("replay", 0, 1_000)? {
            Some(rounds) if rounds > 0 && !replayable => {
                return Err(Trouble::new(
                    "--replay plays the load again with other knobs: it needs a load, and no --image, which brings its own",
                ));
            }
            Some(rounds) => rounds,
            None if replayable && time.is_some_and(|time| time >= REPLAY_FROM) => REPLAY_ROUNDS,
            None => 0,
        };
        Ok(Self {
            application,
            place,
            time,
            replay,
            records: replay > 0 || record.is_some(),
            record,
            picture: typed.text("picture").map(PathBuf::from),
            port: typed.number("port", 0, u16::MAX)?.unwrap_or(usual),
            rate,
            connections: typed.number("connections", 1, 1_000)?.unwrap_or(CONNECTIONS),
            load_time: None,
            kind: typed.text("machine").map_or(Ok(Kind::Microvm), Kind::parse)?,
            memory_mib: typed.number("memory", 8, 65_536)?.unwrap_or(MEMORY_MIB * apps.unwrap_or(1)),
            kvm: typed.has("kvm"),
            apps,
            wire,
            image: typed.text("image").map(PathBuf::from),
            prices: file_or_example(typed, "prices", SCHEDULE)?,
            metrics: typed.number("metrics", 0, u16::MAX)?,
            ledger: typed.text("ledger").map(PathBuf::from),
            json: typed.text("json").map(String::from),
            web: typed.text("web").map(web::address).transpose()?,
            plain: typed.has("plain"),
        })
    }

    /// Makes sure that the ports of further applications are free: those that follow the first one.
    pub fn reserve_beside(&self, first: u16) -> Outcome<Vec<u16>> {
        let beyond = || Trouble::new("--port: there is no room for the ports that follow");
        (1..self.apps.unwrap_or(1) as u16)
            .map(|number| match self.port {
                0 => reserve(0),
                _ => reserve(first.checked_add(number).ok_or_else(beyond)?),
            })
            .collect()
    }

    /// Makes sure that the port is free, and chooses one for 0. It is let go at once, because the emulator opens it
    /// itself; should somebody take it in between, the emulator says so.
    pub fn reserve_port(&self) -> Outcome<u16> {
        reserve(self.port)
    }
}

/// The application that an image holds. Whoever named another one is told.
fn held(typed: &Typed, file: &Path) -> Outcome<&'static str> {
    let bytes = images::read(file)?;
    let bundle = images::check(&bytes)?;
    let names: Vec<&str> = images::applications(&bundle).collect();
    let image = file.display();
    let Some(held) = names.iter().copied().find_map(served) else {
        return Err(Trouble::new(format!(
            "{image} holds {}, which `nom run` does not serve: {} can be run",
            names.join(", "),
            service::NAMES.join(", ")
        )));
    };
    match service::named(typed) {
        Some(named) if named != held => Err(Trouble::new(format!("{image} holds {held}: leave out {named}"))),
        _ => Ok(held),
    }
}

/// What can be run by name, by its name in an image: several caches are `kv-1`, `kv-2`.
fn served(name: &str) -> Option<&'static str> {
    let kind = name.split_once('-').map_or(name, |(kind, _)| kind);
    service::NAMES.into_iter().find(|known| *known == kind)
}

/// Makes sure that a port is free, and chooses one for 0.
pub fn reserve(port: u16) -> Outcome<u16> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(listener) => listener
            .local_addr()
            .map(|address| address.port())
            .map_err(|error| Trouble::new(format!("cannot tell which port was chosen: {error}"))),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            Err(Trouble::new(format!("port {port} on localhost is busy: choose another one with --port N")))
        }
        Err(error) => Err(Trouble::new(format!("cannot open port {port} on localhost: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_says_what_it_holds() {
        let names = ["kv", "kv-2", "httpd", "echo", "switch", "netpipe", "kvx", ""];
        assert_eq!(
            names.map(served),
            [Some("kv"), Some("kv"), Some("httpd"), Some("echo"), None, None, None, None]
        );
    }
}

//! A service in a virtual machine.

use super::Service;
use super::options::Options;
use super::seen::Terms;
use super::wire::Wire;
use crate::arguments::Typed;
use crate::service::{configuration, progress};
use crate::{image, shared};
use nom_machine::machine::{End, Machine, Nameless};
use nom_machine::management::Management;
use nom_machine::metadata::Metadata;
use nom_machine::qemu::{Accelerator, HOST_FROM_GUEST, PACKAGE, PROGRAM, Plan, Tap};
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_machine::watch::{About, Names};
use nom_machine::{artefacts, configuration as lines, image as images, kvm, packages};
use nom_service::configuration::Configuration;
use std::net::SocketAddr;
use std::time::Duration;

/// The address that user networking gives to its first guest, and where its gateway is.
const ADDRESS: &str = "10.0.2.15/24";

/// Processors of a machine with several applications.
const PROCESSORS_MAX: u32 = 4;

/// A guest and the word it knows us by.
struct Guest {
    machine: Machine,
    names: Names,
    token: String,
    terms: Terms,
    /// Ports of applications beside the one that is watched.
    beside: Vec<u16>,
    /// Where clients reach it, unless that is a port of localhost.
    at: Option<SocketAddr>,
}

/// Builds what a guest is made of.
pub fn build(options: &Options) -> Outcome<()> {
    packages::ensure(PROGRAM, PACKAGE, &mut progress)?;
    if options.apps.is_some() {
        image::programs("switch")?;
    }
    image::programs(options.application).map(drop)
}

/// Starts it.
pub fn start(
    typed: &Typed,
    options: &Options,
    port: u16,
    metadata: &mut Metadata,
    token: &str,
) -> Outcome<impl Service + use<>> {
    let wire = options.wire.as_ref();
    let address = wire.map_or(ADDRESS.into(), Wire::guest);
    let host = wire.map_or(HOST_FROM_GUEST.into(), |wire| wire.host.to_string());
    let prices = format!("http://{host}:{}/prices", metadata.port());
    let ours = [
        ("address", address.as_str()),
        ("gateway", host.as_str()),
        ("prices", prices.as_str()),
        ("management.token", token),
    ];
    let (bytes, token) = match &options.image {
        Some(file) => opened(images::read(file)?, &ours)?,
        None => {
            let lent = typed.all("set").any(|set| matches!(lines::setting(set), Ok(("address", "dhcp"))));
            // What is lent comes with its gateway.
            let ours: Vec<_> = ours.into_iter().skip(if lent { 2 } else { 0 }).collect();
            let text = configuration(typed, &ours)?;
            let bytes = match options.apps {
                None => image::build(options.application, &text)?,
                Some(count) => shared::build(count, &text)?,
            };
            (bytes, token.to_string())
        }
    };
    let bundle = images::check(&bytes)?;
    let own = Configuration::parse(bundle.configuration()).context(|| "the image's configuration".into())?;
    let image = Nameless::new(&bytes)?;
    let accelerator = match options.kvm {
        true => {
            kvm::require(&image, &artefacts::root()?.join(".cache"))?;
            Accelerator::Kvm
        }
        false => Accelerator::Tcg,
    };
    let ports = options.reserve_beside(port)?;
    let leads = |(number, port): (u32, &u16)| Ok((*port, shared::address(&own, number)?, own.listen));
    let plan = Plan {
        accelerator,
        beside: (1..).zip(&ports).map(leads).collect::<Outcome<_>>()?,
        processors: options.apps.map_or(own.cores as u32, |count| (count + 1).min(PROCESSORS_MAX)),
        memory_mib: options.memory_mib,
        forward: wire.is_none().then_some((port, own.listen)),
        tap: wire.map(|wire| Tap { name: wire.name.clone(), queues: wire.queues(own.cores) }),
        management: true,
        ..Plan::new(options.kind)
    };
    let names = Names::of(&bundle, plan.processors);
    let mut machine = Machine::start(&plan, &image, None)?;
    if let Some(wire) = wire {
        wire.connect(&mut machine)?;
        metadata.also_on(wire.host)?;
    }
    let at = wire.map(|_| SocketAddr::from((own.address, own.listen)));
    Ok(Guest { machine, names, token, terms: Terms::of(&own), beside: ports, at })
}

/// An image with what it leaves open set by us, and the word that it knows us by. What it says itself stands.
fn opened(image: Vec<u8>, ours: &[(&str, &str)]) -> Outcome<(Vec<u8>, String)> {
    let text = images::check(&image)?.configuration().to_string();
    let is_open = |key: &str| lines::value(&text, key).is_none();
    // An address of its own comes with a gateway of its own, or with none.
    let open = |key: &str| is_open(key) && (key != "gateway" || is_open("address"));
    let ours: Vec<_> = ours.iter().copied().filter(|(key, _)| open(key)).collect();
    if ours.is_empty() {
        let token = lines::value(&text, "management.token").unwrap_or_default().to_string();
        return Ok((image, token));
    }
    let text = lines::with(&text, &ours);
    let token = lines::value(&text, "management.token").unwrap_or_default().to_string();
    Ok((images::with_configuration(&image, &text)?, token))
}

impl Service for Guest {
    fn management(&mut self) -> Outcome<Management> {
        let stream =
            self.machine.take_management().ok_or_else(|| Trouble::new("the channel is taken already"))?;
        Management::open(stream, &self.token)
    }

    fn about(&self, port: u16) -> About {
        About {
            port,
            home: "guest",
            names: Some(self.names.clone()),
            serials: vec![
                ("guest", self.machine.serial.clone()),
                ("emulator", self.machine.complaints.clone()),
            ],
            processes: vec![("emulator", self.machine.id())],
        }
    }

    fn gone(&mut self) -> Option<Trouble> {
        self.machine.ended()?;
        Some(self.machine.autopsy())
    }

    fn terms(&self) -> &Terms {
        &self.terms
    }

    fn at(&self) -> Option<SocketAddr> {
        self.at
    }

    fn beside(&self) -> &[u16] {
        &self.beside
    }

    fn ended(&mut self, timeout: Duration) -> bool {
        if !self.beside.is_empty() {
            // The others have nobody to tell them: the machine ends with the one that is watched.
            let first = format!("application {} ended with code 0", shared::name(0));
            let ended = self.machine.serial.wait_for(timeout, |line| line.contains(&first)).is_some();
            self.machine.kill();
            return ended;
        }
        self.machine.wait(timeout) == Some(End::Code(0))
    }
}

//! The switch of a guest: it owns the network card, and other applications send and receive through their ports.
//!
//! Which applications have a port the image says: each channel `switch.NAME` between it and NAME is one. A port gets
//! an Ethernet address that follows from the card's and from the place of its line, so it is the same after every
//! start. Where the configuration says `application.NAME.address`, that port may speak for this address only.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use nom_guest_devices::{Acquired, CHANNELS, Doorbell, PortReceiver, PortSender, memory, open_port};
use nom_runtime::abi::device::kind;
use nom_runtime::abi::upcall::ENDED;
use nom_runtime::{Events, log, now_ns};
use nom_service::configuration::Configuration;
use nom_switch::{PORTS_MAX, Port, Steering, Switch, station_of};
use nom_virtio_net::{Config, Network, Receiver, Sender, Wanted};
use nom_virtqueue::transport::MappedBell;

nom_runtime::entry!(main);

/// The exit code when it cannot go on: its log says why.
const UNABLE: u8 = 1;
/// Lines about one port; whoever comes and goes all the time is not worth more.
const LINES_MAX: u32 = 64;

type Card = (Receiver<MappedBell>, Sender<MappedBell>);

fn main() -> u8 {
    match serve() {
        Ok(()) => 0,
        Err(why) => {
            log!("switch: {why}");
            UNABLE
        }
    }
}

fn serve() -> Result<(), String> {
    let text = nom_runtime::configuration();
    let own = Configuration::parse_for(text, nom_runtime::name()).map_err(|error| error.to_string())?;
    let names = ports(text)?;
    let (card, mac, event) = open_card()?;
    let (mut halves, mut steered, mut watched) = (Vec::new(), Vec::new(), Vec::new());
    for (number, name) in names.iter().copied().enumerate() {
        let port = station_of(mac, number);
        let (receiver, sender, bell) =
            open_port(name, name, Some(port)).map_err(|why| format!("the port of {name}: {why}"))?;
        let learns = own.learning.iter().any(|learning| learning == name);
        steered.push(Port { mac: port, address: address(text, name)?, learns });
        halves.push((receiver, sender));
        watched.push(Watched { name, bell, lives: 0, faults: 0, lines: 0 });
    }
    let mut switch = Switch::new(card, halves, Steering::new(steered));
    let until_ns = own.lifetime_ns.map(|lifetime_ns| now_ns() + lifetime_ns);
    log!("switch: {} ports on one card", watched.len());
    loop {
        let now = now_ns();
        if until_ns.is_some_and(|until_ns| now >= until_ns) {
            return Err("its lifetime is over, as the configuration says".to_string());
        }
        let worked = switch.turn(now);
        for (number, watched) in watched.iter_mut().enumerate() {
            watched.tell(&mut switch, number);
        }
        let (receiver, sender) = switch.card();
        if let Some(fault) = receiver.fault().or(sender.fault()) {
            return Err(format!("the network device broke the contract of its rings: {fault:?}"));
        }
        if !worked && switch.arm() && nom_runtime::wait(until_ns, event) & ENDED != 0 {
            watched.iter().for_each(|watched| watched.bell.look());
        }
    }
}

/// The applications that have a port, in the order of their lines.
fn ports(text: &'static str) -> Result<Vec<&'static str>, String> {
    let named = |line: &'static str| {
        let (key, _) = line.split('#').next()?.split_once('=')?;
        key.trim().strip_prefix("kernel.channel.")?.strip_prefix(CHANNELS)
    };
    let names: Vec<&str> = text.lines().filter_map(named).collect();
    match names.len() {
        1..=PORTS_MAX => Ok(names),
        _ => Err("no port: the image needs kernel.channel.switch.NAME = switch, NAME, 512 KiB".into()),
    }
}

/// The address that this application alone was given; the one without a name binds nobody.
fn address(text: &str, name: &str) -> Result<Option<core::net::Ipv4Addr>, String> {
    let own = format!("application.{name}.address");
    let given = text.lines().any(|line| line.split('=').next().is_some_and(|key| key.trim() == own));
    let configuration = Configuration::parse_for(text, name).map_err(|error| error.to_string())?;
    Ok(given.then_some(configuration.address))
}

/// The card, its Ethernet address, and the event of its interrupt. Nothing is left to it: what a port gets is whole.
fn open_card() -> Result<(Card, [u8; 6], Events), String> {
    let memory = memory().map_err(|_| {
        "the network device needs a machine with an IOMMU, or an image that is trusted; say image.trusted = yes"
    })?;
    let card = nom_guest_devices::acquire(kind::NETWORK)
        .map_err(|error| format!("no network device ({error:?}); start the machine with one"))?;
    let vectors = card.vector(0).zip(card.vector(1));
    let Acquired { registers, device, .. } = card;
    let wanted = Wanted { checksum: false, segmentation: false, merging: false };
    let network = nom_virtio_net::start(registers, &memory, Config { vectors, wanted, ..Config::default() })
        .map_err(|error| format!("the network device does not start: {error}"))?;
    let Network { device: card, receiver, sender } = network;
    Ok(((receiver, sender), card.mac(), device.event()))
}

/// What was said about a port.
struct Watched {
    name: &'static str,
    bell: Doorbell,
    lives: u64,
    faults: u64,
    lines: u32,
}

impl Watched {
    /// Says what is new.
    fn tell(
        &mut self,
        switch: &mut Switch<Receiver<MappedBell>, Sender<MappedBell>, PortReceiver, PortSender>,
        number: usize,
    ) {
        let Some((receiver, sender)) = switch.port(number) else { return };
        let lives = receiver.counters().lives;
        let faults = receiver.counters().faults + sender.counters().faults;
        let fault = receiver.fault().or(sender.fault());
        let (renewed, broken) = (lives != self.lives, faults != self.faults);
        (self.lives, self.faults) = (lives, faults);
        if renewed {
            switch.forget(number);
        }
        if !(renewed || broken) || self.lines == LINES_MAX {
            return;
        }
        self.lines += 1;
        let name = self.name;
        match fault.filter(|_| broken) {
            Some(fault) => log!("switch: {name} broke the contract of its rings: {fault:?}; its port rests"),
            None => log!("switch: the port of {name} is in use"),
        }
    }
}

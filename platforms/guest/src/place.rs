//! A place in a guest: the card or a port of the switch, a console, entropy, and the service around an application.

use crate::deployed::Part;
use crate::home::Guest;
use crate::network::{self, Incoming, Outgoing, Watch};
use crate::team::{self, Bell, Team};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use nom_dma::HeapMemory;
use nom_guest_devices::{Acquired, Doorbell, NoSource, contribute_entropy, memory};
use nom_runtime::abi::device::kind;
use nom_runtime::{heap_region, log};
use nom_service::configuration::{self, Configuration, Offloads};
use nom_service::home::Home;
use nom_service::worker::{Identity, Worker, seed};
use nom_spread::{BackReceiver, BackSender, OwnReceiver, rings, spread};
use nom_stack::application::Application;
use nom_stack::port::Egress;
use nom_virtio_net::{Config, Pair, Receiver, Sender, Spread, Wanted, start_spread};
use nom_virtqueue::transport::MappedBell;

/// How long the last lines may take to leave.
const FAREWELL_NS: u64 = 500_000_000;
/// Bytes that a source of entropy is asked for, where the machine has one.
const ENTROPY_LEN: usize = 256;
/// What rings, buffers and tables take beside the memories that the configuration names.
const OVERHEAD_BYTES: usize = 2 << 20;
/// A pair of queues has a vector for what comes in and one for what goes out.
const VECTORS_APART: u16 = 2;
/// What a card that cuts or merges large frames takes besides: places for some of them.
const LARGE_FRAMES_BYTES: usize = 1 << 20;
/// VIRTIO_NET_F_HOST_TSO4 and VIRTIO_NET_F_MRG_RXBUF.
const LARGE_FRAMES: u64 = 1 << 11 | 1 << 15;

/// A place in a guest, ready for an application.
pub struct Place {
    /// The application's name.
    name: &'static str,
    /// Its configuration.
    pub configuration: Configuration,
    /// Where it runs.
    pub home: Guest,
    /// The cores, of which this is the first.
    pub team: Arc<Team>,
    network: Opened,
}

/// The network of an application.
struct Opened {
    mac: [u8; 6],
    features: u64,
    receiver: Incoming,
    sender: Outgoing,
    /// The events of the first core's interrupts.
    events: nom_runtime::Events,
    bell: Option<Doorbell>,
    /// What further cores have.
    more: Vec<More>,
}

/// What a further core has of the network.
#[allow(clippy::large_enum_variant, reason = "there is one of it a core, and only at the start")]
enum More {
    /// A pair of queues, with the event of its interrupts.
    Pair(OwnReceiver<Receiver<MappedBell>, Bell>, Sender<MappedBell>, nom_runtime::Events),
    /// Frames that the first core hands over.
    Handed(BackReceiver<Bell>, BackSender<Bell>),
}

impl More {
    fn halves(self) -> (Incoming, Outgoing, nom_runtime::Events) {
        match self {
            Self::Pair(receiver, sender, events) => (Incoming::Own(receiver), Outgoing::Card(sender), events),
            Self::Handed(receiver, sender) => (Incoming::Handed(receiver), Outgoing::Handed(sender), 0),
        }
    }
}

impl Place {
    /// Reads the configuration and opens the devices. `items_bytes` says how much of the heap the application takes.
    pub fn open(
        name: &'static str,
        items_bytes: impl FnOnce(&Configuration) -> usize,
    ) -> Result<Self, String> {
        let configuration =
            Configuration::parse_for(nom_runtime::configuration(), nom_runtime::name()).map_err(text)?;
        let team = team::team(&configuration)?;
        let items_bytes = items_bytes(&configuration);
        enough_memory(&configuration, items_bytes, 0)?;
        let memory = memory()
            .map_err(|_| "the network device needs a machine with an IOMMU, or an image that is trusted; say image.trusted = yes".to_string())?;
        let mut network = match configuration.network {
            configuration::Network::Switch => {
                let (mac, receiver, sender, bell) = network::plug_in()?;
                let (bell, more) = (Some(bell), Vec::new());
                Opened { mac, features: 0, receiver, sender, events: 0, bell, more }
            }
            _ => {
                let network = open_network(&memory, &configuration, &team)?;
                enough_memory(&configuration, items_bytes, network.features)?;
                network
            }
        };
        let bell = network.bell.take();
        let events = network.events;
        let home = Guest::new(name, &memory, events, configuration.management, bell, Arc::clone(&team));
        match contribute_entropy(&memory, ENTROPY_LEN) {
            Ok(_) | Err(NoSource::Device(_)) => {}
            Err(why) => log!("{name}: the source of entropy is not used: {why:?}"),
        }
        Ok(Self { name, configuration, home, team, network })
    }

    /// Serves until the end, on further cores with these parts. After each turn it is asked where the application wants a
    /// connection opened.
    pub fn serve<A: Application + 'static>(
        self,
        application: A,
        parts: Vec<Part<A>>,
        mut turn: impl FnMut(&mut A, &Guest) -> Option<(Ipv4Addr, u16)>,
    ) -> Result<(), String> {
        let Self { name, configuration, mut home, team, network } = self;
        let Opened { mac, features, receiver, sender, more, .. } = network;
        let shared = matches!(receiver, Incoming::Shared(_));
        for (number, (more, part)) in more.into_iter().zip(parts).enumerate() {
            let (core, team) = (number + 1, Arc::clone(&team));
            let seed = seed(&mut home).map_err(text)?;
            let place = move || {
                let (ingress, egress, events) = more.halves();
                team::Place { core, team, mac, ingress, egress, events, seed }
            };
            team::start(configuration.clone(), place, core, part)?;
        }
        let identity = Identity {
            application: name.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            home: "guest".into(),
        };
        let port = configuration.listen;
        let mut worker = Worker::new(identity, configuration, mac, receiver, sender, application, &mut home)
            .map_err(text)?;
        let cores = match (team.cores(), shared) {
            (1, _) => String::new(),
            (cores, true) => format!(", {cores} cores share a pair of queues"),
            (cores, false) => format!(", {cores} cores have a pair of queues each"),
        };
        log!("{name}: serving on port {port}; network features {features:#x}{cores}");
        let mut watch = Watch::new(name);
        while worker.turn(&mut home) {
            let (receiver, sender) = worker.engine().halves();
            if let Some(fault) = network::fault(receiver, sender) {
                return Err(fault);
            }
            if let Some(trouble) = team.trouble() {
                return Err(trouble);
            }
            watch.look(receiver);
            if let Some((address, port)) = turn(worker.application_mut(), &home)
                && let Err(error) = worker.connect(address, port, home.now_ns())
            {
                log!("{name}: no connection to {address}:{port}: {error:?}");
            }
        }
        team.end();
        let until_ns = home.now_ns() + FAREWELL_NS;
        home.flush(until_ns);
        Ok(())
    }
}

/// Starts the network card: a pair of queues for each core where the card has as many and can interrupt each core alone,
/// and else one that the first core shares with the others.
fn open_network(memory: &HeapMemory, configuration: &Configuration, team: &Team) -> Result<Opened, String> {
    let card = nom_guest_devices::acquire(kind::NETWORK)
        .map_err(|error| format!("no network device ({error:?}); start the machine with one"))?;
    let cores = team.cores() as u16;
    let has_vectors = u32::from(cores * VECTORS_APART) <= card.vectors;
    let vectors = card.vector(0).zip(card.vector(1));
    let wanted = wanted(configuration.offloads);
    // Frames that the card merged are too long to be handed over.
    let wanted = Wanted { merging: wanted.merging && cores == 1, ..wanted };
    let pairs = if has_vectors { cores } else { 1 };
    let config = Config { vectors, vectors_apart: VECTORS_APART, pairs, wanted, ..Config::default() };
    let Acquired { registers, device, .. } = card;
    let spread_out = start_spread(registers, memory, config);
    let Spread { device: network, pairs } =
        spread_out.map_err(|error| format!("the network device does not start: {error}"))?;
    let (mac, features, events) = (network.mac(), network.features(), device.event());
    let there = pairs.len();
    if there > 1 && there != usize::from(cores) {
        return Err(format!(
            "the network device has {there} pairs of queues for {cores} cores; give it one, or {cores}"
        ));
    }
    let mut pairs = pairs.into_iter();
    let first = pairs.next().ok_or("the network device has no queues")?;
    let opened =
        |receiver, sender, more| Opened { mac, features, receiver, sender, events, bell: None, more };
    if cores == 1 {
        return Ok(opened(Incoming::Card(first.receiver), Outgoing::Card(first.sender), Vec::new()));
    }
    let bells: Vec<Bell> = (0..team.cores()).map(|core| *team.bell(core)).collect();
    let port = configuration.listen;
    if there == 1 {
        let ((receiver, sender), backs) = spread(first.receiver, first.sender, &bells, port);
        let more = backs.into_iter().map(|(receiver, sender)| More::Handed(receiver, sender)).collect();
        return Ok(opened(Incoming::Shared(receiver), Outgoing::Shared(sender), more));
    }
    if first.sender.mtu() > nom_spread::MTU {
        return Err(format!(
            "the network device takes packets of {} bytes, more than cores hand to each other; give it an MTU of {}, or one pair of queues",
            first.sender.mtu(),
            nom_spread::MTU
        ));
    }
    let (of_first, of_others) = rings(&bells);
    let mut more = Vec::new();
    for (number, (Pair { receiver, sender }, rings)) in (1..).zip(pairs.zip(of_others)) {
        let event = device.own_event(number * u32::from(VECTORS_APART));
        let event = event.map_err(|error| format!("no interrupt for a core of its own: {error:?}"))?;
        more.push(More::Pair(OwnReceiver::new(receiver, rings, port), sender, event));
    }
    let receiver = OwnReceiver::new(first.receiver, of_first, port);
    Ok(opened(Incoming::Own(receiver), Outgoing::Card(first.sender), more))
}

/// What the card is asked to do. Left to us, a rule decides and no measurement: at its start a guest has no peer to move
/// bulk with. The rule is to take all that is offered. Checksums and merging save passes through the stack; cutting saves
/// more, and a card that only pretends costs what we would have spent ourselves. `nom bench virtio` checks the rule.
fn wanted(offloads: Offloads) -> Wanted {
    let nothing = Wanted { checksum: false, segmentation: false, merging: false };
    match offloads {
        Offloads::None => nothing,
        Offloads::Checksum => Wanted { checksum: true, ..nothing },
        Offloads::Merging => Wanted { checksum: true, merging: true, ..nothing },
        Offloads::Auto | Offloads::All => Wanted { checksum: true, segmentation: true, merging: true },
    }
}

fn enough_memory(configuration: &Configuration, items_bytes: usize, features: u64) -> Result<(), String> {
    let of_a_core = configuration.send_memory_bytes
        + configuration.receive_memory_bytes
        + OVERHEAD_BYTES
        + if configuration.cores > 1 { nom_spread::CORE_BYTES } else { 0 };
    let wanted = items_bytes
        + configuration.cores * of_a_core
        + if features & LARGE_FRAMES == 0 { 0 } else { LARGE_FRAMES_BYTES };
    let heap = heap_region().len;
    if heap < wanted {
        let mebibytes = wanted.div_ceil(1 << 20);
        return Err(format!("a heap of {heap} bytes is too small here; say kernel.heap = {mebibytes} MiB"));
    }
    Ok(())
}

fn text(error: impl core::fmt::Display) -> String {
    error.to_string()
}

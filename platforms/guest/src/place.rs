//! A place in a guest: the card or a port of the switch, a console, entropy, and the service around an application.

use crate::home::Guest;
use crate::network::{self, Incoming, Outgoing, Watch};
use alloc::format;
use alloc::string::{String, ToString};
use core::net::Ipv4Addr;
use nom_dma::HeapMemory;
use nom_guest_devices::{Acquired, NoSource, contribute_entropy, memory};
use nom_runtime::abi::device::kind;
use nom_runtime::{heap_region, log};
use nom_service::configuration::{self, Configuration, Offloads};
use nom_service::home::Home;
use nom_service::worker::{Identity, Worker};
use nom_stack::application::Application;
use nom_virtio_net::{Config, Network, Wanted};
use nom_virtqueue::transport::Mapped;

/// How long the last lines may take to leave.
const FAREWELL_NS: u64 = 500_000_000;
/// Bytes that a source of entropy is asked for, where the machine has one.
const ENTROPY_LEN: usize = 256;
/// What rings, buffers and tables take beside the memories that the configuration names.
const OVERHEAD_BYTES: usize = 2 << 20;
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
    mac: [u8; 6],
    receiver: Incoming,
    sender: Outgoing,
    features: u64,
}

impl Place {
    /// Reads the configuration and opens the devices. `items_bytes` says how much of the heap the application takes.
    pub fn open(
        name: &'static str,
        items_bytes: impl FnOnce(&Configuration) -> usize,
    ) -> Result<Self, String> {
        let configuration =
            Configuration::parse_for(nom_runtime::configuration(), nom_runtime::name()).map_err(text)?;
        if configuration.cores > 1 {
            return Err("kv.cores: a guest serves on one core; remove the line".into());
        }
        let items_bytes = items_bytes(&configuration);
        enough_memory(&configuration, items_bytes, 0)?;
        let memory = memory()
            .map_err(|_| "the network device needs a machine with an IOMMU, or an image that is trusted; say image.trusted = yes".to_string())?;
        let (mac, receiver, sender, features, event, bell) = match configuration.network {
            configuration::Network::Switch => {
                let (mac, receiver, sender, bell) = network::plug_in()?;
                (mac, receiver, sender, 0, 0, Some(bell))
            }
            _ => {
                let (card, event) = open_network(&memory, wanted(configuration.offloads))?;
                let Network { device, receiver, sender } = card;
                enough_memory(&configuration, items_bytes, device.features())?;
                let (receiver, sender) = (Incoming::Card(receiver), Outgoing::Card(sender));
                (device.mac(), receiver, sender, device.features(), event, None)
            }
        };
        let home = Guest::new(name, &memory, event, configuration.management, bell);
        match contribute_entropy(&memory, ENTROPY_LEN) {
            Ok(_) | Err(NoSource::Device(_)) => {}
            Err(why) => log!("{name}: the source of entropy is not used: {why:?}"),
        }
        Ok(Self { name, configuration, home, mac, receiver, sender, features })
    }

    /// Serves until the end. After each turn it is asked where the application wants a connection opened.
    pub fn serve<A: Application>(
        self,
        application: A,
        mut turn: impl FnMut(&mut A, &Guest) -> Option<(Ipv4Addr, u16)>,
    ) -> Result<(), String> {
        let Self { name, configuration, mut home, mac, receiver, sender, features } = self;
        let identity = Identity {
            application: name.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            home: "guest".into(),
        };
        let port = configuration.listen;
        let mut worker = Worker::new(identity, configuration, mac, receiver, sender, application, &mut home)
            .map_err(text)?;
        log!("{name}: serving on port {port}; network features {features:#x}");
        let mut watch = Watch::new(name);
        while worker.turn(&mut home) {
            let (receiver, sender) = worker.engine().halves();
            if let Some(fault) = network::fault(receiver, sender) {
                return Err(fault);
            }
            watch.look(receiver);
            if let Some((address, port)) = turn(worker.application_mut(), &home)
                && let Err(error) = worker.connect(address, port, home.now_ns())
            {
                log!("{name}: no connection to {address}:{port}: {error:?}");
            }
        }
        let until_ns = home.now_ns() + FAREWELL_NS;
        home.flush(until_ns);
        Ok(())
    }
}

/// Starts the network device; answers the event of its interrupt too.
fn open_network(
    memory: &HeapMemory,
    wanted: Wanted,
) -> Result<(Network<Mapped>, nom_runtime::Events), String> {
    let card = nom_guest_devices::acquire(kind::NETWORK)
        .map_err(|error| format!("no network device ({error:?}); start the machine with one"))?;
    let vectors = card.vector(0).zip(card.vector(1));
    let Acquired { registers, device, .. } = card;
    let network = nom_virtio_net::start(registers, memory, Config { vectors, wanted, ..Config::default() })
        .map_err(|error| format!("the network device does not start: {error}"))?;
    Ok((network, device.event()))
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
    let wanted = items_bytes
        + configuration.send_memory_bytes
        + configuration.receive_memory_bytes
        + OVERHEAD_BYTES
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

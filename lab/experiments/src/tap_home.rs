//! Where guest and load meet: a network namespace of the bench's own, with a TAP device that the emulator makes.

use nom_linux_interface::veth;
use nom_machine::machine::{Machine, Nameless};
use nom_machine::qemu::{Kind, Plan, Tap};
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_tap::TapConfig;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The interface's name in the namespace.
pub const INTERFACE: &str = "nom0";
/// The address of the host's end.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The address of the guest.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// Their network.
pub const PREFIX_LEN: u8 = 24;
/// The Ethernet address of the host's end.
pub const HOST_MAC: [u8; 6] = [0x52, 0x55, 10, 77, 0, 1];
/// That of a guest's first card, which the emulator chooses.
const GUEST_MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
/// How long the emulator may take to make the interface.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether it has.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
const MEMORY_MIB: u32 = 32;

/// Does something in a thread that has left the host's network for an empty one; its children and threads are there too.
/// Nothing is left when the thread has ended.
pub fn in_own_network<R: Send>(what: impl FnOnce() -> Outcome<R> + Send) -> Outcome<R> {
    in_own_network_telling(&mut |_| {}, |_| what())
}

/// The same for something that takes long, and tells how far it is.
pub fn in_own_network_telling<R: Send>(
    progress: &mut dyn FnMut(&str),
    what: impl FnOnce(&mut dyn FnMut(&str)) -> Outcome<R> + Send,
) -> Outcome<R> {
    std::thread::scope(|scope| {
        let (say, said) = std::sync::mpsc::channel::<String>();
        let thread = scope.spawn(move || {
            nom_tap::namespace::enter().context(|| "the bench needs a network of its own".into())?;
            // Nobody listens any more when the bench is over.
            what(&mut |line| drop(say.send(line.into())))
        });
        // Until the thread has ended, and its half of the channel with it.
        said.iter().for_each(|line| progress(&line));
        thread.join().unwrap_or_else(|_| Err(Trouble::new("the bench's thread ended in a panic")))
    })
}

/// A guest on the TAP device.
pub struct Guest(Machine);

impl Guest {
    /// Starts one of ours with so many processors, in the network of the thread that calls.
    pub fn start(image: &Nameless, processors: u32) -> Outcome<Self> {
        let plan = Plan { processors, memory_mib: MEMORY_MIB, entropy: true, ..Plan::new(Kind::Microvm) };
        Self::start_as(plan, image, None)
    }

    /// Starts one in the network of the thread that calls, and brings the interface up. The host never asks for
    /// the guest's Ethernet address: it waits a second before it asks again, which would be measured.
    pub fn start_as(plan: Plan, kernel: &Nameless, initial: Option<&Nameless>) -> Outcome<Self> {
        let plan = Plan { tap: Some(Tap { name: INTERFACE.into(), queues: 1 }), ..plan };
        let mut machine = Machine::start(&plan, kernel, initial)?;
        let config = TapConfig {
            name: INTERFACE.into(),
            address: HOST,
            prefix_len: PREFIX_LEN,
            ..TapConfig::default()
        };
        let deadline = Instant::now() + PATIENCE;
        while veth::station(INTERFACE, HOST_MAC).is_err() {
            if machine.ended().is_some() {
                return Err(machine.autopsy());
            }
            if Instant::now() > deadline {
                return Err(Trouble::new("the emulator makes no interface"));
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        nom_tap::configure(&config).context(|| "the host's end of the wire".into())?;
        veth::neighbour(INTERFACE, GUEST, GUEST_MAC).context(|| "the host's end of the wire".into())?;
        Ok(Self(machine))
    }

    /// Why it is silent, in words.
    pub fn autopsy(&mut self) -> Trouble {
        self.0.autopsy()
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        self.0.ended().is_some()
    }

    /// Our end of its management channel, where its plan has one; once.
    pub fn take_management(&mut self) -> Option<UnixStream> {
        self.0.take_management()
    }

    /// When its emulator was started.
    pub fn started(&self) -> Instant {
        self.0.started
    }

    /// The emulator's process.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// What the guest said last.
    pub fn last_words(&self) -> String {
        self.0.serial.last_words().unwrap_or_else(|| "nothing".into())
    }
}

/// Bytes and frames that the guest has sent so far, as the host's end of the wire counts them.
pub fn received() -> Outcome<(u64, u64)> {
    // The thread's own network, not that of the process.
    let file = "/proc/thread-self/net/dev";
    let text = std::fs::read_to_string(file).context(|| format!("cannot read {file}"))?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix(INTERFACE)?.strip_prefix(':'));
    let mut words = line.into_iter().flat_map(str::split_whitespace).map_while(|word| word.parse().ok());
    words.next().zip(words.next()).ok_or_else(|| Trouble::new(format!("{file} does not tell of {INTERFACE}")))
}

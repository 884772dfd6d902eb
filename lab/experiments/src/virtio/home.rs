//! Where guest and load meet: a network namespace of the bench's own, with a TAP device that the emulator makes.

use nom_machine::machine::{Machine, Nameless};
use nom_machine::qemu::{Kind, Plan, Tap};
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_tap::TapConfig;
use std::time::{Duration, Instant};

/// The interface's name in the namespace.
const INTERFACE: &str = "nom0";
/// How long the emulator may take to make the interface.
const PATIENCE: Duration = Duration::from_secs(30);
const MEMORY_MIB: u32 = 32;

/// Does something in a thread that has left the host's network for an empty one; its children and threads are there too.
/// Nothing is left when the thread has ended.
pub fn in_own_network<R: Send>(what: impl FnOnce() -> Outcome<R> + Send) -> Outcome<R> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            nom_tap::namespace::enter().context(|| "the bench needs a network of its own".into())?;
            what()
        });
        thread.join().unwrap_or_else(|_| Err(Trouble::new("the bench's thread ended in a panic")))
    })
}

/// A guest on the TAP device.
pub struct Guest(Machine);

impl Guest {
    /// Starts one with so many processors, in the network of the thread that calls, and brings the interface up.
    pub fn start(image: &Nameless, processors: u32) -> Outcome<Self> {
        let tap = Some(Tap { name: INTERFACE.into(), queues: 1 });
        let plan =
            Plan { tap, processors, memory_mib: MEMORY_MIB, entropy: true, ..Plan::new(Kind::Microvm) };
        let mut machine = Machine::start(&plan, image, None)?;
        let config = TapConfig { name: INTERFACE.into(), ..TapConfig::default() };
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = nom_tap::configure(&config) {
            if machine.ended().is_some() {
                return Err(machine.autopsy());
            }
            if Instant::now() > deadline {
                return Err(Trouble::new(format!("the emulator makes no interface: {error}")));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(Self(machine))
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

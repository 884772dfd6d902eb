//! The home of a virtual machine.

use super::{END, Home, PORT, TOKEN, free_port};
use nom_machine::machine::{End, Machine, Nameless};
use nom_machine::management::Management;
use nom_machine::metadata::{Metadata, Source};
use nom_machine::qemu::{HOST_FROM_GUEST, Kind, Plan};
use nom_machine::trouble::{Outcome, Trouble};
use nom_machine::{artefacts, configuration, image};

/// The address that user networking gives to its first guest.
const ADDRESS: &str = "10.0.2.15/24";
/// Memory of the machine.
const MEMORY_MIB: u32 = 64;

/// A guest of one processor, which asks for prices over its own stack.
pub struct Guest {
    machine: Machine,
    metadata: Metadata,
    port: u16,
}

impl Guest {
    /// Starts it with a configuration to which address, price source and token are added.
    pub fn start(text: &str, kind: Kind, source: impl Source) -> Outcome<Self> {
        let programs = artefacts::guest(&["nom-kernel", "nom-kv-guest"], &mut |_| {})?;
        let metadata = Metadata::start(source)?;
        let prices = format!("http://{HOST_FROM_GUEST}:{}/prices", metadata.port());
        let ours = [
            ("address", ADDRESS),
            ("gateway", HOST_FROM_GUEST),
            ("prices", prices.as_str()),
            ("management.token", TOKEN),
        ];
        let text = configuration::with(text, &ours);
        let image = Nameless::new(&image::assemble(&programs[0], &text, &[("kv", &programs[1])])?)?;
        let port = free_port()?;
        let plan =
            Plan { memory_mib: MEMORY_MIB, forward: Some((port, PORT)), management: true, ..Plan::new(kind) };
        Ok(Self { machine: Machine::start(&plan, &image, None)?, metadata, port })
    }
}

impl Home for Guest {
    fn management(&mut self) -> Outcome<Management> {
        let channel = self.machine.take_management();
        Management::open(channel.ok_or_else(|| Trouble::new("there is no management channel"))?, TOKEN)
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn wake(&self) {
        self.metadata.wake();
    }

    fn emulator(&self) -> Option<u32> {
        Some(self.machine.id())
    }

    fn gone(&mut self) -> Option<Trouble> {
        self.machine.ended().map(|_| self.machine.autopsy())
    }

    fn ended(&mut self) -> Outcome<()> {
        match self.machine.wait(END) {
            Some(End::Code(0)) => Ok(()),
            Some(_) => Err(self.machine.autopsy()),
            None => Err(Trouble::new("it settled but did not end by itself")),
        }
    }
}

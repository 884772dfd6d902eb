//! A service in a virtual machine.

use super::Service;
use super::options::Options;
use crate::arguments::Typed;
use crate::image;
use crate::service::{configuration, progress};
use nom_machine::machine::{End, Machine, Nameless};
use nom_machine::management::Management;
use nom_machine::qemu::{Accelerator, HOST_FROM_GUEST, PACKAGE, PROGRAM, Plan};
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_machine::watch::{About, Names};
use nom_machine::{artefacts, configuration as lines, image as images, kvm, packages};
use nom_service::configuration::Configuration;
use nom_utility::Contract;
use std::time::Duration;

/// The address that user networking gives to its first guest, and where its gateway is.
const ADDRESS: &str = "10.0.2.15/24";

/// A guest and the word it knows us by.
struct Guest {
    machine: Machine,
    names: Names,
    token: String,
    contract: Option<Contract>,
}

/// Builds what a guest is made of.
pub fn build() -> Outcome<()> {
    packages::ensure(PROGRAM, PACKAGE, &mut progress)?;
    image::programs("kv").map(drop)
}

/// Starts it.
pub fn start(
    typed: &Typed,
    options: &Options,
    port: u16,
    metadata_port: u16,
    token: &str,
) -> Outcome<impl Service + use<>> {
    let prices = format!("http://{HOST_FROM_GUEST}:{metadata_port}/prices");
    let (bytes, token) = match &options.image {
        Some(file) => {
            let bytes = images::read(file)?;
            let own =
                lines::value(images::check(&bytes)?.configuration(), "management.token").map(String::from);
            (bytes, own.unwrap_or_default())
        }
        None => {
            let ours = [
                ("address", ADDRESS),
                ("gateway", HOST_FROM_GUEST),
                ("prices", prices.as_str()),
                ("management.token", token),
            ];
            (image::build("kv", &configuration(typed, &ours)?)?, token.to_string())
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
    let plan = Plan {
        accelerator,
        memory_mib: options.memory_mib,
        forward: Some((port, own.listen)),
        management: true,
        ..Plan::new(options.kind)
    };
    let names = Names::of(&bundle, plan.processors);
    Ok(Guest { machine: Machine::start(&plan, &image, None)?, names, token, contract: own.contract })
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

    fn contract(&self) -> Option<Contract> {
        self.contract
    }

    fn ended(&mut self, timeout: Duration) -> bool {
        self.machine.wait(timeout) == Some(End::Code(0))
    }
}

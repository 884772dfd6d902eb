//! The home of a virtual machine.

use super::session::{self, free_port};
use super::steps::Follower;
use super::{Piece, Played, terms};
use nom_machine::machine::{End, Machine, Nameless};
use nom_machine::management::Management;
use nom_machine::metadata::Metadata;
use nom_machine::qemu::{HOST_FROM_GUEST, Kind, Plan};
use nom_machine::trouble::{Outcome, Trouble};
use nom_machine::{artefacts, configuration, image};
use std::time::Duration;

/// The address that user networking gives to its first guest.
const ADDRESS: &str = "10.0.2.15/24";
/// Memory of the machine.
const MEMORY_MIB: u32 = 64;
/// How long it may take to end after its last word.
const END: Duration = Duration::from_secs(5);

/// Plays a piece against a guest.
pub fn play(piece: &Piece, kind: Kind) -> Outcome<Played> {
    let home = match kind {
        Kind::Microvm => "guest on microvm",
        Kind::Q35 => "guest on q35",
    };
    let programs = artefacts::guest(&["nom-kernel", "nom-kv-guest"], &mut |_| {})?;
    let follower = Follower::new(&piece.steps);
    let metadata = Metadata::start(follower.clone())?;
    let prices = format!("http://{HOST_FROM_GUEST}:{}/prices", metadata.port());
    let ours = [
        ("address", ADDRESS),
        ("gateway", HOST_FROM_GUEST),
        ("prices", prices.as_str()),
        ("management.token", terms::TOKEN),
    ];
    let text = configuration::with(terms::CONFIGURATION, &ours);
    let image = Nameless::new(&image::assemble(&programs[0], &text, &[("kv", &programs[1])])?)?;
    let port = free_port()?;
    let plan = Plan {
        memory_mib: MEMORY_MIB,
        forward: Some((port, terms::PORT)),
        management: true,
        ..Plan::new(kind)
    };
    let mut machine = Machine::start(&plan, &image, None)?;
    let channel = machine.take_management().ok_or_else(|| Trouble::new("there is no management channel"))?;
    let management = Management::open(channel, terms::TOKEN)?;
    let mut gone = || machine.ended().map(|_| machine.autopsy());
    let played = session::play(home, piece, &follower, management, port, &mut gone)?;
    match machine.wait(END) {
        Some(End::Code(0)) => Ok(played),
        Some(_) => Err(machine.autopsy()),
        None => Err(Trouble::new("it settled but did not end by itself")),
    }
}

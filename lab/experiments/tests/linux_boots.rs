//! The peer comes up on our machine plan. Ignored: it fetches a package.

use nom_experiments::linux_guest::{FIRST_WORDS, command_line, prepare};
use nom_machine::machine::{Machine, Nameless};
use nom_machine::qemu::{Kind, Plan};
use std::time::Duration;

#[test]
#[ignore = "fetches a Debian package; run by `nom bench boot` in earnest"]
fn linux_runs_its_init() {
    let cache = nom_machine::artefacts::root().unwrap().join(".cache");
    let peer = prepare(&cache, &mut |line| eprintln!("{line}")).unwrap();
    let plan = Plan {
        foreign: true,
        memory_mib: 128,
        command_line: Some(command_line()),
        ..Plan::new(Kind::Microvm)
    };
    let (kernel, initial) = (Nameless::new(&peer.kernel).unwrap(), Nameless::new(&peer.initial).unwrap());
    let machine = Machine::start(&plan, &kernel, Some(&initial)).unwrap();
    let words = machine.serial.wait_for(Duration::from_secs(60), |line| line.contains(FIRST_WORDS));
    assert!(words.is_some(), "{} said {:?}", peer.name, machine.serial.lines());
    eprintln!("{} in {:?}", peer.name, words.unwrap().seen - machine.started);
}

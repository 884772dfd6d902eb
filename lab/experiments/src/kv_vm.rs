//! The cache in a guest beside Debian's memcached in a guest ([`guests`]): memcaslap as the client, the same memory for
//! items. Ours has 16 MiB of memory, Linux' 96.

use crate::Settings;
use crate::beside::{Place, Way};
use crate::caslap::{Caslap, Load};
use crate::figures::Figure;
use crate::first_answer::Probe;
use crate::guests::{self, Contest, Goals, TOKEN};
use crate::linux_guest::service::Service;
use crate::tap_home::{GUEST, PREFIX_LEN};
use nom_cable::SERVER_KERNEL;
use nom_machine::machine::{Nameless, dying_with_us};
use nom_machine::scratch::Scratch;
use nom_machine::trouble::Outcome;
use nom_machine::{artefacts, image, packages};

const PORT: u16 = 11_211;
const MEMORY_MIB: u32 = 16;
/// Memory for items on both sides.
const ITEMS_MIB: u32 = 8;
/// Bytes of a value: what caches mostly hold is small.
const VALUE_LEN: u32 = 100;
/// A GET of nothing.
pub const PROBE: Probe = Probe { port: PORT, question: b"get nothing\r\n", answer: b"END\r\n" };
const GOALS: Goals = Goals {
    many: Some(">=8"),
    single: Some(">=3"),
    single_polling: Some(">=4"),
    jitter: Some(">=10"),
    first_answer_ms: Some("<=120"),
};

/// Measures.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    measure_with("kv", guests::MANY, GOALS, settings, progress)
}

/// The same with so many connections, and what each guest makes the machine do.
pub fn measure_as_the_paper(
    many: u32,
    settings: &Settings,
    progress: &mut dyn FnMut(&str),
) -> Outcome<Vec<Figure>> {
    measure_with("paper.kv", many, Goals::default(), settings, progress)
}

fn measure_with(
    name: &'static str,
    many: u32,
    goals: Goals,
    settings: &Settings,
    progress: &mut dyn FnMut(&str),
) -> Outcome<Vec<Figure>> {
    let caslap = Caslap::new(progress)?;
    let programs = artefacts::guest(&["nom-kernel", "nom-kv-guest"], progress)?;
    let ours = |wait: &str| {
        let bytes = image::assemble(&programs[0], &configuration(wait), &[("kv", &programs[1])])?;
        Nameless::new(&bytes)
    };
    let ask = |target, connections| caslap.run(target, Load { connections, value_len: Some(VALUE_LEN) });
    let program = packages::ensure("memcached", "memcached", progress)?;
    let floor = || {
        let native = |_: &Scratch| {
            let mut command = dying_with_us(&program);
            command.args(memcached().arguments);
            Ok(command)
        };
        let caslap = caslap.clone();
        let load = Load { connections: 1, value_len: Some(VALUE_LEN) };
        Place::start(Way::Cable, (SERVER_KERNEL, PORT), native)?.ask(move |target| caslap.run(target, load))
    };
    let contest = Contest {
        name,
        ours: &ours,
        memory_mib: MEMORY_MIB,
        peer: memcached(),
        probe: PROBE,
        ask: &ask,
        floor: Some(&floor),
        many,
        goals,
        exits: name != "kv",
    };
    guests::measure(&contest, settings, progress)
}

/// The configuration of a guest on the bench's wire. Large frames would want memory that 16 MiB do not have, and requests of
/// a cache are small.
pub fn configuration(wait: &str) -> String {
    format!(
        "listen = {PORT}\naddress = {GUEST}/{PREFIX_LEN}\nconnections = 128\nwait = {wait}\nbatch = queued\n\
         memory.items = {ITEMS_MIB} MiB\nmemory.send = 256 KiB\nmemory.receive = 256 KiB\ntuner = off\n\
         offloads = checksum\nkernel.heap = 11520 KiB\nimage.trusted = yes\nmanagement.token = {TOKEN}\n"
    )
}

fn memcached() -> Service {
    let arguments = format!("-u root -t 1 -U 0 -m {ITEMS_MIB} -c 1024 -l 0.0.0.0 -p {PORT}");
    Service {
        program: "memcached",
        package: "memcached",
        arguments: arguments.split(' ').map(String::from).collect(),
        files: Vec::new(),
        folders: &[],
    }
}

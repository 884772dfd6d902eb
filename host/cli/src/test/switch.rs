//! Several applications behind one network card: a neighbour that is ended again and again, one that attacks the
//! switch, and a switch that dies. A client that nothing of this concerns must get every answer.

use super::client::{Client, converse};
use super::guest::free_port;
use super::{Cases, Verdict};
use crate::image;
use crate::service::progress;
use nom_machine::machine::{Machine, Nameless};
use nom_machine::packages;
use nom_machine::qemu::{Kind, PACKAGE, PROGRAM, Plan};
use nom_machine::trouble::{Outcome, Trouble};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take to come.
const PATIENCE: Duration = Duration::from_secs(180);
const PORT: u16 = 11_211;
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 16);
const PAUSE: Duration = Duration::from_millis(2);
/// Deaths of the switch that are waited for.
const DEATHS: usize = 2;

/// What both images say.
const SERVICES: &str = "image.trusted = yes
kernel.publisher = kv-1
kernel.heap = 1 MiB
kernel.heap.switch = 4 MiB
kernel.heap.kv-1 = 4 MiB
kernel.heap.kv-2 = 4 MiB
kernel.restart.switch = always 100
kernel.channel.switch.kv-1 = switch, kv-1, 512 KiB
kernel.channel.switch.kv-2 = switch, kv-2, 512 KiB
network = switch
management = no
listen = 11211
gateway = 10.0.2.2
application.kv-1.address = 10.0.2.15/24
application.kv-2.address = 10.0.2.16/24
connections = 64
memory.items = 1 MiB
memory.send = 256 KiB
memory.receive = 256 KiB
tuner = off
";
/// One that is ended and started by a keeper, and one that attacks.
const NEIGHBOURS: &str = "kernel.application = switch, kv-1, keeper, rogue
kernel.channel.switch.rogue = switch, rogue, 512 KiB
kernel.restart.rogue = always 3
";
/// A switch that fails every few seconds.
const MORTAL: &str = "kernel.application = switch, kv-1, kv-2
switch.lifetime = 4 s
";

/// All cases.
pub fn switch(cases: &mut Cases) -> Outcome<()> {
    packages::ensure(PROGRAM, PACKAGE, &mut progress)?;
    let services = [("switch", "switch"), ("kv-1", "kv"), ("kv-2", "kv")];
    let all = [&services[..], &[("keeper", "trial"), ("rogue", "trial")]].concat();
    let text = format!("{SERVICES}{NEIGHBOURS}");
    neighbours(&Nameless::new(&image::build_parts(&all, &text)?)?, cases)?;
    let text = format!("{SERVICES}{MORTAL}");
    mortal(&Nameless::new(&image::build_parts(&services, &text)?)?, cases)
}

/// A machine with two services, and the ports of localhost that lead to them.
struct Pair {
    machine: Machine,
    ports: [u16; 2],
}

impl Pair {
    fn start(image: &Nameless, kind: Kind, processors: u32) -> Outcome<Pair> {
        let ports = [free_port()?, free_port()?];
        let plan = Plan {
            forward: Some((ports[0], PORT)),
            beside: vec![(ports[1], SECOND, PORT)],
            processors,
            ..Plan::new(kind)
        };
        Ok(Pair { machine: Machine::start(&plan, image, None)?, ports })
    }

    /// How many lines say this.
    fn said(&self, words: &str) -> usize {
        self.machine.serial.lines().iter().filter(|line| line.text.contains(words)).count()
    }

    /// At least so many lines say this.
    fn said_often(&self, words: &str, least: usize) -> Outcome<()> {
        match self.said(words) {
            said if said >= least => Ok(()),
            said => Err(Trouble::new(format!("{words:?} was said {said} times, not {least}"))),
        }
    }

    /// A connection that works, once there is one.
    fn connect(&mut self, port: u16) -> Outcome<Client> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let tried = Client::connect(port).and_then(|mut client| {
                client.ask(b"set own 0 0 4\r\nmine\r\n", b"STORED\r\n", 1)?;
                Ok(client)
            });
            match tried {
                Ok(client) => return Ok(client),
                Err(trouble) if Instant::now() > deadline || self.machine.ended().is_some() => {
                    return Err(Trouble::new(format!("{trouble}; {}", self.machine.autopsy())));
                }
                // The emulator accepts before the guest does, and closes what nobody there wanted.
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Asks over one connection until something has happened; how often it was answered.
    fn ask_until(&mut self, client: &mut Client, what: &str, holds: impl Fn(&Self) -> bool) -> Outcome<u64> {
        let deadline = Instant::now() + PATIENCE;
        let mut answers = 0;
        loop {
            let answer = client.ask(b"get own\r\n", b"VALUE own 0 4\r\nmine\r\nEND\r\n", 1);
            answer.map_err(|trouble| Trouble::new(format!("after {answers} answers: {trouble}")))?;
            answers += 1;
            if holds(self) {
                return Ok(answers);
            }
            if Instant::now() > deadline {
                let last = self.machine.serial.last_words().unwrap_or_default();
                return Err(Trouble::new(format!("it never came: {what}; last words: {last}")));
            }
            std::thread::sleep(PAUSE);
        }
    }
}

fn neighbours(image: &Nameless, cases: &mut Cases) -> Outcome<()> {
    let mut pair = Pair::start(image, Kind::Microvm, 2)?;
    let [first, second] = pair.ports;
    let mut note = |name: &str, verdict: Verdict| cases.note(&format!("switch: {name}"), verdict);
    let mut client = pair.connect(first)?;
    let undisturbed = pair.ask_until(&mut client, "the keeper and the rogue are done", |pair| {
        pair.said("keeper: done") > 0 && pair.said("rogue: done") > 0
    });
    note("a neighbour misses nothing while others die and attack", undisturbed.map(drop).into());
    note("each life of one that attacks has a port", pair.said_often("rogue: life 4 has a port", 1).into());
    for lie in ["Produced", "Length"] {
        let words = format!("switch: rogue broke the contract of its rings: {lie}");
        note(&format!("a lie is seen: {lie}"), pair.said_often(&words, 1).into());
    }
    let again = pair.connect(second).and_then(|_| converse(second)).map(drop);
    note("the one that was ended serves again", again.into());
    // The last life is there by now; of the others not all need have lived long enough.
    let port = pair.said_often("switch: the port of kv-2 is in use", 2);
    note("a dead one's port is taken again by its next life", port.into());
    note("the first one serves any client", converse(first).map(drop).into());
    for port in pair.ports {
        note("memcstat is answered behind the switch", memcstat(port));
    }
    let leaked = pair.machine.serial.lines();
    let leaked = leaked
        .iter()
        .find(|line| line.text.contains(" frames leaked") && !line.text.contains("; 0 frames leaked"));
    let verdict = leaked.map_or(Ok(()), |line| Err(Trouble::new(line.text.clone())));
    note("no frame is lost by all the dying", verdict.into());
    pair.machine.kill();
    Ok(())
}

fn mortal(image: &Nameless, cases: &mut Cases) -> Outcome<()> {
    let mut pair = Pair::start(image, Kind::Q35, 1)?;
    let [first, second] = pair.ports;
    let mut client = pair.connect(first)?;
    let deaths = |pair: &Pair| pair.said("switch: its lifetime is over");
    let dead = deaths(&pair);
    let survived = pair.ask_until(&mut client, "the switch has died and come again", |pair| {
        deaths(pair) >= dead + DEATHS && pair.said("switch: 2 ports on one card") > deaths(pair)
    });
    // One more answer over the connection that was there before: behind the last death.
    let survived = survived.and_then(|_| client.ask(b"get own\r\n", b"VALUE own 0 4\r\nmine\r\nEND\r\n", 1));
    cases.note("switch: connections outlive its deaths", survived);
    cases.note("switch: its deaths are seen", pair.said_often("kv: the switch is back", DEATHS));
    cases.note("switch: the other one is reached after its deaths", pair.connect(second).map(drop));
    pair.machine.kill();
    Ok(())
}

/// A client that nobody here wrote.
fn memcstat(port: u16) -> Verdict {
    if packages::find("memcstat").is_none() {
        return Verdict::Skipped("memcstat is absent (Debian: libmemcached-tools)".into());
    }
    let run = Command::new("timeout")
        .args(["60", "memcstat", &format!("--servers=127.0.0.1:{port}")])
        .stdin(Stdio::null())
        .output();
    match run {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => Verdict::Passed,
        Ok(output) => Verdict::Failed(format!("memcstat ended with {:?}", output.status.code())),
        Err(error) => Verdict::Failed(format!("memcstat: {error}")),
    }
}

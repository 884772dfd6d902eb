//! A guest that serves with as little as it can: the key-value cache in an image of its own, asked over the network
//! from outside. And a guest that looks at the kernel's counters from inside.

use nom_machine::machine::{Machine, Nameless};
use nom_machine::qemu::{HOST_FROM_GUEST, Kind, Plan};
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_machine::{artefacts, image};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// The port inside of the guest.
const PORT: u16 = 11_211;
/// How long a read may take before the guest is asked again.
const READ_PATIENCE: Duration = Duration::from_millis(500);

/// An image of the cache with small memories: 256 KiB of items.
pub fn small_image(progress: &mut dyn FnMut(&str)) -> Outcome<Nameless> {
    let programs = artefacts::guest(&["nom-kernel", "nom-kv-guest"], progress)?;
    let configuration = format!(
        "listen = {PORT}\naddress = 10.0.2.15/24\ngateway = {HOST_FROM_GUEST}\nconnections = 64\n\
         memory.items = 256 KiB\nitem.max = 64 KiB\nmemory.send = 64 KiB\nmemory.receive = 64 KiB\n\
         tuner = off\nkernel.heap = 3 MiB\nimage.trusted = yes\n"
    );
    Nameless::new(&image::assemble(&programs[0], &configuration, &[("kv", &programs[1])])?)
}

/// Starts the image in a machine with this much memory, and waits until a set and a get are answered.
pub fn answered(image: &Nameless, memory_mib: u32, patience: Duration) -> Outcome<Machine> {
    let port = free_port()?;
    let plan = Plan { memory_mib, forward: Some((port, PORT)), ..Plan::new(Kind::Microvm) };
    let mut machine = Machine::start(&plan, image, None)?;
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if machine.ended().is_some() {
            return Err(machine.autopsy());
        }
        if ask(port).is_ok() {
            return Ok(machine);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(Trouble::new(format!("no answer: {}", machine.autopsy())))
}

fn ask(port: u16) -> std::io::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, READ_PATIENCE)?;
    stream.set_read_timeout(Some(READ_PATIENCE))?;
    stream.write_all(b"set key 0 0 5\r\nvalue\r\nget key\r\n")?;
    let wanted = b"STORED\r\nVALUE key 0 5\r\nvalue\r\nEND\r\n";
    let mut answer = [0; 35];
    stream.read_exact(&mut answer)?;
    if &answer == wanted { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}

fn free_port() -> Outcome<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .context(|| "no free port on localhost".into())
}

/// What the kernel counted while an application spun alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Interrupts, timer interrupts among them.
    pub interrupts: u64,
    /// Kernel calls.
    pub calls: u64,
    /// Memory of the kernel itself, without the table of frames.
    pub kernel_kib: u64,
}

/// Lets an application spin in a guest of 128 MiB and one processor.
pub fn spin(seconds: u64, progress: &mut dyn FnMut(&str)) -> Outcome<Counted> {
    let programs = artefacts::guest(&["nom-kernel", "nom-trial-guest"], progress)?;
    let configuration = format!("image.trusted = yes\n# measure = spin {seconds}\n");
    let bytes = image::assemble(&programs[0], &configuration, &[("trial", &programs[1])])?;
    let plan = Plan { memory_mib: 128, ..Plan::new(Kind::Microvm) };
    let mut machine = Machine::start(&plan, &Nameless::new(&bytes)?, None)?;
    let patience = Duration::from_secs(seconds * 4 + 20);
    let line = machine.serial.wait_for(patience, |line| line.contains("measured "));
    let counted = line.and_then(|line| counted(&line.text));
    machine.kill();
    counted.ok_or_else(|| Trouble::new(format!("the guest said no counts: {}", machine.autopsy())))
}

/// Reads `measured interrupts 0 calls 0 kernel_kib 400`, wherever on a line it begins.
fn counted(line: &str) -> Option<Counted> {
    let words: Vec<&str> = line.split_once("measured ")?.1.split_whitespace().collect();
    let number = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1)?.parse().ok()
    };
    Some(Counted {
        interrupts: number("interrupts")?,
        calls: number("calls")?,
        kernel_kib: number("kernel_kib")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_a_line() {
        let line = "trial: measured interrupts 1 calls 2 kernel_kib 400";
        assert_eq!(counted(line), Some(Counted { interrupts: 1, calls: 2, kernel_kib: 400 }));
        assert_eq!(counted("measured calls 2"), None);
    }
}

//! A network card with several pairs of queues on a TAP device: two cores, a link that goes and comes, a second start. The
//! host's own kernel is the peer, in a network namespace of the test's own; where that is not allowed, it is skipped.

use super::guest::{PATIENCE, judge};
use super::monitor::{Monitor, Place};
use super::{Cases, Verdict};
use crate::image;
use nom_machine::machine::{Machine, Nameless};
use nom_machine::qemu::{Kind, Plan, Tap};
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_tap::{TapConfig, namespace};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

const CONFIGURATION: &str = "image.trusted = yes\nkernel.heap = 4 MiB\n# pairs = 2\n";
const INTERFACE: &str = "nom0";
const GUEST: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 77, 0, 2), 7);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Flows, by the port of the host: one after the other, so that half of them belong to each pair.
const PORTS: std::ops::Range<u16> = 40_000..40_008;
/// Datagrams of a flow in a part.
const DATAGRAMS: u32 = 10;
/// What is not answered for so long is sent again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// What the guest and the emulator call the card's other side.
const NETDEV: &str = "tap";

/// Runs the cases on both machine types.
pub fn pairs(cases: &mut Cases) -> Outcome<()> {
    let image = Nameless::new(&image::build("drivers", CONFIGURATION)?)?;
    for kind in Kind::ALL {
        let title = format!("{}: pairs of queues", kind.name());
        // A thread, because there is no way back from a namespace; whatever it starts is there too.
        let ran = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                if let Err(error) = namespace::enter() {
                    let why = format!("no network of its own: {error}");
                    cases.note(&format!("guest on {title}"), Verdict::Skipped(why));
                    return Ok(());
                }
                one(&image, kind, &title, cases)
            });
            thread.join().unwrap_or_else(|_| Err(Trouble::new("the test's thread ended in a panic")))
        });
        ran?;
    }
    Ok(())
}

fn one(image: &Nameless, kind: Kind, title: &str, cases: &mut Cases) -> Outcome<()> {
    let monitor = Place::new()?;
    let plan = Plan {
        tap: Some(Tap { name: INTERFACE.into(), queues: 2 }),
        processors: 2,
        further: monitor.arguments().to_vec(),
        ..Plan::new(kind)
    };
    let mut machine = Machine::start(&plan, image, None)?;
    let driven = drive(&mut machine, &monitor);
    let wrong = driven.is_err();
    cases.note(&format!("guest on {title}: the host is answered"), driven);
    if wrong {
        // Why may stand in the guest's words; it need not be waited for.
        machine.kill();
    }
    let end = machine.wait(PATIENCE);
    judge(&mut machine, end, title, cases).map(|_| ())
}

/// Asks over all flows in each part, and takes the link away in between.
fn drive(machine: &mut Machine, monitor: &Place) -> Outcome<()> {
    up(machine)?;
    let flows: Vec<UdpSocket> = PORTS.map(flow).collect::<Outcome<_>>()?;
    for part in 1..=6_usize {
        if part == 3 {
            let mut monitor = Monitor::open(monitor)?;
            for (state, word) in [("down", "false"), ("up", "true")] {
                said(machine, &format!("pairs: waiting for the link to be {state}"))?;
                monitor.command(&format!(
                    "{{\"execute\":\"set_link\",\"arguments\":{{\"name\":\"{NETDEV}\",\"up\":{word}}}}}"
                ))?;
            }
        }
        said(machine, &format!("pairs: part {part}"))?;
        // In the last two parts one pair is asked, and more often, so that the other one's silence says something.
        let (first, step, datagrams) =
            if part < 5 { (0, 1, DATAGRAMS) } else { (part - 5, 2, 3 * DATAGRAMS) };
        for number in 0..datagrams {
            for flow in flows[first..].iter().step_by(step) {
                let word = if number == 0 { "first" } else { "datagram" };
                ask(flow, format!("{word} {number} of part {part}").as_bytes())?;
            }
        }
        ask(&flows[0], format!("end{part}").as_bytes())?;
    }
    Ok(())
}

fn up(machine: &mut Machine) -> Outcome<()> {
    let config = TapConfig { name: INTERFACE.into(), address: HOST, ..TapConfig::default() };
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
    Ok(())
}

fn flow(port: u16) -> Outcome<UdpSocket> {
    let context = || format!("cannot bind port {port} beside the guest");
    let socket = UdpSocket::bind((HOST, port)).context(context)?;
    socket.connect(GUEST).context(context)?;
    socket.set_read_timeout(Some(AGAIN_AFTER)).context(context)?;
    Ok(socket)
}

/// The guest has printed this.
fn said(machine: &mut Machine, words: &str) -> Outcome<()> {
    match machine.serial.wait_for(PATIENCE, |line| line.contains(words)) {
        Some(_) => Ok(()),
        None => Err(machine.autopsy()),
    }
}

/// Sends until it comes back.
fn ask(flow: &UdpSocket, what: &[u8]) -> Outcome<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut answer = [0; 64];
    while Instant::now() < deadline {
        // Both may fail while the host learns where the guest is.
        if flow.send(what).is_err() {
            std::thread::sleep(AGAIN_AFTER);
            continue;
        }
        while let Ok(len) = flow.recv(&mut answer) {
            if &answer[..len] == what {
                return Ok(());
            }
        }
    }
    Err(Trouble::new(format!("{:?} never came back", String::from_utf8_lossy(what))))
}

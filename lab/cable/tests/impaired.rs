//! The private stack on AF_XDP and on AF_PACKET against Linux's own TCP, with a link in between that does what real links
//! do: each byte is compared, whatever it takes.
//!
//! ```text
//!   network "server"              network between                     network "outer"
//!   stack 10.99.0.2 on nom-s  ==  nom-c  = faults =  TAP 10.99.0.1, Linux
//! ```
//! A thread between them carries every frame through the simulator's faults, in real time. Which frames suffer is drawn
//! from a seed. ARP passes unharmed: Linux gives an address up after three lost questions, and that is not what is tried.

use nom_cable::{
    ADDRESS, CLIENT, CLIENT_ADDRESS, Cable, End, Opened, PORT, PREFIX_LEN, Refused, Running, SERVER, exchange,
};
use nom_load::random::Random;
use nom_packet::{PacketConfig, PacketError};
use nom_simnet::port::internet_checksum;
use nom_simnet::{Direction, Link};
use nom_stack::Config;
use nom_stack::knobs::{Batching, Knobs};
use nom_stack::port::{Egress, Frame, Ingress, Offloads};
use nom_tap::TapConfig;
use nom_xdp::{Ours, XdpConfig, XdpError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

const TARGET: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(ADDRESS), PORT);
const MS: u64 = 1_000_000;
/// So late it is noticed at most that a test is over.
const SLEEP_MAX_NS: u64 = 5 * MS;
const ETHERNET_LEN: usize = 14;
const TCP: u8 = 6;
/// In the header of TCP.
const CHECKSUM_AT: usize = 16;
const CONNECTIONS: usize = 2;
const EACH: usize = 120_000;

/// One direction of the wire.
struct Wire {
    direction: Direction,
    /// By the time at which they arrive, and their number.
    flying: BTreeMap<(u64, u64), Vec<u8>>,
    number: u64,
}

impl Wire {
    fn new(link: Link, seed: u64) -> Self {
        Self { direction: Direction::new(link, Random::new(seed)), flying: BTreeMap::new(), number: 0 }
    }

    fn fly(&mut self, at_ns: u64, frame: Vec<u8>) {
        self.number += 1;
        self.flying.insert((at_ns, self.number), frame);
    }

    /// Takes what waits at one end, and says whether there was something.
    fn take(&mut self, from: &mut impl Ingress, now_ns: u64) -> bool {
        from.look(now_ns);
        let mut some = false;
        while let Some(arrival) = from.take() {
            some = true;
            let mut frame = from.bytes(&arrival).to_vec();
            let unfinished = arrival.checksum_good;
            from.give_back(arrival);
            if frame.get(12..ETHERNET_LEN) != Some(&[8, 0]) {
                self.fly(now_ns, frame);
                continue;
            }
            if unfinished {
                complete(&mut frame);
            }
            let passage = self.direction.pass(now_ns, &mut frame);
            for at_ns in passage.arrivals_ns.into_iter().flatten() {
                self.fly(at_ns, frame.clone());
            }
        }
        some
    }

    /// Gives what has arrived to the other end. A full device loses the frame, as any device does.
    fn give(&mut self, to: &mut impl Egress, now_ns: u64) {
        while let Some(first) = self.flying.first_entry().filter(|first| first.key().0 <= now_ns) {
            let frame = first.remove();
            let (headers, payload) = frame.split_at(ETHERNET_LEN);
            let _ = to.queue(Frame { headers, payload: &[payload], checksum: None, segment_len: None });
            // It has read the frame when this returns.
            to.kick();
        }
    }

    fn next_ns(&self) -> u64 {
        self.flying.first_key_value().map_or(u64::MAX, |((at_ns, _), _)| *at_ns)
    }

    fn faults(&self) -> u64 {
        let counters = self.direction.counters;
        counters.lost + counters.doubled + counters.late + counters.corrupt
    }
}

/// Writes the checksum of a TCP segment, as a card does before it sends: what comes from this very machine may have none
/// yet, and on a wire with faults everything needs one.
fn complete(frame: &mut [u8]) {
    let len = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let start = ETHERNET_LEN + usize::from(frame[ETHERNET_LEN] & 15) * 4;
    let Some(segment) = frame.get(start..ETHERNET_LEN + len).filter(|_| frame[23] == TCP) else { return };
    let mut covered = frame[26..34].to_vec();
    covered.extend([0, TCP]);
    covered.extend((segment.len() as u16).to_be_bytes());
    covered.extend(segment);
    // In front of the segment are both addresses, the protocol and the length: twelve bytes.
    covered[12 + CHECKSUM_AT..][..2].fill(0);
    frame[start + CHECKSUM_AT..][..2].copy_from_slice(&internet_checksum(&covered).to_be_bytes());
}

/// Carries frames between Linux, in the network of `outer`, and the stack at the other end of `cable`, until it is told to
/// stop. How many frames suffered.
fn carry(
    [outer, cable]: [&Cable; 2],
    (link, seed): (Link, u64),
    ready: &mpsc::Sender<()>,
    stop: &AtomicBool,
) -> u64 {
    outer.enter(End::Client).unwrap();
    // Without offloads everything has its checksum, and nothing is longer than the link.
    let offloads = Offloads::default();
    let config =
        TapConfig { address: CLIENT_ADDRESS, prefix_len: PREFIX_LEN, offloads, ..TapConfig::default() };
    let (mut linux_in, mut linux_out) = nom_tap::open(&config).unwrap();
    cable.enter(End::Client).unwrap();
    // Here nobody has Linux's address, so frames for it come to us alone.
    let config = PacketConfig { offloads, ..PacketConfig::new(CLIENT, CLIENT_ADDRESS) };
    let (mut stack_in, mut stack_out) = nom_packet::open(&config).unwrap();
    ready.send(()).unwrap();
    let start = Instant::now();
    let (mut there, mut back) = (Wire::new(link, seed), Wire::new(link, seed + 1));
    while !stop.load(Ordering::Relaxed) {
        let now_ns = start.elapsed().as_nanos() as u64 + 1;
        let moved = there.take(&mut stack_in, now_ns) | back.take(&mut linux_in, now_ns);
        there.give(&mut linux_out, now_ns);
        back.give(&mut stack_out, now_ns);
        if moved || !stack_in.arm() || !linux_in.arm() {
            continue;
        }
        let sleep_ns = there.next_ns().min(back.next_ns()).saturating_sub(now_ns).min(SLEEP_MAX_NS);
        let timeout = Timespec { tv_sec: 0, tv_nsec: sleep_ns as i64 };
        let mut wakes =
            [linux_in.as_fd(), stack_in.as_fd()].map(|it| PollFd::from_borrowed_fd(it, PollFlags::IN));
        // An interrupted sleep is an early one.
        let _ = poll(&mut wakes, Some(&timeout));
    }
    there.faults() + back.faults()
}

/// What the stack is on.
#[derive(Debug, Clone, Copy)]
enum On {
    Xdp,
    Packet,
}

fn start(on: On, cable: &Cable, knobs: Knobs) -> Option<Running> {
    match on {
        On::Xdp => Running::try_start(cable, knobs, || {
            let refuse =
                |error: XdpError| Refused { missing: error.is_missing_right(), text: error.to_string() };
            let config = XdpConfig::new(SERVER, Ours::Address(ADDRESS));
            let (ingress, egress) = nom_xdp::open(&config).map_err(refuse)?;
            let wakes = ingress.as_fd().try_clone_to_owned().unwrap();
            let config = Config::new(ingress.mac(), ADDRESS, PREFIX_LEN);
            Ok(Opened { halves: (ingress, egress), config, wakes })
        }),
        On::Packet => Running::try_start(cable, knobs, || {
            let refuse =
                |error: PacketError| Refused { missing: error.is_missing_right(), text: error.to_string() };
            let offloads = Offloads::default();
            let config = PacketConfig { offloads, ..PacketConfig::new(SERVER, ADDRESS) };
            let (ingress, egress) = nom_packet::open(&config).map_err(refuse)?;
            let wakes = ingress.as_fd().try_clone_to_owned().unwrap();
            let config = Config::new(ingress.mac(), ADDRESS, PREFIX_LEN);
            Ok(Opened { halves: (ingress, egress), config, wakes })
        }),
    }
}

/// A few connections over one link. How many frames suffered; `None` when this machine does not let us.
fn exchanged(on: On, link: Link, seed: u64) -> Option<u64> {
    let skipped = |what: String| println!("SKIPPED: {what}");
    let cable = Cable::lay_plain().map_err(skipped).ok()?;
    let outer = Cable::without().map_err(skipped).ok()?;
    let batching = match seed % 3 {
        0 => Batching::RunToCompletion,
        1 => Batching::TakeQueued,
        _ => Batching::Hold { delay_ns: MS / 2 },
    };
    let server = start(on, &cable, Knobs { batching, ..Knobs::default() })?;
    let stop = Arc::new(AtomicBool::new(false));
    let (ready, came) = mpsc::channel();
    let (told, ends) = (Arc::clone(&stop), [outer.copy().unwrap(), cable.copy().unwrap()]);
    let between = thread::spawn(move || carry(ends.each_ref(), (link, seed), &ready, &told));
    // Whatever becomes of them, what was counted is told.
    let clients = || outer.clients(CONNECTIONS, || exchange(TARGET, EACH, 10_007));
    let done = came.recv().map_or(Ok(()), |()| catch_unwind(AssertUnwindSafe(clients)));
    stop.store(true, Ordering::Relaxed);
    let faults = between.join().unwrap_or_else(|panic| resume_unwind(panic));
    let (echo, counters) = server.end();
    if let Err(panic) = done {
        println!("{on:?} {link:?} {seed}: {faults} faults, {counters:?}");
        resume_unwind(panic);
    }
    assert_eq!(echo.opened as usize, CONNECTIONS, "{on:?} {link:?} {seed}: {counters:?}");
    Some(faults)
}

/// Every kind of fault by itself, and all of them together.
fn links() -> [Link; 5] {
    let link = Link { delay_ns: MS, reordering_ns: 3 * MS, ..Link::default() };
    [
        Link { loss: 0.03, ..link },
        Link { duplication: 0.1, ..link },
        Link { reordering: 0.1, ..link },
        Link { corruption: 0.03, ..link },
        Link { loss: 0.02, duplication: 0.03, reordering: 0.05, corruption: 0.01, ..link },
    ]
}

/// All links at the same time: they mostly wait.
fn all(on: On, seed: u64) {
    let started = links().map(|link| (link, thread::spawn(move || exchanged(on, link, seed))));
    for (link, thread) in started {
        match thread.join() {
            Ok(faults) => assert!(faults.is_none_or(|faults| faults > 0), "{on:?} {link:?} {seed}: no fault"),
            Err(panic) => resume_unwind(panic),
        }
    }
}

#[test]
fn faults_of_every_kind_cost_no_byte_over_af_xdp() {
    all(On::Xdp, 100);
}

#[test]
fn faults_of_every_kind_cost_no_byte_over_af_packet() {
    all(On::Packet, 200);
}

#[test]
#[ignore = "takes minutes: more seeds of the same"]
fn faults_of_every_kind_cost_no_byte_at_length() {
    for seed in 0..30 {
        all(On::Xdp, 1_000 + 10 * seed);
        all(On::Packet, 2_001 + 10 * seed);
    }
}

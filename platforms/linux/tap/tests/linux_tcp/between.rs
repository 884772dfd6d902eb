//! A link in between: every frame of Linux's TCP and of ours passes through the simulator's faults, in real time, on the
//! thread of the test.
//!
//! ```text
//!   our stack 10.79.0.2  <==  back   ==  TAP  10.79.0.1, Linux
//!                        ==  there  ==>
//! ```
//! Which frames suffer is drawn from a seed. Frames that are not TCP pass unharmed: Linux gives an address up after three
//! lost questions, and that is not what is tried here. A gate holds what a test wants to cross.

use nom_load::random::Random;
use nom_simnet::port::Device;
use nom_simnet::{Cost, Direction, Host, Link, Node};
use nom_stack::Config;
use nom_stack::application::Application;
use nom_stack::config::{Address6, Config6};
use nom_stack::port::{Egress, Frame, Ingress, Offloads};
use nom_tap::{TapConfig, TapEgress, TapError, TapIngress, namespace, open};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

pub const OURS: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 2);
pub const LINUX: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 1);
pub const OURS6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x79, 0, 0, 0, 0, 0, 2);
pub const LINUX6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x79, 0, 0, 0, 0, 0, 1);
/// Only a test that fails takes so long.
const DEADLINE: Duration = Duration::from_secs(120);
/// So late it is noticed at most that a client has ended.
const SLEEP_MAX_NS: u64 = 5_000_000;
const ETHERNET_LEN: usize = 14;
const IPV6_LEN: usize = 40;

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// What a test wants to know of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub flags: u8,
    pub window: u16,
    pub len: usize,
}

impl Segment {
    /// The segment in a frame, where there is one.
    fn of(frame: &[u8]) -> Option<Self> {
        let packet = frame.get(ETHERNET_LEN..)?;
        let half =
            |at: usize| Some(usize::from(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?])));
        let (start, end) = match frame[12..ETHERNET_LEN] {
            [8, 0] if *packet.get(9)? == 6 => (usize::from(packet[0] & 15) * 4, half(2)?),
            [0x86, 0xdd] if *packet.get(6)? == 6 => (IPV6_LEN, IPV6_LEN + half(4)?),
            _ => return None,
        };
        let header_len = usize::from(packet.get(start + 12)? >> 4) * 4;
        let len = end.checked_sub(start + header_len)?;
        Some(Self { flags: packet[start + 13], window: half(start + 14)? as u16, len })
    }
}

/// What passed so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    pub segments: u64,
    /// Those that closed the window, and those that answer an opening with one.
    pub closed_windows: u64,
    pub opening_answers: u64,
    /// The longest payload.
    pub len_max: usize,
    pub resets: u64,
}

/// One direction.
pub struct Wire {
    direction: Direction,
    /// By the time at which they arrive, and their number.
    flying: BTreeMap<(u64, u64), (Vec<u8>, bool)>,
    number: u64,
    /// What is held until the gate opens, and the frames that are.
    pub gate: Option<fn(&Segment) -> bool>,
    pub held: Vec<Vec<u8>>,
    pub seen: Seen,
}

impl Wire {
    fn new(link: Link, seed: u64) -> Self {
        Self {
            direction: Direction::new(link, Random::new(seed)),
            flying: BTreeMap::new(),
            number: 0,
            gate: None,
            held: Vec::new(),
            seen: Seen::default(),
        }
    }

    fn send(&mut self, now_ns: u64, mut frame: Vec<u8>) {
        let Some(segment) = Segment::of(&frame) else {
            self.fly(now_ns, frame, false);
            return;
        };
        self.seen.segments += 1;
        self.seen.len_max = self.seen.len_max.max(segment.len);
        self.seen.resets += u64::from(segment.flags & RST != 0);
        self.seen.opening_answers += u64::from(segment.flags & (SYN | ACK) == SYN | ACK);
        self.seen.closed_windows += u64::from(segment.window == 0 && segment.flags & (SYN | RST) == 0);
        if self.gate.is_some_and(|holds| holds(&segment)) {
            self.held.push(frame);
            return;
        }
        let passage = self.direction.pass(now_ns, &mut frame);
        for at_ns in passage.arrivals_ns.into_iter().flatten() {
            self.fly(at_ns, frame.clone(), passage.damaged);
        }
    }

    fn fly(&mut self, at_ns: u64, frame: Vec<u8>, damaged: bool) {
        self.number += 1;
        self.flying.insert((at_ns, self.number), (frame, damaged));
    }

    fn arrived(&mut self, now_ns: u64) -> Option<(Vec<u8>, bool)> {
        let first = self.flying.first_entry().filter(|first| first.key().0 <= now_ns)?;
        Some(first.remove())
    }

    fn next_ns(&self) -> Option<u64> {
        self.flying.first_key_value().map(|((at_ns, _), _)| *at_ns)
    }

    /// Lets everything pass that waits, and whatever follows.
    pub fn open_gate(&mut self) {
        self.gate = None;
        for frame in std::mem::take(&mut self.held) {
            self.fly(0, frame, false);
        }
    }

    /// How many frames suffered.
    pub fn faults(&self) -> u64 {
        let counters = self.direction.counters;
        counters.lost + counters.doubled + counters.late + counters.corrupt
    }
}

/// Both ends and what lies between them.
pub struct Place<A: Application> {
    pub host: Host<A>,
    pub there: Wire,
    pub back: Wire,
    ingress: TapIngress,
    egress: TapEgress,
    wakes: OwnedFd,
    start: Instant,
}

/// What is special about a place.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    pub link: Link,
    pub seed: u64,
    /// Linux's end speaks IPv6 too.
    pub six: bool,
    /// Settings below `net.ipv4` of Linux.
    pub settings: &'static [(&'static str, &'static str)],
    /// The largest packet of either end.
    pub mtu: usize,
    pub mtu_linux: u16,
}

impl Default for Terms {
    fn default() -> Self {
        Self { link: Link::default(), seed: 1, six: false, settings: &[], mtu: 1500, mtu_linux: 1500 }
    }
}

impl<A: Application> Place<A> {
    /// In a network of the calling thread's own, which threads share that it starts from now on. `None`, and a line that
    /// says so, when this machine does not let us.
    pub fn new(terms: &Terms, application: A) -> Option<Self> {
        match namespace::enter() {
            Ok(()) => {}
            Err(error @ TapError::Namespace(_)) => {
                println!("SKIPPED: {error}");
                return None;
            }
            Err(error) => panic!("{error}"),
        }
        for (name, value) in terms.settings {
            let file = format!("/proc/sys/net/ipv4/{name}");
            std::fs::write(&file, value).unwrap_or_else(|error| panic!("{file}: {error}"));
        }
        // Without offloads everything has its checksum, and nothing is longer than the link.
        let offloads = Offloads::default();
        let device = TapConfig { address: LINUX, mtu: terms.mtu_linux, offloads, ..TapConfig::default() };
        let (ingress, egress) = match open(&device) {
            Ok(halves) => halves,
            Err(error @ TapError::NoTun(_)) => {
                println!("SKIPPED: {error}");
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        if terms.six && !speak_ipv6(&device.name) {
            return None;
        }
        let address = Address6::Static { address: OURS6, prefix_len: 64 };
        let ipv6 = terms.six.then_some(Config6 { address, gateway: None });
        let config = Config { ipv6, ..Config::new([2, 0x6e, 0x6f, 0x6d, 0, 2], OURS, 24) };
        let device = Device { mtu: terms.mtu, ..Device::default() };
        Some(Self {
            host: Host::new(config, device, Cost::default(), application, terms.seed),
            there: Wire::new(terms.link, terms.seed),
            back: Wire::new(terms.link, terms.seed + 1),
            wakes: ingress.as_fd().try_clone_to_owned().expect("a descriptor"),
            ingress,
            egress,
            start: Instant::now(),
        })
    }

    pub fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64 + 1
    }

    /// Holds such segments in both directions until their gates are opened.
    pub fn hold(&mut self, what: fn(&Segment) -> bool) {
        self.there.gate = Some(what);
        self.back.gate = Some(what);
    }

    /// Carries frames until it is done.
    pub fn run(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        while !done(self) {
            assert!(
                self.start.elapsed() < DEADLINE,
                "{what}: no end: there {:?}, back {:?}, {:?}",
                self.there.seen,
                self.back.seen,
                self.host.engine().counters()
            );
            self.turn();
        }
    }

    fn turn(&mut self) {
        let now_ns = self.now_ns();
        self.ingress.look(now_ns);
        while let Some(arrival) = self.ingress.take() {
            self.back.send(now_ns, self.ingress.bytes(&arrival).to_vec());
            self.ingress.give_back(arrival);
        }
        while let Some((frame, damaged)) = self.back.arrived(now_ns) {
            self.host.deliver(now_ns, 0, &frame, damaged);
            self.host.step(now_ns);
        }
        let rest = self.host.step(now_ns);
        while let Some((_, frame)) = self.host.depart() {
            self.there.send(now_ns, frame);
        }
        while let Some((frame, _)) = self.there.arrived(now_ns) {
            let (headers, payload) = frame.split_at(ETHERNET_LEN);
            // A full device loses the frame, as any device does.
            let _ =
                self.egress.queue(Frame { headers, payload: &[payload], checksum: None, segment_len: None });
            // It has read the frame when this returns.
            self.egress.kick();
        }
        if rest.worked {
            return;
        }
        let next_ns = [rest.deadline_ns, self.there.next_ns(), self.back.next_ns()];
        let next_ns = next_ns.into_iter().flatten().min().unwrap_or(u64::MAX);
        let sleep_ns = next_ns.saturating_sub(self.now_ns()).min(SLEEP_MAX_NS);
        let timeout = Timespec { tv_sec: 0, tv_nsec: sleep_ns as i64 };
        // An interrupted sleep is an early one.
        let _ = poll(&mut [PollFd::new(&self.wakes, PollFlags::IN)], Some(&timeout));
    }
}

/// Lets Linux speak IPv6 on the device. False, and a line that says so, when its tool or the kernel's part is absent.
fn speak_ipv6(device: &str) -> bool {
    if std::fs::write(format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6"), "0").is_err() {
        println!("SKIPPED: this kernel has no IPv6");
        return false;
    }
    ip(&["-6", "address", "add", &format!("{LINUX6}/64"), "dev", device, "nodad"])
}

/// Linux's tool for its network. False, and a line that says so, when it is absent.
pub fn ip(words: &[&str]) -> bool {
    match Command::new("ip").args(words).status() {
        Ok(status) => assert!(status.success(), "ip {words:?}"),
        Err(error) => {
            println!("SKIPPED: ip (Debian: iproute2): {error}");
            return false;
        }
    }
    true
}

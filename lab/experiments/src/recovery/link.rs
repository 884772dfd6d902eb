//! The simulator's link in real time, between two ends: a TAP device towards Linux's TCP on the right, another one or
//! our own stack on the left.

use super::Cell;
use nom_load::random::Random;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_simnet::goodput::{self, Bulk};
use nom_simnet::port::Device;
use nom_simnet::{Cost, Direction, Host, Link, Node};
use nom_stack::port::{Egress, Frame, Ingress, Offloads};
use nom_tap::{TapConfig, TapEgress, TapIngress, namespace};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const LEFT: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
const RIGHT: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);
const PORT: u16 = 5001;
const RATE_BITS_PER_S: u64 = 40_000_000;
const QUEUE_BYTES: u64 = 128 << 10;
/// What is measured, from the first byte on.
const TIME: Duration = Duration::from_secs(7);
/// A transfer that has not even begun by then has failed.
const PATIENCE: Duration = Duration::from_secs(30);
const ETHERNET_LEN: usize = 14;
/// How long the link sleeps when nothing is due.
const NAP: Duration = Duration::from_micros(60);

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// A process with a socket.
    Linux,
    /// Our stack.
    Ours,
}

/// One direction with the frames that are on their way.
struct Wire {
    direction: Direction,
    /// In the order in which they arrive: this link holds nothing back.
    flying: VecDeque<(u64, Vec<u8>)>,
}

impl Wire {
    fn new(link: Link, seed: u64) -> Self {
        Self { direction: Direction::new(link, Random::new(seed)), flying: VecDeque::new() }
    }

    fn send(&mut self, now_ns: u64, mut frame: Vec<u8>) {
        if let [Some(arrival_ns), _] = self.direction.pass(now_ns, &mut frame).arrivals_ns {
            self.flying.push_back((arrival_ns, frame));
        }
    }

    fn arrived(&mut self, now_ns: u64) -> Option<Vec<u8>> {
        self.flying.pop_front_if(|(at_ns, _)| *at_ns <= now_ns).map(|(_, frame)| frame)
    }
}

/// Linux's end.
struct Tap {
    ingress: TapIngress,
    egress: TapEgress,
}

impl Tap {
    /// In a network namespace of its own, in which the threads begin that this one starts until the next is opened.
    fn open(address: Ipv4Addr) -> Outcome<Self> {
        let advice = || "a network namespace (this bench needs root)".to_string();
        namespace::enter().context(advice)?;
        let config = TapConfig { address, offloads: Offloads::default(), ..TapConfig::default() };
        let (ingress, egress) = nom_tap::open(&config).context(advice)?;
        Ok(Self { ingress, egress })
    }

    /// Passes on what the kernel sent. Returns whether there was anything.
    fn read(&mut self, now_ns: u64, wire: &mut Wire) -> bool {
        self.ingress.look(now_ns);
        let mut any = false;
        while let Some(arrival) = self.ingress.take() {
            any = true;
            wire.send(now_ns, self.ingress.bytes(&arrival).to_vec());
            self.ingress.give_back(arrival);
        }
        any
    }

    fn write(&mut self, frame: &[u8]) {
        let (headers, rest) = frame.split_at(frame.len().min(ETHERNET_LEN));
        // A full device loses the frame, as any device does.
        let _ = self.egress.queue(Frame { headers, payload: &[rest], checksum: None, segment_len: None });
        // It has read the frame when this returns.
        self.egress.kick();
    }
}

enum Left {
    Linux(Box<Tap>),
    Ours(Box<Host<Bulk>>),
}

/// Bits a second that the receiving application got.
pub fn goodput(sender: Sender, cell: Cell) -> Outcome<f64> {
    let stop = Arc::new(AtomicBool::new(false));
    let (go, gone) = channel();
    let mut left = match sender {
        Sender::Linux => Left::Linux(Box::new(Tap::open(LEFT)?)),
        Sender::Ours => {
            let device = Device { ring: 4096, ..Device::default() };
            let config = goodput::config(1, LEFT);
            Left::Ours(Box::new(Host::new(config, device, Cost::default(), Bulk::default(), cell.seed)))
        }
    };
    let linux = (sender == Sender::Linux).then(|| send(gone, Arc::clone(&stop)));
    let mut right = Tap::open(RIGHT)?;
    let listener = TcpListener::bind((RIGHT, PORT)).context(|| format!("listening on {RIGHT}"))?;
    let receiver = thread::spawn(move || receive(&listener));
    if let Left::Ours(host) = &mut left {
        host.engine_mut()
            .connect(RIGHT, PORT, 0)
            .map_err(|error| Trouble::new(format!("connect: {error:?}")))?;
    }
    let _ = go.send(());
    carry(&mut left, &mut right, cell, || receiver.is_finished())?;
    stop.store(true, Ordering::Relaxed);
    let got = receiver.join().map_err(|_| Trouble::new("the receiver panicked"))?;
    // The link is cut: the sender notices within its time-out.
    if let Some(linux) = linux {
        linux.join().map_err(|_| Trouble::new("the sender panicked"))??;
    }
    got
}

/// Runs the link until the receiver has what it wants.
fn carry(left: &mut Left, right: &mut Tap, cell: Cell, done: impl Fn() -> bool) -> Outcome<()> {
    let link = Link {
        rate_bits_per_s: RATE_BITS_PER_S,
        delay_ns: cell.round_ns / 2,
        queue_bytes: QUEUE_BYTES,
        ..Link::default()
    };
    let mut there = Wire::new(Link { loss: cell.loss, ..link }, cell.seed);
    let mut back = Wire::new(link, cell.seed + 1);
    let start = Instant::now();
    while !done() {
        if start.elapsed() > PATIENCE + TIME {
            return Err(Trouble::new("the transfer made no progress"));
        }
        let now_ns = start.elapsed().as_nanos() as u64 + 1;
        let mut any = right.read(now_ns, &mut back);
        match left {
            Left::Linux(tap) => {
                any |= tap.read(now_ns, &mut there);
                while let Some(frame) = back.arrived(now_ns) {
                    tap.write(&frame);
                }
            }
            Left::Ours(host) => {
                while let Some(frame) = back.arrived(now_ns) {
                    host.deliver(now_ns, 0, &frame, false);
                    host.step(now_ns);
                }
                any |= host.step(now_ns).worked;
                while let Some((_, frame)) = host.depart() {
                    any = true;
                    there.send(now_ns, frame);
                }
            }
        }
        while let Some(frame) = there.arrived(now_ns) {
            right.write(&frame);
        }
        if !any {
            thread::sleep(NAP);
        }
    }
    Ok(())
}

/// Linux's sender, in the namespace of whoever calls this.
fn send(go: Receiver<()>, stop: Arc<AtomicBool>) -> JoinHandle<Outcome<()>> {
    thread::spawn(move || {
        if go.recv().is_err() {
            return Ok(());
        }
        let stream = connect()?;
        let (mut out, block) = (&stream, [0x5a; 64 << 10]);
        while !stop.load(Ordering::Relaxed) {
            // A full buffer, or the end of the measurement: the condition above tells.
            if let Err(error) = out.write(&block)
                && error.kind() != std::io::ErrorKind::WouldBlock
            {
                break;
            }
        }
        Ok(())
    })
}

fn connect() -> Outcome<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).context(|| "a socket".into())?;
    sockopt::set_tcp_congestion(&socket, "cubic")
        .context(|| "Linux's CUBIC cannot be chosen (modprobe tcp_cubic, as root)".into())?;
    let address = std::net::SocketAddrV4::new(RIGHT, PORT);
    connect(&socket, &address).context(|| format!("connecting to {address}"))?;
    let stream = TcpStream::from(socket);
    stream.set_write_timeout(Some(Duration::from_millis(200))).context(|| "a time-out".into())?;
    Ok(stream)
}

fn receive(listener: &TcpListener) -> Outcome<f64> {
    let (mut stream, _) = listener.accept().context(|| "accepting the transfer".into())?;
    stream.set_read_timeout(Some(PATIENCE)).context(|| "a time-out".into())?;
    let mut block = vec![0; 256 << 10];
    let mut received = stream.read(&mut block).context(|| "the first bytes".into())?;
    let start = Instant::now();
    while start.elapsed() < TIME {
        match stream.read(&mut block).context(|| "receiving".into())? {
            0 => return Err(Trouble::new("the sender closed")),
            len => received += len,
        }
    }
    Ok(received as f64 * 8.0 / start.elapsed().as_secs_f64())
}

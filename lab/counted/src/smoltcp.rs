//! The same requests through smoltcp, on terms that favour it: its application is told which sockets have a request
//! (a real one must ask all of them), Nagle's algorithm is off, and the checksums of TCP are left to the device.

use crate::client::{Client, HEADERS, PORT, SERVER, SERVER_MAC};
use crate::device::RING;
use crate::{Load, STEP_NS, Script};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};
use std::collections::VecDeque;

/// The device, as cheap as ours.
struct Wire {
    waiting: VecDeque<Vec<u8>>,
    buffer: Vec<u8>,
    payload: usize,
    /// What was sent without payload.
    answers: VecDeque<Vec<u8>>,
    checksum: bool,
}

struct Arrived(Vec<u8>);

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Leaving<'a>(&'a mut Wire);

impl TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let result = f(&mut self.0.buffer[..len]);
        if len > HEADERS + 8 {
            self.0.payload += len - HEADERS;
        } else {
            self.0.answers.push_back(self.0.buffer[..len].to_vec());
        }
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Leaving<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Arrived, Leaving<'_>)> {
        let frame = self.waiting.pop_front()?;
        Some((Arrived(frame), Leaving(self)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Leaving<'_>> {
        Some(Leaving(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities.max_burst_size = Some(RING);
        if !self.checksum {
            capabilities.checksum.tcp = Checksum::None;
        }
        capabilities
    }
}

/// What is counted.
#[inline(never)]
fn counted(server: &mut Server, asked: &[SocketHandle], reply: &[u8]) {
    server.answer(asked, reply);
}

struct Server {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    now_ns: u64,
}

impl Server {
    /// Receives, lets the application answer, and sends.
    fn answer(&mut self, asked: &[SocketHandle], reply: &[u8]) {
        self.poll();
        for &handle in asked {
            let socket = self.sockets.get_mut::<Socket<'_>>(handle);
            let len = socket.recv(|bytes| (bytes.len(), bytes.len())).expect("it is open");
            if len > 0 {
                socket.send_slice(reply).expect("it is open");
            }
        }
        self.poll();
    }

    fn poll(&mut self) {
        let now = Instant::from_micros((self.now_ns / 1_000) as i64);
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
    }
}

/// Plays the script. Every socket accepts one connection: there is no accept backlog.
pub fn play(load: &Load, script: &Script<'_>) {
    let mut wire = Wire {
        waiting: VecDeque::new(),
        buffer: vec![0; 2048],
        payload: 0,
        answers: VecDeque::new(),
        checksum: load.checksum,
    };
    let config = Config::new(HardwareAddress::Ethernet(EthernetAddress(SERVER_MAC)));
    let mut interface = Interface::new(config, &mut wire, Instant::from_micros(0));
    interface.update_ip_addrs(|addresses| {
        addresses.push(IpCidr::new(IpAddress::Ipv4(SERVER), 8)).expect("one address fits");
    });
    let mut client = Client::default();
    let mut handles = Vec::new();
    let mut server = Server { wire, interface, sockets: SocketSet::new(Vec::new()), now_ns: STEP_NS };
    server.wire.waiting.push_back(Client::question(Client::address(0)));
    server.poll();
    server.wire.answers.clear();
    for _ in 0..load.connections {
        let buffer = |len: usize| SocketBuffer::new(vec![0; len]);
        // As much as a whole batch on one connection needs.
        let mut socket = Socket::new(buffer(64 << 10), buffer(64 << 10));
        socket.listen(PORT).expect("it was not open");
        socket.set_nagle_enabled(false);
        handles.push(server.sockets.add(socket));
        server.wire.waiting.push_back(client.open());
        server.poll();
        let answer = server.wire.answers.pop_front().expect("the opening is answered");
        server.wire.waiting.push_back(client.complete(&answer));
        server.poll();
    }
    let reply = vec![b'r'; script.answer_len];
    let mut which = load.walk();
    let mut asked = Vec::new();
    for round in 0..load.warm_up() + load.rounds {
        server.now_ns += STEP_NS;
        asked.clear();
        for _ in 0..load.batch {
            let which = which.next();
            server.wire.waiting.push_back(client.request(which, script.request, script.answer_len));
            asked.push(handles[which]);
        }
        match round < load.warm_up() {
            true => server.answer(&asked, &reply),
            false => counted(&mut server, &asked, &reply),
        }
        assert_eq!(std::mem::take(&mut server.wire.payload), load.batch * script.answer_len);
        server.wire.answers.clear();
    }
}

//! One stack, its sockets by number, and the time, which passes only when packetdrill waits.

use crate::device::{Input, Output};
use crate::sockets::Sockets;
use nom_stack::application::{ConnectionId, Ended, Io};
use nom_stack::config::{Agreement, CongestionControl};
use nom_stack::knobs::Knobs;
use nom_stack::wire::arp::{Arp, Operation};
use nom_stack::wire::ethernet::{self, Ethernet, TYPE_ARP, TYPE_IPV4};
use nom_stack::{Config, Engine, KeepAlive, Terms};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, IntoRawFd};

const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const THEIR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Where the scripts run: what packetdrill is told on its command line.
const OURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// What packetdrill waits for at most comes within this time, or never.
const WAIT_NS: u64 = 100_000_000_000;
const STEPS_MAX: usize = 100_000;
/// The time at the beginning, as a clock on the wall would say.
const EPOCH_US: i64 = 1_700_000_000_000_000;

/// The number of an error, as `errno` has it.
pub type Errno = i32;

/// A connection's number, and who opened it.
pub type Accepted = (i32, (Ipv4Addr, u16));

/// What a number means.
#[derive(Default)]
pub struct Socket {
    pub port: u16,
    pub listening: bool,
    pub connection: Option<ConnectionId>,
    pub nonblocking: bool,
    pub shut_read: bool,
    pub shut_write: bool,
    /// Closing resets.
    pub abrupt: bool,
    pub keep_alive: bool,
    pub keep: Option<KeepAlive>,
    pub user_timeout_ns: Option<u64>,
    /// The files that it watches, when it is one that does: events and the caller's word for each.
    pub watched: Option<BTreeMap<i32, (u32, u64)>>,
    /// What holds the number.
    pub file: Option<File>,
}

impl Socket {
    fn terms(&self) -> Terms {
        const DAY: u64 = 86_400_000_000_000;
        let keep =
            self.keep.unwrap_or(KeepAlive { idle_ns: DAY / 12, interval_ns: 75_000_000_000, probes: 9 });
        Terms { keep_alive: self.keep_alive.then_some(keep), user_timeout_ns: self.user_timeout_ns }
    }
}

/// The world.
pub struct World {
    engine: Engine<Input, Output, Sockets>,
    now_ns: u64,
    deadline_ns: Option<u64>,
    pub sockets: BTreeMap<i32, Socket>,
    out: VecDeque<(Vec<u8>, u64)>,
}

impl World {
    /// `flags` are words that say what a script sets in Linux: `ecn`, `stamps`, `reno`.
    pub fn new(flags: &str) -> Self {
        let has = |word: &str| flags.split(',').any(|flag| flag == word);
        let config = Config {
            gateway: Some(Ipv4Addr::new(192, 0, 2, 254)),
            send_memory_bytes: 16 << 20,
            receive_memory_bytes: 16 << 20,
            send_queue_bytes: 4 << 20,
            receive_window_bytes: 2 << 20,
            time_stamps: if has("stamps") { Agreement::Always } else { Agreement::Never },
            congestion_marks: if has("ecn") { Agreement::Always } else { Agreement::Never },
            congestion_control: if has("reno") {
                CongestionControl::NewReno
            } else {
                CongestionControl::Cubic
            },
            ..Config::new(OUR_MAC, OURS, 24)
        };
        // Linux acknowledges at once at a connection's beginning, which is all that most scripts see.
        let mut engine =
            Engine::new(config, Input::default(), Output::default(), Sockets::default(), [7; 32], 0);
        engine.set_knobs(Knobs { ack_delay_ns: 0, ..Knobs::default() }, 0);
        Self {
            engine,
            now_ns: 1_000_000_000,
            deadline_ns: None,
            sockets: BTreeMap::new(),
            out: VecDeque::new(),
        }
    }

    /// Lets the stack do what is due now.
    pub fn settle(&mut self) {
        for _ in 0..STEPS_MAX {
            let step = self.engine.step(self.now_ns);
            self.deadline_ns = step.deadline_ns;
            while let Some(frame) = self.engine.egress_mut().shown.pop_front() {
                self.leave(&frame);
            }
            if !step.worked {
                return;
            }
        }
        panic!("the stack does not come to rest");
    }

    fn leave(&mut self, frame: &[u8]) {
        match Ethernet::parse(frame) {
            Some((Ethernet { ethertype: TYPE_IPV4, .. }, packet)) => {
                self.out.push_back((packet.to_vec(), self.now_ns));
            }
            Some((Ethernet { ethertype: TYPE_ARP, .. }, packet)) => {
                let Some(question) = Arp::parse(packet) else { return };
                let answer = Arp {
                    operation: Operation::Reply,
                    sender_mac: THEIR_MAC,
                    sender: question.target,
                    target_mac: OUR_MAC,
                    target: OURS,
                };
                let mut bytes = vec![0; nom_stack::wire::arp::LEN];
                answer.emit(&mut bytes);
                self.give(TYPE_ARP, &bytes);
            }
            _ => {}
        }
    }

    fn give(&mut self, ethertype: u16, content: &[u8]) {
        let mut frame = vec![0; ethernet::HEADER];
        Ethernet { destination: OUR_MAC, source: THEIR_MAC, ethertype }.emit(&mut frame);
        frame.extend_from_slice(content);
        self.engine.ingress_mut().give(frame, self.now_ns);
    }

    /// A packet from packetdrill.
    pub fn receive(&mut self, packet: &[u8]) {
        self.give(TYPE_IPV4, packet);
        self.settle();
    }

    /// The next packet for packetdrill and when it left.
    pub fn sent(&mut self) -> Option<(Vec<u8>, i64)> {
        self.out.pop_front().map(|(packet, at_ns)| (packet, EPOCH_US + (at_ns / 1_000) as i64))
    }

    pub fn now_us(&self) -> i64 {
        EPOCH_US + (self.now_ns / 1_000) as i64
    }

    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Goes on to the next thing that is due, or to the end. False when the end was reached.
    pub fn advance(&mut self, end_ns: u64) -> bool {
        let next_ns = self.deadline_ns.map_or(end_ns, |deadline_ns| deadline_ns.max(self.now_ns + 1_000));
        self.now_ns = next_ns.min(end_ns).max(self.now_ns);
        self.settle();
        self.now_ns < end_ns
    }

    /// Until when packetdrill waits for something that nobody else can cause.
    pub fn wait_end_ns(&self) -> u64 {
        self.now_ns + WAIT_NS
    }

    /// A new number. It is that of a file which does nothing, since packetdrill closes what a script leaves open by
    /// itself.
    pub fn socket(&mut self, mut socket: Socket) -> Result<i32, Errno> {
        let file = File::open("/dev/null").map_err(|_| libc::EMFILE)?;
        let fd = file.as_raw_fd();
        socket.file = Some(file);
        self.sockets.insert(fd, socket);
        Ok(fd)
    }

    pub fn at(&mut self, fd: i32) -> Result<&mut Socket, Errno> {
        self.sockets.get_mut(&fd).ok_or(libc::EBADF)
    }

    pub fn listen(&mut self, fd: i32) -> Result<(), Errno> {
        let socket = self.at(fd)?;
        socket.listening = true;
        let (port, terms) = (socket.port, socket.terms());
        self.engine.listen_on(port, terms).map_err(|_| libc::ENOBUFS)
    }

    /// The first connection that nobody accepted yet.
    pub fn accept(&mut self, fd: i32) -> Result<Option<Accepted>, Errno> {
        let Socket { port, listening, .. } = *self.at(fd)?;
        if !listening {
            return Err(libc::EINVAL);
        }
        let Some(id) = self.engine.application_mut().arrived.entry(port).or_default().pop_front() else {
            return Ok(None);
        };
        let view = self.engine.view(id.slot).filter(|view| view.id == id);
        let peer = match view.map(|view| (view.peer, view.peer_port)) {
            Some((IpAddr::V4(address), port)) => (address, port),
            _ => (Ipv4Addr::UNSPECIFIED, 0),
        };
        let fd = self.socket(Socket { port, connection: Some(id), ..Socket::default() })?;
        Ok(Some((fd, peer)))
    }

    pub fn connect(&mut self, fd: i32, to: (Ipv4Addr, u16)) -> Result<(), Errno> {
        let terms = self.at(fd)?.terms();
        if self.at(fd)?.connection.is_some() {
            return Err(libc::EALREADY);
        }
        let id = self.engine.connect_on(to.0, to.1, terms, self.now_ns).map_err(|_| libc::ENETUNREACH)?;
        self.engine.application_mut().connections.entry(id).or_default();
        self.at(fd)?.connection = Some(id);
        self.settle();
        Ok(())
    }

    /// How an opening went, once that is known.
    pub fn connected(&mut self, fd: i32) -> Option<Result<(), Errno>> {
        let id = self.at(fd).ok()?.connection?;
        let connection = self.engine.application_mut().connections.get(&id)?;
        if connection.opened {
            return Some(Ok(()));
        }
        connection.ended.map(|reason| Err(error_of(reason)))
    }

    fn id(&mut self, fd: i32) -> Result<ConnectionId, Errno> {
        self.at(fd)?.connection.ok_or(libc::ENOTCONN)
    }

    /// Reads; nothing when there is nothing to read yet.
    pub fn read(&mut self, fd: i32, len: usize, peek: bool) -> Result<Option<Vec<u8>>, Errno> {
        let id = self.id(fd)?;
        let shut = self.at(fd)?.shut_read;
        let connection = self.engine.application_mut().connections.entry(id).or_default();
        if connection.available == 0 {
            return match connection.ended {
                Some(reason) if !connection.told && error_of(reason) != 0 => {
                    connection.told = true;
                    Err(error_of(reason))
                }
                Some(_) => Ok(Some(Vec::new())),
                None => Ok((connection.finished || shut).then(Vec::new)),
            };
        }
        connection.wanted = len;
        connection.peeking = peek;
        self.engine.with_connection(id, self.now_ns, |_, _| ());
        let connection = self.engine.application_mut().connections.entry(id).or_default();
        connection.wanted = 0;
        connection.peeking = false;
        let got = std::mem::take(&mut connection.got);
        self.settle();
        Ok(Some(got))
    }

    /// Writes as much as there is room for.
    pub fn write(&mut self, fd: i32, bytes: &[u8]) -> Result<usize, Errno> {
        let id = self.id(fd)?;
        if self.at(fd)?.shut_write {
            return Err(libc::EPIPE);
        }
        let connection = self.engine.application_mut().connections.entry(id).or_default();
        if let Some(reason) = connection.ended {
            let error = if connection.told || error_of(reason) == 0 { libc::EPIPE } else { error_of(reason) };
            connection.told = true;
            return Err(error);
        }
        let written = self.engine.with_connection(id, self.now_ns, |_, io| {
            let len = io.room().min(bytes.len());
            if len > 0 && io.write(&bytes[..len]).is_err() { 0 } else { len }
        });
        self.settle();
        Ok(written.unwrap_or(0))
    }

    pub fn shutdown(&mut self, fd: i32, read: bool, write: bool) -> Result<(), Errno> {
        let id = self.id(fd)?;
        if self.engine.application_mut().connections.get(&id).is_some_and(|found| found.ended.is_some()) {
            return Err(libc::ENOTCONN);
        }
        self.at(fd)?.shut_read |= read;
        self.at(fd)?.shut_write |= write;
        if write {
            self.engine.with_connection(id, self.now_ns, |_, io| io.close());
        }
        self.settle();
        Ok(())
    }

    /// Closes as Linux does: what was not read, or a wish, makes it a reset.
    pub fn close(&mut self, fd: i32) -> Result<(), Errno> {
        let socket = self.sockets.remove(&fd).ok_or(libc::EBADF)?;
        if socket.listening {
            self.engine.unlisten(socket.port);
        }
        if let Some(id) = socket.connection {
            let found = self.engine.application_mut().connections.entry(id).or_default();
            found.closed = true;
            let reset = socket.abrupt || found.available > 0;
            if !found.opened {
                self.engine.give_up(id, self.now_ns);
            }
            self.engine.with_connection(id, self.now_ns, |_, io| if reset { io.abort() } else { io.close() });
        }
        self.settle();
        Ok(())
    }

    /// Terms that were changed hold from now on.
    pub fn agree(&mut self, fd: i32) -> Result<(), Errno> {
        let socket = self.at(fd)?;
        let (connection, terms) = (socket.connection, socket.terms());
        if let Some(id) = connection {
            self.engine.set_terms(id, terms, self.now_ns).map_err(|_| libc::ENOBUFS)?;
            self.settle();
        }
        Ok(())
    }

    /// Bytes that wait to be read.
    pub fn available(&mut self, fd: i32) -> Result<usize, Errno> {
        let id = self.id(fd)?;
        Ok(self.engine.application_mut().connections.entry(id).or_default().available)
    }

    /// The error that waits, which is gone then.
    pub fn take_error(&mut self, fd: i32) -> Result<Errno, Errno> {
        let Some(id) = self.at(fd)?.connection else { return Ok(0) };
        let connection = self.engine.application_mut().connections.entry(id).or_default();
        let told = std::mem::replace(&mut connection.told, connection.ended.is_some());
        Ok(connection.ended.filter(|_| !told).map_or(0, error_of))
    }

    /// Payload of the largest segment that a connection sends.
    pub fn segment_max(&mut self, fd: i32) -> Result<i32, Errno> {
        let id = self.id(fd)?;
        let view = self.engine.view(id.slot).filter(|view| view.id == id).ok_or(libc::ENOTCONN)?;
        Ok(i32::from(view.segment_max))
    }

    /// What `poll` says of a number.
    pub fn events(&mut self, fd: i32) -> Option<u32> {
        let Socket { port, listening, connection, shut_read, shut_write, .. } = *self.at(fd).ok()?;
        let sockets = self.engine.application_mut();
        if listening {
            let waits = sockets.arrived.get(&port).is_some_and(|arrived| !arrived.is_empty());
            return Some(if waits { libc::POLLIN as u32 } else { 0 });
        }
        let Some(id) = connection else { return Some((libc::POLLOUT | libc::POLLHUP) as u32) };
        let found = sockets.connections.entry(id).or_default();
        let mut events = 0;
        let finished = found.finished || shut_read || found.ended.is_some();
        events |= if found.available > 0 || finished { libc::POLLIN } else { 0 };
        events |= if finished { libc::POLLRDHUP } else { 0 };
        events |= if finished && shut_write || found.ended.is_some() { libc::POLLHUP } else { 0 };
        let failed = found.ended.is_some_and(|reason| error_of(reason) != 0) && !found.told;
        events |= if failed { libc::POLLERR } else { 0 };
        let ended = found.ended.is_some();
        let opened = found.opened;
        let room = opened && self.engine.with_connection(id, self.now_ns, |_, io| io.room()).unwrap_or(0) > 0;
        events |= if room || ended || opened && shut_write { libc::POLLOUT } else { 0 };
        Some(events as u32)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // packetdrill has closed what was left.
        for file in self.sockets.values_mut().filter_map(|socket| socket.file.take()) {
            let _ = file.into_raw_fd();
        }
    }
}

fn error_of(reason: Ended) -> Errno {
    match reason {
        Ended::Closed | Ended::Aborted => 0,
        Ended::Reset => libc::ECONNRESET,
        Ended::TimedOut => libc::ETIMEDOUT,
        Ended::Refused => libc::ECONNREFUSED,
    }
}

//! The porch: a listener on the host's loopback whose connections are carried to the private stack.
//!
//! The stack's address exists only inside the namespace. So that any client on the host can reach it, the listener
//! is opened before the namespace is entered, and one thread, which lives in the namespace, copies bytes between
//! each accepted connection and a kernel connection to the stack:
//!
//! ```text
//! client -- 127.0.0.1:PORT (host) == porch thread == 10.77.0.1 (kernel) -- TAP -- 10.77.0.2:PORT (private stack)
//! ```
//!
//! It is a convenience, not a fast path: whoever measures the stack connects inside the namespace. Ends, half
//! closes and resets are carried over in both directions. When [`PAIRS_MAX`] connections are open, further
//! ones wait in the listener's backlog until one ends.

use crate::error::TapError;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

/// Connections that are carried at the same time.
pub const PAIRS_MAX: usize = 2_048;
/// Bytes on their way in one direction of one pair; a side that does not read stops the other one.
const BUFFER_LEN: usize = 32 * 1024;
/// Events taken in one turn.
const EVENTS_MAX: usize = 256;
/// How long it waits when descriptors or memory are short and none of them are its own.
const SHORTAGE: Duration = Duration::from_millis(10);
/// Name of the listener among the events.
const LISTENER: u64 = u64::MAX;

/// The listener, opened in the host's network.
#[derive(Debug)]
pub struct Porch {
    listener: TcpListener,
}

impl Porch {
    /// Listens on 127.0.0.1. Called before [`crate::namespace::enter`]. Port 0 takes a free one.
    pub fn bind(port: u16) -> Result<Self, TapError> {
        let refuse = |error| TapError::Port(port, error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(refuse)?;
        listener.set_nonblocking(true).map_err(refuse)?;
        Ok(Self { listener })
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.listener.local_addr().map_or(0, |address| address.port())
    }

    /// Starts to carry connections to `target`. Called inside the namespace, from the thread that entered it. The
    /// porch works until the process ends.
    pub fn open(self, target: SocketAddr) -> Result<(), TapError> {
        let failed = |step| move |error: rustix::io::Errno| TapError::Porch(step, error.into());
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed("epoll_create"))?;
        epoll::add(&epoll, &self.listener, EventData::new_u64(LISTENER), EventFlags::IN)
            .map_err(failed("watching the listener"))?;
        raise_descriptor_limit();
        let carrier = Carrier::new(self.listener, target, epoll);
        thread::Builder::new()
            .name("porch".into())
            .spawn(move || carrier.run())
            .map(drop)
            .map_err(|error| TapError::Porch("starting its thread", error))
    }
}

/// Each carried connection takes two descriptors. Where the system allows fewer than that, fewer are carried.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

struct Carrier {
    listener: TcpListener,
    target: SocketAddr,
    epoll: OwnedFd,
    /// Places are used again; a place that is empty belongs to nobody.
    pairs: Vec<Option<Pair>>,
    /// Of the next pair.
    generation: u32,
    full: bool,
}

/// The two ends of one carried connection. End 0 is the client's, end 1 the stack's.
struct Pair {
    ends: [End; 2],
    /// Which pair in its place: an event that was taken together with the end of the one before is not for this one.
    generation: u32,
}

/// The name of an end among the events.
fn name(generation: u32, place: usize, end: usize) -> u64 {
    // Places are few: the lower half never is the listener's.
    u64::from(generation) << 32 | (place * 2 + end) as u64
}

struct End {
    stream: TcpStream,
    /// Bytes that were read here and not yet written at the other end.
    buffer: Box<[u8]>,
    read: usize,
    written: usize,
    /// Nothing more comes from here, and the other end was told so.
    ended: bool,
    told: bool,
    watched: EventFlags,
}

/// The pair cannot go on: both ends are closed.
struct Broken;

impl Carrier {
    fn new(listener: TcpListener, target: SocketAddr, epoll: OwnedFd) -> Self {
        Self { listener, target, epoll, pairs: Vec::new(), generation: 0, full: false }
    }

    fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            self.take_events(&mut events, None);
        }
    }

    /// Acts on what is there, or on what comes next. Says how many events that were.
    fn take_events(&mut self, events: &mut Vec<epoll::Event>, timeout: Option<&Timespec>) -> usize {
        events.clear();
        // Without a timeout only a signal can interrupt it, and then the next turn comes at once.
        let _ = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), timeout);
        for event in events.iter() {
            match event.data.u64() {
                LISTENER => self.accept(),
                name => self.turn(name, event.flags),
            }
        }
        events.len()
    }

    fn accept(&mut self) {
        loop {
            let place = match self.pairs.iter().position(Option::is_none) {
                Some(place) => place,
                None if self.pairs.len() < PAIRS_MAX => {
                    self.pairs.push(None);
                    self.pairs.len() - 1
                }
                None => return self.pause_listening(),
            };
            match self.listener.accept() {
                Ok((client, _)) => self.pairs[place] = self.pair(client, place),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // Descriptors or memory are short: as with a full table, the next one that ends makes room.
                Err(_) if self.pairs.iter().any(Option::is_some) => return self.pause_listening(),
                // Nobody here will end: others may give some back.
                Err(_) => return thread::sleep(SHORTAGE),
            }
        }
    }

    fn pause_listening(&mut self) {
        self.full = true;
        let _ = epoll::delete(&self.epoll, &self.listener);
    }

    /// Begins the connection to the stack; `None` closes the client's.
    fn pair(&mut self, client: TcpStream, place: usize) -> Option<Pair> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let stack = socket_with(AddressFamily::INET, SocketType::STREAM, flags, Some(ipproto::TCP)).ok()?;
        match connect(&stack, &self.target) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(_) => return None,
        }
        client.set_nonblocking(true).ok()?;
        let streams = [client, TcpStream::from(stack)];
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        for (end, stream) in streams.iter().enumerate() {
            stream.set_nodelay(true).ok()?;
            let name = EventData::new_u64(name(generation, place, end));
            epoll::add(&self.epoll, stream, name, EventFlags::IN).ok()?;
        }
        Some(Pair { ends: streams.map(End::new), generation })
    }

    fn turn(&mut self, name: u64, flags: EventFlags) {
        let (generation, place) = ((name >> 32) as u32, name as u32 as usize / 2);
        let Some(Some(pair)) = self.pairs.get_mut(place) else { return };
        if pair.generation != generation {
            return;
        }
        let over = flags.contains(EventFlags::ERR)
            || match pair.carry(0).and_then(|()| pair.carry(1)) {
                Ok(()) => pair.ends.iter().all(|end| end.told),
                Err(Broken) => true,
            };
        if !over {
            pair.watch(&self.epoll, place);
            return;
        }
        // Closing with unread bytes, or after an error, resets: the other side learns that it was no orderly end.
        self.pairs[place] = None;
        if self.full {
            let name = EventData::new_u64(LISTENER);
            self.full = epoll::add(&self.epoll, &self.listener, name, EventFlags::IN).is_err();
        }
    }
}

impl Pair {
    /// Carries what is there from one end to the other, at most one buffer.
    fn carry(&mut self, from: usize) -> Result<(), Broken> {
        let [first, second] = &mut self.ends;
        let (from, to) = if from == 0 { (first, second) } else { (second, first) };
        if from.written == from.read && !from.ended {
            (from.read, from.written) = (0, 0);
            match from.stream.read(&mut from.buffer) {
                Ok(0) => from.ended = true,
                Ok(len) => from.read = len,
                Err(error) if not_now(&error) => {}
                Err(_) => return Err(Broken),
            }
        }
        while from.written < from.read {
            match to.stream.write(&from.buffer[from.written..from.read]) {
                Ok(len) => from.written += len,
                Err(error) if not_now(&error) => return Ok(()),
                Err(_) => return Err(Broken),
            }
        }
        if from.ended && !from.told {
            match to.stream.shutdown(Shutdown::Write) {
                Ok(()) => from.told = true,
                // Still connecting: the event of its being ready brings us here again.
                Err(error) if error.kind() == ErrorKind::NotConnected => {}
                Err(_) => return Err(Broken),
            }
        }
        Ok(())
    }

    /// Watches each end for what can make it go on: bytes, if there is room for them, and room, if bytes wait.
    fn watch(&mut self, epoll: &OwnedFd, place: usize) {
        let waits = |end: &End| end.written < end.read || (end.ended && !end.told);
        let waiting = [waits(&self.ends[0]), waits(&self.ends[1])];
        for (index, end) in self.ends.iter_mut().enumerate() {
            let mut flags = EventFlags::empty();
            flags.set(EventFlags::IN, !waiting[index] && !end.ended);
            flags.set(EventFlags::OUT, waiting[1 - index]);
            if flags.is_empty() {
                // That both directions of it are closed is reported all the same, and for ever: once is enough.
                flags = EventFlags::ET;
            }
            if flags != end.watched {
                end.watched = flags;
                let name = EventData::new_u64(name(self.generation, place, index));
                let _ = epoll::modify(epoll, &end.stream, name, flags);
            }
        }
    }
}

impl End {
    fn new(stream: TcpStream) -> Self {
        let buffer = vec![0; BUFFER_LEN].into_boxed_slice();
        Self { stream, buffer, read: 0, written: 0, ended: false, told: false, watched: EventFlags::IN }
    }
}

fn not_now(error: &std::io::Error) -> bool {
    // A write on a socket that still connects answers NotConnected on some systems, EAGAIN on Linux.
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::NotConnected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(serve: fn(TcpStream)) -> TcpStream {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = server.local_addr().unwrap();
        thread::spawn(move || serve(server.accept().unwrap().0));
        let porch = Porch::bind(0).unwrap();
        let address = (Ipv4Addr::LOCALHOST, porch.port());
        porch.open(target).unwrap();
        let client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client
    }

    #[test]
    fn bytes_and_half_closes_are_carried_both_ways() {
        let mut client = carried(|mut stream| {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            all.reverse();
            stream.write_all(&all).unwrap();
        });
        let sent: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        client.write_all(&sent).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        answer.reverse();
        assert!(answer == sent);
    }

    #[test]
    fn an_end_at_the_server_ends_the_client() {
        let mut client = carried(|mut stream| stream.write_all(b"bye").unwrap());
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"bye");
    }

    /// A carrier that is turned by the test, one pair on it, and that pair's client and server.
    fn turned() -> (Carrier, TcpStream, TcpStream) {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let mut carrier = Carrier::new(listener, server.local_addr().unwrap(), epoll);
        carrier.accept();
        (carrier, client, server.accept().unwrap().0)
    }

    #[test]
    fn an_event_of_an_ended_pair_does_not_touch_its_successor() {
        let (mut carrier, _client, _server) = turned();
        let first = carrier.pairs[0].as_ref().unwrap().generation;
        carrier.turn(name(first, 0, 0), EventFlags::ERR);
        assert!(carrier.pairs[0].is_none());
        let _next = TcpStream::connect(carrier.listener.local_addr().unwrap()).unwrap();
        carrier.accept();
        carrier.turn(name(first, 0, 1), EventFlags::ERR);
        assert!(carrier.pairs[0].is_some(), "the error was the first one's");
    }

    #[test]
    fn who_waits_while_no_place_is_free_is_let_in_when_one_ends() {
        let (mut carrier, _client, _server) = turned();
        let mut events = Vec::with_capacity(EVENTS_MAX);
        epoll::add(&carrier.epoll, &carrier.listener, EventData::new_u64(LISTENER), EventFlags::IN).unwrap();
        carrier.pause_listening();
        let _next = TcpStream::connect(carrier.listener.local_addr().unwrap()).unwrap();
        carrier.take_events(&mut events, Some(&Timespec { tv_sec: 0, tv_nsec: 50_000_000 }));
        assert_eq!(carrier.pairs.iter().flatten().count(), 1, "it waits");
        let first = carrier.pairs[0].as_ref().unwrap().generation;
        carrier.turn(name(first, 0, 0), EventFlags::ERR);
        let turns = (0..60).take_while(|_| {
            carrier.take_events(&mut events, Some(&Timespec { tv_sec: 1, tv_nsec: 0 }));
            carrier.pairs[0].is_none()
        });
        assert!(turns.count() < 60, "it waits for ever");
    }

    #[test]
    fn nothing_is_done_while_a_client_does_not_read_what_a_closed_stack_left() {
        use rustix::event::{PollFd, PollFlags, poll};
        use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
        const ANSWER_BYTES: usize = 80_000;
        let (mut carrier, mut client, mut server) = turned();
        // The client's side takes a few kilobytes only; the rest stays in the porch and in the stack's side.
        set_socket_recv_buffer_size(&client, 4096).unwrap();
        let pair = carrier.pairs[0].as_ref().unwrap();
        set_socket_send_buffer_size(&pair.ends[0].stream, 4096).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        server.write_all(&[b'x'; ANSWER_BYTES]).unwrap();
        drop(server);
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let pause = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        let turns = (0..10_000).take_while(|_| carrier.take_events(&mut events, Some(&pause)) > 0).count();
        assert!(turns < 1_000, "it spins");
        let pair = carrier.pairs[0].as_ref().expect("the client is owed bytes");
        let mut hung_up = [PollFd::new(&pair.ends[1].stream, PollFlags::empty())];
        poll(&mut hung_up, Some(&Timespec::default())).unwrap();
        assert!(hung_up[0].revents().contains(PollFlags::HUP), "the case in question");
        let reader = thread::spawn(move || {
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            answer.len()
        });
        while carrier.pairs[0].is_some() {
            carrier.take_events(&mut events, None);
        }
        assert_eq!(reader.join().unwrap(), ANSWER_BYTES);
    }

    #[test]
    fn a_busy_port_is_one_clear_line() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = Porch::bind(port).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("port {port} of 127.0.0.1 is in use: stop what listens there or choose another port")
        );
    }

    #[test]
    fn a_target_that_refuses_closes_the_client() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let porch = Porch::bind(0).unwrap();
        let address = (Ipv4Addr::LOCALHOST, porch.port());
        porch.open(free).unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(matches!(client.read(&mut [0; 8]), Ok(0) | Err(_)));
    }
}

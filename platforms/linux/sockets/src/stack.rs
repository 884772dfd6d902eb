//! The stack and the thread that it runs on, and what the program's threads tell it.

use crate::listener::Listener;
use crate::settings::Settings;
use crate::socket::Socket;
use nom_packet::{PacketConfig, PacketEgress, PacketIngress};
use nom_stack::application::{Application, ConnectionId, Ended, Io, Pin};
use nom_stack::knobs::{Knobs, Wait};
use nom_stack::port::Ingress;
use nom_stack::{Config, Engine};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError, mpsc};
use std::time::{Duration, Instant};

/// Longest sleep, which nothing needs: whatever happens wakes the thread.
const SLEEP_MAX_NS: u64 = 1_000_000_000;

/// What a program that ends still owes to others is waited for so long.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// States of connections that still owe something: bytes, or the word that no more come.
const OWING: [&str; 5] = ["established", "close-wait", "fin-wait-1", "closing", "last-ack"];

/// What a thread of the program wants of the stack.
enum Wish {
    /// Connections to its port go to this listener from now on.
    Listen(Arc<Listener>),
    /// Nobody listens to the port any more, if this one did.
    Unlisten(Arc<Listener>),
    /// There is something to send, to take or to close.
    Look(ConnectionId),
    /// The program ends: all is closed, and who waits is told when nothing is owed any more.
    End(mpsc::Sender<()>),
}

/// The way to the stack's thread.
pub struct Stack {
    wishes: Mutex<Vec<Wish>>,
    sleeps: AtomicBool,
    bell: File,
}

impl Stack {
    /// Opens the network and starts the thread.
    pub fn start(settings: &Settings) -> Result<Arc<Self>, String> {
        let bell = bell().map_err(|error| format!("no event descriptor: {error}"))?;
        let stack = Arc::new(Self { wishes: Mutex::default(), sleeps: AtomicBool::new(false), bell });
        let (told, settings) = (Arc::clone(&stack), settings.clone());
        let (say, heard) = mpsc::channel();
        // The device stays on the thread that opened it.
        let run = move || match open(&settings) {
            Ok(engine) => {
                let _ = say.send(Ok(()));
                told.run(engine, settings.wait);
            }
            Err(what) => {
                let _ = say.send(Err(what));
            }
        };
        std::thread::Builder::new()
            .name("nom-stack".into())
            .spawn(run)
            .map_err(|error| format!("no thread for the stack: {error}"))?;
        heard.recv().unwrap_or_else(|_| Err("the stack's thread ended".into()))?;
        Ok(stack)
    }

    /// Connections to its port go to this listener from now on.
    pub fn listen(&self, listener: Arc<Listener>) {
        self.wish(Wish::Listen(listener));
    }

    /// Nobody listens to the port any more.
    pub fn unlisten(&self, listener: Arc<Listener>) {
        self.wish(Wish::Unlisten(listener));
    }

    /// There is something to do for the connection.
    pub fn look(&self, connection: ConnectionId) {
        self.wish(Wish::Look(connection));
    }

    /// The program ends: sends what it wrote, as a kernel does that outlives it, but does not wait for ever.
    pub fn end(&self) {
        let (say, heard) = mpsc::channel();
        let until = Instant::now() + LAST_WORDS;
        // A program may end within a handler of a signal that came while it wished for something.
        let mut wishes = loop {
            match self.wishes.try_lock() {
                Ok(wishes) => break wishes,
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(TryLockError::WouldBlock) => return,
            }
        };
        wishes.push(Wish::End(say));
        drop(wishes);
        self.ring();
        // Nothing comes when the time is over: others are told by what they miss.
        let _ = heard.recv_timeout(LAST_WORDS);
    }

    fn wish(&self, wish: Wish) {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner).push(wish);
        self.ring();
    }

    /// Wakes the stack's thread.
    fn ring(&self) {
        if self.sleeps.swap(false, Ordering::SeqCst) {
            // An eventfd takes eight bytes or is full, and then the thread wakes as well.
            let _ = (&self.bell).write(&1u64.to_ne_bytes());
        }
    }

    fn run(&self, mut engine: PrivateEngine, wait: Wait) {
        engine.set_knobs(Knobs { wait, ..Knobs::default() }, now_ns());
        let mut worked_ns = now_ns();
        let mut wishes = Vec::new();
        let mut ending = None;
        loop {
            std::mem::swap(&mut *self.wishes.lock().unwrap_or_else(PoisonError::into_inner), &mut wishes);
            let at_ns = now_ns();
            let asked = !wishes.is_empty();
            for wish in wishes.drain(..) {
                grant(&mut engine, wish, &mut ending, at_ns);
            }
            let step = engine.step(at_ns);
            if let Some(say) = ending.take_if(|_| !owes(&engine)) {
                let _ = say.send(());
            }
            if asked || step.worked {
                worked_ns = at_ns;
                continue;
            }
            let rests = match wait {
                Wait::Halt => true,
                Wait::Spin { budget_ns } => at_ns - worked_ns >= budget_ns,
                Wait::Poll => false,
            };
            if !rests {
                std::hint::spin_loop();
                continue;
            }
            // Said before the last look: whoever wishes after that look rings the bell.
            self.sleeps.store(true, Ordering::SeqCst);
            let idle = self.wishes.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
            if idle && engine.ingress_mut().arm() {
                let sleep_ns = step.deadline_ns.map_or(SLEEP_MAX_NS, |at| at.saturating_sub(now_ns()));
                self.sleep(engine.ingress_mut(), sleep_ns.min(SLEEP_MAX_NS));
            }
            self.sleeps.store(false, Ordering::SeqCst);
        }
    }

    fn sleep(&self, device: &impl AsFd, sleep_ns: u64) {
        let wanted = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut fds = [wanted(device.as_fd().as_raw_fd()), wanted(self.bell.as_raw_fd())];
        let timeout = libc::timespec {
            tv_sec: (sleep_ns / 1_000_000_000) as i64,
            tv_nsec: (sleep_ns % 1_000_000_000) as i64,
        };
        // SAFETY: the list and the time live for the call, and its length is right. No mask of signals is given.
        unsafe { libc::ppoll(fds.as_mut_ptr(), 2, &raw const timeout, std::ptr::null()) };
        if fds[1].revents != 0 {
            let _ = (&self.bell).read(&mut [0; 8]);
        }
    }
}

type PrivateEngine = Engine<PacketIngress, PacketEgress, Bridge>;

fn open(settings: &Settings) -> Result<PrivateEngine, String> {
    let (address, prefix_len) = settings.address;
    let config = PacketConfig::new(&settings.interface, address);
    let (ingress, egress) = nom_packet::open(&config).map_err(|error| error.to_string())?;
    let config = Config { gateway: settings.gateway, ..Config::new(ingress.mac(), address, prefix_len) };
    let mut seed = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut seed))
        .map_err(|error| format!("/dev/urandom: {error}"))?;
    Ok(Engine::new(config, ingress, egress, Bridge::default(), seed, now_ns()))
}

/// Time since the first question.
fn now_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64 + 1
}

fn bell() -> std::io::Result<File> {
    // SAFETY: a plain call that makes a descriptor.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: it was just made and has no other owner.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

fn grant(engine: &mut PrivateEngine, wish: Wish, ending: &mut Option<mpsc::Sender<()>>, now_ns: u64) {
    match wish {
        Wish::Listen(listener) => {
            engine.listen(listener.port);
            engine.application_mut().listeners.insert(listener.port, listener);
        }
        Wish::Unlisten(listener) => {
            let listeners = &mut engine.application_mut().listeners;
            if listeners.get(&listener.port).is_some_and(|known| Arc::ptr_eq(known, &listener)) {
                listeners.remove(&listener.port);
                engine.unlisten(listener.port);
            }
        }
        Wish::Look(connection) => {
            engine.with_connection(connection, now_ns, |bridge, io| bridge.writable(io));
        }
        Wish::End(say) => {
            close_all(engine, now_ns);
            *ending = Some(say);
        }
    }
}

/// Closes what a kernel would close for a program that ends.
fn close_all(engine: &mut PrivateEngine, now_ns: u64) {
    let bridge = engine.application_mut();
    let ports: Vec<u16> = bridge.listeners.drain().map(|(port, _)| port).collect();
    let open: Vec<ConnectionId> = bridge.sockets.keys().copied().collect();
    bridge.sockets.values().for_each(|socket| {
        socket.release();
    });
    ports.into_iter().for_each(|port| engine.unlisten(port));
    for connection in open {
        engine.with_connection(connection, now_ns, |bridge, io| bridge.writable(io));
    }
}

/// Whether some connection has something to send that nobody has acknowledged.
fn owes(engine: &PrivateEngine) -> bool {
    let mut views = std::iter::successors(engine.view(0), |last| engine.view(last.id.slot + 1));
    views.any(|view| OWING.contains(&view.state))
}

/// The application: hands bytes to and fro.
#[derive(Default)]
struct Bridge {
    listeners: HashMap<u16, Arc<Listener>>,
    sockets: HashMap<ConnectionId, Arc<Socket>>,
}

impl Application for Bridge {
    fn opened(&mut self, io: &mut impl Io, port: u16, _outgoing: bool) {
        let socket = Arc::new(Socket::new(io.connection(), port, io.peer()));
        self.sockets.insert(io.connection(), Arc::clone(&socket));
        if !self.listeners.get(&port).is_some_and(|listener| listener.push(socket)) {
            io.abort();
        }
    }

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        self.sockets.get(&io.connection()).map_or(bytes.len(), |socket| socket.received(bytes))
    }

    fn writable(&mut self, io: &mut impl Io) {
        if let Some(socket) = self.sockets.get(&io.connection()) {
            socket.send(io);
        }
    }

    fn finished(&mut self, io: &mut impl Io) {
        if let Some(socket) = self.sockets.get(&io.connection()) {
            socket.finished();
        }
    }

    fn ended(&mut self, connection: ConnectionId, reason: Ended) {
        if let Some(socket) = self.sockets.remove(&connection) {
            socket.ended(reason);
        }
    }

    fn pinned(&self, _pin: Pin) -> &[u8] {
        &[]
    }

    fn released(&mut self, _pin: Pin) {}
}

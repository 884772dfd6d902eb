//! What an echo of one byte costs on a link that costs nothing: two private stacks in one thread, memory between them.
//!
//! A batch of requests, one a connection, goes from the asking stack to the serving one and comes back. The time of the
//! serving side is that of both sides less that of the asking side alone. Alone, the asking side is given the very
//! frames that a server would send: a mirror turns each request around, and what the mirror takes by itself is taken
//! off again.
//!
//! - `memory_link.cycles`: of the serving side for one echo, in ticks of the processor's time stamp counter, whose
//!   frequency is `memory_link.tsc_ghz`;
//! - `memory_link.linux_ratio`: both ends of Linux's TCP over the loopback in one thread, against both ends of ours.

mod mirror;

use crate::figures::Figure;
use crate::{Settings, quiet};
use mirror::Mirror;
use nom_echo::Echo;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_memory_link::{LinkConfig, MemoryEgress, MemoryIngress, pair, ticks};
use nom_stack::application::{Application, ConnectionId, Ended, Io, Pin};
use nom_stack::knobs::{Batching, Knobs};
use nom_stack::{Config, Engine};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// What is claimed.
pub const CLAIM: &str =
    "an echo of one byte takes at most 1,000 cycles at the server, a fifth of Linux's loopback at most";

const RUNS: usize = 7;
/// Connections, as in the published table that the goal comes from.
pub(crate) const CONNECTIONS: usize = 32;
/// Echoes on each of them in one run.
const ECHOES: u32 = 20_000;
const LINUX_ECHOES: u32 = 2_000;
const PORT: u16 = 7;
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
pub(crate) const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Turns after which an opening or a batch has failed.
const TURNS_MAX: u32 = 1_000_000;
/// Long enough for the frequency to be known to a thousandth.
const CALIBRATION: Duration = Duration::from_millis(100);
const QUIET: f64 = 0.05;
const LOOK: Duration = Duration::from_secs(2);
const LOOKS: u32 = 30;

/// Asks for the same on each connection, again and again.
pub(crate) struct Asker {
    pub(crate) connections: Vec<ConnectionId>,
    /// Answers that came whole.
    pub(crate) answers: u64,
    request: &'static [u8],
    answer_len: usize,
}

impl Asker {
    /// Whoever asks this is answered with so many bytes.
    pub(crate) fn new(request: &'static [u8], answer_len: usize) -> Self {
        Self { connections: Vec::new(), answers: 0, request, answer_len }
    }
}

/// Asks for one byte.
impl Default for Asker {
    fn default() -> Self {
        Self::new(b"q", 1)
    }
}

impl Application for Asker {
    fn opened(&mut self, io: &mut impl Io, _port: u16, _outgoing: bool) {
        self.connections.push(io.connection());
    }

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        if bytes.len() < self.answer_len {
            return 0;
        }
        self.answers += 1;
        let sent = io.write(self.request);
        debug_assert!(sent.is_ok(), "one request is on its way at a time");
        self.answer_len
    }

    fn writable(&mut self, _io: &mut impl Io) {}

    fn finished(&mut self, _io: &mut impl Io) {}

    fn ended(&mut self, _connection: ConnectionId, _reason: Ended) {}

    fn pinned(&self, _pin: Pin) -> &[u8] {
        &[]
    }

    fn released(&mut self, _pin: Pin) {}
}

pub(crate) type Side<A> = Engine<MemoryIngress, MemoryEgress, A>;

pub(crate) fn side<A: Application>(
    (ingress, egress): (MemoryIngress, MemoryEgress),
    application: A,
    mac: [u8; 6],
    address: Ipv4Addr,
) -> Side<A> {
    let config = Config::new(mac, address, 24);
    let mut engine = Engine::new(config, ingress, egress, application, [mac[5]; 32], 1);
    let bound = CONNECTIONS as u32;
    engine.set_knobs(Knobs { batching: Batching::TakeQueued, batch_bound: bound, ..Knobs::default() }, 1);
    engine
}

/// Turns until as many answers have come. Time passes by the clock, as it does for everybody.
pub(crate) fn until(answers: u64, asker: &mut Side<Asker>, mut other: impl FnMut(u64)) -> Outcome<()> {
    let start = Instant::now();
    let mut last = (asker.application().answers, 0u32);
    while asker.application().answers < answers {
        let now_ns = start.elapsed().as_nanos() as u64 + 1_000_000_000;
        asker.step(now_ns);
        other(now_ns);
        last = if last.0 == asker.application().answers {
            (last.0, last.1 + 1)
        } else {
            (asker.application().answers, 0)
        };
        if last.1 > TURNS_MAX {
            return Err(Trouble::new(format!("no answer comes any more: {:?}", asker.counters())));
        }
    }
    Ok(())
}

/// Opens all connections.
pub(crate) fn opened<A: Application>(
    asker: &mut Side<Asker>,
    server: &mut Side<A>,
    port: u16,
) -> Outcome<()> {
    server.listen(port);
    for _ in 0..CONNECTIONS {
        asker.connect(SERVER, port, 1).map_err(|error| Trouble::new(format!("{error:?}")))?;
    }
    for turn in 0..TURNS_MAX {
        if asker.application().connections.len() == CONNECTIONS
            && server.open_connections() == CONNECTIONS as u32
        {
            return Ok(());
        }
        asker.step(u64::from(turn) * 1_000 + 2);
        server.step(u64::from(turn) * 1_000 + 2);
    }
    Err(Trouble::new("the connections were not opened"))
}

/// Waits until the machine is quiet; which part of it was busy at the last look.
pub(crate) fn settled() -> f64 {
    quiet::wait_for_quiet(QUIET, LOOK, LOOKS)
}

/// Both sides.
struct Both {
    asker: Side<Asker>,
    server: Side<Echo>,
}

impl Both {
    fn open() -> Outcome<Self> {
        let (left, right) = pair(LinkConfig::default());
        let mut server = side(left, Echo::default(), SERVER_MAC, SERVER);
        let mut asker = side(right, Asker::default(), CLIENT_MAC, CLIENT);
        opened(&mut asker, &mut server, PORT)?;
        let mut both = Self { asker, server };
        for id in both.asker.application().connections.clone() {
            both.asker.with_connection(id, 1_000_000_000, |_, io| io.write(b"q"));
        }
        Ok(both)
    }

    /// Ticks of so many echoes.
    fn run(&mut self, echoes: u64) -> Outcome<u64> {
        let goal = self.asker.application().answers + echoes;
        let server = &mut self.server;
        let begin = ticks();
        until(goal, &mut self.asker, |now_ns| {
            server.step(now_ns);
        })?;
        Ok(ticks() - begin)
    }
}

/// Ticks of the serving side, and of both, for one echo.
fn ours() -> Outcome<(f64, f64)> {
    let echoes = u64::from(ECHOES) * CONNECTIONS as u64;
    let mut both = Both::open()?;
    both.run(echoes / 10)?;
    let together = both.run(echoes)?;
    let mut mirror = Mirror::open()?;
    mirror.run(echoes / 10)?;
    let asking = mirror.run(echoes)?;
    let each = |ticks: f64| ticks / echoes as f64;
    Ok((each(together as f64 - asking), each(together as f64)))
}

/// Ticks of both ends of Linux's TCP for one echo, in one thread as ours: all requests, then all answers.
fn linux() -> Outcome<f64> {
    let failed = || "the loopback".to_string();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context(failed)?;
    let address = listener.local_addr().context(failed)?;
    let mut pairs = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let asker = TcpStream::connect(address).context(failed)?;
        let (server, _) = listener.accept().context(failed)?;
        for stream in [&asker, &server] {
            stream.set_nodelay(true).context(failed)?;
        }
        pairs.push((asker, server));
    }
    let mut byte = [0];
    let begin = ticks();
    for _ in 0..LINUX_ECHOES {
        for (asker, _) in &mut pairs {
            asker.write_all(b"q").context(failed)?;
        }
        for (_, server) in &mut pairs {
            server.read_exact(&mut byte).context(failed)?;
            server.write_all(&byte).context(failed)?;
        }
        for (asker, _) in &mut pairs {
            asker.read_exact(&mut byte).context(failed)?;
        }
    }
    Ok((ticks() - begin) as f64 / f64::from(LINUX_ECHOES) / CONNECTIONS as f64)
}

/// Measures.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let (begin, start) = (ticks(), Instant::now());
    std::thread::sleep(CALIBRATION);
    let ghz = (ticks() - begin) as f64 / start.elapsed().as_nanos() as f64;
    let (mut cycles, mut both, mut ratios, mut theirs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for run in 0..settings.runs.unwrap_or(RUNS) {
        let load = settled();
        let (server, together) = ours()?;
        let linux = linux()?;
        progress(&format!(
            "run {}: {server:.0} cycles at the server, {together:.0} at both ends; Linux {linux:.0} at both ends \
             ({:.0}% of the machine busy before)",
            run + 1,
            load * 100.0
        ));
        cycles.push(server);
        both.push(together);
        ratios.push(linux / together);
        theirs.push(linux);
    }
    let figures = [
        Figure::of("memory_link.cycles", "", Some("<=1000"), &cycles),
        Figure::of("memory_link.linux_ratio", "x", Some(">=5"), &ratios)
            .map(|figure| figure.against("Linux's TCP over the loopback, both ends")),
        Figure::of("memory_link.both_cycles", "", None, &both),
        Figure::of("memory_link.linux_both_cycles", "", None, &theirs),
        Figure::of("memory_link.tsc_ghz", "GHz", None, &[ghz]),
    ];
    Ok(figures.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_is_asked_and_answers() {
        let mut both = Both::open().unwrap();
        both.run(10 * CONNECTIONS as u64).unwrap();
        assert!(both.server.counters().frames_in > 10 * CONNECTIONS as u64);
        assert_eq!(both.server.application().opened, CONNECTIONS as u64);
        let mut mirror = Mirror::open().unwrap();
        mirror.run(10 * CONNECTIONS as u64).unwrap();
        assert!(linux().unwrap() > 0.0);
    }
}

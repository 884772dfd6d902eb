//! A service that was started: the device's kind hidden behind one face, what C does with connections, and its wait.

use crate::bridge::{Bridge, Wanted};
use crate::event::{ACCEPT, DRAIN, ENDED, Event, PRICE, Price, READABLE, TIMER};
use crate::timers::Timers;
use crate::trouble::{Code, Trouble};
use nom_abi::board::{self, Prices, RESOURCES};
use nom_linux_process::arguments::{Arguments, Program};
use nom_linux_process::network::{self, Device, Serve};
use nom_linux_process::running::{Prepared, Running, Who};
use nom_linux_process::start::read_configuration;
use nom_service::home::Home;
use nom_stack::Handle;
use nom_stack::application::{ConnectionId, Ended, Io};
use nom_stack::meter::Answer;
use nom_stack::port::{Egress, Ingress};
use std::ffi::OsString;
use std::sync::Arc;

/// Longest name of an application.
const NAME_MAX: usize = 32;

/// A service on a device of whatever kind.
trait Drive {
    fn turn(&mut self, until_ns: u64) -> bool;
    fn bridge(&mut self) -> &mut Bridge;
    fn with(&mut self, id: ConnectionId, call: &mut dyn FnMut(&mut Bridge, &mut Handle<'_>)) -> bool;
    fn listen(&mut self, port: u16);
    fn port(&self) -> u16;
    fn now_ns(&self) -> u64;
    fn generation(&self) -> u64;
    fn prices(&self) -> Option<Prices>;
    fn change_key(&mut self, key: &str, value: &str) -> Result<String, String>;
    fn setting(&self) -> String;
    fn drain(&mut self);
}

impl<I: Ingress, E: Egress> Drive for Running<I, E, Bridge> {
    fn turn(&mut self, until_ns: u64) -> bool {
        Running::turn(self, until_ns)
    }

    fn bridge(&mut self) -> &mut Bridge {
        self.worker.application_mut()
    }

    fn with(&mut self, id: ConnectionId, call: &mut dyn FnMut(&mut Bridge, &mut Handle<'_>)) -> bool {
        let now_ns = self.home.now_ns();
        self.worker.with_connection(id, now_ns, call).is_some()
    }

    fn listen(&mut self, port: u16) {
        self.worker.listen(port);
    }

    fn port(&self) -> u16 {
        self.worker.port()
    }

    fn now_ns(&self) -> u64 {
        self.home.now_ns()
    }

    fn generation(&self) -> u64 {
        board::generation(self.home.board())
    }

    fn prices(&self) -> Option<Prices> {
        board::read(self.home.board()).ok()
    }

    fn change_key(&mut self, key: &str, value: &str) -> Result<String, String> {
        self.worker.change_key(&mut self.home, key, value)
    }

    fn setting(&self) -> String {
        self.worker.setting().to_string()
    }

    fn drain(&mut self) {
        Running::drain(self);
    }
}

/// Keeps the service that `network::serve` hands on.
struct Keep<'a> {
    prepared: Prepared,
    kept: &'a mut Option<Box<dyn Drive>>,
}

impl Serve for Keep<'_> {
    fn serve<I: Ingress + 'static, E: Egress + 'static>(self, device: Device<I, E>) -> Result<(), String> {
        *self.kept = Some(Box::new(self.prepared.ready(device)?.serve(Bridge::default(), &[])?));
        Ok(())
    }
}

/// See the module.
pub struct Instance {
    drive: Box<dyn Drive>,
    timers: Timers,
    generation: u64,
    over: bool,
}

impl Instance {
    /// Starts a service of this name, told like every other one by words of a command line.
    pub fn start(name: &str, words: Vec<OsString>) -> Result<Self, Trouble> {
        let right = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(right) {
            let what = format!("{name:?} is no name: a to z, 0 to 9 and -, at most {NAME_MAX}");
            return Err(Trouble::new(Code::Argument, what));
        }
        // A process starts few services, so these names may stay.
        let name: &'static str = Box::leak(name.to_string().into_boxed_str());
        let program = Program { name, files: &[] };
        let wrong = |what| Trouble::new(Code::Argument, what);
        let arguments = Arguments::read(program, words).map_err(wrong)?;
        let configuration = read_configuration(&arguments.config).map_err(wrong)?;
        let refused = |what| Trouble::new(Code::Refused, what);
        let who = Who { program, name, dies_with_parent: false };
        if configuration.cores > 1 {
            return Err(wrong("kv.cores: one core serves here; remove the line".into()));
        }
        let (prepared, porch) = Prepared::open(who, &arguments, &configuration, None).map_err(refused)?;
        let team = Arc::clone(&prepared.team);
        let mut kept = None;
        network::serve(&configuration, &team, porch, Keep { prepared, kept: &mut kept }).map_err(refused)?;
        let drive = kept.ok_or_else(|| refused("the network did not open".into()))?;
        Ok(Self { drive, timers: Timers::default(), generation: 0, over: false })
    }

    /// Connections to a port are taken from now on; 0 for the port of the configuration.
    pub fn listen(&mut self, port: u16) -> u16 {
        let port = if port == 0 { self.drive.port() } else { port };
        self.drive.listen(port);
        self.drive.bridge().listen(port);
        port
    }

    /// A connection that waits.
    pub fn accept(&mut self, port: u16, tag: u64) -> Result<i64, Trouble> {
        let port = if port == 0 { self.drive.port() } else { port };
        match self.drive.bridge().accept(port, tag) {
            Ok(Some(id)) => Ok(name(id)),
            Ok(None) => Err(Trouble::new(Code::Again, format!("nobody waits on port {port}"))),
            Err(()) => {
                Err(Trouble::new(Code::Argument, format!("nobody listens to port {port}: nom_listen")))
            }
        }
    }

    /// Bytes into a place of C's; `keep` leaves them with the stack. 0 at the end of what the other side sends.
    pub fn read(
        &mut self,
        connection: i64,
        place: *mut u8,
        room: usize,
        keep: bool,
    ) -> Result<usize, Trouble> {
        let id = self.find(connection)?;
        let known = self.drive.bridge().connection(id).ok_or_else(|| gone(connection))?;
        if known.unread == 0 {
            return match (known.finished, known.ended) {
                (true, _) => Ok(0),
                (false, None) => Err(Trouble::new(Code::Again, "nothing has come")),
                (false, Some(_)) => Err(gone(connection)),
            };
        }
        if room == 0 {
            return Err(Trouble::new(Code::Argument, "there is no room for a byte"));
        }
        // The stack offers what was not consumed after the call: that is when the bytes are put there.
        self.drive.with(id, &mut |bridge, _| {
            bridge.wanted = Some(Wanted { id, place, room, keep, len: 0 });
        });
        let bridge = self.drive.bridge();
        let len = bridge.wanted.take().map_or(0, |wanted| wanted.len);
        let known = bridge.connection(id).ok_or_else(|| gone(connection))?;
        if len == 0 && known.ended.is_some() {
            // What was unread when it ended went with it.
            return Err(gone(connection));
        }
        if len == 0 {
            // There was no memory to keep them: they come again, as news.
            known.unread = 0;
            return Err(Trouble::new(Code::Again, "nothing has come"));
        }
        if !keep && (known.unread > 0 || known.finished) {
            bridge.stir(id, READABLE);
        }
        Ok(len)
    }

    /// Takes what there is room for.
    pub fn write(&mut self, connection: i64, bytes: &[u8]) -> Result<usize, Trouble> {
        let id = self.open(connection)?;
        if self.drive.bridge().connection(id).is_some_and(|known| known.shut) {
            return Err(Trouble::new(Code::Refused, "this side was shut: nothing can follow"));
        }
        let mut written = 0;
        self.drive.with(id, &mut |_, io| written = io.write_some(bytes));
        match written {
            0 if !bytes.is_empty() => Err(Trouble::new(Code::Again, "there is no room")),
            _ => Ok(written),
        }
    }

    /// Counts an operation as answered by what was written so far.
    pub fn answered(&mut self, connection: i64, accepted: bool) -> Result<(), Trouble> {
        let answer = if accepted { Answer::Accepted } else { Answer::Refused };
        let id = self.open(connection)?;
        self.drive.with(id, &mut |_, io| io.answered(answer));
        Ok(())
    }

    /// Sends what was written and then that nothing follows.
    pub fn shut(&mut self, connection: i64) -> Result<(), Trouble> {
        let id = self.open(connection)?;
        if let Some(known) = self.drive.bridge().connection(id) {
            known.shut = true;
        }
        self.drive.with(id, &mut |_, io| io.close());
        Ok(())
    }

    /// The connection is C's no more: in order, or at once when `abort` or when bytes were left unread.
    pub fn close(&mut self, connection: i64, abort: bool) -> Result<(), Trouble> {
        let id = self.find(connection)?;
        let known = self.drive.bridge().connection(id).ok_or_else(|| gone(connection))?;
        let abort = abort || known.unread > 0;
        // First forgotten: its end is no news then.
        self.drive.bridge().forget(id);
        self.drive.with(id, &mut |_, io| if abort { io.abort() } else { io.close() });
        Ok(())
    }

    /// Who is at the other end: an IPv4 address as a number.
    pub fn peer(&mut self, connection: i64) -> Result<i64, Trouble> {
        let id = self.open(connection)?;
        let mut peer = None;
        self.drive.with(id, &mut |_, io| peer = io.peer());
        let unknown = || Trouble::new(Code::Refused, "the other side's address is not known");
        peer.map(|address| i64::from(u32::from(address))).ok_or_else(unknown)
    }

    /// A timer that is due after so long.
    pub fn timer(&mut self, after_us: u64, tag: u64) -> Result<i64, Trouble> {
        let due_ns = self.drive.now_ns().saturating_add(after_us.saturating_mul(1000));
        self.timers.set(due_ns, tag)
    }

    /// No timer of that name from now on.
    pub fn cancel(&mut self, timer: i64) -> Result<(), Trouble> {
        let none = || Trouble::new(Code::Gone, format!("there is no timer {timer}: was it due already?"));
        self.timers.cancel(timer).then_some(()).ok_or_else(none)
    }

    /// The price of a resource that is in force.
    pub fn price(&mut self, resource: i32) -> Result<Price, Trouble> {
        let known = usize::try_from(resource).ok().filter(|place| *place < RESOURCES.len());
        let place =
            known.ok_or_else(|| Trouble::new(Code::Argument, format!("{resource} is no resource")))?;
        let none = || Trouble::new(Code::Again, "no price of that is known");
        let prices = self.drive.prices().ok_or_else(none)?;
        let rate = prices.rates[place].ok_or_else(none)?;
        let left = |until_ns: u64| until_ns.saturating_sub(self.drive.now_ns()).min(i64::MAX as u64) as i64;
        Ok(Price {
            atto_per_unit: i64::try_from(rate.atto_per_unit)
                .map_err(|_| Trouble::new(Code::Refused, "the price is beyond all measure"))?,
            valid_for_ns: if rate.valid_until_ns == 0 { -1 } else { left(rate.valid_until_ns) },
            generation: prices.generation,
        })
    }

    /// Changes one key of the configuration, as `nom set` does.
    pub fn knob(&mut self, key: &str, value: &str) -> Result<(), Trouble> {
        let refused = |what| Trouble::new(Code::Refused, what);
        self.drive.change_key(key, value).map(drop).map_err(refused)
    }

    /// The knobs in force.
    pub fn setting(&self) -> String {
        self.drive.setting()
    }

    /// Begins the end.
    pub fn drain(&mut self) {
        self.drive.drain();
    }

    /// The end, without news for anybody.
    pub fn stop(mut self) {
        self.drive.drain();
        while !self.over && self.drive.turn(u64::MAX) {}
    }

    /// Lets the service work until there is news, or for so long; negative for ever.
    pub fn wait(&mut self, timeout_us: i64, events: &mut Events<'_>) -> Result<(), Trouble> {
        let limit_ns = u64::try_from(timeout_us).map_or(u64::MAX, |timeout_us| {
            self.drive.now_ns().saturating_add(timeout_us.saturating_mul(1000))
        });
        // Whoever is always told something, or never waits, lets the service work all the same.
        let mut until_ns = 0;
        loop {
            if self.over || !self.drive.turn(until_ns) {
                self.over = true;
                return Err(Trouble::new(Code::Over, "the service has ended"));
            }
            self.tell(events);
            let now_ns = self.drive.now_ns();
            if events.len() > 0 || now_ns >= limit_ns {
                return Ok(());
            }
            until_ns = limit_ns.min(self.timers.next_ns().unwrap_or(u64::MAX));
        }
    }

    fn tell(&mut self, events: &mut Events<'_>) {
        let bridge = self.drive.bridge();
        if !events.is_full() && std::mem::take(&mut bridge.draining) {
            events.push(Event { what: DRAIN, detail: 0, connection: 0, tag: 0 });
        }
        let generation = self.drive.generation();
        if !events.is_full() && generation != self.generation {
            self.generation = generation;
            events.push(Event { what: PRICE, detail: 0, connection: 0, tag: 0 });
        }
        let now_ns = self.drive.now_ns();
        while !events.is_full()
            && let Some((timer, tag)) = self.timers.take(now_ns)
        {
            events.push(Event { what: TIMER, detail: 0, connection: timer, tag });
        }
        let bridge = self.drive.bridge();
        while !events.is_full()
            && let Some((id, what, tag, ended)) = bridge.news()
        {
            let detail = if what & ENDED != 0 { ended.map_or(0, reason) } else { 0 };
            events.push(Event { what, detail, connection: name(id), tag });
        }
        for port in bridge.waiting() {
            if events.is_full() {
                break;
            }
            events.push(Event { what: ACCEPT, detail: u32::from(port), connection: 0, tag: 0 });
        }
    }

    fn find(&self, connection: i64) -> Result<ConnectionId, Trouble> {
        id(connection).ok_or_else(|| gone(connection))
    }

    /// A connection that is C's and has not ended.
    fn open(&mut self, connection: i64) -> Result<ConnectionId, Trouble> {
        let id = self.find(connection)?;
        let known = self.drive.bridge().connection(id).filter(|known| known.ended.is_none());
        known.map(|_| id).ok_or_else(|| gone(connection))
    }
}

/// Places for events in C's memory.
pub struct Events<'a> {
    places: &'a mut [std::mem::MaybeUninit<Event>],
    len: usize,
}

impl<'a> Events<'a> {
    /// None yet.
    pub fn new(places: &'a mut [std::mem::MaybeUninit<Event>]) -> Self {
        Self { places, len: 0 }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    fn is_full(&self) -> bool {
        self.len == self.places.len()
    }

    fn push(&mut self, event: Event) {
        self.places[self.len].write(event);
        self.len += 1;
    }
}

fn gone(connection: i64) -> Trouble {
    Trouble::new(Code::Gone, format!("there is no connection {connection} any more"))
}

/// Bits of a name that say the place.
const SLOT_BITS: u32 = 31;

/// A connection's name for C: above 0, and never used again within 2^32 connections of its place.
fn name(id: ConnectionId) -> i64 {
    (i64::from(id.generation) << SLOT_BITS) | (i64::from(id.slot) + 1)
}

fn id(name: i64) -> Option<ConnectionId> {
    let slot = u32::try_from(name & ((1 << SLOT_BITS) - 1)).ok()?.checked_sub(1)?;
    Some(ConnectionId { slot, generation: u32::try_from(name >> SLOT_BITS).ok()? })
}

/// Why a connection ended, as the header has it.
fn reason(ended: Ended) -> u32 {
    match ended {
        Ended::Closed => 0,
        Ended::Reset => 1,
        Ended::TimedOut => 2,
        Ended::Refused => 3,
        Ended::Aborted => 4,
    }
}

#[cfg(test)]
mod tests;

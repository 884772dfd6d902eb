//! What an application is to its stack: somebody who is called with the bytes in place.

use crate::meter::Answer;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

/// Names a connection. A name is never used again within 2^32 connections, so a stale one finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// Place in the connection table.
    pub slot: u32,
    /// Which connection in that place.
    pub generation: u32,
}

/// A piece of the application's own memory that is sent without being copied. The application keeps the bytes
/// unchanged and reachable by [`Application::pinned`] until [`Application::released`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// The application's name of the bytes.
    pub token: u64,
    /// How many bytes there are.
    pub len: u32,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Both sides closed it in order.
    Closed,
    /// The other side reset it.
    Reset,
    /// Nothing was heard for too long.
    TimedOut,
    /// An active opening was refused.
    Refused,
    /// This side gave it up: [`Io::abort`], or memory was short.
    Aborted,
}

/// There is no room; nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// What an application may do with the connection for which it is called.
///
/// A trait rather than a struct, so that applications are tested without a stack. The stack calls applications
/// through its own concrete type: nothing here is called through a pointer.
pub trait Io {
    /// The connection for which the application is called.
    fn connection(&self) -> ConnectionId;

    /// The time of this call.
    fn now_ns(&self) -> u64;

    /// The address of the other side, where that is known.
    fn peer(&self) -> Option<Ipv4Addr> {
        None
    }

    /// Bytes that [`Io::write`] will take now, in one or several calls, with one pin anywhere between them. An
    /// application that finds too little is called by [`Application::writable`] once there may be more.
    fn room(&self) -> usize;

    /// How far the other side has acknowledged what is sent here, modulo 2^32: only how far it goes on means something.
    /// It stays where nobody acknowledges.
    fn acknowledged(&self) -> u32 {
        0
    }

    /// Bytes written that the other side has not acknowledged.
    fn unacknowledged(&self) -> u32 {
        0
    }

    /// Appends bytes to what is sent: all of them or none. They are copied into a transmit buffer.
    fn write(&mut self, bytes: &[u8]) -> Result<(), NoRoom>;

    /// Appends as many of these bytes as there is room for, and says how many. Whoever could not append all of them is
    /// called by [`Application::writable`] once there is room for more.
    fn write_some(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            // Until too little room is seen, whatever came of the first try: only who saw that is told of more.
            let part = &bytes[written..][..(bytes.len() - written).min(self.room())];
            if part.is_empty() || self.write(part).is_err() {
                break;
            }
            written += part.len();
        }
        written
    }

    /// Appends the application's own memory to what is sent, without copying.
    fn write_pinned(&mut self, pin: Pin) -> Result<(), NoRoom>;

    /// Counts one operation as answered: its latency is taken from the arrival of the bytes of this call to the
    /// departure of the last byte written so far.
    fn answered(&mut self, answer: Answer);

    /// Sends what was written and then closes this direction.
    fn close(&mut self);

    /// Ends the connection at once with a reset.
    fn abort(&mut self);
}

/// Memory of an application that may be more or less while it serves.
pub trait Elastic {
    /// How much there is, in bytes.
    fn bytes(&self) -> u64;

    /// Which part of what is asked would be missed with so much; nothing when that is not known yet.
    fn miss_ratio(&self, bytes: u64) -> Option<f64>;

    /// How often something was asked for since the start. May begin anew.
    fn asked(&self) -> u64;

    /// Makes it more or less. False, and no change, when that cannot be.
    fn resize(&mut self, bytes: u64) -> bool;
}

/// What an application would send smaller, had it spent core time on that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// The application's name of the content.
    pub content: u32,
    /// Its bytes as they are.
    pub len: u64,
    /// How often it was sent as it is now, to somebody who would have taken it smaller, since the last change.
    pub sent: u64,
    /// How hard it was pressed already.
    pub effort: Option<usize>,
}

/// What became of content that was pressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pressed {
    /// Its name for people.
    pub name: String,
    /// Its bytes.
    pub len: u64,
    /// What is sent from now on; none when it did not become smaller, or found no room.
    pub to: Option<u64>,
}

/// Content of an application that leaves smaller for core time that is spent on it once. There are [`EFFORTS`] ways to
/// press it, each one harder than the one before.
pub trait Compressible {
    /// The next content that was asked for larger than it need be; each is named once before any is named again. None
    /// when there is none, and a pause is in order.
    fn wish(&mut self) -> Option<Wish>;

    /// Begins to press content. False when it is not there any more, or something is being pressed.
    fn press(&mut self, content: u32, effort: usize) -> bool;

    /// Whether something is being pressed.
    fn is_pressing(&self) -> bool;

    /// Does a short piece of that work; says what came out when it was the last one.
    fn go_on(&mut self) -> Option<Pressed>;
}

/// How many ways there are to press content.
pub const EFFORTS: usize = 3;

/// An application (or several behind one face) on a stack.
pub trait Application {
    /// A connection was established. `port` is the local port, `outgoing` tells who opened it.
    fn opened(&mut self, io: &mut impl Io, port: u16, outgoing: bool);

    /// Bytes that arrived and were not consumed before, in order. Returns how many are consumed now; the rest is
    /// offered again together with what follows, and, when nothing follows, once there is room to write again.
    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize;

    /// There is room to write again after a [`NoRoom`].
    fn writable(&mut self, io: &mut impl Io);

    /// A connection that the application wants to be called for by [`Application::writable`] though nothing arrived
    /// there: it has something to send, or wants it to end. Asked with each step, some times in a row while it names
    /// one; one that is gone is passed over.
    fn wanted(&mut self, _now_ns: u64) -> Option<ConnectionId> {
        None
    }

    /// Asked before a sleep: false when there is something to do that no frame tells of. Whoever makes more of that wakes the
    /// core from then on.
    fn may_rest(&mut self) -> bool {
        true
    }

    /// Help of other cores is not asked for any more: what has to wait for it waits. True once nothing of that is under way,
    /// neither for this core nor for others, so that connections can be moved.
    fn withdraw(&mut self) -> bool {
        true
    }

    /// The service is about to end: answers that come now are the last ones of their connections, where the
    /// application's protocol can say so.
    fn draining(&mut self) {}

    /// The other side will send no more. What was not consumed is offered once more just before; what is left even
    /// then is offered again only after a [`NoRoom`], and is lost when the application closes.
    fn finished(&mut self, io: &mut impl Io);

    /// The connection is gone, and with it everything unsent. Its pins are released one by one, now or when the
    /// device has read them. Also called for an active opening that failed, which was never `opened`.
    fn ended(&mut self, connection: ConnectionId, reason: Ended);

    /// Its memory, where that may be more or less.
    fn elastic(&mut self) -> Option<&mut dyn Elastic> {
        None
    }

    /// The next line that the application has for people, for one whose home keeps no file.
    fn said(&mut self) -> Option<String> {
        None
    }

    /// Its content, where that can be made smaller.
    fn compressible(&mut self) -> Option<&mut dyn Compressible> {
        None
    }

    /// What the application knows of a connection, as bytes, to go on in another one of its kind
    /// ([`crate::Engine::export`] takes the rest): from then on it knows nothing of it here. Nothing, and no change, when
    /// that cannot be.
    fn hand_over(&mut self, _connection: ConnectionId) -> Option<Vec<u8>> {
        None
    }

    /// Goes on with a connection of a predecessor; false when the bytes are wrong. They are hostile until checked.
    fn take_over(&mut self, _io: &mut impl Io, _state: &[u8]) -> bool {
        false
    }

    /// The bytes of a pin. Whoever pins nothing leaves this and what follows as it is.
    fn pinned(&self, _pin: Pin) -> &[u8] {
        &[]
    }

    /// The stack and the device have read the pin for the last time.
    fn released(&mut self, _pin: Pin) {}
}

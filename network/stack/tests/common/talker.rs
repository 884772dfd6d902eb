//! An application that sends a stream on every connection and checks the one that comes back.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use nom_stack::application::{Application, ConnectionId, Ended, Io, Pin};
use nom_stack::meter::Answer;

use super::{Random, Ring};

/// The byte at a place of a stream.
pub fn stream_byte(stream: u64, place: u64) -> u8 {
    let x = (place ^ stream.wrapping_mul(0x1000_0000_01b3)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x >> 56) as u8
}

#[derive(Default, Clone)]
pub struct Flow {
    pub written: u64,
    pub read: u64,
    pub goal: u64,
    pub out_stream: u64,
    pub in_stream: u64,
    pub finished: bool,
    pub closed: bool,
}

/// Sends a stream on every connection and checks the one that comes back.
pub struct Talker {
    pub flows: BTreeMap<ConnectionId, Flow>,
    pub ended: Vec<(ConnectionId, Ended)>,
    pub opened: Vec<(ConnectionId, u16, bool)>,
    pub pins: BTreeMap<u64, Vec<u8>>,
    /// The last frame that may have carried bytes of a pin.
    pub last_used: RefCell<BTreeMap<u64, u64>>,
    pub next_pin: u64,
    pub pins_released: u64,
    pub random: Random,
    /// Bytes to send on each connection.
    pub goal: u64,
    /// Whether to close when everything is written, or only when the other side has.
    pub close_first: bool,
    /// Percent of calls that consume nothing or only a part.
    pub lazy: u64,
    pub pinning: u64,
    pub deaf: bool,
    pub ring: Rc<RefCell<Ring>>,
}

impl Talker {
    pub fn new(seed: u64, goal: u64, ring: Rc<RefCell<Ring>>) -> Self {
        Self {
            flows: BTreeMap::new(),
            ended: Vec::new(),
            opened: Vec::new(),
            pins: BTreeMap::new(),
            last_used: RefCell::default(),
            next_pin: 1,
            pins_released: 0,
            random: Random::new(seed),
            goal,
            close_first: true,
            lazy: 0,
            pinning: 30,
            deaf: false,
            ring,
        }
    }

    pub fn pump(&mut self, io: &mut impl Io) {
        let flow = self.flows.get_mut(&io.connection()).expect("it was opened");
        while flow.written < flow.goal {
            let room = io.room() as u64;
            if room == 0 {
                return;
            }
            let pinned = self.random.chance(self.pinning);
            let len = 1 + self.random.below(if pinned { 9_000 } else { 3_000 });
            let len = len.min(flow.goal - flow.written);
            let len = if pinned { len } else { len.min(room) };
            let bytes: Vec<u8> =
                (flow.written..flow.written + len).map(|place| stream_byte(flow.out_stream, place)).collect();
            if pinned {
                let token = self.next_pin;
                self.pins.insert(token, bytes);
                if io.write_pinned(Pin { token, len: len as u32 }).is_err() {
                    self.pins.remove(&token);
                    return;
                }
                self.next_pin += 1;
            } else {
                io.write(&bytes).expect("there was room");
            }
            flow.written += len;
        }
        if !flow.closed && (self.close_first || flow.finished) {
            flow.closed = true;
            io.close();
        }
    }
}

impl Application for Talker {
    fn opened(&mut self, io: &mut impl Io, port: u16, outgoing: bool) {
        self.opened.push((io.connection(), port, outgoing));
        let flow = Flow {
            goal: self.goal,
            out_stream: u64::from(outgoing),
            in_stream: u64::from(!outgoing),
            ..Flow::default()
        };
        assert!(self.flows.insert(io.connection(), flow).is_none(), "names are not used twice");
        self.pump(io);
    }

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        let flow = self.flows.get_mut(&io.connection()).expect("it was opened");
        let mut count = bytes.len();
        if self.deaf {
            count = 0;
        } else if flow.read + (bytes.len() as u64) < flow.goal && self.random.chance(self.lazy) {
            // Not at the very end: what is left there is only offered again when there is more to say.
            count = self.random.below(bytes.len() as u64 + 1) as usize;
        }
        for (place, &byte) in (flow.read..).zip(&bytes[..count]) {
            assert_eq!(
                byte,
                stream_byte(flow.in_stream, place),
                "byte {place} of {flow:?}",
                flow = flow.in_stream
            );
        }
        flow.read += count as u64;
        if count > 0 {
            io.answered(Answer::Accepted);
        }
        self.pump(io);
        count
    }

    fn writable(&mut self, io: &mut impl Io) {
        self.pump(io);
    }

    fn finished(&mut self, io: &mut impl Io) {
        let flow = self.flows.get_mut(&io.connection()).expect("it was opened");
        assert!(!flow.finished, "once");
        flow.finished = true;
        self.pump(io);
    }

    fn ended(&mut self, connection: ConnectionId, reason: Ended) {
        self.ended.push((connection, reason));
    }

    fn pinned(&self, pin: Pin) -> &[u8] {
        self.last_used.borrow_mut().insert(pin.token, self.ring.borrow().sent + 1);
        let bytes = &self.pins[&pin.token];
        assert_eq!(bytes.len() as u32, pin.len);
        bytes
    }

    fn released(&mut self, pin: Pin) {
        self.pins.remove(&pin.token).expect("released once");
        let last = self.last_used.borrow_mut().remove(&pin.token).unwrap_or(0);
        assert!(last <= self.ring.borrow().completed, "the device still reads it");
        self.pins_released += 1;
    }
}

//! Requests through our stack.

use crate::client::{Client, PORT, SERVER, SERVER_MAC};
use crate::device::{Received, Sent};
use crate::{Load, STEP_NS, Script};
use nom_stack::application::{Application, ConnectionId, Ended, Io};
use nom_stack::knobs::{Batching, Knobs};
use nom_stack::meter::Answer;
use nom_stack::{Config, Engine};

/// Answers every segment with the same bytes, written inline: what it does itself is next to nothing.
pub struct Replies {
    reply: Vec<u8>,
}

impl Replies {
    /// Answers with this many bytes.
    pub fn new(len: usize) -> Self {
        Self { reply: vec![b'r'; len] }
    }
}

impl Application for Replies {
    fn opened(&mut self, _io: &mut impl Io, _port: u16, _outgoing: bool) {}

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        io.write(&self.reply).expect("one answer at a time fits");
        io.answered(Answer::Accepted);
        bytes.len()
    }

    fn writable(&mut self, _io: &mut impl Io) {}

    fn finished(&mut self, io: &mut impl Io) {
        io.close();
    }

    fn ended(&mut self, _connection: ConnectionId, _reason: Ended) {}
}

/// What is counted: everything that is due, until nothing is, as the loop of every home does it.
#[inline(never)]
fn counted<A: Application>(engine: &mut Engine<Received, Sent, A>, now_ns: u64) {
    while engine.step(now_ns).worked {}
}

/// Plays a script against an application on our stack.
pub fn play<A: Application>(load: &Load, script: &Script<'_>, application: A) {
    let mut config = Config::new(SERVER_MAC, SERVER, 8);
    config.half_open = config.connections;
    config.send_memory_bytes = 64 << 20;
    let (received, sent) = (Received::new(!load.checksum), Sent::new(!load.checksum));
    let mut engine = Engine::new(config, received, sent, application, [1; 32], 0);
    engine.listen(PORT);
    let batching = if load.batch > 1 { Batching::TakeQueued } else { Batching::RunToCompletion };
    let mut now_ns = STEP_NS;
    engine.set_knobs(Knobs { batching, connections_max: 12_000, ..Knobs::default() }, now_ns);
    let mut client = Client::default();
    // Opening is not counted: it is stepped from here.
    for _ in 0..load.connections {
        now_ns += STEP_NS;
        engine.ingress_mut().arrive(client.open(), now_ns);
        while engine.step(now_ns).worked {}
        let answer = engine.egress_mut().answer().expect("the opening is answered");
        engine.ingress_mut().arrive(client.complete(&answer), now_ns);
        while engine.step(now_ns).worked {}
    }
    assert_eq!(engine.open_connections() as usize, load.connections);
    for &(request, answer_len) in script.before {
        now_ns += STEP_NS;
        engine.ingress_mut().arrive(client.request(0, request, answer_len), now_ns);
        while engine.step(now_ns).worked {}
        assert_eq!(engine.egress_mut().take_payload(), answer_len, "{:?}", engine.counters());
    }
    let mut which = load.walk();
    // Every connection was asked once before anything is counted.
    for round in 0..load.warm_up() + load.rounds {
        now_ns += STEP_NS;
        for _ in 0..load.batch {
            let frame = client.request(which.next(), script.request, script.answer_len);
            engine.ingress_mut().arrive(frame, now_ns);
        }
        match round < load.warm_up() {
            true => while engine.step(now_ns).worked {},
            false => counted(&mut engine, now_ns),
        }
        let answered = engine.egress_mut().take_payload();
        assert_eq!(answered, load.batch * script.answer_len, "{:?}", engine.counters());
    }
}

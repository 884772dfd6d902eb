//! Two stacks of one process over the link: on one thread, and on two.

use nom_memory_link::{End, LinkConfig, MemoryEgress, MemoryIngress, pair};
use nom_stack::application::{Application, ConnectionId, Ended, Io, Pin};
use nom_stack::port::Ingress;
use nom_stack::{Config, Engine};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// One side of a ping-pong of one byte: the opener begins, and closes after so many rounds.
struct PingPong {
    rounds: u32,
    done: u32,
    over: bool,
}

impl Application for PingPong {
    fn opened(&mut self, io: &mut impl Io, _port: u16, outgoing: bool) {
        if outgoing {
            io.write(&[0]).expect("an empty queue has room");
        }
    }

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        for &byte in bytes {
            assert_eq!(byte, self.done as u8);
            self.done += 1;
            if self.rounds == 0 {
                io.write(&[byte]).expect("one byte is outstanding");
            } else if self.done < self.rounds {
                io.write(&[byte.wrapping_add(1)]).expect("one byte is outstanding");
            } else {
                io.close();
            }
        }
        bytes.len()
    }

    fn writable(&mut self, _io: &mut impl Io) {}

    fn finished(&mut self, io: &mut impl Io) {
        io.close();
    }

    fn ended(&mut self, _connection: ConnectionId, reason: Ended) {
        assert_eq!(reason, Ended::Closed);
        self.over = true;
    }

    fn pinned(&self, _pin: Pin) -> &[u8] {
        &[]
    }

    fn released(&mut self, _pin: Pin) {}
}

type Side = Engine<MemoryIngress, MemoryEgress, PingPong>;

fn engine((ingress, egress): End, number: u8, rounds: u32) -> Side {
    let address = Ipv4Addr::new(10, 8, 0, number);
    let mut config = Config::new([2, 0, 0, 0, 0, number], address, 24);
    config.time_wait_ns = 1_000_000;
    let application = PingPong { rounds, done: 0, over: false };
    let mut engine = Engine::new(config, ingress, egress, application, [number; 32], 1);
    if rounds == 0 {
        engine.listen(7);
    } else {
        engine.connect(Ipv4Addr::new(10, 8, 0, 3 - number), 7, 1).unwrap();
    }
    engine
}

#[test]
fn one_thread_drives_both_ends() {
    const ROUNDS: u32 = 100_000;
    let (left, right) = pair(LinkConfig::default());
    let (mut client, mut server) = (engine(left, 1, ROUNDS), engine(right, 2, 0));
    let mut now_ns = 1;
    while !(client.application().over && server.application().over) {
        now_ns += 1_000;
        client.step(now_ns);
        server.step(now_ns);
        assert!(now_ns < 60_000_000_000, "{:?} {:?}", client.counters(), server.counters());
    }
    assert_eq!((client.application().done, server.application().done), (ROUNDS, ROUNDS));
    assert_eq!(server.counters().retransmitted_segments, 0);
    // Answers carry the acknowledgements: one frame a message, and a few for opening and closing.
    assert!(server.counters().frames_out < u64::from(ROUNDS) + 20, "{:?}", server.counters());
}

#[test]
fn two_threads_sleep_and_wake_each_other() {
    const ROUNDS: u32 = 2_000;
    let (left, right) = pair(LinkConfig { checksum_offload: false, ..LinkConfig::default() });
    let start = Instant::now();
    let drive = move |end: End, number, rounds| {
        let mut side = engine(end, number, rounds);
        while !side.application().over {
            let now_ns = start.elapsed().as_nanos() as u64 + 1;
            let step = side.step(now_ns);
            if !step.worked && side.ingress_mut().arm() {
                let until_ns = step.deadline_ns.unwrap_or(now_ns + 1_000_000_000);
                side.ingress_mut().wait(Duration::from_nanos(until_ns.saturating_sub(now_ns)));
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{:?}", side.counters());
        }
        side.application().done
    };
    let server = std::thread::spawn(move || drive(right, 2, 0));
    assert_eq!(drive(left, 1, ROUNDS), ROUNDS);
    assert_eq!(server.join().unwrap(), ROUNDS);
}

//! How much one bulk transfer gets through a link in virtual time: a table over loss, round trip and buffer that makes
//! every change of recovery or congestion control visible as a difference of numbers.

use crate::host::{Cost, Host};
use crate::link::Link;
use crate::port::Device;
use crate::simulation::{End, Simulation};
use nom_stack::Config;
use nom_stack::application::{Application, ConnectionId, Ended, Io};
use nom_stack::config::CongestionControl;
use std::fmt::Write;
use std::net::Ipv4Addr;

const PORT: u16 = 5001;
const SECOND_NS: u64 = 1_000_000_000;

/// One transfer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Who decides how fast to send.
    pub control: CongestionControl,
    /// Part of the data frames that is lost.
    pub loss: f64,
    /// Time there and back on an empty link.
    pub round_ns: u64,
    /// Bytes that may wait in front of the link.
    pub buffer_bytes: u64,
    /// Bits a second.
    pub rate_bits_per_s: u64,
    /// Virtual time from the opening on.
    pub time_ns: u64,
    /// What chance decides.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes that the receiving application got.
    pub received: u64,
    /// Segments sent more than once.
    pub repeated: u64,
    /// Time-outs.
    pub timeouts: u64,
}

/// Writes for ever on connections that it opened, and counts what it receives.
#[derive(Debug, Default)]
pub struct Bulk {
    received: u64,
}

const BLOCK: [u8; 1460] = [0x5a; 1460];

fn fill(io: &mut impl Io) {
    while io.write(&BLOCK).is_ok() {}
}

impl Application for Bulk {
    fn opened(&mut self, io: &mut impl Io, _port: u16, outgoing: bool) {
        if outgoing {
            fill(io);
        }
    }

    fn received(&mut self, _io: &mut impl Io, bytes: &[u8]) -> usize {
        self.received += bytes.len() as u64;
        bytes.len()
    }

    fn writable(&mut self, io: &mut impl Io) {
        fill(io);
    }

    fn finished(&mut self, _io: &mut impl Io) {}

    fn ended(&mut self, _connection: ConnectionId, _reason: Ended) {}
}

/// A stack with memory for a long fat link.
pub fn config(number: u8, address: Ipv4Addr) -> Config {
    Config {
        send_memory_bytes: 8 << 20,
        receive_memory_bytes: 4 << 20,
        send_queue_bytes: 960 << 10,
        receive_window_bytes: 1 << 20,
        ..Config::new([2, 0, 0, 0, 0, number], address, 24)
    }
}

/// Transfers.
///
/// # Panics
///
/// When the connection cannot even be begun, which is a fault of the simulation.
pub fn transfer(cell: &Cell) -> Outcome {
    let mut simulation = Simulation::new(cell.seed);
    let device = Device { ring: 4096, ..Device::default() };
    let mut host = |number: u8| {
        let config = config(number, Ipv4Addr::new(10, 9, 0, number));
        let config = Config { congestion_control: cell.control, ..config };
        simulation.add(Host::new(config, device, Cost::default(), Bulk::default(), u64::from(number)))
    };
    let ((left, sender), (right, receiver)) = (host(1), host(2));
    let link = Link {
        rate_bits_per_s: cell.rate_bits_per_s,
        delay_ns: cell.round_ns / 2,
        queue_bytes: cell.buffer_bytes,
        ..Link::default()
    };
    let (there, back) = (End { node: left, port: 0 }, End { node: right, port: 0 });
    simulation.connect(there, back, link);
    simulation.set_link(there, Link { loss: cell.loss, ..link });
    receiver.borrow_mut().engine_mut().listen(PORT);
    sender.borrow_mut().engine_mut().connect(Ipv4Addr::new(10, 9, 0, 2), PORT, 0).expect("there is room");
    simulation.touch(left);
    simulation.run_until(cell.time_ns);
    let received = receiver.borrow().engine().application().received;
    let sender = sender.borrow();
    let counters = sender.engine().counters();
    Outcome { received, repeated: counters.retransmitted_segments, timeouts: counters.timeouts }
}

/// The table that is kept: goodput in parts of a hundred of the link.
pub fn table() -> String {
    const RATE: u64 = 10_000_000;
    const TIME_S: u64 = 10;
    let mut text = String::from(
        "Goodput of one transfer in % of a link of 10 Mbit/s, 10 s of virtual time: CUBIC/NewReno\n\n\
         loss      round trip   buffer 16 KB    64 KB    256 KB   1024 KB\n",
    );
    for loss in [0.0, 0.001, 0.01, 0.03] {
        for round_ms in [1, 10, 50, 100] {
            let _ = write!(text, "{:>4.1} %  {round_ms:>8} ms   ", loss * 100.0);
            for buffer_kb in [16, 64, 256, 1024] {
                let share = [CongestionControl::Cubic, CongestionControl::NewReno].map(|control| {
                    let cell = Cell {
                        control,
                        loss,
                        round_ns: round_ms * 1_000_000,
                        buffer_bytes: buffer_kb << 10,
                        rate_bits_per_s: RATE,
                        time_ns: TIME_S * SECOND_NS,
                        seed: 1,
                    };
                    transfer(&cell).received * 8 * 100 / (RATE * TIME_S)
                });
                let _ = write!(text, "   {:>3}/{:<3}", share[0], share[1]);
            }
            text = text.trim_end().into();
            text.push('\n');
        }
    }
    text
}

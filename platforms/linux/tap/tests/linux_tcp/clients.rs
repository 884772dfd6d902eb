//! What Linux's end does with its sockets, each byte checked.

use nom_simnet::stream::{Plan, byte_at};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub const PORT: u16 = 7;
/// A client waits so long for a step. Only a test that fails does.
const PATIENCE: Duration = Duration::from_secs(90);
const SEEDS: (u64, u64) = (0x5eed, 0xfeed);

/// What our side does when it sends and expects so many bytes.
pub fn plan(send: u64, expect: u64) -> Plan {
    Plan { send, expect, seed: SEEDS.0, expect_seed: SEEDS.1, record: 11, pins: true }
}

pub fn bytes(len: u64) -> Vec<u8> {
    (0..len).map(|place| byte_at(SEEDS.1, place)).collect()
}

pub fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub fn opened(target: SocketAddr) -> TcpStream {
    patient(TcpStream::connect_timeout(&target, PATIENCE).unwrap())
}

/// Reads to the end and compares with what our side sends.
pub fn read_all(mut stream: &TcpStream, len: u64) {
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert_eq!(got.len() as u64, len);
    let differs = got.iter().enumerate().position(|(place, byte)| *byte != byte_at(SEEDS.0, place as u64));
    assert_eq!(differs, None, "the first byte that differs");
}

/// Linux's part of a [`plan`], both directions at the same time.
pub fn exchange(stream: TcpStream, plan: Plan) {
    let mut out = stream.try_clone().unwrap();
    let writer = thread::spawn(move || {
        for part in bytes(plan.expect).chunks(10_007) {
            out.write_all(part).unwrap();
        }
        out.shutdown(Shutdown::Write).unwrap();
    });
    read_all(&stream, plan.send);
    writer.join().unwrap();
}

pub fn ended(clients: &[JoinHandle<()>]) -> bool {
    clients.iter().all(JoinHandle::is_finished)
}

pub fn join(clients: Vec<JoinHandle<()>>) {
    for client in clients {
        if let Err(panic) = client.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

//! A plain client of the memcached text protocol: bytes out, bytes in, compared one by one.

use nom_machine::trouble::{Context, Outcome, Trouble};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a value that is longer than what a connection holds on its way out.
const LARGE: u32 = 300_000;

/// One connection.
pub struct Client {
    stream: TcpStream,
    /// Operations that the service must count as accepted for what was asked so far.
    pub accepted: u64,
}

impl Client {
    /// Opens a connection to a port of localhost.
    pub fn connect(port: u16) -> Outcome<Self> {
        Self::reach((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Opens a connection to wherever a service is.
    pub fn reach(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).context(|| address.to_string())?;
        for limit in [stream.set_read_timeout(Some(PATIENCE)), stream.set_write_timeout(Some(PATIENCE))] {
            limit.context(|| "cannot bound the waiting".into())?;
        }
        stream.set_nodelay(true).context(|| "cannot switch delaying off".into())?;
        Ok(Self { stream, accepted: 0 })
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) -> Outcome<()> {
        self.stream.write_all(bytes).context(|| "sending".into())
    }

    /// Reads exactly the bytes that are expected.
    pub fn expect(&mut self, expected: &[u8]) -> Outcome<()> {
        let mut answer = vec![0; expected.len()];
        let mut have = 0;
        while have < answer.len() {
            let count = match self.stream.read(&mut answer[have..]) {
                Ok(0) => return Err(short("closed", &answer, have)),
                Ok(count) => count,
                Err(error) => return Err(short(&error.to_string(), &answer, have)),
            };
            have += count;
            if answer[..have] != expected[..have] {
                let at = (0..have).find(|&at| answer[at] != expected[at]).unwrap_or(0);
                let from = at.saturating_sub(8);
                return Err(Trouble::new(format!(
                    "answered {:?} where {:?} is right (byte {at})",
                    shown(&answer[from..have]),
                    shown(&expected[from..have])
                )));
            }
        }
        Ok(())
    }

    /// Asks and compares the answer; `accepted` operations are to be counted for it.
    pub fn ask(&mut self, request: &[u8], expected: &[u8], accepted: u64) -> Outcome<()> {
        self.send(request)?;
        self.accepted += accepted;
        self.expect(expected).map_err(|trouble| Trouble::new(format!("{:?}: {trouble}", shown(request))))
    }

    /// A value of many segments, in both directions.
    fn large(&mut self, key: &str) -> Outcome<()> {
        let value: Vec<u8> = (0..LARGE).map(|at| b'a' + (at * 7 % 26) as u8).collect();
        let header = format!("set {key} 1 0 {LARGE}\r\n");
        self.ask(&[header.as_bytes(), &value, b"\r\n"].concat(), b"STORED\r\n", 1)?;
        let header = format!("VALUE {key} 1 {LARGE}\r\n");
        let answer = [header.as_bytes(), &value, b"\r\nEND\r\n"].concat();
        self.ask(format!("get {key}\r\n").as_bytes(), &answer, 1)
    }

    /// Sees the other side close in order.
    pub fn expect_close(&mut self) -> Outcome<()> {
        match self.stream.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(Trouble::new("more bytes came where the connection should be closed")),
            Err(error) => Err(Trouble::new(format!("the connection was not closed in order: {error}"))),
        }
    }
}

/// An answer that does not go on: how far it came tells where somebody stopped.
fn short(why: &str, answer: &[u8], have: usize) -> Trouble {
    Trouble::new(format!("{why} after {have} of {} bytes: {:?}", answer.len(), shown(&answer[..have])))
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned()
}

/// What any memcached client may do, answer by answer. Returns the number of operations to be counted.
pub fn converse(port: u16) -> Outcome<u64> {
    converse_at((Ipv4Addr::LOCALHOST, port).into())
}

/// The same with a service that is elsewhere.
pub fn converse_at(address: SocketAddr) -> Outcome<u64> {
    let mut client = Client::reach(address)?;
    client.ask(b"set trial 5 0 5\r\nhello\r\n", b"STORED\r\n", 1)?;
    client.ask(b"get trial\r\n", b"VALUE trial 5 5\r\nhello\r\nEND\r\n", 1)?;
    client.ask(b"get absent\r\n", b"END\r\n", 1)?;
    client.ask(b"get absent trial\r\n", b"VALUE trial 5 5\r\nhello\r\nEND\r\n", 1)?;
    client.ask(b"delete trial\r\n", b"DELETED\r\n", 1)?;
    client.ask(b"delete trial\r\n", b"NOT_FOUND\r\n", 1)?;
    // Many requests at once, and one in single bytes.
    client.ask(&b"get absent\r\n".repeat(100), &b"END\r\n".repeat(100), 100)?;
    for byte in b"set slow 0 0 2\r\nok\r\nget slow" {
        client.send(&[*byte])?;
    }
    client.ask(b"\r\n", b"STORED\r\nVALUE slow 0 2\r\nok\r\nEND\r\n", 2)?;
    client.large("large")?;
    client.ask(b"nonsense\r\n", b"ERROR\r\n", 0)?;
    client.ask(b"set trial 0 0 x\r\n", b"CLIENT_ERROR bad command line format\r\n", 0)?;
    client.ask(b"delete large\r\n", b"DELETED\r\n", 1)?;
    client.send(b"quit\r\n")?;
    client.expect_close()?;
    Ok(client.accepted)
}

/// Large values, each on a connection of its own: where several cores serve, each of them has some of the connections and some
/// of the keys. Returns the number of operations to be counted.
pub fn large_at(address: SocketAddr, times: u32) -> Outcome<u64> {
    let mut accepted = 0;
    for number in 0..times {
        let mut client = Client::reach(address)?;
        client
            .large(&format!("large{}", number % 16))
            .map_err(|trouble| Trouble::new(format!("large value {} of {times}: {trouble}", number + 1)))?;
        accepted += client.accepted;
    }
    Ok(accepted)
}

//! What the machine itself takes for the way of a price: a byte on the same way through two threads that do nothing.
//!
//! From whoever writes over TCP to a sleeper, and from there over a local socket to another one: as from the provider
//! to priced and from there to the service. What is above this is ours.

use super::prices::unix_ns;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

/// How long a byte may take on a machine that is starved.
const PATIENCE: Duration = Duration::from_secs(40);

/// The two threads; they end when this is dropped.
pub struct Floor {
    first: TcpStream,
    arrived: Receiver<u64>,
}

impl Floor {
    /// Starts them.
    pub fn new() -> Outcome<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context(|| "a port".into())?;
        let address = listener.local_addr().context(|| "the port".into())?;
        let first = TcpStream::connect(address).context(|| "a connection".into())?;
        first.set_nodelay(true).context(|| "no delay".into())?;
        let (mut relay, _) = listener.accept().context(|| "a connection".into())?;
        let (mut onward, mut last) = UnixStream::pair().context(|| "a pair of sockets".into())?;
        let (tell, arrived) = sync_channel(1);
        std::thread::spawn(move || {
            let mut byte = [0];
            while relay.read_exact(&mut byte).is_ok() && onward.write_all(&byte).is_ok() {}
        });
        std::thread::spawn(move || {
            let mut byte = [0];
            while last.read_exact(&mut byte).is_ok() && tell.send(unix_ns()).is_ok() {}
        });
        Ok(Self { first, arrived })
    }

    /// Sends a byte, and says how long it took.
    pub fn pass(&mut self) -> Outcome<f64> {
        let sent_ns = unix_ns();
        self.first.write_all(&[1]).context(|| "the byte".into())?;
        let arrived_ns = self.arrived.recv_timeout(PATIENCE);
        let arrived_ns = arrived_ns.map_err(|_| Trouble::new("the byte did not arrive"))?;
        Ok(super::us(sent_ns, arrived_ns))
    }
}

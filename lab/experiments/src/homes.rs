//! The cache started in its real homes, with prices from a source of the experiment: as ordinary processes and in a
//! virtual machine. What was started ends when it is dropped.

mod guest;
mod linux;

pub use guest::Guest;
pub use linux::Linux;

use nom_machine::management::Management;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

/// The token that is shown to every home.
pub const TOKEN: &str = "00112233445566778899aabbccddeeff";
/// The port that the configurations of experiments serve.
pub const PORT: u16 = 11211;
/// How long a home may take to end after its last word.
const END: Duration = Duration::from_secs(5);

/// A home that serves.
pub trait Home {
    /// Our end of its management channel; once.
    fn management(&mut self) -> Outcome<Management>;

    /// Its port on localhost.
    fn port(&self) -> u16;

    /// The clients that wait for other prices are to look again.
    fn wake(&self);

    /// Process id of the emulator, where there is one.
    fn emulator(&self) -> Option<u32> {
        None
    }

    /// Why it is gone, if it is.
    fn gone(&mut self) -> Option<Trouble>;

    /// Waits until it has ended by itself, after it said bye.
    fn ended(&mut self) -> Outcome<()>;
}

/// A port of the loopback that is free at the moment. Should somebody take it first, the home says so.
fn free_port() -> Outcome<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .context(|| "no free port on localhost".into())
}

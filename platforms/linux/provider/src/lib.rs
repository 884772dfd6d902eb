//! The connection of a Linux process to a price provider: names are looked up, TCP connects, TLS shakes hands, and none of
//! that waits. Whoever has a [`Connection`] sleeps on [`Connection::interest`] and then calls [`Connection::turn`].
//!
//! Who is believed over TLS is [`Trust`]: the authorities of the system, or those of one file alone. Versions 1.2 and 1.3
//! are spoken. How long all of it may take is the caller's to say, who drops the connection.

#![forbid(unsafe_code)]

mod connection;
mod lookup;
mod secure;
mod trust;

pub use connection::{Connection, Event};
pub use trust::Trust;

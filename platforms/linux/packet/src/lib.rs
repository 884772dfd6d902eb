//! AF_PACKET: a private address beside the kernel's own on one interface, where AF_XDP is not to be had.
//!
//! The kernel copies every frame for the address into a ring that both see, and goes on with its own copy, which it
//! drops because the address is not its own. So this serves an address that the kernel does not have, and a kernel
//! that does not forward. Frames leave by one system call a batch.
//!
//! - [`open`](open()): the socket, its filter and its ring;
//! - [`ingress`] and [`egress`]: the socket as `nom_stack::port` sees it.
//!
//! Limits: IPv4. What arrives may be as large as the kernel merges it (64 KiB).

pub mod egress;
pub mod error;
pub mod ingress;
mod open;

pub use egress::PacketEgress;
pub use error::PacketError;
pub use ingress::PacketIngress;
pub use open::{PacketConfig, Socket, open, sockets};

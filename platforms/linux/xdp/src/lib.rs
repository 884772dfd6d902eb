//! AF_XDP: a private stack beside the kernel's own on one interface.
//!
//! A program of some thirty instructions looks at every frame that arrives. What is for the configured address (or
//! for the configured ports of an address that the kernel has as well) goes to us through rings in shared memory;
//! everything else goes on to the kernel as if nothing were here. The program hangs on a file descriptor: it is gone
//! with the process, however that ends, and nobody has to clean up.
//!
//! ```text
//!   wire --> program --+-- ours ---> receive ring --> stack --> send ring --> wire
//!                      +-- else ---> kernel (SSH and all the rest)
//! ```
//!
//! - [`program`]: which frames are ours, as instructions for the kernel's verifier;
//! - [`bpf`](self): loading it, hanging it on the interface;
//! - `socket`, `ring`, `umem`: the socket, its four rings, and the memory that both sides see;
//! - [`ingress`] and [`egress`]: the socket as `nom_stack::port` sees it.
//!
//! Limits: one queue, IPv4, frames up to 3,822 bytes.

mod bpf;
mod checksum;
pub mod egress;
pub mod error;
pub mod ingress;
mod open;
pub mod program;
mod ring;
mod socket;
mod umem;

pub use egress::XdpEgress;
pub use error::XdpError;
pub use ingress::XdpIngress;
pub use open::{Copying, XdpConfig, open};
pub use program::Ours;

//! An application as a Linux process: a TAP device as the two halves of the stack's network device, in a network
//! namespace of its own.
//!
//! - [`namespace`]: leaves the host's network for an empty one, as root or as an ordinary user;
//! - [`device`]: the TAP device, opened and given an address without any helper program;
//! - [`ingress`] and [`egress`]: the device as `nom_stack::port` sees it;
//! - [`porch`]: a listener on the host's loopback whose connections are carried to the private stack.
//!
//! Everything here is owned by file descriptors and by the namespace, which end with the process: there is nothing
//! to clean up, and nothing that a crash could leave behind.

mod calls;
pub mod device;
pub mod egress;
pub mod error;
pub mod ingress;
pub mod namespace;
pub mod porch;

pub use device::{TapConfig, configure, inherit, open, open_queues, resume};
pub use egress::TapEgress;
pub use error::TapError;
pub use ingress::TapIngress;
pub use porch::Porch;

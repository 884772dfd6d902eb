//! Linux's network interfaces, without any helper program.
//!
//! - [`Interface`]: what an interface is: its index, address, size, driver and queues. Platforms that share an
//!   interface with the kernel ask here before they change anything;
//! - [`veth`]: two interfaces that are the ends of one cable, in the network namespaces of two threads. Tests and
//!   benches run over it. It ends with its namespaces, which end with their threads: nothing can be left behind.

mod interface;
mod request;
pub mod veth;

pub use interface::{Interface, address, is_kernels};
pub use request::{InterfaceError, Missing};

//! Ring 0's decisions as pure code: who owns which core, frame, device and channel.
//!
//! Nothing here touches the machine: `kernel/image` asks, and carries out the answer. What comes from outside (an
//! image, a command line, a call's arguments) is checked here completely before anything is changed, so the part
//! that changes cannot fail half way.

#![no_std]
#![forbid(unsafe_code)]

pub mod boot;
pub mod bundle;
pub mod call;
pub mod channels;
pub mod command_line;
pub mod configuration;
pub mod cores;
pub mod devices;
pub mod elf;
pub mod frames;
pub mod iommu;
pub mod lives;
pub mod plug;
pub mod schedule;
pub mod upcall;
#[cfg(test)]
#[path = "tests/upcall_model.rs"]
mod upcall_model;
pub mod wall_clock;

/// The most applications at a time.
pub const APPLICATIONS_MAX: u8 = 16;

/// An application, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Application(pub u8);

#[cfg(test)]
pub(crate) mod tests {
    /// Seeded dice for long random histories (xorshift64*).
    pub struct Dice(u64);

    impl Dice {
        /// The same seed throws the same numbers.
        pub fn new(seed: u64) -> Dice {
            Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
        }

        /// Any number.
        pub fn any(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }

        /// 0 to `bound`, exclusive.
        pub fn below(&mut self, bound: u64) -> u64 {
            (self.any() >> 11) % bound
        }
    }
}

//! Channels: memory that is shared with another application of the image.

use core::sync::atomic::AtomicU64;

use nom_abi::call::{CallError, PAGE_LEN};
use nom_abi::channel::channel_event;

use crate::upcall::Events;

const ADDRESS: u64 = 0x3200_0000_0000;
const ROOM: u64 = 64 << 20;

/// One's own end of a channel. What the other end writes is a claim.
#[derive(Debug)]
pub struct Channel {
    number: u32,
    pages: u64,
    address: u64,
}

impl Channel {
    /// Opens one's own end of the channel of this name; the context that calls hears the other one.
    pub fn open(name: &str) -> Result<Channel, CallError> {
        // Each name has its own place: a name cannot be open twice, and the kernel refuses what is mapped.
        let mut refused = CallError::AlreadyMapped;
        for place in 0..nom_abi::channel::CHANNELS_MAX {
            let address = ADDRESS + place * ROOM;
            match crate::call::open_channel(name, address) {
                Ok((number, pages)) => return Ok(Channel { number, pages, address }),
                Err(CallError::AlreadyMapped) => {}
                Err(error) => {
                    refused = error;
                    break;
                }
            }
        }
        Err(refused)
    }

    /// The event that comes when the peer notifies, comes, or goes.
    pub fn event(&self) -> Events {
        channel_event(self.number)
    }

    /// Wakes the peer; [`CallError::Gone`] when there is none.
    pub fn notify(&self) -> Result<(), CallError> {
        crate::call::notify_channel(self.number)
    }

    /// The shared memory.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the kernel has mapped these pages until the end is closed, which takes this value; atomic words may
        // be written by the peer at any time.
        unsafe {
            core::slice::from_raw_parts(
                self.address as *const AtomicU64,
                (self.pages * PAGE_LEN / 8) as usize,
            )
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let _ = crate::call::close_channel(self.number);
    }
}

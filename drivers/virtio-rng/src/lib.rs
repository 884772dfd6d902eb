//! A virtio source of entropy (virtio 1.2, 5.4): it is asked, and answers with random bytes when it has some.
//!
//! What it gives is the host's word. It is mixed with what the processor gives, never used alone where there is
//! both, and a source that repeats itself is turned down. Limits: one request at a time.

#![no_std]

extern crate alloc;

mod source;

pub use source::{ASK_LEN, Draw, Source, start};

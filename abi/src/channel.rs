//! Channels: memory that two applications share, and an event that wakes the other one.

/// The most channels that an image may name.
pub const CHANNELS_MAX: u64 = 16;
const FIRST_BIT: u32 = 48;

/// The event that a channel's peer has notified, or has come or gone.
pub const fn channel_event(channel: u32) -> u64 {
    if (channel as u64) < CHANNELS_MAX { 1 << (FIRST_BIT + channel) } else { 0 }
}

/// What `OpenChannel` answers: the channel's number below, the pages of its memory above.
pub const fn opened(channel: u8, pages: u64) -> u64 {
    channel as u64 | pages << 8
}

/// Reverses [`opened`].
pub const fn parts(value: u64) -> (u32, u64) {
    ((value & 0xff) as u32, value >> 8)
}

//! The header before every frame, and the features it depends on.

pub use nom_vnet::*;

/// The device completes checksums.
pub const FEATURE_CHECKSUM: u64 = 1 << 0;
/// The driver takes frames whose checksum is incomplete or vouched for.
pub const FEATURE_GUEST_CHECKSUM: u64 = 1 << 1;
/// The configuration has the MTU.
pub const FEATURE_MTU: u64 = 1 << 3;
/// The configuration has the hardware address.
pub const FEATURE_MAC: u64 = 1 << 5;
/// The driver takes many segments of IPv4 as one frame.
pub const FEATURE_GUEST_SEGMENTS_IPV4: u64 = 1 << 7;
/// The driver takes many segments of IPv6 as one frame.
pub const FEATURE_GUEST_SEGMENTS_IPV6: u64 = 1 << 8;
/// The device cuts large frames of IPv4.
pub const FEATURE_SEGMENTS_IPV4: u64 = 1 << 11;
/// The device cuts large frames of IPv6.
pub const FEATURE_SEGMENTS_IPV6: u64 = 1 << 12;
/// A frame may take several receive buffers.
pub const FEATURE_MERGE: u64 = 1 << 15;
/// The configuration has the state of the link.
pub const FEATURE_STATUS: u64 = 1 << 16;
/// There is a queue for commands.
pub const FEATURE_CONTROL: u64 = 1 << 17;
/// There are several pairs of queues.
pub const FEATURE_PAIRS: u64 = 1 << 22;

//! The header before every frame (virtio 1.2, 5.1.6), and the features it depends on.

/// Its length since virtio 1.0: with the count of buffers, whether merging was negotiated or not.
pub const LEN: usize = 12;

/// Flag: the transport checksum is not complete; the sum goes where `checksum_start` and `checksum_offset` say.
pub const NEEDS_CHECKSUM: u8 = 1;
/// Flag (receiving): the device checked the transport checksum.
pub const DATA_VALID: u8 = 2;

/// The device completes checksums.
pub const FEATURE_CHECKSUM: u64 = 1 << 0;
/// The driver takes frames whose checksum is incomplete or vouched for.
pub const FEATURE_GUEST_CHECKSUM: u64 = 1 << 1;
/// The configuration has the MTU.
pub const FEATURE_MTU: u64 = 1 << 3;
/// The configuration has the hardware address.
pub const FEATURE_MAC: u64 = 1 << 5;
/// The configuration has the state of the link.
pub const FEATURE_STATUS: u64 = 1 << 16;

/// The header as bytes, little-endian.
pub fn emit(checksum: Option<(u16, u16)>) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    if let Some((start, offset)) = checksum {
        bytes[0] = NEEDS_CHECKSUM;
        bytes[6..8].copy_from_slice(&start.to_le_bytes());
        bytes[8..10].copy_from_slice(&offset.to_le_bytes());
    }
    bytes
}

//! The header before a frame that says what is left to do to it (virtio 1.2, 5.1.6): complete its checksum, cut it into
//! segments. Virtio's network cards speak it, and so do Linux's TAP devices and packet sockets.

#![no_std]
#![forbid(unsafe_code)]

use nom_stack::port::{Frame, PartialChecksum};

/// Its length since virtio 1.0: with the count of buffers, whether merging was negotiated or not.
pub const LEN: usize = 12;

/// Its length for Linux's own devices: without that count.
pub const SHORT_LEN: usize = 10;

/// Flag: the transport checksum is not complete; the sum goes where `checksum_start` and `checksum_offset` say.
pub const NEEDS_CHECKSUM: u8 = 1;
/// Flag (receiving): the device checked the transport checksum.
pub const DATA_VALID: u8 = 2;

/// The frame is as long as it is on the wire.
pub const WHOLE: u8 = 0;
/// The frame is many segments of TCP over IPv4.
pub const SEGMENTS_IPV4: u8 = 1;
/// The frame is many segments of TCP over IPv6.
pub const SEGMENTS_IPV6: u8 = 4;

/// What the receiving half wants to know of a header that a device wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// The transport checksum is right, or was never made because the frame never was on a wire.
    pub checksum_good: bool,
    /// How many buffers the frame takes; meaningful only where merging was negotiated. Anything until it is checked.
    pub buffers: u16,
}

/// What the flags of a received frame say of its transport checksum.
#[inline]
pub fn checksum_good(flags: u8) -> bool {
    flags & (NEEDS_CHECKSUM | DATA_VALID) != 0
}

/// Reads a header. Every value is possible: the device wrote it.
pub fn read(bytes: &[u8; LEN]) -> Received {
    Received { checksum_good: checksum_good(bytes[0]), buffers: u16::from_le_bytes([bytes[10], bytes[11]]) }
}

/// A large frame that no device could cut: not TCP over IP, no length of segments, or its checksum is not left to the
/// device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uncuttable;

/// The header for a frame that is as long as on the wire.
#[inline]
pub fn whole(checksum: Option<PartialChecksum>) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    if let Some(PartialChecksum { start, offset }) = checksum {
        bytes[0] = NEEDS_CHECKSUM;
        bytes[6..8].copy_from_slice(&start.to_le_bytes());
        bytes[8..10].copy_from_slice(&offset.to_le_bytes());
    }
    bytes
}

/// The header for a frame on its way out.
pub fn emit(frame: &Frame<'_>) -> Result<[u8; LEN], Uncuttable> {
    let mut bytes = whole(frame.checksum);
    // One that fits into a single segment is none to cut.
    let payload_len = frame.len() - frame.headers.len();
    let Some(segment_len) = frame.segment_len.filter(|len| payload_len > usize::from(*len)) else {
        return Ok(bytes);
    };
    if frame.checksum.is_none() || segment_len == 0 {
        return Err(Uncuttable);
    }
    bytes[1] = match frame.headers.get(12..14) {
        Some([0x08, 0x00]) => SEGMENTS_IPV4,
        Some([0x86, 0xdd]) => SEGMENTS_IPV6,
        _ => return Err(Uncuttable),
    };
    let headers_len = u16::try_from(frame.headers.len()).map_err(|_| Uncuttable)?;
    bytes[2..4].copy_from_slice(&headers_len.to_le_bytes());
    bytes[4..6].copy_from_slice(&segment_len.to_le_bytes());
    Ok(bytes)
}

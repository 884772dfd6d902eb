//! The few frames that the cases and the reflector understand.

/// Ethernet, IPv4 and UDP headers.
pub const UDP_HEADERS: usize = 42;
/// An ARP packet in a frame.
pub const ARP_LEN: usize = 42;
/// Begins a datagram that asks for the counters instead of itself.
pub const COUNTERS_ASKED: &[u8] = b"counters";
/// Where they stand in the answer, each eight bytes, little-endian.
pub const COUNTERS_AT: usize = UDP_HEADERS + COUNTERS_ASKED.len();

/// Turns a frame round: an echo of UDP, or the answer to whoever looks for `address`. Says whether it is one to send.
pub fn reflect(frame: &mut [u8], mac: [u8; 6], address: [u8; 4]) -> bool {
    if frame.len() < ARP_LEN {
        return false;
    }
    match frame[12..14] {
        [0x08, 0x00] if frame[14] == 0x45 && frame[23] == 17 => {
            swap(frame, 0, 6, 6);
            swap(frame, 26, 30, 4);
            swap(frame, 34, 36, 2);
            // No checksum, which IPv4 allows: the host may have left it half done.
            frame[40..42].fill(0);
            true
        }
        [0x08, 0x06] if frame[20..22] == [0, 1] && frame[38..42] == address => {
            frame[21] = 2;
            frame.copy_within(22..32, 32);
            frame[22..28].copy_from_slice(&mac);
            frame[28..32].copy_from_slice(&address);
            frame.copy_within(6..12, 0);
            frame[6..12].copy_from_slice(&mac);
            true
        }
        _ => false,
    }
}

fn swap(frame: &mut [u8], one: usize, other: usize, len: usize) {
    for at in 0..len {
        frame.swap(one + at, other + at);
    }
}

/// Who has `wanted`? Asked by `mac` with `address`.
pub fn who_has(wanted: [u8; 4], mac: [u8; 6], address: [u8; 4]) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac);
    frame[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&address);
    frame[38..42].copy_from_slice(&wanted);
    frame
}

/// Whether this is the answer that `wanted` gave to `mac`.
pub fn answers(frame: &[u8], wanted: [u8; 4], mac: [u8; 6]) -> bool {
    frame.len() >= ARP_LEN
        && frame[..6] == mac
        && frame[12..14] == [8, 6]
        && frame[20..22] == [0, 2]
        && frame[28..32] == wanted
}

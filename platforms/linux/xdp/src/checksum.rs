//! Frames that never were on a wire: their sender's kernel left the checksum undone.
//!
//! On a virtual cable (`veth`) the kernel at the other end writes the sum of the pseudo-header where the checksum
//! belongs and marks the frame in its own memory. AF_XDP hands on the frame without the mark, so the sum itself is
//! looked for. Nothing is believed that a wire could have damaged: elsewhere nobody asks here, and a frame with any
//! other sum is verified as always.

const IP: usize = 14;
const TCP: u8 = 6;
const TCP_CHECKSUM: usize = 16;

/// The frame is TCP over IPv4 and its checksum is only begun.
pub(crate) fn left_undone(frame: &[u8]) -> bool {
    let Some(header) = frame.get(IP..).and_then(|packet| packet.first_chunk::<20>()) else { return false };
    if frame[12..IP] != [8, 0] || header[9] != TCP {
        return false;
    }
    let header_len = usize::from(header[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let Some(segment_len) = total.checked_sub(header_len) else { return false };
    let at = IP + header_len + TCP_CHECKSUM;
    let Some(stored) = frame.get(at..at + 2) else { return false };
    let words = header[12..20].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum = words.sum::<u32>() + u32::from(TCP) + segment_len as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    stored == (sum as u16).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_begun_sum_is_one() {
        let mut frame = vec![0; 54];
        frame[12] = 8;
        frame[IP] = 0x45;
        frame[IP + 3] = 40;
        frame[IP + 9] = TCP;
        frame[IP + 12..IP + 20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        let sum = 0x0a00u16 + 1 + 0x0a00 + 2 + 6 + 20;
        frame[50..52].copy_from_slice(&sum.to_be_bytes());
        assert!(left_undone(&frame));
        frame[51] ^= 1;
        assert!(!left_undone(&frame));
        frame[51] ^= 1;
        frame[IP + 9] = 17;
        assert!(!left_undone(&frame));
        for len in 0..52 {
            assert!(!left_undone(&frame[..len]));
        }
    }
}

//! A flood of half-open connections: openings from addresses that nobody has, whose answers nobody hears.

use nom_load::Stop;
use nom_machine::trouble::{Outcome, Trouble};
use nom_packet::PacketConfig;
use nom_stack::port::{Egress, Frame, Offloads};
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

/// Time between two bursts, and openings of one: 5,000 in a second.
const PAUSE: Duration = Duration::from_millis(4);
const BURST: u32 = 20;
/// Addresses that are made up, and the first port of each.
const ADDRESSES: u32 = 16_000;
const FIRST_PORT: u32 = 1_024;
const FRAME_LEN_MIN: usize = 60;

/// Where it comes from and goes to.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// Ethernet address of the server.
    pub to: [u8; 6],
    /// Address and port of the server.
    pub server: (Ipv4Addr, u16),
    /// The first address of those that are made up.
    pub from: Ipv4Addr,
}

/// Floods over an interface of the calling thread's network until it is stopped, and says with how many.
pub fn flood(interface: &str, way: Way, stop: &Stop) -> Outcome<u64> {
    let config = PacketConfig { offloads: Offloads::default(), ..PacketConfig::new(interface, way.from) };
    let (ingress, mut egress) = nom_packet::open(&config).map_err(|error| Trouble::new(error.to_string()))?;
    let (mac, mut count) = (ingress.mac(), 0);
    while !stop.is_stopped() {
        for _ in 0..BURST {
            let frame = opening(way, mac, count);
            // A full ring drops it, as a wire would.
            let _ = egress.queue(Frame { headers: &frame, payload: &[], checksum: None, segment_len: None });
            count += 1;
        }
        egress.kick();
        egress.completed();
        thread::sleep(PAUSE);
    }
    Ok(count.into())
}

/// The sum of 16-bit words that the Internet protocols use (RFC 1071).
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u32 =
        words.map(|word| u32::from(u16::from_be_bytes([word[0], *word.get(1).unwrap_or(&0)]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (!((folded & 0xffff) + (folded >> 16)) as u16).to_be_bytes()
}

/// A frame that opens a connection.
fn opening(way: Way, mac: [u8; 6], number: u32) -> Vec<u8> {
    let (server, port) = way.server;
    let source = Ipv4Addr::from_bits(way.from.to_bits() + number % ADDRESSES);
    let from_port = (FIRST_PORT + number / ADDRESSES) as u16;
    let mut frame = Vec::from(way.to);
    frame.extend(mac);
    frame.extend([8, 0]);
    let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0];
    packet.extend(source.octets());
    packet.extend(server.octets());
    let sum = checksum(&[&packet]);
    packet[10..12].copy_from_slice(&sum);
    let mut segment = Vec::from(from_port.to_be_bytes());
    segment.extend(port.to_be_bytes());
    segment.extend(number.wrapping_mul(0x9e37_79b9).to_be_bytes());
    segment.extend([0, 0, 0, 0, 0x50, 0x02, 0x10, 0, 0, 0, 0, 0]);
    let sum = checksum(&[&source.octets(), &server.octets(), &[0, 6, 0, 20], &segment]);
    segment[16..18].copy_from_slice(&sum);
    frame.extend(packet);
    frame.extend(segment);
    frame.resize(FRAME_LEN_MIN, 0);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_right_and_no_two_openings_are_the_same() {
        let server = Ipv4Addr::new(10, 99, 0, 2);
        let way = Way { to: [2; 6], server: (server, 11211), from: Ipv4Addr::new(10, 99, 64, 0) };
        let frame = opening(way, [4; 6], ADDRESSES + 5);
        let (packet, segment) = (&frame[14..34], &frame[34..54]);
        // With the right sum in its place the sum of all is nothing.
        assert_eq!(checksum(&[packet]), [0, 0]);
        assert_eq!(checksum(&[&packet[12..20], &[0, 6, 0, 20], segment]), [0, 0]);
        assert_eq!(packet[12..16], [10, 99, 64, 5]);
        assert_eq!(segment[..4], [4, 1, 0x2b, 0xcb]);
        assert_ne!(opening(way, [4; 6], 5), frame);
    }
}

//! UDP headers (RFC 768).

use core::net::Ipv4Addr;

use super::checksum::Sum;
use super::{be16, put16};

/// Bytes of a header.
pub const HEADER: usize = 8;
/// Protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;

/// A checked datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Udp<'a> {
    /// Port of the sender.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// The bytes carried.
    pub payload: &'a [u8],
}

/// Why a datagram was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Lengths do not fit, or a port is none.
    Malformed,
    /// The checksum is wrong.
    Checksum,
}

impl<'a> Udp<'a> {
    /// Checks length and checksum; the latter may be absent over IPv4, or known to be good.
    pub fn parse(
        source: Ipv4Addr,
        destination: Ipv4Addr,
        content: &'a [u8],
        known_good: bool,
    ) -> Result<Self, Refusal> {
        let header = content.first_chunk::<HEADER>().ok_or(Refusal::Malformed)?;
        let whole = content.get(..usize::from(be16(header, 4))).ok_or(Refusal::Malformed)?;
        let payload = whole.get(HEADER..).ok_or(Refusal::Malformed)?;
        let (source_port, destination_port) = (be16(header, 0), be16(header, 2));
        if destination_port == 0 {
            return Err(Refusal::Malformed);
        }
        if be16(header, 6) != 0 && !known_good {
            let mut sum = Sum::new();
            sum.add_pseudo_header(source.octets(), destination.octets(), PROTOCOL_UDP, whole.len());
            sum.add(whole);
            if !sum.is_good() {
                return Err(Refusal::Checksum);
            }
        }
        Ok(Self { source_port, destination_port, payload })
    }

    /// Writes the header to the front of a buffer.
    pub fn emit(&self, source: Ipv4Addr, destination: Ipv4Addr, buffer: &mut [u8]) {
        let len = HEADER + self.payload.len();
        put16(buffer, 0, self.source_port);
        put16(buffer, 2, self.destination_port);
        put16(buffer, 4, len as u16);
        put16(buffer, 6, 0);
        let mut sum = Sum::new();
        sum.add_pseudo_header(source.octets(), destination.octets(), PROTOCOL_UDP, len);
        sum.add(&buffer[..HEADER]);
        sum.add(self.payload);
        // A checksum of 0 would say that there is none.
        let checksum = match sum.finish() {
            [0, 0] => [0xff, 0xff],
            checksum => checksum,
        };
        buffer[6..8].copy_from_slice(&checksum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use alloc::vec;
    use alloc::vec::Vec;

    const ONE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const TWO: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    #[test]
    fn what_is_written_is_read_again_and_a_wrong_bit_is_found() {
        let mut random = Random::new(4);
        for _ in 0..500 {
            let payload: Vec<u8> = (0..random.below(60)).map(|_| random.next() as u8).collect();
            let datagram = Udp { source_port: random.next() as u16, destination_port: 7, payload: &payload };
            let mut bytes = vec![0; HEADER];
            datagram.emit(ONE, TWO, &mut bytes);
            bytes.extend_from_slice(&payload);
            assert_eq!(Udp::parse(ONE, TWO, &bytes, false), Ok(datagram));
            let padded = [&bytes[..], &[9; 20]].concat();
            assert_eq!(Udp::parse(ONE, TWO, &padded, false), Ok(datagram));
            let place = random.below(bytes.len() as u64) as usize;
            bytes[place] ^= 1 << random.below(8);
            assert!(Udp::parse(ONE, TWO, &bytes, false) != Ok(datagram));
        }
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused_and_no_checksum_is_taken() {
        for bytes in [
            &[0, 1, 0, 7, 0, 9, 0, 0][..],
            &[0, 1, 0, 7, 0, 7, 0, 0],
            &[0, 1, 0, 7, 0, 8, 0],
            &[0, 1, 0, 0, 0, 8, 0, 0],
        ] {
            assert_eq!(Udp::parse(ONE, TWO, bytes, false), Err(Refusal::Malformed), "{bytes:?}");
        }
        let none = [0, 1, 0, 7, 0, 9, 0, 0, 5];
        assert_eq!(Udp::parse(ONE, TWO, &none, false).map(|datagram| datagram.payload), Ok(&[5][..]));
        let wrong = [0, 1, 0, 7, 0, 9, 1, 0, 5];
        assert_eq!(Udp::parse(ONE, TWO, &wrong, false), Err(Refusal::Checksum));
        assert!(Udp::parse(ONE, TWO, &wrong, true).is_ok());
    }
}

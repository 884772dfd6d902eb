//! DHCP messages (RFC 2131, 2132), as a client needs them.

use core::net::Ipv4Addr;

use super::{be32, put16, put32};

/// The client's port, and the server's.
pub const CLIENT_PORT: u16 = 68;
/// The server's port.
pub const SERVER_PORT: u16 = 67;
/// Bytes of every message that is sent: what BOOTP relays expect at least.
pub const LEN: usize = 300;
/// Servers for names that are read; further ones are not.
pub const NAME_SERVERS_MAX: usize = 2;

const FIXED: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const BROADCAST_FLAG: u16 = 0x8000;

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Who can give an address?
    Discover,
    /// It could be this one.
    Offer,
    /// That one, please, or for longer.
    Request,
    /// It is yours.
    Ack,
    /// It is not.
    Nak,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Discover => 1,
            Self::Offer => 2,
            Self::Request => 3,
            Self::Ack => 5,
            Self::Nak => 6,
        }
    }
}

/// What a client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// [`Kind::Discover`] or [`Kind::Request`].
    pub kind: Kind,
    /// What the answer has to repeat.
    pub transaction: u32,
    /// Our Ethernet address.
    pub mac: [u8; 6],
    /// The address that we have and want for longer; unspecified when we have none.
    pub address: Ipv4Addr,
    /// The address that was offered.
    pub requested: Option<Ipv4Addr>,
    /// Who offered it.
    pub server: Option<Ipv4Addr>,
}

impl Question {
    /// The bytes.
    pub fn bytes(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..3].copy_from_slice(&[1, 1, 6]);
        put32(&mut bytes, 4, self.transaction);
        if self.address.is_unspecified() {
            // Without an address nothing that is sent to one alone would be taken.
            put16(&mut bytes, 10, BROADCAST_FLAG);
        }
        bytes[12..16].copy_from_slice(&self.address.octets());
        bytes[28..34].copy_from_slice(&self.mac);
        bytes[FIXED..FIXED + 4].copy_from_slice(&COOKIE);
        let mut at = FIXED + 4;
        let mut option = |code: u8, value: &[u8]| {
            bytes[at] = code;
            bytes[at + 1] = value.len() as u8;
            bytes[at + 2..at + 2 + value.len()].copy_from_slice(value);
            at += 2 + value.len();
        };
        option(53, &[self.kind.code()]);
        if let Some(requested) = self.requested {
            option(50, &requested.octets());
        }
        if let Some(server) = self.server {
            option(54, &server.octets());
        }
        // Mask, router, servers for names, times.
        option(55, &[1, 3, 6, 51, 54, 58, 59]);
        bytes[at] = 255;
        bytes
    }
}

/// What a server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// [`Kind::Offer`], [`Kind::Ack`] or [`Kind::Nak`].
    pub kind: Kind,
    /// The question's.
    pub transaction: u32,
    /// Whose Ethernet address it is for.
    pub mac: [u8; 6],
    /// The address for us.
    pub address: Ipv4Addr,
    /// Who says so.
    pub server: Option<Ipv4Addr>,
    /// The mask of our link.
    pub mask: Option<u32>,
    /// Who forwards.
    pub router: Option<Ipv4Addr>,
    /// Who knows names.
    pub name_servers: [Option<Ipv4Addr>; NAME_SERVERS_MAX],
    /// For how long, in seconds.
    pub lease_s: Option<u32>,
    /// When to ask again, in seconds.
    pub renewal_s: Option<u32>,
    /// When to ask everybody, in seconds.
    pub rebinding_s: Option<u32>,
}

impl Answer {
    /// Reads a message; nothing when it is no answer, an option has a wrong length, or there is no end.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (fixed, rest) = bytes.split_at_checked(FIXED + 4)?;
        if fixed[..3] != [2, 1, 6] || fixed[FIXED..] != COOKIE {
            return None;
        }
        let mut answer = Self {
            kind: Kind::Nak,
            transaction: be32(fixed, 4),
            mac: fixed[28..34].try_into().ok()?,
            address: Ipv4Addr::from_bits(be32(fixed, 16)),
            server: None,
            mask: None,
            router: None,
            name_servers: [None; NAME_SERVERS_MAX],
            lease_s: None,
            renewal_s: None,
            rebinding_s: None,
        };
        let (mut kind, mut options) = (None, rest);
        loop {
            let (&code, behind) = options.split_first()?;
            match code {
                0 => {
                    options = behind;
                    continue;
                }
                255 => break,
                _ => {}
            }
            let (&len, behind) = behind.split_first()?;
            let (value, behind) = behind.split_at_checked(usize::from(len))?;
            let word = || (value.len() == 4).then(|| be32(value, 0));
            let addresses = || (!value.is_empty() && value.len() % 4 == 0).then(|| value.chunks_exact(4));
            match code {
                1 => answer.mask = Some(word()?),
                3 => answer.router = addresses()?.next().map(|bytes| Ipv4Addr::from_bits(be32(bytes, 0))),
                6 => {
                    for (place, bytes) in answer.name_servers.iter_mut().zip(addresses()?) {
                        *place = Some(Ipv4Addr::from_bits(be32(bytes, 0)));
                    }
                }
                51 => answer.lease_s = Some(word()?),
                53 => {
                    kind = match value {
                        [2] => Some(Kind::Offer),
                        [5] => Some(Kind::Ack),
                        [6] => Some(Kind::Nak),
                        _ => return None,
                    }
                }
                54 => answer.server = Some(Ipv4Addr::from_bits(word()?)),
                58 => answer.renewal_s = Some(word()?),
                59 => answer.rebinding_s = Some(word()?),
                _ => {}
            }
            options = behind;
        }
        answer.kind = kind?;
        Some(answer)
    }

    /// How many leading bits the mask has; nothing when it has holes, or makes no link of several stations.
    pub fn prefix_len(&self) -> Option<u8> {
        let mask = self.mask?;
        let len = mask.leading_ones();
        (mask.count_ones() == len && (1..=30).contains(&len)).then_some(len as u8)
    }

    /// The length of the client's transaction and hardware fields fits.
    pub fn is_for(&self, transaction: u32, mac: [u8; 6]) -> bool {
        self.transaction == transaction && self.mac == mac
    }
}

/// An answer as a server would write it, for tests.
#[cfg(test)]
pub(crate) fn write_answer(answer: &Answer) -> alloc::vec::Vec<u8> {
    let mut bytes = alloc::vec![0; FIXED];
    bytes[..3].copy_from_slice(&[2, 1, 6]);
    put32(&mut bytes, 4, answer.transaction);
    bytes[16..20].copy_from_slice(&answer.address.octets());
    bytes[28..34].copy_from_slice(&answer.mac);
    bytes.extend_from_slice(&COOKIE);
    bytes.extend_from_slice(&[53, 1, answer.kind.code()]);
    let mut word = |code: u8, value: Option<u32>| {
        if let Some(value) = value {
            bytes.extend_from_slice(&[code, 4]);
            bytes.extend_from_slice(&value.to_be_bytes());
        }
    };
    word(1, answer.mask);
    word(3, answer.router.map(Ipv4Addr::to_bits));
    word(6, answer.name_servers[0].map(Ipv4Addr::to_bits));
    word(51, answer.lease_s);
    word(54, answer.server.map(Ipv4Addr::to_bits));
    word(58, answer.renewal_s);
    word(59, answer.rebinding_s);
    bytes.push(255);
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::be16;
    use super::*;

    fn answer() -> Answer {
        Answer {
            kind: Kind::Offer,
            transaction: 7,
            mac: [2, 0, 0, 0, 0, 1],
            address: Ipv4Addr::new(10, 0, 0, 9),
            server: Some(Ipv4Addr::new(10, 0, 0, 1)),
            mask: Some(0xffff_ff00),
            router: Some(Ipv4Addr::new(10, 0, 0, 1)),
            name_servers: [Some(Ipv4Addr::new(10, 0, 0, 3)), None],
            lease_s: Some(3600),
            renewal_s: None,
            rebinding_s: Some(3000),
        }
    }

    #[test]
    fn an_answer_is_read_as_it_was_written_and_not_when_it_is_cut() {
        let bytes = write_answer(&answer());
        assert_eq!(Answer::parse(&bytes), Some(answer()));
        for len in 0..bytes.len() {
            assert_eq!(Answer::parse(&bytes[..len]), None, "{len}");
        }
        let question = Question {
            kind: Kind::Request,
            transaction: 7,
            mac: [2, 0, 0, 0, 0, 1],
            address: Ipv4Addr::UNSPECIFIED,
            requested: Some(Ipv4Addr::new(10, 0, 0, 9)),
            server: Some(Ipv4Addr::new(10, 0, 0, 1)),
        };
        assert_eq!(Answer::parse(&question.bytes()), None, "a question is no answer");
        assert_eq!(be16(&question.bytes(), 10), BROADCAST_FLAG);
    }

    #[test]
    fn masks_with_holes_are_none() {
        for (mask, len) in [
            (0xffff_ff00, Some(24)),
            (0xffff_fffc, Some(30)),
            (0x8000_0000, Some(1)),
            (0xffff_ffff, None),
            (0, None),
            (0xff00_ff00, None),
        ] {
            assert_eq!(Answer { mask: Some(mask), ..answer() }.prefix_len(), len, "{mask:x}");
        }
    }
}

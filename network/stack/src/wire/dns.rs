//! DNS messages (RFC 1035), as a stub resolver needs them: one question, and its answer.
//!
//! Names are compared without regard to case. Compression may only point backwards, and a name has at most
//! [`JUMPS_MAX`] pointers: a loop is refused, not followed.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{be16, be32};

/// The port of servers.
pub const PORT: u16 = 53;
/// Longest name as text.
pub const NAME_MAX: usize = 253;
/// Pointers that are followed in one name.
pub const JUMPS_MAX: usize = 16;
/// Aliases that are followed in one answer.
pub const ALIASES_MAX: usize = 8;
/// Records that are read of one answer; those behind them are not.
pub const RECORDS_MAX: usize = 64;

const HEADER: usize = 12;
const CLASS_INTERNET: u16 = 1;
const TYPE_ALIAS: u16 = 5;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
}

impl Kind {
    fn code(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
        }
    }
}

/// A name that can be asked for, in lower case and without a dot at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Letters, digits and hyphens in labels of 1 to 63, with dots between (RFC 1123, 2.1); underscores too, which some use.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(letter)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // Four numbers are an address, and no name ends in a number.
        let ends_in_number = text.rsplit('.').next()?.bytes().all(|byte| byte.is_ascii_digit());
        (text.len() <= NAME_MAX && text.split('.').all(label) && !ends_in_number)
            .then(|| Self(text.to_ascii_lowercase()))
    }

    /// As a person writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The bytes of a question.
pub fn question(id: u16, name: &Name, kind: Kind) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + name.0.len() + 6);
    bytes.extend_from_slice(&id.to_be_bytes());
    // Please do what it takes; one question.
    bytes.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.0.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&kind.code().to_be_bytes());
    bytes.extend_from_slice(&CLASS_INTERNET.to_be_bytes());
    bytes
}

/// What a server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The name has this address, for so many seconds.
    Address {
        /// The first of its addresses.
        address: IpAddr,
        /// The least of all times on the way to it.
        lifetime_s: u32,
    },
    /// There is no such name, or it has no address of this kind.
    None,
    /// The server does not know, or did not say everything: somebody else may.
    Unknown,
}

/// Reads the answer to a question; nothing when it is none, or not to this question.
pub fn answer(bytes: &[u8], id: u16, name: &Name, kind: Kind) -> Option<Answer> {
    let header = bytes.first_chunk::<HEADER>()?;
    let (flags, questions, answers) = (be16(header, 2), be16(header, 4), be16(header, 6));
    // An answer to a standard query.
    if be16(header, 0) != id || flags & 0xf800 != 0x8000 || questions != 1 {
        return None;
    }
    let (asked, at) = read_name(bytes, HEADER)?;
    let fixed = bytes.get(at..at + 4)?;
    if asked != name.0 || be16(fixed, 0) != kind.code() || be16(fixed, 2) != CLASS_INTERNET {
        return None;
    }
    match (flags & 0x200 != 0, flags & 0xf) {
        // Cut off: there is no other way to ask here.
        (true, _) => return Some(Answer::Unknown),
        (_, 0) => {}
        (_, 3) => return Some(Answer::None),
        _ => return Some(Answer::Unknown),
    }
    let records = read_records(bytes, at + 4, usize::from(answers).min(RECORDS_MAX))?;
    let (mut wanted, mut lifetime_s) = (asked, u32::MAX);
    for _ in 0..=ALIASES_MAX {
        let of = |record: &&Record| record.name == wanted;
        if let Some(record) = records.iter().filter(of).find(|record| record.kind == kind.code()) {
            let address = match *record.data {
                [a, b, c, d] if kind == Kind::A => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
                _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(record.data).ok()?)),
            };
            if kind == Kind::A && address.is_ipv6() {
                return None;
            }
            return Some(Answer::Address { address, lifetime_s: lifetime_s.min(record.lifetime_s) });
        }
        let Some(record) = records.iter().filter(of).find(|record| record.kind == TYPE_ALIAS) else {
            return Some(Answer::None);
        };
        lifetime_s = lifetime_s.min(record.lifetime_s);
        let (next, end) = read_name(bytes, record.at)?;
        if end != record.at + record.data.len() {
            return None;
        }
        wanted = next;
    }
    Some(Answer::Unknown)
}

struct Record<'a> {
    name: String,
    kind: u16,
    lifetime_s: u32,
    at: usize,
    data: &'a [u8],
}

fn read_records(bytes: &[u8], mut at: usize, count: usize) -> Option<Vec<Record<'_>>> {
    let mut records = Vec::new();
    for _ in 0..count {
        let (name, behind) = read_name(bytes, at)?;
        let fixed = bytes.get(behind..behind + 10)?;
        let len = usize::from(be16(fixed, 8));
        let data = bytes.get(behind + 10..behind + 10 + len)?;
        if be16(fixed, 2) == CLASS_INTERNET {
            // A time with its highest bit set is none (RFC 2181, 8).
            let lifetime_s = Some(be32(fixed, 4)).filter(|time| time >> 31 == 0).unwrap_or(0);
            records.push(Record { name, kind: be16(fixed, 0), lifetime_s, at: behind + 10, data });
        }
        at = behind + 10 + len;
    }
    Some(records)
}

/// The name at a place, and the place behind it.
fn read_name(bytes: &[u8], begin: usize) -> Option<(String, usize)> {
    let (mut name, mut at, mut behind, mut jumps) = (String::new(), begin, None, 0);
    // Pointers go backwards only: each to before where the last piece began.
    let mut bound = begin;
    loop {
        let len = usize::from(*bytes.get(at)?);
        match len >> 6 {
            0 if len == 0 => return Some((name, behind.unwrap_or(at + 1))),
            0 => {
                let label = bytes.get(at + 1..at + 1 + len)?;
                if !name.is_empty() {
                    name.push('.');
                }
                // What is no letter is in no name that anybody asks for here.
                name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
                if name.len() > 2 * NAME_MAX || !label.is_ascii() || label.contains(&b'.') {
                    return None;
                }
                at += 1 + len;
            }
            3 => {
                let to = usize::from(be16(bytes.get(at..at + 2)?, 0) & 0x3fff);
                jumps += 1;
                if to >= bound || jumps > JUMPS_MAX {
                    return None;
                }
                behind = behind.or(Some(at + 2));
                (at, bound) = (to, to);
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use alloc::vec;

    pub(crate) fn name(text: &str) -> Name {
        Name::parse(text).expect(text)
    }

    /// A server's answer to a question, with these flags and records of (pointer or name, type, time, data).
    pub(crate) fn respond(question: &[u8], flags: u16, records: &[(&[u8], u16, u32, &[u8])]) -> Vec<u8> {
        let mut bytes = question.to_vec();
        bytes[2..4].copy_from_slice(&flags.to_be_bytes());
        bytes[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
        for (name, kind, lifetime_s, data) in records {
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(&kind.to_be_bytes());
            bytes.extend_from_slice(&[0, 1]);
            bytes.extend_from_slice(&lifetime_s.to_be_bytes());
            bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
            bytes.extend_from_slice(data);
        }
        bytes
    }

    const HERE: &[u8] = &[0xc0, 12];

    #[test]
    fn an_address_is_found_also_behind_aliases() {
        let name = name("Prices.Example");
        let asked = question(7, &name, Kind::A);
        let found = |address: [u8; 4], lifetime_s| {
            Some(Answer::Address { address: IpAddr::V4(address.into()), lifetime_s })
        };
        let plain = respond(&asked, 0x8180, &[(HERE, 1, 60, &[10, 0, 0, 7])]);
        assert_eq!(answer(&plain, 7, &name, Kind::A), found([10, 0, 0, 7], 60));
        // An alias, its target before it, and records of other kinds between.
        let alias = [&[3][..], b"web", &[0xc0, 19]].concat();
        let records: [(&[u8], u16, u32, &[u8]); 3] =
            [(&alias, 1, 9, &[10, 0, 0, 8]), (HERE, 16, 1, b"text"), (HERE, 5, 5, &alias)];
        let aliased = respond(&asked, 0x8180, &records);
        assert_eq!(answer(&aliased, 7, &name, Kind::A), found([10, 0, 0, 8], 5));
        let six = question(7, &name, Kind::Aaaa);
        let address = Ipv6Addr::LOCALHOST.octets();
        let plain = respond(&six, 0x8180, &[(HERE, 28, 1 << 31, &address)]);
        let expected = Answer::Address { address: IpAddr::V6(Ipv6Addr::LOCALHOST), lifetime_s: 0 };
        assert_eq!(answer(&plain, 7, &name, Kind::Aaaa), Some(expected));
        assert_eq!(answer(&plain, 7, &name, Kind::A), None, "another kind was asked for");
    }

    #[test]
    fn what_does_not_answer_the_question_is_nothing() {
        let name = name("prices.example");
        let asked = question(7, &name, Kind::A);
        let records: [(&[u8], u16, u32, &[u8]); 1] = [(HERE, 1, 60, &[10, 0, 0, 7])];
        let good = respond(&asked, 0x8180, &records);
        for len in 0..good.len() {
            assert_eq!(answer(&good[..len], 7, &name, Kind::A), None, "{len}");
        }
        assert_eq!(answer(&good, 8, &name, Kind::A), None);
        assert_eq!(answer(&good, 7, &self::name("prices.exampel"), Kind::A), None);
        assert_eq!(answer(&respond(&asked, 0x0100, &records), 7, &name, Kind::A), None, "a question");
        assert_eq!(answer(&respond(&asked, 0x8183, &[]), 7, &name, Kind::A), Some(Answer::None));
        assert_eq!(answer(&respond(&asked, 0x8182, &[]), 7, &name, Kind::A), Some(Answer::Unknown));
        assert_eq!(answer(&respond(&asked, 0x8380, &records), 7, &name, Kind::A), Some(Answer::Unknown));
        assert_eq!(answer(&respond(&asked, 0x8180, &[]), 7, &name, Kind::A), Some(Answer::None));
        let short: [(&[u8], u16, u32, &[u8]); 1] = [(HERE, 1, 60, &[10, 0, 0])];
        assert_eq!(answer(&respond(&asked, 0x8180, &short), 7, &name, Kind::A), None);
    }

    #[test]
    fn loops_end() {
        let name = name("prices.example");
        let asked = question(7, &name, Kind::A);
        // A name that points at itself, one at what follows, and two that point at each other.
        let end = asked.len() as u8;
        for pointer in [[0xc0, end], [0xc0, end + 2], [0xff, 0xff]] {
            let bytes = respond(&asked, 0x8180, &[(&pointer, 1, 60, &[10, 0, 0, 7])]);
            assert_eq!(answer(&bytes, 7, &name, Kind::A), None, "{pointer:?}");
        }
        // Aliases in a ring.
        let ring = respond(&asked, 0x8180, &[(HERE, 5, 60, HERE)]);
        assert_eq!(answer(&ring, 7, &name, Kind::A), Some(Answer::Unknown));
        // Names that grow by pointers are cut off.
        let mut bytes = vec![0; 12];
        bytes.extend_from_slice(&[1, b'a', 0]);
        let mut last = 12;
        for _ in 0..2 * JUMPS_MAX {
            let next = bytes.len();
            bytes.extend_from_slice(&[1, b'a', 0xc0, last as u8]);
            last = next;
        }
        assert!(read_name(&bytes, last).is_none());
        assert_eq!(read_name(&bytes, 12), Some(("a".into(), 15)));
    }

    #[test]
    fn names_are_as_the_standard_says() {
        for text in ["a", "prices.example", "a-b.c", "x1.2y", "_srv.example", "EXAMPLE.org."] {
            assert!(Name::parse(text).is_some(), "{text}");
        }
        let long = "a".repeat(64);
        let deep = "a.".repeat(127);
        for text in ["", ".", "a..b", "-a", "a-", "a b", "10.0.0.1", "1", "ä", &long, &deep] {
            assert_eq!(Name::parse(text).is_some(), text == deep.as_str(), "{text}");
        }
        assert!(Name::parse(&"a.".repeat(128)).is_none());
    }
}

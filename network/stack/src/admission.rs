//! Who may open connections: lists of prefixes that are looked at once for every opening, and never after it.
//!
//! Who is in a denied prefix is not answered; nor is, when there are allowed ones, who is in none of them. Whoever is
//! turned away this way is counted ([`crate::counters::Drop::Denied`]) and told nothing.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Prefixes of a list. They are compared one by one, so this bounds what an opening costs.
pub const PREFIXES_MAX: usize = 64;

/// Addresses with the same leading bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    bits: u128,
    mask: u128,
}

impl Prefix {
    /// The addresses whose first `len` bits are those of this one. Nothing when it has fewer bits, or bits behind the
    /// prefix that are not 0.
    pub fn new(address: IpAddr, len: u8) -> Option<Self> {
        let (before, whole) = match address {
            IpAddr::V4(_) => (96, 32),
            IpAddr::V6(_) => (0, 128),
        };
        if u32::from(len) > whole {
            return None;
        }
        let mask = u128::MAX.checked_shl(128 - before - u32::from(len)).unwrap_or(0);
        let bits = bits(address);
        (bits & !mask == 0).then_some(Self { bits, mask })
    }

    /// Reads `10.0.0.0/8`, `fd00::/8` or a single address.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, len) = match text.split_once('/') {
            Some((address, len)) if len.bytes().all(|byte| byte.is_ascii_digit()) => {
                (address.parse::<IpAddr>().ok()?, len.parse().ok()?)
            }
            Some(_) => return None,
            None => match text.parse::<IpAddr>().ok()? {
                one @ IpAddr::V4(_) => (one, 32),
                one @ IpAddr::V6(_) => (one, 128),
            },
        };
        Self::new(address, len)
    }

    /// The address is one of these.
    pub fn contains(&self, address: IpAddr) -> bool {
        bits(address) & self.mask == self.bits
    }
}

/// IPv4 addresses stand among the others in the place that is theirs (RFC 4291, 2.5.5.2).
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => Ipv4Addr::to_ipv6_mapped(&address).to_bits(),
        IpAddr::V6(address) => Ipv6Addr::to_bits(address),
    }
}

/// The lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admission {
    /// Who may; everybody when there is nobody.
    pub allowed: Vec<Prefix>,
    /// Who may not, allowed or not.
    pub denied: Vec<Prefix>,
}

impl Admission {
    /// Whether an address may open connections.
    pub fn admits(&self, address: IpAddr) -> bool {
        let within = |list: &[Prefix]| list.iter().any(|prefix| prefix.contains(address));
        !within(&self.denied) && (self.allowed.is_empty() || within(&self.allowed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(allowed: &[&str], denied: &[&str], address: &str) -> bool {
        let list = |texts: &[&str]| texts.iter().map(|text| Prefix::parse(text).expect(text)).collect();
        Admission { allowed: list(allowed), denied: list(denied) }.admits(address.parse().expect(address))
    }

    #[test]
    fn denied_goes_before_allowed_and_an_empty_list_allows() {
        assert!(admits(&[], &[], "10.0.0.1"));
        assert!(!admits(&[], &["10.0.0.0/8"], "10.255.0.1"));
        assert!(admits(&[], &["10.0.0.0/8"], "11.0.0.1"));
        assert!(admits(&["10.0.0.0/8", "fd00::/8"], &[], "10.0.0.1"));
        assert!(admits(&["10.0.0.0/8", "fd00::/8"], &[], "fd12::1"));
        assert!(!admits(&["10.0.0.0/8", "fd00::/8"], &[], "fe80::1"));
        assert!(!admits(&["10.0.0.0/8"], &["10.1.0.0/16"], "10.1.2.3"));
        assert!(admits(&["10.0.0.0/8"], &["10.1.0.0/16"], "10.2.2.3"));
        assert!(!admits(&["0.0.0.0/0"], &[], "fd00::1"), "all of IPv4 is not all");
        assert!(!admits(&[], &["::/0"], "1.2.3.4"), "all is all");
        assert!(admits(&["192.168.7.1"], &[], "192.168.7.1"));
        assert!(!admits(&["192.168.7.1"], &[], "192.168.7.2"));
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for text in
            ["", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "fd00::/129", "x"]
        {
            assert_eq!(Prefix::parse(text), None, "{text}");
        }
    }
}

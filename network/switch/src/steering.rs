//! Who is where.
//!
//! Each port has the Ethernet address that the switch gave it, for good. A port that learns may have further stations
//! behind it, which it shows by sending: a bounded number each, and the one not heard for the longest makes room. A
//! station that is another port's is never taken over, so nobody draws somebody else's frames to itself. A port with
//! a configured IPv4 address may speak for that one only, and questions for it are asked nowhere else.

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use nom_stack::wire::arp::Arp;
use nom_stack::wire::ethernet::{self, Ethernet, TYPE_ARP, TYPE_IPV4};

/// Stations behind a port that learns.
pub const LEARNED_MAX: usize = 8;
/// A station that was not heard for so long is forgotten.
pub const FORGET_NS: u64 = 300_000_000_000;

type Mac = [u8; 6];

/// A port, as it is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// Its Ethernet address.
    pub mac: Mac,
    /// The IPv4 address that it must use, if it is told one.
    pub address: Option<Ipv4Addr>,
    /// Whether there may be further stations behind it.
    pub learns: bool,
}

/// Where a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Out.
    Card,
    /// To that port.
    Port(usize),
    /// To everyone but whom it came from.
    Everyone,
    /// Nowhere.
    Nowhere(Dropped),
}

/// Why a frame goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// It has no sensible header.
    Malformed = 0,
    /// From the card, and for no port.
    NotOurs = 1,
    /// The Ethernet address of its sender is not one that may be there.
    Station = 2,
    /// The IPv4 address of its sender is not the port's.
    Address = 3,
    /// It would go back to where it came from.
    Back = 4,
}

/// Kinds of [`Dropped`].
pub(crate) const REASONS: usize = 5;

#[derive(Debug, Clone, Copy)]
struct Learned {
    mac: Mac,
    heard_ns: u64,
}

/// What is known of all ports.
#[derive(Debug)]
pub struct Steering {
    ports: Vec<Port>,
    learned: Vec<[Option<Learned>; LEARNED_MAX]>,
}

/// The Ethernet address of a port: that of the card, marked as given by ourselves, with the port's number.
pub fn station_of(card: Mac, port: usize) -> Mac {
    const GIVEN_BY_OURSELVES: u8 = 2;
    let number = (port % super::PORTS_MAX) as u8 + 1;
    let [_, rest @ ..] = card;
    let mut mac = [number << 2 | GIVEN_BY_OURSELVES, 0, 0, 0, 0, 0];
    mac[1..].copy_from_slice(&rest);
    mac
}

impl Steering {
    /// Nothing is learned.
    pub fn new(ports: Vec<Port>) -> Steering {
        let learned = ports.iter().map(|_| [None; LEARNED_MAX]).collect();
        Steering { ports, learned }
    }

    /// How many ports there are.
    pub fn ports(&self) -> usize {
        self.ports.len()
    }

    /// Forgets what was learned of a port: another life begins there.
    pub fn forget(&mut self, port: usize) {
        if let Some(learned) = self.learned.get_mut(port) {
            *learned = [None; LEARNED_MAX];
        }
    }

    /// Where a frame from the card goes.
    #[inline]
    pub fn from_card(&self, frame: &[u8], now_ns: u64) -> Way {
        let Some((header, content)) = Ethernet::parse(frame) else { return Way::Nowhere(Dropped::Malformed) };
        // Outside nobody has an address of ours: such a frame is an echo or a lie.
        if !ethernet::is_station(header.source) || self.holder(header.source, now_ns).is_some() {
            return Way::Nowhere(Dropped::Station);
        }
        if ethernet::is_station(header.destination) {
            let holder = self.holder(header.destination, now_ns);
            return holder.map_or(Way::Nowhere(Dropped::NotOurs), Way::Port);
        }
        self.question(&header, content).map_or(Way::Everyone, Way::Port)
    }

    /// Where a frame from a port goes, and what it teaches.
    #[inline]
    pub fn from_port(&mut self, port: usize, frame: &[u8], now_ns: u64) -> Way {
        let Some((header, content)) = Ethernet::parse(frame) else { return Way::Nowhere(Dropped::Malformed) };
        let Some(own) = self.ports.get(port).copied() else { return Way::Nowhere(Dropped::Station) };
        if header.source != own.mac && !self.learn(port, header.source, now_ns) {
            return Way::Nowhere(Dropped::Station);
        }
        if let Some(address) = own.address
            && !speaks_for(address, &header, content)
        {
            return Way::Nowhere(Dropped::Address);
        }
        let way = if ethernet::is_station(header.destination) {
            self.holder(header.destination, now_ns).map_or(Way::Card, Way::Port)
        } else {
            self.question(&header, content).map_or(Way::Everyone, Way::Port)
        };
        if way == Way::Port(port) { Way::Nowhere(Dropped::Back) } else { way }
    }

    /// The port that has a station.
    #[inline]
    fn holder(&self, mac: Mac, now_ns: u64) -> Option<usize> {
        let own = self.ports.iter().position(|port| port.mac == mac);
        own.or_else(|| {
            let known = |learned: &&Learned| learned.mac == mac && fresh(learned, now_ns);
            (0..self.ports.len())
                .filter(|&port| self.ports[port].learns)
                .find(|&port| self.learned[port].iter().flatten().any(|learned| known(&learned)))
        })
    }

    /// The port that has the address for which a question asks.
    fn question(&self, header: &Ethernet, content: &[u8]) -> Option<usize> {
        if header.ethertype != TYPE_ARP {
            return None;
        }
        let target = Arp::parse(content)?.target;
        self.ports.iter().position(|port| port.address == Some(target))
    }

    /// Notes a station behind a port; false when it may not be there.
    fn learn(&mut self, port: usize, mac: Mac, now_ns: u64) -> bool {
        if !self.ports[port].learns || !ethernet::is_station(mac) {
            return false;
        }
        if self.holder(mac, now_ns).is_some_and(|holder| holder != port) {
            return false;
        }
        let places = &mut self.learned[port];
        let known = places.iter().position(|place| place.is_some_and(|learned| learned.mac == mac));
        // Full: the one not heard for the longest makes room, of this port alone.
        let oldest = || (0..LEARNED_MAX).min_by_key(|&at| places[at].map_or(0, |learned| learned.heard_ns));
        let place = known.or_else(|| places.iter().position(Option::is_none)).or_else(oldest).unwrap_or(0);
        places[place] = Some(Learned { mac, heard_ns: now_ns });
        true
    }
}

fn fresh(learned: &Learned, now_ns: u64) -> bool {
    now_ns.saturating_sub(learned.heard_ns) < FORGET_NS
}

/// What a frame says about its sender's IPv4 address is true.
fn speaks_for(address: Ipv4Addr, header: &Ethernet, content: &[u8]) -> bool {
    match header.ethertype {
        TYPE_ARP => Arp::parse(content).is_some_and(|arp| {
            // Before one has an address one asks without.
            (arp.sender == address || arp.sender.is_unspecified()) && arp.sender_mac == header.source
        }),
        TYPE_IPV4 => content.get(12..16) == Some(&address.octets()),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use nom_stack::wire::arp::{self, Operation};
    use nom_stack::wire::ethernet::BROADCAST;

    const OUTSIDE: Mac = [0x52, 0x55, 10, 0, 2, 2];
    const CARD: Mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 2, last)
    }

    /// Two with addresses, one that learns.
    fn steering() -> Steering {
        let port = |number, address, learns| Port { mac: station_of(CARD, number), address, learns };
        Steering::new(vec![
            port(0, Some(address(15)), false),
            port(1, Some(address(16)), false),
            port(2, None, true),
        ])
    }

    fn frame(destination: Mac, source: Mac, ethertype: u16, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; ethernet::HEADER];
        Ethernet { destination, source, ethertype }.emit(&mut bytes);
        bytes.extend_from_slice(content);
        bytes
    }

    fn packet(destination: Mac, source: Mac, from: Ipv4Addr) -> Vec<u8> {
        let mut content = [0; 20];
        content[12..16].copy_from_slice(&from.octets());
        frame(destination, source, TYPE_IPV4, &content)
    }

    fn question(source: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
        let mut content = [0; arp::LEN];
        let operation = Operation::Request;
        Arp { operation, sender_mac: source, sender, target_mac: [0; 6], target }.emit(&mut content);
        frame(BROADCAST, source, TYPE_ARP, &content)
    }

    #[test]
    fn ports_have_different_stations_of_our_own() {
        let all: Vec<Mac> = (0..super::super::PORTS_MAX).map(|port| station_of(CARD, port)).collect();
        for (at, mac) in all.iter().enumerate() {
            assert_eq!(mac[0] & 3, 2, "one station, given by ourselves");
            assert!(*mac != CARD && !all[..at].contains(mac));
        }
    }

    #[test]
    fn frames_go_to_whom_they_are_for() {
        let mut steering = steering();
        let [one, two, _] = [0, 1, 2].map(|port| station_of(CARD, port));
        assert_eq!(steering.from_card(&packet(one, OUTSIDE, address(2)), 1), Way::Port(0));
        assert_eq!(steering.from_card(&packet(two, OUTSIDE, address(2)), 1), Way::Port(1));
        assert_eq!(steering.from_port(0, &packet(OUTSIDE, one, address(15)), 1), Way::Card);
        assert_eq!(steering.from_port(0, &packet(two, one, address(15)), 1), Way::Port(1));
        assert_eq!(steering.from_card(&packet(CARD, OUTSIDE, address(2)), 1), Way::Nowhere(Dropped::NotOurs));
        // A question is asked where the answer is; one that nobody here can answer goes to everyone.
        assert_eq!(steering.from_card(&question(OUTSIDE, address(2), address(16)), 1), Way::Port(1));
        assert_eq!(steering.from_card(&question(OUTSIDE, address(2), address(99)), 1), Way::Everyone);
        assert_eq!(steering.from_port(0, &question(one, address(15), address(16)), 1), Way::Port(1));
        assert_eq!(steering.from_port(0, &question(one, address(15), address(2)), 1), Way::Everyone);
        assert_eq!(steering.from_card(&packet(BROADCAST, OUTSIDE, address(2)), 1), Way::Everyone);
    }

    #[test]
    fn nobody_speaks_for_another() {
        let mut steering = steering();
        let [one, two, three] = [0, 1, 2].map(|port| station_of(CARD, port));
        let dropped = Way::Nowhere;
        for (port, bytes, why) in [
            (0, packet(OUTSIDE, two, address(15)), Dropped::Station),
            (0, packet(OUTSIDE, OUTSIDE, address(15)), Dropped::Station),
            (0, packet(OUTSIDE, one, address(16)), Dropped::Address),
            (0, question(one, address(16), address(2)), Dropped::Address),
            (2, packet(OUTSIDE, one, address(15)), Dropped::Station),
            (2, packet(OUTSIDE, [3; 6], address(15)), Dropped::Station),
            (0, packet(one, one, address(15)), Dropped::Back),
            (0, vec![0; 13], Dropped::Malformed),
            (7, packet(OUTSIDE, three, address(15)), Dropped::Station),
        ] {
            assert_eq!(steering.from_port(port, &bytes, 1), dropped(why), "{bytes:?}");
        }
        // An answer in one's own name about somebody else's station.
        let mut lie = question(one, address(15), address(2));
        lie[ethernet::HEADER + 8..][..6].copy_from_slice(&two);
        assert_eq!(steering.from_port(0, &lie, 1), dropped(Dropped::Address));
        // From outside, in the name of a port, and in nobody's.
        assert_eq!(steering.from_card(&packet(two, one, address(15)), 1), dropped(Dropped::Station));
        assert_eq!(steering.from_card(&packet(two, BROADCAST, address(15)), 1), dropped(Dropped::Station));
        // Who asks whether an address is free has none yet.
        let free = question(one, Ipv4Addr::UNSPECIFIED, address(99));
        assert_eq!(steering.from_port(0, &free, 1), Way::Everyone);
    }

    #[test]
    fn a_station_that_goes_on_speaking_is_not_forgotten() {
        let mut steering = steering();
        let behind = [2, 9, 9, 9, 9, 9];
        for now_ns in [1, FORGET_NS - 1, 2 * FORGET_NS - 3] {
            assert_eq!(steering.from_port(2, &packet(OUTSIDE, behind, address(3)), now_ns), Way::Card);
            let answer = packet(behind, OUTSIDE, address(2));
            assert_eq!(steering.from_card(&answer, now_ns + FORGET_NS - 1), Way::Port(2));
        }
    }

    #[test]
    fn learning_is_bounded_by_port_and_time() {
        let mut steering = steering();
        let behind = |number: u8| [2, 9, 9, 9, 9, number];
        for number in 0..100 {
            let bytes = packet(OUTSIDE, behind(number), address(3));
            assert_eq!(steering.from_port(2, &bytes, u64::from(number)), Way::Card);
        }
        for number in 0..100 {
            let known = usize::from(number) >= 100 - LEARNED_MAX;
            let way = if known { Way::Port(2) } else { Way::Nowhere(Dropped::NotOurs) };
            assert_eq!(steering.from_card(&packet(behind(number), OUTSIDE, address(2)), 200), way);
        }
        // The flood has cost the others nothing.
        let one = station_of(CARD, 0);
        assert_eq!(steering.from_card(&packet(one, OUTSIDE, address(2)), 200), Way::Port(0));
        let late = 99 + FORGET_NS;
        let bytes = packet(behind(99), OUTSIDE, address(2));
        assert_eq!(steering.from_card(&bytes, late), Way::Nowhere(Dropped::NotOurs));
        steering.from_port(2, &packet(OUTSIDE, behind(5), address(3)), late);
        steering.forget(2);
        assert_eq!(
            steering.from_card(&packet(behind(5), OUTSIDE, address(2)), late),
            Way::Nowhere(Dropped::NotOurs)
        );
    }
}

//! IPv6 on our link: our addresses, who else is there, and who forwards (RFC 4861, 4862).
//!
//! Addresses are ours once nobody has objected for a second. A static configuration believes no router; an automatic one
//! asks for routers three times and takes one of them and its prefixes. We learn Ethernet addresses from questions for our
//! own addresses and from answers that we asked for, and believe nothing else. What comes from beyond the link, by its
//! hop limit, is refused where it is parsed.

use core::net::Ipv6Addr;

use crate::batch::Outbox;
use crate::config::{Address6, Config, Config6};
use crate::counters::Drop;
use crate::port::Egress;
use crate::rate::Bucket;
use crate::wire::ethernet::{self, Ethernet, TYPE_IPV6};
use crate::wire::icmpv6::{self, Advertisement, Message, PrefixInformation};
use crate::wire::ipv6::{self, HOP_LIMIT_MAX, Ipv6, PROTOCOL_ICMP, group_mac, is_link_local, same_prefix};

/// Addresses of ours: one of the link, and one each for so many prefixes less one. Further prefixes are not used.
const OWN_MAX: usize = 4;
/// Prefixes of neighbours; further ones are reached through the router.
const PREFIXES: usize = 4;
/// Neighbours that are remembered; beyond that the one heard longest ago is forgotten.
const NEIGHBOURS: usize = 64;
/// Questions that are open at the same time; beyond that the oldest is forgotten and asked again by its timer.
const QUESTIONS: usize = 16;
/// Answers that we send in a second.
const ANSWERS_PER_SECOND: u32 = 1_000;
/// How long somebody may take to object to an address (RFC 4862, 5.1).
const OBJECTION_NS: u64 = 1_000_000_000;
/// Times that routers are asked for, and the time between (RFC 4861, 10).
const SOLICITATIONS: u8 = 3;
const SOLICITATION_NS: u64 = 4_000_000_000;
/// What an advertisement that anybody can send may not make shorter (RFC 4862, 5.5.3).
const LIFETIME_LEAST_NS: u64 = 7_200_000_000_000;
/// The smallest longest packet of IPv6.
pub(crate) const MTU_LEAST: u32 = 1280;
const NEVER: u64 = u64::MAX;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The question whether somebody has it has still to be sent.
    New,
    /// It is ours at this time unless somebody objects.
    Tentative {
        until_ns: u64,
    },
    Ours,
    /// Somebody else has it: it is never used.
    Taken,
}

#[derive(Debug, Clone, Copy)]
struct Own {
    address: Ipv6Addr,
    phase: Phase,
    preferred_ns: u64,
    valid_ns: u64,
}

#[derive(Debug, Clone, Copy)]
struct Prefix {
    prefix: Ipv6Addr,
    len: u8,
    valid_ns: u64,
}

#[derive(Debug, Clone, Copy)]
struct Neighbour {
    address: Ipv6Addr,
    mac: [u8; 6],
    heard_ns: u64,
}

/// The link.
pub(crate) struct Link6 {
    mac: [u8; 6],
    automatic: bool,
    own: [Option<Own>; OWN_MAX],
    prefixes: [Option<Prefix>; PREFIXES],
    /// Who forwards, and until when it said so.
    router: Option<(Ipv6Addr, u64)>,
    table: [Option<Neighbour>; NEIGHBOURS],
    questions: [Option<Ipv6Addr>; QUESTIONS],
    next_question: usize,
    answers: Bucket,
    solicitations: u8,
    solicit_ns: u64,
    /// The longest packet that routers say this link has.
    pub(crate) mtu: u32,
}

impl Link6 {
    pub(crate) fn new(config: &Config, six: &Config6, now_ns: u64) -> Self {
        let own = |address| Own { address, phase: Phase::New, preferred_ns: NEVER, valid_ns: NEVER };
        let mut link = Self {
            mac: config.mac,
            automatic: false,
            own: [None; OWN_MAX],
            prefixes: [None; PREFIXES],
            router: six.gateway.map(|gateway| (gateway, NEVER)),
            table: [None; NEIGHBOURS],
            questions: [None; QUESTIONS],
            next_question: 0,
            answers: Bucket::new(ANSWERS_PER_SECOND),
            solicitations: 0,
            solicit_ns: NEVER,
            mtu: u32::MAX,
        };
        link.own[0] = Some(own(ipv6::of_interface(LINK_LOCAL, config.mac)));
        match six.address {
            Address6::Static { address, prefix_len } => {
                link.own[1] = Some(own(address));
                link.prefixes[0] = Some(Prefix { prefix: address, len: prefix_len, valid_ns: NEVER });
            }
            Address6::Automatic => {
                link.automatic = true;
                link.solicitations = SOLICITATIONS;
                link.solicit_ns = now_ns.saturating_add(OBJECTION_NS);
            }
        }
        link
    }

    /// It is our address, and nobody has objected.
    pub(crate) fn owns(&self, address: Ipv6Addr) -> bool {
        self.own.iter().flatten().any(|own| own.address == address && own.phase == Phase::Ours)
    }

    /// Our addresses that are in use.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.own.iter().flatten().filter(|own| own.phase == Phase::Ours).map(|own| own.address)
    }

    /// It is one of us, or a group in which we are.
    pub(crate) fn listens(&self, destination: Ipv6Addr) -> bool {
        destination == ALL_NODES
            || self.own.iter().flatten().any(|own| {
                own.phase == Phase::Ours && own.address == destination
                    || own.phase != Phase::Taken && ipv6::solicited_node(own.address) == destination
            })
    }

    /// The address with which we speak to another one: of the link to the link, else the longest preferred.
    pub(crate) fn source_for(&self, destination: Ipv6Addr) -> Option<Ipv6Addr> {
        let near = is_link_local(destination);
        let ours = self.own.iter().flatten().filter(|own| own.phase == Phase::Ours);
        ours.filter(|own| is_link_local(own.address) == near)
            .max_by_key(|own| own.preferred_ns)
            .map(|own| own.address)
    }

    /// Where a packet to an address goes first.
    pub(crate) fn next_hop(&self, address: Ipv6Addr) -> Option<Ipv6Addr> {
        if !ipv6::is_host(address) || self.own.iter().flatten().any(|own| own.address == address) {
            return None;
        }
        let mut prefixes = self.prefixes.iter().flatten();
        if is_link_local(address) || prefixes.any(|known| same_prefix(known.prefix, address, known.len)) {
            return Some(address);
        }
        self.router.map(|(router, _)| router)
    }

    /// The Ethernet address of a neighbour, if it is known.
    pub(crate) fn find(&self, address: Ipv6Addr) -> Option<[u8; 6]> {
        self.table.iter().flatten().find(|neighbour| neighbour.address == address).map(|found| found.mac)
    }

    /// Forgets a neighbour that does not answer.
    pub(crate) fn forget(&mut self, address: Ipv6Addr) {
        for place in &mut self.table {
            if place.is_some_and(|found| found.address == address) {
                *place = None;
            }
        }
    }

    /// Asks who has an address.
    pub(crate) fn ask<E: Egress>(&mut self, address: Ipv6Addr, out: &mut Outbox<E>, now_ns: u64) {
        let Some(source) = self.source_for(address) else { return };
        if !self.questions.contains(&Some(address)) {
            self.questions[self.next_question] = Some(address);
            self.next_question = (self.next_question + 1) % QUESTIONS;
        }
        let group = ipv6::solicited_node(address);
        let (message, len) = icmpv6::solicitation(source, group, address, self.mac);
        self.send(source, group, group_mac(group), &message[..len], out, now_ns);
    }

    /// When something is due without anything arriving.
    pub(crate) fn deadline_ns(&self) -> u64 {
        let own = self.own.iter().flatten().map(|own| match own.phase {
            Phase::New => 0,
            Phase::Tentative { until_ns } => until_ns.min(own.valid_ns),
            Phase::Ours | Phase::Taken => own.valid_ns,
        });
        let prefixes = self.prefixes.iter().flatten().map(|prefix| prefix.valid_ns);
        let router = self.router.map_or(NEVER, |(_, until_ns)| until_ns);
        own.chain(prefixes).min().unwrap_or(NEVER).min(router).min(self.solicit_ns)
    }

    /// Does what is due.
    #[cold]
    pub(crate) fn run<E: Egress>(&mut self, out: &mut Outbox<E>, now_ns: u64) {
        for place in 0..OWN_MAX {
            let Some(own) = &mut self.own[place] else { continue };
            let address = own.address;
            match own.phase {
                Phase::New => {
                    own.phase = Phase::Tentative { until_ns: now_ns.saturating_add(OBJECTION_NS) };
                    let group = ipv6::solicited_node(address);
                    let nobody = Ipv6Addr::UNSPECIFIED;
                    let (message, len) = icmpv6::solicitation(nobody, group, address, self.mac);
                    self.send(nobody, group, group_mac(group), &message[..len], out, now_ns);
                }
                Phase::Tentative { until_ns } if until_ns <= now_ns => own.phase = Phase::Ours,
                _ if own.valid_ns <= now_ns => self.own[place] = None,
                _ => {}
            }
        }
        for place in &mut self.prefixes {
            if place.is_some_and(|prefix| prefix.valid_ns <= now_ns) {
                *place = None;
            }
        }
        if self.router.is_some_and(|(_, until_ns)| until_ns <= now_ns) {
            self.router = None;
        }
        if self.solicit_ns <= now_ns {
            self.solicit(out, now_ns);
        }
    }

    fn solicit<E: Egress>(&mut self, out: &mut Outbox<E>, now_ns: u64) {
        self.solicit_ns = NEVER;
        let Some(source) = self.source_for(LINK_LOCAL) else { return };
        if self.solicitations == 0 {
            return;
        }
        self.solicitations -= 1;
        self.solicit_ns = now_ns.saturating_add(SOLICITATION_NS);
        let message = icmpv6::routers(source, ALL_ROUTERS, self.mac);
        self.send(source, ALL_ROUTERS, group_mac(ALL_ROUTERS), &message, out, now_ns);
    }

    fn send<E: Egress>(
        &self,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        mac: [u8; 6],
        message: &[u8],
        out: &mut Outbox<E>,
        now_ns: u64,
    ) {
        const AT: usize = ethernet::HEADER + ipv6::HEADER;
        let mut frame = [0; AT + icmpv6::NEIGHBOUR_LEN];
        Ethernet { destination: mac, source: self.mac, ethertype: TYPE_IPV6 }.emit(&mut frame);
        let packet = Ipv6 { source, destination, protocol: PROTOCOL_ICMP, hop_limit: HOP_LIMIT_MAX };
        packet.emit(&mut frame[ethernet::HEADER..], message.len());
        frame[AT..AT + message.len()].copy_from_slice(message);
        out.send(&frame[..AT + message.len()], (&[], None), None, now_ns);
    }

    /// Acts on a message of neighbour discovery. True when a neighbour's Ethernet address is news.
    pub(crate) fn receive<E: Egress>(
        &mut self,
        packet: &Ipv6,
        message: &Message<'_>,
        out: &mut Outbox<E>,
        now_ns: u64,
    ) -> bool {
        match *message {
            Message::Solicitation { target, mac } => self.answer(packet, target, mac, out, now_ns),
            Message::Answer { target, mac, .. } => {
                self.objected(target, out);
                let asked = self.questions.iter_mut().find(|question| **question == Some(target));
                let (Some(asked), Some(mac)) = (asked, mac.filter(|mac| ethernet::is_station(*mac))) else {
                    return false;
                };
                *asked = None;
                self.learn(target, mac, now_ns);
                return true;
            }
            Message::Advertisement(told) if self.automatic && is_link_local(packet.source) => {
                self.advertised(packet.source, &told, now_ns);
            }
            _ => out.counters.drop(Drop::NotForUs),
        }
        false
    }

    /// Somebody speaks of one of our addresses as theirs.
    fn objected<E: Egress>(&mut self, address: Ipv6Addr, out: &mut Outbox<E>) {
        for own in self.own.iter_mut().flatten() {
            if own.address == address && matches!(own.phase, Phase::New | Phase::Tentative { .. }) {
                own.phase = Phase::Taken;
                out.counters.addresses_taken += 1;
            }
        }
    }

    fn answer<E: Egress>(
        &mut self,
        packet: &Ipv6,
        target: Ipv6Addr,
        mac: Option<[u8; 6]>,
        out: &mut Outbox<E>,
        now_ns: u64,
    ) {
        let nobody = packet.source.is_unspecified();
        if nobody {
            // Somebody wants the address that we want.
            self.objected(target, out);
        }
        let mac = mac.filter(|mac| ethernet::is_station(*mac));
        if !self.owns(target) || (!nobody && mac.is_none()) {
            out.counters.drop(Drop::NotForUs);
            return;
        }
        if !self.answers.take(now_ns) {
            out.counters.drop(Drop::RateLimited);
            return;
        }
        let (to, to_mac) = match mac {
            Some(mac) if !nobody => {
                self.learn(packet.source, mac, now_ns);
                (packet.source, mac)
            }
            _ => (ALL_NODES, group_mac(ALL_NODES)),
        };
        let message = icmpv6::answer(target, to, target, self.mac, !nobody);
        self.send(target, to, to_mac, &message, out, now_ns);
    }

    fn advertised(&mut self, router: Ipv6Addr, told: &Advertisement, now_ns: u64) {
        let until = |seconds: u32| match seconds {
            u32::MAX => NEVER,
            _ => now_ns.saturating_add(u64::from(seconds) * 1_000_000_000),
        };
        self.solicitations = 0;
        self.solicit_ns = NEVER;
        match self.router {
            // The first one stays as long as it forwards.
            Some((known, _)) if known != router => {}
            _ if told.lifetime_s == 0 => self.router = None,
            _ => self.router = Some((router, until(u32::from(told.lifetime_s)))),
        }
        if let Some(mac) = told.mac.filter(|mac| ethernet::is_station(*mac)) {
            self.learn(router, mac, now_ns);
        }
        if let Some(mtu) = told.mtu.filter(|mtu| *mtu >= MTU_LEAST) {
            self.mtu = mtu;
        }
        for prefix in told.prefixes.iter().flatten() {
            if is_link_local(prefix.prefix)
                || prefix.prefix.is_multicast()
                || prefix.preferred_s > prefix.valid_s
            {
                continue;
            }
            if prefix.on_link {
                self.on_link(prefix, until(prefix.valid_s));
            }
            if prefix.autonomous && prefix.len == 64 {
                self.autonomous(prefix, until(prefix.preferred_s), until(prefix.valid_s), now_ns);
            }
        }
    }

    fn on_link(&mut self, told: &PrefixInformation, valid_ns: u64) {
        let same = |known: &Prefix| known.len == told.len && same_prefix(known.prefix, told.prefix, told.len);
        let known = self.prefixes.iter().position(|place| place.as_ref().is_some_and(same));
        // One that is no longer valid goes with the next run.
        if let Some(place) = known.or_else(|| self.prefixes.iter().position(Option::is_none)) {
            self.prefixes[place] = Some(Prefix { prefix: told.prefix, len: told.len, valid_ns });
        }
    }

    fn autonomous(&mut self, told: &PrefixInformation, preferred_ns: u64, valid_ns: u64, now_ns: u64) {
        let address = ipv6::of_interface(told.prefix, self.mac);
        if let Some(own) = self.own.iter_mut().flatten().find(|own| own.address == address) {
            own.preferred_ns = preferred_ns;
            let least_ns = now_ns.saturating_add(LIFETIME_LEAST_NS);
            if valid_ns > least_ns || valid_ns > own.valid_ns {
                own.valid_ns = valid_ns;
            } else {
                own.valid_ns = own.valid_ns.min(least_ns);
            }
        } else if valid_ns > now_ns
            && let Some(place) = self.own.iter_mut().find(|place| place.is_none())
        {
            *place = Some(Own { address, phase: Phase::New, preferred_ns, valid_ns });
        }
    }

    fn learn(&mut self, address: Ipv6Addr, mac: [u8; 6], now_ns: u64) {
        let known = self.table.iter().position(|place| place.is_some_and(|found| found.address == address));
        let place = known.or_else(|| {
            (0..NEIGHBOURS).min_by_key(|&place| self.table[place].map_or(0, |found| found.heard_ns + 1))
        });
        if let Some(place) = place {
            self.table[place] = Some(Neighbour { address, mac, heard_ns: now_ns });
        }
    }
}

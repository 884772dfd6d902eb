//! A stub resolver (RFC 1035): asks servers for the address of a name, and remembers for as long as they say.
//!
//! Pure, in datagrams and time. What protects an answer is that nobody else can guess it: each try has an unpredictable
//! number and port, and only the server that was asked, on its own port, is believed. A name is asked for three times, of
//! one server after the other, with longer and longer pauses.
//!
//! Bounds: [`QUERIES_MAX`] names are asked for at a time (a further one is [`Found::Failed`] at once), [`CACHE_MAX`] are
//! remembered (the one that is over soonest makes room), for a day at most.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use crate::random::Random;
use crate::wire::dns::{self, Answer, Kind, Name};

/// Names that are asked for at the same time.
pub const QUERIES_MAX: usize = 4;
/// Names that are remembered.
pub const CACHE_MAX: usize = 32;
/// Servers that are asked.
pub const SERVERS_MAX: usize = 2;
const TRIES: u32 = 3;
const PAUSE_NS: u64 = 1_000_000_000;
/// How long it is remembered that there is no such name, and the bounds of what servers say about others.
const NONE_S: u32 = 30;
const LIFETIME_LEAST_S: u32 = 1;
const LIFETIME_MOST_S: u32 = 86_400;
/// The ports of questions (RFC 6335).
const PORT_FIRST: u16 = 49_152;
const PORTS: u64 = 16_384;

/// What is known of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Its address.
    Address(IpAddr),
    /// There is no such name, or it has no such address.
    None,
    /// No server answers, or too many names are asked for.
    Failed,
    /// It is being asked for: ask again after the next datagram or deadline.
    Pending,
}

/// A question to be sent to port 53 of a server, from a port that has to be bound until it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Our port.
    pub port: u16,
    /// The port of the try before it, which is not needed any more.
    pub old_port: Option<u16>,
    /// The server.
    pub server: Ipv4Addr,
    /// The question.
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
struct Query {
    name: Name,
    kind: Kind,
    tries: u32,
    id: u16,
    port: Option<u16>,
    server: Ipv4Addr,
    next_ns: u64,
    failed: bool,
}

#[derive(Debug)]
struct Known {
    name: Name,
    kind: Kind,
    address: Option<IpAddr>,
    until_ns: u64,
}

/// The resolver.
#[derive(Debug)]
pub struct Resolver {
    servers: Vec<Ipv4Addr>,
    random: Random,
    queries: Vec<Query>,
    cache: Vec<Known>,
    /// Datagrams that answered nothing that was asked.
    pub refused: u64,
}

impl Resolver {
    /// A resolver that asks nobody yet. The seed must be unpredictable to others.
    pub fn new(seed: u64) -> Self {
        Self {
            servers: Vec::new(),
            random: Random::new(seed),
            queries: Vec::new(),
            cache: Vec::new(),
            refused: 0,
        }
    }

    /// Asks these servers from now on, [`SERVERS_MAX`] at most.
    pub fn set_servers(&mut self, servers: impl IntoIterator<Item = Ipv4Addr>) {
        self.servers = servers.into_iter().take(SERVERS_MAX).collect();
    }

    /// Looks a name up. One that is not known is asked for.
    pub fn find(&mut self, name: &Name, kind: Kind, now_ns: u64) -> Found {
        self.cache.retain(|known| known.until_ns > now_ns);
        if let Some(known) = self.cache.iter().find(|known| known.name == *name && known.kind == kind) {
            return known.address.map_or(Found::None, Found::Address);
        }
        if let Some(place) = self.queries.iter().position(|query| query.name == *name && query.kind == kind) {
            if self.queries[place].failed {
                // Whoever hears of it may ask anew.
                self.queries.remove(place);
                return Found::Failed;
            }
            return Found::Pending;
        }
        self.queries.retain(|query| !query.failed);
        if self.queries.len() == QUERIES_MAX || self.servers.is_empty() {
            return Found::Failed;
        }
        self.queries.push(Query {
            name: name.clone(),
            kind,
            tries: 0,
            id: 0,
            port: None,
            server: Ipv4Addr::UNSPECIFIED,
            next_ns: now_ns,
            failed: false,
        });
        Found::Pending
    }

    /// When something is due without anything arriving.
    pub fn deadline_ns(&self) -> u64 {
        let open = self.queries.iter().filter(|query| !query.failed);
        open.map(|query| query.next_ns).min().unwrap_or(u64::MAX)
    }

    /// A question that is due; ports that no question has any more are in the second part.
    pub fn run(&mut self, now_ns: u64) -> (Option<Outgoing>, Option<u16>) {
        let due = self.queries.iter().position(|query| !query.failed && query.next_ns <= now_ns);
        let Some(place) = due else { return (None, None) };
        let (id, number) = (self.random.next() as u16, self.random.below(PORTS) as u16);
        let mut port = PORT_FIRST + number;
        while self.queries.iter().any(|query| query.port == Some(port)) {
            port = PORT_FIRST + (port - PORT_FIRST + 1) % PORTS as u16;
        }
        let query = &mut self.queries[place];
        let old_port = query.port.take();
        if query.tries == TRIES || self.servers.is_empty() {
            query.failed = true;
            return (None, old_port);
        }
        query.server = self.servers[query.tries as usize % self.servers.len()];
        query.next_ns = now_ns.saturating_add(PAUSE_NS << query.tries);
        query.tries += 1;
        query.id = id;
        query.port = Some(port);
        let bytes = dns::question(id, &query.name, query.kind);
        (Some(Outgoing { port, old_port, server: query.server, bytes }), None)
    }

    /// The ports at which answers are awaited.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.queries.iter().filter_map(|query| query.port)
    }

    /// Acts on a datagram that came to one of the ports. That port, when it is not needed any more.
    pub fn receive(&mut self, port: u16, source: (Ipv4Addr, u16), bytes: &[u8], now_ns: u64) -> Option<u16> {
        let asked = self
            .queries
            .iter()
            .position(|query| query.port == Some(port) && query.server == source.0 && source.1 == dns::PORT);
        let answer = asked.and_then(|place| {
            let query = &self.queries[place];
            Some((place, dns::answer(bytes, query.id, &query.name, query.kind)?))
        });
        let Some((place, answer)) = answer else {
            self.refused += 1;
            return None;
        };
        let (address, lifetime_s) = match answer {
            Answer::Address { address, lifetime_s } => {
                (Some(address), lifetime_s.clamp(LIFETIME_LEAST_S, LIFETIME_MOST_S))
            }
            Answer::None => (None, NONE_S),
            Answer::Unknown => {
                // Somebody else is asked at once.
                self.queries[place].next_ns = now_ns;
                return None;
            }
        };
        let query = self.queries.remove(place);
        if self.cache.len() == CACHE_MAX
            && let Some(soonest) = (0..CACHE_MAX).min_by_key(|&place| self.cache[place].until_ns)
        {
            self.cache.remove(soonest);
        }
        let until_ns = now_ns.saturating_add(u64::from(lifetime_s) * 1_000_000_000);
        self.cache.push(Known { name: query.name, kind: query.kind, address, until_ns });
        query.port
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::dns::tests::{name, respond};

    const SECOND: u64 = 1_000_000_000;
    const SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 3), Ipv4Addr::new(10, 0, 0, 4)];
    const HERE: &[u8] = &[0xc0, 12];

    fn resolver() -> Resolver {
        let mut resolver = Resolver::new(11);
        resolver.set_servers(SERVERS);
        resolver
    }

    #[test]
    fn an_address_is_remembered_as_long_as_the_server_says() {
        let (mut resolver, prices) = (resolver(), name("prices.example"));
        assert_eq!(resolver.find(&prices, Kind::A, 0), Found::Pending);
        assert_eq!(resolver.find(&prices, Kind::A, 0), Found::Pending, "once");
        let asked = resolver.run(0).0.expect("it asks");
        assert_eq!((asked.server, resolver.run(0).0), (SERVERS[0], None));
        let good = respond(&asked.bytes, 0x8180, &[(HERE, 1, 60, &[10, 0, 0, 7])]);
        // From somebody else, from another port, to another port, with another number.
        let mut guessed = good.clone();
        guessed[0] ^= 1;
        for (port, source, bytes) in [
            (asked.port, (SERVERS[1], 53), &good),
            (asked.port, (SERVERS[0], 54), &good),
            (asked.port ^ 1, (SERVERS[0], 53), &good),
            (asked.port, (SERVERS[0], 53), &guessed),
        ] {
            assert_eq!(resolver.receive(port, source, bytes, 1), None);
        }
        assert_eq!((resolver.refused, resolver.find(&prices, Kind::A, 1)), (4, Found::Pending));
        assert_eq!(resolver.receive(asked.port, (SERVERS[0], 53), &good, SECOND), Some(asked.port));
        let found = Found::Address(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7)));
        assert_eq!(resolver.find(&prices, Kind::A, 60 * SECOND), found);
        assert_eq!(resolver.find(&prices, Kind::A, 61 * SECOND), Found::Pending);
        assert_eq!(resolver.find(&prices, Kind::Aaaa, 61 * SECOND), Found::Pending, "another question");
    }

    #[test]
    fn servers_take_turns_with_new_numbers_and_then_it_has_failed() {
        let (mut resolver, prices) = (resolver(), name("prices.example"));
        resolver.find(&prices, Kind::A, 0);
        let (mut tries, mut now_ns) = (Vec::new(), 0);
        while resolver.find(&prices, Kind::A, now_ns) == Found::Pending {
            now_ns = resolver.deadline_ns();
            let (outgoing, freed) = resolver.run(now_ns);
            match outgoing {
                Some(outgoing) => tries.push((now_ns / SECOND, outgoing)),
                None => assert_eq!(freed, tries.last().map(|(_, outgoing)| outgoing.port)),
            }
            if tries.len() > 10 || freed.is_some() {
                break;
            }
        }
        assert_eq!(resolver.find(&prices, Kind::A, now_ns), Found::Failed);
        assert_eq!(tries.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 1, 3]);
        let servers: Vec<_> = tries.iter().map(|(_, outgoing)| outgoing.server).collect();
        assert_eq!(servers, [SERVERS[0], SERVERS[1], SERVERS[0]]);
        assert!(tries[0].1.port != tries[1].1.port && tries[0].1.bytes[..2] != tries[1].1.bytes[..2]);
        assert_eq!(tries[1].1.old_port, Some(tries[0].1.port));
        assert_eq!(resolver.find(&prices, Kind::A, now_ns), Found::Pending, "it may be tried anew");
    }

    #[test]
    fn a_server_that_does_not_know_is_passed_over_and_one_that_says_no_is_believed() {
        let (mut resolver, prices) = (resolver(), name("prices.example"));
        resolver.find(&prices, Kind::A, 0);
        let asked = resolver.run(0).0.expect("it asks");
        assert_eq!(
            resolver.receive(asked.port, (SERVERS[0], 53), &respond(&asked.bytes, 0x8182, &[]), 5),
            None
        );
        let asked = resolver.run(5).0.expect("it asks the other one");
        assert_eq!(asked.server, SERVERS[1]);
        resolver.receive(asked.port, (SERVERS[1], 53), &respond(&asked.bytes, 0x8183, &[]), 6);
        assert_eq!(resolver.find(&prices, Kind::A, 29 * SECOND), Found::None);
        assert_eq!(resolver.find(&prices, Kind::A, 31 * SECOND), Found::Pending);
    }

    #[test]
    fn bounds_hold() {
        let mut resolver = resolver();
        for number in 0..QUERIES_MAX {
            assert_eq!(resolver.find(&name(&alloc::format!("n{number}.x")), Kind::A, 0), Found::Pending);
        }
        assert_eq!(resolver.find(&name("more.x"), Kind::A, 0), Found::Failed);
        for number in 0..2 * CACHE_MAX as u32 {
            let one = name(&alloc::format!("m{number}.x"));
            resolver.queries.clear();
            resolver.find(&one, Kind::A, 0);
            let asked = resolver.run(0).0.expect("it asks");
            let good = respond(&asked.bytes, 0x8180, &[(HERE, 1, 100 + number, &[10, 0, 0, 7])]);
            resolver.receive(asked.port, (asked.server, 53), &good, 0);
        }
        assert_eq!(resolver.cache.len(), CACHE_MAX);
        assert!(resolver.cache.iter().all(|known| known.until_ns >= 100 + CACHE_MAX as u64));
        assert_eq!(Resolver::new(1).find(&name("a.b"), Kind::A, 0), Found::Failed, "there is nobody to ask");
    }
}

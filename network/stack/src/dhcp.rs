//! A DHCP client (RFC 2131, 4.4): pure, in messages and time.
//!
//! ```text
//!  Selecting --offer--> Requesting --ack--> Bound --half the time--> Renewing --7/8--> Rebinding
//!      ^ nak, or no answer to four requests      ^ ack                 |  nak            |  nak, or the time is over
//!      +-----------------------------------------+---------------------+-----------------+
//! ```
//! The first acceptable offer is taken. An offer is not acceptable without the server's address, the time it is good for
//! (ten seconds at least) and a mask without holes, nor with an address that no station of that link can have. A router
//! that is not on the link is left out. Whether somebody else has the address already is not tried out.

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use crate::random::Random;
use crate::wire::dhcp::{Answer, Kind, NAME_SERVERS_MAX, Question};
use crate::wire::ipv4::is_host;

const SECOND_NS: u64 = 1_000_000_000;
/// The first pause before a question is repeated, and the longest (4.1); each is a second longer or shorter by chance.
const PAUSE_S: u64 = 4;
const PAUSE_MAX_S: u64 = 64;
/// Requests that stay without an answer before another offer is looked for.
const REQUESTS: u32 = 4;
/// The shortest time that is worth having an address.
const LEASE_LEAST_S: u32 = 10;
/// The shortest pause while an address is renewed, which is half of the time that is left otherwise.
const RENEWAL_PAUSE_NS: u64 = 60 * SECOND_NS;

/// An address for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// How many leading bits of addresses are the same on our link.
    pub prefix_len: u8,
    /// Who forwards what is not on our link.
    pub gateway: Option<Ipv4Addr>,
    /// Who knows names.
    pub name_servers: [Option<Ipv4Addr>; NAME_SERVERS_MAX],
    /// Who gave it.
    pub server: Ipv4Addr,
    /// Until when it is ours.
    pub until_ns: u64,
    renew_ns: u64,
    rebind_ns: u64,
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The address is ours, newly or for longer.
    Bound(Lease),
    /// It is ours no more: nothing may be sent from it.
    Lost,
}

/// A message to be sent from port 68 to port 67.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// To whom: a server, or everybody.
    pub to: Ipv4Addr,
    /// The message.
    pub bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Selecting,
    Requesting { offered: Ipv4Addr, server: Ipv4Addr },
    Bound,
    Renewing,
    Rebinding,
}

/// The client.
#[derive(Debug)]
pub struct Client {
    mac: [u8; 6],
    random: Random,
    state: State,
    transaction: u32,
    /// When the question now open was asked first: an answer counts from there.
    asked_ns: u64,
    tries: u32,
    next_ns: u64,
    lease: Option<Lease>,
    /// Answers that were not acceptable.
    pub refused: u64,
}

impl Client {
    /// A client without an address, which asks at once. The seed must differ between machines.
    pub fn new(mac: [u8; 6], seed: u64, now_ns: u64) -> Self {
        let mut random = Random::new(seed);
        Self {
            mac,
            state: State::Selecting,
            transaction: random.next() as u32,
            random,
            asked_ns: now_ns,
            tries: 0,
            next_ns: now_ns,
            lease: None,
            refused: 0,
        }
    }

    /// The address, as long as it is ours.
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// When something is due without anything arriving.
    pub fn deadline_ns(&self) -> u64 {
        self.next_ns.min(self.lease.map_or(u64::MAX, |lease| lease.until_ns))
    }

    fn begin(&mut self, state: State, now_ns: u64) {
        self.state = state;
        self.transaction = self.random.next() as u32;
        self.asked_ns = now_ns;
        self.tries = 0;
        self.next_ns = now_ns;
    }

    /// Does what is due: a message to send, or an address that is lost.
    pub fn run(&mut self, now_ns: u64) -> (Option<Outgoing>, Option<Change>) {
        let mut change = None;
        if self.lease.is_some_and(|lease| lease.until_ns <= now_ns) {
            self.lease = None;
            self.begin(State::Selecting, now_ns);
            change = Some(Change::Lost);
        }
        if now_ns < self.next_ns {
            return (None, change);
        }
        match (self.state, self.lease) {
            (State::Bound, Some(_)) => self.begin(State::Renewing, now_ns),
            (State::Renewing, Some(lease)) if lease.rebind_ns <= now_ns => {
                self.begin(State::Rebinding, now_ns)
            }
            (State::Requesting { .. }, _) if self.tries == REQUESTS => self.begin(State::Selecting, now_ns),
            _ => {}
        }
        (Some(self.ask(now_ns)), change)
    }

    /// The question of this state, and when it is repeated.
    fn ask(&mut self, now_ns: u64) -> Outgoing {
        self.tries += 1;
        let nobody = Ipv4Addr::UNSPECIFIED;
        let mut question = Question {
            kind: Kind::Request,
            transaction: self.transaction,
            mac: self.mac,
            address: nobody,
            requested: None,
            server: None,
        };
        let mut to = Ipv4Addr::BROADCAST;
        let half = |end_ns: u64| now_ns + (end_ns.saturating_sub(now_ns) / 2).max(RENEWAL_PAUSE_NS);
        match (self.state, self.lease) {
            (State::Requesting { offered, server }, _) => {
                (question.requested, question.server) = (Some(offered), Some(server));
                self.next_ns = self.pause(now_ns);
            }
            (State::Renewing, Some(lease)) => {
                (question.address, to) = (lease.address, lease.server);
                self.next_ns = half(lease.rebind_ns).min(lease.rebind_ns);
            }
            (State::Rebinding, Some(lease)) => {
                question.address = lease.address;
                self.next_ns = half(lease.until_ns).min(lease.until_ns);
            }
            _ => {
                question.kind = Kind::Discover;
                self.next_ns = self.pause(now_ns);
            }
        }
        Outgoing { to, bytes: question.bytes().to_vec() }
    }

    fn pause(&mut self, now_ns: u64) -> u64 {
        let pause_s = PAUSE_S.checked_shl(self.tries - 1).unwrap_or(PAUSE_MAX_S).min(PAUSE_MAX_S);
        now_ns + (pause_s - 1) * SECOND_NS + self.random.below(2 * SECOND_NS)
    }

    /// Acts on what came to port 68.
    pub fn receive(&mut self, bytes: &[u8], now_ns: u64) -> Option<Change> {
        let answer = Answer::parse(bytes).filter(|answer| answer.is_for(self.transaction, self.mac));
        let Some(answer) = answer else {
            self.refused += 1;
            return None;
        };
        match (self.state, answer.kind) {
            (State::Selecting, Kind::Offer) => {
                let lease = self.acceptable(&answer)?;
                let transaction = self.transaction;
                self.begin(State::Requesting { offered: lease.address, server: lease.server }, now_ns);
                self.transaction = transaction;
                None
            }
            (State::Requesting { offered, server }, Kind::Ack) if answer.address == offered => {
                let lease = self.acceptable(&answer).filter(|lease| lease.server == server)?;
                Some(self.bind(lease))
            }
            (State::Requesting { server, .. }, Kind::Nak) if answer.server == Some(server) => {
                self.begin(State::Selecting, now_ns);
                // A server that says no to what it offers is not asked without a pause.
                self.next_ns = now_ns + PAUSE_S * SECOND_NS;
                None
            }
            (State::Renewing | State::Rebinding, Kind::Ack)
                if self.lease.is_some_and(|lease| lease.address == answer.address) =>
            {
                let lease = self.acceptable(&answer)?;
                Some(self.bind(lease))
            }
            (State::Renewing | State::Rebinding, Kind::Nak) => {
                self.lease = None;
                self.begin(State::Selecting, now_ns);
                Some(Change::Lost)
            }
            _ => {
                self.refused += 1;
                None
            }
        }
    }

    fn bind(&mut self, lease: Lease) -> Change {
        self.state = State::Bound;
        self.lease = Some(lease);
        self.next_ns = lease.renew_ns;
        Change::Bound(lease)
    }

    /// What an answer gives, if that can be; one that cannot is counted.
    fn acceptable(&mut self, answer: &Answer) -> Option<Lease> {
        let lease = self.lease_of(answer);
        self.refused += u64::from(lease.is_none());
        lease
    }

    fn lease_of(&self, answer: &Answer) -> Option<Lease> {
        let server = answer.server.filter(|server| is_host(*server))?;
        let lease_s = answer.lease_s.filter(|lease_s| *lease_s >= LEASE_LEAST_S)?;
        let prefix_len = answer.prefix_len()?;
        let mask = u32::MAX << (32 - u32::from(prefix_len));
        let station = |address: Ipv4Addr| {
            let within = address.to_bits() & !mask;
            is_host(address) && within != 0 && within != !mask
        };
        let address = answer.address;
        if !station(address) || address == server {
            return None;
        }
        let near = |other: &Ipv4Addr| {
            station(*other) && *other != address && (other.to_bits() ^ address.to_bits()) & mask == 0
        };
        let after = |seconds: u64| self.asked_ns.saturating_add(seconds * SECOND_NS);
        let whole = u64::from(lease_s);
        let (half, most) = (whole / 2, whole * 7 / 8);
        // Times that are not in order are left out (4.4.5).
        let (renewal, rebinding) = match (answer.renewal_s, answer.rebinding_s) {
            (Some(first), Some(second)) if first < second && second < lease_s => {
                (u64::from(first), u64::from(second))
            }
            _ => (half, most),
        };
        Some(Lease {
            address,
            prefix_len,
            gateway: answer.router.filter(near),
            name_servers: answer.name_servers.map(|server| server.filter(|server| is_host(*server))),
            server,
            until_ns: if lease_s == u32::MAX { u64::MAX } else { after(whole) },
            renew_ns: if lease_s == u32::MAX { u64::MAX } else { after(renewal) },
            rebind_ns: if lease_s == u32::MAX { u64::MAX } else { after(rebinding) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::dhcp::write_answer;
    use crate::wire::{be16, be32};

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    /// What a client said, as its server reads it.
    struct Said {
        kind: u8,
        transaction: u32,
        address: Ipv4Addr,
        to: Ipv4Addr,
        broadcast: bool,
    }

    fn said(client: &mut Client, now_ns: u64) -> Said {
        let (outgoing, _) = client.run(now_ns);
        let outgoing = outgoing.expect("it says something");
        assert_eq!(outgoing.bytes[240..242], [53, 1]);
        Said {
            kind: outgoing.bytes[242],
            transaction: be32(&outgoing.bytes, 4),
            address: Ipv4Addr::from_bits(be32(&outgoing.bytes, 12)),
            to: outgoing.to,
            broadcast: be16(&outgoing.bytes, 10) == 0x8000,
        }
    }

    fn answer(kind: Kind, transaction: u32) -> Answer {
        Answer {
            kind,
            transaction,
            mac: MAC,
            address: OURS,
            server: Some(SERVER),
            mask: Some(0xffff_ff00),
            router: Some(SERVER),
            name_servers: [Some(SERVER), None],
            lease_s: Some(1000),
            renewal_s: None,
            rebinding_s: None,
        }
    }

    fn bound() -> (Client, Lease) {
        let mut client = Client::new(MAC, 5, 0);
        let discover = said(&mut client, 0);
        assert_eq!((discover.kind, discover.to, discover.broadcast), (1, Ipv4Addr::BROADCAST, true));
        assert_eq!(
            client.receive(&write_answer(&answer(Kind::Offer, discover.transaction)), SECOND_NS),
            None
        );
        let request = said(&mut client, SECOND_NS);
        assert_eq!((request.kind, request.transaction), (3, discover.transaction));
        let ack = write_answer(&answer(Kind::Ack, request.transaction));
        let Some(Change::Bound(lease)) = client.receive(&ack, 2 * SECOND_NS) else { panic!("it is ours") };
        (client, lease)
    }

    #[test]
    fn an_address_is_had_renewed_rebound_and_lost() {
        let (mut client, lease) = bound();
        assert_eq!((lease.address, lease.prefix_len, lease.gateway), (OURS, 24, Some(SERVER)));
        // Times count from the request, not from the answer.
        assert_eq!((lease.renew_ns, lease.until_ns), (501 * SECOND_NS, 1001 * SECOND_NS));
        assert_eq!(client.deadline_ns(), 501 * SECOND_NS);
        let renewal = said(&mut client, 501 * SECOND_NS);
        assert_eq!((renewal.kind, renewal.to, renewal.address, renewal.broadcast), (3, SERVER, OURS, false));
        // An acknowledgement makes it longer.
        let ack = write_answer(&answer(Kind::Ack, renewal.transaction));
        assert!(
            matches!(client.receive(&ack, 502 * SECOND_NS), Some(Change::Bound(lease)) if lease.until_ns == 1501 * SECOND_NS)
        );
        // Nobody answers: again and again, then everybody is asked, then it is lost.
        let (mut asked, mut everybody, mut now_ns) = (0, 0, 502 * SECOND_NS);
        let lost = loop {
            now_ns = client.deadline_ns().max(now_ns + 1);
            let (outgoing, change) = client.run(now_ns);
            if change.is_some() {
                break change;
            }
            let outgoing = outgoing.expect("that is what was due");
            everybody += u32::from(outgoing.to.is_broadcast());
            asked += 1;
        };
        assert_eq!((lost, now_ns), (Some(Change::Lost), 1501 * SECOND_NS));
        assert!(asked > everybody && everybody > 0 && asked < 20, "{asked} {everybody}");
        assert!(client.lease().is_none());
        let again_ns = client.deadline_ns();
        assert_eq!(said(&mut client, again_ns).kind, 1);
    }

    #[test]
    fn times_that_are_not_in_order_are_left_out() {
        for (renewal_s, rebinding_s, renew_s) in [
            (Some(100), Some(200), 100),
            (Some(200), Some(100), 500),
            (Some(100), Some(1000), 500),
            (Some(100), Some(2000), 500),
            (Some(100), None, 500),
        ] {
            let mut client = Client::new(MAC, 5, 0);
            let transaction = said(&mut client, 0).transaction;
            client.receive(&write_answer(&answer(Kind::Offer, transaction)), 0);
            let request = said(&mut client, 0);
            let ack = Answer { renewal_s, rebinding_s, ..answer(Kind::Ack, request.transaction) };
            let Some(Change::Bound(lease)) = client.receive(&write_answer(&ack), 0) else { panic!("ours") };
            assert_eq!(lease.renew_ns, renew_s * SECOND_NS, "{renewal_s:?} {rebinding_s:?}");
        }
    }

    #[test]
    fn a_server_that_refuses_what_it_offered_is_not_asked_without_a_pause() {
        let mut client = Client::new(MAC, 5, 0);
        let transaction = said(&mut client, 0).transaction;
        client.receive(&write_answer(&answer(Kind::Offer, transaction)), 0);
        let request = said(&mut client, SECOND_NS);
        let nak = Answer { address: Ipv4Addr::UNSPECIFIED, ..answer(Kind::Nak, request.transaction) };
        assert_eq!(client.receive(&write_answer(&nak), 2 * SECOND_NS), None);
        assert_eq!(client.deadline_ns(), 6 * SECOND_NS);
        assert_eq!(said(&mut client, 6 * SECOND_NS).kind, 1, "it begins anew");
    }

    #[test]
    fn a_server_that_takes_it_back_is_obeyed() {
        let (mut client, lease) = bound();
        let renewal = said(&mut client, lease.renew_ns);
        let nak = write_answer(&Answer {
            address: Ipv4Addr::UNSPECIFIED,
            ..answer(Kind::Nak, renewal.transaction)
        });
        assert_eq!(client.receive(&nak, lease.renew_ns + 1), Some(Change::Lost));
        assert_eq!(said(&mut client, lease.renew_ns + 1).kind, 1);
    }

    #[test]
    fn bad_offers_are_refused() {
        let good = answer(Kind::Offer, 0);
        let bad = [
            Answer { address: Ipv4Addr::new(10, 0, 0, 255), ..good },
            Answer { address: Ipv4Addr::new(10, 0, 0, 0), ..good },
            Answer { address: Ipv4Addr::UNSPECIFIED, ..good },
            Answer { address: Ipv4Addr::BROADCAST, ..good },
            Answer { address: Ipv4Addr::new(224, 0, 0, 1), ..good },
            Answer { address: Ipv4Addr::LOCALHOST, ..good },
            Answer { address: SERVER, ..good },
            Answer { server: None, ..good },
            Answer { server: Some(Ipv4Addr::BROADCAST), ..good },
            Answer { mask: None, ..good },
            Answer { mask: Some(0xff00_ff00), ..good },
            Answer { lease_s: None, ..good },
            Answer { lease_s: Some(9), ..good },
            Answer { mac: [2, 0, 0, 0, 0, 2], ..good },
            Answer { kind: Kind::Ack, ..good },
            Answer { kind: Kind::Nak, ..good },
        ];
        let mut client = Client::new(MAC, 5, 0);
        let transaction = said(&mut client, 0).transaction;
        for (count, bad) in bad.iter().enumerate() {
            assert_eq!(client.receive(&write_answer(&Answer { transaction, ..*bad }), 1), None);
            assert_eq!((client.state, client.refused), (State::Selecting, count as u64 + 1), "{bad:?}");
        }
        client.receive(&write_answer(&Answer { transaction: transaction ^ 1, ..good }), 1);
        assert_eq!(client.state, State::Selecting, "the answer to another question");
        // A router that is elsewhere is left out, the offer is good.
        let far = Answer { transaction, router: Some(Ipv4Addr::new(192, 168, 0, 1)), ..good };
        client.receive(&write_answer(&far), 1);
        assert!(matches!(client.state, State::Requesting { .. }));
        let ack = Answer { kind: Kind::Ack, ..far };
        // Somebody else cannot confirm it.
        let other = Some(Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!(client.receive(&write_answer(&Answer { server: other, ..ack }), 2), None);
        assert!(
            matches!(client.receive(&write_answer(&ack), 2), Some(Change::Bound(lease)) if lease.gateway.is_none())
        );
    }

    #[test]
    fn without_an_answer_questions_become_rarer_and_requests_are_given_up() {
        let mut client = Client::new(MAC, 9, 0);
        let mut times = Vec::new();
        for _ in 0..8 {
            let now_ns = client.deadline_ns();
            assert_eq!(said(&mut client, now_ns).kind, 1);
            times.push(now_ns / SECOND_NS);
        }
        let pauses: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        for (pause, expected) in pauses.iter().zip([4, 8, 16, 32, 64, 64, 64]) {
            assert!(pause.abs_diff(expected) <= 2, "{pauses:?}");
        }
        let now_ns = client.deadline_ns();
        let transaction = said(&mut client, now_ns).transaction;
        client.receive(&write_answer(&answer(Kind::Offer, transaction)), now_ns);
        let kinds: Vec<u8> = (0..6)
            .map(|_| {
                let now_ns = client.deadline_ns();
                said(&mut client, now_ns).kind
            })
            .collect();
        assert_eq!(kinds, [3, 3, 3, 3, 1, 1]);
    }
}

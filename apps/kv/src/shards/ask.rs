//! The side that asks: an exchange from its first message to the end of its answer.

use super::message::{self, Message, PAYLOAD_MAX};
use super::{Peer, Shards};
use alloc::vec::Vec;
use nom_stack::application::ConnectionId;
use nom_stack::port::{Egress, Ingress};

/// Bytes of an answer that may be on their way at the same time: what they are kept in until the client has room.
pub(super) const GRANT: usize = 4 * PAYLOAD_MAX;
/// Messages of one peer that are looked at before somebody else has a turn.
pub(super) const MESSAGES_A_LOOK: usize = 64;

/// A request that somebody else answers.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// Who waits for it; nobody when the client left.
    client: Option<ConnectionId>,
    /// What came of the answer and was not written yet. Never more than [`GRANT`].
    inbox: Vec<u8>,
    /// Bytes of it that were written since the owner was told last.
    written: usize,
    /// The client is among those that have something to do.
    told: bool,
    /// Data of the request has not come yet.
    sends: bool,
    /// It came to its end: operations accepted, and refused.
    done: Option<(u32, u32)>,
}

/// Names an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Away {
    peer: u8,
    exchange: u16,
}

impl Exchange {
    /// It is under way, and will end whatever the client does.
    pub(super) fn is_under_way(&self) -> bool {
        !self.sends && (self.client.is_some() || self.done.is_some())
    }
}

impl Away {
    /// The core that answers.
    pub(crate) fn owner(self) -> usize {
        usize::from(self.peer)
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asked<'a> {
    /// A line with its end, and what is here of its data.
    Line(&'a [u8]),
    /// A key of a line that gets keys.
    Key { key: &'a [u8], unique: bool, expires: Option<u32> },
    /// What the core counts.
    Report,
}

/// What a connection has to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The ring is full.
    ForRoom,
    /// All exchanges are taken, or none may begin.
    ForExchange,
}

impl Shards {
    /// Begins an exchange for a client.
    pub(crate) fn ask(&mut self, owner: usize, client: ConnectionId, asked: Asked<'_>) -> Result<Away, Wait> {
        let Some(peer) = &mut self.peers[owner] else { unreachable!("it is another core") };
        let Some(&exchange) = peer.free.last().filter(|_| !self.paused) else {
            self.counters.taken += 1;
            return Err(Wait::ForExchange);
        };
        let mut message = Message { exchange, ..Message::default() };
        let sent = match asked {
            Asked::Line(bytes) => {
                message.kind = message::LINE;
                message.send(&mut peer.requests, &[bytes])
            }
            Asked::Key { key, unique, expires } => {
                message.kind = message::KEY;
                message.marks = u8::from(unique) * message::UNIQUE;
                message.marks |= u8::from(expires.is_some()) * message::TOUCHES;
                message.numbers.0 = expires.unwrap_or(0);
                // The space ends the key, and no line ends.
                message.send(&mut peer.requests, &[key, b" "])
            }
            Asked::Report => {
                message.kind = message::REPORT;
                message.send(&mut peer.requests, &[])
            }
        };
        if !sent {
            self.counters.full += 1;
            return Err(Wait::ForRoom);
        }
        peer.free.pop();
        peer.exchanges[usize::from(exchange)].client = Some(client);
        self.counters.sent += 1;
        Ok(Away { peer: owner as u8, exchange })
    }

    /// The connection is called again when what it waits for may be there. To be said once.
    pub(crate) fn queue(&mut self, client: ConnectionId, owner: usize, wait: Wait) {
        let Some(peer) = &mut self.peers[owner] else { unreachable!("it is another core") };
        match wait {
            Wait::ForRoom => peer.crowded.push_back(client),
            Wait::ForExchange => peer.patient.push_back(client),
        }
    }

    /// A connection that waits, or heard a part of the cores, is gone.
    pub(crate) fn forget(&mut self, client: ConnectionId) {
        self.gathered.retain(|(other, _)| *other != client);
        for peer in self.peers.iter_mut().flatten() {
            peer.patient.retain(|other| *other != client);
            peer.crowded.retain(|other| *other != client);
        }
    }

    /// Sends more of the data that a line announced, and says how much.
    pub(crate) fn forward(&mut self, away: Away, bytes: &[u8]) -> usize {
        let mut sent = 0;
        let peer = at(&mut self.peers, away);
        for part in bytes.chunks(PAYLOAD_MAX) {
            if !Message::new(message::DATA, away.exchange).send(&mut peer.requests, &[part]) {
                self.counters.full += 1;
                break;
            }
            sent += part.len();
        }
        sent
    }

    /// Whether data of the request has not come yet.
    pub(crate) fn sends(&mut self, away: Away, sends: bool) {
        at(&mut self.peers, away).exchanges[usize::from(away.exchange)].sends = sends;
    }

    /// What came of an answer and was not written yet, and how it ended if it did.
    pub(crate) fn answer(&mut self, away: Away) -> (&mut Vec<u8>, Option<(u32, u32)>) {
        let exchange = &mut at(&mut self.peers, away).exchanges[usize::from(away.exchange)];
        exchange.told = false;
        (&mut exchange.inbox, exchange.done)
    }

    /// So much of it was written: more may come.
    pub(crate) fn wrote(&mut self, away: Away, len: usize) {
        let exchange = &mut at(&mut self.peers, away).exchanges[usize::from(away.exchange)];
        exchange.inbox.drain(..len);
        self.took(away, len);
    }

    /// So much of it has left the inbox.
    fn took(&mut self, away: Away, len: usize) {
        let peer = at(&mut self.peers, away);
        let exchange = &mut peer.exchanges[usize::from(away.exchange)];
        exchange.written += len;
        if exchange.done.is_none() && exchange.written >= GRANT / 2 {
            let written = core::mem::take(&mut exchange.written);
            peer.owe(Message { numbers: (written as u32, 0), ..Message::new(message::ROOM, away.exchange) });
        }
    }

    /// The client is gone.
    pub(crate) fn leave(&mut self, away: Away) {
        let peer = at(&mut self.peers, away);
        let exchange = &mut peer.exchanges[usize::from(away.exchange)];
        if exchange.done.is_some() {
            self.end(away);
            return;
        }
        exchange.client = None;
        exchange.inbox.clear();
        // One word is enough: what was granted does not matter any more.
        peer.owed.retain(|owed| owed.exchange != away.exchange);
        peer.owe(Message::new(message::LEFT, away.exchange));
    }

    /// The exchange is over, and its answer was written or is nobody's.
    pub(crate) fn end(&mut self, away: Away) {
        let peer = at(&mut self.peers, away);
        peer.owed.retain(|owed| owed.exchange != away.exchange);
        let exchange = &mut peer.exchanges[usize::from(away.exchange)];
        exchange.inbox.clear();
        let inbox = core::mem::take(&mut exchange.inbox);
        *exchange = Exchange { inbox, ..Exchange::default() };
        peer.free.push(away.exchange);
        // One of those who wait for one may try.
        if !self.paused {
            self.ready.extend(peer.patient.pop_front());
        }
    }

    /// Keeps what came of another core's answer for somebody who asks all of them. Whether that was its end, and the exchange is
    /// over.
    pub(crate) fn gather(&mut self, client: ConnectionId, away: Away) -> bool {
        let (inbox, done) = self.answer(away);
        let (said, is_done) = (core::mem::take(inbox), done.is_some());
        match self.gathered.iter_mut().find(|(other, _)| *other == client) {
            Some((_, texts)) => texts.extend_from_slice(&said),
            None => self.gathered.push((client, said.clone())),
        }
        if is_done {
            self.end(away);
        } else {
            self.took(away, said.len());
        }
        is_done
    }

    /// Takes what was gathered.
    pub(crate) fn gathered(&mut self, client: ConnectionId) -> Vec<u8> {
        match self.gathered.iter().position(|(other, _)| *other == client) {
            Some(place) => self.gathered.swap_remove(place).1,
            None => Vec::new(),
        }
    }

    /// Takes in what came of answers, and who waited for room.
    pub(super) fn hear_answers(&mut self, now_ns: u64) {
        for number in 0..self.peers.len() {
            let Some(peer) = &mut self.peers[number] else { continue };
            let mut over = Vec::new();
            for _ in 0..peer.answers.look(now_ns).min(MESSAGES_A_LOOK) {
                let Some(arrival) = peer.answers.take() else { break };
                if let Some((message, payload)) = Message::parse(peer.answers.bytes(&arrival))
                    && let Some(exchange) = peer.exchanges.get_mut(usize::from(message.exchange))
                {
                    let is_done = message.kind == message::DONE;
                    if is_done {
                        exchange.done = Some(message.numbers);
                    }
                    match exchange.client {
                        Some(client) => {
                            exchange.inbox.extend_from_slice(payload);
                            if !core::mem::replace(&mut exchange.told, true) {
                                self.ready.push_back(client);
                            }
                        }
                        None if is_done => {
                            over.push(Away { peer: number as u8, exchange: message.exchange });
                        }
                        None => {}
                    }
                }
                peer.answers.give_back(arrival);
            }
            peer.pay();
            if !peer.crowded.is_empty() {
                // What was read of the ring makes room.
                peer.requests.completed();
                for _ in 0..peer.requests.room().min(peer.crowded.len()) {
                    self.ready.extend(peer.crowded.pop_front());
                }
            }
            over.into_iter().for_each(|over| self.end(over));
        }
    }
}

fn at(peers: &mut [Option<Peer>], away: Away) -> &mut Peer {
    match &mut peers[usize::from(away.peer)] {
        Some(peer) => peer,
        None => unreachable!("an exchange is with another core"),
    }
}

impl Peer {
    /// Tells the owner a word, now or when there is room.
    fn owe(&mut self, message: Message) {
        self.owed.push_back(message);
        self.pay();
    }

    fn pay(&mut self) {
        while let Some(message) = self.owed.front() {
            if !message.send(&mut self.requests, &[]) {
                break;
            }
            self.owed.pop_front();
        }
    }
}

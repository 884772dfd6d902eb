//! What the owner of a port wants of the connections there: whether silence is asked about, and how long is waited for
//! an answer. Nothing by default: an idle connection costs no packet, and may stay for ever.

use alloc::vec::Vec;

use super::connection::{Connection, Purpose};
use super::{Tcp, World};
use crate::application::Application;
use crate::port::Egress;
use crate::wire::tcp::{ACK, Options};

/// Different terms of one stack, and ports that have some. What comes beyond is refused by an error.
const TERMS: usize = 16;
const PORTS: usize = 64;
/// Shorter times than this would be load, not care.
const LEAST_NS: u64 = 1_000_000;

/// Asking a silent peer whether it is still there (RFC 9293, 3.8.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// Silence after which is asked.
    pub idle_ns: u64,
    /// Time between questions that are not answered.
    pub interval_ns: u64,
    /// Questions without an answer after which the connection is given up.
    pub probes: u8,
}

/// The terms of connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// Asks silent peers.
    pub keep_alive: Option<KeepAlive>,
    /// Gives a connection up when what was sent is not acknowledged for this long (RFC 5482's user time-out). Without it
    /// [`crate::Config::retransmissions_max`] decides.
    pub user_timeout_ns: Option<u64>,
}

/// No further terms can be remembered. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyTerms;

/// Those that are in use. Connections name theirs by the place; the first are everybody's who has none.
pub(crate) struct TermsTable {
    known: Vec<Terms>,
    ports: Vec<(u16, u8)>,
    /// Those of all other ports.
    others: u8,
}

impl TermsTable {
    pub(crate) fn new() -> Self {
        let mut known = Vec::with_capacity(TERMS);
        known.push(Terms::default());
        Self { known, ports: Vec::with_capacity(PORTS), others: 0 }
    }

    pub(crate) fn get(&self, place: u8) -> Terms {
        self.known.get(usize::from(place)).copied().unwrap_or_default()
    }

    /// The place of terms, which are remembered for the life of the stack.
    pub(crate) fn place(&mut self, mut terms: Terms) -> Result<u8, TooManyTerms> {
        if let Some(keep) = &mut terms.keep_alive {
            keep.idle_ns = keep.idle_ns.max(LEAST_NS);
            keep.interval_ns = keep.interval_ns.max(LEAST_NS);
        }
        terms.user_timeout_ns = terms.user_timeout_ns.map(|time_ns| time_ns.max(LEAST_NS));
        if let Some(place) = self.known.iter().position(|known| *known == terms) {
            return Ok(place as u8);
        }
        if self.known.len() == TERMS {
            return Err(TooManyTerms);
        }
        self.known.push(terms);
        Ok(self.known.len() as u8 - 1)
    }

    /// Connections that are opened to this port from now on have these terms.
    pub(crate) fn set_port(&mut self, port: u16, terms: Terms) -> Result<(), TooManyTerms> {
        let place = self.place(terms)?;
        if let Some(known) = self.ports.iter_mut().find(|known| known.0 == port) {
            known.1 = place;
        } else if self.ports.len() == PORTS {
            return Err(TooManyTerms);
        } else {
            self.ports.push((port, place));
        }
        Ok(())
    }

    /// Connections that are opened from now on to ports without terms of their own have these.
    pub(crate) fn set_others(&mut self, terms: Terms) -> Result<(), TooManyTerms> {
        self.others = self.place(terms)?;
        Ok(())
    }

    pub(crate) fn of_port(&self, port: u16) -> u8 {
        self.ports.iter().find(|known| known.0 == port).map_or(self.others, |known| known.1)
    }
}

impl Connection {
    /// Nothing was heard that would be an answer; remembers since when.
    pub(super) fn note_silence(&mut self, since_ns: u64) {
        if self.retries == 0 {
            self.silent_ns = since_ns;
        }
        self.retries = self.retries.saturating_add(1);
    }

    fn ask_at(&mut self, at_ns: u64) {
        self.purpose = Purpose::KeepAlive;
        self.deadline_ns = at_ns;
    }

    /// How long may still be waited for an answer; nothing when there is no such limit or an answer is not missing.
    pub(super) fn patience_left_ns(&self, terms: Terms, now_ns: u64) -> Option<u64> {
        let limit_ns = terms.user_timeout_ns.filter(|_| self.retries > 0)?;
        Some(self.silent_ns.saturating_add(limit_ns).saturating_sub(now_ns))
    }
}

impl Tcp {
    /// Gives a connection other terms, from now on.
    pub(crate) fn set_terms(&mut self, slot: u32, place: u8) {
        let connection = self.table.at(slot);
        connection.terms = place;
        if matches!(connection.purpose, Purpose::KeepAlive | Purpose::Nothing) {
            connection.purpose = Purpose::Nothing;
            self.make_due(slot);
        }
    }

    /// A connection that is idle was silent for a while, or did not answer a question. Says whether to give it up.
    pub(super) fn ask_silent<A: Application, E: Egress>(
        &mut self,
        world: &mut World<'_, A, E>,
        slot: u32,
    ) -> bool {
        let now_ns = world.now_ns;
        let connection = self.table.at(slot);
        let terms = self.terms.get(connection.terms);
        let Some(keep) = terms.keep_alive else { return false };
        let ask_ns = connection.arrived_ns.max(connection.sent_ns).saturating_add(keep.idle_ns);
        if connection.retries == 0 && ask_ns > now_ns {
            // There was something since: it is looked at again when that is long enough ago.
            connection.ask_at(ask_ns);
            return false;
        }
        let given_up = match connection.patience_left_ns(terms, now_ns) {
            Some(left_ns) => left_ns == 0,
            None => connection.retries >= keep.probes.max(1),
        };
        if given_up {
            return true;
        }
        connection.note_silence(now_ns.saturating_sub(keep.idle_ns));
        connection.ask_at(now_ns.saturating_add(keep.interval_ns));
        // In front of what is outstanding, so that the other side answers where it stands. A full ring loses it.
        let sequence = connection.una.minus(1);
        if self.control(world, slot, sequence, ACK, &Options::default()).is_some() {
            world.out.counters.keep_alives += 1;
        }
        false
    }
}

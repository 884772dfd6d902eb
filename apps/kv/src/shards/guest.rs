//! The side that owns the keys: whoever asks from another core is served as a client is, by the same code, and what it is
//! answered goes into the ring as far as was granted.

use super::ask::{GRANT, MESSAGES_A_LOOK};
use super::message::{self, Message, PAYLOAD_MAX};
use super::{Peer, Says};
use crate::server::{Connection, Kv, Pending};
use crate::store::Item;
use alloc::vec::Vec;
use nom_stack::application::{ConnectionId, Io, NoRoom, Pin};
use nom_stack::meter::Answer;
use nom_stack::port::Ingress;

/// Marks the place of a guest, which is none of the stack's.
pub(crate) const GUEST: u32 = 1 << 31;
/// Bytes that may be written for one request: a line, or what stands before a value.
const WRITTEN_MAX: usize = 4096;
/// Where nobody is.
const NOBODY: ConnectionId = ConnectionId { slot: GUEST, generation: 0 };

/// Somebody who asks from another core.
#[derive(Debug, Default)]
pub(super) struct Guest {
    is_there: bool,
    /// Its place is kept for the next one, with the memory that it has.
    visit: Visit,
}

impl Guest {
    #[cfg(test)]
    pub(super) fn is_there(&self) -> bool {
        self.is_there
    }

    /// There is something to say, or all was said that will come.
    pub(super) fn is_under_way(&self) -> bool {
        let Visit { connection, sheet, .. } = &self.visit;
        self.is_there && (connection.is_answered() || sheet.said < sheet.text.len() || sheet.pin.is_some())
    }
}

/// One request of a guest.
#[derive(Debug, Default)]
struct Visit {
    connection: Connection,
    pending: Pending,
    sheet: Sheet,
    /// Bytes that may be said now.
    granted: usize,
    /// It is among those that wait for room in the ring.
    waits: bool,
}

/// What a guest is answered.
#[derive(Debug, Default)]
struct Sheet {
    now_ns: u64,
    text: Vec<u8>,
    said: usize,
    /// A value behind it, and how much of it was said.
    pin: Option<(Pin, usize)>,
    accepted: u32,
    refused: u32,
}

impl Sheet {
    fn begin(&mut self) {
        debug_assert!(self.pin.is_none(), "the value before was said or given back");
        self.text.clear();
        (self.said, self.accepted, self.refused) = (0, 0, 0);
    }
}

impl Io for Sheet {
    fn connection(&self) -> ConnectionId {
        NOBODY
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn room(&self) -> usize {
        WRITTEN_MAX.saturating_sub(self.text.len())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        // What stands behind a value would be said before it; no request is answered so.
        if bytes.len() > self.room() || self.pin.is_some() && !bytes.is_empty() {
            return Err(NoRoom);
        }
        self.text.extend_from_slice(bytes);
        Ok(())
    }

    fn write_pinned(&mut self, pin: Pin) -> Result<(), NoRoom> {
        if self.pin.is_some() {
            return Err(NoRoom);
        }
        self.pin = Some((pin, 0));
        Ok(())
    }

    fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Accepted => self.accepted += 1,
            Answer::Refused => self.refused += 1,
        }
    }

    fn close(&mut self) {}

    fn abort(&mut self) {}
}

impl Kv {
    /// Does what other cores want, and names a connection of our own that has something to do.
    #[inline(never)]
    pub(crate) fn attend_shards(&mut self, now_ns: u64) -> Option<ConnectionId> {
        // Guests are served without it: whatever they ask is ours.
        let mut shards = self.shards.take()?;
        if let Some(bytes) = shards.told_memory() {
            self.set_memory(bytes);
        }
        if shards.ready.is_empty() {
            for peer in shards.peers.iter_mut().flatten() {
                shards.counters.served += self.serve_guests(peer, now_ns);
            }
            shards.hear_answers(now_ns);
        }
        let next = shards.ready.pop_front();
        if next.is_none() {
            shards.kick();
        }
        self.shards = Some(shards);
        next
    }

    fn serve_guests(&mut self, peer: &mut Peer, now_ns: u64) -> u64 {
        for _ in 0..peer.unsaid.len() {
            let Some(number) = peer.unsaid.pop_front() else { break };
            peer.guests[usize::from(number)].visit.waits = false;
            if !self.say(peer, number) {
                break;
            }
        }
        let mut served = 0;
        for _ in 0..peer.asked.look(now_ns).min(MESSAGES_A_LOOK) {
            let Some(arrival) = peer.asked.take() else { break };
            let mut number = None;
            if let Some((message, payload)) = Message::parse(peer.asked.bytes(&arrival))
                && let Some(guest) = peer.guests.get_mut(usize::from(message.exchange))
            {
                number = Some(message.exchange);
                served += u64::from(self.heard(guest, message, payload, now_ns));
            }
            peer.asked.give_back(arrival);
            if let Some(number) = number {
                self.say(peer, number);
            }
        }
        served
    }

    /// Takes in a message of a guest. Whether it begins a request.
    fn heard(&mut self, guest: &mut Guest, message: Message, payload: &[u8], now_ns: u64) -> bool {
        let begins = matches!(message.kind, message::LINE | message::KEY | message::REPORT);
        let Guest { is_there, visit } = guest;
        if begins {
            *is_there = true;
            visit.granted = GRANT;
            visit.sheet.begin();
        } else if !*is_there {
            return false;
        }
        visit.sheet.now_ns = now_ns;
        match message.kind {
            message::ROOM => visit.granted += message.numbers.0 as usize,
            message::LEFT => {
                self.see_off(visit);
                visit.sheet.begin();
            }
            message::REPORT => visit.sheet.text.extend_from_slice(self.general_report(now_ns).as_bytes()),
            _ => {
                if message.kind == message::KEY {
                    let touches = message.marks & message::TOUCHES != 0;
                    let unique = message.marks & message::UNIQUE != 0;
                    visit.connection.begin_keys(unique, touches.then_some(message.numbers.0));
                }
                let mut connection = core::mem::take(&mut visit.connection);
                core::mem::swap(&mut self.guest_pending, &mut visit.pending);
                let consumed = self.serve_guest(&mut connection, &mut visit.sheet, payload);
                debug_assert_eq!(consumed, payload.len(), "there is always room for a guest's answer");
                core::mem::swap(&mut self.guest_pending, &mut visit.pending);
                if message.kind == message::KEY {
                    connection.end_keys();
                }
                visit.connection = connection;
            }
        }
        begins
    }

    /// Nobody waits for the answer: what the request holds is given back.
    fn see_off(&mut self, visit: &mut Visit) {
        let connection = core::mem::take(&mut visit.connection);
        self.drop_connection(connection);
        if let Some((pin, _)) = visit.sheet.pin.take() {
            self.store.release(Item::from_token(pin.token));
        }
    }

    /// Says as much of an answer as was granted and has room; false when the ring is full.
    fn say(&mut self, peer: &mut Peer, number: u16) -> bool {
        let guest = &mut peer.guests[usize::from(number)];
        while guest.is_there {
            let visit = &mut guest.visit;
            match self.say_part(&mut peer.said, visit, number) {
                Said::Part => {}
                Said::AllThatMay => return true,
                Said::All => guest.is_there = false,
                Said::Full => {
                    if !core::mem::replace(&mut visit.waits, true) {
                        peer.unsaid.push_back(number);
                    }
                    return false;
                }
            }
        }
        true
    }

    fn say_part(&mut self, ring: &mut Says, visit: &mut Visit, number: u16) -> Said {
        let sheet = &mut visit.sheet;
        let text = &sheet.text[sheet.said..];
        let value = match sheet.pin {
            Some((pin, said)) => &self.store.data(Item::from_token(pin.token))[said..pin.len as usize],
            None => &[],
        };
        let most = PAYLOAD_MAX.min(visit.granted);
        let text_len = text.len().min(most);
        let value_len = value.len().min(most - text_len);
        let is_last = text_len == text.len() && value_len == value.len() && visit.connection.is_answered();
        if text_len + value_len == 0 && !is_last {
            return Said::AllThatMay;
        }
        let mut message = Message::new(message::PIECE, number);
        if is_last {
            message.kind = message::DONE;
            message.numbers = (sheet.accepted, sheet.refused);
        }
        if !message.send(ring, &[&text[..text_len], &value[..value_len]]) {
            return Said::Full;
        }
        visit.granted -= text_len + value_len;
        sheet.said += text_len;
        if let Some((pin, said)) = &mut sheet.pin {
            *said += value_len;
            if *said == pin.len as usize {
                self.store.release(Item::from_token(pin.token));
                sheet.pin = None;
            }
        }
        if is_last { Said::All } else { Said::Part }
    }
}

/// What became of a part of an answer.
enum Said {
    Part,
    /// It waits for more data, or for a grant.
    AllThatMay,
    All,
    /// The ring has no room.
    Full,
}

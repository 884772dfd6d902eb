//! Giving answers: heads, and content piece by piece.

use super::{Answer, Connection, Httpd, OFFSET_BITS, PIECE, Sending, State};
use crate::answer::{self, After, LOCATION_MAX};
use crate::plan::What;
use crate::range::Part;
use crate::site::Slot;
use crate::status::Status;
use alloc::vec::Vec;
use nom_stack::application::{Io, Pin};
use nom_stack::meter;

impl Httpd {
    /// The usual answer: all of a content, to a connection that stays. False when there is no room.
    #[inline]
    pub(super) fn usual(
        &mut self,
        connection: &mut Connection,
        io: &mut impl Io,
        slot: Slot,
        line: &[u8],
    ) -> bool {
        let variant = self.site.dated(slot, self.now_s);
        if io.write(variant.answer(true)).is_err() {
            return false;
        }
        let len = variant.len();
        let whole = variant.is_inline();
        self.note(io, line, Status::Ok, len);
        if whole {
            io.answered(meter::Answer::Accepted);
        } else {
            let part = Part { from: 0, to: len };
            self.begin_sending(
                connection,
                io,
                Sending { slot, part, parts: Vec::new(), several: false, after: After::Stays },
            );
        }
        true
    }

    /// Says that the client has it already. False when there is no room.
    pub(super) fn not_modified(&mut self, io: &mut impl Io, slot: Slot, line: &[u8]) -> bool {
        self.reply.begin(Status::NotModified, self.now_s);
        self.reply.etag(self.site.variant(slot));
        self.reply.end(After::Stays);
        if io.write(self.reply.bytes()).is_err() {
            return false;
        }
        self.note(io, line, Status::NotModified, 0);
        io.answered(meter::Answer::Accepted);
        true
    }

    /// Gives any answer. False when there is no room; nothing has changed then.
    pub(super) fn give(
        &mut self,
        connection: &mut Connection,
        io: &mut impl Io,
        answer: &Answer,
        what: &What,
        line: &[u8],
    ) -> bool {
        let path = answer.path.as_deref().unwrap_or(self.path.bytes());
        let status = match what {
            What::Folder if answer::location_len(path) > LOCATION_MAX => Status::NotFound,
            _ => what.status(),
        };
        let reply = &mut self.reply;
        let mut sending = None;
        let mut len = 0;
        match what {
            What::Whole(slot) => {
                let variant = self.site.dated(*slot, self.now_s);
                len = variant.len();
                reply.usual(variant);
                reply.end(answer.after);
                if variant.is_inline() && !answer.bare {
                    reply.text(&variant.body);
                } else if !answer.bare {
                    sending = Some((*slot, Part { from: 0, to: len }, Vec::new(), false));
                }
            }
            What::Part(slot, part) => {
                let variant = self.site.variant(*slot);
                len = part.to - part.from;
                reply.begin(status, self.now_s);
                reply.media(variant.media);
                reply.coding(variant);
                reply.content_range(Some(*part), variant.len());
                reply.length(len);
                reply.etag(variant);
                reply.modified(variant);
                reply.end(answer.after);
                sending = Some((*slot, *part, Vec::new(), false));
            }
            What::Parts(slot, parts) => {
                let variant = self.site.variant(*slot);
                len = answer::parts_len(variant, parts, reply);
                reply.begin(status, self.now_s);
                reply.text(b"Content-Type: multipart/byteranges; boundary=");
                reply.text(answer::boundary(variant));
                reply.text(b"\r\n");
                reply.coding(variant);
                reply.length(len);
                reply.etag(variant);
                reply.modified(variant);
                reply.end(answer.after);
                let rest: Vec<Part> = parts.iter().rev().copied().collect();
                sending = Some((*slot, Part { from: 0, to: 0 }, rest, true));
            }
            What::NotModified(slot) => {
                reply.begin(status, self.now_s);
                reply.etag(self.site.variant(*slot));
                reply.end(answer.after);
            }
            What::Mirror => self.empty_mirror(answer.after),
            What::Options => {
                reply.begin(status, self.now_s);
                reply.text(answer::ALLOW);
                reply.end(answer.after);
            }
            What::Said(_) | What::Folder | What::Unsatisfiable(_) => {
                let text = status.explanation();
                reply.begin(status, self.now_s);
                match what {
                    What::Unsatisfiable(slot) => reply.content_range(None, self.site.variant(*slot).len()),
                    What::Folder if status == Status::MovedPermanently => reply.location(path),
                    What::Said(Status::MethodNotAllowed) => reply.text(answer::ALLOW),
                    _ => {}
                }
                len = text.len() as u64;
                reply.media("text/plain");
                reply.length(len);
                reply.end(answer.after);
                if !answer.bare {
                    reply.text(text);
                }
            }
        }
        if io.write(self.reply.bytes()).is_err() {
            return false;
        }
        self.note(io, line, status, if answer.bare { 0 } else { len });
        let paid = if status.is_paid() { meter::Answer::Accepted } else { meter::Answer::Refused };
        match sending {
            Some((slot, part, parts, several)) => {
                self.begin_sending(
                    connection,
                    io,
                    Sending { slot, part, parts, several, after: answer.after },
                );
            }
            None => {
                io.answered(paid);
                self.finish(connection, io, answer.after);
            }
        }
        true
    }

    pub(super) fn begin_sending(&mut self, connection: &mut Connection, io: &mut impl Io, sending: Sending) {
        self.site.hold(sending.slot);
        connection.sending = Some(sending);
        self.send(connection, io);
    }

    /// Writes what is still to be written. False when there is no room for all of it.
    pub(super) fn send(&mut self, connection: &mut Connection, io: &mut impl Io) -> bool {
        let Some(sending) = &mut connection.sending else { return true };
        let slot = sending.slot;
        loop {
            let Part { from, to } = sending.part;
            if from < to {
                let len = (to - from).min(PIECE);
                let pin = Pin { token: u64::from(slot) << OFFSET_BITS | from, len: len as u32 };
                // Held before it is named: the stack may ask for the bytes at once.
                self.site.hold(slot);
                if io.write_pinned(pin).is_err() {
                    self.site.release(slot);
                    return false;
                }
                sending.part.from += len;
                connection.since_s =
                    (io.now_ns().saturating_sub(self.config.start_ns) / 1_000_000_000) as u32;
                continue;
            }
            let variant = self.site.variant(slot);
            match sending.parts.last() {
                Some(part) => self.reply.part(variant, *part),
                None if sending.several => self.reply.last(variant),
                None => break,
            }
            if io.write(self.reply.bytes()).is_err() {
                return false;
            }
            match sending.parts.pop() {
                Some(part) => sending.part = part,
                None => sending.several = false,
            }
        }
        let after = sending.after;
        connection.sending = None;
        self.site.release(slot);
        io.answered(meter::Answer::Accepted);
        self.finish(connection, io, after);
        true
    }

    pub(super) fn finish(&mut self, connection: &mut Connection, io: &mut impl Io, after: After) {
        if after == After::Ends {
            io.close();
            connection.state = State::Closing;
            connection.since_s = self.second(io.now_ns());
        }
    }

    /// Counts an answer, and logs it.
    #[inline]
    pub(super) fn note(&mut self, io: &impl Io, line: &[u8], status: Status, len: u64) {
        self.tally.answers += 1;
        self.tally.content_bytes += len;
        if self.log.is_on() {
            self.log.add(self.now_s, io.peer(), line, status, len);
        }
    }
}

//! What is posted to the mirror is sent back while it arrives: for trying out clients, proxies and ways between them.
//!
//! A request's content whose length is not known is answered in chunks (RFC 9112, 7.1), unless it ends before
//! [`WHOLE_MAX`] bytes: then its length is known in time. Nothing beyond that is kept here; what finds no room to be sent
//! stays unconsumed, so a client that does not read is not read from either.

use super::{Connection, Httpd, Progress, State};
use crate::answer::After;
use crate::content::{self, Content};
use crate::plan::What;
use crate::status::Status;
use alloc::boxed::Box;
use alloc::vec::Vec;
use nom_stack::application::Io;
use nom_stack::meter;

/// Bytes that are waited for before an answer of unknown length begins.
pub(crate) const WHOLE_MAX: usize = 1024;
/// Bytes of a request that are sent back in one piece: more than any line of its framing has.
const PIECE: usize = 2048;

/// A request whose content is being sent back.
#[derive(Debug)]
pub(super) struct Mirror {
    content: Content,
    after: After,
    /// The request's first line, where a log wants it.
    line: Box<[u8]>,
    /// The length, where the request says it.
    known: Option<u64>,
    /// What came before the answer began.
    gathered: Vec<u8>,
    /// The answer has begun: nothing else can be said any more.
    pub(super) begun: bool,
    /// Bytes of content that were sent back.
    len: u64,
}

impl Mirror {
    pub(super) fn new(content: Content, after: After, line: &[u8]) -> Self {
        let known = if let Content::Length(len) = content { Some(len) } else { None };
        Self { content, after, line: line.into(), known, gathered: Vec::new(), begun: false, len: 0 }
    }
}

impl Httpd {
    /// Reads on, and sends back.
    pub(super) fn mirror(&mut self, connection: &mut Connection, io: &mut impl Io, rest: &[u8]) -> Progress {
        let State::Mirror(mirror) = &mut connection.state else { unreachable!("called for this state only") };
        let piece = &rest[..rest.len().min(PIECE)];
        let (mut ahead, mut payload) = (mirror.content, Vec::new());
        let read = ahead.read_to(piece, |bytes| payload.extend_from_slice(bytes));
        let (len, ends) = match read {
            content::Progress::More(0) => return Progress::Starved,
            content::Progress::More(len) => (len, false),
            content::Progress::End(len) => (len, true),
            content::Progress::Malformed => {
                return self.shatter(connection, io, Status::BadRequest, rest.len());
            }
            content::Progress::TooLarge => {
                return self.shatter(connection, io, Status::ContentTooLarge, rest.len());
            }
        };
        let bytes = mirror.gathered.len() + payload.len();
        let waits = !mirror.begun && !ends && mirror.known.is_none() && bytes <= WHOLE_MAX;
        if !waits && (ends || bytes > 0) {
            let reply = &mut self.reply;
            reply.clear();
            if !mirror.begun {
                reply.begin(Status::Ok, self.now_s);
                reply.media("application/octet-stream");
                match mirror.known {
                    Some(len) => reply.length(len),
                    None if ends => reply.length(bytes as u64),
                    None => reply.chunked(),
                }
                reply.end(mirror.after);
            }
            let in_chunks = mirror.known.is_none() && (mirror.begun || !ends);
            if in_chunks && bytes > 0 {
                reply.chunk(bytes);
            }
            reply.text(&mirror.gathered);
            reply.text(&payload);
            if in_chunks {
                reply.text(if bytes > 0 { b"\r\n" } else { b"" });
                reply.text(if ends { b"0\r\n\r\n" } else { b"" });
            }
            if io.write(reply.bytes()).is_err() {
                return Progress::Blocked;
            }
            mirror.begun = true;
            mirror.gathered.clear();
        } else {
            mirror.gathered.extend_from_slice(&payload);
        }
        mirror.content = ahead;
        mirror.len += payload.len() as u64;
        if ends && let State::Mirror(mirror) = core::mem::take(&mut connection.state) {
            self.note(io, &mirror.line, Status::Ok, mirror.len);
            io.answered(meter::Answer::Accepted);
            connection.since_s = self.second(io.now_ns());
            self.finish(connection, io, mirror.after);
        }
        Progress::Consumed(len)
    }

    /// The request is wrong. Once the answer has begun, only its sudden end can say so.
    fn shatter(
        &mut self,
        connection: &mut Connection,
        io: &mut impl Io,
        status: Status,
        len: usize,
    ) -> Progress {
        let State::Mirror(mirror) = core::mem::take(&mut connection.state) else { unreachable!() };
        if mirror.begun {
            self.note(io, &mirror.line, status, mirror.len);
            io.answered(meter::Answer::Refused);
            io.abort();
            connection.state = State::Closing;
            return Progress::Consumed(len);
        }
        let progress = self.refuse(connection, io, status, &mirror.line, len);
        if matches!(progress, Progress::Blocked) {
            connection.state = State::Mirror(mirror);
        }
        progress
    }

    /// The answer to a request without content.
    pub(super) fn empty_mirror(&mut self, after: After) {
        self.reply.begin(What::Mirror.status(), self.now_s);
        self.reply.media("application/octet-stream");
        self.reply.length(0);
        self.reply.end(after);
    }
}

//! Connections: from bytes that arrive in any pieces to answers in the room that there is.
//!
//! Nothing is buffered here. A head that is not whole yet, or whose answer has no room, stays unconsumed with the
//! stack, which closes the window when it holds too much. Content is sent in pieces of [`PIECE`] from its place, each a pin;
//! what was begun is owed until there is room for the rest.
//!
//! **Slow clients**: each connection has a second since which it owes us something (a head, a request's content, its end),
//! and a limit for that in [`Config`]. They are looked for a few at a time, in `limits`. Answers are owed to be read until the
//! other side has acknowledged them (`reading`), and heads that do not end hold so much memory together and no more (`heads`).

use crate::answer::{After, Reply};
use crate::content::{self, Content};
use crate::head::{self, End, Head, Method};
use crate::log::Log;
use crate::memo::{Again, Memo, Recalled};
use crate::plan::{self, What};
use crate::press::Press;
use crate::range::Part;
use crate::site::{Site, Slot};
use crate::status::Status;
use crate::target::Path;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use nom_stack::application::{Application, Compressible, ConnectionId, Ended, Io, Pin};

mod heads;
mod limits;
mod mirror;
mod reading;
mod send;
mod succession;

/// Bytes of content that one pin has at most, and that a reader has to read within [`Config::reading_limit_s`].
pub const PIECE: u64 = 64 << 10;
/// Bits of a pin's token that say where in the content it begins.
const OFFSET_BITS: u32 = 32;

/// What a server is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Memory for content.
    pub content_bytes: usize,
    /// Fields that the standard only recommends are left out of answers.
    pub lean: bool,
    /// Content up to this size is copied into the answer.
    pub inline_bytes: usize,
    /// Most content of a request, which is thrown away.
    pub request_content_max: u64,
    /// Seconds from the first byte of a request's head to its end.
    pub head_limit_s: u32,
    /// Seconds for the content of a request.
    pub content_limit_s: u32,
    /// Seconds for reading [`PIECE`] bytes of answers, or all there are.
    pub reading_limit_s: u32,
    /// Memory of the stack that heads may hold which have not ended.
    pub heads_bytes: usize,
    /// Seconds between two requests.
    pub idle_limit_s: u32,
    /// The path to which something may be posted, to be sent back.
    pub mirror: Option<String>,
    /// Whether content may be compressed while it is served.
    pub presses: bool,
    /// Whether answers are logged.
    pub logs: bool,
    /// Whether the log is told to whoever watches, instead of being fetched.
    pub tells: bool,
    /// The time of start.
    pub start_ns: u64,
    /// Nanoseconds since 1970 at that time; 0 when not known: answers have no date then.
    pub start_unix_ns: u64,
}

impl Config {
    /// A server with usual limits.
    pub fn new(content_bytes: usize, start_ns: u64, start_unix_ns: u64) -> Self {
        Self {
            content_bytes,
            lean: true,
            inline_bytes: crate::site::INLINE_MAX,
            request_content_max: 1 << 20,
            head_limit_s: 10,
            content_limit_s: 60,
            reading_limit_s: 60,
            heads_bytes: 512 << 10,
            idle_limit_s: 65,
            mirror: None,
            presses: false,
            logs: false,
            tells: false,
            start_ns,
            start_unix_ns,
        }
    }
}

/// Where in the protocol a connection is.
#[derive(Debug, Default)]
enum State {
    /// Before a head, or within one.
    #[default]
    Head,
    /// Within the content of a request; behind it comes its answer.
    Content(Content, Box<Answer>),
    /// Within the content of a request that is sent back.
    Mirror(Box<mirror::Mirror>),
    /// Nothing more is heard.
    Closing,
}

/// An answer with all that is needed to give it.
#[derive(Debug)]
struct Answer {
    what: What,
    after: After,
    /// It has no content because it was asked for without.
    bare: bool,
    /// The path of a folder.
    path: Option<Box<[u8]>>,
    /// The request's first line, where a log wants it.
    line: Box<[u8]>,
}

/// Content that is still to be written. It holds its slot.
#[derive(Debug)]
struct Sending {
    slot: Slot,
    part: Part,
    /// Further parts, the next one last.
    parts: Vec<Part>,
    several: bool,
    after: After,
}

#[derive(Debug, Default)]
struct Connection {
    open: bool,
    generation: u32,
    state: State,
    sending: Option<Sending>,
    /// Bytes of a head that were looked at.
    seen: usize,
    /// A part of a head is there.
    begun: bool,
    /// What there is of it is counted among the heads that have not ended.
    held: bool,
    /// Since when it is waited for what comes next.
    since_s: u32,
    /// Whether what was answered is read.
    reading: reading::Reading,
    /// It took too long.
    late: bool,
    /// The last bytes could not be served for lack of room.
    blocked: bool,
    /// The client will send no more.
    finished: bool,
}

/// What serving a piece came to.
enum Progress {
    /// So many bytes are done with.
    Consumed(usize),
    /// More bytes are needed.
    Starved,
    /// There is no room for the answer.
    Blocked,
}

/// What was answered since the start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Connections opened.
    pub connections: u64,
    /// Answers of all kinds.
    pub answers: u64,
    /// Bytes of content in them.
    pub content_bytes: u64,
    /// Connections ended because a request or its reader was too slow.
    pub late: u64,
    /// Those of them whose time was not over, but heads that had not ended held too much memory.
    pub crowded: u64,
    /// Connections ended because nothing was asked for long.
    pub idle: u64,
}

/// The server: an application for a stack.
#[derive(Debug)]
pub struct Httpd {
    config: Config,
    pub(crate) site: Site,
    pub(crate) press: Press,
    memo: Memo,
    log: Log,
    connections: Vec<Connection>,
    reply: Reply,
    path: Path,
    tally: Tally,
    sweep: limits::Sweep,
    heads: heads::Heads,
    draining: bool,
    /// The second of answers (since 1970), and when it is over.
    now_s: u64,
    now_until_ns: u64,
}

impl Httpd {
    /// A server without content.
    pub fn new(config: Config) -> Self {
        let dated = config.start_unix_ns > 0;
        let mut site = Site::new(config.content_bytes, config.lean, dated, config.inline_bytes);
        site.mirror = config.mirror.as_deref().map(|path| path.as_bytes().into());
        Self {
            site,
            press: Press::default(),
            memo: Memo::new(),
            log: Log::new(config.logs),
            connections: Vec::new(),
            reply: Reply::new(),
            path: Path::new(),
            tally: Tally::default(),
            sweep: limits::Sweep::default(),
            heads: heads::Heads::new(config.heads_bytes),
            draining: false,
            now_s: 0,
            now_until_ns: 0,
            config,
        }
    }

    /// The content.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// The content, to change it.
    pub fn site_mut(&mut self) -> &mut Site {
        &mut self.site
    }

    /// The access log, to fetch it.
    pub fn log_mut(&mut self) -> &mut Log {
        &mut self.log
    }

    /// What was answered.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Seconds since the start: the clock of limits.
    fn second(&self, now_ns: u64) -> u32 {
        (now_ns.saturating_sub(self.config.start_ns) / 1_000_000_000) as u32
    }

    /// Takes the time for answers.
    #[inline]
    fn look_at_clock(&mut self, now_ns: u64) {
        if now_ns >= self.now_until_ns {
            let Config { start_ns, start_unix_ns, .. } = self.config;
            if start_unix_ns > 0 {
                let unix_ns = start_unix_ns + now_ns.saturating_sub(start_ns);
                self.now_s = unix_ns / 1_000_000_000;
                self.now_until_ns = now_ns + 1_000_000_000 - unix_ns % 1_000_000_000;
            } else {
                self.now_until_ns = u64::MAX;
            }
        }
    }

    /// Serves what it can and says how many bytes are done with.
    fn serve(&mut self, connection: &mut Connection, io: &mut impl Io, bytes: &[u8]) -> usize {
        let mut at = 0;
        connection.blocked = loop {
            if connection.sending.is_some() && !self.send(connection, io) {
                break true;
            }
            let rest = &bytes[at..];
            if rest.is_empty() {
                break false;
            }
            let progress = match &mut connection.state {
                State::Closing => Progress::Consumed(rest.len()),
                State::Head => self.head(connection, io, rest),
                State::Content(..) => self.content(connection, io, rest),
                State::Mirror(_) => self.mirror(connection, io, rest),
            };
            match progress {
                Progress::Consumed(len) => at += len,
                Progress::Starved => break false,
                Progress::Blocked => break true,
            }
        };
        if !connection.blocked && (at < bytes.len() || connection.held) {
            self.await_head(connection, io, bytes.len() - at);
        }
        close_if_done(connection, io);
        at
    }

    fn head(&mut self, connection: &mut Connection, io: &mut impl Io, rest: &[u8]) -> Progress {
        if connection.seen == 0
            && !self.draining
            && let Some(recalled) = self.memo.recall(rest, self.site.generation)
        {
            return self.again(connection, io, rest, &recalled);
        }
        let len = match head::end(rest, connection.seen) {
            End::At(len) => len,
            End::NotYet(seen) => {
                connection.seen = seen;
                return Progress::Starved;
            }
            End::Bad(status) => return self.refuse(connection, io, status, &[], rest.len()),
        };
        let head = match head::read(&rest[..len]) {
            Ok(head) => head,
            Err(status) => {
                let line = rest.split(|byte| *byte == b'\r').next().unwrap_or_default();
                return self.refuse(connection, io, status, line, rest.len());
            }
        };
        let what = plan::decide(&head, &self.site, &mut self.path, self.now_s);
        let progress = match head.content {
            head::Content::None => {
                let given = self.answer_now(connection, io, &head, &what);
                if given && head.method == Method::Get {
                    self.remember(&head, &what, &rest[..len]);
                }
                given
            }
            _ => self.await_content(connection, io, &head, what),
        };
        if !progress {
            return Progress::Blocked;
        }
        connection.seen = 0;
        connection.begun = false;
        connection.since_s = self.second(io.now_ns());
        Progress::Consumed(len)
    }

    /// Answers a head that came before.
    fn again(
        &mut self,
        connection: &mut Connection,
        io: &mut impl Io,
        rest: &[u8],
        recalled: &Recalled,
    ) -> Progress {
        let line = &rest[..recalled.line_len];
        let given = match recalled.again {
            Again::Whole(slot, takes_gzip) => {
                let given = self.usual(connection, io, slot, line);
                if given && takes_gzip {
                    self.site.note(slot);
                }
                given
            }
            Again::NotModified(slot) => self.not_modified(io, slot, line),
        };
        if !given {
            return Progress::Blocked;
        }
        connection.begun = false;
        connection.since_s = self.second(io.now_ns());
        Progress::Consumed(recalled.len)
    }

    /// Takes note of what a GET was answered with, for when it comes again and for what may be worth compressing.
    fn remember(&mut self, head: &Head<'_>, what: &What, bytes: &[u8]) {
        let again = match *what {
            What::Whole(slot) => {
                let takes_gzip = head.codings.takes_gzip();
                if takes_gzip {
                    self.site.note(slot);
                }
                Again::Whole(slot, takes_gzip)
            }
            What::NotModified(slot) => Again::NotModified(slot),
            _ => return,
        };
        // What a date means may depend on the time, and what a range does on more than is kept.
        let kept = self.after(head) == After::Stays && !head.dated && head.range.is_none();
        if kept && bytes.starts_with(head.line) {
            self.memo.learn(bytes, head.line.len(), self.site.generation, again);
        }
    }

    /// Answers a request that has no content. False when there is no room.
    #[inline]
    fn answer_now(
        &mut self,
        connection: &mut Connection,
        io: &mut impl Io,
        head: &Head<'_>,
        what: &What,
    ) -> bool {
        let (after, bare) = (self.after(head), head.method == Method::Head);
        if let What::Whole(slot) = *what
            && after == After::Stays
            && !bare
        {
            return self.usual(connection, io, slot, head.line);
        }
        let answer = Answer { what: What::Options, after, bare, path: None, line: Box::default() };
        self.give(connection, io, &answer, what, head.line)
    }

    /// Reads a request's content before it is answered. False when there is no room for `100 Continue`.
    fn await_content(
        &mut self,
        connection: &mut Connection,
        io: &mut impl Io,
        head: &Head<'_>,
        what: What,
    ) -> bool {
        let max = self.config.request_content_max;
        let (mut what, mut after) = (what, self.after(head));
        let content = match head.content {
            head::Content::Length(len) if len > max => {
                what = What::Said(Status::ContentTooLarge);
                after = After::Ends;
                None
            }
            // Who waits for a word hears the last one, and need not send what would be thrown away.
            _ if head.expects && !what.status().is_paid() => {
                after = After::Ends;
                None
            }
            head::Content::Length(len) => Some(Content::Length(len)),
            _ => Some(Content::chunked(max)),
        };
        let mut answer = Answer {
            what: What::Options,
            after,
            bare: head.method == Method::Head,
            path: None,
            line: Box::default(),
        };
        let Some(content) = content else { return self.give(connection, io, &answer, &what, head.line) };
        if head.expects && io.write(crate::answer::CONTINUE).is_err() {
            return false;
        }
        if what == What::Mirror {
            let line = if self.log.is_on() { head.line } else { &[] };
            connection.state = State::Mirror(Box::new(mirror::Mirror::new(content, after, line)));
            return true;
        }
        if let Some(slot) = what.slot() {
            self.site.hold(slot);
        }
        if what == What::Folder {
            answer.path = Some(self.path.bytes().into());
        }
        if self.log.is_on() {
            answer.line = head.line.into();
        }
        answer.what = what;
        connection.state = State::Content(content, Box::new(answer));
        true
    }

    fn content(&mut self, connection: &mut Connection, io: &mut impl Io, rest: &[u8]) -> Progress {
        let State::Content(content, _) = &mut connection.state else {
            unreachable!("called for this state only")
        };
        let mut ahead = *content;
        let (len, status) = match ahead.read(rest) {
            content::Progress::More(0) => return Progress::Starved,
            content::Progress::More(len) => {
                *content = ahead;
                return Progress::Consumed(len);
            }
            content::Progress::End(len) => (len, None),
            content::Progress::Malformed => (rest.len(), Some(Status::BadRequest)),
            content::Progress::TooLarge => (rest.len(), Some(Status::ContentTooLarge)),
        };
        let State::Content(content, answer) = core::mem::take(&mut connection.state) else { unreachable!() };
        let refused = status.map(What::Said);
        let what = refused.as_ref().unwrap_or(&answer.what);
        let given = match status {
            None => self.give(connection, io, &answer, what, &answer.line),
            Some(_) => {
                let ends = Answer {
                    what: What::Options,
                    after: After::Ends,
                    bare: false,
                    path: None,
                    line: Box::default(),
                };
                self.give(connection, io, &ends, what, &answer.line)
            }
        };
        if !given {
            connection.state = State::Content(content, answer);
            return Progress::Blocked;
        }
        if let Some(slot) = answer.what.slot() {
            self.site.release(slot);
        }
        connection.since_s = self.second(io.now_ns());
        Progress::Consumed(len)
    }

    /// Answers what cannot be understood, after which nothing is.
    fn refuse(
        &mut self,
        connection: &mut Connection,
        io: &mut impl Io,
        status: Status,
        line: &[u8],
        len: usize,
    ) -> Progress {
        let answer =
            Answer { what: What::Options, after: After::Ends, bare: false, path: None, line: Box::default() };
        match self.give(connection, io, &answer, &What::Said(status), line) {
            true => Progress::Consumed(len),
            false => Progress::Blocked,
        }
    }

    fn after(&self, head: &Head<'_>) -> After {
        match head.persists() && !self.draining {
            true if head.old => After::StaysOld,
            true => After::Stays,
            false => After::Ends,
        }
    }

    fn connection(&mut self, id: ConnectionId) -> &mut Connection {
        &mut self.connections[id.slot as usize]
    }
}

/// Closes this side once the other side has, and has been told everything it asked for.
fn close_if_done(connection: &Connection, io: &mut impl Io) {
    if connection.finished && !connection.blocked && connection.sending.is_none() {
        io.close();
    }
}

impl Application for Httpd {
    fn opened(&mut self, io: &mut impl Io, _port: u16, _outgoing: bool) {
        let id = io.connection();
        let slot = id.slot as usize;
        if self.connections.len() <= slot {
            // Grows to the stack's own bound on connections, only when one is opened.
            self.connections.resize_with(slot + 1, Connection::default);
        }
        let since_s = self.second(io.now_ns());
        self.connections[slot] =
            Connection { open: true, generation: id.generation, since_s, ..Connection::default() };
        self.tally.connections += 1;
    }

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        self.look_at_clock(io.now_ns());
        let id = io.connection();
        let mut connection = core::mem::take(self.connection(id));
        let consumed = self.serve(&mut connection, io, bytes);
        self.expect_reader(&mut connection, io);
        *self.connection(id) = connection;
        consumed
    }

    fn writable(&mut self, io: &mut impl Io) {
        // What stayed unconsumed for lack of room is offered again by the stack.
        self.look_at_clock(io.now_ns());
        let id = io.connection();
        let mut connection = core::mem::take(self.connection(id));
        if connection.late {
            self.end_late(&mut connection, io);
            self.expect_reader(&mut connection, io);
        } else if connection.sending.is_some() {
            connection.blocked = !self.send(&mut connection, io);
            self.expect_reader(&mut connection, io);
            close_if_done(&connection, io);
        }
        *self.connection(id) = connection;
    }

    fn wanted(&mut self, now_ns: u64) -> Option<ConnectionId> {
        self.find_late(now_ns)
    }

    fn draining(&mut self) {
        self.draining = true;
    }

    fn said(&mut self) -> Option<String> {
        if self.config.tells { self.log.take_line() } else { None }
    }

    fn compressible(&mut self) -> Option<&mut dyn Compressible> {
        self.config.presses.then_some(self)
    }

    fn hand_over(&mut self, id: ConnectionId) -> Option<Vec<u8>> {
        self.connection_state(id)
    }

    fn take_over(&mut self, io: &mut impl Io, state: &[u8]) -> bool {
        self.restore(io, state)
    }

    fn finished(&mut self, io: &mut impl Io) {
        let id = io.connection();
        let connection = self.connection(id);
        connection.finished = true;
        close_if_done(connection, io);
    }

    fn ended(&mut self, id: ConnectionId, _reason: Ended) {
        // A connection that was never opened has no place here.
        let Some(place) = self.connections.get_mut(id.slot as usize) else { return };
        let connection = core::mem::take(place);
        if connection.held {
            self.heads.forget(id.slot);
        }
        if let State::Content(_, answer) = connection.state
            && let Some(slot) = answer.what.slot()
        {
            self.site.release(slot);
        }
        if let Some(sending) = connection.sending {
            self.site.release(sending.slot);
        }
    }

    fn pinned(&self, pin: Pin) -> &[u8] {
        let (slot, at) = (pin.token >> OFFSET_BITS, pin.token & ((1 << OFFSET_BITS) - 1));
        &self.site.variant(slot as Slot).body[at as usize..][..pin.len as usize]
    }

    fn released(&mut self, pin: Pin) {
        self.site.release((pin.token >> OFFSET_BITS) as Slot);
    }
}

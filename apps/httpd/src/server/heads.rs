//! Heads that have begun and not ended: what there is of them lies in the stack's memory for received bytes, which all
//! connections share. Together they may hold a part of it; when they hold more, the one that began first is ended first, since
//! it had the most time. Requests that come whole need none of this memory.

use super::{Connection, Httpd, State};
use alloc::vec::Vec;
use nom_stack::application::Io;

const NONE: u32 = u32::MAX;
/// The stack's smallest piece; each is a power of two.
const PIECE_MIN: usize = 2048;

/// One head, in the order in which they began.
#[derive(Debug, Clone, Copy)]
struct Link {
    before: u32,
    behind: u32,
    bytes: usize,
}

/// All of them, by the places of their connections.
#[derive(Debug)]
pub(super) struct Heads {
    links: Vec<Link>,
    first: u32,
    last: u32,
    bytes: usize,
    bytes_max: usize,
}

impl Heads {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { links: Vec::new(), first: NONE, last: NONE, bytes: 0, bytes_max }
    }

    /// They hold more than they may.
    pub(super) fn are_too_many(&self) -> bool {
        self.bytes > self.bytes_max
    }

    /// The one that began first.
    pub(super) fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    /// One begins.
    fn begin(&mut self, slot: u32) {
        let place = slot as usize;
        if self.links.len() <= place {
            // Grows to the stack's own bound on connections.
            self.links.resize(place + 1, Link { before: NONE, behind: NONE, bytes: 0 });
        }
        self.links[place] = Link { before: self.last, behind: NONE, bytes: 0 };
        match self.last {
            NONE => self.first = slot,
            last => self.links[last as usize].behind = slot,
        }
        self.last = slot;
    }

    /// There are so many bytes of it.
    fn hold(&mut self, slot: u32, bytes: usize) {
        let bytes = bytes.next_power_of_two().max(PIECE_MIN);
        let link = &mut self.links[slot as usize];
        self.bytes = self.bytes - link.bytes + bytes;
        link.bytes = bytes;
    }

    /// It has ended, one way or another.
    pub(super) fn forget(&mut self, slot: u32) {
        let Link { before, behind, bytes } = self.links[slot as usize];
        self.bytes -= bytes;
        match before {
            NONE => self.first = behind,
            before => self.links[before as usize].behind = behind,
        }
        match behind {
            NONE => self.last = before,
            behind => self.links[behind as usize].before = before,
        }
    }
}

impl Httpd {
    /// So many bytes are left, and more has to come before anything can be done with them.
    pub(super) fn await_head(&mut self, connection: &mut Connection, io: &impl Io, bytes: usize) {
        let slot = io.connection().slot;
        let awaits = matches!(connection.state, State::Head);
        if !connection.begun || !awaits {
            self.forget_head(connection, slot);
        }
        if bytes == 0 || !awaits {
            return;
        }
        if !connection.begun {
            connection.begun = true;
            connection.since_s = self.second(io.now_ns());
        }
        if !connection.held {
            connection.held = true;
            self.heads.begin(slot);
        }
        self.heads.hold(slot, bytes);
    }

    /// It has ended, or will not.
    pub(super) fn forget_head(&mut self, connection: &mut Connection, slot: u32) {
        if core::mem::take(&mut connection.held) {
            self.heads.forget(slot);
        }
    }
}

//! What a side still has to send, in order: short texts, and messages whose bytes mean nothing.

use nom_stack::application::{Io, NoRoom, Pin};

/// Bytes of the memory that messages are sent from, again and again, without a copy.
pub const PATTERN_LEN: usize = 64 << 10;
/// Texts and messages that can wait together. A side never has more than an answer, the next text and a message.
const ENTRIES: usize = 4;
/// The longest text.
const TEXT_MAX: usize = 6;

#[derive(Debug, Clone, Copy)]
enum Entry {
    Text([u8; TEXT_MAX], usize),
    Message(u64),
}

/// See the module.
#[derive(Debug, Default, Clone)]
pub struct Outbox {
    entries: [Option<Entry>; ENTRIES],
}

impl Outbox {
    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries[0].is_none()
    }

    /// A text of at most six bytes.
    pub fn text(&mut self, text: &[u8]) {
        let mut bytes = [0; TEXT_MAX];
        bytes[..text.len()].copy_from_slice(text);
        self.push(Entry::Text(bytes, text.len()));
    }

    /// So many bytes of messages.
    pub fn message(&mut self, len: u64) {
        self.push(Entry::Message(len));
    }

    fn push(&mut self, entry: Entry) {
        let free = self.entries.iter_mut().find(|entry| entry.is_none());
        *free.expect("a side says little before it listens") = Some(entry);
    }

    /// Sends what there is room for.
    pub fn send(&mut self, io: &mut impl Io) {
        while let Some(entry) = &mut self.entries[0] {
            let sent = match entry {
                Entry::Text(bytes, len) => io.write(&bytes[..*len]),
                Entry::Message(left) => messages(io, left),
            };
            if sent.is_err() {
                return;
            }
            self.entries.rotate_left(1);
            self.entries[ENTRIES - 1] = None;
        }
    }
}

fn messages(io: &mut impl Io, left: &mut u64) -> Result<(), NoRoom> {
    while *left > 0 {
        let len = (*left).min(PATTERN_LEN as u64);
        io.write_pinned(Pin { token: 0, len: len as u32 })?;
        *left -= len;
    }
    Ok(())
}

//! What went over the links, as pcapng: nanosecond stamps, one interface a direction of a link, and a comment on
//! every frame that did not simply arrive. Any packet analyser reads it.

use crate::link::Fate;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Bytes of one capture. What comes beyond is not recorded, and [`Capture::truncated`] says so.
pub const CAPTURE_BYTES_MAX: usize = 1 << 30;

/// A capture in memory.
#[derive(Debug, Clone, Default)]
pub struct Capture {
    /// Interface and blocks, in order.
    frames: Vec<u8>,
    interfaces: u32,
    names: BTreeMap<u32, String>,
    truncated: bool,
}

impl Capture {
    /// An empty capture.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what an interface is called in the file.
    pub fn name(&mut self, interface: u32, name: String) {
        self.names.insert(interface, name);
    }

    /// Records a frame at the moment at which it is sent, as it was sent.
    pub fn frame(&mut self, at_ns: u64, interface: u32, frame: &[u8], fate: Fate) {
        if self.frames.len() + frame.len() + 128 > CAPTURE_BYTES_MAX {
            self.truncated = true;
            return;
        }
        self.interfaces = self.interfaces.max(interface + 1);
        let mut body = Vec::with_capacity(frame.len() + 64);
        for word in [interface, (at_ns >> 32) as u32, at_ns as u32, frame.len() as u32, frame.len() as u32] {
            body.extend_from_slice(&word.to_le_bytes());
        }
        padded(&mut body, frame);
        let comment = match fate {
            Fate::Arrives => "",
            Fate::QueueFull => "dropped: the link's queue was full",
            Fate::Lost => "lost",
            Fate::Twice => "arrives twice",
            Fate::Late => "held back",
            Fate::Corrupt => "arrives with a wrong bit",
        };
        if !comment.is_empty() {
            option(&mut body, 1, comment.as_bytes());
            option(&mut body, 0, b"");
        }
        block(&mut self.frames, 6, &body);
    }

    /// Something was not recorded, because the capture had reached its bound.
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// Writes the file.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        let mut head = Vec::new();
        // Section header: byte order, version 1.0, unknown length.
        let mut body = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
        body.extend_from_slice(&[1, 0, 0, 0]);
        body.extend_from_slice(&u64::MAX.to_le_bytes());
        block(&mut head, 0x0a0d_0d0a, &body);
        for interface in 0..self.interfaces {
            // Ethernet, no limit of length, stamps in 10^-9 s.
            let mut body = vec![1, 0, 0, 0, 0, 0, 0, 0];
            let name = self.names.get(&interface).cloned().unwrap_or_else(|| format!("direction{interface}"));
            option(&mut body, 2, name.as_bytes());
            option(&mut body, 9, &[9]);
            option(&mut body, 0, b"");
            block(&mut head, 1, &body);
        }
        out.write_all(&head)?;
        out.write_all(&self.frames)
    }
}

fn block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let len = (body.len() as u32 + 12).to_le_bytes();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&len);
    out.extend_from_slice(body);
    out.extend_from_slice(&len);
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    padded(out, value);
}

fn padded(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_framed_from_both_ends_and_stamps_are_kept() {
        let mut capture = Capture::new();
        let at_ns = (5 << 32) + 7;
        capture.frame(at_ns, 1, &[0xaa; 61], Fate::Lost);
        capture.frame(at_ns + 1, 0, &[0xbb; 60], Fate::Arrives);
        let mut file = Vec::new();
        capture.write(&mut file).unwrap();
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        let (mut at, mut kinds) = (0, Vec::new());
        while at < file.len() {
            let len = word(at + 4) as usize;
            assert_eq!(len % 4, 0);
            assert_eq!(word(at + len - 4) as usize, len);
            if word(at) == 6 && kinds.iter().all(|kind| *kind != 6) {
                assert_eq!((word(at + 8), word(at + 12), word(at + 16), word(at + 20)), (1, 5, 7, 61));
                assert_eq!(&file[at + 28..at + 89], &[0xaa; 61]);
                assert_eq!(&file[at + 96..at + 100], b"lost");
            }
            kinds.push(word(at));
            at += len;
        }
        assert_eq!(kinds, [0x0a0d_0d0a, 1, 1, 6, 6]);
    }
}

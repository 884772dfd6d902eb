//! Bytes of answers other than the usual one, put together in a buffer so that one head is one write.

use crate::coding::Coding;
use crate::date;
use crate::log::number;
use crate::range::Part;
use crate::site::Variant;
use crate::status::Status;
use alloc::vec::Vec;

/// What is allowed.
pub(crate) const ALLOW: &[u8] = b"Allow: GET, HEAD, OPTIONS\r\n";
/// Before the content of a request that waits for it.
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Longest `Location` of a redirection.
pub(crate) const LOCATION_MAX: usize = 1024;
/// Memory for one head with its small content.
const LEN: usize = 4096;

/// Whether and how the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// It does, which HTTP/1.1 need not be told.
    Stays,
    /// It does, and HTTP/1.0 has to be told.
    StaysOld,
    /// It ends.
    Ends,
}

/// A head that is being put together.
#[derive(Debug)]
pub(crate) struct Reply(Vec<u8>);

impl Reply {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(LEN))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn text(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text);
    }

    pub(crate) fn number(&mut self, value: u64) {
        number(&mut self.0, value);
    }

    /// Begins with a status and the time, where that is known.
    pub(crate) fn begin(&mut self, status: Status, now_s: u64) {
        self.0.clear();
        self.text(status.line());
        if now_s > 0 {
            self.text(b"Date: ");
            self.text(&date::written(now_s));
            self.text(b"\r\n");
        }
    }

    /// Begins with the head of the usual answer.
    pub(crate) fn usual(&mut self, variant: &Variant) {
        self.0.clear();
        self.text(variant.open_head());
    }

    /// Nothing yet.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The length is not known.
    pub(crate) fn chunked(&mut self) {
        self.text(b"Transfer-Encoding: chunked\r\n");
    }

    /// The line before a chunk, which has at least a byte.
    pub(crate) fn chunk(&mut self, len: usize) {
        let digits = (usize::BITS - len.leading_zeros()).div_ceil(4);
        for place in (0..digits).rev() {
            self.0.push(b"0123456789abcdef"[len >> (place * 4) & 15]);
        }
        self.text(b"\r\n");
    }

    pub(crate) fn length(&mut self, len: u64) {
        self.text(b"Content-Length: ");
        self.number(len);
        self.text(b"\r\n");
    }

    pub(crate) fn etag(&mut self, variant: &Variant) {
        self.text(b"ETag: ");
        self.text(&variant.etag);
        self.text(b"\r\n");
        if variant.varies {
            self.text(b"Vary: Accept-Encoding\r\n");
        }
    }

    /// When the content changed, where that is told.
    pub(crate) fn modified(&mut self, variant: &Variant) {
        if let Some(unix_s) = variant.told_modified_s() {
            self.text(b"Last-Modified: ");
            self.text(&date::written(unix_s));
            self.text(b"\r\n");
        }
    }

    pub(crate) fn media(&mut self, media: &str) {
        self.text(b"Content-Type: ");
        self.text(media.as_bytes());
        self.text(b"\r\n");
    }

    pub(crate) fn coding(&mut self, variant: &Variant) {
        if variant.coding != Coding::Identity {
            self.text(b"Content-Encoding: ");
            self.text(variant.coding.name().as_bytes());
            self.text(b"\r\n");
        }
    }

    pub(crate) fn content_range(&mut self, part: Option<Part>, len: u64) {
        self.text(b"Content-Range: bytes ");
        match part {
            Some(part) => {
                self.number(part.from);
                self.text(b"-");
                self.number(part.to - 1);
            }
            None => self.text(b"*"),
        }
        self.text(b"/");
        self.number(len);
        self.text(b"\r\n");
    }

    /// `Location` for a folder: its path with a slash, in characters that may stand there.
    pub(crate) fn location(&mut self, path: &[u8]) {
        self.text(b"Location: ");
        escape(path, &mut self.0);
        self.text(b"/\r\n");
    }

    /// The end of the head.
    pub(crate) fn end(&mut self, after: After) {
        self.text(match after {
            After::Stays => b"\r\n",
            After::StaysOld => b"Connection: keep-alive\r\n\r\n",
            After::Ends => b"Connection: close\r\n\r\n",
        });
    }

    /// What stands before a part of several.
    pub(crate) fn part(&mut self, variant: &Variant, part: Part) {
        self.0.clear();
        self.text(b"\r\n--");
        self.text(boundary(variant));
        self.text(b"\r\n");
        self.media(variant.media);
        self.content_range(Some(part), variant.len());
        self.text(b"\r\n");
    }

    /// What stands behind the last of several parts.
    pub(crate) fn last(&mut self, variant: &Variant) {
        self.0.clear();
        self.text(b"\r\n--");
        self.text(boundary(variant));
        self.text(b"--\r\n");
    }
}

/// What separates parts: the hash of the content, which is not expected to stand in it.
pub(crate) fn boundary(variant: &Variant) -> &[u8] {
    &variant.etag[1..variant.etag.len() - 1]
}

/// Bytes of several parts with what separates them.
pub(crate) fn parts_len(variant: &Variant, parts: &[Part], reply: &mut Reply) -> u64 {
    let mut len = 0;
    for part in parts {
        reply.part(variant, *part);
        len += reply.bytes().len() as u64 + (part.to - part.from);
    }
    reply.last(variant);
    len + reply.bytes().len() as u64
}

fn escape(path: &[u8], out: &mut Vec<u8>) {
    for byte in path {
        if byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=:@".contains(byte) {
            out.push(*byte);
        } else {
            let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value)];
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// Bytes of a path as it stands in `Location`.
pub(crate) fn location_len(path: &[u8]) -> usize {
    let mut text = Vec::new();
    escape(path, &mut text);
    text.len() + 1
}

//! What a person sees of the wire and of connections, in lines of the management channel.
//!
//! Frames stand in a text, `i` or `o` (in or out), time, length and kept bytes, all in hexadecimal with commas between,
//! a semicolon between two frames. Connections are words with spaces between, a comma between two connections.

use super::LINE_MAX;
use super::lines::Field;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::net::IpAddr;
use nom_feeds::json::{Value, Writer};

/// Most bytes of a frame that a line has room for.
pub const SNAP_MAX: u32 = 1_900;
/// Most text of frames or connections in a line, with room for what is around it.
pub(crate) const TEXT_MAX: usize = LINE_MAX - 160;

/// Frames that were seen on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Captured {
    /// The application's clock.
    pub at_ns: u64,
    /// Frames that were not kept since seeing began, because too many waited.
    pub lost: u64,
    /// 1 when another line follows by itself; in the last one 2 when something still waits and is worth asking for at once,
    /// otherwise 0.
    pub more: u32,
    /// The frames.
    pub frames: Frames,
}

/// Some of the connections.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connections {
    /// The application's clock.
    pub at_ns: u64,
    /// From where to ask on; 0 when there are no more.
    pub next: u32,
    /// The connections.
    pub rows: Rows,
}

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    /// It left; otherwise it arrived.
    pub out: bool,
    /// When, by the application's clock.
    pub at_ns: u64,
    /// How long it was.
    pub len: u32,
    /// Its beginning.
    pub bytes: Vec<u8>,
}

/// Frames of a line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frames(pub Vec<Frame>);

impl Frame {
    /// Most text that a frame of which so many bytes are kept takes in a line.
    pub(crate) const fn text_len(kept: usize) -> usize {
        1 + 16 + 1 + 8 + 1 + 2 * kept + 1
    }

    fn put(&self, text: &mut String) {
        let _ = write!(text, "{}{:x},{:x},", if self.out { 'o' } else { 'i' }, self.at_ns, self.len);
        for byte in &self.bytes {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }));
            }
        }
    }

    fn take(text: &str) -> Option<Self> {
        let (direction, rest) = text.split_at_checked(1)?;
        let out = match direction {
            "i" => false,
            "o" => true,
            _ => return None,
        };
        let (at_ns, rest) = rest.split_once(',')?;
        let (len, digits) = rest.split_once(',')?;
        let digits = digits.as_bytes();
        let bytes = digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?));
        let frame = Self {
            out,
            at_ns: hexadecimal(at_ns)?,
            len: u32::try_from(hexadecimal(len)?).ok()?,
            bytes: bytes.collect::<Option<_>>()?,
        };
        (digits.len() % 2 == 0 && frame.bytes.len() <= frame.len as usize).then_some(frame)
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

fn hexadecimal(text: &str) -> Option<u64> {
    if text.bytes().any(|byte| digit(byte).is_none()) { None } else { u64::from_str_radix(text, 16).ok() }
}

impl Field for Frames {
    fn put(&self, key: &'static str, writer: &mut Writer) {
        let mut text = String::new();
        for (place, frame) in self.0.iter().enumerate() {
            text.push_str(if place > 0 { ";" } else { "" });
            frame.put(&mut text);
        }
        writer.text(key, &text);
    }
    fn take(value: Value) -> Option<Self> {
        let text = String::take(value)?;
        let frames = text.split(';').filter(|_| !text.is_empty()).map(Frame::take);
        frames.collect::<Option<_>>().map(Self)
    }
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The other side.
    pub peer: IpAddr,
    /// Its port.
    pub peer_port: u16,
    /// Our port.
    pub port: u16,
    /// This side opened it.
    pub outgoing: bool,
    /// As RFC 9293 calls it, in lower case.
    pub state: String,
    /// Bytes that may be on their way at a time.
    pub congestion_window: u32,
    /// The smoothed round trip; 0 before the first measurement.
    pub round_trip_ns: u64,
    /// The shortest round trip; 0 before the first measurement.
    pub round_trip_least_ns: u64,
    /// Bytes sent and not acknowledged.
    pub in_flight: u32,
    /// Bytes written and not acknowledged, sent or not.
    pub queued: u32,
    /// Bytes received and not consumed.
    pub unread: u32,
    /// Bytes that the other side acknowledged, modulo 2^32.
    pub sent: u32,
    /// Time-outs since anything was heard.
    pub retries: u32,
}

/// Connections of a line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rows(pub Vec<Row>);

/// Longest name of a state.
const STATE_LEN_MAX: usize = 16;

impl Row {
    /// Most text of a connection in a line.
    pub(crate) const TEXT_MAX: usize = 45 + 2 * 6 + 2 + STATE_LEN_MAX + 1 + 2 * 21 + 7 * 11;

    fn put(&self, text: &mut String) {
        let way = if self.outgoing { 'o' } else { 'i' };
        let _ = write!(text, "{} {} {} {way} {}", self.peer, self.peer_port, self.port, self.state);
        let _ = write!(text, " {} {}", self.round_trip_ns, self.round_trip_least_ns);
        for number in
            [self.congestion_window, self.in_flight, self.queued, self.unread, self.sent, self.retries]
        {
            let _ = write!(text, " {number}");
        }
    }

    fn take(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let row = Self {
            peer: words.next()?.parse().ok()?,
            peer_port: words.next()?.parse().ok()?,
            port: words.next()?.parse().ok()?,
            outgoing: match words.next()? {
                "o" => true,
                "i" => false,
                _ => return None,
            },
            state: words.next().filter(|word| is_state(word))?.into(),
            round_trip_ns: words.next()?.parse().ok()?,
            round_trip_least_ns: words.next()?.parse().ok()?,
            congestion_window: words.next()?.parse().ok()?,
            in_flight: words.next()?.parse().ok()?,
            queued: words.next()?.parse().ok()?,
            unread: words.next()?.parse().ok()?,
            sent: words.next()?.parse().ok()?,
            retries: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(row)
    }
}

fn is_state(word: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=STATE_LEN_MAX).contains(&word.len()) && word.bytes().all(letter)
}

impl Field for Rows {
    fn put(&self, key: &'static str, writer: &mut Writer) {
        let mut text = String::new();
        for (place, row) in self.0.iter().enumerate() {
            text.push_str(if place > 0 { "," } else { "" });
            row.put(&mut text);
        }
        writer.text(key, &text);
    }
    fn take(value: Value) -> Option<Self> {
        let text = String::take(value)?;
        let rows = text.split(',').filter(|_| !text.is_empty()).map(Row::take);
        rows.collect::<Option<_>>().map(Self)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use alloc::vec;

    /// As much as fits.
    pub fn full() -> Captured {
        let frame = |kept| Frame { out: true, at_ns: u64::MAX, len: u32::MAX, bytes: vec![0xa5; kept] };
        let mut frames = vec![frame(SNAP_MAX as usize)];
        let mut text = Frame::text_len(SNAP_MAX as usize);
        while text + Frame::text_len(0) <= TEXT_MAX {
            frames.push(Frame { out: false, ..frame(0) });
            text += Frame::text_len(0);
        }
        Captured { at_ns: u64::MAX, lost: u64::MAX, more: u32::MAX, frames: Frames(frames) }
    }

    /// As many as fit.
    pub fn crowd() -> Connections {
        let row = Row {
            peer: "fd00:1111:2222:3333:4444:5555:6666:7777".parse().unwrap(),
            peer_port: u16::MAX,
            port: u16::MAX,
            outgoing: true,
            state: "s".repeat(STATE_LEN_MAX),
            congestion_window: u32::MAX,
            round_trip_ns: u64::MAX,
            round_trip_least_ns: u64::MAX,
            in_flight: u32::MAX,
            queued: u32::MAX,
            unread: u32::MAX,
            sent: u32::MAX,
            retries: u32::MAX,
        };
        Connections { at_ns: u64::MAX, next: u32::MAX, rows: Rows(vec![row; TEXT_MAX / Row::TEXT_MAX]) }
    }

    #[test]
    fn what_is_no_frame_or_no_connection_is_refused() {
        for text in [
            "x0,0,",
            "i0,0",
            "i,1,",
            "i0,+1,",
            "i0,0,00",
            "i0,1,0",
            "i0,1,0g",
            "i0,1,AA",
            ";",
            "i0,100000000,",
        ] {
            assert!(Frames::take(Value::Text(text.into())).is_none(), "{text}");
        }
        let good = "10.0.0.1 7 8 i established 1 2 3 4 5 6 7 8";
        assert!(Rows::take(Value::Text(good.into())).is_some());
        for text in [
            "10.0.0.1 7 8 i established 1 2 3 4 5 6 7",
            "10.0.0.1 7 8 i established 1 2 3 4 5 6 7 8 9",
            "10.0.0 7 8 i established 1 2 3 4 5 6 7 8",
            "10.0.0.1 7 8 x established 1 2 3 4 5 6 7 8",
            "10.0.0.1 7 8 i Estab\u{1b}[ 1 2 3 4 5 6 7 8",
            "10.0.0.1 70000 8 i established 1 2 3 4 5 6 7 8",
            ",",
        ] {
            assert!(Rows::take(Value::Text(text.into())).is_none(), "{text}");
        }
    }
}

//! Captures as files: pcapng (draft-ietf-opsawg-pcapng), little-endian, one Ethernet interface, stamps in nanoseconds.

use std::io::{self, Write};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;

/// A capture on its way into a file.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    frames: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a capture of an interface of which at most `snap` bytes a frame are kept.
    pub fn new(mut out: W, interface: &str, snap: u32) -> io::Result<Self> {
        // Byte order, version 1.0, unknown length.
        let mut body = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
        body.extend_from_slice(&[1, 0, 0, 0]);
        body.extend_from_slice(&u64::MAX.to_le_bytes());
        option(&mut body, 4, b"nom");
        option(&mut body, 0, b"");
        block(&mut out, SECTION, &body)?;
        let mut body = vec![1, 0, 0, 0];
        body.extend_from_slice(&snap.to_le_bytes());
        option(&mut body, 2, interface.as_bytes());
        option(&mut body, 9, &[9]);
        option(&mut body, 0, b"");
        block(&mut out, INTERFACE, &body)?;
        Ok(Self { out, frames: 0 })
    }

    /// A frame of this length, of which these bytes were kept.
    pub fn frame(&mut self, at_ns: u64, outbound: bool, len: u32, bytes: &[u8]) -> io::Result<()> {
        let mut body = Vec::with_capacity(bytes.len() + 32);
        for word in [0, (at_ns >> 32) as u32, at_ns as u32, bytes.len() as u32, len] {
            body.extend_from_slice(&word.to_le_bytes());
        }
        padded(&mut body, bytes);
        option(&mut body, 2, &[1 + u8::from(outbound), 0, 0, 0]);
        option(&mut body, 0, b"");
        self.frames += 1;
        block(&mut self.out, PACKET, &body)
    }

    /// Hands everything written so far on to the reader.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Ends the capture with how many frames were there and not kept. Returns how many were.
    pub fn end(mut self, at_ns: u64, lost: u64) -> io::Result<u64> {
        let mut body = Vec::new();
        for word in [0, (at_ns >> 32) as u32, at_ns as u32] {
            body.extend_from_slice(&word.to_le_bytes());
        }
        option(&mut body, 4, &self.frames.saturating_add(lost).to_le_bytes());
        option(&mut body, 5, &lost.to_le_bytes());
        option(&mut body, 0, b"");
        block(&mut self.out, STATISTICS, &body)?;
        self.out.flush()?;
        Ok(self.frames)
    }
}

fn block(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let len = (body.len() as u32 + 12).to_le_bytes();
    out.write_all(&[&kind.to_le_bytes()[..], &len, body, &len].concat())
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

/// A frame of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Nanoseconds since 1970.
    pub at_ns: u64,
    /// It left.
    pub outbound: bool,
    /// How long it was.
    pub len: u32,
    /// What was kept of it.
    pub bytes: Vec<u8>,
}

/// Reads what [`Writer`] writes, and nothing else: the frames, and how many were lost when the capture has an end. The
/// error says at which byte it is not as it should be.
pub fn read(file: &[u8]) -> Result<(Vec<Frame>, Option<u64>), String> {
    let (mut frames, mut lost, mut at, mut number) = (Vec::new(), None, 0, 0);
    while at < file.len() {
        let wrong = |what: &str| format!("byte {at}: {what}");
        let word = |place: usize| {
            let bytes = file.get(place..place + 4).ok_or_else(|| wrong("it ends within a block"))?;
            Ok::<u32, String>(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        };
        let (kind, len) = (word(at)?, word(at + 4)? as usize);
        if len < 12 || len % 4 != 0 || file.len() - at < len || word(at + len - 4)? as usize != len {
            return Err(wrong("the length of a block is wrong"));
        }
        let body = &file[at + 8..at + len - 4];
        let fixed =
            |count: usize| (0..count).map(|place| word(at + 8 + 4 * place)).collect::<Result<Vec<_>, _>>();
        match (number, kind) {
            (0, SECTION) => {
                if fixed(4)? != [0x1a2b_3c4d, 1, u32::MAX, u32::MAX] {
                    return Err(wrong("the section is of another kind"));
                }
                options(&body[16..]).ok_or_else(|| wrong("an option is wrong"))?;
            }
            (1, INTERFACE) => {
                let known = options(&body[8..]).ok_or_else(|| wrong("an option is wrong"))?;
                if word(at + 8)? != 1 || !known.contains(&(9, &[9][..])) {
                    return Err(wrong("not Ethernet with nanoseconds"));
                }
            }
            (2.., PACKET) => {
                let words = fixed(5)?;
                let kept = words[3] as usize;
                let end = 20 + kept.next_multiple_of(4);
                if words[0] != 0 || words[3] > words[4] || body.len() < end {
                    return Err(wrong("the lengths of a frame are wrong"));
                }
                let known = options(&body[end..]).ok_or_else(|| wrong("an option is wrong"))?;
                let outbound = match known.as_slice() {
                    [(2, [1, 0, 0, 0])] => false,
                    [(2, [2, 0, 0, 0])] => true,
                    _ => return Err(wrong("a frame has no direction")),
                };
                frames.push(Frame {
                    at_ns: u64::from(words[1]) << 32 | u64::from(words[2]),
                    outbound,
                    len: words[4],
                    bytes: body[20..20 + kept].to_vec(),
                });
            }
            (2.., STATISTICS) if at + len == file.len() => {
                let known = options(&body[12..]).ok_or_else(|| wrong("an option is wrong"))?;
                let count = |code| {
                    let value = known.iter().find(|(known, _)| *known == code)?.1;
                    Some(u64::from_le_bytes(value.try_into().ok()?))
                };
                lost = count(5);
                if lost.is_none() || count(4) != lost.map(|lost| lost.saturating_add(frames.len() as u64)) {
                    return Err(wrong("the counts do not fit"));
                }
            }
            _ => return Err(wrong("a block that does not belong there")),
        }
        at += len;
        number += 1;
    }
    if number < 2 { Err(format!("byte {at}: no interface")) } else { Ok((frames, lost)) }
}

/// Options to the one that ends them, which must be the last.
fn options(mut bytes: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut all = Vec::new();
    loop {
        let head = bytes.first_chunk::<4>()?;
        let code = u16::from_le_bytes([head[0], head[1]]);
        let len = usize::from(u16::from_le_bytes([head[2], head[3]]));
        if code == 0 {
            return (len == 0 && bytes.len() == 4).then_some(all);
        }
        all.push((code, bytes.get(4..4 + len)?));
        bytes = bytes.get(4 + len.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file, "kv", 100).unwrap();
        writer.frame((5 << 32) + 7, true, 120, &[0xaa; 99]).unwrap();
        writer.frame((5 << 32) + 8, false, 60, &[0xbb; 60]).unwrap();
        assert_eq!(writer.end(9 << 32, 3).unwrap(), 2);
        file
    }

    #[test]
    fn what_is_written_is_read_again() {
        let (frames, lost) = read(&file()).unwrap();
        assert_eq!(lost, Some(3));
        let first = Frame { at_ns: (5 << 32) + 7, outbound: true, len: 120, bytes: vec![0xaa; 99] };
        assert_eq!(frames[0], first);
        assert_eq!((frames[1].outbound, frames[1].len, frames.len()), (false, 60, 2));
    }

    #[test]
    fn a_service_that_says_it_lost_everything_is_written_down_as_it_said() {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file, "kv", 100).unwrap();
        writer.frame(7, true, 60, &[0xaa; 60]).unwrap();
        assert_eq!(writer.end(9, u64::MAX).unwrap(), 1);
        assert_eq!(read(&file).unwrap().1, Some(u64::MAX));
    }

    #[test]
    fn a_capture_that_is_cut_between_blocks_has_no_end_and_elsewhere_it_is_refused() {
        let file = file();
        let whole = (0..file.len()).filter_map(|len| read(&file[..len]).ok());
        let counts: Vec<_> = whole.map(|(frames, lost)| (frames.len(), lost)).collect();
        assert_eq!(counts, [(0, None), (1, None), (2, None)]);
    }

    #[test]
    fn a_wrong_bit_in_a_length_is_found() {
        let file = file();
        for place in (4..8).chain(file.len() - 4..file.len()) {
            for bit in 0..8 {
                let mut wrong = file.clone();
                wrong[place] ^= 1 << bit;
                assert!(read(&wrong).is_err(), "byte {place}, bit {bit}");
            }
        }
    }
}

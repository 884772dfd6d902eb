//! The text that a process or guest prints, read by a thread of its own and stamped when it is seen.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lines that are kept. When there are more the oldest are forgotten and counted: the end tells why a guest died.
pub const LINES_MAX: usize = 4096;
/// Bytes of a line that are kept; the rest of it is cut off.
pub const LINE_LEN_MAX: usize = 4096;

/// A line and the moment at which its end was seen.
#[derive(Debug, Clone)]
pub struct Line {
    /// When the host had read it.
    pub seen: Instant,
    /// The text without its line end; what is not UTF-8 or not printable is replaced.
    pub text: String,
}

#[derive(Debug, Default)]
struct State {
    first_byte: Option<Instant>,
    lines: VecDeque<Line>,
    partial: Vec<u8>,
    forgotten: u64,
    ended: bool,
}

/// A stream of text that is being read.
#[derive(Debug, Clone)]
pub struct Serial {
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Serial {
    /// Reads a stream until its end.
    pub fn read(mut stream: impl Read + Send + 'static) -> Self {
        let serial = Self { shared: Arc::default() };
        let writer = serial.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => writer.take(&buffer[..count], Instant::now()),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            writer.lock().ended = true;
            writer.shared.1.notify_all();
        });
        serial
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, bytes: &[u8], seen: Instant) {
        let mut state = self.lock();
        state.first_byte.get_or_insert(seen);
        for &byte in bytes {
            if byte != b'\n' {
                if state.partial.len() < LINE_LEN_MAX {
                    state.partial.push(byte);
                }
                continue;
            }
            let text = printable(&std::mem::take(&mut state.partial));
            if state.lines.len() == LINES_MAX {
                state.lines.pop_front();
                state.forgotten += 1;
            }
            state.lines.push_back(Line { seen, text });
        }
        self.shared.1.notify_all();
    }

    /// When the first byte was seen.
    pub fn first_byte(&self) -> Option<Instant> {
        self.lock().first_byte
    }

    /// All lines that are kept, and a last one without an end if there is one.
    pub fn lines(&self) -> Vec<Line> {
        let state = self.lock();
        let mut lines: Vec<Line> = state.lines.iter().cloned().collect();
        if !state.partial.is_empty() {
            lines.push(Line { seen: Instant::now(), text: printable(&state.partial) });
        }
        lines
    }

    /// The whole lines from this one on, counted from the first there ever was, and which one of them is the first
    /// that is still kept.
    pub fn since(&self, line: u64) -> (Vec<Line>, u64) {
        let state = self.lock();
        let from = line.max(state.forgotten);
        let skip = usize::try_from(from - state.forgotten).unwrap_or(usize::MAX);
        (state.lines.iter().skip(skip).cloned().collect(), from)
    }

    /// How many lines were forgotten because there were too many.
    pub fn forgotten(&self) -> u64 {
        self.lock().forgotten
    }

    /// The last line that says anything.
    pub fn last_words(&self) -> Option<String> {
        self.lines().into_iter().rev().map(|line| line.text).find(|text| !text.trim().is_empty())
    }

    /// Waits until a line is as wanted; `None` when the stream ended or the time is over without one.
    pub fn wait_for(&self, timeout: Duration, wanted: impl Fn(&str) -> bool) -> Option<Line> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            if let Some(line) = state.lines.iter().find(|line| wanted(&line.text)) {
                return Some(line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return None;
            }
            state = self.shared.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until the stream has ended.
    pub fn wait_end(&self, timeout: Duration) -> bool {
        self.wait_for(timeout, |_| false);
        self.lock().ended
    }
}

/// A guest's bytes may reach a person's terminal: nothing that steers the terminal may stay in them.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .trim_end_matches('\r')
        .chars()
        .map(|letter| if letter.is_control() && letter != '\t' { '\u{fffd}' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_bounded_and_clean() {
        let mut text = b"first\r\n\x1b[2Jred\n".to_vec();
        text.extend((0..LINES_MAX).flat_map(|line| format!("{line}\n").into_bytes()));
        text.extend(b"open end");
        let serial = Serial::read(std::io::Cursor::new(text));
        assert!(serial.wait_end(Duration::from_secs(5)));
        assert_eq!(serial.forgotten(), 2);
        let (rest, from) = serial.since(LINES_MAX as u64);
        assert_eq!((rest.len(), from), (2, LINES_MAX as u64));
        assert_eq!(
            (serial.since(0).1, serial.since(0).0.len(), serial.since(1 << 40).0.len()),
            (2, LINES_MAX, 0)
        );
        assert_eq!(serial.last_words().unwrap(), "open end");
        assert_eq!(serial.lines()[0].text, "0");
        assert!(serial.first_byte().is_some());
        assert!(serial.wait_for(Duration::ZERO, |line| line == "4095").is_some());
        assert!(serial.wait_for(Duration::from_secs(5), |line| line == "never").is_none());
        assert_eq!(printable(b"\x1b[2Jred\r"), "\u{fffd}[2Jred");
    }

    /// A stream in which a signal comes before every piece.
    struct Interrupted(Vec<&'static [u8]>, bool);

    impl Read for Interrupted {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(ErrorKind::Interrupted.into());
            }
            let piece = if self.0.is_empty() { &[][..] } else { self.0.remove(0) };
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    #[test]
    fn a_signal_does_not_end_a_stream() {
        let serial = Serial::read(Interrupted(vec![b"one\nt", b"wo\n"], false));
        assert!(serial.wait_end(Duration::from_secs(60)));
        let texts: Vec<String> = serial.lines().into_iter().map(|line| line.text).collect();
        assert_eq!(texts, ["one", "two"]);
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let mut text = vec![b'x'; 3 * LINE_LEN_MAX];
        text.extend(b"\nnext\n");
        let serial = Serial::read(std::io::Cursor::new(text));
        assert!(serial.wait_end(Duration::from_secs(60)));
        let lens: Vec<usize> = serial.lines().iter().map(|line| line.text.len()).collect();
        assert_eq!(lens, [LINE_LEN_MAX, 4]);
    }
}

//! The application's end of the management channel: bounded both ways, never in the way of serving.
//!
//! When the host does not read, lines wait in a bounded queue. Beyond [`LINES_MAX`] the oldest statistics make room,
//! since later ones say more, and when there are none the new line is dropped; either is counted. Sealed windows
//! have places of their own, [`WINDOWS_MAX`]; beyond them new ones are dropped and counted, which the numbers and the
//! chain of the windows show. A line that was begun for one
//! peer is sent again from its beginning to the next.

use super::{COMMAND_MAX, Command, Message};
use crate::home::Home;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

/// Most lines that wait and are no windows.
pub const LINES_MAX: usize = 64;
/// Most sealed windows that wait.
pub const WINDOWS_MAX: usize = 256;
/// Most bytes read from the host in one round.
const READ_MAX: usize = 1024;

/// What the host asked for, once it may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// It showed the right token: say hello.
    Hello,
    /// Figures now.
    Report,
    /// The counters of the machine now.
    Machine,
    /// What was seen on the wire, the first so many bytes of each frame.
    Capture(u32),
    /// Connections from this place on.
    Connections(u32),
    /// The configuration is to be read again.
    Reload,
    /// A key of the configuration is to be changed.
    Set(String, String),
    /// The setting is to stay.
    Freeze,
    /// The tuner is to go on.
    Thaw,
    /// The end.
    Drain,
}

#[derive(Debug)]
struct Line {
    bytes: Vec<u8>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Window,
    Stats,
    Other,
}

/// The channel.
#[derive(Debug)]
pub struct Channel {
    token: Option<String>,
    peer: u64,
    trusted: bool,
    input: Vec<u8>,
    /// The rest of an input line that was too long is thrown away.
    skipping: bool,
    output: VecDeque<Line>,
    /// Bytes of the first output line that are already written.
    written: usize,
    /// Lines that a peer may see before it showed the token.
    refusal: Option<Vec<u8>>,
    windows_waiting: usize,
    lines_dropped: u64,
    windows_dropped: u64,
}

impl Channel {
    /// A channel that obeys whoever shows this token; anybody, when there is none.
    pub fn new(token: Option<String>) -> Self {
        Self {
            token,
            peer: 0,
            trusted: false,
            input: Vec::with_capacity(COMMAND_MAX),
            skipping: false,
            output: VecDeque::new(),
            written: 0,
            refusal: None,
            windows_waiting: 0,
            lines_dropped: 0,
            windows_dropped: 0,
        }
    }

    /// Lines that were dropped because the host did not read; no windows among them.
    pub fn lines_dropped(&self) -> u64 {
        self.lines_dropped
    }

    /// Windows that were dropped because the host did not read.
    pub fn windows_dropped(&self) -> u64 {
        self.windows_dropped
    }

    /// Everything was written.
    pub fn is_empty(&self) -> bool {
        self.output.is_empty()
    }

    /// Something waits for a peer that may have it: worth looking again soon whether the peer takes more. Without such
    /// a peer nothing moves until one comes, and that wakes the home.
    pub fn is_held_up(&self) -> bool {
        self.peer != 0 && self.trusted && !self.output.is_empty()
    }

    /// Lines that may be put in the queue now without dropping any, with half of the places left for others.
    pub fn room(&self) -> usize {
        (LINES_MAX / 2).saturating_sub(self.output.len() - self.windows_waiting)
    }

    /// Puts a line in the queue.
    pub fn push(&mut self, message: &Message) {
        let kind = match message {
            Message::Window(_) => Kind::Window,
            Message::Stats(_) => Kind::Stats,
            _ => Kind::Other,
        };
        // The end always has a place: there is one of it.
        let last = matches!(message, Message::Bye(_));
        if kind == Kind::Window {
            if self.windows_waiting == WINDOWS_MAX {
                self.windows_dropped += 1;
                return;
            }
            self.windows_waiting += 1;
        } else if !last && self.output.len() - self.windows_waiting >= LINES_MAX {
            self.lines_dropped += 1;
            // One that was begun has to be ended.
            let begun = usize::from(self.written > 0);
            match (begun..self.output.len()).find(|place| self.output[*place].kind == Kind::Stats) {
                Some(oldest) => drop(self.output.remove(oldest)),
                None => return,
            }
        }
        self.output.push_back(Line { bytes: message.line().into_bytes(), kind });
    }

    /// Reads what the host sent and writes what it takes. At most one request comes back; the next call goes on.
    pub fn turn(&mut self, home: &mut impl Home) -> Option<Asked> {
        let peer = home.management_peer();
        if peer != self.peer {
            self.peer = peer;
            self.trusted = self.token.is_none();
            self.input.clear();
            self.skipping = false;
            self.written = 0;
            self.refusal = None;
        }
        if peer == 0 {
            return None;
        }
        let asked = self.read(home);
        self.write(home);
        asked
    }

    fn read(&mut self, home: &mut impl Home) -> Option<Asked> {
        let mut budget = READ_MAX;
        loop {
            if let Some(asked) = self.next_line() {
                return Some(asked);
            }
            let mut bytes = [0; COMMAND_MAX];
            let len = home.management_read(&mut bytes).min(COMMAND_MAX);
            if len == 0 || budget < len {
                return None;
            }
            budget -= len;
            self.input.extend_from_slice(&bytes[..len]);
        }
    }

    /// Obeys the next whole line of the input, if it asks for anything.
    fn next_line(&mut self) -> Option<Asked> {
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            if core::mem::take(&mut self.skipping) || line.len() > COMMAND_MAX {
                self.refuse("a line is too long");
                continue;
            }
            if let Some(asked) = self.obey(line.trim_ascii()) {
                return Some(asked);
            }
        }
        if self.input.len() >= COMMAND_MAX {
            self.input.clear();
            self.skipping = true;
        }
        None
    }

    fn obey(&mut self, line: &[u8]) -> Option<Asked> {
        match Command::parse(line) {
            Some(Command::Hello(given)) => {
                if self.token.as_ref().is_none_or(|token| same(token.as_bytes(), given.as_bytes())) {
                    self.trusted = true;
                    return Some(Asked::Hello);
                }
                self.trusted = false;
                self.refuse("wrong token");
                None
            }
            _ if !self.trusted => {
                self.refuse("the token must come first: hello TOKEN");
                None
            }
            Some(Command::Report) => Some(Asked::Report),
            Some(Command::Machine) => Some(Asked::Machine),
            Some(Command::Capture(snap)) => Some(Asked::Capture(snap)),
            Some(Command::Connections(from)) => Some(Asked::Connections(from)),
            Some(Command::Reload) => Some(Asked::Reload),
            Some(Command::Set(key, value)) => Some(Asked::Set(key, value)),
            Some(Command::Freeze) => Some(Asked::Freeze),
            Some(Command::Thaw) => Some(Asked::Thaw),
            Some(Command::Drain) => Some(Asked::Drain),
            None => {
                self.refuse("unknown command; there are hello TOKEN, report, machine, capture BYTES, connections FROM, reload, set KEY = VALUE, freeze, thaw, drain");
                None
            }
        }
    }

    /// One refusal at a time is kept: whoever sends nonsense gets one answer for it.
    fn refuse(&mut self, reason: &str) {
        if self.refusal.is_none() {
            self.refusal = Some(Message::Refused { reason: reason.into() }.line().into_bytes());
        }
    }

    fn write(&mut self, home: &mut impl Home) {
        loop {
            // A refusal goes between two lines.
            if self.written == 0
                && let Some(bytes) = self.refusal.take()
            {
                self.output.push_front(Line { bytes, kind: Kind::Other });
                if !self.trusted {
                    // Nothing else may follow to this peer, so it is written as far as it goes, and forgotten.
                    if let Some(line) = self.output.pop_front() {
                        home.management_write(&line.bytes);
                    }
                    return;
                }
            }
            if !self.trusted {
                return;
            }
            let Some(line) = self.output.front() else { return };
            let rest = &line.bytes[self.written..];
            let len = home.management_write(rest).min(rest.len());
            self.written += len;
            if len < rest.len() {
                return;
            }
            self.windows_waiting -= usize::from(line.kind == Kind::Window);
            self.written = 0;
            self.output.pop_front();
        }
    }
}

/// Compares without telling by its time where two texts differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).fold(0, |all, (x, y)| all | (x ^ y));
    a.len() == b.len() && core::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use super::super::{Bye, Level, Stats};
    use super::*;
    use crate::fake::FakeHome;

    fn lines(home: &mut FakeHome) -> Vec<Message> {
        let text = String::from_utf8(core::mem::take(&mut home.written)).unwrap();
        text.lines().map(|line| Message::parse(line).unwrap()).collect()
    }

    fn say(channel: &mut Channel, home: &mut FakeHome, text: &str) -> Vec<Asked> {
        home.to_read.extend(text.bytes());
        let mut all = Vec::new();
        for _ in 0..20 {
            all.extend(channel.turn(home));
        }
        all
    }

    const TOKEN: &str = "0123456789abcdef";

    #[test]
    fn nothing_is_obeyed_or_told_before_the_token() {
        let mut home = FakeHome::new();
        let mut channel = Channel::new(Some(TOKEN.into()));
        channel.push(&Message::Stats(Stats::default()));
        assert_eq!(say(&mut channel, &mut home, "drain\n"), []);
        assert_eq!(say(&mut channel, &mut home, "hello 0123456789abcdee\ndrain\n"), []);
        assert_eq!(say(&mut channel, &mut home, "hello 0123456789abcde\n"), []);
        let told = lines(&mut home);
        assert!(
            !told.is_empty() && told.iter().all(|line| matches!(line, Message::Refused { .. })),
            "{told:?}"
        );
        let asked = say(&mut channel, &mut home, "hello 0123456789abcdef\nreport\nbogus\ndrain\n");
        assert_eq!(asked, [Asked::Hello, Asked::Report, Asked::Drain]);
        let told = lines(&mut home);
        assert!(told.contains(&Message::Stats(Stats::default())));
        assert!(told.iter().any(|line| matches!(line, Message::Refused { .. })));
    }

    #[test]
    fn a_new_peer_must_show_it_again_and_gets_whole_lines() {
        let mut home = FakeHome::new();
        let mut channel = Channel::new(Some(TOKEN.into()));
        assert_eq!(say(&mut channel, &mut home, &std::format!("hello {TOKEN}\n")), [Asked::Hello]);
        home.write_room = 10;
        channel.push(&Message::Bye(Bye::default()));
        assert_eq!(say(&mut channel, &mut home, ""), []);
        assert_eq!(home.written.len(), 10);
        home.written.clear();
        home.write_room = usize::MAX;
        home.peer += 1;
        assert_eq!(say(&mut channel, &mut home, "drain\n"), []);
        home.written.clear();
        assert_eq!(say(&mut channel, &mut home, &std::format!("hello {TOKEN}\n")), [Asked::Hello]);
        assert_eq!(lines(&mut home), [Message::Bye(Bye::default())]);
        assert!(channel.is_empty());
    }

    #[test]
    fn a_host_that_does_not_read_costs_bounded_memory() {
        let mut home = FakeHome::new();
        home.write_room = 0;
        let mut channel = Channel::new(None);
        for number in 0..1_000 {
            let text = std::format!("{number}");
            channel.push(&Message::Log { at_ns: number, level: Level::Info, text });
            channel.push(&Message::Window("{}".into()));
            channel.turn(&mut home);
        }
        channel.push(&Message::Bye(Bye::default()));
        assert_eq!(channel.lines_dropped(), 1_000 - LINES_MAX as u64);
        assert_eq!(channel.windows_dropped(), 1_000 - WINDOWS_MAX as u64);
        home.write_room = usize::MAX;
        channel.turn(&mut home);
        let told = lines(&mut home);
        assert_eq!(told.len(), LINES_MAX + WINDOWS_MAX + 1);
        assert!(matches!(told.last(), Some(Message::Bye(_))));
    }

    #[test]
    fn nobody_is_waited_for_who_is_not_there() {
        let mut home = FakeHome::new();
        let mut channel = Channel::new(Some(TOKEN.into()));
        channel.push(&Message::Stats(Stats::default()));
        home.peer = 0;
        assert_eq!(say(&mut channel, &mut home, ""), []);
        assert!(!channel.is_held_up(), "nobody is there");
        home.peer = 1;
        home.write_room = 0;
        assert_eq!(say(&mut channel, &mut home, ""), []);
        assert!(!channel.is_held_up(), "nobody may have it");
        assert_eq!(say(&mut channel, &mut home, &std::format!("hello {TOKEN}\n")), [Asked::Hello]);
        assert!(channel.is_held_up());
        home.write_room = usize::MAX;
        assert_eq!(say(&mut channel, &mut home, ""), []);
        assert!(!channel.is_held_up() && channel.is_empty());
    }

    #[test]
    fn the_latest_statistics_are_kept() {
        let mut home = FakeHome::new();
        home.write_room = 5;
        let mut channel = Channel::new(None);
        channel.push(&Message::Stats(Stats { at_ns: 9_999, ..Stats::default() }));
        channel.turn(&mut home);
        for at_ns in 0..200 {
            channel.push(&Message::Stats(Stats { at_ns, ..Stats::default() }));
        }
        channel.push(&Message::Log { at_ns: 0, level: Level::Info, text: "news".into() });
        home.write_room = usize::MAX;
        channel.turn(&mut home);
        let told = lines(&mut home);
        assert_eq!(told.len(), LINES_MAX);
        // The one that was begun, then the latest.
        let times = told.iter().filter_map(|line| match line {
            Message::Stats(stats) => Some(stats.at_ns),
            _ => None,
        });
        assert!(times.eq([9_999].into_iter().chain(138..200)), "{told:?}");
        assert!(matches!(told.last(), Some(Message::Log { .. })));
        assert_eq!(channel.lines_dropped(), 138);
    }

    #[test]
    fn input_is_bounded_and_cut_anywhere() {
        let mut home = FakeHome::new();
        let mut channel = Channel::new(None);
        assert_eq!(say(&mut channel, &mut home, &"x".repeat(5_000)), []);
        assert!(channel.input.len() <= 2 * COMMAND_MAX);
        assert_eq!(say(&mut channel, &mut home, "\nreport\n"), [Asked::Report]);
        assert!(
            matches!(&lines(&mut home)[..], [Message::Refused { reason }] if reason.contains("too long"))
        );
        for letter in "drain\r\n".chars() {
            let asked = say(&mut channel, &mut home, letter.encode_utf8(&mut [0; 4]));
            assert_eq!(asked.len(), usize::from(letter == '\n'));
        }
    }
}

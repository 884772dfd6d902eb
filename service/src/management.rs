//! The management channel: lines between an application and its host, over any byte stream.
//!
//! Application -> host: one JSON object a line, at most [`LINE_MAX`] bytes. Host -> application: plain words a line
//! (`hello TOKEN`, `report`, `machine`, `capture BYTES`, `connections FROM`, `reload`, `set KEY = VALUE`,
//! `freeze`, `thaw`, `drain`), at most [`COMMAND_MAX`] bytes. Nothing is obeyed before the right token, and
//! nothing but log lines leaves before it when a token is configured.
//!
//! ```text
//! {"hello":{"application":"kv","home":"guest",...}}      after the right token
//! {"refused":{"reason":"..."}}                           a command that was not obeyed
//! {"answered":{"good":1,"text":"..."}}                   what came of an order
//! {"log":{"at_ns":...,"level":"info","text":"..."}}
//! {"stats":{...}}                                        five a second
//! {"machine":{...}}                                      the counters of the guest's kernel, when asked for
//! {"captured":{...}}                                     frames that were seen on the wire, when asked for
//! {"connections":{...}}                                  some of the connections, when asked for
//! {"knobs":{...}}                                        a knob changed, with the time of every hop
//! {"window":{...}}                                       a sealed window of the ledger, in nom-ledger's own form
//! {"bye":{...}}                                          the last line after a drain
//! ```

pub mod channel;
mod lines;
mod wire;

pub(crate) use wire::TEXT_MAX;
pub use wire::{Captured, Connections, Frame, Frames, Row, Rows, SNAP_MAX};

use alloc::string::String;
use alloc::vec::Vec;

/// Longest line from the application, with its newline.
pub const LINE_MAX: usize = 4096;
/// Longest line from the host, with its newline.
pub const COMMAND_MAX: usize = 256;

/// What the host asks of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Shows the token. Must come first.
    Hello(String),
    /// Asks for a stats line now.
    Report,
    /// Asks for the counters of the guest's kernel.
    Machine,
    /// Asks for what is seen on the wire, the first so many bytes of each frame. Seeing ends when nobody asks any more.
    Capture(u32),
    /// Asks for connections, from this place in the table on.
    Connections(u32),
    /// Read the configuration again.
    Reload,
    /// Change one key of the configuration.
    Set(String, String),
    /// Keep the setting in force.
    Freeze,
    /// Let the tuner go on.
    Thaw,
    /// Accept nothing more, finish what is there, seal the ledger, say bye.
    Drain,
}

impl Command {
    /// The line with its newline.
    pub fn line(&self) -> String {
        match self {
            Command::Hello(token) => alloc::format!("hello {token}\n"),
            Command::Report => "report\n".into(),
            Command::Machine => "machine\n".into(),
            Command::Capture(snap) => alloc::format!("capture {snap}\n"),
            Command::Connections(from) => alloc::format!("connections {from}\n"),
            Command::Reload => "reload\n".into(),
            Command::Set(key, value) => alloc::format!("set {key} = {value}\n"),
            Command::Freeze => "freeze\n".into(),
            Command::Thaw => "thaw\n".into(),
            Command::Drain => "drain\n".into(),
        }
    }

    /// Reads a line without its line end.
    pub fn parse(line: &[u8]) -> Option<Self> {
        match line {
            b"report" => Some(Command::Report),
            b"machine" => Some(Command::Machine),
            b"drain" => Some(Command::Drain),
            b"reload" => Some(Command::Reload),
            b"freeze" => Some(Command::Freeze),
            b"thaw" => Some(Command::Thaw),
            _ if line.starts_with(b"set ") => {
                let (key, value) = core::str::from_utf8(&line[4..]).ok()?.split_once('=')?;
                Some(Command::Set(key.trim().into(), value.trim().into()))
            }
            _ => {
                if let Some((word, number)) = numbered(line) {
                    return match word {
                        b"capture" => Some(Command::Capture(number)),
                        b"connections" => Some(Command::Connections(number)),
                        _ => None,
                    };
                }
                let token = core::str::from_utf8(line.strip_prefix(b"hello")?).ok()?;
                match token.strip_prefix(' ') {
                    Some(token) => Some(Command::Hello(token.trim().into())),
                    None => token.is_empty().then(|| Command::Hello(String::new())),
                }
            }
        }
    }
}

/// A word and a number after it.
fn numbered(line: &[u8]) -> Option<(&[u8], u32)> {
    let place = line.iter().position(|byte| *byte == b' ')?;
    let (word, digits) = (&line[..place], &line[place + 1..]);
    if word == b"hello" || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some((word, core::str::from_utf8(digits).ok()?.parse().ok()?))
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// For the curious.
    Info,
    /// Something was given up or refused.
    Warning,
    /// The application cannot go on.
    Error,
}

/// Who speaks. The first line after the right token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hello {
    /// Name of the application.
    pub application: String,
    /// Its version.
    pub version: String,
    /// `guest`, `linux` or the name of another home.
    pub home: String,
    /// The application's clock when it was ready to serve.
    pub ready_ns: u64,
    /// Nanoseconds since 1970 at that moment, 0 when not known.
    pub unix_ns: u64,
    /// CRC32 of the configuration text that is in force.
    pub configuration_crc: u32,
}

/// Figures of the moment. Counts are cumulative since the start, so that a lost line loses nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// The application's clock.
    pub at_ns: u64,
    /// Nanoseconds since 1970, 0 when not known.
    pub unix_ns: u64,
    /// Accepted operations.
    pub accepted: u64,
    /// Refused operations.
    pub refused: u64,
    /// Sum of the latencies of all answered operations.
    pub latency_sum_ns: u64,
    /// Measured operations by latency, in the buckets of [`crate::metrics::latency_counts`].
    pub latency_counts: Words,
    /// Operations that took longer than the promise.
    pub late: u64,
    /// Median latency since the last stats line; 0 when nothing was answered.
    pub latency_p50_ns: u64,
    /// 99th percentile since the last stats line; 0 when nothing was answered.
    pub latency_p99_ns: u64,
    /// Bytes received, on the wire.
    pub wire_in_bytes: u64,
    /// Bytes sent, on the wire.
    pub wire_out_bytes: u64,
    /// Frames received.
    pub frames_in: u64,
    /// Frames sent.
    pub frames_out: u64,
    /// Frames that one core handed over to another and that found no room there.
    pub frames_lost: u64,
    /// Notifications of the device.
    pub kicks: u64,
    /// Sleeps.
    pub sleeps: u64,
    /// Segments that were sent again.
    pub retransmissions: u64,
    /// Core time used.
    pub core_ns: u64,
    /// Memory held.
    pub memory_bytes: u64,
    /// Open connections.
    pub connections: u64,
    /// Generation of the prices in force; 0 when there are none.
    pub price_generation: u64,
    /// Prices in force, as a person writes them; empty when unknown.
    pub price_bandwidth: String,
    /// Price of core time.
    pub price_core: String,
    /// Price of memory.
    pub price_memory: String,
    /// The setting in force, in the form of the points file.
    pub setting: String,
    /// Times that the tuner changed it.
    pub setting_changes: u64,
    /// 1 while new connections are served, 0 once it drains.
    pub serving: u32,
    /// Sealed windows so far.
    pub windows: u64,
    /// Profit of all sealed windows, in picodollars.
    pub profit_picodollars: i128,
    /// Revenue of all sealed windows, in picodollars.
    pub revenue_picodollars: i128,
    /// Stats and log lines that were dropped because the host did not read.
    pub lines_dropped: u64,
    /// Window lines that were dropped because the host did not read.
    pub windows_dropped: u64,
}

/// The counters of the guest's kernel as they are now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Machine {
    /// The application's clock.
    pub at_ns: u64,
    /// The words of [`nom_abi::statistics`]; none where there is no machine of one's own.
    pub words: Words,
}

/// Most [`Words`] of a line, so that any of them fit.
pub const WORDS_MAX: usize = 224;

/// Words of a page; zeros at the end are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words(Vec<u64>);

impl Words {
    /// Those of an iterator, [`WORDS_MAX`] at most.
    pub fn new(words: impl IntoIterator<Item = u64>) -> Self {
        let mut words: Vec<u64> = words.into_iter().take(WORDS_MAX).collect();
        words.truncate(words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1));
        Self(words)
    }

    /// The word at a place; 0 behind the last one.
    pub fn get(&self, place: usize) -> u64 {
        self.0.get(place).copied().unwrap_or(0)
    }

    /// Whether all of them are 0.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A knob changed. Times are on the application's clock unless they say otherwise; 0 means that there was no such hop.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KnobChange {
    /// Counts the changes from 1.
    pub number: u64,
    /// Generation of the prices under which it was decided.
    pub price_generation: u64,
    /// When the provider says that the price was set (since 1970).
    pub provider_unix_ns: u64,
    /// Nanoseconds since 1970 when the knob was in force.
    pub in_force_unix_ns: u64,
    /// When the price was written on the board.
    pub published_ns: u64,
    /// When the application saw it there.
    pub seen_ns: u64,
    /// When the stack had the new setting.
    pub in_force_ns: u64,
    /// Of a price: interrupts that the machine took between these two, where it is the application's own.
    pub interrupts: u64,
    /// The setting before.
    pub before: String,
    /// The setting now.
    pub after: String,
    /// The tuner's explanation, one line.
    pub why: String,
}

/// The end of an application that was drained.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bye {
    /// The application's clock.
    pub at_ns: u64,
    /// Accepted operations in all.
    pub accepted: u64,
    /// Refused operations in all.
    pub refused: u64,
    /// Windows that were sealed in all.
    pub windows: u64,
    /// Window lines that were dropped because the host did not read.
    pub windows_dropped: u64,
    /// Connections that did not end by themselves before the drain's deadline.
    pub connections_cut: u64,
}

/// One line from the application.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "most messages are statistics, and they are never kept in numbers"
)]
pub enum Message {
    /// Who speaks.
    Hello(Hello),
    /// A command was not obeyed.
    Refused {
        /// Why.
        reason: String,
    },
    /// What came of an order: reload, set, freeze, thaw.
    Answered {
        /// 1 when it was done, 0 when it was refused and nothing has changed.
        good: u32,
        /// What changed and what waits, or why not.
        text: String,
    },
    /// A line for people.
    Log {
        /// The application's clock.
        at_ns: u64,
        /// How much it matters.
        level: Level,
        /// The text.
        text: String,
    },
    /// Figures of the moment.
    Stats(Stats),
    /// The counters of the guest's kernel.
    Machine(Machine),
    /// Frames that were seen on the wire.
    Captured(Captured),
    /// Some of the connections.
    Connections(Connections),
    /// A knob changed.
    Knobs(KnobChange),
    /// A sealed window: the JSON object of nom-ledger's window, for nom-ledger to parse and check.
    Window(String),
    /// The end.
    Bye(Bye),
}

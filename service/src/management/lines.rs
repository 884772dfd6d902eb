//! Management messages as JSON lines, and back.

use super::{
    Bye, Captured, Connections, Hello, KnobChange, LINE_MAX, Level, Machine, Message, Stats, WORDS_MAX, Words,
};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;
use nom_feeds::json::{self, Value, Writer};

/// Most values in a line: an object and its fields.
const VALUES_MAX: usize = 65;

/// A field that can stand in a line.
pub(super) trait Field: Sized {
    fn put(&self, key: &'static str, writer: &mut Writer);
    fn take(value: Value) -> Option<Self>;
}

macro_rules! whole {
    ($($kind:ty),*) => {$(
        impl Field for $kind {
            fn put(&self, key: &'static str, writer: &mut Writer) {
                writer.number(key, i128::from(*self));
            }
            fn take(value: Value) -> Option<Self> {
                match value {
                    // A fraction or an exponent is no whole number and does not parse.
                    Value::Number(number) => number.parse().ok(),
                    _ => None,
                }
            }
        }
    )*};
}
whole!(u32, u64, i128);

impl Field for String {
    fn put(&self, key: &'static str, writer: &mut Writer) {
        writer.text(key, self);
    }
    fn take(value: Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Hexadecimal numbers with commas between; nothing stands for 0.
impl Field for Words {
    fn put(&self, key: &'static str, writer: &mut Writer) {
        let mut text = String::new();
        for (place, word) in self.0.iter().enumerate() {
            text.push_str(if place > 0 { "," } else { "" });
            if *word != 0 {
                // Writing to a String cannot fail.
                let _ = write!(text, "{word:x}");
            }
        }
        writer.text(key, &text);
    }
    fn take(value: Value) -> Option<Self> {
        let text = String::take(value)?;
        let word = |text: &str| if text.is_empty() { Ok(0) } else { u64::from_str_radix(text, 16) };
        let words: Vec<u64> = text.split(',').map(word).collect::<Result<_, _>>().ok()?;
        (words.len() <= WORDS_MAX).then(|| Words::new(words))
    }
}

impl Field for Level {
    fn put(&self, key: &'static str, writer: &mut Writer) {
        let name = match self {
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        writer.text(key, name);
    }
    fn take(value: Value) -> Option<Self> {
        match String::take(value)?.as_str() {
            "info" => Some(Level::Info),
            "warning" => Some(Level::Warning),
            "error" => Some(Level::Error),
            _ => None,
        }
    }
}

/// A struct of fields: written in order, read in any order, every one needed, none unknown.
macro_rules! record {
    ($kind:ident { $($field:ident),* $(,)? }) => {
        impl $kind {
            fn object(&self) -> String {
                let mut writer = Writer::new();
                $( self.$field.put(stringify!($field), &mut writer); )*
                writer.end()
            }
            fn read(text: &str) -> Result<Self, String> {
                let mut fields = Fields::read(text)?;
                let record = Self { $( $field: fields.take(stringify!($field))?, )* };
                fields.end()?;
                Ok(record)
            }
        }
    };
}

struct Fields(Vec<(String, Value)>);

impl Fields {
    fn read(text: &str) -> Result<Self, String> {
        match json::parse_large(text, VALUES_MAX).map_err(|error| error.to_string())? {
            Value::Object(members) => Ok(Self(members)),
            _ => Err("it is no object".into()),
        }
    }

    fn take<T: Field>(&mut self, key: &str) -> Result<T, String> {
        let place = self
            .0
            .iter()
            .position(|(name, _)| name == key)
            .ok_or_else(|| alloc::format!("field \"{key}\" is missing"))?;
        T::take(self.0.remove(place).1)
            .ok_or_else(|| alloc::format!("field \"{key}\" has the wrong kind or is out of range"))
    }

    fn end(self) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(alloc::format!("field \"{name}\" is unknown")),
        }
    }
}

struct Log {
    at_ns: u64,
    level: Level,
    text: String,
}

struct Refused {
    reason: String,
}

struct Answered {
    good: u32,
    text: String,
}

record!(Log { at_ns, level, text });
record!(Refused { reason });
record!(Answered { good, text });
record!(Machine { at_ns, words });
record!(Captured { at_ns, lost, more, frames });
record!(Connections { at_ns, next, rows });
record!(Hello { application, version, home, ready_ns, unix_ns, configuration_crc });
record!(Bye { at_ns, accepted, refused, windows, windows_dropped, connections_cut });
record!(KnobChange {
    number,
    price_generation,
    provider_unix_ns,
    in_force_unix_ns,
    published_ns,
    seen_ns,
    in_force_ns,
    interrupts,
    before,
    after,
    why,
});
record!(Stats {
    at_ns,
    unix_ns,
    accepted,
    refused,
    latency_sum_ns,
    latency_counts,
    late,
    latency_p50_ns,
    latency_p99_ns,
    wire_in_bytes,
    wire_out_bytes,
    frames_in,
    frames_out,
    frames_lost,
    kicks,
    sleeps,
    retransmissions,
    core_ns,
    memory_bytes,
    connections,
    price_generation,
    price_bandwidth,
    price_core,
    price_memory,
    setting,
    setting_changes,
    serving,
    windows,
    profit_picodollars,
    revenue_picodollars,
    lines_dropped,
    windows_dropped,
});

impl Message {
    /// The line with its newline. A log text that would make it longer than [`LINE_MAX`] is cut.
    pub fn line(&self) -> String {
        let line = self.whole_line();
        match self {
            Message::Log { at_ns, level, text } if line.len() > LINE_MAX => {
                // An escaped character takes at most six bytes, so this always fits.
                let text = cut(text, LINE_MAX / 6 - 32).into();
                Message::Log { at_ns: *at_ns, level: *level, text }.whole_line()
            }
            Message::Answered { good, text } if line.len() > LINE_MAX => {
                let text = cut(text, LINE_MAX / 6 - 32).into();
                Message::Answered { good: *good, text }.whole_line()
            }
            Message::Knobs(change) if line.len() > LINE_MAX => {
                let why = cut(&change.why, 256).into();
                Message::Knobs(KnobChange { why, ..change.clone() }).whole_line()
            }
            _ => line,
        }
    }

    fn whole_line(&self) -> String {
        let (kind, object) = match self {
            Message::Hello(hello) => ("hello", hello.object()),
            Message::Refused { reason } => ("refused", Refused { reason: reason.clone() }.object()),
            Message::Answered { good, text } => {
                ("answered", Answered { good: *good, text: text.clone() }.object())
            }
            Message::Log { at_ns, level, text } => {
                ("log", Log { at_ns: *at_ns, level: *level, text: text.clone() }.object())
            }
            Message::Stats(stats) => ("stats", stats.object()),
            Message::Machine(machine) => ("machine", machine.object()),
            Message::Captured(captured) => ("captured", captured.object()),
            Message::Connections(connections) => ("connections", connections.object()),
            Message::Knobs(change) => ("knobs", change.object()),
            Message::Window(object) => ("window", object.clone()),
            Message::Bye(bye) => ("bye", bye.object()),
        };
        alloc::format!("{{\"{kind}\":{object}}}\n")
    }

    /// Reads one line, with or without its newline. The error says what is wrong with it.
    pub fn parse(line: &str) -> Result<Message, String> {
        if line.len() > LINE_MAX {
            return Err(alloc::format!("line of {} bytes, at most {LINE_MAX} are allowed", line.len()));
        }
        let wrong = || String::from("expected {\"KIND\":{...}}");
        let inner = line
            .trim_end_matches(['\n', '\r'])
            .strip_prefix("{\"")
            .and_then(|rest| rest.strip_suffix('}'))
            .filter(|inner| !inner.contains(['\n', '\r']))
            .ok_or_else(wrong)?;
        let (kind, object) = inner.split_once("\":").ok_or_else(wrong)?;
        match kind {
            "hello" => Hello::read(object).map(Message::Hello),
            "refused" => Refused::read(object).map(|refused| Message::Refused { reason: refused.reason }),
            "answered" => {
                Answered::read(object).map(|Answered { good, text }| Message::Answered { good, text })
            }
            "log" => Log::read(object).map(|Log { at_ns, level, text }| Message::Log { at_ns, level, text }),
            "stats" => Stats::read(object).map(Message::Stats),
            "machine" => Machine::read(object).map(Message::Machine),
            "captured" => Captured::read(object).map(Message::Captured),
            "connections" => Connections::read(object).map(Message::Connections),
            "knobs" => KnobChange::read(object).map(Message::Knobs),
            "bye" => Bye::read(object).map(Message::Bye),
            "window" if object.starts_with('{') && object.ends_with('}') => {
                Ok(Message::Window(object.into()))
            }
            "window" => Err("a window is a JSON object".into()),
            _ => Err(alloc::format!("unknown kind of line \"{}\"", cut(kind, 32))),
        }
        .map_err(|error| alloc::format!("{}: {error}", cut(kind, 32)))
    }
}

/// At most `len` bytes of a text, cut between characters.
fn cut(text: &str, len: usize) -> &str {
    let mut end = len.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::super::wire::tests as wire;
    use super::*;

    fn samples() -> Vec<Message> {
        alloc::vec![
            Message::Hello(Hello {
                application: "kv".into(),
                configuration_crc: u32::MAX,
                ..Hello::default()
            }),
            Message::Refused { reason: "wrong token".into() },
            Message::Answered { good: 1, text: "batch: 0 -> 2 ms".into() },
            Message::Log { at_ns: u64::MAX, level: Level::Warning, text: "a \"b\"\n\u{0}".into() },
            Message::Stats(Stats {
                profit_picodollars: i128::MIN,
                revenue_picodollars: i128::MAX,
                setting: "wait=poll".into(),
                late: u64::MAX,
                ..Stats::default()
            }),
            Message::Knobs(KnobChange { number: 1, why: "price".into(), ..KnobChange::default() }),
            Message::Machine(Machine { at_ns: 5, words: Words::new([0, 1, 0, u64::MAX, 0]) }),
            Message::Machine(Machine { at_ns: u64::MAX, words: Words::new([u64::MAX; WORDS_MAX]) }),
            Message::Machine(Machine::default()),
            Message::Captured(Captured::default()),
            Message::Captured(wire::full()),
            Message::Connections(Connections::default()),
            Message::Connections(wire::crowd()),
            Message::Window("{\"number\":1,\"lines\":[1,2]}".into()),
            Message::Bye(Bye { accepted: 7, ..Bye::default() }),
        ]
    }

    #[test]
    fn every_message_survives_its_line() {
        for message in samples() {
            let line = message.line();
            assert!(line.ends_with('\n') && line.matches('\n').count() == 1 && line.len() <= LINE_MAX);
            assert_eq!(Message::parse(&line), Ok(message));
        }
    }

    #[test]
    fn a_long_text_is_cut_not_refused() {
        for text in ["é".repeat(5000), "\u{1}".repeat(5000)] {
            let line = Message::Log { at_ns: u64::MAX, level: Level::Warning, text: text.clone() }.line();
            assert!(line.len() <= LINE_MAX);
            assert!(Message::parse(&line).is_ok());
            let answered = Message::Answered { good: 0, text: text.clone() }.line();
            assert!(answered.len() <= LINE_MAX && Message::parse(&answered).is_ok());
            let why = Message::Knobs(KnobChange { why: text, ..KnobChange::default() }).line();
            assert!(why.len() <= LINE_MAX && Message::parse(&why).is_ok());
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, said) in [
            ("", "expected"),
            ("{}", "expected"),
            ("{\"x\":{}}", "unknown kind"),
            ("{\"refused\":{}}", "\"reason\" is missing"),
            ("{\"refused\":{\"reason\":1}}", "wrong kind"),
            ("{\"refused\":{\"reason\":\"a\",\"more\":1}}", "\"more\" is unknown"),
            ("{\"log\":{\"at_ns\":-1,\"level\":\"info\",\"text\":\"\"}}", "out of range"),
            ("{\"window\":7}", "object"),
            ("{\"machine\":{\"at_ns\":0,\"words\":\"1,g\"}}", "wrong kind"),
            ("{\"machine\":{\"at_ns\":0,\"words\":\"10000000000000000\"}}", "wrong kind"),
            ("{\"captured\":{\"at_ns\":0,\"lost\":0,\"more\":0,\"frames\":\"i0,2,000102\"}}", "wrong kind"),
            ("{\"connections\":{\"at_ns\":0,\"next\":0,\"rows\":\"10.0.0.1 1 2\"}}", "wrong kind"),
        ] {
            let error = Message::parse(line).unwrap_err();
            assert!(error.contains(said), "{line}: {error}");
        }
        assert!(Message::parse(&"x".repeat(LINE_MAX + 1)).unwrap_err().contains("at most"));
    }

    #[test]
    fn mangled_lines_never_break_the_reader() {
        let mut seed = 7u64;
        let mut next = move || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize
        };
        for _ in 0..20_000 {
            let all = samples();
            let mut bytes = all[next() % all.len()].line().into_bytes();
            for _ in 0..1 + next() % 3 {
                let place = next() % bytes.len();
                match next() % 3 {
                    0 => bytes[place] = next() as u8,
                    1 => bytes.truncate(place.max(1)),
                    _ => bytes.insert(place, b"{}\":,\\0"[next() % 7]),
                }
            }
            if let Ok(text) = core::str::from_utf8(&bytes)
                && let Ok(message) = Message::parse(text)
            {
                assert_eq!(Message::parse(&message.line()), Ok(message));
            }
        }
    }
}

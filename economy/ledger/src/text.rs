//! A window as one line of JSON, and back.
//!
//! The writer is the only author of these lines, so the reader takes exactly what it writes: the same keys in the
//! same order, whole numbers in their shortest form, no space (`announced_ns` stands there only where prices had been
//! announced, `latency_square_sum` only where what users pay depends on jitter). That makes one text for one window, which is what the
//! hash is taken over (all up to `,"hash"`), and leaves nothing to interpretation.

use crate::{Hash, Line, Window};
use alloc::string::String;
use core::fmt;
use core::fmt::Write;
use nom_money::{Exact, PerByte, PerByteSecond, PerCoreNs, Picodollars, Prices};

/// Longest line that is read. Every field at its largest still fits.
pub const LINE_MAX: usize = 2048;

/// Why a line is no window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowError {
    /// The line is longer than [`LINE_MAX`].
    TooLong,
    /// Something else was expected at this byte.
    Expected {
        /// Byte in the line.
        at: usize,
        /// What should stand there.
        what: &'static str,
    },
    /// The hash is not that of the text.
    Altered,
}

impl fmt::Display for WindowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the line is longer than {LINE_MAX} bytes"),
            Self::Expected { at, what } => write!(f, "byte {at}: expected {what}"),
            Self::Altered => f.write_str("the hash is not that of the text: the line was altered"),
        }
    }
}

/// Everything but the hash and the closing brace.
pub(crate) struct Body<'a>(&'a Window);

impl Window {
    pub(crate) fn body(&self) -> Body<'_> {
        Body(self)
    }

    /// One JSON object, without a newline.
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(LINE_MAX / 2);
        // Writing to a String cannot fail.
        let _ = write!(out, "{},\"hash\":\"{}\"}}", self.body(), self.hash);
        out
    }
}

impl fmt::Display for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let window = self.0;
        write!(f, "{{\"window\":{},\"sealed\":{}", window.number, window.sealed)?;
        write!(f, ",\"start_ns\":{},\"end_ns\":{}", window.start_ns, window.end_ns)?;
        write!(f, ",\"generation\":{}", window.generation)?;
        if let Some(announced_ns) = window.announced_ns {
            write!(f, ",\"announced_ns\":{announced_ns}")?;
        }
        let prices = [
            ("bandwidth_atto_per_byte", window.prices.bandwidth.map(|rate| rate.0)),
            ("core_atto_per_ns", window.prices.core.map(|rate| rate.0)),
            ("memory_atto_per_byte_s", window.prices.memory.map(|rate| rate.0)),
        ];
        for (key, atto) in prices {
            match atto {
                Some(atto) => write!(f, ",\"{key}\":{atto}")?,
                None => write!(f, ",\"{key}\":null")?,
            }
        }
        write!(f, ",\"accepted\":{},\"refused\":{}", window.accepted, window.refused)?;
        write!(f, ",\"useful_bytes\":{},\"wire_bytes\":{}", window.useful_bytes, window.wire_bytes)?;
        write!(f, ",\"core_ns\":{},\"memory_byte_ns\":{}", window.core_ns, window.memory_byte_ns)?;
        write!(f, ",\"measured\":{},\"late\":{}", window.measured, window.late)?;
        write!(f, ",\"latency_sum_ns\":{}", window.latency_sum_ns)?;
        if let Some(squares) = window.latency_square_sum {
            write!(f, ",\"latency_square_sum\":{squares}")?;
        }
        write!(f, ",\"units\":{},\"earned_ronto_per_unit\":{}", window.units, window.earned.0)?;
        for (name, line) in NAMES.iter().zip(window.lines()) {
            write!(f, ",\"{name}_pico\":{},\"{name}_total_pico\":{}", line.amount.0, line.total.0)?;
            write!(f, ",\"{name}_rest_ronto\":{}", line.rest.0)?;
        }
        write!(f, ",\"profit_pico\":{},\"previous\":\"{}\"", window.profit().0, window.previous)
    }
}

const NAMES: [&str; 4] = ["revenue", "bandwidth", "core", "memory"];

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn refuse<T>(&self, what: &'static str) -> Result<T, WindowError> {
        Err(WindowError::Expected { at: self.at, what })
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn literal(&mut self, literal: &str, what: &'static str) -> Result<(), WindowError> {
        if !self.rest().starts_with(literal) {
            return self.refuse(what);
        }
        self.at += literal.len();
        Ok(())
    }

    /// `LEAD"KEY":`
    fn key(&mut self, lead: &str, key: &'static str) -> Result<(), WindowError> {
        self.literal(lead, key)?;
        self.literal("\"", key)?;
        self.literal(key, key)?;
        self.literal("\":", key)
    }

    fn number<N: core::str::FromStr + fmt::Display>(&mut self) -> Result<N, WindowError> {
        const WHAT: &str = "a whole number in its shortest form and in range";
        let digits = |byte: u8| byte.is_ascii_digit() || byte == b'-';
        let text = self.rest();
        let end = text.bytes().position(|byte| !digits(byte)).unwrap_or(text.len());
        let text = &text[..end];
        let Ok(number) = text.parse::<N>() else { return self.refuse(WHAT) };
        let shortest = !(text.starts_with("0") && text.len() > 1 || text.starts_with("-0"));
        if !shortest {
            return self.refuse(WHAT);
        }
        self.at += end;
        Ok(number)
    }

    fn field<N: core::str::FromStr + fmt::Display>(&mut self, key: &'static str) -> Result<N, WindowError> {
        self.key(",", key)?;
        self.number()
    }

    fn optional(&mut self, key: &'static str) -> Result<Option<i128>, WindowError> {
        self.key(",", key)?;
        if self.rest().starts_with("null") {
            self.at += 4;
            return Ok(None);
        }
        self.number().map(Some)
    }

    fn line(&mut self, keys: [&'static str; 3]) -> Result<Line, WindowError> {
        Ok(Line {
            amount: Picodollars(self.field(keys[0])?),
            total: Picodollars(self.field(keys[1])?),
            rest: Exact(self.field(keys[2])?),
        })
    }

    fn hash(&mut self, key: &'static str) -> Result<Hash, WindowError> {
        self.key(",", key)?;
        self.literal("\"", "a hash")?;
        let Some(hash) = self.rest().get(..64).and_then(Hash::parse) else {
            return self.refuse("64 lower-case hexadecimal digits");
        };
        self.at += 64;
        self.literal("\"", "the end of the hash")?;
        Ok(hash)
    }
}

impl Window {
    /// Reads one line as [`Window::to_json`] writes it (a newline at its end may stay). The hash is checked against
    /// the text; whether the amounts are right is [`crate::verify`]'s question.
    pub fn parse(line: &str) -> Result<Self, WindowError> {
        let line = line.strip_suffix('\n').unwrap_or(line);
        if line.len() > LINE_MAX {
            return Err(WindowError::TooLong);
        }
        let mut reader = Reader { text: line, at: 0 };
        reader.key("{", "window")?;
        let number = reader.number()?;
        reader.key(",", "sealed")?;
        let sealed = reader.rest().starts_with("true");
        reader.literal(if sealed { "true" } else { "false" }, "true or false")?;
        let start_ns = reader.field("start_ns")?;
        let end_ns = reader.field("end_ns")?;
        let generation = reader.field("generation")?;
        let announced_ns = match reader.rest().starts_with(",\"announced_ns\"") {
            true => Some(reader.field("announced_ns")?),
            false => None,
        };
        let prices = Prices {
            bandwidth: reader.optional("bandwidth_atto_per_byte")?.map(PerByte),
            core: reader.optional("core_atto_per_ns")?.map(PerCoreNs),
            memory: reader.optional("memory_atto_per_byte_s")?.map(PerByteSecond),
        };
        let mut window = Window {
            number,
            sealed,
            start_ns,
            end_ns,
            generation,
            announced_ns,
            prices,
            accepted: reader.field("accepted")?,
            refused: reader.field("refused")?,
            useful_bytes: reader.field("useful_bytes")?,
            wire_bytes: reader.field("wire_bytes")?,
            core_ns: reader.field("core_ns")?,
            memory_byte_ns: reader.field("memory_byte_ns")?,
            measured: reader.field("measured")?,
            late: reader.field("late")?,
            latency_sum_ns: reader.field("latency_sum_ns")?,
            latency_square_sum: match reader.rest().starts_with(",\"latency_square_sum\"") {
                true => Some(reader.field("latency_square_sum")?),
                false => None,
            },
            units: reader.field("units")?,
            earned: Exact(reader.field("earned_ronto_per_unit")?),
            revenue: reader.line(["revenue_pico", "revenue_total_pico", "revenue_rest_ronto"])?,
            bandwidth: reader.line(["bandwidth_pico", "bandwidth_total_pico", "bandwidth_rest_ronto"])?,
            core: reader.line(["core_pico", "core_total_pico", "core_rest_ronto"])?,
            memory: reader.line(["memory_pico", "memory_total_pico", "memory_rest_ronto"])?,
            previous: Hash::default(),
            hash: Hash::default(),
        };
        let amounts = window.lines().map(|line| line.amount.0);
        let totals = window.lines().map(|line| line.total.0);
        // Amounts from outside: the sums of a window are taken unchecked elsewhere, so bound them here.
        if amounts.iter().chain(&totals).any(|pico| pico.unsigned_abs() > 1 << 124) {
            return reader.refuse("amounts below 10^25 dollars");
        }
        let profit: i128 = reader.field("profit_pico")?;
        if profit != window.profit().0 {
            return reader.refuse("a profit that is revenue less costs");
        }
        window.previous = reader.hash("previous")?;
        let body = reader.at;
        window.hash = reader.hash("hash")?;
        reader.literal("}", "}")?;
        if reader.at != line.len() {
            return reader.refuse("the end of the line");
        }
        if crate::sha256(&line.as_bytes()[..body]) != window.hash {
            return Err(WindowError::Altered);
        }
        Ok(window)
    }
}

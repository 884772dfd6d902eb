//! A strict, bounded JSON reader (RFC 8259), and the little writer of flat objects. Numbers stay as they are written,
//! keys stand once, depth and size have bounds.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use nom_money::Decimal;

#[cfg(test)]
pub(crate) mod tests;
mod writer;

pub use writer::{Writer, quote};

/// Deepest nesting.
pub const DEPTH_MAX: usize = 8;
/// Most values in a text, unless the reader is told another bound.
pub const VALUES_MAX: usize = 4096;
/// Most members of one object: each key is compared with all before it.
pub const MEMBERS_MAX: usize = 256;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number as it is written.
    Number(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// An object, in the order of the text.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// The member of an object.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Object(members) => members.iter().find(|(known, _)| known == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// A whole number in range.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Value::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The values of a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(values) => Some(values),
            _ => None,
        }
    }

    /// A number, or a number that was put in quotes to keep its digits.
    pub fn as_decimal(&self) -> Option<Decimal> {
        match self {
            Value::Number(text) | Value::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// A text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Why a text is not JSON: the byte, and what was expected there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Byte in the text.
    pub at: usize,
    /// What was expected.
    pub expected: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: expected {}", self.at, self.expected)
    }
}

/// Reads one value that takes the whole text.
pub fn parse(text: &str) -> Result<Value, Malformed> {
    parse_large(text, VALUES_MAX)
}

/// The same with another bound on the number of values, for lists of prices.
pub fn parse_large(text: &str, values_max: usize) -> Result<Value, Malformed> {
    let mut reader = Reader { text, at: 0, values: 0, values_max };
    reader.space();
    let value = reader.value(0)?;
    reader.space();
    if reader.at == text.len() { Ok(value) } else { reader.refuse("the end") }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    values: usize,
    values_max: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn refuse<T>(&self, expected: &'static str) -> Result<T, Malformed> {
        Err(Malformed { at: self.at, expected })
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<Value, Malformed> {
        if depth == DEPTH_MAX {
            return self.refuse("no deeper nesting");
        }
        if self.values == self.values_max {
            return self.refuse("no more values");
        }
        self.values += 1;
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => Ok(Value::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                let words =
                    [("null", Value::Null), ("true", Value::Bool(true)), ("false", Value::Bool(false))];
                for (word, value) in words {
                    if self.text[self.at..].starts_with(word) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                self.refuse("a value")
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Malformed> {
        self.at += 1;
        let mut members: Vec<(String, Value)> = Vec::new();
        self.space();
        if self.take(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            self.space();
            let key = self.string()?;
            if members.iter().any(|(known, _)| *known == key) {
                return self.refuse("each key once");
            }
            if members.len() == MEMBERS_MAX {
                return self.refuse("at most 256 members");
            }
            self.space();
            if !self.take(b':') {
                return self.refuse(":");
            }
            self.space();
            members.push((key, self.value(depth + 1)?));
            self.space();
            if self.take(b'}') {
                return Ok(Value::Object(members));
            }
            if !self.take(b',') {
                return self.refuse(", or }");
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, Malformed> {
        self.at += 1;
        let mut values = Vec::new();
        self.space();
        if self.take(b']') {
            return Ok(Value::List(values));
        }
        loop {
            self.space();
            values.push(self.value(depth + 1)?);
            self.space();
            if self.take(b']') {
                return Ok(Value::List(values));
            }
            if !self.take(b',') {
                return self.refuse(", or ]");
            }
        }
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return self.refuse("a digit");
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Value, Malformed> {
        let start = self.at;
        self.take(b'-');
        // A leading zero stands alone.
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        Ok(Value::Number(self.text[start..self.at].into()))
    }

    fn string(&mut self) -> Result<String, Malformed> {
        if !self.take(b'"') {
            return self.refuse("a text in quotes");
        }
        let mut out = String::new();
        loop {
            let Some(letter) = self.text[self.at..].chars().next() else {
                return self.refuse("a closing quote");
            };
            match letter {
                '"' => {
                    self.at += 1;
                    return Ok(out);
                }
                '\\' => out.push(self.escape()?),
                control if (control as u32) < 0x20 => return self.refuse("no control character"),
                other => {
                    self.at += other.len_utf8();
                    out.push(other);
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, Malformed> {
        self.at += 1;
        let Some(letter) = self.peek() else { return self.refuse("an escape") };
        let plain = match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return self.refuse("a known escape"),
        };
        self.at += 1;
        Ok(plain)
    }

    fn unicode(&mut self) -> Result<char, Malformed> {
        let first = self.four()?;
        let code = if (0xd800..0xdc00).contains(&first) {
            if self.peek() != Some(b'\\') || self.text.as_bytes().get(self.at + 1) != Some(&b'u') {
                return self.refuse("the second half of a surrogate pair");
            }
            self.at += 1;
            let second = self.four()?;
            if !(0xdc00..0xe000).contains(&second) {
                return self.refuse("the second half of a surrogate pair");
            }
            0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        } else {
            first
        };
        match char::from_u32(code) {
            Some(letter) => Ok(letter),
            None => self.refuse("a character"),
        }
    }

    /// The four digits behind `u`, at which the reader stands.
    fn four(&mut self) -> Result<u32, Malformed> {
        let digits = self.text.get(self.at + 1..self.at + 5);
        let Some(digits) = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        else {
            return self.refuse("four hexadecimal digits");
        };
        let code = u32::from_str_radix(digits, 16).unwrap_or(0);
        self.at += 5;
        Ok(code)
    }
}

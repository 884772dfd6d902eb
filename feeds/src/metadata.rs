//! The answer of our host's metadata service.
//!
//! ```text
//! {"generation":3,"provider_unix_ns":1700000000000000000,
//!  "prices":{"bandwidth":"10 $/Gbit","core":"3 $/core/h"},
//!  "next":{"provider_unix_ns":1700000060000000000,"prices":{"bandwidth":"1 $/Gbit"}},"valid_s":60}
//! ```
//!
//! `next` may be absent: a price that is known ahead. Members that we do not know are skipped (a newer service may
//! say more), but a resource or a unit that we do not know is refused: it could be something that we pay for.

use crate::json::{self, Value};
use alloc::string::String;
use core::fmt;
use core::fmt::Write;
use nom_money::{Prices, TextError};

/// Longest answer.
pub const BYTES_MAX: usize = 8192;

/// Prices as the service tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Changes when the prices change; asking with it waits for another one.
    pub generation: u64,
    /// When the prices were set, since 1970; 0 when the service does not know.
    pub provider_unix_ns: u64,
    /// The prices.
    pub prices: Prices,
    /// The next change and when it comes, when that is known.
    pub next: Option<(u64, Prices)>,
    /// For how long the prices may be used without asking again.
    pub valid_s: u64,
}

/// Why an answer is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerError(pub String);

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Answer {
    /// One JSON object.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "{{\"generation\":{},\"provider_unix_ns\":{},\"prices\":",
            self.generation, self.provider_unix_ns
        );
        write_prices(&mut out, &self.prices);
        if let Some((unix_ns, prices)) = &self.next {
            let _ = write!(out, ",\"next\":{{\"provider_unix_ns\":{unix_ns},\"prices\":");
            write_prices(&mut out, prices);
            out.push('}');
        }
        let _ = write!(out, ",\"valid_s\":{}}}", self.valid_s);
        out
    }

    /// Reads an answer.
    pub fn parse(text: &str) -> Result<Self, AnswerError> {
        if text.len() > BYTES_MAX {
            return Err(AnswerError("the answer is longer than 8 KiB".into()));
        }
        let value = json::parse(text).map_err(|error| AnswerError(alloc::format!("no JSON: {error}")))?;
        let next = match value.get("next") {
            None | Some(Value::Null) => None,
            Some(next) => Some((number(next, "provider_unix_ns")?, prices(next)?)),
        };
        Ok(Self {
            generation: number(&value, "generation")?,
            provider_unix_ns: number(&value, "provider_unix_ns")?,
            prices: prices(&value)?,
            next,
            valid_s: number(&value, "valid_s")?,
        })
    }
}

fn write_prices(out: &mut String, prices: &Prices) {
    let texts = [
        ("bandwidth", prices.bandwidth.map(|rate| alloc::format!("{rate}"))),
        ("core", prices.core.map(|rate| alloc::format!("{rate}"))),
        ("memory", prices.memory.map(|rate| alloc::format!("{rate}"))),
    ];
    let mut separator = '{';
    for (name, text) in texts {
        let Some(text) = text else { continue };
        out.push(separator);
        separator = ',';
        json::quote(out, name);
        out.push(':');
        json::quote(out, &text);
    }
    if separator == '{' {
        out.push('{');
    }
    out.push('}');
}

fn number(value: &Value, key: &str) -> Result<u64, AnswerError> {
    value
        .get(key)
        .and_then(Value::as_u64)
        .ok_or_else(|| AnswerError(alloc::format!("{key} is missing or no whole number")))
}

fn prices(value: &Value) -> Result<Prices, AnswerError> {
    let Some(Value::Object(members)) = value.get("prices") else {
        return Err(AnswerError("prices is missing or no object".into()));
    };
    let mut prices = Prices::NONE;
    for (name, value) in members {
        let short: String = name.chars().take(40).collect();
        let Some(text) = value.as_text() else {
            return Err(AnswerError(alloc::format!("the price of '{}' is no text", short.escape_debug())));
        };
        let wrong = |error: TextError| AnswerError(alloc::format!("the price of {short}: {error}"));
        match name.as_str() {
            "bandwidth" => prices.bandwidth = Some(text.parse().map_err(wrong)?),
            "core" => prices.core = Some(text.parse().map_err(wrong)?),
            "memory" => prices.memory = Some(text.parse().map_err(wrong)?),
            _ => {
                return Err(AnswerError(alloc::format!(
                    "'{}' is no resource that we know",
                    short.escape_debug()
                )));
            }
        }
    }
    if prices.is_none() { Err(AnswerError("there is no price in it".into())) } else { Ok(prices) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"generation":3,"provider_unix_ns":1700000000000000000,"prices":{"bandwidth":"10 $/Gbit","core":"3 $/core/h"},"next":{"provider_unix_ns":1700000060000000000,"prices":{"bandwidth":"1 $/Gbit"}},"valid_s":60}"#;

    #[test]
    fn answers_are_written_and_read_back() {
        let answer = Answer::parse(GOOD).unwrap();
        assert_eq!(answer.to_json(), GOOD);
        assert_eq!(answer.next.unwrap().0, 1_700_000_060_000_000_000);
        let more = GOOD.replace("{\"generation\"", "{ \"new\": [1, {\"x\": null}], \"generation\"");
        assert_eq!(Answer::parse(&more), Ok(answer));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for (from, to) in [
            ("\"generation\":3", "\"generation\":-3"),
            ("\"generation\":3", "\"generation\":\"3\""),
            ("\"generation\":3,", ""),
            ("\"valid_s\":60", "\"valid_s\":6e1"),
            ("10 $/Gbit", "10 €/Gbit"),
            ("10 $/Gbit", "10"),
            ("\"10 $/Gbit\"", "10"),
            ("\"core\"", "\"disk\""),
            ("\"core\"", "\"bandwidth\""),
            ("1 $/Gbit\"}", "1 $/core/h\"}"),
            ("{\"bandwidth\":\"10 $/Gbit\",\"core\":\"3 $/core/h\"}", "{}"),
            (",\"valid_s\":60}", ",\"valid_s\":60"),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD);
            assert!(Answer::parse(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn mutated_answers_never_break_the_reader() {
        let mut random = crate::json::tests::Random(5);
        let mut read = 0;
        for _ in 0..20_000 {
            let Some(text) = random.mutate(GOOD) else { continue };
            if let Ok(answer) = Answer::parse(&text) {
                read += 1;
                assert_eq!(Answer::parse(&answer.to_json()), Ok(answer));
            }
        }
        assert!(read > 500, "{read}");
    }
}

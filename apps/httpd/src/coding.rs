//! Which content codings a client takes, and how gladly (RFC 9110, 12.5.3).

use crate::text::{list, trimmed};

/// How content may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coding {
    /// As it is.
    Identity,
    /// gzip.
    Gzip,
    /// Brotli.
    Brotli,
}

/// All of them, the smallest content first where a client takes several equally gladly.
pub const CODINGS: [Coding; 3] = [Coding::Brotli, Coding::Gzip, Coding::Identity];

impl Coding {
    /// As `Content-Encoding` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Brotli => "br",
        }
    }
}

/// What `Accept-Encoding` said, in thousandths; nothing where it said nothing of a coding.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Codings {
    said: bool,
    identity: Option<u16>,
    gzip: Option<u16>,
    brotli: Option<u16>,
    any: Option<u16>,
}

impl Codings {
    /// Adds a field's value. An element that is malformed is passed over.
    pub(crate) fn take(&mut self, value: &[u8]) {
        self.said = true;
        for element in list(value) {
            let semicolon = element.iter().position(|byte| *byte == b';').unwrap_or(element.len());
            let name = trimmed(&element[..semicolon]);
            let Some(weight) = weight(&element[semicolon..]) else { continue };
            let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
            let place = if is(b"gzip") || is(b"x-gzip") {
                &mut self.gzip
            } else if is(b"br") {
                &mut self.brotli
            } else if is(b"identity") {
                &mut self.identity
            } else if name == b"*" {
                &mut self.any
            } else {
                continue;
            };
            *place = Some(weight);
        }
    }

    /// How gladly a coding is taken, 0 for not at all. `identity` is taken unless it was excluded.
    pub(crate) fn weight(&self, coding: Coding) -> u16 {
        match coding {
            // Whatever is better than nothing else that was named.
            Coding::Identity => self.identity.or(self.any.filter(|weight| *weight == 0)).unwrap_or(1),
            Coding::Gzip => self.gzip.or(self.any).unwrap_or(0),
            Coding::Brotli => self.brotli.or(self.any).unwrap_or(0),
        }
    }

    /// Whether gzip may be chosen.
    #[inline]
    pub(crate) fn takes_gzip(&self) -> bool {
        self.said && self.weight(Coding::Gzip) >= self.weight(Coding::Identity)
    }

    /// Nothing but `identity` can be chosen.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        !self.said
    }
}

/// `;q=0.5` in thousandths; 1000 when there is none.
fn weight(parameters: &[u8]) -> Option<u16> {
    let [b';', rest @ ..] = parameters else { return Some(1000) };
    let rest = trimmed(rest);
    let digits = rest.strip_prefix(b"q=").or_else(|| rest.strip_prefix(b"Q="))?;
    let (whole, fraction) = match digits {
        [whole] => (whole, &b""[..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    if !matches!(whole, b'0' | b'1') || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut value = u16::from(whole - b'0');
    for place in 0..3 {
        value = value * 10 + fraction.get(place).map_or(0, |digit| u16::from(digit - b'0'));
    }
    (value <= 1000).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_coding_that_is_taken() {
        let best = |text: &str| {
            let mut codings = Codings::default();
            codings.take(text.as_bytes());
            let mut best = (0, Coding::Identity);
            for coding in CODINGS {
                let weight = codings.weight(coding);
                if weight > best.0 {
                    best = (weight, coding);
                }
            }
            (best.0 > 0).then_some(best.1)
        };
        for (text, expected) in [
            ("", Some(Coding::Identity)),
            ("gzip, deflate, br, zstd", Some(Coding::Brotli)),
            ("gzip;q=1.0, br;q=0.5", Some(Coding::Gzip)),
            ("GZIP ; Q=0.3", Some(Coding::Gzip)),
            ("gzip;q=0", Some(Coding::Identity)),
            ("*", Some(Coding::Brotli)),
            ("*;q=0", None),
            ("identity;q=0, gzip", Some(Coding::Gzip)),
            ("identity;q=0.5, gzip;q=0.4", Some(Coding::Identity)),
            ("*;q=0, identity", Some(Coding::Identity)),
            ("gzip;q=2, br;q=0.0001, deflate", Some(Coding::Identity)),
            ("gzip;x=1", Some(Coding::Identity)),
        ] {
            assert_eq!(best(text), expected, "{text}");
        }
    }
}

//! As much of XML as price documents use: elements, texts, attributes that nobody needs.
//!
//! Strict and bounded: what is opened is closed in order, a document type or a processing instruction is refused (so
//! there are no entities to expand), text and elements do not mix. The reader hands out what comes next and keeps
//! only the names of the open elements, borrowed from the text.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Deepest nesting.
pub const DEPTH_MAX: usize = 16;

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// An element begins: its name without the prefix of its name space.
    Open(&'a str),
    /// The text in an element that has no elements in it.
    Text(Cow<'a, str>),
    /// The innermost element ends.
    Close(&'a str),
    /// The document is over.
    End,
}

/// Why a text is no such document.
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

/// The reader.
#[derive(Debug)]
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
    open: Vec<&'a str>,
    /// The root was seen.
    begun: bool,
    /// The element that was just opened closed itself.
    closing: bool,
    /// Something stands in the innermost element already, so text may not.
    filled: bool,
}

fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':') || byte >= 0x80
}

impl<'a> Reader<'a> {
    /// At the begin of a document.
    pub fn new(text: &'a str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self { text, at: 0, open: Vec::new(), begun: false, closing: false, filled: false }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn refuse<T>(&self, expected: &'static str) -> Result<T, Malformed> {
        Err(Malformed { at: self.at, expected })
    }

    fn space(&mut self) {
        self.at +=
            self.rest().bytes().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
    }

    fn take(&mut self, literal: &str) -> bool {
        let found = self.rest().starts_with(literal);
        self.at += if found { literal.len() } else { 0 };
        found
    }

    fn name(&mut self) -> Result<&'a str, Malformed> {
        let rest = self.rest();
        let len = rest.bytes().take_while(|byte| is_name(*byte)).count();
        let first = rest.as_bytes().first();
        if len == 0 || first.is_some_and(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b':')) {
            return self.refuse("a name");
        }
        self.at += len;
        Ok(&rest[..len])
    }

    /// Comments may stand between elements.
    fn comments(&mut self) -> Result<(), Malformed> {
        loop {
            self.space();
            if !self.take("<!--") {
                return Ok(());
            }
            match self.rest().find("--") {
                Some(end) if self.rest()[end..].starts_with("-->") => self.at += end + 3,
                _ => return self.refuse("the end of a comment"),
            }
        }
    }

    /// What comes next.
    pub fn advance(&mut self) -> Result<Event<'a>, Malformed> {
        if core::mem::take(&mut self.closing) {
            return self.close();
        }
        if !self.begun && self.at == 0 && self.take("<?xml") {
            match self.rest().find("?>") {
                Some(end) if end < 200 => self.at += end + 2,
                _ => return self.refuse("the end of the XML declaration"),
            }
        }
        let start = self.at;
        self.comments()?;
        if self.at < self.text.len() && !self.rest().starts_with('<') {
            self.at = start;
            return self.characters();
        }
        if self.at == self.text.len() {
            return match (self.begun, self.open.is_empty()) {
                (true, true) => Ok(Event::End),
                _ => self.refuse("the end of an element"),
            };
        }
        if self.take("</") {
            let name = self.name()?;
            if self.open.last() != Some(&name) {
                return self.refuse("the end of the innermost element");
            }
            self.space();
            if !self.take(">") {
                return self.refuse(">");
            }
            return self.close();
        }
        self.at += 1;
        self.element()
    }

    fn close(&mut self) -> Result<Event<'a>, Malformed> {
        self.filled = true;
        match self.open.pop() {
            Some(name) => Ok(Event::Close(local(name))),
            None => self.refuse("an open element"),
        }
    }

    fn element(&mut self) -> Result<Event<'a>, Malformed> {
        // A document type, a section or an instruction does not begin with a name.
        let name = self.name()?;
        if self.open.is_empty() && self.begun {
            return self.refuse("one root");
        }
        if self.open.len() == DEPTH_MAX {
            return self.refuse("no deeper nesting");
        }
        loop {
            let before = self.at;
            self.space();
            if self.take("/>") {
                self.closing = true;
                break;
            }
            if self.take(">") {
                break;
            }
            if self.at == before {
                return self.refuse("a space before an attribute");
            }
            self.attribute()?;
        }
        self.begun = true;
        self.filled = false;
        self.open.push(name);
        Ok(Event::Open(local(name)))
    }

    fn attribute(&mut self) -> Result<(), Malformed> {
        self.name()?;
        self.space();
        if !self.take("=") {
            return self.refuse("=");
        }
        self.space();
        let quote = if self.take("\"") {
            '"'
        } else if self.take("'") {
            '\''
        } else {
            return self.refuse("a value in quotes");
        };
        match self.rest().find([quote, '<']) {
            Some(end) if self.rest()[end..].starts_with(quote) => {
                self.at += end + 1;
                Ok(())
            }
            _ => self.refuse("the end of an attribute"),
        }
    }

    fn characters(&mut self) -> Result<Event<'a>, Malformed> {
        let Some(len) = self.rest().find('<').filter(|_| !self.open.is_empty()) else {
            return self.refuse("no text outside of the root");
        };
        if self.filled || !self.rest()[len..].starts_with("</") {
            return self.refuse("no text beside elements");
        }
        let text =
            decode(&self.rest()[..len]).ok_or(Malformed { at: self.at, expected: "a known entity" })?;
        self.at += len;
        self.filled = true;
        Ok(Event::Text(text))
    }
}

/// The five entities that every document has; characters by number are refused, prices need none.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    if !text.contains('&') {
        return Some(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut parts = text.split('&');
    out.push_str(parts.next()?);
    for part in parts {
        let (entity, rest) = part.split_once(';')?;
        out.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => return None,
        });
        out.push_str(rest);
    }
    Some(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<Event<'_>>, Malformed> {
        let mut reader = Reader::new(text);
        let mut events = Vec::new();
        loop {
            match reader.advance()? {
                Event::End => return Ok(events),
                event => events.push(event),
            }
        }
    }

    #[test]
    fn documents_are_read() {
        let text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- a -->\n<n:a xmlns:n='urn:x'>\n <b c=\"d\" e='>'/>\
                    <f.g> 1 &lt; 2 &amp; x </f.g><!-- b -->\n<h></h></n:a>\n<!-- c -->";
        let events = [
            Event::Open("a"),
            Event::Open("b"),
            Event::Close("b"),
            Event::Open("f.g"),
            Event::Text("1 < 2 & x".into()),
            Event::Close("f.g"),
            Event::Open("h"),
            Event::Close("h"),
            Event::Close("a"),
        ];
        assert_eq!(all(text).as_deref(), Ok(&events[..]));
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let deep = "<a>".repeat(100_000);
        let bomb = "<!DOCTYPE l [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><l>&b;</l>";
        for text in [
            "",
            "x",
            "<a>",
            "</a>",
            "<a></b>",
            "<a/><b/>",
            "<a>x<b/></a>",
            "<a><b/>x</a>",
            "<a>&x;</a>",
            "<a>&#65;</a>",
            "<a>&amp</a>",
            "<a b></a>",
            "<a b=c/>",
            "<a b=\"<\"/>",
            "<a b=\"c\"d=\"e\"/>",
            "<1/>",
            "<a",
            "<a ",
            "<a/",
            "< a/>",
            "<a/>x",
            "<a><!-- -- --></a>",
            "<a><!--</a>",
            "<?php?><a/>",
            "<a><![CDATA[x]]></a>",
            "<a:/>x",
            bomb,
            &deep,
        ] {
            assert!(all(text).is_err(), "{}", &text[..text.len().min(60)]);
        }
    }

    #[test]
    fn noise_never_breaks_the_reader() {
        let good = "<a x='1'><b>1 &lt; 2</b><c/><!-- d --><e><f>7</f></e></a>";
        let mut random = crate::json::tests::Random(17);
        let mut read = 0;
        for _ in 0..20_000 {
            let Some(text) = random.mutate(good) else { continue };
            if let Ok(events) = all(&text) {
                read += 1;
                let opened = events.iter().filter(|event| matches!(event, Event::Open(_))).count();
                let closed = events.iter().filter(|event| matches!(event, Event::Close(_))).count();
                assert!(opened == closed && opened > 0);
            }
        }
        assert!(read > 1_000, "{read}");
    }
}

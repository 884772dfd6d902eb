//! The few keys of an image's configuration that the kernel itself reads; all others are the applications'.
//!
//! ```text
//! kernel.application = kv, logger    which applications start (default: the first in the bundle)
//! kernel.heap = 8 MiB                heap of an application (default 8 MiB)
//! kernel.heap.logger = 1 MiB         ... of that one
//! kernel.restart.logger = always 3   it starts again when it has ended, 3 times in a row (default: never); with
//!                                    `failed 3` not after code 0. Each time waits longer: crate::lives
//! kernel.end = kv                    the machine ends when this one has ended for good, with its code (default: when
//!                                    nothing lives any more, with the code of the first application that started)
//! kernel.channel.lines = kv, logger, 16 KiB      memory that these two may share
//! kernel.ports.logger = serial2      it may use these ports of old (serial2, serial3, serial4, clock)
//! kernel.publisher = kv              who may publish prices (default: the first application that starts)
//! image.trusted = yes                they may know physical addresses (needed for devices where no IOMMU is)
//! ```

use core::fmt;

use nom_abi::channel::CHANNELS_MAX;

use crate::lives::Restart;

/// Heap of an application when the configuration does not say.
pub const HEAP_LEN_DEFAULT: u64 = 8 << 20;
/// The smallest heap that is taken seriously.
pub const HEAP_LEN_MIN: u64 = 64 << 10;
/// The largest channel.
pub const CHANNEL_LEN_MAX: u64 = 16 << 20;
/// Keys that name no application: each stands once.
const SINGLE: [&str; 5] =
    ["kernel.application", "kernel.heap", "kernel.publisher", "kernel.end", "image.trusted"];
const HEAP: &str = "kernel.heap.";
const RESTART: &str = "kernel.restart.";
const CHANNEL: &str = "kernel.channel.";
const PORTS: &str = "kernel.ports.";
/// Ports of old that an image may give to an application, each with its name, first port and number. The kernel uses none
/// of them once it has booted, and nothing behind them reaches memory.
const PORTS_OF_OLD: [(&str, (u16, u16)); 4] =
    [("serial2", (0x2f8, 8)), ("serial3", (0x3e8, 8)), ("serial4", (0x2e8, 8)), ("clock", (0x70, 2))];

/// What the kernel wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Configuration<'a> {
    text: &'a str,
    applications: Option<&'a str>,
    heap_len: u64,
    /// Who may publish prices; `None` is the first application that starts.
    pub publisher: Option<&'a str>,
    /// The machine ends with this one; `None` is with the last one.
    pub end: Option<&'a str>,
    /// Physical addresses may be told.
    pub trusted: bool,
}

/// A channel that the image allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed<'a> {
    /// Its name.
    pub name: &'a str,
    /// The two applications.
    pub ends: [&'a str; 2],
    /// Bytes of its memory, a multiple of 4096.
    pub len: u64,
}

/// A line that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused<'a> {
    /// Its number, counted from 1.
    pub line: usize,
    /// What it says.
    pub text: &'a str,
    /// What is wrong with it.
    pub why: &'static str,
}

impl fmt::Display for Refused<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "configuration line {}: {} (\"{}\")", self.line, self.why, self.text)
    }
}

/// Reads the kernel's keys.
pub fn read(text: &str) -> Result<Configuration<'_>, Refused<'_>> {
    let mut found = Configuration {
        text,
        applications: None,
        heap_len: HEAP_LEN_DEFAULT,
        publisher: None,
        end: None,
        trusted: false,
    };
    let mut channels = 0;
    for (place, whole, key, value) in lines(text) {
        let refuse = |why| Refused { line: place + 1, text: whole.trim(), why };
        if !key.starts_with("kernel.") && key != "image.trusted" {
            continue;
        }
        if lines(text).take_while(|line| line.0 < place).any(|line| line.2 == key) {
            return Err(refuse("this key stands here a second time"));
        }
        const SIZE: &str = "expected a size such as 8 MiB, at least 64 KiB";
        if SINGLE.contains(&key) {
            match key {
                "kernel.application" => {
                    if !names_are_different(value) {
                        return Err(refuse("expected names with commas between, each once"));
                    }
                    found.applications = Some(value);
                }
                "kernel.heap" => found.heap_len = heap_size(value).ok_or(refuse(SIZE))?,
                "kernel.publisher" => found.publisher = Some(value),
                "kernel.end" => found.end = Some(value),
                _ => {
                    found.trusted = match value {
                        "yes" => true,
                        "no" => false,
                        _ => return Err(refuse("expected yes or no")),
                    }
                }
            }
        } else if key.starts_with(HEAP) {
            heap_size(value).ok_or(refuse(SIZE))?;
        } else if key.starts_with(PORTS) {
            ports(value).ok_or(refuse("expected serial2, serial3, serial4 or clock"))?;
        } else if key.starts_with(RESTART) {
            restart(value)
                .ok_or(refuse("expected never, or always or failed and a number, such as always 3"))?;
        } else if let Some(name) = key.strip_prefix(CHANNEL) {
            channel(name, value)
                .ok_or(refuse("expected two applications and a size, such as a, b, 16 KiB"))?;
            channels += 1;
            if channels > CHANNELS_MAX {
                return Err(refuse("this channel is one too many; there may be 16"));
            }
        } else {
            return Err(refuse(
                "no such key; there are kernel.application, kernel.heap, kernel.heap.NAME, \
                 kernel.restart.NAME, kernel.channel.NAME, kernel.ports.NAME, kernel.publisher, kernel.end",
            ));
        }
    }
    Ok(found)
}

impl<'a> Configuration<'a> {
    /// The applications that start, in this order; none means the first of the bundle.
    pub fn applications(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.applications.unwrap_or("").split(',').map(str::trim).filter(|name| !name.is_empty())
    }

    fn of(&self, prefix: &str, name: &str) -> Option<&'a str> {
        let mut lines = lines(self.text);
        lines.find(|line| line.2.strip_prefix(prefix) == Some(name)).map(|line| line.3)
    }

    /// The ports of old that an application may use: the first, and how many.
    pub fn ports(&self, name: &str) -> (u16, u16) {
        self.of(PORTS, name).and_then(ports).unwrap_or_default()
    }

    /// Bytes of an application's heap, a multiple of 4096.
    pub fn heap_len(&self, name: &str) -> u64 {
        self.of(HEAP, name).and_then(heap_size).unwrap_or(self.heap_len)
    }

    /// Whether an application comes again.
    pub fn restart(&self, name: &str) -> Restart {
        self.of(RESTART, name).and_then(restart).unwrap_or(Restart::Never)
    }

    /// The channels; a channel's number is its place here.
    pub fn channels(&self) -> impl Iterator<Item = Allowed<'a>> + use<'a> {
        lines(self.text).filter_map(|line| channel(line.2.strip_prefix(CHANNEL)?, line.3))
    }
}

/// Place, whole line, key and value of every line that has them.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str, &str, &str)> {
    text.lines().enumerate().filter_map(|(place, whole)| {
        let line = whole.split('#').next().unwrap_or("").trim();
        let (key, value) = line.split_once('=')?;
        Some((place, whole, key.trim(), value.trim()))
    })
}

fn names_are_different(value: &str) -> bool {
    let names = || value.split(',').map(str::trim);
    names()
        .enumerate()
        .all(|(place, name)| !name.is_empty() && names().take(place).all(|other| other != name))
}

fn restart(value: &str) -> Option<Restart> {
    if value == "never" {
        return Some(Restart::Never);
    }
    let (when, times) = value.split_once(' ')?;
    let times = times.trim().parse().ok()?;
    match when {
        "always" => Some(Restart::Always(times)),
        "failed" => Some(Restart::Failed(times)),
        _ => None,
    }
}

fn channel<'a>(name: &'a str, value: &'a str) -> Option<Allowed<'a>> {
    let mut parts = value.split(',').map(str::trim);
    let ends = [parts.next()?, parts.next()?];
    let len = size(parts.next()?)?;
    let sensible = !name.is_empty()
        && parts.next().is_none()
        && ends.iter().all(|end| !end.is_empty())
        && ends[0] != ends[1]
        && (1..=CHANNEL_LEN_MAX).contains(&len);
    sensible.then_some(Allowed { name, ends, len })
}

fn ports(name: &str) -> Option<(u16, u16)> {
    PORTS_OF_OLD.iter().find(|known| known.0 == name).map(|known| known.1)
}

fn heap_size(text: &str) -> Option<u64> {
    size(text).filter(|&bytes| bytes >= HEAP_LEN_MIN)
}

fn size(text: &str) -> Option<u64> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let unit = match text[digits..].trim() {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit)?.checked_next_multiple_of(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_keys_are_read_among_others() {
        let text = "# a cache\nlisten = 11211\nkernel.heap = 16 MiB # enough\n kernel.application=kv\nimage.trusted = yes\n";
        let found = read(text).unwrap();
        assert!(found.applications().eq(["kv"]));
        assert_eq!(found.heap_len("kv"), 16 << 20);
        assert_eq!(found.publisher, None);
        assert!(found.trusted);
        let empty = read("").unwrap();
        assert_eq!((empty.heap_len("kv"), empty.trusted), (HEAP_LEN_DEFAULT, false));
        let ports = read("kernel.ports.a = serial2\n").unwrap();
        assert_eq!((ports.ports("a"), ports.ports("b")), ((0x2f8, 8), (0, 0)));
        assert_eq!(empty.applications().count(), 0);
        assert_eq!(empty.channels().count(), 0);
    }

    #[test]
    fn several_applications_have_their_own_lines() {
        let text = "kernel.application = a, b\nkernel.heap.b = 64 KiB\nkernel.restart.b = always 3\n\
                    kernel.restart.a = never\nkernel.restart.d = failed 2\nkernel.end = b\nkernel.channel.one = a, b, 5 KiB\nkernel.channel.two = b,c,1 MiB";
        let found = read(text).unwrap();
        assert!(found.applications().eq(["a", "b"]));
        assert_eq!((found.heap_len("a"), found.heap_len("b")), (HEAP_LEN_DEFAULT, 64 << 10));
        assert_eq!((found.restart("a"), found.restart("b")), (Restart::Never, Restart::Always(3)));
        assert_eq!((found.restart("c"), found.restart("d")), (Restart::Never, Restart::Failed(2)));
        assert_eq!(found.end, Some("b"));
        let one = Allowed { name: "one", ends: ["a", "b"], len: 8192 };
        let two = Allowed { name: "two", ends: ["b", "c"], len: 1 << 20 };
        assert!(found.channels().eq([one, two]));
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, line) in [
            ("kernel.heap = 8", 1),
            ("\nkernel.heap = 8 MB", 2),
            ("kernel.heap = 1 KiB", 1),
            ("kernel.heap = 99999999999999 GiB", 1),
            ("kernel.heap = -1 MiB", 1),
            ("kernel.cores = 1", 1),
            ("image.trusted = maybe", 1),
            ("image.trusted = no\nimage.trusted = yes", 2),
            ("kernel.application = a,,b", 1),
            ("kernel.application = a, a", 1),
            ("kernel.heap.a = 1 KiB", 1),
            ("kernel.ports.a = 0x3f8", 1),
            ("kernel.ports.a = serial2, clock", 1),
            ("kernel.restart.a = always", 1),
            ("kernel.restart.a = always -1", 1),
            ("kernel.restart.a = always3", 1),
            ("kernel.restart.a = sometimes 3", 1),
            ("kernel.end = a\nkernel.end = b", 2),
            ("kernel.restart.a = never\nkernel.restart.a = never", 2),
            ("kernel.channel.x = a, 4 KiB", 1),
            ("kernel.channel.x = a, a, 4 KiB", 1),
            ("kernel.channel.x = a, b, 0 KiB", 1),
            ("kernel.channel.x = a, b, 1 GiB", 1),
            ("kernel.channel. = a, b, 4 KiB", 1),
            ("kernel.channel.x = a, b, c, 4 KiB", 1),
        ] {
            assert_eq!(read(text).unwrap_err().line, line, "{text}");
        }
    }
}

//! A terminal's screen that is taken for a while and given back as it was.

use crate::page::page;
use crate::paint::{Line, ascii};
use crate::snapshot::Snapshot;
use std::io::Write;
use std::os::fd::OwnedFd;

/// Takes a screen of its own and hides the cursor; lines are not broken.
const TAKE: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
/// The way back.
pub const GIVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// A page appears at once, where the terminal knows that (others ignore it).
const BEGIN: &str = "\x1b[?2026h\x1b[H";
const END: &str = "\x1b[J\x1b[?2026l";

/// What a terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looks {
    /// Colours.
    pub colour: bool,
    /// More than ASCII.
    pub letters: bool,
}

impl Looks {
    /// By what the environment says: `NO_COLOR`, the terminal's name and the language. `None`: no page can be drawn there.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let said = |name: &str| variable(name).filter(|value| !value.is_empty());
        if said("TERM").is_none_or(|name| name == "dumb") {
            return None;
        }
        let language = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(said).unwrap_or_default();
        let letters = language.to_lowercase().replace('-', "").contains("utf8");
        Some(Self { colour: said("NO_COLOR").is_none(), letters })
    }
}

/// A screen that is ours; it is given back when this is dropped.
#[derive(Debug)]
pub struct Screen<W: Write> {
    out: W,
    looks: Looks,
    /// Where its size is asked; `None` in tests.
    terminal: Option<OwnedFd>,
    size: (usize, usize),
}

impl<W: Write> Screen<W> {
    /// Takes the screen. `terminal` is asked for its size before each page, so that a page always fits.
    pub fn take(mut out: W, terminal: Option<OwnedFd>, looks: Looks) -> Self {
        let _ = write!(out, "{TAKE}").and_then(|()| out.flush());
        Self { out, looks, terminal, size: (80, 24) }
    }

    /// Shows a snapshot. A terminal that is gone is no reason to stop serving: errors are dropped.
    pub fn show(&mut self, now: &Snapshot) {
        if let Some(size) =
            self.terminal.as_ref().and_then(|terminal| rustix::termios::tcgetwinsize(terminal).ok())
            && size.ws_col > 0
            && size.ws_row > 0
        {
            self.size = (size.ws_col.into(), size.ws_row.into());
        }
        let text = drawn(&page(now, self.size.0, self.size.1), self.looks);
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        let _ = write!(self.out, "{GIVE}").and_then(|()| self.out.flush());
    }
}

/// A page as it is sent to a terminal.
fn drawn(lines: &[Line], looks: Looks) -> String {
    let mut out = String::from(BEGIN);
    for (row, line) in lines.iter().enumerate() {
        let text = if looks.colour { line.coloured() } else { line.plain() };
        if row > 0 {
            out.push_str("\r\n");
        }
        out.push_str(&if looks.letters { text } else { ascii(&text).replace('?', " ") });
        out.push_str("\x1b[K");
    }
    out.push_str(END);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::io;
    use std::rc::Rc;

    #[derive(Clone, Default)]
    struct Kept(Rc<RefCell<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_screen_is_given_back() {
        let kept = Kept::default();
        let looks = Looks { colour: false, letters: false };
        let mut screen = Screen::take(kept.clone(), None, looks);
        screen.show(&Snapshot::default());
        drop(screen);
        let text = String::from_utf8(kept.0.borrow().clone()).unwrap();
        assert!(text.starts_with(TAKE) && text.ends_with(GIVE), "{text:?}");
        assert!(text.is_ascii() && !text.contains("\x1b[3") && text.matches('\n').count() < 24, "{text:?}");
    }

    #[test]
    fn the_environment_says_what_can_be_shown() {
        let looks = |pairs: &'static [(&str, &str)]| {
            Looks::of(|name| {
                pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
            })
        };
        assert_eq!(looks(&[]), None);
        assert_eq!(looks(&[("TERM", "dumb")]), None);
        let plain = Looks { colour: true, letters: false };
        assert_eq!(looks(&[("TERM", "xterm"), ("NO_COLOR", ""), ("LANG", "C")]), Some(plain));
        let full = [("TERM", "xterm"), ("LC_ALL", "C.UTF-8"), ("NO_COLOR", "1")];
        assert_eq!(
            Looks::of(|name| full
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.to_string())),
            Some(Looks { colour: false, letters: true })
        );
    }
}

//! Tells what happens: to a person as a page or as lines, to a program as lines of JSON, to both when both listen.

use super::guard::Guard;
use nom_machine::trouble::{Context, Outcome};
use nom_view::{Looks, Plain, Screen, Snapshot, is_terminal};
use std::fs::File;
use std::io::{Stderr, Stdout, Write};
use std::os::fd::{AsFd, OwnedFd};

type Out = Box<dyn Write>;

/// Most words that are kept while a page covers them; later ones stand on the page and in the service's log alone.
const KEPT_MAX: usize = 500;

/// The one who tells. With JSON on standard output everything for people goes to standard error.
pub struct Teller {
    json: Option<Out>,
    plain: Plain<Out>,
    /// A terminal on which a page can be drawn, and how.
    terminal: Option<(Terminal, Looks)>,
    screen: Option<Screen<Terminal>>,
    /// Gives the screen back should we be killed.
    guard: Option<Guard>,
    /// What was said while a page was shown.
    kept: Vec<String>,
}

/// The stream that goes to the terminal.
#[derive(Debug, Clone, Copy)]
enum Terminal {
    Out,
    Error,
}

impl Terminal {
    fn descriptor(self) -> Option<OwnedFd> {
        let copied = match self {
            Terminal::Out => std::io::stdout().as_fd().try_clone_to_owned(),
            Terminal::Error => std::io::stderr().as_fd().try_clone_to_owned(),
        };
        copied.ok()
    }
}

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Terminal::Out => Stdout::write(&mut std::io::stdout(), bytes),
            Terminal::Error => Stderr::write(&mut std::io::stderr(), bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Terminal::Out => std::io::stdout().flush(),
            Terminal::Error => std::io::stderr().flush(),
        }
    }
}

impl Teller {
    /// `json`: a file, or `-` for standard output. `plain`: no page, whatever the terminal can do.
    pub fn new(json: Option<&str>, plain: bool) -> Outcome<Self> {
        let people = if json == Some("-") { Terminal::Error } else { Terminal::Out };
        let json: Option<Out> = match json {
            Some("-") => Some(Box::new(std::io::stdout())),
            Some(file) => Some(Box::new(File::create(file).context(|| format!("cannot write {file}"))?)),
            None => None,
        };
        let seen = match people {
            Terminal::Out => is_terminal(std::io::stdout()),
            Terminal::Error => is_terminal(std::io::stderr()),
        };
        let looks = Looks::of(|name| std::env::var(name).ok());
        let terminal = looks.filter(|_| seen && !plain).map(|looks| (people, looks));
        let plain = Plain::new(Box::new(people) as Out);
        Ok(Self { json, plain, terminal, screen: None, guard: None, kept: Vec::new() })
    }

    /// Tells only a program.
    pub fn listening(json: Out) -> Self {
        let plain = Plain::new(Box::new(std::io::sink()) as Out);
        Self { json: Some(json), plain, terminal: None, screen: None, guard: None, kept: Vec::new() }
    }

    /// One JSON object. A reader that is gone does not end the service: it only hears no more.
    pub fn json(&mut self, line: &str) {
        if let Some(out) = &mut self.json
            && writeln!(out, "{}", line.trim_end()).and_then(|()| out.flush()).is_err()
        {
            self.json = None;
        }
    }

    /// From here on there is a page, where one can be drawn.
    pub fn open(&mut self) {
        if let Some((terminal, looks)) = self.terminal {
            self.guard = terminal.descriptor().and_then(Guard::of);
            self.screen = Some(Screen::take(terminal, terminal.descriptor(), looks));
        }
    }

    /// The terminal is given back, and what was said meanwhile is said there.
    pub fn close(&mut self) {
        self.screen = None;
        self.guard = None;
        for text in std::mem::take(&mut self.kept) {
            self.plain.say(&text);
        }
    }

    /// Words that stay.
    pub fn say(&mut self, text: &str) {
        match &self.screen {
            None => self.plain.say(text),
            Some(_) if self.kept.len() < KEPT_MAX => self.kept.push(text.into()),
            Some(_) => {}
        }
    }

    /// The figures of this moment.
    pub fn show(&mut self, now: &Snapshot) {
        match &mut self.screen {
            Some(screen) => screen.show(now),
            None if self.terminal.is_none() => self.plain.show(now),
            // Before the page begins and after it has ended only words are said.
            None => {}
        }
    }
}

impl Drop for Teller {
    /// A run that fails says last what it said before.
    fn drop(&mut self) {
        self.close();
    }
}

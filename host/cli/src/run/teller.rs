//! Tells what happens: to a person as a live line, to a program as lines of JSON, to both when both listen.

use nom_machine::trouble::{Context, Outcome};
use nom_view::{Now, View, columns};
use std::fs::File;
use std::io::Write;

type Out = Box<dyn Write>;

/// The one who tells. With JSON on standard output everything for people goes to standard error.
pub struct Teller {
    json: Option<Box<dyn Write>>,
    view: View<Box<dyn Write>>,
}

impl Teller {
    /// `json`: a file, or `-` for standard output.
    pub fn new(json: Option<&str>) -> Outcome<Self> {
        let out: Box<dyn Write> = Box::new(std::io::stdout());
        let (json, people, columns): (Option<Out>, Out, Option<usize>) = match json {
            Some("-") => (Some(out), Box::new(std::io::stderr()), columns(std::io::stderr())),
            Some(file) => {
                let file = File::create(file).context(|| format!("cannot write {file}"))?;
                (Some(Box::new(file)), out, columns(std::io::stdout()))
            }
            None => (None, out, columns(std::io::stdout())),
        };
        Ok(Self { json, view: View::new(people, columns) })
    }

    /// Tells only a program.
    pub fn listening(json: Box<dyn Write>) -> Self {
        Self { json: Some(json), view: View::new(Box::new(std::io::sink()), None) }
    }

    /// One JSON object. A reader that is gone does not end the service: it only hears no more.
    pub fn json(&mut self, line: &str) {
        if let Some(out) = &mut self.json
            && writeln!(out, "{}", line.trim_end()).and_then(|()| out.flush()).is_err()
        {
            self.json = None;
        }
    }

    /// Words that stay.
    pub fn say(&mut self, text: &str) {
        self.view.say(text);
    }

    /// The live line.
    pub fn show(&mut self, now: &Now) {
        self.view.show(now);
    }
}

//! What a person typed, checked against a table that the help is printed from too.

use nom_machine::trouble::{Outcome, Trouble};
use std::fmt::Write;
use std::str::FromStr;

/// An option of a command.
pub struct Choice {
    /// Its long name, without dashes.
    pub name: &'static str,
    /// What stands for its value in the help; empty for a flag.
    pub value: &'static str,
    /// One line of help.
    pub help: &'static str,
}

/// A command.
pub struct Verb {
    /// Its name.
    pub name: &'static str,
    /// The words behind the name, as the help shows them.
    pub words: &'static str,
    /// Most words that it takes.
    pub words_max: usize,
    /// One line of help.
    pub help: &'static str,
    /// Its options.
    pub choices: &'static [Choice],
}

/// The words and options of one command.
#[derive(Debug, Clone, Default)]
pub struct Typed {
    /// Words that are not options.
    pub words: Vec<String>,
    values: Vec<(&'static str, String)>,
}

impl Typed {
    /// Whether a flag was given.
    pub fn has(&self, name: &str) -> bool {
        self.values.iter().any(|(known, _)| *known == name)
    }

    /// The same with one more option, as if it had been typed last.
    pub fn with(&self, name: &'static str, value: &str) -> Self {
        let mut typed = self.clone();
        typed.values.push((name, value.into()));
        typed
    }

    /// The last value of an option.
    pub fn text<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).last()
    }

    /// All values of an option that may stand more than once.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.values.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// A whole number within bounds.
    pub fn number<T: FromStr + PartialOrd + std::fmt::Display>(
        &self,
        name: &str,
        least: T,
        most: T,
    ) -> Outcome<Option<T>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse::<T>() {
            Ok(number) if number >= least && number <= most => Ok(Some(number)),
            _ => Err(Trouble::new(format!("--{name} {text}: a number from {least} to {most} is expected"))),
        }
    }
}

/// Reads the arguments behind a verb.
pub fn read(verb: &'static Verb, arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Outcome<Typed> {
    let mut typed = Typed::default();
    let mut parser = lexopt::Parser::from_args(arguments);
    let bad = |error: lexopt::Error| Trouble::new(format!("nom {}: {error}", verb.name));
    while let Some(argument) = parser.next().map_err(bad)? {
        match argument {
            lexopt::Arg::Long(name) => {
                let Some(choice) = verb.choices.iter().find(|choice| choice.name == name) else {
                    let known = verb.choices.iter().map(|choice| choice.name);
                    let hint = nearest(name, known).map_or_else(
                        || format!("`nom help {}` lists the options", verb.name),
                        |near| format!("did you mean --{near}?"),
                    );
                    return Err(Trouble::new(format!("nom {}: no option --{name}; {hint}", verb.name)));
                };
                let value = match choice.value {
                    "" => String::new(),
                    // A value that may be left out begins with a digit, so that no word is mistaken for it.
                    value if value.starts_with('[') => match parser.optional_value() {
                        Some(value) => value.to_string_lossy().into_owned(),
                        None => {
                            let value = |next: &std::ffi::OsStr| {
                                next.to_string_lossy()
                                    .starts_with(|first: char| first.is_ascii_digit() || first == '[')
                            };
                            let mut rest = parser.raw_args().map_err(bad)?;
                            rest.next_if(value).unwrap_or_default().to_string_lossy().into_owned()
                        }
                    },
                    _ => parser.value().map_err(bad)?.to_string_lossy().into_owned(),
                };
                typed.values.push((choice.name, value));
            }
            lexopt::Arg::Short(letter) => {
                return Err(Trouble::new(format!(
                    "nom {}: no option -{letter}; options are written in full, `nom help {}` lists them",
                    verb.name, verb.name
                )));
            }
            lexopt::Arg::Value(word) => {
                let word = word.to_string_lossy().into_owned();
                if typed.words.len() == verb.words_max {
                    return Err(Trouble::new(format!("nom {}: {word:?} is one word too many", verb.name)));
                }
                typed.words.push(word);
            }
        }
    }
    Ok(typed)
}

/// The help of one command.
pub fn help(verb: &Verb) -> String {
    let mut text = format!("nom {} {}\n    {}\n", verb.name, verb.words, verb.help);
    for choice in verb.choices {
        let option = format!("--{} {}", choice.name, choice.value);
        let _ = writeln!(text, "      {option:<22} {}", choice.help);
    }
    text
}

/// The known name that a mistyped one probably meant; none when all are too far away.
pub fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, name) = known.map(|name| (distance(typed, name), name)).min()?;
    (distance <= 1 + name.len() / 4).then_some(name)
}

/// How many letters must be put in, taken out, changed or swapped with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().take(64).collect(), to.chars().collect());
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let changed = usize::from(from[i - 1] != to[j - 1]);
                let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + changed);
                if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    static VERB: Verb = Verb {
        name: "run",
        words: "[WORD]",
        words_max: 1,
        help: "Runs.",
        choices: &[
            Choice { name: "seconds", value: "N", help: "how long" },
            Choice { name: "set", value: "K=V", help: "again and again" },
            Choice { name: "kvm", value: "", help: "a flag" },
            Choice { name: "web", value: "[PORT]", help: "may have a value" },
        ],
    };

    fn typed(words: &[&str]) -> Outcome<Typed> {
        read(&VERB, words.iter().map(Into::into))
    }

    #[test]
    fn options_and_words_are_read() {
        let typed = typed(&["--seconds=5", "word", "--set", "a=1", "--kvm", "--set", "b=2"]).unwrap();
        assert_eq!(typed.number("seconds", 1, 10).unwrap(), Some(5));
        assert!(typed.number("seconds", 6, 10).is_err());
        assert_eq!(typed.all("set").collect::<Vec<_>>(), ["a=1", "b=2"]);
        assert!(typed.has("kvm") && typed.words == ["word"]);
    }

    #[test]
    fn a_value_may_be_left_out() {
        for (words, value, count) in [
            (&["--web", "word"][..], "", 1),
            (&["--web", "80", "word"], "80", 1),
            (&["--web=x"], "x", 0),
            (&["--web", "--kvm"], "", 0),
            (&["--web"], "", 0),
        ] {
            let typed = typed(words).unwrap();
            assert_eq!((typed.text("web"), typed.words.len()), (Some(value), count), "{words:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_answered_with_the_nearest() {
        let message = |words: &[&str]| typed(words).unwrap_err().to_string();
        assert!(message(&["--secnods", "5"]).contains("did you mean --seconds?"));
        assert!(message(&["--zzzzzzzz"]).contains("nom help run"));
        assert!(message(&["-k"]).contains("-k"));
        assert!(message(&["a", "b"]).contains("\"b\""));
        assert!(message(&["--seconds"]).contains("seconds"));
        assert!(message(&["--kvm=1"]).contains("kvm"));
    }

    #[test]
    fn swapped_letters_are_one_mistake() {
        assert_eq!(distance("sexconds", "seconds"), 1);
        assert_eq!(distance("esconds", "seconds"), 1);
        assert_eq!(nearest("bnech", ["run", "bench", "test"].into_iter()), Some("bench"));
        assert_eq!(nearest("frobnicate", ["run", "bench", "test"].into_iter()), None);
    }
}

//! What the process is told on its command line.

use std::ffi::OsString;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

/// A program, and the files that can be named to it besides those that every one has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// Names of options that take a file.
    pub files: &'static [&'static str],
}

impl Display for Program {
    /// How it is used, for a person who used it wrongly.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "usage: {} --config FILE --run DIRECTORY --port PORT [--board FILE] [--ledger FILE] [--user NAME]",
            self.name
        )?;
        self.files.iter().try_for_each(|file| write!(f, " [--{file} FILE]"))
    }
}

/// The arguments.
#[derive(Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The configuration's file.
    pub config: PathBuf,
    /// Where the management socket is made.
    pub run: PathBuf,
    /// Port on the host's loopback; 0 for a free one.
    pub port: u16,
    /// The bulletin board.
    pub board: PathBuf,
    /// Whom it becomes once the devices are open.
    pub user: Option<String>,
    /// Where sealed windows are kept.
    pub ledger: Option<PathBuf>,
    files: Vec<(&'static str, PathBuf)>,
}

impl Arguments {
    /// Reads them, or says in one line what is wrong.
    pub fn read(program: Program, words: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let wrong = |what: &dyn Display| format!("{what}; {program}");
        let mut parser = lexopt::Parser::from_args(words);
        let (mut config, mut run, mut port, mut board, mut user) = (None, None, None, None, None);
        let mut ledger = None;
        let mut files: Vec<(&'static str, PathBuf)> = Vec::new();
        while let Some(argument) = parser.next().map_err(|error| wrong(&error))? {
            let lexopt::Arg::Long(name) = argument else { return Err(wrong(&argument.unexpected())) };
            let name = name.to_owned();
            let mut value = || parser.value().map_err(|error| wrong(&error));
            match name.as_str() {
                "config" => config = Some(PathBuf::from(value()?)),
                "run" => run = Some(PathBuf::from(value()?)),
                "board" => board = Some(PathBuf::from(value()?)),
                "ledger" => ledger = Some(PathBuf::from(value()?)),
                "user" => {
                    let name = value()?.into_string();
                    user = Some(name.map_err(|_| wrong(&"--user: a name or UID:GID is expected"))?);
                }
                "port" => {
                    let text = value()?;
                    let number = text.to_str().and_then(|text| text.parse::<u16>().ok());
                    port = Some(number.ok_or_else(|| wrong(&"--port: a number up to 65535 is expected"))?);
                }
                other => match program.files.iter().find(|known| **known == other) {
                    Some(known) => files.push((known, PathBuf::from(value()?))),
                    None => return Err(wrong(&format!("unknown option --{other}"))),
                },
            }
        }
        let missing = |name: &str| wrong(&format!("--{name} is missing"));
        let run = run.ok_or_else(|| missing("run"))?;
        Ok(Self {
            config: config.ok_or_else(|| missing("config"))?,
            port: port.ok_or_else(|| missing("port"))?,
            board: board.unwrap_or_else(|| run.join("board")),
            run,
            user,
            ledger,
            files,
        })
    }

    /// A file that was named, by its option.
    pub fn file(&self, option: &str) -> Option<&Path> {
        self.files.iter().rfind(|(name, _)| *name == option).map(|(_, path)| path.as_path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Program = Program { name: "nom-x-linux", files: &["contents"] };

    fn read(words: &str) -> Result<Arguments, String> {
        Arguments::read(PROGRAM, words.split(' ').map(OsString::from))
    }

    #[test]
    fn all_are_read_and_the_board_has_a_usual_place() {
        let arguments = read("--config x.conf --run /r --port 0 --contents c").unwrap();
        assert_eq!(arguments.board, PathBuf::from("/r/board"));
        assert_eq!((arguments.file("contents"), arguments.file("other")), (Some(Path::new("c")), None));
        assert_eq!(read("--config a --run b --port=7 --board c").unwrap().board, PathBuf::from("c"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (words, what) in [
            ("--config a --run b", "--port is missing"),
            ("--config a --run b --port x", "--port: a number"),
            ("--configs a", "unknown option --configs"),
            ("kv", "kv"),
            ("--config", "missing"),
        ] {
            let error = read(words).unwrap_err();
            assert!(error.contains(what) && error.ends_with("[--contents FILE]"), "{words}: {error}");
        }
    }
}

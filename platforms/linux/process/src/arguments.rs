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

/// Descriptors that a process which restarts itself leaves to its successor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inherited {
    /// The management socket's listener.
    pub listener: i32,
    /// Of each core: its queue of the device, and what was served there.
    pub cores: Vec<(i32, i32)>,
}

/// How the word begins that names them. Nobody types it.
const SUCCESSOR: &str = "--successor=";

impl Inherited {
    /// The word of the command line.
    pub fn word(&self) -> String {
        let cores = self.cores.iter().map(|(queue, state)| format!(":{queue}:{state}"));
        format!("{SUCCESSOR}{}{}", self.listener, cores.collect::<String>())
    }

    /// A command line without such a word.
    pub fn without(words: &[OsString]) -> impl Iterator<Item = &OsString> {
        words.iter().filter(|word| !word.to_string_lossy().starts_with(SUCCESSOR))
    }

    fn read(text: &str) -> Option<Self> {
        let numbers: Vec<i32> = text.split(':').map(|number| number.parse().ok()).collect::<Option<_>>()?;
        let (listener, cores) = numbers.split_first()?;
        let (pairs, rest) = cores.as_chunks::<2>();
        let cores = pairs.iter().map(|[queue, state]| (*queue, *state)).collect::<Vec<_>>();
        (rest.is_empty() && !cores.is_empty()).then_some(Self { listener: *listener, cores })
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
    /// What this process had before it restarted itself.
    pub inherited: Option<Inherited>,
    files: Vec<(&'static str, PathBuf)>,
}

impl Arguments {
    /// Reads them, or says in one line what is wrong.
    pub fn read(program: Program, words: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let wrong = |what: &dyn Display| format!("{what}; {program}");
        let mut parser = lexopt::Parser::from_args(words);
        let (mut config, mut run, mut port, mut board, mut user) = (None, None, None, None, None);
        let mut ledger = None;
        let mut inherited = None;
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
                "successor" => {
                    let text = value()?;
                    let read = text.to_str().and_then(Inherited::read);
                    inherited = Some(read.ok_or_else(|| {
                        wrong(&"--successor: a descriptor and two for each core are expected")
                    })?);
                }
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
            inherited,
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
    fn what_is_inherited_is_named_once() {
        let inherited = Inherited { listener: 6, cores: vec![(5, 7), (8, 9)] };
        let words = format!("--config a --run b --port 0 {}", inherited.word());
        assert_eq!(read(&words).unwrap().inherited, Some(inherited));
        let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
        assert_eq!(Inherited::without(&words).count(), words.len() - 1);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (words, what) in [
            ("--config a --run b --port 0 --successor=1:2", "--successor: a descriptor"),
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

//! What the process is told on its command line.

use std::ffi::OsString;
use std::path::PathBuf;

/// How it is used, for a person who used it wrongly.
pub const USAGE: &str = "usage: nom-kv-linux --config FILE --run DIRECTORY --port PORT [--board FILE] [--contents FILE] [--user NAME]";

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
    /// Where items stay between two processes.
    pub contents: Option<PathBuf>,
    /// Whom it becomes once the devices are open.
    pub user: Option<String>,
}

impl Arguments {
    /// Reads them, or says in one line what is wrong.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut parser = lexopt::Parser::from_args(words);
        let (mut config, mut run, mut port, mut board) = (None, None, None, None);
        let (mut contents, mut user) = (None, None);
        while let Some(argument) = parser.next().map_err(wrong)? {
            let lexopt::Arg::Long(name) = argument else { return Err(wrong(argument.unexpected())) };
            match name.to_owned().as_str() {
                "config" => config = Some(PathBuf::from(parser.value().map_err(wrong)?)),
                "run" => run = Some(PathBuf::from(parser.value().map_err(wrong)?)),
                "board" => board = Some(PathBuf::from(parser.value().map_err(wrong)?)),
                "contents" => contents = Some(PathBuf::from(parser.value().map_err(wrong)?)),
                "user" => {
                    let name = parser.value().map_err(wrong)?.into_string();
                    user = Some(name.map_err(|_| wrong("--user: a name or UID:GID is expected"))?);
                }
                "port" => {
                    let text = parser.value().map_err(wrong)?;
                    let number = text.to_str().and_then(|text| text.parse::<u16>().ok());
                    port = Some(number.ok_or_else(|| wrong("--port: a number up to 65535 is expected"))?);
                }
                other => return Err(wrong(format!("unknown option --{other}"))),
            }
        }
        let missing = |name: &str| wrong(format!("--{name} is missing"));
        let run = run.ok_or_else(|| missing("run"))?;
        Ok(Self {
            config: config.ok_or_else(|| missing("config"))?,
            port: port.ok_or_else(|| missing("port"))?,
            board: board.unwrap_or_else(|| run.join("board")),
            run,
            contents,
            user,
        })
    }
}

fn wrong(what: impl std::fmt::Display) -> String {
    format!("{what}; {USAGE}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &str) -> Result<Arguments, String> {
        Arguments::read(words.split(' ').map(OsString::from))
    }

    #[test]
    fn all_are_read_and_the_board_has_a_usual_place() {
        let arguments = read("--config kv.conf --run /r --port 0").unwrap();
        assert_eq!(arguments.board, PathBuf::from("/r/board"));
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
            assert!(error.contains(what) && error.ends_with(USAGE), "{words}: {error}");
        }
    }
}

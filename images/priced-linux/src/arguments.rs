//! What the process is told on its command line.

use nom_feeds::Feed;
use nom_feeds::http::Url;
use nom_feeds::priced::Settings;
use std::ffi::OsString;
use std::path::PathBuf;

/// How it is used, for a person who used it wrongly.
pub const USAGE: &str = "usage: nom-priced-linux --url http[s]://HOST:PORT/PATH --board FILE [--ca FILE], or up to four \
                         --feed 'FORMAT URL KEY=VALUE ...' instead of --url, the most believed first";

/// The arguments.
#[derive(Debug, PartialEq, Eq)]
pub struct Arguments {
    /// Whom to ask.
    pub settings: Settings,
    /// The bulletin board to publish on.
    pub board: PathBuf,
    /// Authorities that are believed instead of the system's.
    pub authorities: Option<PathBuf>,
}

impl Arguments {
    /// Reads them, or says in one line what is wrong.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut parser = lexopt::Parser::from_args(words);
        let (mut feeds, mut board, mut authorities) = (Vec::new(), None, None);
        while let Some(argument) = parser.next().map_err(wrong)? {
            let lexopt::Arg::Long(name) = argument else { return Err(wrong(argument.unexpected())) };
            match name.to_owned().as_str() {
                "url" => {
                    let text = parser.value().map_err(wrong)?;
                    let parsed = Url::parse(&text.to_string_lossy());
                    let url = parsed.map_err(|error| wrong(format!("--url: {}", error.0)))?;
                    feeds.push(Feed::metadata(url));
                }
                "feed" => {
                    let text = parser.value().map_err(wrong)?;
                    let feed = Feed::parse(&text.to_string_lossy());
                    feeds.push(feed.map_err(|error| wrong(format!("--feed: {error}")))?);
                }
                "ca" => authorities = Some(PathBuf::from(parser.value().map_err(wrong)?)),
                "board" => board = Some(PathBuf::from(parser.value().map_err(wrong)?)),
                other => return Err(wrong(format!("unknown option --{other}"))),
            }
        }
        let missing = |name: &str| wrong(format!("--{name} is missing"));
        if feeds.is_empty() {
            return Err(missing("url"));
        }
        let settings = Settings::of(feeds).map_err(wrong)?;
        Ok(Self { settings, board: board.ok_or_else(|| missing("board"))?, authorities })
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
    fn both_are_needed_and_checked() {
        let arguments = read("--url http://127.0.0.1:8080/prices --board /b").unwrap();
        let [feed] = arguments.settings.feeds() else { panic!() };
        assert_eq!((feed.url.port, arguments.board), (8080, PathBuf::from("/b")));
        let words = [
            "--feed",
            "http://127.0.0.1:1/p",
            "--feed",
            "day-ahead http://127.0.0.1:2/ watts=9",
            "--board",
            "/b",
        ];
        let two = Arguments::read(words.map(OsString::from)).unwrap();
        assert!(two.settings.feeds().len() == 2 && !two.settings.feeds()[1].holds());
        for (words, what) in [
            ("--board /b", "--url is missing"),
            ("--url http://127.0.0.1:8080/prices", "--board is missing"),
            ("--url ftp://x --board /b", "--url: "),
            ("--feed spot --board /b", "--feed: "),
            ("--prices x", "unknown option --prices"),
        ] {
            let error = read(words).unwrap_err();
            assert!(error.contains(what) && error.ends_with(USAGE), "{words}: {error}");
        }
    }
}

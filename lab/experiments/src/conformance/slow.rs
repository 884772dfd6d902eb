//! slowhttptest: a hundred connections that send heads, or contents, a little at a time, or read so. Each has to be ended
//! by the limits of time, and others have to be served meanwhile. They are in a network with the server's TAP device:
//! a forwarder between would read for those who do not.

use crate::beside::{Place, Way};
use crate::httpd_linux::{CONTEST, content, ours};
use nom_cable::ADDRESS;
use nom_machine::artefacts;
use nom_machine::machine::dying_with_us;
use nom_machine::packages;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::process::Stdio;

const CONNECTIONS: &str = "100";
/// Seconds that a test lasts at most: several times the limits of the server.
const SECONDS: &str = "20";
const LIMITS: &str =
    "web.limit.head = 3 s\nweb.limit.content = 3 s\nweb.limit.reading = 3 s\nweb.mirror = /mirror\n";
/// How each test is called, what it asks for, and what it is told besides. A reader that is reset first reads what its
/// system had already, a kilobyte here, so it must do so before the test ends.
const TESTS: [(&str, &str, &[&str]); 3] = [
    ("slow heads", "/", &["-H", "-i", "1"]),
    ("slow contents", "/mirror", &["-B", "-i", "1", "-s", "8192"]),
    ("slow readers", "/large.html", &["-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "128", "-k", "1"]),
];
/// Bytes of the content that is read slowly: more than windows and buffers hold.
const LARGE: usize = 4 << 20;

/// How many of the tests left no connection open and others served; none where it is absent.
pub fn withstood(progress: &mut dyn FnMut(&str)) -> Outcome<Option<f64>> {
    let Some(program) = packages::find("slowhttptest") else {
        progress("slowhttptest is absent (Debian: slowhttptest): slow clients are not tried");
        return Ok(None);
    };
    let httpd = artefacts::linux(&["nom-httpd-linux"], progress)?.remove(0);
    let mut good = 0_u32;
    for (name, target, words) in TESTS {
        let place = Place::start(Way::Tap, (ADDRESS, CONTEST.port), |folder| {
            let root = content(folder, &[("index.html", 612), ("large.html", LARGE)])?;
            ours(&httpd, folder, &root, ("tap", "halt"), LIMITS)
        })?;
        let program = program.clone();
        let output = place.ask(move |address| {
            dying_with_us(&program)
                .args(words)
                .args(["-c", CONNECTIONS, "-r", CONNECTIONS, "-l", SECONDS, "-p", "5", "-u"])
                .arg(format!("http://{address}{target}"))
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .output()
                .context(|| "cannot start slowhttptest".into())
        })?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let end =
            End::read(&text).ok_or_else(|| Trouble::new(format!("slowhttptest said no status: {text}")))?;
        progress(&format!(
            "  {name}: {}, others served: {}",
            if end.none_left { "all were ended in time" } else { "some were left" },
            end.available
        ));
        good += u32::from(end.none_left && end.available);
    }
    Ok(Some(good.into()))
}

/// What it shows at last.
#[derive(Debug, PartialEq, Eq)]
struct End {
    /// No connection was open before its time was over.
    none_left: bool,
    /// Somebody else was served, as often as it tried.
    available: bool,
}

impl End {
    fn read(text: &str) -> Option<Self> {
        // Between words it changes colours.
        let (first, others) = text.split_once('\x1b').unwrap_or((text, ""));
        let mut plain = first.to_string();
        for part in others.split('\x1b') {
            plain.push_str(part.split_once('m').map_or("", |(_, words)| words));
        }
        let values = |name: &'static str| {
            plain.lines().filter_map(move |line| Some(line.trim().strip_prefix(name)?.trim()))
        };
        Some(Self {
            none_left: values("Exit status:").next_back()? == "No open connections left",
            available: values("service available:").all(|value| value == "YES"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_count() {
        let text = "connected:           100\nservice available:   YES\n\x1b[1;32mservice available:\x1b[1;32m   \
                    \x1b[1;32mYES\x1b[0m\n\x1b[0mTest ended on 3th second\nExit status:\x1b[1;36m No open connections left\n";
        assert_eq!(End::read(text), Some(End { none_left: true, available: true }));
        let limit = text.replace("No open connections left", "Hit test time limit").replacen("YES", "NO", 1);
        assert_eq!(End::read(&limit), Some(End { none_left: false, available: false }));
        assert_eq!(End::read("nothing"), None);
    }
}

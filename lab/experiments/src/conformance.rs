//! Rules of HTTP/1.1 that others wrote down, tried on the web server as a Linux process.
//!
//! `--peer DIR` names a checkout of h1spec (github.com/uNetworking/h1spec), whose rules deno runs: one in `PATH`, or what
//! `npm install deno` leaves in that folder. All of them apply: what is posted comes back from a mirror. httplint (PyPI), where it is found in the same places,
//! reads our answers; what it calls bad is counted.
//!
//! slowhttptest's slow clients, REDbot, and a browser that loads a page with all its parts are asked too, where they are here.
//!
//! - `conformance.passed`, `conformance.applicable`;
//! - `conformance.lint_bad`: notes of httplint that are bad, over answers of every kind;
//! - `conformance.redbot_found`: of what REDbot looks for by asking again, how much it found;
//! - `conformance.slow_withstood`: slowhttptest's tests after which no connection was left and others were served;
//! - `conformance.browser_parts`: parts of a page that work in a browser.

mod browser;
mod redbot;
mod slow;

use crate::Settings;
use crate::figures::Figure;
use crate::web_process::WebProcess;
use nom_abi::board::Prices;
use nom_machine::machine::dying_with_us;
use nom_machine::packages;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What is claimed.
pub const CLAIM: &str = "every applicable rule of h1spec holds (--peer DIR), httplint finds nothing bad, slow clients are ended, a browser loads a \
     page with all its parts";

/// The rules' file in a checkout.
const RULES: &str = "http_test.ts";
const PATIENCE: Duration = Duration::from_secs(30);
/// What is asked for httplint to read.
const ASKED: [&str; 6] = [
    "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "GET /large.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\nRange: bytes=0-9\r\n\r\n",
    "GET /large.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept-Encoding: gzip\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIf-None-Match: *\r\n\r\n",
    "GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "OPTIONS / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
];

/// Tries.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let checkout = settings.peer.as_ref().ok_or_else(|| {
        Trouble::new("name a checkout of h1spec (github.com/uNetworking/h1spec): --peer DIR")
    })?;
    let rules = checkout.join(RULES);
    if !rules.is_file() {
        return Err(Trouble::new(format!("{}: there is no {RULES}; is this h1spec?", checkout.display())));
    }
    let deno =
        beside(checkout, "node_modules/.bin/deno").or_else(|| packages::find("deno")).ok_or_else(|| {
            Trouble::new(format!("deno is missing: run `npm install deno` in {}", checkout.display()))
        })?;
    let served = serve(progress)?;
    let (passed, applicable) = h1spec(&deno, &rules, served.address.port(), progress)?;
    let mut figures = vec![
        Figure::of("conformance.passed", "", Some(">=33"), &[passed]),
        Figure::of("conformance.applicable", "", None, &[applicable]),
    ];
    match beside(checkout, "bin/httplint").or_else(|| packages::find("httplint")) {
        Some(lint) => {
            figures.push(Figure::of(
                "conformance.lint_bad",
                "",
                Some("<=0"),
                &[linted(&lint, served.address.port(), progress)?],
            ));
        }
        None => progress("httplint is missing (PyPI: httplint): answers are not linted"),
    }
    match beside(checkout, "bin/redbot").or_else(|| packages::find("redbot")) {
        Some(program) => {
            let found = redbot::found(&program, progress)?;
            figures.push(Figure::of("conformance.redbot_found", "", Some(redbot::GOAL), &[found]));
        }
        None => progress("redbot is missing (PyPI: redbot): it does not look at the server"),
    }
    if let Some(good) = slow::withstood(progress)? {
        figures.push(Figure::of("conformance.slow_withstood", "", Some(">=3"), &[good]));
    }
    if let Some(parts) = browser::loaded(progress)? {
        figures.push(Figure::of("conformance.browser_parts", "", Some(">=5"), &[parts]));
    }
    Ok(figures.into_iter().flatten().collect())
}

fn beside(folder: &Path, file: &str) -> Option<PathBuf> {
    Some(folder.join(file)).filter(|file| file.is_file())
}

fn serve(progress: &mut dyn FnMut(&str)) -> Outcome<WebProcess> {
    let large = "a line of text\n".repeat(10_000);
    let files = [("index.html", "<p>hello"), ("hello/index.html", "<p>hello"), ("large.txt", large.as_str())];
    let files = files.map(|(name, text)| (name.to_string(), text.as_bytes().to_vec()));
    // The rules want what is posted to `/` back.
    WebProcess::start(&files, "tuner = off\nweb.mirror = /\nweb.compress = start\n", &Prices::NONE, progress)
}

/// How many rules passed, and how many are applicable.
fn h1spec(deno: &Path, rules: &Path, port: u16, progress: &mut dyn FnMut(&str)) -> Outcome<(f64, f64)> {
    let output = dying_with_us(deno)
        .args(["run", "--no-lock", "--allow-net"])
        .arg(rules)
        .args(["127.0.0.1", &port.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .context(|| "cannot start deno".into())?;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let verdicts = verdicts(&text);
    if verdicts.is_empty() {
        return Err(Trouble::new(format!(
            "h1spec said nothing: {}",
            text.lines().last().unwrap_or_default()
        )));
    }
    let (mut passed, mut applicable) = (0, 0);
    for (rule, holds) in verdicts {
        applicable += 1;
        passed += u32::from(holds);
        if !holds {
            progress(&format!("  failed: {rule}"));
        }
    }
    Ok((passed.into(), applicable.into()))
}

/// Rules and whether they hold: a green or a red mark, `NAME: words`.
fn verdicts(text: &str) -> Vec<(&str, bool)> {
    let marked = |mark: char, line: &'_ str| line.trim_start().starts_with(mark);
    let (green, red) = ('\u{2705}', '\u{274c}');
    text.lines()
        .filter(|line| marked(green, line) || marked(red, line))
        .filter_map(|line| {
            let (rule, _) = line.trim_start().split_once(':')?;
            Some((rule.trim_start_matches([green, red]).trim(), marked(green, line)))
        })
        .collect()
}

/// Notes that are bad, over all answers.
fn linted(lint: &Path, port: u16, progress: &mut dyn FnMut(&str)) -> Outcome<f64> {
    let mut bad = 0;
    for asked in ASKED {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context(|| "the server".into())?;
        stream.set_read_timeout(Some(PATIENCE)).context(|| "the server".into())?;
        let mut answer = Vec::new();
        stream.write_all(asked.as_bytes()).context(|| "a request".into())?;
        stream.read_to_end(&mut answer).context(|| "an answer".into())?;
        let mut child = Command::new(lint)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context(|| "cannot start httplint".into())?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(&answer).context(|| "httplint".into())?;
        }
        let output = child.wait_with_output().context(|| "httplint".into())?;
        for line in String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.contains("[BAD]")) {
            bad += 1;
            progress(&format!(
                "  httplint on {:?}: {}",
                asked.lines().next().unwrap_or_default(),
                line.trim()
            ));
        }
    }
    Ok(bad.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read() {
        let text = "\u{2705} Fragmented method: Server waited successfully\n\
                    \u{274c} Invalid line: Response Status Code 200, Expected ranges: [[400,499]]\n\n1 out of 2 tests passed.\n";
        assert_eq!(verdicts(text), [("Fragmented method", true), ("Invalid line", false)]);
    }
}

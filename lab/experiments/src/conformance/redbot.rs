//! REDbot asks for a resource in several ways and says what it finds out about the server.

use crate::web_process::WebProcess;
use nom_abi::board::Prices;
use nom_machine::machine::dying_with_us;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::path::Path;
use std::process::Stdio;

/// What it says when all is well.
const EXPECTED: [&str; 5] = [
    "The Content-Length header is correct",
    "Content negotiation for gzip compression is supported",
    "If-None-Match conditional requests are supported",
    "If-Modified-Since conditional requests are supported",
    "A ranged request returned the correct partial content",
];
/// All of them.
pub const GOAL: &str = ">=5";

/// How much of that it says.
pub fn found(program: &Path, progress: &mut dyn FnMut(&str)) -> Outcome<f64> {
    let text = "a line of text\n".repeat(10_000).into_bytes();
    let lines = "tuner = off\nweb.compress = start\nweb.headers = full\n";
    let served = WebProcess::start(&[("page.txt".to_string(), text)], lines, &Prices::NONE, progress)?;
    let output = dying_with_us(program)
        .args(["-o", "text"])
        .arg(format!("http://{}/page.txt", served.address))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .output()
        .context(|| "cannot start redbot".into())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !said.starts_with("HTTP/1.1 200") {
        let last = said.lines().last().unwrap_or("nothing");
        return Err(Trouble::new(format!("redbot did not get the page; it said: {last}")));
    }
    for missed in EXPECTED.iter().filter(|words| !said.contains(**words)) {
        progress(&format!("  redbot does not say: {missed}"));
    }
    Ok(EXPECTED.iter().filter(|words| said.contains(**words)).count() as f64)
}

//! A browser that nobody here wrote loads a page with all that belongs to it, headless, and says what it made of it.

use crate::web_process::WebProcess;
use nom_abi::board::Prices;
use nom_machine::machine::dying_with_us;
use nom_machine::packages;
use nom_machine::trouble::{Context, Outcome};
use std::process::Stdio;

/// Debian's, and what others call it.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-headless-shell", "google-chrome"];
/// Seconds after which it is ended; it is waited for while the page loads, however busy the machine is.
const PATIENCE_S: &str = "120";
/// Time of the page's own clock in which everything must have come.
const BUDGET: &str = "--virtual-time-budget=20000";
/// What the page says of each part once it works.
pub const PARTS: [&str; 5] = ["script", "style", "data", "image", "module"];

const PAGE: &str = "<!DOCTYPE html><html><head><meta charset=\"utf-8\"><title>nom</title>\
    <link rel=\"stylesheet\" href=\"style.css\"></head><body><p id=\"said\">said:</p>\
    <img id=\"image\" src=\"image.svg\" alt=\"\"><script src=\"script.js\"></script>\
    <script type=\"module\" src=\"module.js\"></script></body></html>\n";
const STYLE: &str = "p { color: rgb(1, 2, 3) }\n";
const SCRIPT: &str = "const said = document.getElementById('said');\n\
    const say = word => { said.textContent += ' ' + word; };\n\
    say('script');\n\
    window.addEventListener('load', () => {\n\
      if (getComputedStyle(said).color === 'rgb(1, 2, 3)') say('style');\n\
      if (document.getElementById('image').naturalWidth === 7) say('image');\n\
      fetch('data.json').then(answer => answer.json()).then(data => { if (data.length === 3000) say('data'); });\n\
    });\n";
const MODULE: &str =
    "import { word } from './word.js';\ndocument.getElementById('said').textContent += word;\n";
const WORD: &str = "export const word = ' module';\n";
const IMAGE: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"7\" height=\"5\"><rect width=\"7\" height=\"5\"/></svg>\n";

/// How many parts of the page work in it; none where there is no browser.
pub fn loaded(progress: &mut dyn FnMut(&str)) -> Outcome<Option<f64>> {
    let Some(program) = PROGRAMS.iter().find_map(|name| packages::find(name)) else {
        progress("no browser is here (Debian: chromium): a page is not loaded");
        return Ok(None);
    };
    let data = format!("[{}]\n", vec!["12345"; 3000].join(","));
    let files = [
        ("index.html", PAGE),
        ("style.css", STYLE),
        ("script.js", SCRIPT),
        ("module.js", MODULE),
        ("word.js", WORD),
        ("image.svg", IMAGE),
        ("data.json", &data),
    ];
    let files = files.map(|(name, text)| (name.to_string(), text.as_bytes().to_vec()));
    // Compressed answers are what a browser gets.
    let served = WebProcess::start(&files, "tuner = off\nweb.compress = start\n", &Prices::NONE, progress)?;
    let output = dying_with_us(&packages::find("timeout").unwrap_or_else(|| "timeout".into()))
        .arg(PATIENCE_S)
        .arg(program)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--disable-background-networking", BUDGET, "--dump-dom"])
        .arg(format!("--user-data-dir={}", served.file("browser").display()))
        .arg(format!("http://{}/", served.address))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .output()
        .context(|| "cannot start the browser".into())?;
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = said(&page).unwrap_or_default();
    let works = |part: &&str| said.split(' ').any(|word| word == *part);
    for part in PARTS.iter().filter(|part| !works(part)) {
        progress(&format!("  the browser misses the page's {part}; it shows {said:?}"));
    }
    Ok(Some(PARTS.iter().filter(|part| works(part)).count() as f64))
}

/// What stands in the page's paragraph.
fn said(page: &str) -> Option<&str> {
    let (_, rest) = page.split_once("<p id=\"said\">")?;
    rest.split_once("</p>").map(|(said, _)| said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_page_says_is_found_in_it() {
        assert_eq!(said("<html><p id=\"said\">said: style data</p>..."), Some("said: style data"));
        assert_eq!(said("<html></html>"), None);
    }
}

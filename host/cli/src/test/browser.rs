//! What is shown in a browser, looked at by a real one without a screen: the live page, and the report of the paper's
//! bench. Run by its name only: a browser is a large package, and slow where much else runs.

mod led;

use super::guest::free_port;
use super::services::ended_well;
use super::started::{Started, command};
use super::{Cases, Verdict};
use led::Led;
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_machine::{artefacts, packages};
use serde_json::json;
use std::path::Path;

/// How often the page has drawn itself anew since it was opened.
const SHOWN: &str = "Number(document.documentElement.dataset.shown || 0)";
/// The sizes of windows that the page is looked at in, and which is wider than its window.
const SIZES: [(&str, u32, u32); 3] = [("wide", 1600, 1000), ("usual", 1200, 1150), ("narrow", 420, 900)];
/// Drawings of a page that show nothing.
const EMPTY_DRAWINGS: &str = "[...document.querySelectorAll('figure svg')].filter(svg => {
    const drawn = [...svg.querySelectorAll('path,circle,rect,line,polyline')].map(part => part.getBBox());
    return !drawn.some(box => box.width > 0 || box.height > 0) || svg.getBoundingClientRect().height < 40;
}).length";

/// Claims of the report that need no guest, and how many charts they have.
const CLAIMS: &str = "batching,profit,nine,open,cores,two";
const CHARTS: usize = 18;

/// The part.
pub fn browser(cases: &mut Cases) -> Outcome<()> {
    let found = packages::ensure("chromium", "chromium", &mut crate::service::progress);
    let program = match found {
        Ok(program) => program,
        Err(trouble) => {
            cases.note("a browser", Verdict::Skipped(trouble.to_string()));
            return Ok(());
        }
    };
    // Pictures stay, to be looked at by a person.
    let pictures = artefacts::root()?.join(".cache/browser");
    std::fs::create_dir_all(&pictures).context(|| format!("cannot make {}", pictures.display()))?;
    let web = free_port()?;
    let mut started = Started::new(free_port()?, &["kv", "--web", &web.to_string()])?;
    let url = format!("http://127.0.0.1:{web}/");
    for scheme in ["light", "dark"] {
        let verdict = live(&program, &url, scheme, &pictures);
        cases.note(&format!("the live page in a browser, {scheme}"), verdict);
    }
    cases.note("keys of the live page", keys(&program, &url));
    cases.note("the live page hears of the end", end(&program, &url, &mut started));

    let folder = Scratch::new()?;
    let out = folder.path().display().to_string();
    let ended = command(&["bench", "paper", "--quick", "--claim", CLAIMS, "--out", &out], |_| {})?;
    let verdict = match ended.code {
        Some(0) => report(&program, &format!("file://{out}/report.html"), &pictures),
        _ => Err(Trouble::new(ended.words)),
    };
    cases.note("the paper's report in a browser", verdict);
    crate::service::progress(&format!("pictures are in {}", pictures.display()));
    Ok(())
}

/// The page follows what the person's system is set to, renews itself, and fits windows of several sizes.
fn live(program: &Path, url: &str, scheme: &str, pictures: &Path) -> Outcome<()> {
    let mut led = Led::start(program)?;
    led.medium(scheme, false)?;
    led.visit(url)?;
    led.wait("the page is drawn", &format!("{SHOWN} > 0"))?;
    let first = led.value(SHOWN)?.as_u64().unwrap_or(0);
    led.wait("the page is renewed", &format!("{SHOWN} >= {}", first + 3))?;
    led.wait("a window was settled", "document.querySelectorAll('#frontier circle').length > 1")?;
    // Prices move every few seconds, so what was decided and why comes to stand there; a picture without it shows little.
    led.wait("a decision is told", "document.querySelectorAll('#decisions li').length > 1")?;
    let theme = led.value("document.documentElement.dataset.theme")?;
    if theme != json!(scheme) {
        return Err(Trouble::new(format!("where {scheme} is wanted the page is {theme}")));
    }
    for text in ["nom, measured", "$/h"] {
        if led.value(&format!("document.body.innerText.includes({})", json!(text)))? != json!(true) {
            return Err(Trouble::new(format!("{text:?} is not on the page")));
        }
    }
    for (name, width, height) in SIZES {
        led.size(width, height)?;
        let wide = led.value("document.documentElement.scrollWidth")?.as_u64().unwrap_or(u64::MAX);
        led.picture(&pictures.join(format!("live-{scheme}-{name}.png")))?;
        if wide > u64::from(width) {
            return Err(Trouble::new(format!("in a window of {width} points the page is {wide} wide")));
        }
    }
    led.content()
}

/// `t` changes the theme; `p` holds the page, and lets it go on.
fn keys(program: &Path, url: &str) -> Outcome<()> {
    let mut led = Led::open(program, url)?;
    led.wait("the page is drawn", &format!("{SHOWN} > 0"))?;
    let theme = "document.documentElement.dataset.theme";
    let before = led.value(theme)?;
    led.press("t")?;
    led.wait("t turns the theme", &format!("{theme} !== {before}"))?;
    led.press("p")?;
    led.wait("p holds the page", "document.getElementById('time').textContent.startsWith('paused')")?;
    let held = led.value(SHOWN)?.as_u64().unwrap_or(0);
    // What is heard is still kept, so the page can be seen to have heard of more than it shows.
    led.wait(
        "held, the page still listens",
        "newest.elapsed_s > parseFloat(document.getElementById('time').textContent.slice(10)) + 2",
    )?;
    if led.value(SHOWN)?.as_u64() != Some(held) {
        return Err(Trouble::new("a page that is held was drawn"));
    }
    led.press("p")?;
    led.wait("p lets the page go on", &format!("{SHOWN} > {}", held + 1))?;
    led.content()
}

/// When the run ends the page says so.
fn end(program: &Path, url: &str, started: &mut Started) -> Outcome<()> {
    let mut led = Led::open(program, url)?;
    led.wait("the page is drawn", &format!("{SHOWN} > 0"))?;
    started.signal("INT")?;
    let said =
        led.wait("the end is told", "document.getElementById('time').textContent === 'the run has ended'");
    ended_well(started)?;
    said?;
    led.content()
}

/// The report is complete, every figure of it is drawn, on paper too.
fn report(program: &Path, url: &str, pictures: &Path) -> Outcome<()> {
    let mut led = Led::open(program, url)?;
    for (name, paper) in [("report", false), ("report-paper", true)] {
        led.medium("light", paper)?;
        led.size(1200, 1150)?;
        let drawings =
            led.value("document.querySelectorAll('figure svg').length")?.as_u64().unwrap_or(0) as usize;
        let empty = led.value(EMPTY_DRAWINGS)?.as_u64().unwrap_or(u64::MAX);
        if drawings != CHARTS || empty > 0 {
            return Err(Trouble::new(format!(
                "{name}: {drawings} charts instead of {CHARTS}, and {empty} show nothing"
            )));
        }
        led.picture(&pictures.join(format!("{name}.png")))?;
    }
    for text in ["adaptive", "Why they differ"] {
        if led.value(&format!("document.body.innerText.includes({})", json!(text)))? != json!(true) {
            return Err(Trouble::new(format!("{text:?} is not in the report")));
        }
    }
    led.content()
}

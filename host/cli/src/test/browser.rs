//! What is shown in a browser, looked at by a real one without a screen: the live page, and the report of the paper's
//! bench. Run by its name only: a browser is a large package, and slow where much else runs.

use super::guest::free_port;
use super::services::ended_well;
use super::started::{Started, command};
use super::{Cases, Verdict};
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome, Trouble};
use nom_machine::{artefacts, packages};
use std::path::Path;
use std::process::{Command, Stdio};

/// How long the browser looks before it writes down what it has.
const LOOK_MS: u32 = 12_000;

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
    for theme in ["light", "dark"] {
        let url = format!("http://127.0.0.1:{web}/?theme={theme}");
        let verdict = look(&program, &url, &pictures.join(format!("live-{theme}.png"))).and_then(|page| {
            let expected =
                [format!("data-theme=\"{theme}\""), "nom, measured".into(), "$/h".into(), "<circle".into()];
            holds(&page, &expected)?;
            match shown(&page) {
                0 | 1 => Err(Trouble::new("the page was not renewed")),
                _ => Ok(()),
            }
        });
        cases.note(&format!("the live page in a browser, {theme}"), verdict);
    }
    started.signal("INT")?;
    cases.note("the live page's run ends", ended_well(&mut started));

    let folder = Scratch::new()?;
    let out = folder.path().display().to_string();
    let ended = command(&["bench", "paper", "--quick", "--claim", CLAIMS, "--out", &out], |_| {})?;
    let report = format!("file://{out}/report.html");
    let verdict = match ended.code {
        Some(0) => look(&program, &report, &pictures.join("report.png")).and_then(|page| {
            holds(&page, &["adaptive".into(), "Why they differ".into()])?;
            match page.matches("<figure><svg").count() {
                CHARTS => Ok(()),
                other => Err(Trouble::new(format!("{other} charts are drawn instead of {CHARTS}"))),
            }
        }),
        _ => Err(Trouble::new(ended.words)),
    };
    cases.note("the paper's report in a browser", verdict);
    crate::service::progress(&format!("pictures are in {}", pictures.display()));
    Ok(())
}

fn holds(page: &str, expected: &[String]) -> Outcome<()> {
    match expected.iter().find(|text| !page.contains(*text)) {
        Some(text) => Err(Trouble::new(format!("{text:?} is not on the page of {} bytes", page.len()))),
        None => Ok(()),
    }
}

/// How often the page was drawn.
fn shown(page: &str) -> u32 {
    let (_, rest) = page.split_once("data-shown=\"").unwrap_or_default();
    rest.split('"').next().and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// The page as it stands after a while, and a picture of it.
fn look(program: &Path, url: &str, picture: &Path) -> Outcome<String> {
    let profile = Scratch::new()?;
    let run = |what: &str| {
        let output = Command::new(program)
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--window-size=1200,1150",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("--timeout={LOOK_MS}"))
            .args([what, url])
            .stdin(Stdio::null())
            .output()
            .context(|| format!("cannot start {}", program.display()))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    run(&format!("--screenshot={}", picture.display()))?;
    if !picture.is_file() {
        return Err(Trouble::new(format!("the browser made no picture of {url}")));
    }
    run("--dump-dom")
}

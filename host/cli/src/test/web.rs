//! The web server in a guest, asked by clients that nobody here wrote.

use super::guest::free_port;
use super::services::{ended_well, number};
use super::started::Started;
use super::{Cases, Verdict};
use nom_machine::trouble::{Outcome, Trouble};
use nom_machine::{artefacts, packages};
use std::process::{Command, Stdio};

/// A client: its name, its Debian package, what it is told before the address, and what it must say.
const CLIENTS: [(&str, &str, &[&str], &str); 3] = [
    ("ab", "apache2-utils", &["-q", "-k", "-n", "300", "-c", "4"], "Failed requests:        0"),
    ("h2load", "nghttp2-client", &["--h1", "-n", "300", "-c", "4"], "300 succeeded, 0 failed"),
    ("wrk", "wrk", &["-t", "1", "-c", "4", "-d", "1s"], "requests in"),
];

/// All clients against one guest.
pub fn web(cases: &mut Cases) -> Outcome<()> {
    // Our own load goes on beside them, so that content is compressed for others while it compares its own.
    let mut started = Started::new(free_port()?, &["httpd", "--on", "guest", "--rate", "200"])?;
    let url = format!("http://127.0.0.1:{}/", started.port);
    cases.note("web server in a guest: curl", page(&url));
    for (name, package, arguments, expected) in CLIENTS {
        let verdict = client(name, package, &[arguments, &[&url]].concat()).map(|said| match said {
            said if said.contains(expected) && !said.contains("Non-2xx") => Verdict::Passed,
            said => Verdict::Failed(format!("it did not say {expected:?}: {}", last(&said))),
        });
        cases.note(&format!("web server in a guest: {name}"), verdict.unwrap_or_else(|other| other));
    }
    started.signal("INT")?;
    let settled = ended_well(&mut started).and_then(|()| match number(&started, "accepted")? {
        0 => Err(Trouble::new("the ledger has no operation")),
        _ => Ok(()),
    });
    cases.note("web server in a guest: the ledger adds up", settled);
    Ok(())
}

/// What the image carries arrives byte for byte.
fn page(url: &str) -> Verdict {
    let expected =
        artefacts::root().map(|root| std::fs::read_to_string(root.join("examples/site/index.html")));
    match (client("curl", "curl", &["-sS", "--max-time", "30", url]), expected) {
        (Ok(said), Ok(Ok(expected))) if said == expected => Verdict::Passed,
        (Ok(said), _) => Verdict::Failed(format!("other bytes came: {}", last(&said))),
        (Err(verdict), _) => verdict,
    }
}

/// What a client says; or why it could not be asked.
fn client(name: &str, package: &str, arguments: &[&str]) -> Result<String, Verdict> {
    if packages::find(name).is_none() {
        return Err(Verdict::Skipped(format!("{name} is absent (Debian: {package})")));
    }
    let output = Command::new("timeout")
        .args(["60", name])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Verdict::Failed(format!("{name}: {error}")))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(said),
        false => {
            Err(Verdict::Failed(format!("{name} ended with {:?}: {}", output.status.code(), last(&said))))
        }
    }
}

fn last(text: &str) -> &str {
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing")
}

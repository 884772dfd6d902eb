//! The web server in a guest beside Debian's nginx in a guest ([`guests`]): wrk as the client, 612 bytes of content, nginx
//! with one worker that is set up as beside a Linux process. Ours has 16 MiB of memory, Linux' 96.

use crate::Settings;
use crate::caslap::Seen;
use crate::figures::Figure;
use crate::first_answer::Probe;
use crate::floor;
use crate::guests::{self, Contest, Goals, TOKEN};
use crate::linux_guest::service::Service;
use crate::tap_home::{GUEST, PREFIX_LEN};
use crate::wrk::{self, Wrk};
use nom_machine::machine::Nameless;
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome};
use nom_machine::{artefacts, content, image};

const PORT: u16 = 8080;
const MEMORY_MIB: u32 = 16;
/// What nginx's own first page has.
const CONTENT_LEN: usize = 612;
/// The file of the nom paper.
const PAPER_LEN: usize = 175;
const FILE: &str = "page.html";
const PATH: &str = "/page.html";
const GOALS: Goals = Goals {
    many: Some(">=8"),
    single: Some(">=3"),
    single_polling: None,
    jitter: Some(">=10"),
    first_answer_ms: None,
};
const PROBE: Probe = Probe {
    port: PORT,
    question: b"GET /page.html HTTP/1.1\r\nHost: guest\r\n\r\n",
    answer: b"HTTP/1.1 200 ",
};

/// Measures.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    measure_with("httpd", CONTENT_LEN, guests::MANY, GOALS, settings, progress)
}

/// The same with the paper's 175 bytes and so many connections.
pub fn measure_as_the_paper(
    many: u32,
    settings: &Settings,
    progress: &mut dyn FnMut(&str),
) -> Outcome<Vec<Figure>> {
    measure_with("paper.httpd", PAPER_LEN, many, Goals::default(), settings, progress)
}

fn measure_with(
    name: &'static str,
    content_len: usize,
    many: u32,
    goals: Goals,
    settings: &Settings,
    progress: &mut dyn FnMut(&str),
) -> Outcome<Vec<Figure>> {
    let wrk = Wrk::new(progress)?;
    let programs = artefacts::guest(&["nom-kernel", "nom-httpd-guest"], progress)?;
    let page = "x".repeat(content_len);
    let folder = Scratch::new()?;
    std::fs::write(folder.file(FILE), &page).context(|| "content".into())?;
    let packed = content::pack(folder.path())?;
    let ours = |wait: &str| {
        let applications = [("httpd", programs[1].as_path())];
        let contents = [("httpd", packed.clone())];
        Nameless::new(&image::assemble_with(&programs[0], &configuration(wait), &applications, &contents)?)
    };
    let ask = |target, connections| {
        Ok(seen(if connections == 1 {
            wrk.alone(target, PATH)?
        } else {
            wrk.run(target, PATH, connections)?
        }))
    };
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {content_len}\r\n\r\n{page}").into_bytes();
    let floor = || {
        let wrk = wrk.clone();
        floor::asked(PORT, answer.clone(), move |target| Ok(seen(wrk.alone(target, PATH)?)))
    };
    let contest = Contest {
        name,
        ours: &ours,
        memory_mib: MEMORY_MIB,
        peer: Service::nginx(PORT, vec![("/content/page.html", page.clone())]),
        probe: PROBE,
        ask: &ask,
        floor: Some(&floor),
        many,
        goals,
        exits: name != "httpd",
    };
    guests::measure(&contest, settings, progress)
}

/// What wrk saw, in the words of all clients.
fn seen(by_wrk: wrk::Seen) -> Seen {
    let wrk::Seen { requests: operations, rate, mean_us, deviation_us, late } = by_wrk;
    Seen { operations, rate, mean_us, deviation_us, misses: 0, late: Some(late) }
}

fn configuration(wait: &str) -> String {
    format!(
        "listen = {PORT}\naddress = {GUEST}/{PREFIX_LEN}\nconnections = 128\nwait = {wait}\nbatch = queued\n\
         memory.items = 1 MiB\nmemory.send = 512 KiB\nmemory.receive = 512 KiB\ntuner = off\n\
         kernel.heap = 5 MiB\nimage.trusted = yes\nmanagement.token = {TOKEN}\n"
    )
}

//! Requests to the web server, from the device's ring to the device's ring.

use crate::ours;
use crate::{Load, Script};
use nom_httpd::{Config, File, Httpd};

const CONTENT_BYTES: usize = 1 << 20;
/// Some time of the year 2026, since answers carry a date.
const UNIX_NS: u64 = 1_794_000_000_000_000_000;
/// As wrk asks.
const WRK: &str = "GET /612.html HTTP/1.1\r\nHost: 10.0.0.1:8080\r\n\r\n";
/// Content of one segment that is sent from its place.
const PINNED: &str = "GET /1200.html HTTP/1.1\r\nHost: 10.0.0.1:8080\r\n\r\n";

/// Asks for a page again and again; `variant` says which, and how.
pub fn play(load: &Load, variant: &str) -> bool {
    let request = match variant {
        "" => WRK.to_string(),
        // What begins with an empty line is read anew each time.
        "-new" => format!("\r\n{WRK}"),
        "-pinned" => PINNED.to_string(),
        "-browser" => browser(&tag()),
        _ => return false,
    };
    let answer_len = answer(request.as_bytes()).len();
    let before = [(request.as_bytes(), answer_len)];
    let script = Script { before: &before, request: request.as_bytes(), answer_len };
    ours::play(load, &script, server());
    true
}

fn server() -> Httpd {
    let mut httpd = Httpd::new(Config::new(CONTENT_BYTES, 0, UNIX_NS));
    for len in [612, 1200] {
        let file = File { plain: vec![b'x'; len].into(), modified_s: 1_700_000_000, ..File::default() };
        httpd.site_mut().put(&format!("/{len}.html"), file).expect("there is room");
    }
    httpd
}

fn answer(request: &[u8]) -> Vec<u8> {
    let mut script = nom_httpd::script::open(server(), 0, usize::MAX);
    script.send(request);
    script.settle();
    script.output
}

fn tag() -> String {
    let answer = String::from_utf8(answer(WRK.as_bytes())).expect("an answer is text");
    let tag = answer.lines().find_map(|line| line.strip_prefix("ETag: ")).expect("content has a tag");
    tag.into()
}

/// As a browser asks for what it has already: the fields that Chromium sends, shortened in nothing.
fn browser(tag: &str) -> String {
    format!(
        "GET /612.html HTTP/1.1\r\nHost: 10.0.0.1:8080\r\nConnection: keep-alive\r\nCache-Control: max-age=0\r\n\
         Upgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like \
         Gecko) Chrome/126.0.0.0 Safari/537.36\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,\
         image/avif,image/webp,image/apng,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate\r\n\
         Accept-Language: en-US,en;q=0.9\r\nIf-None-Match: {tag}\r\n\r\n"
    )
}

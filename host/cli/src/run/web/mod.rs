//! `nom run --web`: the live view as a page for a browser on this machine.
//!
//! ```text
//! GET /               the page, complete in itself
//! GET /events         a snapshot whenever there is a new one, as server-sent events
//! GET /snapshot.json  the newest snapshot
//! ```
//!
//! On the loopback only, since nobody is asked who they are. A site of somebody else's that a browser was led to must not
//! read what we serve, either: a request has to name this machine's loopback as its host. [`CLIENTS_MAX`] are served at
//! a time; who is slow is cut, and nothing of it is in the way of the service.

mod json;

use nom_linux_metrics::asked::{Asked as Heard, hear, part};
use nom_machine::trouble::{Outcome, Trouble};
use nom_view::Snapshot;
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The page. What it may load and run is said in the head of the answer: nothing but itself.
const PAGE: &str = include_str!("page.html");
/// Browsers and others that are served at the same time; further ones are told to come again.
const CLIENTS_MAX: usize = 16;
/// Bytes of a request's head.
const HEAD_LEN_MAX: usize = 8192;
/// How long a client may take to ask, and to take each answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// So often a stream says that it is alive: only by writing is it seen that nobody reads any more.
const ALIVE_EVERY: Duration = Duration::from_secs(2);
/// What browsers are told.
#[derive(Debug, Default)]
struct State {
    /// Counts the snapshots.
    number: u64,
    snapshot: String,
    ended: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    clients: AtomicUsize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server; streams are told of the end when it is dropped.
#[derive(Debug)]
pub struct Web {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What was typed behind `--web`: a port, or an address of the loopback and a port.
pub fn address(typed: &str) -> Outcome<SocketAddr> {
    let port = |text: &str| match text {
        "" => Some(0),
        text => text.parse().ok(),
    };
    let address = match typed.parse::<SocketAddr>() {
        Ok(address) => Some(address),
        Err(_) => port(typed).map(|port| (Ipv4Addr::LOCALHOST, port).into()),
    };
    match address {
        Some(address) if address.ip().is_loopback() => Ok(address),
        Some(address) => Err(Trouble::new(format!(
            "--web {address}: nobody is asked who they are, so only addresses of the loopback are served (127.0.0.1:PORT); \
             from elsewhere, forward a port: ssh -L"
        ))),
        None => Err(Trouble::new(format!("--web {typed}: a port, or ADDRESS:PORT is expected"))),
    }
}

impl Web {
    /// Serves at an address; port 0 is a free one.
    pub fn start(address: SocketAddr) -> Outcome<Self> {
        let listener = TcpListener::bind(address).map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => Trouble::new(format!("--web: {address} is busy: choose another port")),
            _ => Trouble::new(format!("--web: cannot listen on {address}: {error}")),
        })?;
        let address = listener.local_addr().map_err(|error| Trouble::new(format!("--web: {error}")))?;
        let shared = Arc::new(Shared::default());
        let with = shared.clone();
        std::thread::spawn(move || accept(&listener, &with));
        Ok(Self { address, shared })
    }

    /// Where the page is.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Shows a new snapshot.
    pub fn show(&self, now: &Snapshot) {
        let text = json::snapshot(now).to_string();
        let mut state = self.shared.lock();
        state.number += 1;
        state.snapshot = text;
        self.shared.changed.notify_all();
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        // Wakes the accepting thread, which then ends.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.lock().ended {
            return;
        }
        let Ok(mut stream) = stream else {
            // Without descriptors there is nothing to do but to wait for one.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        if shared.clients.fetch_add(1, Ordering::SeqCst) >= CLIENTS_MAX {
            shared.clients.fetch_sub(1, Ordering::SeqCst);
            let _ = stream.write_all(&whole(503, "text/plain", "too many look at the same time\n", true));
            continue;
        }
        let shared = shared.clone();
        std::thread::spawn(move || {
            let _ = serve(&mut stream, &shared);
            shared.clients.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Page,
    Events,
    Snapshot,
}

/// Reads the head of a request: what is asked, and whether with a body; or how it is refused.
fn asked(head: &[u8]) -> Result<(Asked, bool), (u16, &'static str)> {
    let text = std::str::from_utf8(head).map_err(|_| (400, "no request"))?;
    let mut lines = text.split("\r\n");
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, "HTTP/1.1" | "HTTP/1.0"] = words[..] else { return Err((400, "no request")) };
    let hosts: Vec<&str> = lines
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.eq_ignore_ascii_case("host"))
        .map(|(_, value)| value.trim())
        .collect();
    if !matches!(hosts[..], [host] if is_loopback(host)) {
        return Err((403, "only localhost is served here"));
    }
    let body = match method {
        "GET" => true,
        "HEAD" => false,
        _ => return Err((405, "GET and HEAD are answered")),
    };
    match target.split('?').next().unwrap_or_default() {
        "/" => Ok((Asked::Page, body)),
        "/events" => Ok((Asked::Events, body)),
        "/snapshot.json" => Ok((Asked::Snapshot, body)),
        _ => Err((404, "there are /, /events and /snapshot.json")),
    }
}

/// Whether a `Host` is the loopback by a name that no name server is asked for.
fn is_loopback(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    (name.eq_ignore_ascii_case("localhost") || name.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()))
        && port.parse::<u16>().is_ok()
}

/// One request, one answer.
fn serve(stream: &mut TcpStream, shared: &Shared) -> std::io::Result<()> {
    let head = match hear(stream, HEAD_LEN_MAX, PATIENCE)? {
        Heard::Head(head) => head,
        Heard::None => return part(stream, &whole(400, "text/plain", "no request\n", true)),
        Heard::Gone => return Ok(()),
    };
    let answer = match asked(&head) {
        Err((status, why)) => whole(status, "text/plain", &format!("{why}\n"), true),
        Ok((Asked::Page, body)) => whole(200, "text/html; charset=utf-8", PAGE, body),
        Ok((Asked::Events, true)) => return events(stream, shared),
        Ok((Asked::Events, false)) => whole(200, "text/event-stream", "", false),
        Ok((Asked::Snapshot, body)) => {
            let snapshot = shared.lock().snapshot.clone();
            match snapshot.is_empty() {
                true => whole(503, "text/plain", "nothing is known yet\n", body),
                false => whole(200, "application/json", &snapshot, body),
            }
        }
    };
    part(stream, &answer)
}

/// Snapshots for as long as somebody reads and the run lasts. Who reads slowly misses some and gets the newest.
fn events(stream: &mut TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.write_all(&head(200, "text/event-stream", None))?;
    let mut seen = 0;
    loop {
        let text = {
            let wait = |state: &mut State| state.number == seen && !state.ended;
            let (state, _) = shared
                .changed
                .wait_timeout_while(shared.lock(), ALIVE_EVERY, wait)
                .unwrap_or_else(PoisonError::into_inner);
            if state.ended {
                drop(state);
                return part(stream, b"event: end\ndata: end\n\n");
            }
            match state.number == seen {
                true => ": alive\n\n".into(),
                false => {
                    seen = state.number;
                    format!("data: {}\n\n", state.snapshot)
                }
            }
        };
        stream.write_all(text.as_bytes())?;
    }
}

/// An answer that is known as a whole.
fn whole(status: u16, kind: &str, text: &str, body: bool) -> Vec<u8> {
    let mut answer = head(status, kind, Some(text.len()));
    if body {
        answer.extend_from_slice(text.as_bytes());
    }
    answer
}

/// The head of an answer.
fn head(status: u16, kind: &str, len: Option<usize>) -> Vec<u8> {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        _ => "Service Unavailable",
    };
    let len = len.map(|len| format!("Content-Length: {len}\r\n")).unwrap_or_default();
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\n{len}Connection: close\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\nReferrer-Policy: no-referrer\r\n\
         Cross-Origin-Resource-Policy: same-origin\r\nContent-Security-Policy: default-src 'none'; \
         script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'none'\r\n\r\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests;

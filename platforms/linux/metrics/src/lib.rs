//! A service's figures, health and readiness over HTTP, for collectors and for whoever starts and stops services.
//!
//! ```text
//! GET /metrics    OpenMetrics 1.0
//! GET /health     200 while the service says its figures in time, else 503 and why
//! GET /ready      200 while it also serves new connections, else 503 and why
//! ```
//!
//! On the loopback only: there is no authentication. Threads of its own answer, [`CLIENTS_MAX`] at a time, and never
//! touch the service: what it said last stands behind a lock that is held for a copy. A slow client is cut after
//! [`PATIENCE`].

#![forbid(unsafe_code)]

pub mod asked;

use asked::{Asked, hear, part};
use nom_service::management::Stats;
use nom_service::metrics::{CONTENT_TYPE, Who, page};
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Clients that are answered at the same time; a further one is told to come again.
pub const CLIENTS_MAX: usize = 8;
/// Bytes of a request's head.
const REQUEST_LEN_MAX: usize = 4096;
/// How long a client may take to ask and to read.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// A service that has said nothing for so long, or for three of its intervals if that is longer, is not well.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// What the service said last.
#[derive(Debug, Default)]
struct State {
    who: Who,
    stats: Option<(Stats, Instant)>,
    interval: Duration,
}

/// Where the service tells its figures; copies tell the same.
#[derive(Debug, Clone, Default)]
pub struct Figures(Arc<Mutex<State>>);

impl Figures {
    /// Who is measured, and how often it means to say something.
    pub fn of(who: Who, interval: Duration) -> Self {
        let figures = Self::default();
        figures.introduce(who, interval);
        figures
    }

    /// Says who is measured, when it was not known before.
    pub fn introduce(&self, who: Who, interval: Duration) {
        let mut state = self.lock();
        (state.who, state.interval) = (who, interval);
    }

    /// The figures of now.
    pub fn tell(&self, stats: &Stats) {
        self.lock().stats = Some((stats.clone(), Instant::now()));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn page(&self) -> Result<String, String> {
        let (who, stats) = {
            let state = self.lock();
            let (stats, _) = state.stats.as_ref().ok_or(STARTING)?;
            (state.who.clone(), stats.clone())
        };
        Ok(page(&who, &stats))
    }

    fn health(&self) -> Result<u32, String> {
        let state = self.lock();
        let (stats, at) = state.stats.as_ref().ok_or(STARTING)?;
        let silent = at.elapsed();
        if silent > SILENCE_MAX.max(3 * state.interval) {
            return Err(format!("it has said nothing for {} s", silent.as_secs()));
        }
        Ok(stats.serving)
    }

    fn ready(&self) -> Result<u32, String> {
        self.health().and_then(|serving| match serving {
            0 => Err("it drains".into()),
            serving => Ok(serving),
        })
    }
}

/// Before the first figures.
const STARTING: &str = "it has said nothing yet";

/// An HTTP server; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

/// Opens the port on the loopback; 0 for a free one. To be called before the host's network is left.
pub fn listen(port: u16) -> Result<TcpListener, String> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => format!("metrics: port {port} of 127.0.0.1 is in use: choose another one"),
        _ => format!("metrics: cannot listen on port {port} of 127.0.0.1: {error}"),
    })
}

impl Server {
    /// Answers on an open port.
    pub fn start(listener: TcpListener, figures: Figures) -> Result<Self, String> {
        let address = listener.local_addr().map_err(|error| format!("metrics: {error}"))?;
        let ended = Arc::new(AtomicBool::new(false));
        let over = ended.clone();
        std::thread::spawn(move || accept(&listener, &figures, &over));
        Ok(Self { address, ended })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, where the host's network can still be reached; elsewhere it ends with the process.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

fn accept(listener: &TcpListener, figures: &Figures, ended: &AtomicBool) {
    let clients = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if ended.load(Ordering::SeqCst) {
            return;
        }
        let Ok(mut stream) = stream else {
            // Without descriptors there is nothing to do but to wait for one.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        if clients.fetch_add(1, Ordering::SeqCst) >= CLIENTS_MAX {
            clients.fetch_sub(1, Ordering::SeqCst);
            let _ = stream.write_all(&answer(503, "text/plain", "too many ask at the same time\n", true));
            continue;
        }
        let (figures, clients) = (figures.clone(), clients.clone());
        std::thread::spawn(move || {
            let _ = serve(&mut stream, &figures);
            clients.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// One request, one answer.
fn serve(stream: &mut TcpStream, figures: &Figures) -> std::io::Result<()> {
    match hear(stream, REQUEST_LEN_MAX, PATIENCE)? {
        Asked::Head(head) => part(stream, &answered(&head, figures)),
        Asked::None => part(stream, &answer(400, "text/plain", "no request\n", true)),
        Asked::Gone => Ok(()),
    }
}

fn answered(head: &[u8], figures: &Figures) -> Vec<u8> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let words: Vec<&str> = std::str::from_utf8(line).unwrap_or_default().split(' ').collect();
    let [method, target, "HTTP/1.1" | "HTTP/1.0"] = words[..] else {
        return answer(400, "text/plain", "no request\n", true);
    };
    let body = match method {
        "GET" => true,
        "HEAD" => false,
        _ => return answer(405, "text/plain", "GET and HEAD are answered\n", true),
    };
    let told = |said: Result<u32, String>| match said {
        Ok(_) => answer(200, "text/plain", "ok\n", body),
        Err(why) => answer(503, "text/plain", &format!("{why}\n"), body),
    };
    match target.split('?').next().unwrap_or_default() {
        "/metrics" => match figures.page() {
            Ok(page) => answer(200, CONTENT_TYPE, &page, body),
            Err(why) => answer(503, "text/plain", &format!("{why}\n"), body),
        },
        "/health" => told(figures.health()),
        "/ready" => told(figures.ready()),
        _ => answer(404, "text/plain", "there are /metrics, /health and /ready\n", body),
    }
}

fn answer(status: u16, kind: &str, text: &str, body: bool) -> Vec<u8> {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        _ => "Service Unavailable",
    };
    let len = text.len();
    let text = if body { text } else { "" };
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{text}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn ask(port: u16, request: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said
    }

    fn get(port: u16, path: &str) -> (u16, String) {
        let said = ask(port, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.into())
    }

    #[test]
    fn health_and_readiness_follow_what_the_service_says() {
        let figures =
            Figures::of(Who { application: "kv".into(), ..Who::default() }, Duration::from_millis(200));
        let server = Server::start(listen(0).unwrap(), figures.clone()).unwrap();
        let port = server.port();
        assert_eq!(get(port, "/health"), (503, format!("{STARTING}\n")));
        assert_eq!(get(port, "/metrics").0, 503);
        figures.tell(&Stats { serving: 1, accepted: 7, ..Stats::default() });
        assert_eq!((get(port, "/health").0, get(port, "/ready").0), (200, 200));
        let (status, page) = get(port, "/metrics?of=all");
        assert!(status == 200 && page.contains("nom_operations_total{outcome=\"accepted\"} 7\n"));
        figures.tell(&Stats::default());
        assert_eq!((get(port, "/health").0, get(port, "/ready")), (200, (503, "it drains\n".into())));
        let long_ago = Instant::now() - 2 * SILENCE_MAX;
        figures.lock().stats = Some((Stats { serving: 1, ..Stats::default() }, long_ago));
        assert!(
            get(port, "/health").0 == 503 && get(port, "/ready").1.starts_with("it has said nothing for 1")
        );
        // One that means to say something every minute is well meanwhile.
        figures.introduce(Who::default(), Duration::from_secs(60));
        assert_eq!(get(port, "/health").0, 200);
    }

    #[test]
    fn what_is_no_question_is_refused() {
        let server = Server::start(listen(0).unwrap(), Figures::default()).unwrap();
        let port = server.port();
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            ("GET /metrics\r\n\r\n", "400"),
            ("\r\n\r\n", "400"),
            (&format!("GET /{} HTTP/1.1\r\n", "x".repeat(2 * REQUEST_LEN_MAX)), "400"),
        ] {
            assert!(ask(port, request).starts_with(&format!("HTTP/1.1 {status} ")), "{request}");
        }
        let said = ask(port, "HEAD /health HTTP/1.0\r\n\r\n");
        assert!(said.starts_with("HTTP/1.1 503 ") && said.ends_with("\r\n\r\n"), "{said}");
        assert!(listen(port).unwrap_err().contains("in use"));
    }

    #[test]
    fn more_than_enough_clients_are_told_to_come_again() {
        let server = Server::start(listen(0).unwrap(), Figures::default()).unwrap();
        let silent: Vec<TcpStream> = (0..CLIENTS_MAX)
            .map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap())
            .collect();
        // They are accepted in order, so the next one is too many.
        let mut said = String::new();
        let mut next = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
        next.read_to_string(&mut said).unwrap();
        assert!(said.ends_with("too many ask at the same time\n"), "{said}");
        drop(silent);
    }
}

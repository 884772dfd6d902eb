//! The metadata service: what a cloud's host tells its guests over HTTP, here the prices of the moment.
//!
//! It listens on the host's loopback, and where a guest reaches the host otherwise. A client asks `GET /prices`, or with `?generation=N` waits until the
//! prices are other than the ones it knows. Everything is bounded: clients, bytes of a request, time of an answer.
//!
//! Whoever says that there is something new ([`Metadata::wake`]) answers the questions that are held himself: waking a
//! thread for each of them first would be the longest part of a price's way on an idle machine. What a client does not
//! take at once is left to its thread.

use crate::trouble::{Context, Outcome};
use rustix::net::{SendFlags, send};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Clients that are served at the same time; a further one is told to come again.
pub const CLIENTS_MAX: usize = 16;
/// Bytes of a request's head.
const REQUEST_LEN_MAX: usize = 4096;
/// How long a client may wait for new prices before it gets the old ones.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a client may be silent between two requests.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Where the prices come from.
pub trait Source: Send + Sync + 'static {
    /// The generation and the answer's body at this time since the start, and when they change next.
    fn at(&self, elapsed: Duration) -> (u64, String, Option<Duration>);
}

struct Shared {
    source: Box<dyn Source>,
    started: Instant,
    ended: AtomicBool,
    clients: AtomicUsize,
    /// Counts the questions that were held.
    questions: AtomicU64,
    /// The questions whose clients' threads are asleep, or about to look once more before they are.
    asleep: Mutex<Vec<Held>>,
    wake: Condvar,
}

/// A question that waits for other prices.
struct Held {
    /// Which one it is.
    number: u64,
    stream: TcpStream,
    known: u64,
    keep: bool,
    /// The answer, once there is one, and how much of it the client has.
    answer: Option<(Vec<u8>, usize)>,
}

impl Held {
    /// Answers what can be answered now, as far as that needs no waiting.
    fn answer(&mut self, source: &dyn Source, elapsed: Duration) {
        if self.answer.is_some() {
            return;
        }
        let (generation, body, _) = source.at(elapsed);
        if generation != self.known {
            let bytes = answer("200 OK", &body, self.keep);
            // A client that is gone is found to be so by its thread.
            let sent = send(&self.stream, &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).unwrap_or(0);
            self.answer = Some((bytes, sent));
        }
    }
}

/// A running service; it ends when this is dropped.
pub struct Metadata {
    shared: Arc<Shared>,
    /// Where it listens.
    addresses: Vec<SocketAddr>,
}

impl Metadata {
    /// Starts to serve on a port of the loopback that the system chooses.
    pub fn start(source: impl Source) -> Outcome<Self> {
        Self::on(0, source)
    }

    /// The same on a port that somebody chose; 0 for a free one.
    pub fn on(port: u16, source: impl Source) -> Outcome<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .context(|| format!("cannot open port {port} on localhost for the price service"))?;
        let address = listener.local_addr().context(|| "cannot tell the price service's port".into())?;
        let shared = Arc::new(Shared {
            source: Box::new(source),
            started: Instant::now(),
            ended: AtomicBool::new(false),
            clients: AtomicUsize::new(0),
            questions: AtomicU64::new(0),
            asleep: Mutex::new(Vec::new()),
            wake: Condvar::new(),
        });
        let serving = shared.clone();
        std::thread::spawn(move || accept(&listener, &serving));
        Ok(Self { shared, addresses: vec![address] })
    }

    /// Serves on another address of the host too, on the same port.
    pub fn also_on(&mut self, address: Ipv4Addr) -> Outcome<()> {
        let address = SocketAddr::from((address, self.port()));
        let listener =
            TcpListener::bind(address).context(|| format!("cannot open {address} for the price service"))?;
        let serving = self.shared.clone();
        std::thread::spawn(move || accept(&listener, &serving));
        self.addresses.push(address);
        Ok(())
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.addresses[0].port()
    }

    /// The source has something new: clients that wait for it are answered now, not when it was foreseen.
    pub fn wake(&self) {
        let elapsed = self.shared.started.elapsed();
        {
            // Who is about to sleep has not asked the source yet, or is asleep and is woken.
            let mut asleep = self.shared.asleep.lock().unwrap_or_else(PoisonError::into_inner);
            for held in asleep.iter_mut() {
                held.answer(&*self.shared.source, elapsed);
            }
        }
        self.shared.wake.notify_all();
    }

    /// Since when it serves: the schedule's time 0.
    pub fn started(&self) -> Instant {
        self.shared.started
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        {
            // Who is about to sleep has not looked yet, or is asleep and is woken.
            let _asleep = self.shared.asleep.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.ended.store(true, Ordering::SeqCst);
        }
        self.shared.wake.notify_all();
        // Wakes the accepting threads.
        for address in &self.addresses {
            let _ = TcpStream::connect_timeout(address, Duration::from_secs(1));
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.ended.load(Ordering::SeqCst) {
            return;
        }
        let Ok(mut stream) = stream else { continue };
        if shared.clients.fetch_add(1, Ordering::SeqCst) >= CLIENTS_MAX {
            shared.clients.fetch_sub(1, Ordering::SeqCst);
            let _ = stream.write_all(&answer("503 Service Unavailable", "{}", false));
            continue;
        }
        let shared = shared.clone();
        std::thread::spawn(move || {
            serve(&mut stream, &shared);
            shared.clients.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

fn serve(stream: &mut TcpStream, shared: &Shared) {
    let limits = [stream.set_read_timeout(Some(IDLE_MAX)), stream.set_write_timeout(Some(IDLE_MAX))];
    if limits.iter().any(Result::is_err) || stream.set_nodelay(true).is_err() {
        return;
    }
    let mut head = Vec::new();
    while let Some(request) = next_request(stream, &mut head) {
        let (bytes, more) = match request {
            Request::Prices { known, keep } => match prices(stream, shared, known, keep) {
                Some(bytes) => (bytes, keep),
                None => return,
            },
            Request::Elsewhere => (answer("404 Not Found", "{}", false), false),
            Request::Malformed => (answer("400 Bad Request", "{}", false), false),
        };
        if shared.ended.load(Ordering::SeqCst) || stream.write_all(&bytes).is_err() || !more {
            return;
        }
    }
}

/// The answer, as soon as prices are other than the known ones: what of it the client does not have yet.
fn prices(stream: &TcpStream, shared: &Shared, known: Option<u64>, keep: bool) -> Option<Vec<u8>> {
    let deadline = Instant::now() + WAIT_MAX;
    // Held from the question to the sleep, so that no wake is missed in between.
    let mut asleep = shared.asleep.lock().unwrap_or_else(PoisonError::into_inner);
    let mut held_as = None;
    loop {
        let elapsed = shared.started.elapsed();
        let place = asleep.iter().position(|held| Some(held.number) == held_as);
        if let Some(place) = place.filter(|place| asleep[*place].answer.is_some()) {
            let (bytes, sent) = asleep.swap_remove(place).answer?;
            return Some(bytes[sent..].to_vec());
        }
        let (generation, body, change) = shared.source.at(elapsed);
        let now = Instant::now();
        if known != Some(generation) || now >= deadline || shared.ended.load(Ordering::SeqCst) {
            place.map(|place| asleep.swap_remove(place));
            return Some(answer("200 OK", &body, keep));
        }
        if let (None, Some(known)) = (held_as, known) {
            let number = shared.questions.fetch_add(1, Ordering::Relaxed);
            held_as = Some(number);
            let stream = stream.try_clone().ok()?;
            asleep.push(Held { number, stream, known, keep, answer: None });
        }
        let pause = change.map_or(WAIT_MAX, |change| change.saturating_sub(elapsed)).min(deadline - now);
        // A moment is added so that the change is certainly over when we look.
        let woken = shared.wake.wait_timeout(asleep, pause + Duration::from_micros(200));
        (asleep, _) = woken.unwrap_or_else(PoisonError::into_inner);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Request {
    Prices { known: Option<u64>, keep: bool },
    Elsewhere,
    Malformed,
}

/// Reads one request; what follows it stays in `head`.
fn next_request(stream: &mut TcpStream, head: &mut Vec<u8>) -> Option<Request> {
    let mut buffer = [0; 1024];
    loop {
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            let request = parse(&head[..end]);
            head.drain(..end + 4);
            return Some(request);
        }
        if head.len() > REQUEST_LEN_MAX {
            return Some(Request::Malformed);
        }
        match stream.read(&mut buffer) {
            Ok(0) => return None,
            Ok(count) => head.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

fn parse(head: &[u8]) -> Request {
    let Ok(text) = std::str::from_utf8(head) else { return Request::Malformed };
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some("GET"), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Request::Malformed;
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if path != "/prices" {
        return Request::Elsewhere;
    }
    let known = query.split('&').find_map(|pair| pair.strip_prefix("generation=")).map(str::parse);
    let keep = !lines.any(|line| line.to_ascii_lowercase().replace(' ', "") == "connection:close");
    match known.transpose() {
        Ok(known) => Request::Prices { known, keep },
        Err(_) => Request::Malformed,
    }
}

fn answer(status: &str, body: &str, keep: bool) -> Vec<u8> {
    let connection = if keep { "keep-alive" } else { "close" };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n\
         {body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new generation every 100 ms.
    struct Ticks;

    impl Source for Ticks {
        fn at(&self, elapsed: Duration) -> (u64, String, Option<Duration>) {
            let generation = (elapsed.as_millis() / 100) as u64;
            (generation, generation.to_string(), Some(Duration::from_millis(100 * (generation + 1))))
        }
    }

    fn ask(stream: &mut TcpStream, request: &str) -> String {
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = Vec::new();
        let mut byte = [0];
        loop {
            if stream.read(&mut byte).unwrap() == 0 {
                break;
            }
            text.push(byte[0]);
            let so_far = String::from_utf8_lossy(&text);
            if let Some((head, body)) = so_far.split_once("\r\n\r\n") {
                let len = head.split("Content-Length: ").nth(1).unwrap().split("\r\n").next().unwrap();
                if body.len() == len.parse::<usize>().unwrap() {
                    break;
                }
            }
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn one_client_too_many_is_told_to_come_again() {
        let service = Metadata::start(Ticks).unwrap();
        let connect = || TcpStream::connect(("127.0.0.1", service.port())).unwrap();
        // They are accepted in their order, and each keeps its place by saying nothing.
        let silent: Vec<TcpStream> = (0..CLIENTS_MAX).map(|_| connect()).collect();
        let mut text = [0; 12];
        connect().read_exact(&mut text).unwrap();
        assert_eq!(&text, b"HTTP/1.1 503");
        drop(silent);
    }

    #[test]
    fn a_client_waits_for_other_prices_on_one_connection() {
        let service = Metadata::start(Ticks).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", service.port())).unwrap();
        let first = ask(&mut stream, "GET /prices HTTP/1.1\r\nHost: x\r\n\r\n");
        let generation: u64 = first.split("\r\n\r\n").nth(1).unwrap().parse().unwrap();
        let known = format!("GET /prices?generation={generation} HTTP/1.1\r\nConnection: close\r\n\r\n");
        let next = ask(&mut stream, &known);
        assert!(next.contains("Connection: close"));
        assert!(next.split("\r\n\r\n").nth(1).unwrap().parse::<u64>().unwrap() > generation);
        for (request, status) in [("GET / HTTP/1.1\r\n\r\n", "404"), ("PUT /prices HTTP/1.1\r\n\r\n", "400")]
        {
            let mut stream = TcpStream::connect(("127.0.0.1", service.port())).unwrap();
            assert!(ask(&mut stream, request).starts_with(&format!("HTTP/1.1 {status}")));
        }
    }

    /// One generation for ever.
    struct Still;

    impl Source for Still {
        fn at(&self, _elapsed: Duration) -> (u64, String, Option<Duration>) {
            (1, "1".into(), None)
        }
    }

    #[test]
    fn the_end_of_the_service_ends_a_question_that_is_held() {
        let service = Metadata::start(Still).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", service.port())).unwrap();
        stream.set_read_timeout(Some(WAIT_MAX / 2)).unwrap();
        // The first answer shows that the connection is served; the second question is held.
        ask(&mut stream, "GET /prices HTTP/1.1\r\n\r\n");
        stream.write_all(b"GET /prices?generation=1 HTTP/1.1\r\n\r\n").unwrap();
        drop(service);
        assert_eq!(stream.read(&mut [0; 64]).unwrap(), 0, "it ends, without an answer");
    }

    /// A generation that is set by hand.
    #[derive(Clone, Default)]
    struct Set(Arc<AtomicU64>);

    impl Source for Set {
        fn at(&self, _elapsed: Duration) -> (u64, String, Option<Duration>) {
            let generation = self.0.load(Ordering::SeqCst);
            (generation, format!("<{generation}>"), None)
        }
    }

    #[test]
    fn whoever_has_news_answers_each_question_once() {
        let source = Set::default();
        let service = Metadata::start(source.clone()).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", service.port())).unwrap();
        stream.set_read_timeout(Some(WAIT_MAX / 2)).unwrap();
        assert!(ask(&mut stream, "GET /prices HTTP/1.1\r\n\r\n").ends_with("<0>"));
        for generation in 1..=200 {
            let question = format!("GET /prices?generation={} HTTP/1.1\r\n\r\n", generation - 1);
            let mut asking = stream.try_clone().unwrap();
            let asked = std::thread::spawn(move || ask(&mut asking, &question));
            // Sometimes the question is held by now, sometimes it is on its way, or its thread is not asleep again.
            if generation % 2 == 0 {
                while service.shared.asleep.lock().unwrap().is_empty() {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
            source.0.store(generation, Ordering::SeqCst);
            service.wake();
            service.wake();
            let said = asked.join().unwrap();
            assert!(said.ends_with(&format!("\r\n\r\n<{generation}>")), "{said}");
        }
        // Nothing was said twice: what comes next is the next answer.
        let last = ask(&mut stream, "GET /prices HTTP/1.1\r\nConnection: close\r\n\r\n");
        assert!(last.starts_with("HTTP/1.1 200") && last.ends_with("<200>"));
        assert_eq!(stream.read(&mut [0; 64]).unwrap(), 0);
        assert!(service.shared.asleep.lock().unwrap().is_empty());
    }

    #[test]
    fn what_a_client_does_not_take_is_left_to_its_thread() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let source = Set::default();
        let held = |stream: &TcpStream| Held {
            number: 0,
            stream: stream.try_clone().unwrap(),
            known: 0,
            keep: true,
            answer: None,
        };
        let mut first = held(&stream);
        first.answer(&source, Duration::ZERO);
        assert_eq!(first.answer, None, "there is no news");
        source.0.store(7, Ordering::SeqCst);
        first.answer(&source, Duration::ZERO);
        let (bytes, sent) = first.answer.clone().unwrap();
        let mut heard = vec![0; bytes.len()];
        client.read_exact(&mut heard).unwrap();
        assert!(sent == bytes.len() && heard == bytes && bytes.ends_with(b"<7>"));
        // Its answers are not read until nothing fits any more.
        stream.set_nonblocking(true).unwrap();
        while (&stream).write(&[0; 65536]).is_ok() {}
        stream.set_nonblocking(false).unwrap();
        let mut second = held(&stream);
        second.answer(&source, Duration::ZERO);
        let (bytes, sent) = second.answer.unwrap();
        assert!(sent < bytes.len(), "{sent} of {} bytes", bytes.len());
    }

    #[test]
    fn strange_requests_are_refused() {
        let keep = true;
        assert_eq!(parse(b"GET /prices HTTP/1.1"), Request::Prices { known: None, keep });
        assert_eq!(parse(b"GET /prices?a=b&generation=7 HTTP/1.1"), Request::Prices { known: Some(7), keep });
        assert_eq!(parse(b"GET /prices?generation=-7 HTTP/1.1"), Request::Malformed);
        assert_eq!(parse(b"GET /prices  HTTP/1.1"), Request::Malformed);
        let once = Request::Prices { known: None, keep: false };
        assert_eq!(parse(b"GET /prices HTTP/1.1\r\nconnection: Close"), once);
        assert_eq!(parse(b"\xff"), Request::Malformed);
    }
}

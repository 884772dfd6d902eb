//! Feeds over TLS: OpenSSL's own server with certificates that an authority of the test's making has signed. Good ones
//! are believed and their prices reach the board; whatever is wrong is one clear line, and no price is published.

mod common;

use common::Daemon;
use nom_linux_board::Reader;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

const DEADLINE: Duration = Duration::from_secs(60);

/// Certificates, and what a server hands out.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const SIGNED_FOR: &str = "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n";
const AUTHORITY: &str = "[ca]\ndefault_ca=x\n[x]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\n\
                         policy=p\nx509_extensions=e\n[p]\ncommonName=supplied\n[e]\n";

impl Place {
    /// An authority, a server's certificate for localhost, and one that has run out. None without OpenSSL.
    fn new(name: &str) -> Option<Self> {
        if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
            println!("SKIPPED: openssl is absent");
            return None;
        }
        let path = std::env::temp_dir().join(format!("nom-tls-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let place = Self(path);
        place.write("authority.conf", &format!("{AUTHORITY}{SIGNED_FOR}"));
        place.write("index", "");
        place.write("serial", "01\n");
        let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        place.openssl(&format!(
            "req -x509 {new_key} -keyout ca.key -out ca.pem -subj /CN=nom-test -days 2 \
             -addext basicConstraints=critical,CA:TRUE"
        ));
        place.openssl(&format!("req {new_key} -keyout server.key -out server.csr -subj /CN=localhost"));
        let sign = "ca -batch -config authority.conf -cert ca.pem -keyfile ca.key -in server.csr -notext";
        place.openssl(&format!("{sign} -out server.pem -days 2"));
        place.write("index", "");
        place.openssl(&format!("{sign} -out old.pem -startdate 20200101000000Z -enddate 20210101000000Z"));
        Some(place)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).unwrap();
    }

    fn openssl(&self, words: &str) {
        let output =
            Command::new("openssl").args(words.split_whitespace()).current_dir(&self.0).output().unwrap();
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// What a server answers to a question for this path.
    fn answer(&self, path: &str, status: &str, body: &str) {
        let head =
            format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        self.write(path, &(head + body));
    }

    fn serve(&self, certificate: &str, more: &[&str]) -> Server {
        Server::start(&self.0, certificate, more)
    }
}

/// OpenSSL's server, which hands out files as they are.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(place: &Path, certificate: &str, more: &[&str]) -> Self {
        let mut child = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-HTTP", "-cert", certificate, "-key", "server.key"])
            .args(more)
            .current_dir(place)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let port = loop {
            let mut line = String::new();
            assert!(out.read_line(&mut line).unwrap() > 0, "openssl s_server did not start");
            if let Some(address) = line.trim().strip_prefix("ACCEPT 127.0.0.1:") {
                break address.parse().unwrap();
            }
        };
        // Somebody has to read what it says, or it stops.
        thread::spawn(move || out.read_to_end(&mut Vec::new()));
        Self { child, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A daemon, and what it says.
struct Asking {
    daemon: Daemon,
    said: Receiver<String>,
}

impl Asking {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let mut daemon = Daemon::start(name, arguments);
        let errors = BufReader::new(daemon.child.stderr.take().unwrap());
        let (say, said) = mpsc::channel();
        thread::spawn(move || errors.lines().map_while(Result::ok).try_for_each(|line| say.send(line)));
        Self { daemon, said }
    }

    fn hears(&self, what: &str) {
        self.hears_one(&[what]);
    }

    fn hears_one(&self, of: &[&str]) {
        let line = self.said.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("nothing about {of:?}"));
        assert!(of.iter().any(|what| line.contains(what)), "{line:?} instead of {of:?}");
        assert_eq!(self.generation(), 0, "a price was published");
    }

    fn generation(&self) -> u64 {
        let board = Reader::open(&self.daemon.board()).ok().and_then(|reader| reader.read().ok());
        board.map_or(0, |prices| prices.generation)
    }

    fn publishes(&self) {
        let start = Instant::now();
        while self.generation() == 0 {
            let said: Vec<String> = self.said.try_iter().collect();
            assert!(start.elapsed() < DEADLINE && said.is_empty(), "nothing was published: {said:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn prices() -> String {
    let unix_ns = UNIX_EPOCH.elapsed().unwrap().as_nanos();
    format!(
        r#"{{"generation":1,"provider_unix_ns":{unix_ns},"prices":{{"bandwidth":"2 $/Gbit"}},"valid_s":3600}}"#
    )
}

#[test]
fn prices_over_tls_reach_the_board() {
    let Some(place) = Place::new("good") else { return };
    place.answer("prices", "200 OK", &prices());
    for version in ["-tls1_2", "-tls1_3"] {
        let server = place.serve("server.pem", &[version]);
        let url = format!("https://localhost:{}/prices", server.port);
        let asking = Asking::start(&format!("tls{version}"), &["--url", &url, "--ca", &place.file("ca.pem")]);
        asking.publishes();
        let prices = Reader::open(&asking.daemon.board()).unwrap().read().unwrap();
        assert_eq!(prices.rates[0].unwrap().atto_per_unit, 16_000_000_000);
    }
    // Many records: a day of prices that is longer than one of them.
    let now_s = UNIX_EPOCH.elapsed().unwrap().as_secs();
    let hours: Vec<String> =
        (0..2_000).map(|hour| (now_s - now_s % 3600 - 7200 + hour * 3600).to_string()).collect();
    let price = vec!["100.0"; hours.len()].join(",");
    let body = format!(r#"{{"unix_seconds":[{}],"price":[{price}],"unit":"EUR / MWh"}}"#, hours.join(","));
    place.answer("day", "200 OK", &body);
    let server = place.serve("server.pem", &[]);
    let feed = format!("day-ahead https://localhost:{}/day watts=1000 convert=EUR:1.2", server.port);
    Asking::start("tls-day", &["--feed", &feed, "--ca", &place.file("ca.pem")]).publishes();
}

#[test]
fn a_certificate_that_is_not_believed_is_one_line_and_no_price() {
    let Some(place) = Place::new("bad") else { return };
    place.answer("prices", "200 OK", &prices());
    let authority = place.file("ca.pem");
    let good = place.serve("server.pem", &[]);
    let url = format!("https://localhost:{}/prices", good.port);
    if Path::new("/etc/ssl/certs/ca-certificates.crt").exists() {
        let stranger = Asking::start("tls-stranger", &["--url", &url]);
        stranger.hears("the certificate of localhost is refused: nobody whom we believe has signed it");
    }
    let address = format!("https://127.0.0.1:{}/prices", good.port);
    let other = Asking::start("tls-name", &["--url", &address, "--ca", &authority]);
    other.hears("the certificate of 127.0.0.1 is refused: it is for another name");
    let old = place.serve("old.pem", &[]);
    let url = format!("https://localhost:{}/prices", old.port);
    let late = Asking::start("tls-old", &["--url", &url, "--ca", &authority]);
    late.hears("the certificate of localhost is refused: it has run out");
}

#[test]
fn whoever_sends_elsewhere_or_says_too_much_is_refused() {
    let Some(place) = Place::new("elsewhere") else { return };
    let authority = place.file("ca.pem");
    let server = place.serve("server.pem", &[]);
    place.answer("moved", "301 Moved Permanently", "");
    place.answer("large", "200 OK", &" ".repeat(20_000));
    place.write("cut", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"generation\":1");
    for (path, what) in [
        ("moved", "status 301: nobody is sent elsewhere"),
        ("large", "longer than allowed"),
        ("cut", "closed before it had answered"),
    ] {
        let url = format!("https://localhost:{}/{path}", server.port);
        Asking::start(path, &["--url", &url, "--ca", &authority]).hears(what);
    }
}

/// Takes one connection after the other, reads a little, says this, and hangs up.
fn says(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer);
        }
    });
    port
}

#[test]
fn whoever_does_not_speak_tls_and_whoever_is_not_there_is_named() {
    let Some(place) = Place::new("none") else { return };
    let authority = place.file("ca.pem");
    for (name, answer, what) in [
        ("plain", &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "does not speak TLS"),
        ("mute", b"", "ended before TLS was agreed on"),
    ] {
        let url = format!("https://localhost:{}/prices", says(answer));
        Asking::start(name, &["--url", &url, "--ca", &authority]).hears(what);
    }
    // A resolver that is not there may take longer than a connection may.
    let nowhere =
        Asking::start("nowhere", &["--url", "https://no-such-host.invalid/prices", "--ca", &authority]);
    nowhere.hears_one(&["no-such-host.invalid has no address", "takes too long"]);
}

#[test]
fn authorities_that_cannot_be_read_end_it_at_once() {
    let Some(place) = Place::new("authorities") else { return };
    place.write("empty.pem", "");
    for (file, what) in [("nowhere.pem", "nowhere.pem: "), ("empty.pem", "no certificate of an authority")] {
        let output = Command::new(env!("CARGO_BIN_EXE_nom-priced-linux"))
            .args(["--url", "https://localhost:1/", "--ca", &place.file(file), "--board"])
            .arg(place.0.join("board"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(what) && said.lines().count() == 1, "{said}");
    }
}

//! The same bytes to nginx and to us: answers differ only where the table says so, and why.

use super::started::{PATIENCE, Place, Process, ask, find, wait_until};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

/// nginx, ended with the test.
struct Nginx {
    child: Child,
    address: SocketAddr,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Nginx {
    fn start(place: &Place) -> Option<Self> {
        let Some(program) = find("nginx") else {
            println!("SKIPPED: nginx is absent (Debian: nginx-core)");
            return None;
        };
        let own = place.0.display();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let text = format!(
            "daemon off; master_process off; pid {own}/nginx.pid; error_log {own}/error.log;\n\
             events {{ worker_connections 64; }}\n\
             http {{ types {{ text/html html; text/plain txt; }} access_log off; gzip_static on; charset utf-8;\n\
             client_body_temp_path {own}/a; proxy_temp_path {own}/b; fastcgi_temp_path {own}/c;\n\
             uwsgi_temp_path {own}/d; scgi_temp_path {own}/e;\n\
             server {{ listen 127.0.0.1:{port}; root {own}/content; }} }}\n"
        );
        let file = place.0.join("nginx.conf");
        fs::write(&file, text).unwrap();
        let mut command = Command::new(program);
        command.arg("-c").arg(file).arg("-p").arg(&place.0).stdin(Stdio::null()).stderr(Stdio::null());
        let mut nginx = Self { child: command.spawn().unwrap(), address: (Ipv4Addr::LOCALHOST, port).into() };
        let mut ended = false;
        wait_until("nginx listens", || {
            ended = nginx.child.try_wait().unwrap().is_some();
            ended || TcpStream::connect_timeout(&nginx.address, PATIENCE).is_ok()
        });
        if ended {
            println!("SKIPPED: nginx does not start here");
            return None;
        }
        Some(nginx)
    }
}

/// What is compared: the status, and of what was answered well the parts that a client relies on.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    fields: Vec<(String, String)>,
    content: Option<Vec<u8>>,
}

/// Fields that mean the same whoever says them.
const COMPARED: [&str; 4] = ["content-length", "content-range", "last-modified", "content-encoding"];

fn answer(bytes: &[u8]) -> Answer {
    let Some(end) = bytes.windows(4).position(|place| place == b"\r\n\r\n") else {
        return Answer { status: 0, fields: Vec::new(), content: None };
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let good = matches!(status, 200 | 206);
    let multipart = head.contains("multipart/byteranges");
    let mut fields: Vec<(String, String)> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_string()))
        .filter(|(name, _)| COMPARED.contains(&name.as_str()) && (good || name == "content-range"))
        // Its length follows from how parts are separated.
        .filter(|(name, _)| !(multipart && name == "content-length"))
        .collect();
    fields.sort();
    let content = (good && !multipart).then(|| bytes[end + 4..].to_vec());
    Answer { status, fields, content }
}

/// Requests as they are sent, with `Host` and an end where they have none.
const SAME: &[&str] = &[
    "GET / HTTP/1.1",
    "GET /index.html HTTP/1.1",
    "GET /large.txt HTTP/1.1",
    "GET /empty.txt HTTP/1.1",
    "GET /a%20b.txt HTTP/1.1",
    "GET /folder HTTP/1.1",
    "GET /folder/ HTTP/1.1",
    "GET /none HTTP/1.1",
    "GET //folder///index.html HTTP/1.1",
    "GET /folder/../index.html HTTP/1.1",
    "GET /folder/%2e%2e/index.html HTTP/1.1",
    "GET /folder/./index.html?query=/../.. HTTP/1.1",
    "GET /../index.html HTTP/1.1",
    "GET /%00 HTTP/1.1",
    "GET /%zz HTTP/1.1",
    "GET http://x/index.html HTTP/1.1",
    "HEAD / HTTP/1.1",
    "HEAD /none HTTP/1.1",
    "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "DELETE / HTTP/1.1",
    "PUT / HTTP/1.1\r\nContent-Length: 0",
    "TRACE / HTTP/1.1",
    "GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
    "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "GET /large.txt HTTP/1.1\r\nRange: bytes=0-0",
    "GET /large.txt HTTP/1.1\r\nRange: bytes=100-",
    "GET /large.txt HTTP/1.1\r\nRange: bytes=-1",
    "GET /large.txt HTTP/1.1\r\nRange: bytes=-300000",
    "GET /large.txt HTTP/1.1\r\nRange: bytes=-300001",
    "GET /large.txt HTTP/1.1\r\nRange: bytes=299999-300001",
    "GET /large.txt HTTP/1.1\r\nRange: bytes=300000-",
    "GET /large.txt HTTP/1.1\r\nRange: bytes=0-1,5-9",
    "GET /large.txt HTTP/1.1\r\nRange: bytes=0-1,400000-",
    "GET /large.txt HTTP/1.1\r\nRange: bytes=0-299999,0-299999",
    "GET /large.txt HTTP/1.1\r\nRange: lines=0-1",
    "GET /large.txt HTTP/1.1\r\nRange: bytes=0-9\r\nIf-Range: \"x\"",
    "GET /large.txt HTTP/1.1\r\nRange: bytes=0-9\r\nIf-Range: Tue, 14 Nov 2023 22:13:20 GMT",
    "GET /large.txt HTTP/1.1\r\nRange: bytes=0-9\r\nIf-Range: Tue, 14 Nov 2023 22:13:21 GMT",
    "GET / HTTP/1.1\r\nIf-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT",
    "GET / HTTP/1.1\r\nIf-Modified-Since: Tue, 14 Nov 2023 22:13:19 GMT",
    "GET / HTTP/1.1\r\nIf-Modified-Since: nonsense",
    "GET / HTTP/1.1\r\nIf-Modified-Since: Tuesday, 14-Nov-23 22:13:20 GMT",
    "GET / HTTP/1.1\r\nIf-Modified-Since: Tue Nov 14 22:13:20 2023",
    "GET / HTTP/1.1\r\nIf-Unmodified-Since: Tue, 14 Nov 2023 22:13:20 GMT",
    "GET / HTTP/1.1\r\nIf-Unmodified-Since: Tue, 14 Nov 2023 22:13:19 GMT",
    "GET / HTTP/1.1\r\nIf-None-Match: *",
    "GET / HTTP/1.1\r\nIf-None-Match: \"x\"",
    "GET / HTTP/1.1\r\nIf-None-Match: \"x\"\r\nIf-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT",
    "GET / HTTP/1.1\r\nIf-Match: *",
    "GET / HTTP/1.1\r\nIf-Match: \"x\"",
    "GET / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "GET / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET / HTTP/1.1\r\nContent-Length: x",
    "GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: y",
    "GET / HTTP/1.1\r\nX : y",
    "GET / HTTP/1.0",
    "GET / HTTP/2.0",
    "GET / HTTP/1.1\r\nX: \0",
    "G@T / HTTP/1.1",
    "GET / HTTP/1.1\r\nX: y\r\n z\r\n\r\n",
    "GET / HTTP/1.1\r\nX y: z",
];

/// The same, where we answer differently: our status, theirs, and why.
const DIFFERENT: &[(&str, u16, u16, &str)] = &[
    ("HEAD /large.txt HTTP/1.1\r\nRange: bytes=0-9", 200, 206, "a range is for GET alone (RFC 9110, 14.2)"),
    ("OPTIONS / HTTP/1.1", 204, 405, "what may be asked for is told"),
    ("OPTIONS * HTTP/1.1", 204, 400, "the same of the server as a whole"),
    ("BREW / HTTP/1.1", 501, 405, "a method that nobody knows is not implemented (RFC 9110, 9.1)"),
    (
        "GET / HTTP/1.1\r\nExpect: coffee",
        417,
        200,
        "RFC 9110, 10.1.1 allows either; we say that we do not know it",
    ),
    (
        "GET / HTTP/1.1\r\nIf-Modified-Since: Tue, 14 Nov 2023 22:13:21 GMT",
        304,
        200,
        "nginx wants the exact date",
    ),
    ("GET /empty.txt HTTP/1.1\r\nRange: bytes=0-", 416, 200, "nothing of it is there (RFC 9110, 14.1.2)"),
    (
        "GET /large.txt HTTP/1.1\r\nRange: bytes=5-1",
        200,
        416,
        "a malformed range is ignored (RFC 9110, 14.2)",
    ),
    ("GET /large.txt HTTP/1.1\r\nRange: bytes=a-b", 200, 416, "the same"),
    ("GET / HTTP/1.1\r\nX: y\n\r\n", 400, 200, "a line ends with CR LF and nothing else here"),
    ("GET  / HTTP/1.1", 400, 200, "one blank separates (RFC 9112, 3)"),
    (
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
        400,
        200,
        "a blank behind a chunk's size",
    ),
    (
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nbad\r\n\r\n",
        400,
        200,
        "a trailer that is no field",
    ),
    ("GET http://y/ HTTP/1.1", 400, 200, "a target for another host than `Host`"),
    ("get / HTTP/1.1", 501, 400, "methods are tokens in any letters, and this one is unknown"),
];

fn request(short: &str) -> Vec<u8> {
    let (line, rest) = short.split_once("\r\n").unwrap_or((short, ""));
    let end = if rest.contains("\r\n\r\n") || rest.ends_with("\n\r\n") { "" } else { "\r\n\r\n" };
    let fields = if rest.is_empty() { String::new() } else { format!("\r\n{rest}") };
    format!("{line}\r\nHost: x\r\nConnection: close{fields}{end}").into_bytes()
}

#[test]
fn answers_are_those_of_nginx_but_for_a_table() {
    let Some(process) = Process::start("peer", "web.headers = full\n") else { return };
    let Some(nginx) = Nginx::start(&process.place) else { return };
    let both = |short: &str| {
        let request = request(short);
        (answer(&ask(process.address, &request)), answer(&ask(nginx.address, &request)))
    };
    let mut wrong = Vec::new();
    for short in SAME {
        let (ours, theirs) = both(short);
        if ours != theirs {
            let brief = |answer: &Answer| format!("{} {:?}", answer.status, answer.fields);
            wrong.push(format!("{short:?}: ours {}, nginx {}", brief(&ours), brief(&theirs)));
        }
    }
    for (short, ours, theirs, why) in DIFFERENT {
        let (our_answer, their_answer) = both(short);
        if (our_answer.status, their_answer.status) != (*ours, *theirs) {
            wrong.push(format!(
                "{short:?}: ours {}, nginx {} ({why})",
                our_answer.status, their_answer.status
            ));
        }
    }
    assert!(wrong.is_empty(), "{} differ otherwise:\n{}", wrong.len(), wrong.join("\n"));
}

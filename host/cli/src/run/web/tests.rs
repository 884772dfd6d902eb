use super::*;
use std::io::Read;
use std::time::Instant;

fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(request).unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

fn get(address: SocketAddr, path: &str) -> String {
    ask(address, format!("GET {path} HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", address.port()).as_bytes())
}

fn web() -> Web {
    Web::start(address("").unwrap()).unwrap()
}

#[test]
fn the_page_is_complete_in_itself() {
    let web = web();
    let page = get(web.address, "/");
    assert!(
        page.starts_with("HTTP/1.1 200 OK\r\n")
            && page.contains("Content-Security-Policy: default-src 'none'")
    );
    assert!(page.ends_with("</html>\n"));
    // What would be loaded from elsewhere; the name of SVG's elements is none of it.
    let (_, body) = page.split_once("\r\n\r\n").unwrap();
    let body = body.replace("http://www.w3.org/2000/svg", "");
    for word in ["http:", "https:", "//cdn", "@import", "src=", "innerHTML"] {
        assert!(!body.contains(word), "{word}");
    }
    assert!(!ask(web.address, b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n").contains("<html"));
}

#[test]
fn every_snapshot_reaches_a_stream_until_the_end() {
    let web = web();
    assert!(get(web.address, "/snapshot.json").starts_with("HTTP/1.1 503"));
    let now = Snapshot { service: "kv <b>\"1\"\n".into(), operations_per_s: f64::NAN, ..Snapshot::default() };
    web.show(&now);
    let snapshot = get(web.address, "/snapshot.json");
    let (_, body) = snapshot.split_once("\r\n\r\n").unwrap();
    let value: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (value["service"].as_str(), value["operations_per_s"].is_null()),
        (Some("kv <b>\"1\"\n"), true)
    );

    let mut stream = TcpStream::connect(web.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
    let mut said = String::new();
    let mut bytes = [0; 4096];
    let mut until = |word: &str| {
        while !said.contains(word) {
            let len = stream.read(&mut bytes).unwrap();
            assert!(len > 0, "it ended before {word}: {said}");
            said.push_str(&String::from_utf8_lossy(&bytes[..len]));
        }
    };
    until("\"service\":\"kv <b>");
    web.show(&Snapshot { service: "the second".into(), ..Snapshot::default() });
    until("the second");
    drop(web);
    until("event: end");
    // One line each: a service cannot make an event of its own.
    let data: Vec<&str> = said.lines().filter(|line| line.starts_with("data: {")).collect();
    assert_eq!(data.len(), 2, "{said}");
    assert!(data.iter().all(|line| serde_json::from_str::<serde_json::Value>(&line[6..]).is_ok()));
}

#[test]
fn hostile_requests_are_refused() {
    let web = web();
    let cases: [(&[u8], &str); 12] = [
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "403"),
        (b"GET / HTTP/1.1\r\nHost: localhost.evil.example:80\r\n\r\n", "403"),
        (b"GET / HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n", "403"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", "403"),
        (b"GET / HTTP/1.1\r\n\r\n", "403"),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", "405"),
        (b"GET /../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", "404"),
        (b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", "404"),
        (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", "400"),
        (b"\r\n\r\n", "400"),
        (b"\xff\xfe\r\n\r\n", "400"),
        (b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"),
    ];
    for (request, status) in cases {
        let said = ask(web.address, request);
        let shown = String::from_utf8_lossy(request);
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{shown}: {said}");
        assert!(!said.contains("<html"), "{shown}");
    }
    let long = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'a'; HEAD_LEN_MAX + 1024]].concat();
    assert!(ask(web.address, &long).starts_with("HTTP/1.1 400"));
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1:65535", "127.1.2.3", "[::1]:80"] {
        assert!(is_loopback(host), "{host}");
    }
    for host in ["", "localhost:", "localhost:x", "[::1", "0.0.0.0", "localhost:70000", "127.0.0.1.evil"] {
        assert!(!is_loopback(host), "{host}");
    }
}

#[test]
fn too_many_are_told_to_come_again() {
    let web = web();
    // Whoever waits without asking holds a place.
    let mut held: Vec<TcpStream> =
        (0..CLIENTS_MAX).map(|_| TcpStream::connect(web.address).unwrap()).collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    while web.shared.clients.load(Ordering::SeqCst) < CLIENTS_MAX {
        // Those whose patience ended on a busy machine are asked again.
        assert!(Instant::now() < deadline, "the places were never full");
        std::thread::sleep(Duration::from_millis(2));
        held.truncate(CLIENTS_MAX * 4);
        held.push(TcpStream::connect(web.address).unwrap());
    }
    drop(held);
    // Places are free again once their holders are gone.
    let deadline = Instant::now() + Duration::from_secs(60);
    while web.shared.clients.load(Ordering::SeqCst) > 0 {
        assert!(Instant::now() < deadline, "a place was never given back");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(get(web.address, "/").starts_with("HTTP/1.1 200"));
}

#[test]
fn an_address_is_one_of_the_loopback() {
    assert_eq!(address("").unwrap().to_string(), "127.0.0.1:0");
    assert_eq!(address("8081").unwrap().to_string(), "127.0.0.1:8081");
    assert_eq!(address("[::1]:8081").unwrap().to_string(), "[::1]:8081");
    for (typed, word) in
        [("0.0.0.0:80", "loopback"), ("10.0.0.1:80", "ssh -L"), ("x", "expected"), ("70000", "expected")]
    {
        assert!(address(typed).unwrap_err().to_string().contains(word), "{typed}");
    }
    let web = web();
    let busy = Web::start(web.address).unwrap_err().to_string();
    assert!(busy.contains("busy"), "{busy}");
}

//! Debian's own servers, unmodified, on the private stack; their clients are on Linux's TCP at the other end of a cable.

use nom_cable::{ADDRESS, CLIENT_ADDRESS, Cable, End, PREFIX_LEN, SERVER};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);

/// Beside the test's program, where cargo puts it.
fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folders = [test.parent().unwrap(), test.parent().unwrap().parent().unwrap()];
    let found = folders.iter().map(|folder| folder.join("libnom_sockets.so")).find(|file| file.exists());
    found.expect("the library was built with its test")
}

/// A server that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program at the server's end, on the private stack. `None` when it is not installed.
fn start(cable: &Cable, port: u16, program: &str, arguments: &[&str]) -> Option<Server> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command.env("LD_PRELOAD", library()).env("NOM_PORTS", port.to_string());
    command.env("NOM_INTERFACE", SERVER).env("NOM_ADDRESS", format!("{ADDRESS}/{PREFIX_LEN}"));
    match cable.spawn(End::Server, None, move || command.spawn()).unwrap().join().unwrap() {
        Ok(child) => Some(Server(child)),
        Err(error) => {
            println!("SKIPPED: {program}: {error}");
            None
        }
    }
}

/// A connection, as soon as somebody listens.
fn connect(port: u16) -> TcpStream {
    let start = Instant::now();
    loop {
        match TcpStream::connect_timeout(&SocketAddr::from((ADDRESS, port)), DEADLINE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                stream.set_write_timeout(Some(DEADLINE)).unwrap();
                return stream;
            }
            Err(error) => assert!(start.elapsed() < DEADLINE, "nobody listens: {error}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn ask(stream: &mut TcpStream, request: &[u8], answer: &[u8]) {
    stream.write_all(request).unwrap();
    let mut got = vec![0; answer.len()];
    stream.read_exact(&mut got).unwrap();
    assert!(got == answer, "{:?} instead of {:?}", head(&got), head(answer));
}

fn head(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned()
}

fn bytes(len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64).map(|i| ((i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect()
}

/// The kernel at the server's end knows of no listener on that port.
fn kernel_does_not_listen(cable: &Cable, port: u16) {
    let read = || fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
    let table = cable.spawn(End::Server, None, read).unwrap().join().unwrap();
    assert!(!table.contains(&format!(":{port:04X} ")), "{table}");
}

#[test]
fn memcached_with_threads_and_epoll_serves_on_the_private_stack() {
    let Some(cable) = Cable::try_lay() else { return };
    let port = 11_211;
    let options = ["-l", "0.0.0.0", "-p", "11211", "-U", "0", "-t", "3", "-u", "root", "-I", "4m"];
    let Some(_server) = start(&cable, port, "memcached", &options) else { return };
    // Values of every size, the last ones larger than all windows and buffers between.
    cable.clients(1, move || {
        let mut stream = connect(port);
        for (number, len) in [0, 1, 100, 1_460, 70_000, 1_000_000, 3_000_000].into_iter().enumerate() {
            let value = bytes(len, number as u64);
            let set = [format!("set key{number} 0 0 {len}\r\n").as_bytes(), &value, b"\r\n"].concat();
            ask(&mut stream, &set, b"STORED\r\n");
            let get = format!("get key{number}\r\n");
            let hit = [format!("VALUE key{number} 0 {len}\r\n").as_bytes(), &value, b"\r\nEND\r\n"].concat();
            ask(&mut stream, get.as_bytes(), &hit);
        }
        ask(&mut stream, b"quit\r\n", b"");
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "the connection is closed");
    });
    kernel_does_not_listen(&cable, port);
    // Many connections over several threads of the server, each with requests that follow without waiting.
    cable.clients(8, move || {
        let mut streams: Vec<TcpStream> = (0..10).map(|_| connect(port)).collect();
        for round in 0..20 {
            for stream in &mut streams {
                stream.write_all("get key2\r\nget none\r\n".repeat(round + 1).as_bytes()).unwrap();
            }
            for stream in &mut streams {
                let hit = [&b"VALUE key2 0 100\r\n"[..], &bytes(100, 2), b"\r\nEND\r\nEND\r\n"].concat();
                ask(stream, b"", &hit.repeat(round + 1));
            }
        }
    });
    // One that does not read, while others go on; then it reads everything.
    cable.clients(1, move || {
        let mut slow = connect(port);
        slow.write_all(&b"get key6\r\n".repeat(4)).unwrap();
        let mut other = connect(port);
        for _ in 0..100 {
            ask(&mut other, b"get none\r\n", b"END\r\n");
        }
        let hit = [&b"VALUE key6 0 3000000\r\n"[..], &bytes(3_000_000, 6), b"\r\nEND\r\n"].concat();
        ask(&mut slow, b"", &hit.repeat(4));
        // A sender that ends with everything on its way loses nothing.
        let value = bytes(2_000_000, 9);
        let mut last = connect(port);
        let set = [&b"set last 0 0 2000000 noreply\r\n"[..], &value, b"\r\nget last\r\n"].concat();
        last.write_all(&set).unwrap();
        last.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        last.read_to_end(&mut answer).unwrap();
        assert!(answer == [&b"VALUE last 0 2000000\r\n"[..], &value, b"\r\nEND\r\n"].concat());
    });
}

#[test]
fn nginx_with_edges_and_files_serves_on_the_private_stack() {
    let Some(cable) = Cable::try_lay() else { return };
    let folder = std::env::temp_dir().join(format!("nom-sockets-{}", std::process::id()));
    fs::create_dir_all(folder.join("www")).unwrap();
    let large = bytes(5_000_000, 3);
    fs::write(folder.join("www/large"), &large).unwrap();
    fs::write(folder.join("www/small"), "small\n").unwrap();
    let text = format!(
        "daemon off; master_process off; pid {0}/pid; error_log stderr;\n\
         events {{ use epoll; }}\n\
         http {{ log_format who $remote_addr; access_log {0}/log who; sendfile on; tcp_nopush on; client_body_temp_path {0}; proxy_temp_path {0};\n\
         fastcgi_temp_path {0}; uwsgi_temp_path {0}; scgi_temp_path {0};\n\
         server {{ listen 0.0.0.0:80; root {0}/www; }} }}\n",
        folder.display()
    );
    fs::write(folder.join("conf"), text).unwrap();
    let conf = folder.join("conf");
    let server = start(&cable, 80, "nginx", &["-c", conf.to_str().unwrap()]);
    if let Some(_server) = server {
        cable.clients(4, move || {
            let get = |path: &str| format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n");
            let mut stream = connect(80);
            for (path, content) in [("small", &b"small\n"[..]), ("large", &large), ("small", b"small\n")] {
                stream.write_all(get(path).as_bytes()).unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap();
                assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
                assert!(head.contains(&format!("Content-Length: {}\r\n", content.len())), "{head}");
                ask(&mut stream, b"", content);
            }
            let mut closing = connect(80);
            closing.write_all(b"GET /none HTTP/1.0\r\n\r\n").unwrap();
            let mut answer = String::new();
            closing.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        });
        kernel_does_not_listen(&cable, 80);
        let log = fs::read_to_string(folder.join("log")).unwrap();
        assert_eq!(log.lines().filter(|line| *line == CLIENT_ADDRESS.to_string()).count(), 16, "{log}");
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// What `GET` of a path answers, read to the end of the connection.
fn page(port: u16, path: &str) -> Vec<u8> {
    let mut stream = connect(port);
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nom-sockets-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn redis_with_epoll_and_pipelines_serves_on_the_private_stack() {
    let Some(cable) = Cable::try_lay() else { return };
    let port = 6_379;
    let options = ["--bind", "0.0.0.0", "--port", "6379", "--save", "", "--protected-mode", "no"];
    let Some(_server) = start(&cable, port, "redis-server", &options) else { return };
    cable.clients(4, move || {
        let mut stream = connect(port);
        ask(&mut stream, b"PING\r\n", b"+PONG\r\n");
        for (number, len) in [0, 1, 1_460, 70_000, 3_000_000].into_iter().enumerate() {
            let value = bytes(len, number as u64);
            let head = format!("*3\r\n$3\r\nSET\r\n$2\r\nk{number}\r\n${len}\r\n");
            ask(&mut stream, &[head.as_bytes(), &value, b"\r\n"].concat(), b"+OK\r\n");
            let hit = [format!("${len}\r\n").as_bytes(), &value, b"\r\n"].concat();
            ask(&mut stream, format!("GET k{number}\r\n").as_bytes(), &hit);
        }
        ask(&mut stream, &b"PING\r\n".repeat(2_000), &b"+PONG\r\n".repeat(2_000));
        ask(&mut stream, b"QUIT\r\n", b"+OK\r\n");
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "the connection is closed");
    });
    // One that waits for what another one says.
    cable.clients(1, move || {
        let (mut listening, mut speaking) = (connect(port), connect(port));
        ask(&mut listening, b"SUBSCRIBE news\r\n", b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
        ask(&mut speaking, b"PUBLISH news hello\r\n", b":1\r\n");
        ask(&mut listening, b"", b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n");
    });
    kernel_does_not_listen(&cable, port);
}

#[test]
fn lighttpd_with_poll_serves_on_the_private_stack() {
    let Some(cable) = Cable::try_lay() else { return };
    let folder = Folder::new("lighttpd");
    let large = bytes(3_000_000, 5);
    fs::write(folder.0.join("large"), &large).unwrap();
    let text = format!(
        "server.document-root = \"{0}\"\nserver.port = 8088\nserver.bind = \"0.0.0.0\"\n\
         server.event-handler = \"poll\"\nserver.upload-dirs = (\"{0}\")\n",
        folder.0.display()
    );
    let conf = folder.0.join("conf");
    fs::write(&conf, text).unwrap();
    let options = ["-D", "-f", conf.to_str().unwrap()];
    let Some(_server) = start(&cable, 8088, "lighttpd", &options) else { return };
    cable.clients(4, move || {
        let answer = page(8088, "/large");
        let head = head(&answer);
        assert!(head.starts_with("HTTP/1.0 200 OK"), "{head}");
        assert!(answer.ends_with(&large), "{} bytes came", answer.len());
        assert!(page(8088, "/none").starts_with(b"HTTP/1.0 404"));
    });
    kernel_does_not_listen(&cable, 8088);
}

/// A thread for each connection, which reads until the other side has sent everything and only then answers.
const HALVES: &str = "
import socket, threading
def serve(stream):
    got = b''
    while True:
        piece = stream.recv(50000)
        if not piece: break
        got += piece
    stream.sendall(str(len(got)).encode() + b'\\n' + got)
    stream.shutdown(socket.SHUT_WR)
    stream.close()
listener = socket.create_server(('0.0.0.0', 4000), backlog=50)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
";

#[test]
fn python_with_threads_and_halves_that_close_serves_on_the_private_stack() {
    let Some(cable) = Cable::try_lay() else { return };
    let Some(_server) = start(&cable, 4000, "/usr/bin/python3", &["-c", HALVES]) else { return };
    cable.clients(8, || {
        for (seed, len) in [(1, 0), (2, 5), (3, 400_000), (4, 2_000_000)] {
            let sent = bytes(len, seed);
            let mut stream = connect(4000);
            stream.write_all(&sent).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            assert!(answer == [format!("{len}\n").as_bytes(), &sent].concat(), "{len}: {}", head(&answer));
        }
    });
    kernel_does_not_listen(&cable, 4000);
}

/// Accepts when there is no free number, and again when there is one.
const TIGHT: &str = "
import os, resource, socket
listener = socket.create_server(('0.0.0.0', 4100), backlog=5)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
free = os.dup(0)
os.close(free)
resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
refused = 0
try:
    listener.accept()
except OSError as error:
    refused = error.errno
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
stream = listener.accept()[0]
stream.sendall(str(refused).encode())
stream.close()
";

#[test]
fn a_program_without_a_free_number_accepts_the_same_client_later() {
    let Some(cable) = Cable::try_lay() else { return };
    let Some(_server) = start(&cable, 4100, "/usr/bin/python3", &["-c", TIGHT]) else { return };
    cable.clients(1, || {
        let mut answer = String::new();
        connect(4100).read_to_string(&mut answer).unwrap();
        assert_eq!(answer, libc::EMFILE.to_string());
    });
}

/// Ends without closing anything, as soon as all is written: as much as waits for the stack's thread without anybody waiting.
const LAST_WORDS: &str = "
import socket
stream = socket.create_server(('0.0.0.0', 4200)).accept()[0]
stream.sendall(bytes(250000))
";

#[test]
fn what_a_program_wrote_before_it_ended_arrives() {
    let Some(cable) = Cable::try_lay() else { return };
    let Some(mut server) = start(&cable, 4200, "/usr/bin/python3", &["-c", LAST_WORDS]) else { return };
    cable.clients(1, || {
        let mut stream = connect(4200);
        // More than there is room for on the way; the program is at its end before the rest goes.
        thread::sleep(Duration::from_millis(500));
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer == vec![0; 250_000], "{} bytes", answer.len());
    });
    assert!(server.0.wait().unwrap().success());
}

#[test]
fn the_web_server_of_python_serves_on_the_private_stack() {
    let Some(cable) = Cable::try_lay() else { return };
    let folder = Folder::new("python");
    let large = bytes(1_000_000, 8);
    fs::write(folder.0.join("large"), &large).unwrap();
    let options = ["-m", "http.server", "--bind", "0.0.0.0", "-d", folder.0.to_str().unwrap(), "8000"];
    let Some(_server) = start(&cable, 8000, "/usr/bin/python3", &options) else { return };
    cable.clients(6, move || {
        let answer = page(8000, "/large");
        assert!(answer.starts_with(b"HTTP/1.0 200 OK") && answer.ends_with(&large), "{}", head(&answer));
        assert!(page(8000, "/none").starts_with(b"HTTP/1.0 404"));
    });
    kernel_does_not_listen(&cable, 8000);
}

#[test]
fn a_program_that_is_told_wrongly_says_so_and_does_not_start() {
    let run = |variables: &[(&str, &str)]| {
        let mut command = Command::new("true");
        command.env("LD_PRELOAD", library()).envs(variables.iter().copied()).output().unwrap()
    };
    assert!(run(&[]).status.success(), "without ports nothing is taken over");
    let output =
        run(&[("NOM_PORTS", "80"), ("NOM_INTERFACE", "no-such-one"), ("NOM_ADDRESS", "10.0.0.9/24")]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("nom-sockets: ") && said.contains("no-such-one"),
        "{said}"
    );
}

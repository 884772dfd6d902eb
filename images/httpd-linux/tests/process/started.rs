//! A process that serves a folder.

use nom_linux_board::Publisher;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// Whoever manages it says this.
pub const TOKEN: &str = "00112233445566778899aabbccddeeff";
/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A directory that is removed with the test.
pub struct Place(pub PathBuf);

impl Place {
    /// With content, and a configuration that has these lines besides.
    pub fn new(name: &str, lines: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nom-httpd-{name}-{}", std::process::id()));
        let content = path.join("content");
        fs::create_dir_all(content.join("folder")).unwrap();
        let large: String = (0..300_000).map(|at: usize| char::from(b' ' + (at * 7 % 89) as u8)).collect();
        for (file, text) in [
            ("index.html", &large[..612]),
            ("175.html", &large[..175]),
            ("large.txt", &large),
            ("folder/index.html", "<p>a folder"),
            ("empty.txt", ""),
            ("a b.txt", "a blank"),
        ] {
            fs::write(content.join(file), text).unwrap();
            // Whole seconds, and a time that requests can name: 2023-11-14 22:13:20.
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            fs::File::options().write(true).open(content.join(file)).unwrap().set_modified(time).unwrap();
        }
        let configuration = format!(
            "listen = 80\naddress = 10.77.0.2/24\ngateway = 10.77.0.1\nweb.content = {}\ntuner = off\n\
             utility = simple\nvalue = 0.2 $/Mop\nlatency.limit = 5 ms\nwindow = 100 ms\ndrain.limit = 60 s\n\
             management.token = {TOKEN}\n{lines}",
            content.display()
        );
        fs::write(path.join("httpd.conf"), configuration).unwrap();
        Self(path)
    }

    /// A file of the content.
    pub fn content(&self, name: &str) -> PathBuf {
        self.0.join("content").join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process that serves; it is killed when a test fails half way.
pub struct Process {
    pub child: Child,
    /// Where clients connect.
    pub address: SocketAddr,
    pub place: Place,
    /// Where its prices are published.
    pub board: Publisher,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// `None` when this machine does not let us have a network of our own.
    pub fn start(name: &str, lines: &str) -> Option<Self> {
        Self::start_with(name, lines, &["access.log"])
    }

    /// The same, with these files for its access log: one, or none.
    pub fn start_with(name: &str, lines: &str, logs: &[&str]) -> Option<Self> {
        let place = Place::new(name, lines);
        let board = Publisher::create(&place.0.join("board")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_nom-httpd-linux"));
        command.arg("--config").arg(place.0.join("httpd.conf")).arg("--run").arg(&place.0);
        for log in logs {
            command.arg("--log").arg(place.0.join(log));
        }
        command.args(["--port", "0"]);
        command.arg("--board").arg(place.0.join("board"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(port) = line.trim().strip_prefix("ready port=") else {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            assert!(said.contains("namespace") || said.contains("/dev/net/tun"), "{line} {said}");
            println!("SKIPPED: {said}");
            let _ = child.wait();
            return None;
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().unwrap()));
        Some(Self { child, address, place, board })
    }

    /// Its management channel, as somebody who knows the token.
    pub fn management(&self) -> UnixStream {
        let mut stream = UnixStream::connect(self.place.0.join("management.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        writeln!(stream, "hello {TOKEN}").unwrap();
        stream
    }

    pub fn terminate(&self) {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// A connection whose waiting has an end.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything that is answered until the connection ends. The other side may end it before it has read all.
pub fn ask(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// Waits until something holds.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A program of this machine.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|file| Path::is_file(file))
}

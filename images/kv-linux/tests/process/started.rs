//! A process that serves, and the folder that it has.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Small and quick, without a tuner.
pub const CONFIGURATION: &str = "listen = 11211\naddress = 10.77.0.2/24\ngateway = 10.77.0.1\nmemory.items = 8 MiB\n\
                             utility = penalty\nvalue = 0.2 $/Mop\nlatency.limit = 5 ms\npenalty.factor = 100\n\
                             window = 100 ms\ntuner = off\nmanagement.token = 00112233445566778899aabbccddeeff\n";
/// Whoever manages it says this.
pub const TOKEN: &str = "00112233445566778899aabbccddeeff";

/// A directory that is removed with the test.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new(name: &str, configuration: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nom-kv-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("kv.conf"), configuration).unwrap();
        Self(path)
    }

    pub fn command(&self, port: u16) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nom-kv-linux"));
        command.arg("--config").arg(self.0.join("kv.conf")).arg("--run").arg(&self.0);
        command.arg("--ledger").arg(self.0.join("ledger"));
        command.args(["--port", &port.to_string()]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process that serves; it is killed when a test fails half way.
pub struct Process {
    pub child: Child,
    /// Where clients connect.
    pub address: SocketAddr,
    pub place: Place,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// `None` when this machine does not let us have a network of our own.
    pub fn start(name: &str) -> Option<Self> {
        Self::start_in(Place::new(name, CONFIGURATION))
    }

    /// The same with a configuration of the test's own.
    pub fn start_in(place: Place) -> Option<Self> {
        Self::start_with(place, &[])
    }

    /// The same with more arguments.
    pub fn start_with(place: Place, arguments: &[&str]) -> Option<Self> {
        let mut child = place.command(0).args(arguments).spawn().unwrap();
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
        Some(Self { child, address, place })
    }

    pub fn management(&self) -> UnixStream {
        let stream = UnixStream::connect(self.place.0.join("management.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    pub fn terminate(&mut self) {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
    }
}

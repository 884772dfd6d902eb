//! A process that serves a folder over a TAP device, in a network where nothing else is.

use nom_cable::{Cable, End};
use std::fs;
use std::io::{BufRead, BufReader, Lines, Read};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Where it serves.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The process, its folder, and what it says. All ends with the test.
pub struct Served {
    pub child: Child,
    pub said: Lines<BufReader<ChildStdout>>,
    folder: PathBuf,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Served {
    /// Serves these files. `None`, and a line that says why, where there are no TAP devices.
    pub fn start(name: &str, files: &[(&str, &str)], lines: &str) -> Option<Self> {
        let folder = std::env::temp_dir().join(format!("nom-httpd-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("content")).unwrap();
        for (file, text) in files {
            fs::write(folder.join("content").join(file), text).unwrap();
        }
        let text = format!(
            "listen = 80\naddress = {ADDRESS}/24\ngateway = 10.77.0.1\nnetwork = tap\nnetwork.interface = nom0\n\
             tuner = off\nweb.content = {}\nmanagement.token = 00112233445566778899aabbccddeeff\n{lines}",
            folder.join("content").display()
        );
        fs::write(folder.join("httpd.conf"), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_nom-httpd-linux"));
        command
            .arg("--config")
            .arg(folder.join("httpd.conf"))
            .arg("--run")
            .arg(&folder)
            .args(["--port", "0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut served = Self { child, said, folder };
        if served.said.next().is_none() {
            let mut why = String::new();
            served.child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
            assert!(why.contains("/dev/net/tun"), "{why}");
            println!("SKIPPED: {why}");
            return None;
        }
        Some(served)
    }

    /// A file of its content.
    pub fn content(&self, name: &str) -> PathBuf {
        self.folder.join("content").join(name)
    }
}

/// Runs something in a network of its own, where this machine lets us have one.
pub fn network(act: impl FnOnce() + Send + 'static) {
    match Cable::without() {
        Ok(cable) => cable.spawn(End::Server, None, act).unwrap().join().unwrap(),
        Err(what) => println!("SKIPPED: {what}"),
    }
}

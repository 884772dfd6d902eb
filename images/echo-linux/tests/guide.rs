//! What docs/first-application.md promises, as a newcomer would type it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Ends the process with the test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_example_answers_and_ends_when_it_is_asked_to() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/echo.conf");
    let run = std::env::temp_dir().join(format!("nom-echo-{}", std::process::id()));
    std::fs::create_dir_all(&run).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_nom-echo-linux"))
        .arg("--config")
        .arg(example)
        .arg("--run")
        .arg(&run)
        .args(["--port", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut started = Started(child);
    let mut line = String::new();
    BufReader::new(started.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let Some(port) = line.trim().strip_prefix("ready port=") else {
        let mut said = String::new();
        started.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.contains("/dev/net/tun") || said.contains("namespace"), "{said}");
        return println!("SKIPPED: {said}");
    };
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(b"hello\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "hello\n");
    let asked = Command::new("kill").args(["-TERM", &started.0.id().to_string()]).status().unwrap();
    assert!(asked.success() && started.0.wait().unwrap().success());
    std::fs::remove_dir_all(&run).unwrap();
}

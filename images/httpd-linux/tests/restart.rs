//! A hot restart as clients of the web server see it: connections that rest, or are within a head, go on over a TAP device that
//! outlives the process's program.

use nom_cable::{Cable, End};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const PATIENCE: Duration = Duration::from_secs(60);

/// What is removed and ended with the test.
struct Served(Child, PathBuf);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = fs::remove_dir_all(&self.1);
    }
}

fn ask(stream: &mut TcpStream, request: &str, end: &str) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

fn restarts() {
    let folder = std::env::temp_dir().join(format!("nom-httpd-restart-{}", std::process::id()));
    fs::create_dir_all(folder.join("content")).unwrap();
    fs::write(folder.join("content/a.txt"), "before").unwrap();
    let text = format!(
        "listen = 80\naddress = {ADDRESS}/24\ngateway = 10.77.0.1\nnetwork = tap\nnetwork.interface = nom0\n\
         tuner = off\nweb.content = {}\nmanagement.token = 00112233445566778899aabbccddeeff\n",
        folder.join("content").display()
    );
    fs::write(folder.join("httpd.conf"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_nom-httpd-linux"));
    command.arg("--config").arg(folder.join("httpd.conf")).arg("--run").arg(&folder).args(["--port", "0"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut served = Served(child, folder);
    if said.next().is_none() {
        let mut why = String::new();
        served.0.stderr.take().unwrap().read_to_string(&mut why).unwrap();
        assert!(why.contains("/dev/net/tun"), "{why}");
        return println!("SKIPPED: {why}");
    }
    let [mut rests, mut within] = [(); 2].map(|()| {
        let stream = TcpStream::connect((ADDRESS, 80)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    });
    for content in ["before", "then", "later"] {
        ask(&mut rests, "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n", content);
        within.write_all(b"GET /a.txt HTTP/1.1\r\nHo").unwrap();
        // Whoever is answered after it has spoken knows that it has arrived.
        ask(&mut rests, "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n", content);
        let next = if content == "before" { "then" } else { "later" };
        fs::write(served.1.join("content/a.txt"), next).unwrap();
        Command::new("kill").args(["-s", "USR2", &served.0.id().to_string()]).status().unwrap();
        assert_eq!(said.next().expect("a successor").unwrap(), "ready port=80");
        assert!(served.0.try_wait().unwrap().is_none(), "it is the same process");
        ask(&mut within, "st: x\r\n\r\n", next);
    }
}

#[test]
fn connections_that_rest_or_are_within_a_head_go_on() {
    let cable = match Cable::without() {
        Ok(cable) => cable,
        Err(what) => return println!("SKIPPED: {what}"),
    };
    cable.spawn(End::Server, None, restarts).unwrap().join().unwrap();
}

//! A hot restart as clients see it: the same connections go on, in the middle of a value too, over a TAP device that
//! outlives the process's program.

use nom_cable::{Cable, End};
use nom_load::{Mix, Plan, Stop, run};
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const PORT: u16 = 11211;
const PATIENCE: Duration = Duration::from_secs(60);
const RESTARTS: u64 = 3;
/// Operations that are answered before the next one.
const OPERATIONS_BETWEEN: u64 = 2_000;
const CONFIGURATION: &str = "listen = 11211\naddress = 10.77.0.2/24\ngateway = 10.77.0.1\nnetwork = tap\n\
                             network.interface = nom0\nmemory.items = 8 MiB\ntuner = off\n\
                             management.token = 00112233445566778899aabbccddeeff\n";

/// A directory that is removed with the test.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Process {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    _place: Place,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// `None` when this machine does not let us. The thread that called ends it by its own end.
    fn start(name: &str, cores: usize) -> Option<Self> {
        let place = Place(std::env::temp_dir().join(format!("nom-succession-{name}-{}", std::process::id())));
        std::fs::create_dir_all(&place.0).unwrap();
        std::fs::write(place.0.join("kv.conf"), format!("{CONFIGURATION}kv.cores = {cores}\n")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_nom-kv-linux"));
        command.arg("--config").arg(place.0.join("kv.conf")).arg("--run").arg(&place.0);
        command.args(["--port", "0"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut process = Self { child, said, _place: place };
        if process.is_ready() {
            return Some(process);
        }
        let mut said = String::new();
        process.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.contains("/dev/net/tun"), "{said}");
        println!("SKIPPED: {said}");
        None
    }

    fn is_ready(&mut self) -> bool {
        self.said.next().is_some_and(|line| line.unwrap() == format!("ready port={PORT}"))
    }

    fn restart(&mut self) {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-s", "USR2", &id]).status().unwrap();
        assert!(self.is_ready(), "the successor serves");
        assert!(self.child.try_wait().unwrap().is_none(), "it is the same process");
    }
}

fn connect() -> TcpStream {
    let stream = TcpStream::connect((ADDRESS, PORT)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn say(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
}

fn hear(stream: &mut TcpStream, expected: &str) {
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), expected);
}

/// Runs within a network of its own.
fn alone(act: impl FnOnce() + Send + 'static) {
    let cable = match Cable::without() {
        Ok(cable) => cable,
        Err(what) => return println!("SKIPPED: {what}"),
    };
    cable.spawn(End::Server, None, act).unwrap().join().unwrap();
}

#[test]
fn connections_go_on_wherever_they_were() {
    go_on_wherever_they_were(1);
}

#[test]
fn connections_to_two_cores_go_on_wherever_they_were() {
    go_on_wherever_they_were(2);
}

fn go_on_wherever_they_were(cores: usize) {
    alone(move || {
        let Some(mut process) = Process::start(&format!("middle-{cores}"), cores) else { return };
        let [mut first, mut half_a_value, mut half_a_line, mut idle] = [(); 4].map(|()| connect());
        say(&mut first, b"set a 7 0 1\r\nx\r\ngets a\r\n");
        hear(&mut first, "STORED\r\nVALUE a 7 1 1\r\nx\r\nEND\r\n");
        for _ in 0..3 {
            // A value on its way to another core ends with the process; on one core there is none.
            if cores == 1 {
                say(&mut half_a_value, b"set b 0 0 10\r\n01234");
            }
            say(&mut half_a_line, b"get a no");
            // Whoever is answered after they have spoken knows that it has arrived.
            say(&mut first, b"version\r\n");
            hear(&mut first, concat!("VERSION 1.6.18-nom-", env!("CARGO_PKG_VERSION"), "\r\n"));
            process.restart();
            if cores == 1 {
                say(&mut half_a_value, b"56789\r\nget b\r\n");
                hear(&mut half_a_value, "STORED\r\nVALUE b 0 10\r\n0123456789\r\nEND\r\n");
            }
            say(&mut half_a_line, b"thing a\r\n");
            hear(&mut half_a_line, "VALUE a 7 1\r\nx\r\nVALUE a 7 1\r\nx\r\nEND\r\n");
            // A number from before fits nothing.
            say(&mut first, b"cas a 0 0 1 1\r\ny\r\n");
            hear(&mut first, "EXISTS\r\n");
        }
        say(&mut idle, b"get a\r\n");
        hear(&mut idle, "VALUE a 7 1\r\nx\r\nEND\r\n");
        say(&mut connect(), b"get a\r\n");
    });
}

#[test]
fn a_load_notices_a_pause_and_nothing_else() {
    notices_a_pause_and_nothing_else(1);
}

#[test]
fn a_load_of_two_cores_notices_a_pause_and_nothing_else() {
    notices_a_pause_and_nothing_else(2);
}

fn notices_a_pause_and_nothing_else(cores: usize) {
    alone(move || {
        let Some(mut process) = Process::start(&format!("load-{cores}"), cores) else { return };
        let (say, heard) = mpsc::channel();
        let stop = Stop::default();
        let until = stop.clone();
        let load = thread::spawn(move || {
            let plan = Plan {
                connections: 40,
                duration: 10 * PATIENCE,
                grace: PATIENCE,
                progress_every: Duration::from_millis(5),
                mix: Mix { keys: 200, ..Mix::default() },
                ..Plan::new(SocketAddr::from((ADDRESS, PORT)))
            };
            run(&plan, &until, |progress| {
                let _ = say.send(progress.total.answered);
            })
        });
        let mut answered = 0;
        for _ in 0..RESTARTS {
            let enough = answered + OPERATIONS_BETWEEN;
            while answered < enough {
                answered = heard.recv_timeout(PATIENCE).expect("somebody is answered");
            }
            process.restart();
        }
        stop.stop();
        let tally = load.join().unwrap().unwrap().tally;
        assert!(tally.answered >= RESTARTS * OPERATIONS_BETWEEN);
        assert_eq!((tally.answered, tally.wrong, tally.refused, tally.misses), (tally.sent, 0, 0, 0));
        assert_eq!((tally.lost, tally.closed, tally.reconnects), (0, 0, 0));
    });
}

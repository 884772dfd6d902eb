//! The process beside the kernel on one interface: what is not its own goes on before it starts, while it serves, after
//! it was killed, and while its successor takes over.

use nom_cable::{ADDRESS, Cable, End, SERVER, SERVER_KERNEL};
use nom_load::{Mix, Plan, Stop, run};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const PORT: u16 = 11211;
const SSH: u16 = 22;
const OPERATIONS: u64 = 2_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory that is removed with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str, network: &str, address: Ipv4Addr) -> Self {
        let path = std::env::temp_dir().join(format!("nom-beside-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let text = format!(
            "listen = {PORT}\naddress = {address}/24\nmemory.items = 8 MiB\ntuner = off\nnetwork = {network}\n\
             network.interface = {SERVER}\nmanagement.token = 00112233445566778899aabbccddeeff\n"
        );
        std::fs::write(path.join("kv.conf"), text).unwrap();
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Killed when it is dropped, as by nobody's leave.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// `None` when this machine does not let us. The process ends with the thread that started it, so that thread is
    /// the test's.
    fn start(cable: &Cable, place: &Place) -> Option<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nom-kv-linux"));
        command.arg("--config").arg(place.0.join("kv.conf")).arg("--run").arg(&place.0).args(["--port", "0"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        cable.enter(End::Server).unwrap();
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let process = Self(child);
        if line.trim() == format!("ready port={PORT}") {
            return Some(process);
        }
        let mut process = process;
        let mut said = String::new();
        process.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.contains("run as root") || said.contains("this kernel has no"), "{line} {said}");
        println!("SKIPPED: {said}");
        None
    }
}

/// An echo of the server's own kernel on the same interface, and a connection to it that stays open.
fn neighbour(cable: &Cable) -> TcpStream {
    let (say, heard) = mpsc::channel();
    let listening = move || {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, SSH)).unwrap();
        say.send(()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 64];
        while let Ok(len @ 1..) = stream.read(&mut bytes) {
            stream.write_all(&bytes[..len]).unwrap();
        }
    };
    cable.spawn(End::Server, None, listening).unwrap();
    heard.recv().unwrap();
    let connect = || TcpStream::connect((SERVER_KERNEL, SSH)).unwrap();
    let stream = cable.spawn(End::Client, None, connect).unwrap().join().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn speak(mut stream: &TcpStream, word: &str) {
    stream.write_all(word.as_bytes()).unwrap();
    let mut answer = vec![0; word.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, word.as_bytes());
}

/// Sets and gets from the other end, each answer checked.
fn load(cable: &Cable, address: Ipv4Addr) {
    let client = move || {
        let plan = Plan {
            operations_max: OPERATIONS,
            duration: PATIENCE,
            grace: PATIENCE,
            mix: Mix { keys: 100, ..Mix::default() },
            ..Plan::new((address, PORT).into())
        };
        run(&plan, &Stop::default(), |_| {}).unwrap()
    };
    let tally = cable.spawn(End::Client, None, client).unwrap().join().unwrap().tally;
    assert_eq!((tally.answered, tally.wrong, tally.refused, tally.lost), (OPERATIONS, 0, 0, 0));
}

fn killed_and_replaced(name: &str, network: &str, address: Ipv4Addr) {
    let Some(cable) = Cable::try_lay() else { return };
    let stream = neighbour(&cable);
    speak(&stream, "before");
    for round in 0..2 {
        let place = Place::new(name, network, address);
        let Some(process) = Process::start(&cable, &place) else { return };
        speak(&stream, "while it starts");
        load(&cable, address);
        speak(&stream, &format!("while it serves, {round}"));
        drop(process);
        speak(&stream, "after it was killed");
    }
}

#[test]
fn an_address_of_our_own_over_af_xdp() {
    killed_and_replaced("xdp", "xdp", ADDRESS);
}

#[test]
fn a_port_of_the_kernels_address_over_af_xdp() {
    killed_and_replaced("port", "xdp", SERVER_KERNEL);
}

#[test]
fn an_address_of_our_own_over_af_xdp_on_two_cores() {
    killed_and_replaced("xdp-two", "xdp\nkv.cores = 2", ADDRESS);
}

#[test]
fn a_port_of_the_kernels_address_over_af_xdp_on_three_cores() {
    killed_and_replaced("port-three", "xdp\nkv.cores = 3", SERVER_KERNEL);
}

#[test]
fn an_address_of_our_own_over_af_packet_on_two_cores() {
    killed_and_replaced("two", "packet\nkv.cores = 2", ADDRESS);
}

/// Its device is gone on with by a successor in the same process; connections notice a pause.
fn restarted(name: &str, network: &str) {
    let Some(cable) = Cable::try_lay() else { return };
    let place = Place::new(name, network, ADDRESS);
    let Some(process) = Process::start(&cable, &place) else { return };
    let connect = || (0..8).map(|_| TcpStream::connect((ADDRESS, PORT)).unwrap()).collect::<Vec<_>>();
    let streams = cable.spawn(End::Client, None, connect).unwrap().join().unwrap();
    let hear = |mut stream: &TcpStream, said: &str, expected: &str| {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(said.as_bytes()).unwrap();
        let mut answer = vec![0; expected.len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), expected);
    };
    for (number, stream) in streams.iter().enumerate() {
        hear(stream, &format!("set k{number} 0 0 1\r\n{number}\r\n"), "STORED\r\n");
    }
    let id = process.0.id().to_string();
    // Where a program lies in memory is chosen anew with each.
    let program = || {
        let maps = std::fs::read_to_string(format!("/proc/{id}/maps")).unwrap_or_default();
        maps.split('-').next().map(String::from).filter(|start| !start.is_empty())
    };
    for _ in 0..2 {
        let before = program();
        Command::new("kill").args(["-s", "USR2", &id]).status().unwrap();
        let deadline = std::time::Instant::now() + PATIENCE;
        while program().is_none_or(|now| Some(now) == before) {
            assert!(std::time::Instant::now() < deadline, "it is still the same program");
            std::thread::sleep(Duration::from_millis(5));
        }
        for (number, stream) in streams.iter().enumerate() {
            let other = (number + 3) % 8;
            hear(stream, &format!("get k{other}\r\n"), &format!("VALUE k{other} 0 1\r\n{other}\r\nEND\r\n"));
        }
    }
}

#[test]
fn a_restart_over_af_packet_keeps_connections_of_one_core_and_of_two() {
    restarted("restarted", "packet");
    restarted("restarted-two", "packet\nkv.cores = 2");
}

#[test]
fn an_address_of_our_own_over_af_packet() {
    killed_and_replaced("packet", "packet", ADDRESS);
}

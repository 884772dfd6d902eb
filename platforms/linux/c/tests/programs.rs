//! Programs in C, built by the system's compiler as docs/c.md says, served over a TAP device to Linux's TCP.

use nom_abi::board::{Prices, Rate};
use nom_linux_board::Publisher;
use nom_tap::{TapError, namespace};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);
const ADDRESS: &str = "10.77.0.2";
const CONFIGURATION: &str = "address = 10.77.0.2/24\nlisten = 7007\nnetwork = tap\nnetwork.interface = nom-t0\n\
                             utility = simple\nvalue = 1 $/Mop\nlatency.limit = 1 s\ntuner = off\n";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Beside the test's program, where cargo puts them.
fn libraries() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folders = [test.parent().unwrap(), test.parent().unwrap().parent().unwrap()];
    let found = folders.into_iter().find(|folder| folder.join("libnom.a").exists());
    found.expect("the library was built with its test").to_path_buf()
}

/// A folder that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nom-c-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("service.conf"), CONFIGURATION).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Builds a program with the static library, or with the shared one.
fn build(scratch: &Path, source: &str, shared: bool) -> PathBuf {
    let (program, libraries) = (scratch.join("program"), libraries());
    let mut command = Command::new("cc");
    command.args(["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program);
    command.arg("-I").arg(folder().join("include")).arg(folder().join(source));
    if shared {
        command.arg("-L").arg(&libraries).arg("-lnom").arg(format!("-Wl,-rpath,{}", libraries.display()));
    } else {
        command.arg(libraries.join("libnom.a"));
    }
    let output = command.args(["-lpthread", "-ldl", "-lm"]).output().expect("a C compiler is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// A program that serves, and ends with the test.
struct Served {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    /// `None`, and a line that says so, when this machine has no TAP devices.
    fn start(program: &Path, run: &Path) -> Option<Self> {
        let mut command = Command::new(program);
        command.arg("--config").arg(run.join("service.conf")).arg("--run").arg(run).args(["--port", "0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let mut served = Self { child, out };
        if line == "ready port=7007\n" {
            return Some(served);
        }
        let mut said = String::new();
        served.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.contains("/dev/net/tun"), "{line}{said}");
        println!("SKIPPED: {said}");
        None
    }

    /// Asks it to end; what it said last.
    fn end(&mut self) -> String {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(asked.success());
        self.wait()
    }

    fn wait(&mut self) -> String {
        let mut said = String::new();
        self.out.read_to_string(&mut said).unwrap();
        let status = self.child.wait().unwrap();
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert!(status.success() && errors.is_empty(), "{status}: {said}{errors}");
        said
    }
}

/// Runs in a network of its own; not where that is not allowed.
fn apart(act: impl FnOnce() + Send + 'static) {
    let run = move || match namespace::enter() {
        Ok(()) => act(),
        Err(error @ TapError::Namespace(_)) => println!("SKIPPED: {error}"),
        Err(error) => panic!("{error}"),
    };
    if let Err(panic) = thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((ADDRESS, port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn bytes(len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64).map(|i| ((i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect()
}

/// Sends everything while it reads everything back.
fn bounced(len: usize, seed: u64) {
    let sent = bytes(len, seed);
    let mut stream = connect(7007);
    let (mut sender, content) = (stream.try_clone().unwrap(), sent.clone());
    let sending = thread::spawn(move || {
        sender.write_all(&content).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    sending.join().unwrap();
    assert!(got == sent, "{} of {len} bytes came back", got.len());
}

#[test]
fn the_echo_of_the_guide_sends_back_what_it_gets() {
    for shared in [false, true] {
        apart(move || {
            let scratch = Scratch::new(if shared { "shared" } else { "static" });
            let program = build(&scratch.0, "examples/echo.c", shared);
            let Some(mut served) = Served::start(&program, &scratch.0) else { return };
            for len in [1, 1460, 100_000] {
                bounced(len, 1);
            }
            let many: Vec<_> = (0..6).map(|seed| thread::spawn(move || bounced(1_500_000, seed))).collect();
            many.into_iter().for_each(|one| one.join().unwrap());
            // One that sends and does not read is stopped by the window, and others are not.
            let mut greedy = connect(7007);
            greedy.set_nonblocking(true).unwrap();
            let block = bytes(1 << 16, 3);
            let mut offered = 0;
            while let Ok(len) = greedy.write(&block) {
                offered += len;
                assert!(offered < 256 << 20, "nothing stops it");
            }
            bounced(200_000, 4);
            // A reset in the middle is that connection's end alone.
            drop(greedy);
            bounced(50_000, 5);
            telnet();
            // Who looks and leaves in the middle of an answer breaks a pipe, and nothing else.
            for _ in 0..3 {
                let mut looking = UnixStream::connect(scratch.0.join("management.sock")).unwrap();
                looking.write_all(b"hello\nreport\n").unwrap();
                drop(looking);
                bounced(1000, 6);
            }
            assert_eq!(served.end(), "");
        });
    }
}

/// A client that nobody here wrote.
fn telnet() {
    let mut command = Command::new("curl");
    command.args(["-sN", "--max-time", "60", &format!("telnet://{ADDRESS}:7007")]);
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut client = match spawned {
        Ok(client) => client,
        Err(error) if error.kind() == ErrorKind::NotFound => return println!("SKIPPED: curl is absent"),
        Err(error) => panic!("{error}"),
    };
    let mut asked = client.stdin.take().unwrap();
    asked.write_all(b"hello, nom\n").unwrap();
    let mut line = String::new();
    BufReader::new(client.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "hello, nom\n");
    let _ = client.kill();
    client.wait().unwrap();
}

/// A conversation of lines.
struct Talk(BufReader<TcpStream>);

impl Talk {
    fn new(port: u16) -> Self {
        Self(BufReader::new(connect(port)))
    }

    fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }

    fn ask(&mut self, line: &str) -> String {
        self.say(&format!("{line}\n"));
        self.hear()
    }
}

#[test]
fn prices_knobs_timers_and_whatever_is_wrong() {
    apart(|| {
        let scratch = Scratch::new("asked");
        let program = build(&scratch.0, "tests/asked.c", false);
        let mut publisher = Publisher::create(&scratch.0.join("board")).unwrap();
        let rate = |atto_per_unit| Some(Rate { atto_per_unit, valid_until_ns: 0 });
        let priced = |atto| Prices {
            rates: [rate(atto), None, Some(Rate { atto_per_unit: 7, valid_until_ns: 1 })],
            ..Prices::NONE
        };
        publisher.publish(&priced(90_000_000)).unwrap();
        let Some(mut served) = Served::start(&program, &scratch.0) else { return };
        let mut talk = Talk::new(7007);
        // A line in pieces stays with the stack until it is whole.
        talk.say("pr");
        let mut other = Talk::new(4040);
        assert_eq!(other.ask("peer"), "0a4d0001\n");
        talk.say("ice 0\nprice 2\n");
        assert_eq!(talk.hear(), "90000000 1 1 1\n");
        assert_eq!(talk.hear(), "7 0 1 1\n", "one that has run out is told with that");
        assert_eq!(talk.ask("price 1"), "-1 no price of that is known\n");
        assert_eq!(talk.ask("price 3"), "-2 3 is no resource\n");
        publisher.publish(&priced(91_000_000)).unwrap();
        publisher.accept();
        let mut seen = String::new();
        for _ in 0..1000 {
            seen = talk.ask("price 0");
            if seen != "90000000 1 1 1\n" {
                break;
            }
        }
        assert_eq!(seen, "91000000 1 2 1\n");
        assert_eq!(talk.ask("knob batch 14us"), "wait=halt batch=14us|wait=|1\n");
        assert_eq!(talk.ask("knob batch 0"), "wait=halt batch=0|wait=|1\n");
        let refused = talk.ask("knob batcj 0us");
        assert!(refused.starts_with("-5 ") && refused.contains("batch"), "{refused}");
        assert!(talk.ask("knob batch soon").starts_with("-5 "));
        assert_eq!(talk.ask("timer"), "due\n");
        assert_eq!(talk.ask("wrong"), "-2 -1 -3 -3 -2 -2 -2 -3 -2 -1\n");
        assert_eq!(talk.ask("nothing"), "what is nothing?\n");
        // A half that is shut: the other half goes on, until it ends too.
        assert_eq!((talk.ask("shut"), talk.hear()), ("last\n".into(), String::new()));
        talk.say("peer\n");
        drop(talk);
        let mut reset = Talk::new(7007);
        reset.say("abort\n");
        let error = reset.0.get_mut().read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        // Who leaves with an answer unread resets.
        let mut rude = Talk::new(7007);
        rude.say("peer\n");
        assert_eq!(rude.0.get_mut().peek(&mut [0]).unwrap(), 1);
        assert_eq!(other.ask("resets"), "0\n");
        drop(rude);
        assert!((0..1000).any(|_| other.ask("resets") == "1\n"), "a reset is not told");
        let mut closed = Talk::new(7007);
        assert_eq!((closed.ask("close"), closed.hear()), ("bye\n".into(), String::new()));
        assert_eq!((other.ask("drain"), other.hear()), ("draining\n".into(), String::new()));
        assert_eq!(served.wait(), "over=1 drains=1 prices=1\n");
    });
}

#[test]
fn what_it_is_told_wrongly_is_one_line_and_a_number() {
    let scratch = Scratch::new("wrong");
    let program = build(&scratch.0, "tests/asked.c", false);
    let told = |configuration: &str, words: &[&str]| {
        let file = scratch.0.join("service.conf");
        fs::write(&file, configuration).unwrap();
        let mut command = Command::new(&program);
        command.arg("--config").arg(&file).arg("--run").arg(&scratch.0).args(words);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        said
    };
    assert!(told(CONFIGURATION, &[]).starts_with("asked: -2 --port is missing"));
    assert!(told("addres = 10.0.0.1/8\n", &["--port", "0"]).contains("address"));
    let elsewhere = CONFIGURATION.replace("network = tap\nnetwork.interface = nom-t0", "network = switch");
    assert!(told(&elsewhere, &["--port", "0"]).starts_with("asked: -5 "));
}

//! The cache under ten thousand connections for a minute, with prices that move each second and clients that misbehave
//! all the while: nobody else notices, nothing is left behind, and the ledger has what the generator counts.
//!
//! `nom-kv-linux` over AF_XDP on a `veth` cable. The load is open, each answer is checked byte for byte. The abusers do
//! nothing that counts as accepted (`nom_load::abuse`), so the books must agree exactly. Beside them somebody opens
//! connections from addresses that nobody has, 5,000 a second, and never says more.

use crate::Settings;
use crate::figures::Figure;
use crate::flood::{Way, flood};
use nom_abi::board::{Prices, Rate, Resource};
use nom_cable::{ADDRESS, CLIENT, Cable, End, PREFIX_LEN, SERVER};
use nom_linux_board::Publisher;
use nom_linux_interface::Interface;
use nom_load::{Abused, Mix, Pace, Plan, Report, Stop, abuse, run};
use nom_machine::artefacts;
use nom_machine::machine::dying_with_us;
use nom_machine::scratch::Scratch;
use nom_machine::trouble::{Context, Outcome, Trouble};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 10_000;
const DURATION: Duration = Duration::from_secs(60);
const RATE_PER_S: f64 = 5_000.0;
const ABUSERS: u64 = 2;
const EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(120);
const PORT: u16 = 11211;
/// The first address of those that open half a connection.
const NOBODYS: Ipv4Addr = Ipv4Addr::new(10, 99, 64, 0);
const TOKEN: &str = "00112233445566778899aabbccddeeff";
/// Points whose best setting depends on what a core costs.
const POINTS: &str = "\
points = nom-points 1
points = application kv
points = noise 0.02
points = capacity_per_s 100000
points = class all open utilisation 0.. connections 0..
points = point wait=halt batch=0 : throughput_per_s=90000 useful_bytes=500 wire_bytes=600 core_ns=9000 idle_cores=0 memory_bytes=67108864 mean_ns=90000 jitter_ns=3000 p99_ns=150000 samples=10000 late=5ms:100
points = point wait=halt batch=100us : throughput_per_s=90000 useful_bytes=500 wire_bytes=560 core_ns=5000 idle_cores=0 memory_bytes=67108864 mean_ns=190000 jitter_ns=9000 p99_ns=350000 samples=10000 late=5ms:200
";

/// What the process said over its management channel, and what was seen of it.
struct Seen {
    lines: Vec<String>,
    /// Resident bytes once everybody was connected, and when everybody was gone.
    before_bytes: u64,
    after_bytes: u64,
}

/// Measures.
pub fn measure(_settings: &Settings, progress: &mut dyn FnMut(&str)) -> Outcome<Vec<Figure>> {
    let program = artefacts::linux(&["nom-kv-linux"], progress)?.remove(0);
    let folder = Scratch::new()?;
    let cable = Cable::lay().map_err(Trouble::new)?;
    let mut publisher =
        Publisher::create(&folder.file("board")).map_err(|error| Trouble::new(error.to_string()))?;
    let (process, stop) = start(&cable, &program, folder.path())?;
    let target = SocketAddr::from((ADDRESS, PORT));
    let mut management =
        UnixStream::connect(folder.file("management.sock")).context(|| "the management channel".into())?;
    writeln!(management, "hello {TOKEN}").context(|| "the management channel".into())?;
    let hearing = {
        let management = management.try_clone().context(|| "the management channel".into())?;
        thread::spawn(move || BufReader::new(management).lines().map_while(Result::ok).collect::<Vec<_>>())
    };

    progress(&format!(
        "{CONNECTIONS} connections, {RATE_PER_S} operations a second, for {} s",
        DURATION.as_secs()
    ));
    let halt = Stop::default();
    let mut abusers = Vec::new();
    for seed in 0..ABUSERS {
        let halt = halt.clone();
        let abuser =
            cable.spawn(End::Client, None, move || abuse(target, seed, &halt)).map_err(Trouble::new)?;
        abusers.push(abuser);
    }
    let servers = cable.spawn(End::Server, None, || Interface::find(SERVER)).map_err(Trouble::new)?;
    let servers = servers.join().map_err(|_| Trouble::new("looking at the cable failed"))?;
    let to = servers.map_err(|error| Trouble::new(error.to_string()))?.mac;
    let flooding = {
        let (halt, way) = (halt.clone(), Way { to, server: (ADDRESS, PORT), from: NOBODYS });
        cable.spawn(End::Client, None, move || flood(CLIENT, way, &halt)).map_err(Trouble::new)?
    };
    let load = cable.spawn(End::Client, None, move || run(&plan(target), &Stop::default(), |_| {}));
    let load = load.map_err(Trouble::new)?;
    let (mut turns, mut before_bytes, started) = (0, 0, Instant::now());
    while !load.is_finished() {
        publisher.publish(&prices(turns)).map_err(|error| Trouble::new(error.to_string()))?;
        turns += 1;
        thread::sleep(EVERY);
        if before_bytes == 0 && started.elapsed() > DURATION / 3 {
            before_bytes = resident_bytes(process)?;
        }
    }
    let report = load.join().map_err(|_| Trouble::new("the load failed"))?;
    let report = report.map_err(|error| Trouble::new(error.to_string()))?;
    halt.stop();
    let mut abused = Abused::default();
    for abuser in abusers {
        let one = abuser.join().map_err(|_| Trouble::new("an abuser failed"))?;
        abused.connections += one.connections;
        abused.resets += one.resets;
    }
    let half_open = flooding.join().map_err(|_| Trouble::new("the flood failed"))??;
    let after_bytes = resident_bytes(process)?;
    // The books are closed by a drain, as at every end.
    writeln!(management, "drain").context(|| "the management channel".into())?;
    let lines = hearing.join().map_err(|_| Trouble::new("the management channel failed"))?;
    drop(stop);
    progress(&format!(
        "{} accepted by the generator; {} connections misbehaved, {} of them ended by a reset; {half_open} were half \
         opened; prices moved {turns} times",
        report.accepted(),
        abused.connections,
        abused.resets
    ));
    figures(&report, abused, half_open, turns, &Seen { lines, before_bytes, after_bytes })
}

fn plan(target: SocketAddr) -> Plan {
    Plan {
        connections: CONNECTIONS,
        threads: 1,
        pace: Pace::Poisson { per_s: RATE_PER_S },
        duration: DURATION,
        grace: PATIENCE,
        mix: Mix { keys: 5_000, ..Mix::default() },
        ..Plan::new(target)
    }
}

/// Ends when the other end of the second is dropped, or with the thread that is waiting for that.
fn start(cable: &Cable, program: &Path, folder: &Path) -> Outcome<(u32, mpsc::Sender<()>)> {
    let file = folder.join("configuration");
    let text = format!(
        "listen = {PORT}\naddress = {ADDRESS}/{PREFIX_LEN}\nnetwork = xdp\nnetwork.interface = {SERVER}\n\
         connections = 12000\nmemory.items = 64 MiB\nmemory.send = 16 MiB\nmemory.receive = 16 MiB\n\
         sender.limit = 5 s\nutility = penalty\nvalue = 2 $/Mop\nlatency.limit = 5 ms\npenalty.factor = 100\n\
         window = 500 ms\nmanagement.token = {TOKEN}\n{POINTS}"
    );
    fs::write(&file, text).context(|| "a configuration".into())?;
    let mut command = dying_with_us(program);
    command.arg("--config").arg(file).arg("--run").arg(folder).args(["--port", "0"]);
    let ((say, heard), (stop, told)) = (mpsc::channel(), mpsc::channel::<()>());
    let serve = move || {
        let started = ready(command);
        let mut child = match started {
            Ok(child) => child,
            Err(what) => return drop(say.send(Err(what))),
        };
        let _ = say.send(Ok(child.id()));
        let _ = told.recv();
        let _ = child.kill();
        let _ = child.wait();
    };
    // The process ends with the thread that started it, which therefore stays.
    let _serving = cable.spawn(End::Server, None, serve).map_err(Trouble::new)?;
    let process = heard.recv().map_err(|_| Trouble::new("the server's thread ended"))??;
    Ok((process, stop))
}

fn ready(mut command: Command) -> Outcome<Child> {
    let mut child = command.stdout(Stdio::piped()).spawn().context(|| "nom-kv-linux".into())?;
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        let _ = BufReader::new(out).read_line(&mut line);
    }
    if line.starts_with("ready ") {
        Ok(child)
    } else {
        Err(Trouble::new("nom-kv-linux did not start; see above"))
    }
}

/// A core and a byte cost something else each second.
fn prices(turn: u64) -> Prices {
    let mut prices = Prices::NONE;
    let rate = |atto_per_unit| Some(Rate { atto_per_unit, valid_until_ns: 0 });
    prices.rates[Resource::Core as usize] = rate(10_000_000_000 * i128::from(1 + turn % 7 * 40));
    prices.rates[Resource::Bandwidth as usize] = rate(90_000_000 * i128::from(1 + turn % 3));
    prices
}

fn resident_bytes(process: u32) -> Outcome<u64> {
    let file = PathBuf::from(format!("/proc/{process}/statm"));
    let text = fs::read_to_string(&file).context(|| format!("cannot read {}", file.display()))?;
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.map(|pages| pages * 4_096).ok_or_else(|| Trouble::new("/proc/PID/statm is not as expected"))
}

/// The number behind a name in a flat JSON line.
fn number(line: &str, name: &str) -> Option<f64> {
    let (_, rest) = line.split_once(&format!("\"{name}\":"))?;
    let digits: String = rest.chars().take_while(|letter| letter.is_ascii_digit()).collect();
    digits.parse().ok()
}

fn figures(report: &Report, abused: Abused, half_open: u64, turns: u64, seen: &Seen) -> Outcome<Vec<Figure>> {
    let bye = seen.lines.iter().find(|line| line.starts_with("{\"bye\":"));
    let accepted = bye.and_then(|line| number(line, "accepted"));
    let accepted = accepted.ok_or_else(|| Trouble::new("the process ended without a bye"))?;
    let windows = seen.lines.iter().filter(|line| line.starts_with("{\"window\":"));
    let settled: f64 = windows.filter_map(|line| number(line, "accepted")).sum();
    let knobs = seen.lines.iter().filter(|line| line.starts_with("{\"knobs\":")).count();
    let tally = &report.tally;
    let troubled = tally.wrong + tally.refused + tally.lost + tally.shed + tally.closed + tally.reconnects;
    let growth = 100.0 * (seen.after_bytes as f64 / seen.before_bytes.max(1) as f64 - 1.0);
    let figure = |name, unit, goal, value: f64| Figure::of(name, unit, goal, &[value]);
    let figures = [
        figure("kv.soak_connections", "connections", Some(">=10000"), CONNECTIONS as f64),
        figure("kv.soak_operations", "operations", None, report.accepted() as f64),
        figure("kv.soak_troubled", "operations", Some("<=0"), troubled as f64),
        figure(
            "kv.soak_ledger_difference",
            "operations",
            Some("<=0"),
            (accepted - report.accepted() as f64).abs(),
        ),
        figure("kv.soak_windows_difference", "operations", Some("<=0"), (settled - accepted).abs()),
        figure("kv.soak_memory_growth", "%", Some("<=5"), growth.max(0.0)),
        figure("kv.soak_abusers", "connections", None, abused.connections as f64),
        figure("kv.soak_half_open", "connections", Some(">=100000"), half_open as f64),
        figure("kv.soak_price_changes", "changes", None, turns as f64),
        figure("kv.soak_knob_changes", "changes", None, knobs as f64),
    ];
    Ok(figures.into_iter().flatten().collect())
}

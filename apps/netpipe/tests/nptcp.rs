//! Against Debian's `NPtcp` on Linux's own TCP, over a cable, in both roles.

use nom_cable::{ADDRESS, CLIENT_ADDRESS, Cable, Opened, OrSkipped, PREFIX_LEN, Refused, Running, SERVER};
use nom_netpipe::schedule::Schedule;
use nom_netpipe::{Netpipe, PORT, Plan, Sample};
use nom_packet::PacketEgress;
use nom_packet::{PacketConfig, PacketError, PacketIngress};
use nom_stack::counters::Counters;
use nom_stack::knobs::Knobs;
use nom_stack::{Config, Engine};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsFd;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The peer gives up after so long, whatever went wrong.
const DEADLINE: Duration = Duration::from_secs(60);
/// The lengths that both sides are told.
const SCHEDULE: Schedule = Schedule { start: 1, end: 100_000, perturbation: 3 };
const REPEATS: u32 = 5;

fn plan(streams: bool) -> Plan {
    Plan { schedule: SCHEDULE, streams, resets: streams, repeats: Some(REPEATS), ..Plan::default() }
}

fn open() -> Result<Opened<PacketIngress, PacketEgress>, Refused> {
    let refuse = |error: PacketError| Refused { missing: error.is_missing_right(), text: error.to_string() };
    let (ingress, egress) = nom_packet::open(&PacketConfig::new(SERVER, ADDRESS)).map_err(refuse)?;
    let wakes = ingress.as_fd().try_clone_to_owned().unwrap();
    let config = Config::new(ingress.mac(), ADDRESS, PREFIX_LEN);
    Ok(Opened { halves: (ingress, egress), config, wakes })
}

type Stack = Engine<PacketIngress, PacketEgress, Netpipe>;

fn start(
    cable: &Cable,
    streams: bool,
    mut turn: impl FnMut(&mut Stack, u64) + Send + 'static,
) -> Option<Started> {
    let application = Netpipe::new(plan(streams));
    let completed = Arc::new(AtomicBool::new(false));
    let tells = Arc::clone(&completed);
    let turn = move |stack: &mut Stack, now_ns| {
        turn(stack, now_ns);
        tells.store(stack.application().completed() > 0, Ordering::Relaxed);
    };
    let running =
        Running::application(cable, None, Knobs::default(), open, (application, turn)).or_skipped()?;
    Some(Started { running, completed })
}

struct Started {
    running: Running<Netpipe>,
    completed: Arc<AtomicBool>,
}

impl Started {
    /// Waits until our side, too, has heard the farewell.
    fn end(self) -> (Netpipe, Counters) {
        let start = Instant::now();
        while !self.completed.load(Ordering::Relaxed) && start.elapsed() < DEADLINE {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.running.end()
    }
}

fn nptcp() -> Option<Command> {
    let mut command = Command::new("NPtcp");
    command.args(["-l", "1", "-u", "100000", "-o", "/dev/null"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    match Command::new("NPtcp").arg("-?").output() {
        Ok(_) => Some(command),
        Err(error) => {
            println!("SKIPPED: no NPtcp ({error}): install the package netpipe-tcp");
            None
        }
    }
}

/// Runs it to its end.
fn run(mut command: Command) -> Output {
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > DEADLINE {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("no end: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

fn check(samples: &[Sample]) {
    let lens: Vec<u32> = samples.iter().map(|sample| sample.len).collect();
    assert_eq!(lens, SCHEDULE.lengths().collect::<Vec<_>>());
    assert!(samples.iter().all(|sample| sample.repeats == REPEATS), "{samples:?}");
}

#[test]
fn nptcp_measures_us() {
    for streams in [false, true] {
        let (Some(cable), Some(mut command)) = (Cable::try_lay(), nptcp()) else { return };
        let Some(server) = start(&cable, streams, |stack, _| stack.listen(PORT)) else { return };
        command.args(["-h", &ADDRESS.to_string(), "-n", &REPEATS.to_string()]);
        if streams {
            command.arg("-s");
        }
        let client = cable.spawn(nom_cable::End::Client, None, move || run(command)).unwrap();
        let output = client.join().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        assert_eq!(said.matches(" Mbps in ").count(), SCHEDULE.lengths().count(), "{said}");
        let (mut netpipe, counters) = server.end();
        check(&netpipe.take_samples());
        assert_eq!((netpipe.completed(), netpipe.broken()), (1, 0), "{counters:?}");
        let copied = counters.copied_out_bytes;
        assert!(copied * 1_000 < counters.payload_in, "messages are not copied: {counters:?}");
    }
}

#[test]
fn we_measure_nptcp() {
    for streams in [false, true] {
        let (Some(cable), Some(mut command)) = (Cable::try_lay(), nptcp()) else { return };
        if streams {
            command.arg("-s");
        }
        let server = cable.spawn(nom_cable::End::Client, None, move || run(command)).unwrap();
        wait_for_listener(&cable);
        let mut begun = false;
        let turn = move |stack: &mut Stack, now_ns| {
            // A connection that is refused is tried again: NPtcp listens anew for each.
            let first = !std::mem::replace(&mut begun, true);
            if first || (stack.application().wants_connection() && stack.open_connections() == 0) {
                stack.connect(CLIENT_ADDRESS, PORT, now_ns).unwrap();
            }
        };
        let Some(client) = start(&cable, streams, turn) else { return };
        let output = server.join();
        let (mut netpipe, counters) = client.end();
        let output = output.unwrap_or_else(|_| panic!("{} broken: {counters:?}", netpipe.broken()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        check(&netpipe.take_samples());
        // Each opening that came too early is one that broke, and was made again.
        assert_eq!(netpipe.completed(), 1, "{counters:?}");
        assert!(streams || netpipe.broken() == 0, "{counters:?}");
    }
}

/// Waits until somebody has NetPIPE's port at the client's end: then it cannot be had again.
fn wait_for_listener(cable: &Cable) {
    let taken = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).is_err();
    let start = Instant::now();
    while !cable.spawn(nom_cable::End::Client, None, taken).unwrap().join().unwrap() {
        assert!(start.elapsed() < DEADLINE, "NPtcp does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

//! The private stack on a TAP device against Linux's own TCP, byte for byte.

mod lossy;

use lossy::{LossyEgress, LossyIngress};
use nom_stack::application::{Application, ConnectionId, Ended, Io, Pin};
use nom_stack::config::{Address6, Agreement, Config6};
use nom_stack::counters::Counters;
use nom_stack::port::Offloads;
use nom_stack::{Config, Engine};
use nom_tap::{TapConfig, TapError, namespace, open};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const ADDRESS6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
const TARGET6: SocketAddr = SocketAddr::V6(SocketAddrV6::new(ADDRESS6, 7, 0, 0));
const TARGET: SocketAddr = SocketAddr::V4(SocketAddrV4::new(ADDRESS, 7));
/// A test that hangs ends here, with the stack's counters.
const DEADLINE: Duration = Duration::from_secs(60);

/// Sends back what it gets; closes when the other side does and everything was sent back.
#[derive(Default)]
struct Echo {
    opened: usize,
    /// Connections with bytes that were not taken yet, and those whose other side has closed.
    behind: HashSet<ConnectionId>,
    finished: HashSet<ConnectionId>,
    ended: Vec<Ended>,
}

impl Echo {
    fn close(&mut self, io: &mut impl Io) {
        if self.finished.contains(&io.connection()) && !self.behind.contains(&io.connection()) {
            io.close();
        }
    }
}

impl Application for Echo {
    fn opened(&mut self, _io: &mut impl Io, port: u16, outgoing: bool) {
        assert_eq!((port, outgoing), (7, false));
        self.opened += 1;
    }

    fn received(&mut self, io: &mut impl Io, bytes: &[u8]) -> usize {
        let mut len = bytes.len().min(io.room());
        if io.write(&bytes[..len]).is_err() {
            len = 0;
        }
        self.behind.remove(&io.connection());
        if len < bytes.len() {
            self.behind.insert(io.connection());
            // Only who was refused is told of room, and offered the rest then.
            if io.write(&bytes[len..]).is_ok() {
                self.behind.remove(&io.connection());
                len = bytes.len();
            }
        }
        self.close(io);
        len
    }

    fn writable(&mut self, _io: &mut impl Io) {}

    fn finished(&mut self, io: &mut impl Io) {
        self.finished.insert(io.connection());
        self.close(io);
    }

    fn ended(&mut self, _connection: ConnectionId, reason: Ended) {
        self.ended.push(reason);
    }

    fn pinned(&self, _pin: Pin) -> &[u8] {
        &[]
    }

    fn released(&mut self, _pin: Pin) {}
}

const ALL: Offloads = Offloads { checksum: true, segmentation: true };

/// Runs an echo server on a device that loses this part of its frames, while the clients run, and hands back what
/// the application saw. `None` when this machine does not let us.
fn serve(
    loss: f64,
    offloads: Offloads,
    clients: impl FnOnce() -> Vec<JoinHandle<()>>,
) -> Option<(Echo, Counters)> {
    serve_as(|_| (), loss, offloads, clients)
}

/// The same, with something in the stack's configuration changed.
fn serve_as(
    change: impl FnOnce(&mut Config),
    loss: f64,
    offloads: Offloads,
    clients: impl FnOnce() -> Vec<JoinHandle<()>>,
) -> Option<(Echo, Counters)> {
    match namespace::enter() {
        Ok(()) => {}
        Err(error @ TapError::Namespace(_)) => {
            println!("SKIPPED: {error}");
            return None;
        }
        Err(error) => panic!("{error}"),
    }
    let (ingress, egress) = match open(&TapConfig { offloads, ..TapConfig::default() }) {
        Ok(halves) => halves,
        Err(error @ TapError::NoTun(_)) => {
            println!("SKIPPED: {error}");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let tap = ingress.as_fd().try_clone_to_owned().unwrap();
    let start = Instant::now();
    let now_ns = || start.elapsed().as_nanos() as u64 + 1;
    let address = Address6::Static { address: ADDRESS6, prefix_len: 64 };
    let ipv6 = Some(Config6 { address, gateway: None });
    let mut config = Config { ipv6, ..Config::new([2, 0x6e, 0x6f, 0x6d, 0, 2], ADDRESS, 24) };
    change(&mut config);
    let (ingress, egress) = (LossyIngress::new(ingress, loss), LossyEgress::new(egress, loss));
    let mut engine = Engine::new(config, ingress, egress, Echo::default(), [7; 32], now_ns());
    engine.listen(7);
    let clients = clients();
    while !clients.iter().all(JoinHandle::is_finished) {
        assert!(start.elapsed() < DEADLINE, "no end: {:?}", engine.counters());
        let step = engine.step(now_ns());
        if step.worked || !nom_stack::port::Ingress::arm(engine.ingress_mut()) {
            continue;
        }
        let sleep_ns = step.deadline_ns.map_or(10_000_000, |at| at.saturating_sub(now_ns())).min(10_000_000);
        let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: sleep_ns as i64 };
        let mut fds = [rustix::event::PollFd::new(&tap, rustix::event::PollFlags::IN)];
        let _ = rustix::event::poll(&mut fds, Some(&timeout));
    }
    for client in clients {
        if client.join().is_err() {
            panic!("a client failed: {:?}", engine.counters());
        }
    }
    println!("{:?}", engine.counters());
    let counters = *engine.counters();
    Some((std::mem::take(engine.application_mut()), counters))
}

fn connect() -> TcpStream {
    connect_to(TARGET)
}

fn connect_to(target: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&target, Duration::from_secs(30)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Sends `len` bytes in pieces while reading them back, half-closes, and checks every byte and the end.
fn exchange(len: usize, piece: usize, pause: Duration) {
    exchange_on(connect(), len, piece, pause);
}

fn exchange_on(stream: TcpStream, len: usize, piece: usize, pause: Duration) {
    let bytes: Vec<u8> =
        (0..len as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect();
    let (mut out, sent) = (stream.try_clone().unwrap(), bytes.clone());
    let writer = thread::spawn(move || {
        for part in sent.chunks(piece) {
            out.write_all(part).unwrap();
        }
        out.shutdown(Shutdown::Write).unwrap();
    });
    thread::sleep(pause);
    let mut answer = Vec::new();
    (&stream).read_to_end(&mut answer).unwrap();
    writer.join().unwrap();
    assert_eq!(answer.len(), len);
    assert!(
        answer == bytes,
        "byte {:?} differs",
        answer.iter().zip(&bytes).position(|(left, right)| left != right)
    );
}

#[test]
fn sizes_and_pieces_are_echoed() {
    let seen = serve(0.0, ALL, || {
        [(0, 1), (1, 1), (1_000, 1), (1_460, 1_460), (100_000, 333), (8_000_000, 65_536)]
            .map(|(len, piece)| thread::spawn(move || exchange(len, piece, Duration::ZERO)))
            .into()
    });
    if let Some((seen, _)) = seen {
        assert_eq!(seen.opened, 6);
        assert!(
            !seen.ended.contains(&Ended::TimedOut) && !seen.ended.contains(&Ended::Reset),
            "{:?}",
            seen.ended
        );
    }
}

/// Bytes of a frame on average, in and out, while one connection sends a lot and gets it back.
fn bulk_frames(offloads: Offloads) -> Option<[u64; 2]> {
    let (_, counters) =
        serve(0.0, offloads, || vec![thread::spawn(|| exchange(8_000_000, 65_536, Duration::ZERO))])?;
    assert!(counters.payload_in == 8_000_000 && counters.payload_out >= 8_000_000, "{counters:?}");
    Some([counters.bytes_in / counters.frames_in, counters.bytes_out / counters.frames_out])
}

#[test]
fn large_segments_cross_uncut_in_both_directions_where_that_is_asked_for() {
    let Some(large) = bulk_frames(ALL) else { return };
    assert!(large[0] > 1_600 && large[1] > 1_600, "{large:?} bytes a frame");
    let Some(cut) = bulk_frames(Offloads { checksum: true, segmentation: false }) else { return };
    assert!(cut[0] <= 1_514 && cut[1] <= 1_514, "{cut:?} bytes a frame");
}

#[test]
fn software_checksums_are_right() {
    serve(0.0, Offloads::default(), || vec![thread::spawn(|| exchange(3_000_000, 7_777, Duration::ZERO))]);
}

#[test]
fn a_reader_that_sleeps_closes_windows_and_loses_nothing() {
    serve(0.0, ALL, || {
        (0..4).map(|_| thread::spawn(|| exchange(4_000_000, 100_000, Duration::from_millis(700)))).collect()
    });
}

#[test]
fn many_connections_share_the_stack() {
    let seen = serve(0.0, ALL, || {
        (0..20)
            .map(|_| {
                thread::spawn(|| {
                    let streams: Vec<TcpStream> = (0..50).map(|_| connect()).collect();
                    for round in 0..5u8 {
                        for mut stream in &streams {
                            stream.write_all(&[round; 100]).unwrap();
                        }
                        for mut stream in &streams {
                            let mut answer = [0; 100];
                            stream.read_exact(&mut answer).unwrap();
                            assert_eq!(answer, [round; 100]);
                        }
                    }
                })
            })
            .collect()
    });
    if let Some((seen, _)) = seen {
        assert_eq!(seen.opened, 1_000);
    }
}

#[test]
fn loss_in_both_directions_costs_time_and_no_byte() {
    serve(0.03, ALL, || (0..4).map(|_| thread::spawn(|| exchange(400_000, 5_000, Duration::ZERO))).collect());
}

#[test]
fn resets_and_closed_ports_are_understood() {
    let seen = serve(0.0, ALL, || {
        vec![thread::spawn(|| {
            let closed = TcpStream::connect_timeout(&SocketAddr::from((ADDRESS, 9)), Duration::from_secs(30));
            assert_eq!(closed.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
            for _ in 0..20 {
                // Closing with unread bytes makes Linux send a reset.
                let mut stream = connect();
                stream.write_all(&[1; 10_000]).unwrap();
                let mut answer = [0; 1];
                stream.read_exact(&mut answer).unwrap();
            }
            exchange(100_000, 1_000, Duration::ZERO);
        })]
    });
    if let Some((seen, _)) = seen {
        assert!(
            seen.ended.iter().filter(|reason| **reason == Ended::Reset).count() >= 15,
            "{:?}",
            seen.ended
        );
    }
}

/// Packets that came to Linux with the mark that their sender listens to marks.
fn marked_packets() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/netstat").unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("IpExt: "));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let mut both = names.split(' ').zip(values.split(' '));
    both.find(|(name, _)| *name == "InECT0Pkts").and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

#[test]
fn linux_agrees_on_time_stamps_and_marks_of_congestion() {
    const CUT: Offloads = Offloads { checksum: true, segmentation: false };
    for loss in [0.0, 0.02] {
        let wish = |config: &mut Config| config.time_stamps = Agreement::WhenAsked;
        let seen = serve_as(wish, loss, CUT, || {
            // Linux asks for time stamps by itself, for marks when it is told to.
            std::fs::write("/proc/sys/net/ipv4/tcp_ecn", "1").expect("a network of our own");
            vec![thread::spawn(|| {
                exchange(1_000_000, 50_000, Duration::ZERO);
                assert!(marked_packets() > 500, "{} marked packets", marked_packets());
            })]
        });
        let Some((_, counters)) = seen else { return };
        // Ethernet, IP and TCP take 54 bytes of a frame, a time stamp 12 more. Some frames are about addresses, and shorter.
        let headers = counters.bytes_in - counters.payload_in;
        assert!(headers >= 66 * (counters.frames_in - 10), "{headers} bytes of headers: {counters:?}");
        assert_eq!(counters.old_duplicates, 0, "nothing of Linux's is old");
    }
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// Sends echo requests of several sizes from a raw socket and expects each back.
fn ping() {
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, recv, sendto, socket};
    let raw = match socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP)) {
        Ok(raw) => raw,
        Err(error) => return println!("SKIPPED: no raw socket: {error}"),
    };
    let deadline = rustix::net::sockopt::Timeout::Recv;
    rustix::net::sockopt::set_socket_timeout(&raw, deadline, Some(Duration::from_secs(30))).unwrap();
    for (sequence, len) in [0usize, 1, 56, 1_400].into_iter().enumerate() {
        let mut request = vec![8, 0, 0, 0, 0x12, 0x34, 0, sequence as u8];
        request.extend((0..len + len % 2).map(|i| i as u8));
        let sum = checksum(&request);
        request[2..4].copy_from_slice(&sum.to_be_bytes());
        sendto(&raw, &request, SendFlags::empty(), &SocketAddrV4::new(ADDRESS, 0)).unwrap();
        let mut answer = vec![0; 2_000];
        // A raw socket sees everything that comes by this protocol, an IPv4 header before it.
        let (got, _) = recv(&raw, &mut answer[..], RecvFlags::empty()).unwrap();
        let answer = &answer[20..got];
        assert_eq!((answer[0], answer[1], checksum(answer)), (0, 0, 0));
        assert_eq!(answer[4..], request[4..]);
    }
}

#[test]
fn echo_requests_are_answered() {
    serve(0.0, ALL, || vec![thread::spawn(ping)]);
}

/// Lets Linux speak IPv6 on the device, from the thread whose network it is. False when its tool is absent.
fn linux_speaks_ipv6() -> bool {
    let tap = TapConfig::default().name;
    let quiet = format!("/proc/sys/net/ipv6/conf/{tap}/disable_ipv6");
    if std::fs::write(quiet, "0").is_err() {
        println!("SKIPPED: this kernel has no IPv6");
        return false;
    }
    let mut ip = Command::new("ip");
    match ip.args(["-6", "address", "add", "fd00::1/64", "dev", &tap, "nodad"]).status() {
        Ok(status) => assert!(status.success(), "{ip:?}"),
        Err(error) => {
            println!("SKIPPED: ip (Debian: iproute2): {error}");
            return false;
        }
    }
    true
}

#[test]
fn linux_finds_us_by_its_neighbour_discovery_and_exchanges_bytes_over_ipv6() {
    for loss in [0.0, 0.03] {
        let mut spoke = false;
        let seen = serve(loss, ALL, || {
            spoke = linux_speaks_ipv6();
            let lens: &[usize] = if spoke { &[0, 1, 100_000, 3_000_000] } else { &[] };
            let exchange = |len| move || exchange_on(patient(TARGET6), len, 50_000, Duration::ZERO);
            lens.iter().map(|len| thread::spawn(exchange(*len))).collect()
        });
        let Some((seen, counters)) = seen else { return };
        if spoke {
            assert_eq!(seen.opened, 4);
            assert!(
                !seen.ended.contains(&Ended::TimedOut) && !seen.ended.contains(&Ended::Reset),
                "{:?}",
                seen.ended
            );
            assert_eq!(counters.accepted, 4);
        }
    }
}

/// Our address is ours a second after we began, and a device may lose questions for it: Linux gives up after three.
fn patient(target: SocketAddr) -> TcpStream {
    let started = Instant::now();
    loop {
        match TcpStream::connect_timeout(&target, Duration::from_secs(30)) {
            Ok(stream) => {
                stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
                return stream;
            }
            Err(error) => assert!(started.elapsed() < DEADLINE / 2, "{error}"),
        }
    }
}

#[test]
fn linux_pings_us_over_ipv6() {
    let seen = serve(0.0, ALL, || {
        if !linux_speaks_ipv6() || Command::new("ping").arg("-V").output().is_err() {
            println!("SKIPPED: no ping (Debian: iputils-ping)");
            return Vec::new();
        }
        // A thread that was started here is in the device's network.
        vec![thread::spawn(|| {
            let ping = Command::new("ping")
                .args(["-6", "-n", "-c", "3", "-i", "0.2", "-s", "1000", "-w", "20", "fd00::2"])
                .output()
                .unwrap();
            assert!(ping.status.success(), "{}", String::from_utf8_lossy(&ping.stdout));
        })]
    });
    drop(seen);
}

//! The whole way to prices of a service that has a name, with Debian's dnsmasq: an address and the name server are lent, the
//! name is asked for, and the prices reach the board. Over a TAP device in a network of the test's own.

mod server;

use nom_abi::board::{self, Prices};
use nom_echo::Echo;
use nom_service::configuration::Configuration;
use nom_service::home::{Home, NotMine};
use nom_service::worker::{Identity, Worker};
use server::LENT;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(120);
const MAC: [u8; 6] = [2, 0x6e, 0x6f, 0x6d, 0, 3];
const ANSWER: &str = r#"{"generation":7,"provider_unix_ns":0,"prices":{"core":"3 $/core/h"},"valid_s":600}"#;

/// A home as a guest has it: its board is its own to write.
struct Place {
    start: Instant,
    tap: OwnedFd,
    board: Vec<AtomicU64>,
}

impl Home for Place {
    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64 + 1
    }

    fn unix_ns(&self) -> u64 {
        0
    }

    fn wait(&mut self, until_ns: Option<u64>) {
        let most_ns = until_ns.map_or(u64::MAX, |until_ns| until_ns.saturating_sub(self.now_ns()));
        let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: most_ns.min(10_000_000) as i64 };
        let mut fds = [rustix::event::PollFd::new(&self.tap, rustix::event::PollFlags::IN)];
        let _ = rustix::event::poll(&mut fds, Some(&timeout));
    }

    fn board(&self) -> &[AtomicU64] {
        &self.board
    }

    fn publish(&mut self, prices: &Prices) -> Result<u64, NotMine> {
        board::publish(&self.board, prices).map_err(|_| NotMine)
    }

    fn management_read(&mut self, _bytes: &mut [u8]) -> usize {
        0
    }

    fn management_write(&mut self, bytes: &[u8]) -> usize {
        bytes.len()
    }

    fn core_time_ns(&self) -> u64 {
        self.now_ns()
    }

    fn memory_bytes(&self) -> u64 {
        1 << 20
    }

    fn entropy(&mut self, bytes: &mut [u8]) -> bool {
        bytes.fill(0x5a);
        true
    }
}

/// Answers one connection after the other, in the network of the thread that calls. Ends with the test.
fn tell_prices() {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let from = stream.peer_addr().map(|from| from.ip());
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while stream.read_line(&mut head).is_ok_and(|len| len > 0) {
                // A question about a generation is held.
                let whole = head.ends_with("\r\n\r\n");
                let named = head.starts_with("GET /now HTTP/1.1\r\nHost: prices.example:8080\r\n");
                if whole && named && from.as_ref().is_ok_and(|from| *from == IpAddr::V4(LENT)) {
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", ANSWER.len());
                    let _ = stream.get_mut().write_all((head + ANSWER).as_bytes());
                }
                if whole {
                    head.clear();
                }
            }
        }
    });
}

#[test]
fn prices_come_from_a_name_that_a_lent_server_knows() {
    let Some((_server, ingress, egress)) = server::start(&[]) else { return };
    let board: Vec<AtomicU64> = (0..board::WORDS).map(|_| AtomicU64::new(0)).collect();
    board::initialise(&board).unwrap();
    let tap = ingress.as_fd().try_clone_to_owned().unwrap();
    let mut place = Place { start: Instant::now(), tap, board };
    let text = "listen = 7\naddress = dhcp\nutility = simple\nvalue = 1 $/Mop\nlatency.limit = 1 ms\n\
                management.token = 00112233445566778899aabbccddeeff\nprices = http://prices.example:8080/now\n";
    let configuration = Configuration::parse(text).unwrap();
    let identity = Identity { application: "echo".into(), version: "0".into(), home: "test".into() };
    tell_prices();
    let mut worker =
        Worker::new(identity, configuration, MAC, ingress, egress, Echo::default(), &mut place).unwrap();
    while board::generation(&place.board) == 0 {
        assert!(place.start.elapsed() < DEADLINE, "no prices: {:?}", worker.engine().counters());
        worker.turn(&mut place);
    }
    let prices = board::read(&place.board).unwrap();
    let core = prices.rates[board::Resource::Core as usize].expect("a price of a core");
    assert_eq!(core.atto_per_unit, 3_000_000_000_000_000_000 / 3_600_000_000_000);
    assert_eq!(worker.engine().config().address, LENT);
}

//! A Linux process as a home: clock, board, management socket, meters, and one sleep for all of them.

use crate::management::Management;
use crate::outside::Outside;
use crate::team::Team;
use nom_abi::board::{self, Prices};
use nom_linux_board::{BoardError, Reader};
use nom_service::Window;
use nom_service::home::{Home, NotMine};
use nom_service::management::Stats;
use nom_service::share::Share;
use nom_stack::knobs::Knobs;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

/// How often a board that is not there yet is looked for.
const BOARD_RETRY_NS: u64 = 500_000_000;
/// Longest sleep, so that what has no descriptor (a board that appears) is seen.
const SLEEP_MAX_NS: u64 = 500_000_000;
/// Bytes of a page, the unit of `/proc/self/statm`.
const PAGE_LEN: u64 = 4096;

/// What a home is made of.
pub struct Parts {
    /// The program's name, for what it says to people.
    pub program: &'static str,
    /// Becomes readable when a frame waits.
    pub device: OwnedFd,
    /// Becomes readable when the process is asked to end.
    pub stop: UnixStream,
    /// Where the host connects.
    pub management: Management,
    /// Where the board is, or will be.
    pub board: PathBuf,
    /// Longest sleep that others allow.
    pub sleep_max_ns: u64,
    /// What it shows and keeps.
    pub outside: Outside,
    /// The cores, of which this is the first.
    pub team: Arc<Team>,
}

/// A Linux process.
pub struct LinuxHome {
    parts: Parts,
    reader: Option<Reader>,
    /// What is seen before there is a board: nothing.
    no_board: Vec<AtomicU64>,
    board_retry_ns: u64,
    board_refused: bool,
    pending: bool,
    /// The last time that anybody was told.
    told_ns: Cell<u64>,
    statm: Option<File>,
}

impl LinuxHome {
    /// A home; everything in it is non-blocking.
    pub fn new(parts: Parts) -> std::io::Result<Self> {
        parts.stop.set_nonblocking(true)?;
        let no_board: Vec<AtomicU64> = (0..board::WORDS).map(|_| AtomicU64::new(0)).collect();
        // The length is right by construction.
        let _ = board::initialise(&no_board);
        let statm = File::open("/proc/self/statm").ok();
        let mut home = Self {
            parts,
            reader: None,
            no_board,
            board_retry_ns: 0,
            board_refused: false,
            pending: true,
            told_ns: Cell::new(0),
            statm,
        };
        home.look_for_board(clock_ns(ClockId::Monotonic));
        Ok(home)
    }

    /// What a successor goes on with: the device and the management socket's listener.
    pub fn inheritance(&self) -> std::io::Result<(OwnedFd, OwnedFd)> {
        let listener = self.parts.management.listener().try_clone_to_owned()?;
        Ok((self.parts.device.try_clone()?, listener))
    }

    /// The last time that anybody was told, which costs nothing to ask.
    pub fn last_ns(&self) -> u64 {
        self.told_ns.get()
    }

    /// A new board is looked for; one that is there is kept, since its file outlives its publishers.
    fn look_for_board(&mut self, now_ns: u64) {
        if self.reader.is_none() && now_ns >= self.board_retry_ns {
            self.board_retry_ns = now_ns + BOARD_RETRY_NS;
            match Reader::open(&self.parts.board) {
                Ok(reader) => self.reader = Some(reader),
                // Its publisher may not have come yet.
                Err(BoardError::File("open", _, error)) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.board_refused, true) {
                        let program = self.parts.program;
                        eprintln!("{program}: {error}; serving without prices until it is one");
                    }
                }
            }
        }
    }
}

/// The time of a clock, in nanoseconds.
pub fn clock_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl LinuxHome {
    /// Until then, or until somebody has something for us: the device only when it is heard.
    fn sleep(&mut self, until_ns: Option<u64>, hears_device: bool) {
        let now_ns = self.now_ns();
        let sleep_ns =
            until_ns.map_or(SLEEP_MAX_NS, |until_ns| until_ns.saturating_sub(now_ns)).min(SLEEP_MAX_NS);
        let sleep_ns = sleep_ns.min(self.parts.sleep_max_ns);
        let timeout = Timespec { tv_sec: 0, tv_nsec: sleep_ns as i64 };
        let bell = self.parts.team.bell(0);
        let (stop, listener) = (self.parts.stop.as_fd(), self.parts.management.listener());
        // What has no descriptor of its own, or is not to be heard, lends its place to one that is watched anyway.
        let device = if hears_device { self.parts.device.as_fd() } else { stop };
        let board = self.reader.as_ref().and_then(Reader::notices).unwrap_or(device);
        self.pending |= self.parts.management.with_peer_fd(|peer| {
            let mut fds = [device, board, bell.as_fd(), stop, listener, peer]
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            // An interrupted sleep is an early one.
            let _ = poll(&mut fds, Some(&timeout));
            if !fds[2].revents().is_empty() {
                bell.heard();
            }
            fds[3..].iter().any(|fd| !fd.revents().is_empty())
        });
        if self.pending {
            // The bytes of signals have done their work by waking us.
            let _ = self.parts.stop.read(&mut [0; 16]);
        }
        if let Some(reader) = &mut self.reader {
            reader.heard(now_ns);
        }
        self.look_for_board(now_ns);
    }

    /// Whether the configuration is to be read again.
    pub fn is_asked_again(&self) -> bool {
        self.parts.outside.is_asked_again()
    }
}

impl Home for LinuxHome {
    /// The same for all processes of a machine, so that the board's stamps can be compared.
    fn now_ns(&self) -> u64 {
        let now_ns = clock_ns(ClockId::Monotonic);
        self.told_ns.set(now_ns);
        now_ns
    }

    fn unix_ns(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
    }

    fn wait(&mut self, until_ns: Option<u64>) {
        self.sleep(until_ns, true);
    }

    fn nap(&mut self, until_ns: u64) {
        self.sleep(Some(until_ns), false);
    }

    fn board(&self) -> &[AtomicU64] {
        self.reader.as_ref().map_or(&self.no_board, |reader| reader.words())
    }

    fn publish(&mut self, _prices: &Prices) -> Result<u64, NotMine> {
        Err(NotMine)
    }

    fn management_read(&mut self, bytes: &mut [u8]) -> usize {
        self.pending = false;
        self.parts.management.read(bytes)
    }

    fn management_write(&mut self, bytes: &[u8]) -> usize {
        self.parts.management.write(bytes)
    }

    fn management_peer(&self) -> u64 {
        self.parts.management.peer()
    }

    fn management_pending(&self) -> bool {
        self.pending
    }

    fn core_time_ns(&self) -> u64 {
        clock_ns(ClockId::ThreadCPUTime)
    }

    /// What is resident: the second number of `/proc/self/statm`.
    fn memory_bytes(&self) -> u64 {
        let mut text = [0; 128];
        let len = self.statm.as_ref().and_then(|file| file.read_at(&mut text, 0).ok()).unwrap_or(0);
        let words = std::str::from_utf8(&text[..len]).unwrap_or_default();
        words.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE_LEN
    }

    fn configuration(&mut self) -> Option<Result<String, String>> {
        Some(self.parts.outside.configuration())
    }

    fn told(&mut self, stats: &Stats) {
        self.parts.outside.told(stats);
    }

    fn others(&self) -> Option<Share> {
        self.parts.team.others()
    }

    fn lead(&mut self, knobs: &Knobs) {
        self.parts.team.lead(knobs);
    }

    fn drain_others(&mut self) -> bool {
        self.parts.team.drain()
    }

    fn sealed(&mut self, window: &Window) {
        self.parts.outside.sealed(window);
    }

    fn closed(&mut self) {
        self.parts.outside.closed();
    }

    fn entropy(&mut self, bytes: &mut [u8]) -> bool {
        let mut filled = 0;
        while filled < bytes.len() {
            match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
                Ok(len) => filled += len,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

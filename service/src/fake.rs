//! A home for tests: its clock is set by hand, its channel is two buffers.

use crate::home::{Home, NotMine};
use crate::share::Share;
use core::sync::atomic::AtomicU64;
use nom_abi::board::{self, Prices};
use std::collections::VecDeque;
use std::vec::Vec;

pub(crate) struct FakeHome {
    pub now_ns: u64,
    pub unix_ns: u64,
    pub core_ns: u64,
    pub board: Vec<AtomicU64>,
    pub mine: bool,
    pub to_read: VecDeque<u8>,
    pub written: Vec<u8>,
    pub write_room: usize,
    pub peer: u64,
    pub waits: Vec<Option<u64>>,
    pub others: Option<Share>,
}

impl FakeHome {
    pub(crate) fn new() -> Self {
        let words: Vec<AtomicU64> = (0..board::WORDS).map(|_| AtomicU64::new(0)).collect();
        board::initialise(&words).unwrap();
        Self {
            now_ns: 1_000_000_000,
            unix_ns: 1_800_000_000_000_000_000,
            core_ns: 0,
            board: words,
            mine: true,
            to_read: VecDeque::new(),
            written: Vec::new(),
            write_room: usize::MAX,
            peer: 1,
            waits: Vec::new(),
            others: None,
        }
    }
}

impl Home for FakeHome {
    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn unix_ns(&self) -> u64 {
        self.unix_ns + self.now_ns
    }

    fn wait(&mut self, until_ns: Option<u64>) {
        self.waits.push(until_ns);
    }

    fn board(&self) -> &[AtomicU64] {
        &self.board
    }

    fn publish(&mut self, prices: &Prices) -> Result<u64, NotMine> {
        if self.mine { Ok(board::publish(&self.board, prices).unwrap()) } else { Err(NotMine) }
    }

    fn management_read(&mut self, bytes: &mut [u8]) -> usize {
        let len = bytes.len().min(self.to_read.len());
        for byte in &mut bytes[..len] {
            *byte = self.to_read.pop_front().unwrap();
        }
        len
    }

    fn management_write(&mut self, bytes: &[u8]) -> usize {
        let len = bytes.len().min(self.write_room);
        self.write_room = self.write_room.saturating_sub(len);
        self.written.extend_from_slice(&bytes[..len]);
        len
    }

    fn management_peer(&self) -> u64 {
        self.peer
    }

    fn core_time_ns(&self) -> u64 {
        self.core_ns
    }

    fn others(&self) -> Option<Share> {
        self.others.clone()
    }

    fn memory_bytes(&self) -> u64 {
        16 << 20
    }

    fn entropy(&mut self, bytes: &mut [u8]) -> bool {
        bytes.fill(0x5a);
        true
    }
}

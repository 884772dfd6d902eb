//! A disk in software, with a cache that a loss of power empties: the driver proves itself on the host.

use crate::disk::{
    FEATURE_BLOCK_LEN, FEATURE_FLUSH, FEATURE_READ_ONLY, FLUSH, IO_ERROR, OK, READ, SECTOR_LEN, UNSUPPORTED,
    WRITE,
};
use alloc::vec;
use alloc::vec::Vec;
use nom_dma::fake::FakeMemory;
use nom_virtqueue::fake::{Chain, DeviceQueue, FakeDevice};
use nom_virtqueue::transport::{FEATURE_EVENT_INDEX, FEATURE_VERSION_1, KIND_BLOCK};

/// A request as the disk heard it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Its chain.
    pub chain: Chain,
    /// 0 reads, 1 writes, 4 flushes.
    pub kind: u32,
    /// First byte of the disk.
    pub place: u64,
    /// What is to be written.
    pub bytes: Vec<u8>,
}

/// A disk in software.
#[derive(Debug)]
pub struct FakeDisk {
    device: FakeDevice,
    memory: FakeMemory,
    queue: Option<DeviceQueue>,
    /// What readers see.
    pub contents: Vec<u8>,
    /// What is left when the power fails.
    pub kept: Vec<u8>,
    /// Places whose requests fail.
    pub bad: Vec<u64>,
    /// Interrupts that were raised.
    pub interrupts: u64,
}

impl FakeDisk {
    /// A disk of so many bytes in blocks of this size.
    pub fn new(len: usize, block_len: u32, read_only: bool, event_index: bool) -> Self {
        let mut offered = FEATURE_VERSION_1 | FEATURE_BLOCK_LEN | FEATURE_FLUSH;
        offered |= if read_only { FEATURE_READ_ONLY } else { 0 };
        offered |= if event_index { FEATURE_EVENT_INDEX } else { 0 };
        let mut config = [0; 24];
        config[..8].copy_from_slice(&(len as u64 / SECTOR_LEN).to_le_bytes());
        config[20..].copy_from_slice(&block_len.to_le_bytes());
        Self {
            device: FakeDevice::new(KIND_BLOCK, offered, &[64], &config),
            memory: FakeMemory::new(4 << 20),
            queue: None,
            contents: vec![0; len],
            kept: vec![0; len],
            bad: Vec::new(),
            interrupts: 0,
        }
    }

    /// The registers, for the driver.
    pub fn device(&self) -> FakeDevice {
        self.device.clone()
    }

    /// The memory that both reach.
    pub fn memory(&self) -> FakeMemory {
        self.memory.clone()
    }

    /// The ring as the device sees it. Panics before the driver started.
    pub fn queue(&mut self) -> &mut DeviceQueue {
        self.queue.get_or_insert_with(|| self.device.queue(&self.memory, 0).expect("the driver is started"))
    }

    /// Takes the next request.
    pub fn fetch(&mut self) -> Option<Heard> {
        let queue = self.queue();
        let chain = queue.pop().expect("reachable")?;
        let bytes = queue.gather(&chain).expect("reachable");
        let kind = u32::from_le_bytes(bytes[..4].try_into().expect("four"));
        let sector = u64::from_le_bytes(bytes[8..16].try_into().expect("eight"));
        Some(Heard { chain, kind, place: sector * SECTOR_LEN, bytes: bytes[16..].to_vec() })
    }

    /// Does it and tells the driver.
    pub fn serve(&mut self, heard: &Heard) {
        let start = heard.place as usize;
        let room: usize = heard.chain.writes.iter().map(|segment| segment.len as usize).sum();
        let mut answer = vec![0; room];
        let status = match heard.kind {
            _ if self.bad.contains(&heard.place) => IO_ERROR,
            READ => {
                answer[..room - 1].copy_from_slice(&self.contents[start..][..room - 1]);
                OK
            }
            WRITE => {
                self.contents[start..][..heard.bytes.len()].copy_from_slice(&heard.bytes);
                OK
            }
            FLUSH => {
                self.kept.copy_from_slice(&self.contents);
                OK
            }
            _ => UNSUPPORTED,
        };
        answer[room - 1] = status;
        self.answer(heard, &answer, room as u32);
    }

    /// Gives a request back with anything written and anything said of how much.
    pub fn answer(&mut self, heard: &Heard, bytes: &[u8], written: u32) {
        let queue = self.queue();
        queue.scatter(&heard.chain, bytes).expect("reachable");
        queue.push(heard.chain.head, written);
        let interrupt = queue.finish();
        self.interrupts += u64::from(interrupt);
    }
}

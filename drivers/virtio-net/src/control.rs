//! The queue for commands (virtio 1.2, 5.1.6.5): used when the device is started, one command at a time.
//!
//! ```text
//! the driver writes: class u8, command u8, data      the device writes: an answer u8, 0 for yes
//! ```

use nom_dma::{Block, DmaMemory};
use nom_virtqueue::transport::{Bell, StartError, Transport};
use nom_virtqueue::{Places, Queue, Segment};

/// Class: pairs of queues (5.1.6.5.6).
const CLASS_PAIRS: u8 = 4;
/// How many are used.
const PAIRS_SET: u8 = 0;
/// The device took the command.
const YES: u8 = 0;
/// What stands in the answer's place until the device wrote one.
const UNANSWERED: u8 = 0xa5;
/// Bytes of the longest command.
const COMMAND_LEN: usize = 4;
/// How often the device is looked at while it thinks: at 100 ns a look a second, on a busy machine several.
const LOOKS_MAX: usize = 10_000_000;

/// Where commands are written and answered.
#[derive(Debug)]
pub(crate) struct Control<B> {
    queue: Queue,
    block: Block,
    bell: B,
}

impl<B: Bell> Control<B> {
    pub(crate) fn new(queue: Queue, memory: &impl DmaMemory, bell: B) -> Result<Self, StartError> {
        let block = memory.allocate(COMMAND_LEN + 1, 64).ok_or(StartError::Memory)?;
        Ok(Self { queue, block, bell })
    }

    /// As at first, for a device that was reset. Answers where the ring is, and its size.
    pub(crate) fn restart(&mut self, event_index: bool) -> (Places, u16) {
        self.queue.restart(event_index);
        (self.queue.cells().places(), self.queue.size())
    }

    /// From now on the device spreads frames over so many pairs of queues.
    pub(crate) fn use_pairs(&mut self, transport: &impl Transport, pairs: u16) -> Result<(), StartError> {
        let [low, high] = pairs.to_le_bytes();
        self.command([CLASS_PAIRS, PAIRS_SET, low, high], transport)
    }

    fn command(&mut self, command: [u8; COMMAND_LEN], transport: &impl Transport) -> Result<(), StartError> {
        self.block.copy_in(0, &command);
        self.block.copy_in(COMMAND_LEN, &[UNANSWERED]);
        let segment = |offset, len| Segment { address: self.block.device_address(offset), len };
        let reads = [segment(0, COMMAND_LEN as u32)];
        let writes = [segment(COMMAND_LEN, 1)];
        // SAFETY: both lie in the block, which is never given back; the answer is copied out after the chain came back.
        unsafe { self.queue.add(&reads, &writes) }.map_err(|_| StartError::Command)?;
        if self.queue.publish() {
            self.bell.ring();
        }
        for _ in 0..LOOKS_MAX {
            if self.queue.take().is_some() {
                let mut answer = [UNANSWERED];
                self.block.copy_out(COMMAND_LEN, &mut answer);
                return if answer == [YES] { Ok(()) } else { Err(StartError::Command) };
            }
            if self.queue.fault().is_some() {
                break;
            }
            // Reading a register lets an emulator think; memory alone would only be spun on.
            let _ = transport.status();
        }
        Err(StartError::Command)
    }
}

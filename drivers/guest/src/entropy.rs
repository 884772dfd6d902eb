//! Random bytes from a device, for the runtime to mix with the processor's.

use crate::acquire;
use nom_dma::DmaMemory;
use nom_runtime::abi::device::kind;
use nom_runtime::{CallError, now_ns, wait};
use nom_virtio_rng::{ASK_LEN, Draw};
use nom_virtqueue::transport::StartError;

/// How long the device may think about all of it. A host that has no entropy yet makes its guests wait.
const PATIENCE_NS: u64 = 10_000_000_000;

/// Why there were no bytes, or too few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSource {
    /// There is no such device, or it is another application's.
    Device(CallError),
    /// It does not start.
    Start(StartError),
    /// It broke the contract, repeats itself, or thinks too long.
    Broken,
}

/// Asks a source of entropy for `len` bytes, hands them to the runtime, and gives the device back for others. Says how
/// many the runtime took.
pub fn contribute_entropy(memory: &impl DmaMemory, len: usize) -> Result<usize, NoSource> {
    let acquired = acquire(kind::ENTROPY).map_err(NoSource::Device)?;
    let vector = acquired.vector(0);
    let device = acquired.device;
    let mut source = nom_virtio_rng::start(acquired.registers, memory, vector).map_err(NoSource::Start)?;
    let until_ns = now_ns() + PATIENCE_NS;
    let (mut asked, mut taken, mut broken) = (0, 0, false);
    while asked < len && !broken {
        let mut bytes = [0; ASK_LEN];
        match source.draw(&mut bytes) {
            Draw::Bytes(count) => {
                asked += count;
                taken += nom_runtime::contribute(&bytes[..count.min(len + count - asked)]);
            }
            Draw::Thinking if now_ns() < until_ns => {
                if source.arm() {
                    wait(Some(until_ns), device.event());
                }
            }
            Draw::Thinking | Draw::Broken => broken = true,
        }
    }
    let stopped = source.stop();
    drop(source);
    // SAFETY: the driver was dropped, and with it every window over the registers. Its ring and buffer stay where they
    // are for good, so that a device which did not finish its reset writes to nobody else's memory.
    let released = unsafe { device.release() };
    match (broken, stopped, released) {
        (false, Ok(()), Ok(())) => Ok(taken),
        _ => Err(NoSource::Broken),
    }
}

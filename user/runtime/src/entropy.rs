//! Randomness from the processor, checked, and beside it whatever a device contributed.
//!
//! What is given out is the exclusive or of both: as long as one of them is good, so is the sum. Where the processor has
//! no generator, contributed bytes serve alone while they last. A contributed byte is used once.

use core::arch::x86_64::{__cpuid, _rdrand64_step};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

/// Neither the processor nor a device gave enough. A network stack must not start then: its sequence numbers could be
/// guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoEntropy;

/// How often one word is asked for: Intel's guidance is ten times.
const ATTEMPTS: usize = 10;
/// Words that are drawn for the health check.
const SAMPLES: usize = 8;
/// Contributed bytes that are kept; what comes when there are so many is left out.
pub const POOL_MAX: usize = 1024;

static POOL: [AtomicU8; POOL_MAX] = [const { AtomicU8::new(0) }; POOL_MAX];
static POOL_LEN: AtomicUsize = AtomicUsize::new(0);
/// Held while the pool changes: contexts of an application may come at the same time.
static POOL_TAKEN: AtomicBool = AtomicBool::new(false);

/// Adds random bytes from elsewhere than the processor, as many as there is room for. Says how many that were.
pub fn contribute(bytes: &[u8]) -> usize {
    with_pool(|len| {
        let count = bytes.len().min(POOL_MAX - len);
        for (place, byte) in POOL[len..len + count].iter().zip(bytes) {
            place.store(*byte, Ordering::Relaxed);
        }
        (len + count, count)
    })
}

/// Fills `bytes` with random bytes.
pub fn entropy(bytes: &mut [u8]) -> Result<(), NoEntropy> {
    let processor = processor_entropy(bytes);
    let enough = with_pool(|len| {
        if processor.is_err() && len < bytes.len() {
            return (len, false);
        }
        if processor.is_err() {
            bytes.fill(0);
        }
        let count = len.min(bytes.len());
        for (place, byte) in POOL[len - count..len].iter().zip(bytes.iter_mut()) {
            *byte ^= place.swap(0, Ordering::Relaxed);
        }
        (len - count, true)
    });
    if enough { Ok(()) } else { Err(NoEntropy) }
}

/// Does something with the pool, given its length; answers the new length and a result.
fn with_pool<R>(what: impl FnOnce(usize) -> (usize, R)) -> R {
    while POOL_TAKEN.swap(true, Ordering::Acquire) {
        core::hint::spin_loop();
    }
    let (len, result) = what(POOL_LEN.load(Ordering::Relaxed));
    POOL_LEN.store(len, Ordering::Relaxed);
    POOL_TAKEN.store(false, Ordering::Release);
    result
}

/// Random bytes from the processor, after drawing a few words that must not repeat.
fn processor_entropy(bytes: &mut [u8]) -> Result<(), NoEntropy> {
    const RDRAND: u32 = 1 << 30;
    if __cpuid(1).ecx & RDRAND == 0 {
        return Err(NoEntropy);
    }
    // A broken generator repeats itself (some processors answered all ones after a suspend).
    let mut samples = [0; SAMPLES];
    for place in 0..SAMPLES {
        let word = draw()?;
        if word == 0 || word == u64::MAX || samples[..place].contains(&word) {
            return Err(NoEntropy);
        }
        samples[place] = word;
    }
    for part in bytes.chunks_mut(8) {
        part.copy_from_slice(&draw()?.to_le_bytes()[..part.len()]);
    }
    Ok(())
}

fn draw() -> Result<u64, NoEntropy> {
    #[target_feature(enable = "rdrand")]
    fn step() -> Option<u64> {
        let mut word = 0;
        (_rdrand64_step(&mut word) == 1).then_some(word)
    }
    // SAFETY: the only caller has seen in CPUID that the instruction exists.
    (0..ATTEMPTS).find_map(|_| unsafe { step() }).ok_or(NoEntropy)
}

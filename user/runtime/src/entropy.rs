//! Randomness from the processor, checked.

use core::arch::x86_64::{__cpuid, _rdrand64_step};

/// The processor has no generator, or it does not work. A network stack must not start then: its sequence numbers
/// could be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoEntropy;

/// How often one word is asked for: Intel's guidance is ten times.
const ATTEMPTS: usize = 10;
/// Words that are drawn for the health check.
const SAMPLES: usize = 8;

/// Fills `bytes` with random bytes, after drawing a few that must not repeat.
pub fn entropy(bytes: &mut [u8]) -> Result<(), NoEntropy> {
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

//! A source of entropy feeds the runtime.

use crate::{Case, NotOk, Outcome, ensure};
use nom_guest_devices::{NoSource, contribute_entropy, memory};
use nom_runtime::CallError;

pub const CASES: [Case; 1] = [("rng_feeds_the_runtime", feeds)];

/// Bytes that are drawn.
const LEN: usize = 256;

fn feeds() -> Outcome {
    let memory = memory().map_err(|_| NotOk::Skipped("the image is not trusted"))?;
    let mut before = [0; LEN];
    let processor = nom_runtime::entropy(&mut before);
    // Twice: it was given back and can be had again.
    for _ in 0..2 {
        match contribute_entropy(&memory, LEN) {
            Err(NoSource::Device(CallError::NoSuch)) => {
                return Err(NotOk::Skipped("the machine has no source of entropy"));
            }
            Err(why) => return Err(alloc::format!("{why:?}").into()),
            Ok(taken) => ensure!(taken == LEN, "{taken} of {LEN} bytes were taken"),
        }
    }
    let mut drawn = [[0; LEN]; 2];
    for into in &mut drawn {
        ensure!(nom_runtime::entropy(into).is_ok(), "the runtime has no entropy with a source");
        // Of 256 fair bits per position far more than a third and fewer than two thirds are ones.
        let ones: u32 = into.iter().map(|byte| byte.count_ones()).sum();
        ensure!((750..1300).contains(&ones), "{ones} of 2048 bits are ones");
    }
    ensure!(drawn[0] != drawn[1] && drawn[0] != before, "the same bytes were given twice");
    // What was contributed is used up: without a processor's own there is nothing left.
    let after = nom_runtime::entropy(&mut before);
    ensure!(after == processor, "before {processor:?}, after {after:?}");
    Ok(())
}

//! What a bench on the host wants to know of a guest from inside: `# measure = spin SECONDS` in the configuration (a
//! comment for everybody else) looks at the clock for that long without a call, and then says what the kernel
//! counted meanwhile.

use core::sync::atomic::Ordering;

use nom_runtime::abi::statistics::Counter;
use nom_runtime::{configuration, log, now_ns, statistics};

/// How long to spin, when the configuration asks for it.
pub fn wanted() -> Option<u64> {
    let words = configuration().lines().find_map(|line| line.strip_prefix("# measure = spin "))?;
    words.trim().parse().ok()
}

fn counters() -> [u64; 3] {
    [Counter::Interrupts, Counter::TimerInterrupts, Counter::Calls]
        .map(|counter| statistics()[counter as usize].load(Ordering::Relaxed))
}

/// Spins, and says what was counted in one line.
pub fn run(seconds: u64) -> u8 {
    let until_ns = now_ns() + seconds * 1_000_000_000;
    let before = counters();
    while now_ns() < until_ns {
        core::hint::spin_loop();
    }
    let after = counters();
    let [device, timer, calls] = [0, 1, 2].map(|at| after[at] - before[at]);
    let kernel = statistics()[Counter::KernelFrames as usize].load(Ordering::Relaxed);
    log!("measured interrupts {} calls {calls} kernel_kib {}", device + timer, kernel * 4);
    0
}

//! A program that was compiled for Linux runs within an application.

use nom_linux_program::{CODE, FILE, OUTPUT, UNKNOWN};
use nom_runtime::abi::statistics::Counter;
use nom_trial::run_linux_program;

use crate::calls::counter;
use crate::paging::without_loss;
use crate::{Case, Outcome, ensure};

pub const CASES: [Case; 2] =
    [("foreign_program_runs", program_runs), ("foreign_program_refused", program_refused)];

fn program_runs() -> Outcome {
    without_loss(|| {
        let before = counter(Counter::FaultUpcalls);
        let ended = run_linux_program(FILE).map_err(|refused| alloc::format!("{refused:?}"))?;
        ensure!(ended.output == OUTPUT, "it printed {:?}", ended.output);
        ensure!(ended.code == CODE, "it exited with {}", ended.code);
        ensure!(ended.unknown == UNKNOWN, "{} calls were not known", ended.unknown);
        let upcalls = counter(Counter::FaultUpcalls) - before;
        ensure!(upcalls > OUTPUT.lines().count() as u64, "only {upcalls} upcalls");
        Ok(())
    })
}

fn program_refused() -> Outcome {
    for cut in [0, 1, 63, 64, FILE.len() / 4] {
        let answer = run_linux_program(&FILE[..cut]).map(|ended| ended.code);
        ensure!(answer.is_err(), "{cut} bytes of it: {answer:?}");
    }
    let mut elsewhere = alloc::vec::Vec::from(FILE);
    // The first segment's address (its program header is the first) becomes that of this application's own code.
    const FIRST_ADDRESS: usize = 64 + 16;
    elsewhere[FIRST_ADDRESS..FIRST_ADDRESS + 8].copy_from_slice(&0x40_0000_u64.to_le_bytes());
    let answer = run_linux_program(&elsewhere).map(|ended| ended.code);
    ensure!(answer.is_err(), "over our own code: {answer:?}");
    program_runs()
}

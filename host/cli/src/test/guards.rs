//! Counts that are the same each time, held against those that were agreed on.

use super::{Cases, Verdict};
use crate::service::progress;
use nom_experiments::guards;
use nom_experiments::instructions::PROGRAM;
use nom_machine::packages;
use nom_machine::trouble::Outcome;

/// Counts instructions, lines and bytes.
pub fn guards(cases: &mut Cases) -> Outcome<()> {
    if let Err(trouble) = packages::ensure(PROGRAM, PROGRAM, &mut progress) {
        cases.note("counts", Verdict::Skipped(trouble.to_string()));
        return Ok(());
    }
    for case in guards::cases(&mut progress)? {
        cases.note(&case.name, case.fault.map_or(Verdict::Passed, Verdict::Failed));
    }
    Ok(())
}

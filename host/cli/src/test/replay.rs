//! The same recorded arrivals and prices in every home.

use super::{Cases, Verdict};
use crate::service::progress;
use nom_experiments::replay;
use nom_machine::packages;
use nom_machine::qemu::{PACKAGE, PROGRAM};
use nom_machine::trouble::Outcome;

/// Plays a short piece in virtual time, against the Linux process, and against the guest on both machine types.
pub fn replay(cases: &mut Cases) -> Outcome<()> {
    packages::ensure(PROGRAM, PACKAGE, &mut progress)?;
    for case in replay::cases()? {
        cases.note(&case.name, case.fault.map_or(Verdict::Passed, Verdict::Failed));
    }
    Ok(())
}

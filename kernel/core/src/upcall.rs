//! When an application is entered to learn of an event or a fault: the state machine of upcalls.
//!
//! The state lives in the application's memory ([`nom_abi::upcall::Block`]); the kernel reads it as a claim and
//! decides here what to do. Whatever an application writes there harms itself alone.

use nom_abi::upcall::NESTING_MAX;

/// What the kernel sees when it is about to return to an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The application lets asynchronous upcalls in.
    pub enabled: bool,
    /// Events are pending.
    pub pending: bool,
    /// Frames on the upcall stack, as the block says.
    pub nesting: u64,
    /// The interrupted instruction is in the range that enables and returns.
    pub returning: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Go on where it was interrupted.
    Resume,
    /// Clear `enabled`, put a frame on the upcall stack, enter the handler. The frame says whether upcalls are to
    /// be enabled again afterwards.
    Enter {
        /// Goes into the frame.
        was_enabled: bool,
        /// Goes into the block.
        nesting: u64,
    },
    /// Clear `enabled` and go on at `again`: the return that was under way starts over and finds the events.
    Restart,
    /// It cannot take this fault: end it.
    End,
}

/// After an interrupt or a call: does something asynchronous have to be told?
pub fn asynchronous(view: View) -> Step {
    match view {
        View { pending: false, .. } => Step::Resume,
        View { returning: true, .. } => Step::Restart,
        View { enabled: false, .. } => Step::Resume,
        // Enabled means that no frame is in use, whatever the count says.
        _ => Step::Enter { was_enabled: true, nesting: 1 },
    }
}

/// After a fault: it cannot wait.
pub fn fault(view: View) -> Step {
    if view.nesting >= NESTING_MAX {
        return Step::End;
    }
    // A fault of the returning instructions themselves (a ruined frame) leaves upcalls disabled: trying to return
    // again would fault again.
    Step::Enter { was_enabled: view.enabled && !view.returning, nesting: view.nesting + 1 }
}

/// Where a frame goes, or `None` when it does not fit on the stack.
///
/// When the interrupted program already runs on the upcall stack the frame goes below it, leaving out the red zone;
/// otherwise to the top.
pub fn frame_place(stack: u64, stack_len: u64, interrupted: u64, frame_len: u64) -> Option<u64> {
    const RED_ZONE: u64 = 128;
    let end = stack.checked_add(stack_len)?;
    let top = if (stack..=end).contains(&interrupted) { interrupted.checked_sub(RED_ZONE)? } else { end };
    let place = top.checked_sub(frame_len)? & !15;
    (place >= stack).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::collections::{HashSet, VecDeque};

    #[test]
    fn frames_stay_on_the_stack() {
        assert_eq!(frame_place(0x1000, 0x1000, 0x9000, 192), Some(0x1f40));
        assert_eq!(frame_place(0x1000, 0x1000, 0x1808, 192), Some(0x16c0));
        assert_eq!(frame_place(0x1000, 0x1000, 0x1100, 192), None);
        assert_eq!(frame_place(0x1000, 0x1000, 0x2000, 192), Some(0x1ec0));
        assert_eq!(frame_place(0x1000, 0x80, 0x9000, 192), None);
        assert_eq!(frame_place(u64::MAX, 2, 0, 192), None);
    }

    #[test]
    fn faults_nest_to_their_bound() {
        let mut view = View { enabled: true, pending: false, nesting: 0, returning: false };
        for depth in 1..=NESTING_MAX {
            let Step::Enter { nesting, was_enabled } = fault(view) else { panic!("depth {depth}") };
            assert_eq!((nesting, was_enabled), (depth, depth == 1));
            view = View { nesting, enabled: false, ..view };
        }
        assert_eq!(fault(view), Step::End);
        assert_eq!(fault(View { nesting: u64::MAX, ..view }), Step::End);
    }

    /// Where the model of a ring-3 program is.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    enum At {
        /// In the program itself, upcalls enabled.
        Program,
        /// The program has disabled upcalls.
        Closed,
        /// `enable` has set the flag and not yet looked at the pending bits.
        Opened,
        /// At the handler's first instruction.
        Entered,
        /// The handler has taken the pending events and is about to return.
        Handled,
        /// About to compare pending with 0 (the range begins).
        Compare,
        /// Found nothing; about to enable.
        Enable,
        /// Enabled; about to execute `iretq` (the range's last instruction).
        Return,
        /// At `again`.
        Again,
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    struct World {
        at: At,
        enabled: bool,
        /// Events posted and not yet taken: told apart so that none can hide behind another.
        pending: u8,
        /// Events that will still come.
        to_come: u8,
        taken: u8,
        /// Frames in use.
        frames: u8,
    }

    fn kernel(world: &mut World) {
        let view = View {
            enabled: world.enabled,
            pending: world.pending > 0,
            nesting: u64::from(world.frames),
            returning: matches!(world.at, At::Compare | At::Enable | At::Return),
        };
        match asynchronous(view) {
            Step::Resume => {}
            Step::Enter { was_enabled, nesting } => {
                assert!(was_enabled);
                assert_eq!(nesting, 1);
                assert_eq!(world.frames, 0, "entered on top of a frame in use: {world:?}");
                assert!(matches!(world.at, At::Program | At::Opened));
                world.enabled = false;
                world.frames = 1;
                world.at = At::Entered;
            }
            Step::Restart => {
                world.enabled = false;
                world.at = At::Again;
            }
            Step::End => panic!("nobody is ended for an event"),
        }
    }

    fn steps(world: World) -> std::vec::Vec<World> {
        let mut next = std::vec::Vec::new();
        if world.to_come > 0 {
            let mut after = World { to_come: world.to_come - 1, pending: world.pending + 1, ..world };
            kernel(&mut after);
            next.push(after);
        }
        let mut after = world;
        match world.at {
            At::Program => {
                after.at = At::Closed;
                after.enabled = false;
            }
            At::Closed => {
                after.at = At::Opened;
                after.enabled = true;
            }
            At::Opened => {
                after.at = At::Program;
                if world.pending > 0 {
                    // The call that lets events in.
                    kernel(&mut after);
                }
            }
            At::Entered => {
                after.taken += world.pending;
                after.pending = 0;
                after.at = At::Handled;
            }
            At::Handled => after.at = At::Compare,
            At::Compare => after.at = if world.pending > 0 { At::Again } else { At::Enable },
            At::Enable => {
                after.enabled = true;
                after.at = At::Return;
            }
            At::Return => {
                after.frames = 0;
                after.at = At::Program;
            }
            At::Again => after.at = At::Entered,
        }
        next.push(after);
        next
    }

    /// Every interleaving of four events with the program, its critical sections and the return.
    #[test]
    fn no_event_is_lost_doubled_or_nested_in_any_interleaving() {
        const EVENTS: u8 = 4;
        let first =
            World { at: At::Program, enabled: true, pending: 0, to_come: EVENTS, taken: 0, frames: 0 };
        let mut seen = HashSet::from([first]);
        let mut queue = VecDeque::from([first]);
        while let Some(world) = queue.pop_front() {
            assert_eq!(world.taken + world.pending + world.to_come, EVENTS, "{world:?}");
            assert_eq!(
                world.frames > 0,
                matches!(
                    world.at,
                    At::Entered | At::Handled | At::Compare | At::Enable | At::Return | At::Again
                ),
                "{world:?}"
            );
            if matches!(world.at, At::Program) {
                // Whoever is back in the program with upcalls enabled has been told everything.
                assert_eq!(world.pending, 0, "an event sleeps: {world:?}");
            }
            for after in steps(world) {
                if seen.insert(after) {
                    queue.push_back(after);
                }
            }
        }
        assert!(seen.len() > 50, "{} states", seen.len());
    }
}

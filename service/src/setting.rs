//! Settings of the tuner as knobs of the stack, and back.

use nom_points::{self as points, Setting};
use nom_stack::knobs::{Batching, Knobs, Wait};

/// The knobs of a setting. What a setting does not speak of stays as configured. *Nothing* refuses new connections;
/// the worker then ends those that are open.
pub fn knobs(setting: Setting, configured: &Knobs) -> Knobs {
    match setting {
        Setting::Nothing => Knobs { connections_max: 0, ..*configured },
        Setting::Serve { wait, batching, ack_delay_ns } => Knobs {
            wait: match wait {
                points::Wait::Halt => Wait::Halt,
                points::Wait::Spin { budget_ns } => Wait::Spin { budget_ns },
                points::Wait::Poll => Wait::Poll,
            },
            batching: match batching {
                points::Batching::RunToCompletion => Batching::RunToCompletion,
                points::Batching::TakeQueued => Batching::TakeQueued,
                points::Batching::Hold { delay_ns } => Batching::from_delay_ns(delay_ns),
            },
            ack_delay_ns: ack_delay_ns.unwrap_or(configured.ack_delay_ns),
            ..*configured
        },
    }
}

/// The setting that configured knobs are.
pub fn setting(configured: &Knobs) -> Setting {
    let wait = match configured.wait {
        Wait::Halt => points::Wait::Halt,
        Wait::Spin { budget_ns } => points::Wait::Spin { budget_ns },
        Wait::Poll => points::Wait::Poll,
    };
    let batching = match configured.batching {
        Batching::RunToCompletion => points::Batching::RunToCompletion,
        Batching::TakeQueued => points::Batching::TakeQueued,
        Batching::Hold { delay_ns } => points::Batching::Hold { delay_ns },
    };
    Setting::serve(wait, batching)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_and_its_knobs_are_the_same() {
        let configured = Knobs { connections_max: 7, ..Knobs::default() };
        for text in ["wait=halt batch=0", "wait=spin:20us batch=queued", "wait=poll batch=14us"] {
            let wanted: Setting = text.parse().unwrap();
            let knobs = knobs(wanted, &configured);
            assert_eq!(setting(&knobs), wanted);
            assert_eq!(knobs.connections_max, 7);
        }
        assert_eq!(knobs(Setting::Nothing, &configured).connections_max, 0);
        let acked: Setting = "wait=halt batch=0 ack=1ms".parse().unwrap();
        assert_eq!(knobs(acked, &configured).ack_delay_ns, 1_000_000);
    }
}

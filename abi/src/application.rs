//! How an application is doing, as one word.

/// The longest name of an application or a channel in bytes.
pub const NAME_LEN_MAX: u64 = 40;

/// Where it is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    /// It was not started yet.
    #[default]
    Never = 0,
    /// It runs.
    Running = 1,
    /// It has ended.
    Ended = 2,
}

/// The answer of `ApplicationStatus`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// Where it is in its life.
    pub phase: Phase,
    /// How it ended last.
    pub code: u8,
    /// How often it was started.
    pub starts: u32,
}

impl Status {
    /// As a word.
    pub fn word(self) -> u64 {
        self.phase as u64 | u64::from(self.code) << 8 | u64::from(self.starts) << 16
    }

    /// Reverses [`Status::word`].
    pub fn from_word(word: u64) -> Status {
        let phase = match word & 0xff {
            0 => Phase::Never,
            1 => Phase::Running,
            _ => Phase::Ended,
        };
        Status { phase, code: (word >> 8) as u8, starts: (word >> 16) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives_the_word() {
        for phase in [Phase::Never, Phase::Running, Phase::Ended] {
            let status = Status { phase, code: 102, starts: 77_777 };
            assert_eq!(Status::from_word(status.word()), status);
        }
    }
}

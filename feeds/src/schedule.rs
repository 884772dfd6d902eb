//! A price schedule as people write it.
//!
//! ```text
//! # cheap for a minute, then dear
//! at 0 s: bandwidth 1 $/Gbit, core 0.04 $/core/h
//! at 60 s: bandwidth 10 $/Gbit
//! loop 120 s
//! ```
//!
//! Times rise from `at 0 s`. A price that a step does not name stays as it was; a loop begins again with the prices
//! of the first step alone.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use nom_money::{Prices, TextError, parse_duration_ns, print_duration};

/// Longest text.
pub const BYTES_MAX: usize = 256 * 1024;
/// Most steps.
pub const STEPS_MAX: usize = 10_000;

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there and what is expected.
    pub message: String,
}

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Begin and prices of each step, the first at 0.
    steps: Vec<(u64, Prices)>,
    loop_ns: Option<u64>,
}

/// What a schedule says about one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Counts the steps from 1, through all loops.
    pub generation: u64,
    /// The prices.
    pub prices: Prices,
    /// When they began, from the schedule's start.
    pub since_ns: u64,
    /// When the next step begins, from the schedule's start, and its prices.
    pub next: Option<(u64, Prices)>,
}

impl Schedule {
    /// Reads a schedule; strict, with the line at fault.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let refuse = |line, message: &str| Err(ScheduleError { line, message: message.into() });
        if text.len() > BYTES_MAX {
            return refuse(1, "the schedule is larger than 256 KiB");
        }
        let mut schedule = Self { steps: Vec::new(), loop_ns: None };
        let mut end = 1;
        for (index, content) in text.lines().enumerate() {
            let line = index + 1;
            end = line;
            let content = content.split('#').next().unwrap_or("").trim();
            if content.is_empty() {
                continue;
            }
            let wrong = |error: TextError| ScheduleError { line, message: alloc::format!("{error}") };
            if schedule.loop_ns.is_some() {
                return refuse(line, "nothing may follow 'loop'");
            }
            let last = schedule.steps.last().copied();
            if let Some(length) = content.strip_prefix("loop ") {
                let loop_ns = parse_duration_ns(length).map_err(wrong)?;
                match last {
                    None => return refuse(line, "'loop' before any 'at'"),
                    Some((begin, _)) if loop_ns <= begin => {
                        return refuse(line, "a loop must be longer than the begin of its last step");
                    }
                    Some(_) => schedule.loop_ns = Some(loop_ns),
                }
                continue;
            }
            let Some((time, prices)) = content.strip_prefix("at ").and_then(|rest| rest.split_once(':'))
            else {
                return refuse(
                    line,
                    "expected 'at 60 s: bandwidth 10 $/Gbit, core 0.04 $/core/h' or 'loop 120 s'",
                );
            };
            let begin_ns = parse_duration_ns(time).map_err(wrong)?;
            match last {
                None if begin_ns != 0 => return refuse(line, "the first step must be 'at 0 s'"),
                Some((before, _)) if begin_ns <= before => return refuse(line, "times must rise"),
                _ => {}
            }
            if schedule.steps.len() == STEPS_MAX {
                return refuse(line, "more than 10000 steps");
            }
            let before = last.map_or(Prices::NONE, |(_, prices)| prices);
            schedule.steps.push((begin_ns, step(line, prices, before)?));
        }
        if schedule.steps.is_empty() {
            return refuse(end, "the schedule is empty; expected 'at 0 s: bandwidth 1 $/Gbit'");
        }
        Ok(schedule)
    }

    /// A schedule of these steps: the first at 0, times rising, a price in each, the loop longer than the last begin.
    pub fn new(steps: Vec<(u64, Prices)>, loop_ns: Option<u64>) -> Result<Self, String> {
        let last = steps.last().map_or(0, |(begin, _)| *begin);
        if steps.is_empty() || steps.len() > STEPS_MAX || steps[0].0 != 0 {
            return Err("a schedule has one to 10000 steps, the first at 0".into());
        }
        if steps.windows(2).any(|pair| pair[0].0 >= pair[1].0)
            || loop_ns.is_some_and(|loop_ns| loop_ns <= last)
        {
            return Err("times must rise, and a loop must be longer than the begin of its last step".into());
        }
        if steps.iter().any(|(_, prices)| prices.is_none()) {
            return Err("a step has no price".into());
        }
        Ok(Self { steps, loop_ns })
    }

    /// The same over and over. Nothing when that is not longer than the begin of the last step.
    pub fn looped(self, loop_ns: u64) -> Option<Self> {
        Self::new(self.steps, Some(loop_ns)).ok()
    }

    /// The same in a fraction of the time. Nothing when two steps would become one.
    pub fn faster(self, times: u32) -> Option<Self> {
        let scaled = |time_ns: u64| time_ns.checked_div(u64::from(times));
        let steps = self.steps.iter().map(|(begin, prices)| scaled(*begin).map(|begin| (begin, *prices)));
        let loop_ns = match self.loop_ns {
            Some(loop_ns) => Some(scaled(loop_ns)?),
            None => None,
        };
        Self::new(steps.collect::<Option<Vec<_>>>()?, loop_ns).ok()
    }

    /// How long a round is; `None` when it does not begin again.
    pub fn round_ns(&self) -> Option<u64> {
        self.loop_ns
    }

    /// What holds so long after the start.
    pub fn at(&self, elapsed_ns: u64) -> Step {
        let (turns, within) = match self.loop_ns {
            Some(loop_ns) => (elapsed_ns / loop_ns, elapsed_ns % loop_ns),
            None => (0, elapsed_ns),
        };
        // The first step begins at 0, so there is always one.
        let index = self.steps.partition_point(|(begin, _)| *begin <= within) - 1;
        let start_ns = elapsed_ns - within;
        let next = match (self.steps.get(index + 1), self.loop_ns) {
            (Some((begin, prices)), _) => start_ns.checked_add(*begin).map(|begin| (begin, *prices)),
            (None, Some(loop_ns)) => start_ns.checked_add(loop_ns).map(|begin| (begin, self.steps[0].1)),
            (None, None) => None,
        };
        Step {
            generation: turns * self.steps.len() as u64 + index as u64 + 1,
            prices: self.steps[index].1,
            since_ns: start_ns + self.steps[index].0,
            next,
        }
    }
}

fn step(line: usize, text: &str, before: Prices) -> Result<Prices, ScheduleError> {
    let wrong = |error: TextError| ScheduleError { line, message: alloc::format!("{error}") };
    let mut prices = before;
    let mut named: Vec<&str> = Vec::new();
    for part in text.split(',') {
        let part = part.trim();
        let (name, rate) = part.split_once(char::is_whitespace).unwrap_or((part, ""));
        if named.contains(&name) {
            return Err(ScheduleError { line, message: alloc::format!("{name} stands twice") });
        }
        match name {
            "bandwidth" => prices.bandwidth = Some(rate.parse().map_err(wrong)?),
            "core" => prices.core = Some(rate.parse().map_err(wrong)?),
            "memory" => prices.memory = Some(rate.parse().map_err(wrong)?),
            _ => {
                let name: String = name.chars().take(40).collect();
                let message = alloc::format!(
                    "'{}' has no price; expected bandwidth, core or memory, such as bandwidth 10 $/Gbit",
                    name.escape_debug()
                );
                return Err(ScheduleError { line, message });
            }
        }
        named.push(name);
    }
    Ok(prices)
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (begin_ns, prices) in &self.steps {
            writeln!(f, "at {}: {prices}", print_duration(*begin_ns))?;
        }
        match self.loop_ns {
            Some(loop_ns) => writeln!(f, "loop {}", print_duration(loop_ns)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use nom_money::PerByte;

    const S: u64 = 1_000_000_000;
    const PAPER: &str = "\
# cheap for a minute, then dear
at 0 s: bandwidth 1 $/Gbit, core 0.04 $/core/h
at 60 s: bandwidth 10 $/Gbit   # ten times
loop 120 s
";

    #[test]
    fn a_schedule_is_read_followed_and_looped() {
        let schedule = Schedule::parse(PAPER).unwrap();
        let bandwidth = |elapsed| schedule.at(elapsed).prices.bandwidth;
        let (low, high) = (Some(PerByte(8_000_000_000)), Some(PerByte(80_000_000_000)));
        assert_eq!(
            [bandwidth(0), bandwidth(60 * S - 1), bandwidth(60 * S), bandwidth(120 * S)],
            [low, low, high, low]
        );
        assert!(schedule.at(60 * S).prices.core.is_some());
        let step = schedule.at(190 * S);
        assert_eq!((step.generation, step.since_ns), (4, 180 * S));
        assert_eq!(step.next.map(|(begin, prices)| (begin, prices.bandwidth)), Some((240 * S, low)));
        assert_eq!(schedule.at(u64::MAX).next, None);
        assert_eq!(Schedule::parse(&schedule.to_string()), Ok(schedule));
        let once = Schedule::parse("at 0 s: memory 0.005 $/GiB/h").unwrap();
        assert_eq!(once.at(u64::MAX).next, None);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let cases = [
            ("", 1, "empty"),
            ("# only a comment\n", 1, "empty"),
            ("at 1 s: bandwidth 1 $/Gbit", 1, "at 0 s"),
            ("at 0 s: bandwidth 1 $/Gbit\nat 0 s: bandwidth 2 $/Gbit", 2, "rise"),
            ("at 0 s: bandwidth 1", 1, "the unit is missing"),
            ("at 0 s: bandwidth 1 $/core/h", 1, "the unit is not known"),
            ("at 0 s: bandwidth 1 €/Gbit", 1, "the unit is not known"),
            ("at 0 s: bandwidth 1 $/Gbit, bandwidth 2 $/Gbit", 1, "twice"),
            ("at 0 s: disk 1 $/Gbit", 1, "'disk' has no price"),
            ("at 0 s:", 1, "has no price"),
            ("at 0: bandwidth 1 $/Gbit", 1, "the unit is missing"),
            ("\nloop 3 s", 2, "before any"),
            ("at 0 s: bandwidth 1 $/Gbit\nat 9 s: core 1 $/core/h\nloop 9 s", 3, "longer"),
            ("at 0 s: bandwidth 1 $/Gbit\nloop 3 s\nloop 3 s", 3, "nothing may follow"),
            ("hello", 1, "expected 'at"),
        ];
        for (text, line, part) in cases {
            let error = Schedule::parse(text).unwrap_err();
            assert!(error.line == line && error.message.contains(part), "{text:?}: {error}");
        }
    }

    #[test]
    fn mutated_text_never_breaks_the_reader() {
        let mut random = crate::json::tests::Random(77);
        let mut read = 0;
        for _ in 0..20_000 {
            let Some(text) = random.mutate(PAPER) else { continue };
            if let Ok(schedule) = Schedule::parse(&text) {
                read += 1;
                schedule.at(random.next());
                assert_eq!(Schedule::parse(&schedule.to_string()), Ok(schedule));
            }
        }
        assert!(read > 1_000, "{read}");
    }
}

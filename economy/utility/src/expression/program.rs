//! The flat program and the machine that runs it.

use core::fmt;

/// Most steps of a program.
pub const STEPS_MAX: usize = 48;
/// Deepest stack.
pub const STACK_MAX: usize = 12;

/// What a revenue may depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Accepted operations a second.
    Operations,
    /// Useful bytes a second.
    Bytes,
    /// Mean latency in seconds.
    Mean,
    /// Standard deviation of the latency in seconds.
    Jitter,
    /// Median.
    P50,
    /// 90th percentile.
    P90,
    /// 99th percentile.
    P99,
    /// 99.9th percentile.
    P999,
    /// Fraction of operations above the limit.
    Late,
}

impl Quantity {
    /// All of them, in the order of [`Conditions`].
    pub const ALL: [Self; 9] = [
        Self::Operations,
        Self::Bytes,
        Self::Mean,
        Self::Jitter,
        Self::P50,
        Self::P90,
        Self::P99,
        Self::P999,
        Self::Late,
    ];

    /// How it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operations => "operations",
            Self::Bytes => "bytes",
            Self::Mean => "mean",
            Self::Jitter => "jitter",
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::P999 => "p999",
            Self::Late => "late",
        }
    }

    /// Whether more of it is good for users.
    pub(super) const fn is_throughput(self) -> bool {
        matches!(self, Self::Operations | Self::Bytes)
    }
}

/// Under which conditions users are served: one number a quantity, latencies in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Conditions(pub [f64; Quantity::ALL.len()]);

impl Conditions {
    /// The number of a quantity.
    pub fn get(&self, quantity: Quantity) -> f64 {
        self.0[quantity as usize]
    }

    /// The same with another number.
    #[must_use]
    pub fn with(mut self, quantity: Quantity, value: f64) -> Self {
        self.0[quantity as usize] = value;
        self
    }
}

/// A step. Numbers are kept by their bits, so that programs can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Step {
    #[default]
    Nothing,
    Number(u64),
    Load(Quantity),
    Negate,
    Add,
    Subtract,
    Multiply,
    Divide,
    Least,
    Most,
    Below,
    AtMost,
    /// Condition, then, else.
    Choose,
}

impl Step {
    /// How many numbers it takes from the stack.
    const fn takes(self) -> usize {
        match self {
            Self::Nothing | Self::Number(_) | Self::Load(_) => 0,
            Self::Negate => 1,
            Self::Choose => 3,
            _ => 2,
        }
    }
}

/// A program. It was checked when it was made: it never takes what is not there and ends with one number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Program {
    steps: [Step; STEPS_MAX],
    len: usize,
    depth: usize,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps()).finish()
    }
}

impl Program {
    pub(super) const EMPTY: Self = Self { steps: [Step::Nothing; STEPS_MAX], len: 0, depth: 0 };

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps[..self.len]
    }

    /// Appends a step; false when there is no room for it or for its number.
    pub(super) fn push(&mut self, step: Step) -> bool {
        let Some(depth) = self.depth.checked_sub(step.takes()) else { return false };
        if self.len == STEPS_MAX || depth == STACK_MAX {
            return false;
        }
        self.steps[self.len] = step;
        self.len += 1;
        self.depth = depth + 1;
        true
    }

    /// Whether it depends on this.
    pub fn uses(&self, quantity: Quantity) -> bool {
        self.steps().contains(&Step::Load(quantity))
    }

    /// Which way each step goes that compares: a bit for each, at the step's place.
    pub(super) fn ways(&self, conditions: &Conditions) -> u64 {
        const { assert!(STEPS_MAX <= 64) };
        let mut ways = 0;
        self.run_and(conditions, |place, step, a, b| {
            let way = match step {
                Step::Least | Step::Below => a < b,
                Step::Most | Step::AtMost => a <= b,
                _ => false,
            };
            ways |= u64::from(way) << place;
        });
        ways
    }

    /// Runs it: the same bits on every machine, since every step is one that IEEE 754 defines.
    pub fn run(&self, conditions: &Conditions) -> f64 {
        self.run_and(conditions, |_, _, _, _| ())
    }

    /// The same, and shows each step with its place and what it takes first.
    #[inline(always)]
    fn run_and(&self, conditions: &Conditions, mut see: impl FnMut(usize, Step, f64, f64)) -> f64 {
        let mut stack = [0.0; STACK_MAX + 1];
        let mut top = 0;
        for (place, step) in self.steps().iter().enumerate() {
            let base = top - step.takes();
            let (a, b) = (stack[base], stack[base + 1]);
            see(place, *step, a, b);
            stack[base] = match *step {
                Step::Nothing => 0.0,
                Step::Number(bits) => f64::from_bits(bits),
                Step::Load(quantity) => conditions.get(quantity),
                Step::Negate => -a,
                Step::Add => a + b,
                Step::Subtract => a - b,
                Step::Multiply => a * b,
                Step::Divide => a / b,
                Step::Least => a.min(b),
                Step::Most => a.max(b),
                Step::Below => f64::from(u8::from(a < b)),
                Step::AtMost => f64::from(u8::from(a <= b)),
                Step::Choose if a != 0.0 => b,
                Step::Choose => stack[base + 2],
            };
            top = base + 1;
        }
        stack[0]
    }
}

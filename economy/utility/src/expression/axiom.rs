//! Looking for conditions under which users would pay more for less.

use super::Expression;
use super::program::{Conditions, Quantity, Step};
use alloc::boxed::Box;
use core::fmt;

/// Random pairs that are tried.
const PAIRS: u32 = 4_000;
/// Sweeps along each quantity, and stops of each.
const SWEEPS: u32 = 24;
const STOPS: u32 = 40;
/// Places between two stops at which something bends, and are looked at from both sides.
const BENDS: u32 = 8;
/// Halvings that find one: as far as numbers go.
const HALVINGS: u32 = 64;
/// Largest relative difference that is taken for rounding.
const SLACK: f64 = 1e-9;

/// Two conditions of which the second is worse for users and pays more; or one without a finite revenue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CounterExample {
    /// The quantity that was made worse.
    pub quantity: Quantity,
    /// Conditions and revenue in dollars a second.
    pub better: (Conditions, f64),
    /// The same with the quantity made worse.
    pub worse: (Conditions, f64),
}

impl fmt::Display for CounterExample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (better, worse) = (&self.better, &self.worse);
        if !worse.1.is_finite() {
            f.write_str("it has no finite value")?;
        } else {
            write!(f, "users pay {:.6e} $/s", better.1)?;
            write!(f, " with {} = {}", self.quantity.name(), shown(self.quantity, &better.0))?;
            write!(f, " and {:.6e} $/s with {}", worse.1, shown(self.quantity, &worse.0))?;
        }
        f.write_str(", at ")?;
        let mut separator = "";
        for quantity in Quantity::ALL {
            if quantity != self.quantity || !worse.1.is_finite() {
                write!(f, "{separator}{} = {}", quantity.name(), shown(quantity, &worse.0))?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

struct Shown(Quantity, f64);

fn shown(quantity: Quantity, conditions: &Conditions) -> Shown {
    Shown(quantity, conditions.get(quantity))
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Quantity::Operations => write!(f, "{:.3} op/s", self.1),
            Quantity::Bytes => write!(f, "{:.3} byte/s", self.1),
            Quantity::Late => write!(f, "{:.9}", self.1),
            _ => write!(f, "{:.3} us", self.1 * 1e6),
        }
    }
}

/// Searches; the same expression gives the same answer everywhere.
pub(super) fn check(expression: &Expression) -> Result<(), Box<CounterExample>> {
    let mut search = Search { expression, random: 0x9e37_79b9_7f4a_7c15 };
    // Throughput matters in any case: what is paid for one operation is multiplied by them.
    let used = |quantity: &Quantity| expression.uses(*quantity) || quantity.is_throughput();
    for quantity in Quantity::ALL.into_iter().filter(used) {
        for _ in 0..SWEEPS {
            let mut before = search.anywhere();
            for stop in 0..STOPS {
                let part = f64::from(stop) / f64::from(STOPS - 1);
                let next = search.moved(before, quantity, scale(quantity, part));
                if stop > 0 {
                    search.compare(quantity, before, next)?;
                    search.bends(quantity, before, next)?;
                }
                before = next;
            }
        }
        for _ in 0..PAIRS {
            let base = search.anywhere();
            let value = search.somewhere(quantity);
            let moved = search.moved(base, quantity, value);
            search.compare(quantity, base, moved)?;
        }
    }
    Ok(())
}

/// From little to much of a quantity, on a logarithmic scale but for fractions.
fn scale(quantity: Quantity, part: f64) -> f64 {
    match quantity {
        Quantity::Operations => libm::exp2(part * 36.0 - 10.0),
        Quantity::Bytes => libm::exp2(part * 44.0 - 10.0),
        Quantity::Late => part,
        _ => libm::exp2(part * 34.0 - 30.0),
    }
}

struct Search<'a> {
    expression: &'a Expression,
    random: u64,
}

impl Search<'_> {
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A value of a quantity: anywhere on its scale, or near a number of the text, which is where something bends.
    fn somewhere(&mut self, quantity: Quantity) -> f64 {
        let steps = self.expression.program.steps();
        let place = (self.next() % steps.len().max(1) as u64) as usize;
        let number = match steps.get(place) {
            Some(Step::Number(bits)) => f64::from_bits(*bits).abs(),
            _ => 0.0,
        };
        let near = match self.next() % 7 {
            0 => number,
            1 => number * (1.0 + 1e-6),
            2 => number * (1.0 - 1e-6),
            3 => number * 1.1,
            4 => 1.0 / number,
            _ => f64::NAN,
        };
        let (least, most) = (scale(quantity, 0.0), scale(quantity, 1.0));
        if (least..=most).contains(&near) {
            return near;
        }
        let part = self.part();
        match (quantity, self.next() % 4) {
            // The least and the most there can be, and small fractions.
            (Quantity::Late, 0) => 0.0,
            (Quantity::Late, 1) => 1.0,
            (Quantity::Late, 2) => libm::exp2(-24.0 * part),
            _ => scale(quantity, part),
        }
    }

    fn anywhere(&mut self) -> Conditions {
        let mut conditions = Conditions::default();
        for quantity in Quantity::ALL {
            let value = self.somewhere(quantity);
            conditions = self.moved(conditions, quantity, value);
        }
        conditions
    }

    /// With another value of a quantity; quantiles stay in order.
    fn moved(&self, conditions: Conditions, quantity: Quantity, value: f64) -> Conditions {
        const ORDER: [Quantity; 4] = [Quantity::P50, Quantity::P90, Quantity::P99, Quantity::P999];
        let mut moved = conditions.with(quantity, value);
        if let Some(place) = ORDER.iter().position(|known| *known == quantity) {
            for (other, known) in ORDER.iter().enumerate() {
                let kept = moved.get(*known);
                moved = moved.with(*known, if other < place { kept.min(value) } else { kept.max(value) });
            }
            // Moving down takes the larger ones along only as far as they were.
            if value < conditions.get(quantity) {
                for known in &ORDER[place + 1..] {
                    moved = moved.with(*known, conditions.get(*known));
                }
            }
        }
        moved
    }

    /// Looks at both sides of each place between two conditions where a comparison of the text turns over: what is paid within
    /// a narrow window, whose ends may stand nowhere in the text, is seen there.
    fn bends(
        &self,
        quantity: Quantity,
        mut from: Conditions,
        to: Conditions,
    ) -> Result<(), Box<CounterExample>> {
        let program = &self.expression.program;
        for _ in 0..BENDS {
            let ways = program.ways(&from);
            if ways == program.ways(&to) {
                return Ok(());
            }
            // Always: on this side of the bend, and beyond it.
            let (mut here, mut beyond) = (from, to);
            for _ in 0..HALVINGS {
                let middle = 0.5 * (here.get(quantity) + beyond.get(quantity));
                let between = self.moved(here, quantity, middle);
                if between == here || between == beyond {
                    break;
                }
                *(if program.ways(&between) == ways { &mut here } else { &mut beyond }) = between;
            }
            self.compare(quantity, from, here)?;
            self.compare(quantity, here, beyond)?;
            self.compare(quantity, beyond, to)?;
            from = beyond;
        }
        Ok(())
    }

    /// Whichever of the two is worse for users must not pay more.
    fn compare(
        &self,
        quantity: Quantity,
        one: Conditions,
        two: Conditions,
    ) -> Result<(), Box<CounterExample>> {
        let second_is_worse = (two.get(quantity) > one.get(quantity)) != quantity.is_throughput();
        let (better, worse) = if second_is_worse { (one, two) } else { (two, one) };
        let paid = |conditions: &Conditions| self.expression.revenue(conditions);
        let (much, little) = (paid(&better), paid(&worse));
        let example = CounterExample { quantity, better: (better, much), worse: (worse, little) };
        if !much.is_finite() {
            return Err(Box::new(CounterExample { worse: (better, much), ..example }));
        }
        let slack = SLACK * (much.abs() + little.abs());
        if little.is_finite() && little <= much + slack || better == worse {
            Ok(())
        } else {
            Err(Box::new(example))
        }
    }
}

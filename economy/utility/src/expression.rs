//! A person's own revenue: `0.2 $/Mop * (1 - min(1, 100 * late))`.
//!
//! A text is read once into a flat program for a small stack machine: no list is walked and nothing is allocated when
//! it is evaluated. Every number carries its unit, dimensions are checked, and what comes out must be dollars a second
//! ([`Form::Rate`]), or dollars an operation or a useful byte, which is multiplied by them ([`Form::Unit`]).
//!
//! ```text
//! operations bytes        accepted operations and useful bytes a second
//! mean jitter             of the latency
//! p50 p90 p99 p999        quantiles of the latency
//! late                    the fraction of operations above latency.limit
//! + - * /  min(a, b)  max(a, b)  if(a <= b, c, d)        also <, >= and >
//! ```
//!
//! The utility axiom binds it at fixed billed quantities: never worse for more throughput, never better for more
//! latency, jitter or lateness. [`Expression::parse`] looks for a counter-example and refuses with it. It is a search,
//! not a proof: it sweeps every quantity that is used, looks at both sides of every place where a comparison turns over on
//! the way, and visits the neighbourhood of every number in the text.

use crate::Basis;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

mod axiom;
mod parse;
mod program;
#[cfg(test)]
mod tests;
mod unit;

pub use axiom::CounterExample;
pub use program::{Conditions, Program, Quantity};

/// Longest text.
pub const TEXT_LEN_MAX: usize = 512;

/// What comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Dollars a second.
    Rate,
    /// Dollars for one of these.
    Unit(Basis),
}

/// An expression that keeps the axiom, as far as the search could tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expression {
    program: Program,
    form: Form,
}

/// Why a text is no revenue.
#[derive(Debug, Clone, PartialEq)]
pub enum ExpressionError {
    /// It cannot be read.
    Text {
        /// Byte in the text.
        at: usize,
        /// What is wrong there.
        message: String,
    },
    /// It breaks the axiom.
    Axiom(Box<CounterExample>),
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { at, message } => write!(f, "letter {}: {message}", at + 1),
            Self::Axiom(example) => write!(f, "it breaks the utility axiom: {example}"),
        }
    }
}

impl Expression {
    /// Reads a text, checks its dimensions, and looks for a counter-example to the axiom.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        let (program, form) = parse::parse(text)?;
        let expression = Self { program, form };
        axiom::check(&expression).map_err(ExpressionError::Axiom)?;
        Ok(expression)
    }

    /// What comes out of [`Expression::value`].
    pub fn form(&self) -> Form {
        self.form
    }

    /// Whether it depends on this.
    pub fn uses(&self, quantity: Quantity) -> bool {
        self.program.uses(quantity)
    }

    /// The number itself, in dollars for one of its form.
    pub fn value(&self, conditions: &Conditions) -> f64 {
        self.program.run(conditions)
    }

    /// Dollars a second.
    pub fn revenue(&self, conditions: &Conditions) -> f64 {
        let value = self.value(conditions);
        match self.form {
            Form::Rate => value,
            Form::Unit(Basis::Operation) => value * conditions.get(Quantity::Operations),
            Form::Unit(Basis::UsefulByte) => value * conditions.get(Quantity::Bytes),
        }
    }
}

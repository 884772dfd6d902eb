//! From text to a program, one step a symbol, dimensions alongside.

use super::program::{Program, Quantity, Step};
use super::unit::{Dimension, leading};
use super::{ExpressionError, Form, TEXT_LEN_MAX};
use crate::Basis;
use alloc::format;
use alloc::string::String;

/// Deepest nesting of brackets and signs.
const NESTING_MAX: usize = 16;

/// A dimension; none for a bare 0, which is nothing of anything.
type Kind = Option<Dimension>;

/// Reads a text.
pub(super) fn parse(text: &str) -> Result<(Program, Form), ExpressionError> {
    let mut reader = Reader { text, at: 0, program: Program::EMPTY };
    if text.len() > TEXT_LEN_MAX {
        return reader.refuse("the text is longer than 512 letters");
    }
    let kind = reader.sum(0)?;
    reader.space();
    if reader.at != text.len() {
        return reader.refuse("an operator or the end is expected");
    }
    let form = match kind {
        None => return reader.refuse("it is always nothing"),
        Some(Dimension::DOLLAR_RATE) => Form::Rate,
        Some(Dimension::PER_OPERATION) => Form::Unit(Basis::Operation),
        Some(Dimension::PER_BYTE) => Form::Unit(Basis::UsefulByte),
        Some(other) => return reader.refuse(format!("it gives {other}; expected $/s, $/op or $/byte")),
    };
    Ok((reader.program, form))
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    program: Program,
}

impl Reader<'_> {
    fn refuse<T>(&self, message: impl Into<String>) -> Result<T, ExpressionError> {
        Err(ExpressionError::Text { at: self.at, message: message.into() })
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at += self.rest().bytes().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    }

    fn take(&mut self, symbol: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(symbol);
        self.at += if found { symbol.len() } else { 0 };
        found
    }

    fn need(&mut self, symbol: &str) -> Result<(), ExpressionError> {
        if self.take(symbol) { Ok(()) } else { self.refuse(format!("'{symbol}' is expected")) }
    }

    fn push(&mut self, step: Step) -> Result<(), ExpressionError> {
        if self.program.push(step) { Ok(()) } else { self.refuse("it is too long or nested too deep") }
    }

    /// Both sides of what compares or adds must be of one dimension.
    fn same(&self, left: Kind, right: Kind) -> Result<Kind, ExpressionError> {
        match (left, right) {
            (Some(left), Some(right)) if left != right => {
                self.refuse(format!("{left} and {right} do not go together"))
            }
            _ => Ok(left.or(right)),
        }
    }

    fn sum(&mut self, nesting: usize) -> Result<Kind, ExpressionError> {
        let mut kind = self.product(nesting)?;
        loop {
            let step = if self.take("+") {
                Step::Add
            } else if self.take("-") {
                Step::Subtract
            } else {
                return Ok(kind);
            };
            let right = self.product(nesting)?;
            kind = self.same(kind, right)?;
            self.push(step)?;
        }
    }

    fn product(&mut self, nesting: usize) -> Result<Kind, ExpressionError> {
        let mut kind = self.factor(nesting)?;
        loop {
            let (step, sign) = if self.take("*") {
                (Step::Multiply, 1)
            } else if self.take("/") {
                (Step::Divide, -1)
            } else {
                return Ok(kind);
            };
            let right = self.factor(nesting)?;
            kind = match (kind, right) {
                (Some(left), Some(right)) => Some(left.times(right, sign)),
                (_, None) if step == Step::Divide => return self.refuse("it divides by nothing"),
                _ => None,
            };
            self.push(step)?;
        }
    }

    fn factor(&mut self, nesting: usize) -> Result<Kind, ExpressionError> {
        if nesting == NESTING_MAX {
            return self.refuse("it is nested too deep");
        }
        if self.take("-") {
            let kind = self.factor(nesting + 1)?;
            self.push(Step::Negate)?;
            return Ok(kind);
        }
        if self.take("(") {
            let kind = self.sum(nesting + 1)?;
            self.need(")")?;
            return Ok(kind);
        }
        self.space();
        match self.rest().bytes().next() {
            Some(b'0'..=b'9') => self.number(),
            Some(b'a'..=b'z') => self.word(nesting),
            _ => self.refuse("a number, a quantity or a bracket is expected"),
        }
    }

    fn number(&mut self) -> Result<Kind, ExpressionError> {
        let rest = self.rest();
        let end = rest.bytes().position(|byte| !byte.is_ascii_digit() && byte != b'.').unwrap_or(rest.len());
        let digits = &rest[..end];
        // A point stands between digits, once.
        let good = !digits.ends_with('.') && digits.matches('.').count() <= 1;
        let value = match digits.parse::<f64>() {
            Ok(value) if good => value,
            _ => return self.refuse("it is no number"),
        };
        self.at += end;
        self.space();
        let (size, kind) = match leading(self.rest()) {
            Some((len, size, dimension)) => {
                self.at += len;
                (size, Some(dimension))
            }
            None if value == 0.0 => (1.0, None),
            None => (1.0, Some(Dimension::NONE)),
        };
        self.push(Step::Number((value * size).to_bits()))?;
        Ok(kind)
    }

    fn word(&mut self, nesting: usize) -> Result<Kind, ExpressionError> {
        let rest = self.rest();
        let end = rest.bytes().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let word = &rest[..end];
        if let Some(quantity) = Quantity::ALL.into_iter().find(|quantity| quantity.name() == word) {
            self.at += end;
            self.push(Step::Load(quantity))?;
            return Ok(Some(match quantity {
                Quantity::Operations => Dimension::OPERATION_RATE,
                Quantity::Bytes => Dimension::BYTE_RATE,
                Quantity::Late => Dimension::NONE,
                _ => Dimension::SECOND,
            }));
        }
        let step = match word {
            "min" => Step::Least,
            "max" => Step::Most,
            "if" => Step::Choose,
            _ => {
                let word: String = word.chars().take(20).collect();
                return self.refuse(format!(
                    "'{word}' is not known; there are operations, bytes, mean, jitter, p50, p90, p99, p999, late, \
                     min, max and if"
                ));
            }
        };
        self.at += end;
        self.need("(")?;
        if step == Step::Choose {
            self.condition(nesting + 1)?;
            self.need(",")?;
        }
        let left = self.sum(nesting + 1)?;
        self.need(",")?;
        let right = self.sum(nesting + 1)?;
        self.need(")")?;
        let kind = self.same(left, right)?;
        self.push(step)?;
        Ok(kind)
    }

    /// `a <= b` and so on. `a >= b` is `-a <= -b`, so that the sides stay in their order on the stack.
    fn condition(&mut self, nesting: usize) -> Result<(), ExpressionError> {
        let left = self.sum(nesting)?;
        let (step, turned) = if self.take("<=") {
            (Step::AtMost, false)
        } else if self.take("<") {
            (Step::Below, false)
        } else if self.take(">=") {
            (Step::AtMost, true)
        } else if self.take(">") {
            (Step::Below, true)
        } else {
            return self.refuse("a comparison is expected");
        };
        if turned {
            self.push(Step::Negate)?;
        }
        let right = self.sum(nesting)?;
        if turned {
            self.push(Step::Negate)?;
        }
        self.same(left, right)?;
        self.push(step)
    }
}

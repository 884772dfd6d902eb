//! A contract from the words of a configuration.

use crate::expression::{Conditions, Expression, Quantity};
use crate::{Basis, Contract, Kind, TailRule};
use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;
use nom_money::{
    ATTO, BonusPerByte, BonusPerOperation, Nano, PerByte, PerOperation, RefundPerByte, RefundPerOperation,
    TextError, parse_duration_ns,
};

/// The values of the configuration's keys, as they were written. What is absent is `None`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms<'a> {
    /// `utility`: `simple`, `penalty`, `refund`, `bonus` or `own`.
    pub utility: Option<&'a str>,
    /// `value`: alpha, per operation or per useful byte; it decides which. An expression for own.
    pub value: Option<&'a str>,
    /// `latency.limit`: L0, for simple, penalty, and an expression with `late`.
    pub latency_limit: Option<&'a str>,
    /// `penalty.factor`: X, for penalty.
    pub penalty_factor: Option<&'a str>,
    /// `penalty.tail`: `counted` (default) or `normal`, for penalty.
    pub penalty_tail: Option<&'a str>,
    /// `refund`: beta, for refund.
    pub refund: Option<&'a str>,
    /// `bonus`: gamma, for bonus.
    pub bonus: Option<&'a str>,
    /// `bonus.max`: delta, for bonus; absent means no limit.
    pub bonus_max: Option<&'a str>,
}

/// Why terms are no contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TermsError {
    /// The key at fault.
    pub key: &'static str,
    /// What is wrong and what to write.
    pub message: String,
}

impl fmt::Display for TermsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

fn wrong(key: &'static str, message: impl ToString) -> TermsError {
    TermsError { key, message: message.to_string() }
}

fn rate<R: FromStr<Err = TextError>>(
    key: &'static str,
    text: &str,
    atto: impl Fn(R) -> i128,
) -> Result<i128, TermsError> {
    let atto = atto(text.parse().map_err(|error: TextError| wrong(key, error))?);
    if atto < 0 { Err(wrong(key, "it must not be negative")) } else { Ok(atto) }
}

impl Terms<'_> {
    /// The contract that these terms mean. A term that its utility does not use is refused: it would promise
    /// something that is not kept.
    pub fn contract(&self) -> Result<Contract, TermsError> {
        let need = |key, value: Option<&'_ str>, example| {
            value
                .map(ToString::to_string)
                .ok_or_else(|| wrong(key, alloc::format!("is missing; such as {example}")))
        };
        let utility = need("utility", self.utility, "penalty (or simple, refund, bonus, own)")?;
        let uses: &[&str] = match utility.trim() {
            "simple" => &["latency.limit"],
            "penalty" => &["latency.limit", "penalty.factor", "penalty.tail"],
            "refund" => &["refund"],
            "bonus" => &["bonus", "bonus.max"],
            "own" => &["latency.limit"],
            _ => return Err(wrong("utility", "expected simple, penalty, refund, bonus or own")),
        };
        let given = [
            ("latency.limit", self.latency_limit),
            ("penalty.factor", self.penalty_factor),
            ("penalty.tail", self.penalty_tail),
            ("refund", self.refund),
            ("bonus", self.bonus),
            ("bonus.max", self.bonus_max),
        ];
        for (key, value) in given {
            if value.is_some() && !uses.contains(&key) {
                return Err(wrong(
                    key,
                    alloc::format!("is not used by utility = {}; remove it", utility.trim()),
                ));
            }
        }
        if utility.trim() == "own" {
            return self.own();
        }
        let value = need("value", self.value, "0.2 $/Mop or 20 $/Gbit")?;
        let basis = basis_of(&value)?;
        let operation = basis == Basis::Operation;
        let worth = |key, text: &str| {
            if operation {
                rate(key, text, |rate: PerOperation| rate.0)
            } else {
                rate(key, text, |rate: PerByte| rate.0)
            }
        };
        let limit = || -> Result<u64, TermsError> {
            let text = need("latency.limit", self.latency_limit, "750 us")?;
            parse_duration_ns(&text).map_err(|error| wrong("latency.limit", error))
        };
        let kind = match utility.trim() {
            "simple" => Kind::Simple { limit_ns: limit()? },
            "penalty" => {
                let factor: Nano = need("penalty.factor", self.penalty_factor, "100")?
                    .parse()
                    .map_err(|error| wrong("penalty.factor", error))?;
                let tail = match self.penalty_tail.map(str::trim) {
                    None | Some("counted") => TailRule::Counted,
                    Some("normal") => TailRule::Normal,
                    Some(_) => return Err(wrong("penalty.tail", "expected counted or normal")),
                };
                Kind::Penalty { limit_ns: limit()?, factor, tail }
            }
            "refund" => {
                let text = need("refund", self.refund, "10 $/(Gbit s) or 0.001 $/(op s)")?;
                let beta_atto = if operation {
                    rate("refund", &text, |rate: RefundPerOperation| rate.0)?
                } else {
                    rate("refund", &text, |rate: RefundPerByte| rate.0)?
                };
                Kind::Refund { beta_atto }
            }
            _ => {
                let text = need("bonus", self.bonus, "0.01 $ s/Gbit or 0.00001 $ s/Mop")?;
                let gamma_atto = if operation {
                    rate("bonus", &text, |rate: BonusPerOperation| rate.0)?
                } else {
                    rate("bonus", &text, |rate: BonusPerByte| rate.0)?
                };
                let delta_atto = self.bonus_max.map(|text| worth("bonus.max", text)).transpose()?;
                Kind::Bonus { gamma_atto, delta_atto }
            }
        };
        let alpha_atto = worth("value", &value)?;
        if alpha_atto > most(basis) {
            return Err(wrong("value", BEYOND_BELIEF));
        }
        Ok(Contract { basis, alpha_atto, kind, own: None })
    }

    fn own(&self) -> Result<Contract, TermsError> {
        let text = self
            .value
            .ok_or_else(|| wrong("value", "is missing; such as 0.2 $/Mop * (1 - min(1, 100 * late))"))?;
        let expression = Expression::parse(text).map_err(|error| wrong("value", error))?;
        let limit = self.latency_limit.map(parse_duration_ns).transpose();
        let limit_ns = limit.map_err(|error| wrong("latency.limit", error))?;
        if expression.uses(Quantity::Late) != limit_ns.is_some() {
            return Err(wrong("latency.limit", "is needed by an expression with late, and by no other"));
        }
        let contract = Contract::own(expression, limit_ns).map_err(|message| wrong("value", message))?;
        // By the axiom nothing pays more than what users can hardly notice.
        let best = Conditions::default().with(Quantity::Mean, NOTICED_S).with(Quantity::Jitter, NOTICED_S);
        if expression.value(&best) * ATTO as f64 > most(contract.basis) as f64 {
            return Err(wrong("value", BEYOND_BELIEF));
        }
        Ok(contract)
    }
}

const BEYOND_BELIEF: &str = "beyond belief: at most 1000 $/op or 1000 $/Gbit; is the unit the right one?";

/// A latency that is as good as none, in seconds.
const NOTICED_S: f64 = 1e-6;

/// Highest value that is believed: with one that somebody mistyped every setting pays, and sums overflow.
fn most(basis: Basis) -> i128 {
    match basis {
        Basis::Operation => 1000 * ATTO,
        Basis::UsefulByte => 1000 * ATTO / 125_000_000,
    }
}

/// The unit of the value decides what users pay for.
fn basis_of(value: &str) -> Result<Basis, TermsError> {
    match (value.parse::<PerOperation>(), value.parse::<PerByte>()) {
        (Ok(_), _) => Ok(Basis::Operation),
        (_, Ok(_)) => Ok(Basis::UsefulByte),
        (Err(operation), Err(byte)) => {
            Err(wrong("value", alloc::format!("{operation}, or {}", byte.expected)))
        }
    }
}

//! What users pay, and for what.

use crate::expression::{Expression, Form, Quantity};
use core::fmt;
use nom_money::{
    BonusPerByte, BonusPerOperation, Nano, PerByte, PerOperation, RefundPerByte, RefundPerOperation,
    print_duration,
};

/// What alpha multiplies. The paper's T is one of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Accepted operations.
    Operation,
    /// Useful bytes: payload before compression, without headers and retransmissions.
    UsefulByte,
}

/// How the fraction of late operations is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailRule {
    /// Counted. What tuner and ledger use.
    Counted,
    /// N(L0; L, sigma) of a normal distribution. Only for the paper's figures: it does not see a rare late crowd
    /// and takes a few very late ones for total failure. Settlement counts all the same.
    Normal,
}

/// How what users pay depends on latency. Rates are in attodollars per unit of the basis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// All of alpha while the mean latency keeps the limit, nothing otherwise.
    Simple {
        /// L0.
        limit_ns: u64,
    },
    /// Alpha less a penalty for the fraction of operations above the limit.
    Penalty {
        /// L0.
        limit_ns: u64,
        /// X.
        factor: Nano,
        /// Where the fraction comes from when alternatives are weighed.
        tail: TailRule,
    },
    /// Alpha less beta times the mean latency, never below nothing.
    Refund {
        /// Beta, per second of latency.
        beta_atto: i128,
    },
    /// Alpha and a bonus of gamma over the mean latency, at most delta.
    Bonus {
        /// Gamma, times seconds of latency.
        gamma_atto: i128,
        /// Delta; none means no limit.
        delta_atto: Option<i128>,
    },
    /// What the owner's own expression gives, in dollars a unit.
    Own {
        /// L0, where the expression speaks of late operations.
        limit_ns: Option<u64>,
    },
}

/// An agreement with users. Made by [`crate::Terms`] or by the constructors here, which take care that alpha, beta,
/// gamma and delta speak of the same unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contract {
    pub(crate) basis: Basis,
    pub(crate) alpha_atto: i128,
    pub(crate) kind: Kind,
    /// For [`Kind::Own`] alone.
    pub(crate) own: Option<Expression>,
}

impl Contract {
    /// What an expression gives for each operation or useful byte. A settlement window knows the mean latency, its
    /// standard deviation and the count of late operations, so an expression may use these and no others; with late
    /// operations it needs a limit.
    pub fn own(expression: Expression, limit_ns: Option<u64>) -> Result<Self, &'static str> {
        let Form::Unit(basis) = expression.form() else {
            return Err("it must give $/op or $/byte: what users pay for one of them");
        };
        let settles =
            |quantity: &Quantity| matches!(quantity, Quantity::Mean | Quantity::Jitter | Quantity::Late);
        if Quantity::ALL.iter().any(|quantity| !settles(quantity) && expression.uses(*quantity)) {
            return Err(
                "only mean, jitter and late can be settled, a window of the ledger counts nothing else; p99 < 1 ms is \
                        late < 1 % with latency.limit = 1 ms",
            );
        }
        if expression.uses(Quantity::Late) != limit_ns.is_some() {
            return Err("late and latency.limit need each other");
        }
        Ok(Self { basis, alpha_atto: 0, kind: Kind::Own { limit_ns }, own: Some(expression) })
    }

    /// Simple or penalty, by operations.
    pub fn per_operation(alpha: PerOperation, kind: LimitKind) -> Self {
        Self::limited(Basis::Operation, alpha.0, kind)
    }

    /// Simple or penalty, by useful bytes.
    pub fn per_byte(alpha: PerByte, kind: LimitKind) -> Self {
        Self::limited(Basis::UsefulByte, alpha.0, kind)
    }

    fn limited(basis: Basis, alpha_atto: i128, kind: LimitKind) -> Self {
        let kind = match kind {
            LimitKind::Simple { limit_ns } => Kind::Simple { limit_ns },
            LimitKind::Penalty { limit_ns, factor, tail } => Kind::Penalty { limit_ns, factor, tail },
        };
        Self { basis, alpha_atto: alpha_atto.max(0), kind, own: None }
    }

    /// Refund, by operations.
    pub fn refund_per_operation(alpha: PerOperation, beta: RefundPerOperation) -> Self {
        Self::new(Basis::Operation, alpha.0, Kind::Refund { beta_atto: beta.0.max(0) })
    }

    /// Refund, by useful bytes.
    pub fn refund_per_byte(alpha: PerByte, beta: RefundPerByte) -> Self {
        Self::new(Basis::UsefulByte, alpha.0, Kind::Refund { beta_atto: beta.0.max(0) })
    }

    /// Bonus, by operations.
    pub fn bonus_per_operation(
        alpha: PerOperation,
        gamma: BonusPerOperation,
        delta: Option<PerOperation>,
    ) -> Self {
        let delta_atto = delta.map(|delta| delta.0.max(0));
        Self::new(Basis::Operation, alpha.0, Kind::Bonus { gamma_atto: gamma.0.max(0), delta_atto })
    }

    /// Bonus, by useful bytes.
    pub fn bonus_per_byte(alpha: PerByte, gamma: BonusPerByte, delta: Option<PerByte>) -> Self {
        let delta_atto = delta.map(|delta| delta.0.max(0));
        Self::new(Basis::UsefulByte, alpha.0, Kind::Bonus { gamma_atto: gamma.0.max(0), delta_atto })
    }

    /// Negative worth would break the axiom, so it counts as none; text with a minus is refused by
    /// [`crate::Terms`] before it comes here.
    fn new(basis: Basis, alpha_atto: i128, kind: Kind) -> Self {
        Self { basis, alpha_atto: alpha_atto.max(0), kind, own: None }
    }

    /// What alpha multiplies.
    pub fn basis(&self) -> Basis {
        self.basis
    }

    /// How pay depends on latency.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether what is paid depends on jitter: a settlement window then needs the sum of the squared latencies.
    pub fn needs_jitter(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.uses(Quantity::Jitter))
    }

    /// The latency above which an operation counts as late, for the meter's threshold. None for contracts that
    /// promise no limit.
    pub fn limit_ns(&self) -> Option<u64> {
        match self.kind {
            Kind::Simple { limit_ns } | Kind::Penalty { limit_ns, .. } => Some(limit_ns),
            Kind::Own { limit_ns } => limit_ns,
            Kind::Refund { .. } | Kind::Bonus { .. } => None,
        }
    }
}

/// The contracts with a latency limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitKind {
    /// See [`Kind::Simple`].
    Simple {
        /// L0.
        limit_ns: u64,
    },
    /// See [`Kind::Penalty`].
    Penalty {
        /// L0.
        limit_ns: u64,
        /// X.
        factor: Nano,
        /// Where the fraction comes from when alternatives are weighed.
        tail: TailRule,
    },
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operation = self.basis == Basis::Operation;
        let worth = |f: &mut fmt::Formatter<'_>, atto| {
            if operation { write!(f, "{}", PerOperation(atto)) } else { write!(f, "{}", PerByte(atto)) }
        };
        match self.kind {
            Kind::Simple { limit_ns } => {
                f.write_str("simple: ")?;
                worth(f, self.alpha_atto)?;
                write!(f, " while the mean latency is at most {}", print_duration(limit_ns))
            }
            Kind::Penalty { limit_ns, factor, tail } => {
                f.write_str("penalty: ")?;
                worth(f, self.alpha_atto)?;
                write!(f, " less {factor} times the fraction above {}", print_duration(limit_ns))?;
                if tail == TailRule::Normal { f.write_str(" (normal tail)") } else { Ok(()) }
            }
            Kind::Own { .. } => {
                write!(
                    f,
                    "own: dollars {} by an expression",
                    if operation { "an operation" } else { "a useful byte" }
                )
            }
            Kind::Refund { beta_atto } => {
                f.write_str("refund: ")?;
                worth(f, self.alpha_atto)?;
                f.write_str(" less latency times ")?;
                if operation {
                    write!(f, "{}", RefundPerOperation(beta_atto))
                } else {
                    write!(f, "{}", RefundPerByte(beta_atto))
                }
            }
            Kind::Bonus { gamma_atto, delta_atto } => {
                f.write_str("bonus: ")?;
                worth(f, self.alpha_atto)?;
                f.write_str(" and ")?;
                if operation {
                    write!(f, "{}", BonusPerOperation(gamma_atto))?;
                } else {
                    write!(f, "{}", BonusPerByte(gamma_atto))?;
                }
                f.write_str(" over latency")?;
                let Some(delta) = delta_atto else { return Ok(()) };
                f.write_str(", at most ")?;
                worth(f, delta)
            }
        }
    }
}

//! Operators on single samples.

use std::sync::Arc;

use super::{ABSENT, Sample};
use crate::annotation::{HistogramOperation, Note};
use storage::model::ResetHint;

/// An operator on two values. Set operators are not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Operator {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    TrimUpper,
    TrimLower,
}

impl Operator {
    /// Whether it compares.
    #[must_use]
    pub const fn is_comparison(self) -> bool {
        use Operator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        matches!(
            self,
            Equal | NotEqual | Greater | Less | GreaterOrEqual | LessOrEqual
        )
    }

    /// Whether the result is another metric than the operands, so that the name goes.
    #[must_use]
    pub const fn changes_metric(self) -> bool {
        use Operator::{Add, Atan2, Div, Mod, Mul, Pow, Sub};
        matches!(self, Add | Sub | Mul | Div | Mod | Pow | Atan2)
    }

    /// Its text in a query.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::GreaterOrEqual => ">=",
            Self::LessOrEqual => "<=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
        }
    }

    /// The result of arithmetic on two floats. Comparisons are [`Self::compare`]'s.
    #[must_use]
    #[inline]
    pub fn arithmetic(self, l: f64, r: f64) -> f64 {
        match self {
            Self::Add => l + r,
            Self::Sub => l - r,
            Self::Mul => l * r,
            Self::Div => l / r,
            Self::Mod => l % r,
            Self::Pow => l.powf(r),
            Self::Atan2 => l.atan2(r),
            _ => ABSENT,
        }
    }

    /// Whether a comparison holds.
    #[must_use]
    #[inline]
    pub fn compare(self, l: f64, r: f64) -> bool {
        match self {
            Self::Equal => l == r,
            Self::NotEqual => l != r,
            Self::Greater => l > r,
            Self::Less => l < r,
            Self::GreaterOrEqual => l >= r,
            Self::LessOrEqual => l <= r,
            _ => false,
        }
    }

    /// The operator between two scalars; comparisons yield 1 or 0.
    #[must_use]
    pub fn scalar(self, l: f64, r: f64) -> f64 {
        if self.is_comparison() {
            f64::from(u8::from(self.compare(l, r)))
        } else {
            self.arithmetic(l, r)
        }
    }
}

/// What an operator makes of two samples.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The result; for comparisons the left sample.
    pub(crate) value: Option<Sample>,
    /// Whether a comparison holds; true for everything else that has a result.
    pub(crate) holds: bool,
    /// Something to remark.
    pub(crate) note: Option<Note<'static>>,
}

impl Outcome {
    const fn value(value: Sample) -> Self {
        Self {
            value: Some(value),
            holds: true,
            note: None,
        }
    }

    const fn note(note: Note<'static>) -> Self {
        Self {
            value: None,
            holds: false,
            note: Some(note),
        }
    }
}

/// Applies an operator to two samples.
pub(crate) fn apply(op: Operator, left: &Sample, right: &Sample) -> Outcome {
    let incompatible = |left, right| {
        Outcome::note(Note::IncompatibleTypes {
            left,
            operator: op.as_str(),
            right,
        })
    };
    match (left, right) {
        (&Sample::Float(l), &Sample::Float(r)) => match op {
            Operator::TrimLower | Operator::TrimUpper => incompatible("float", "float"),
            _ if op.is_comparison() => Outcome {
                value: Some(Sample::Float(l)),
                holds: op.compare(l, r),
                note: None,
            },
            _ => Outcome::value(Sample::Float(op.arithmetic(l, r))),
        },
        (&Sample::Float(l), Sample::Histogram(h)) if op == Operator::Mul => {
            Outcome::value(edited(h, |h| h.multiply(l)))
        }
        (Sample::Float(_), Sample::Histogram(_)) => incompatible("float", "histogram"),
        (Sample::Histogram(h), &Sample::Float(r)) => match op {
            Operator::Mul => Outcome::value(edited(h, |h| h.multiply(r))),
            Operator::Div => Outcome::value(edited(h, |h| h.divide(r))),
            Operator::TrimUpper => Outcome::value(trimmed(h, r, true)),
            Operator::TrimLower => Outcome::value(trimmed(h, r, false)),
            _ => incompatible("histogram", "float"),
        },
        (Sample::Histogram(l), Sample::Histogram(r)) => {
            let operation = match op {
                Operator::Add => HistogramOperation::Addition,
                Operator::Sub => HistogramOperation::Subtraction,
                Operator::Equal | Operator::NotEqual => {
                    return Outcome {
                        holds: l.same_as(r) == (op == Operator::Equal),
                        value: Some(left.clone()),
                        note: None,
                    };
                }
                _ => return incompatible("histogram", "histogram"),
            };
            let mut h = l.as_ref().clone();
            let combined = if op == Operator::Add {
                h.add(r)
            } else {
                h.subtract(r)
            };
            let Ok(combined) = combined else {
                return Outcome::note(Note::IncompatibleBuckets(op.as_str()));
            };
            if op == Operator::Sub {
                h.reset_hint = ResetHint::Gauge;
            }
            if combined.reset_collision {
                return Outcome::note(Note::ResetCollision(operation));
            }
            h.compact();
            Outcome {
                note: combined
                    .bounds_reconciled
                    .then_some(Note::BoundsReconciled(operation)),
                ..Outcome::value(Sample::Histogram(Arc::new(h)))
            }
        }
    }
}

fn edited(h: &Arc<crate::FloatHistogram>, edit: impl FnOnce(&mut crate::FloatHistogram)) -> Sample {
    let mut h = h.as_ref().clone();
    edit(&mut h);
    h.compact();
    Sample::Histogram(Arc::new(h))
}

fn trimmed(h: &Arc<crate::FloatHistogram>, at: f64, upper: bool) -> Sample {
    let mut h = h.as_ref().clone();
    h.trim(at, upper);
    Sample::Histogram(Arc::new(h))
}

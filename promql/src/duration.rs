//! Arithmetic of durations: resolves every [`DurationExpr`] of a tree into milliseconds.

use crate::ast::{BinaryOp, Duration, DurationExpr, DurationKind, Expr, UnaryOp, VectorSelector};

/// What duration expressions may ask of the query that they stand in; both 0 for an instant query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryShape {
    /// Distance of the steps, which `step()` answers.
    pub step_ms: i64,
    /// From the first to the last step, which `range()` answers.
    pub range_ms: i64,
}

/// A duration expression whose value cannot be used, with its place (bytes, end excluded).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{start}:{end}: {message}")]
pub struct DurationError {
    /// First byte of the expression.
    pub start: usize,
    /// Behind its last byte.
    pub end: usize,
    /// What is wrong, in upstream's words.
    pub message: String,
}

/// Replaces every duration expression of a tree by its value, in place.
///
/// # Errors
/// A range or step that is not positive, a division by zero, a value out of bounds.
pub fn resolve_durations(expr: &mut Expr, shape: QueryShape) -> Result<(), DurationError> {
    match expr {
        Expr::Vector(vector) => resolve_vector(vector, shape)?,
        Expr::Matrix(matrix) => {
            resolve(&mut matrix.range, shape, Sign::Positive)?;
            resolve_vector(&mut matrix.vector, shape)?;
        }
        Expr::Subquery(subquery) => {
            resolve(&mut subquery.offset, shape, Sign::Any)?;
            if let Some(step) = &mut subquery.step {
                resolve(step, shape, Sign::Positive)?;
            }
            resolve(&mut subquery.range, shape, Sign::Positive)?;
        }
        _ => {}
    }
    for child in expr.children_mut() {
        resolve_durations(child, shape)?;
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Sign {
    Any,
    Positive,
}

fn resolve_vector(vector: &mut VectorSelector, shape: QueryShape) -> Result<(), DurationError> {
    resolve(&mut vector.offset, shape, Sign::Any)
}

fn resolve(duration: &mut Duration, shape: QueryShape, sign: Sign) -> Result<(), DurationError> {
    let Duration::Expr(expr) = duration else {
        return Ok(());
    };
    let seconds = evaluate(expr, shape)?;
    if !seconds.is_finite() {
        return Err(error(expr, "duration is NaN or infinite"));
    }
    if sign == Sign::Positive && seconds <= 0.0 {
        return Err(error(expr, "duration must be greater than 0"));
    }
    // The bound of the parser's literals: milliseconds that still fit 64 bits as nanoseconds.
    if seconds.abs() > (i64::MAX / 1_000_000_000) as f64 {
        return Err(error(expr, "duration is out of range"));
    }
    // A literal is rounded; what is computed loses what is below a millisecond.
    *duration = Duration::Millis((seconds * 1000.0) as i64);
    Ok(())
}

/// Seconds.
fn evaluate(expr: &DurationExpr, shape: QueryShape) -> Result<f64, DurationError> {
    Ok(match &expr.kind {
        DurationKind::Number(number) => number.value,
        DurationKind::Step => shape.step_ms as f64 / 1000.0,
        DurationKind::Range => shape.range_ms as f64 / 1000.0,
        DurationKind::MinOf(a, b) => evaluate(a, shape)?.min(evaluate(b, shape)?),
        DurationKind::MaxOf(a, b) => evaluate(a, shape)?.max(evaluate(b, shape)?),
        DurationKind::Unary(UnaryOp::Plus, inner) => evaluate(inner, shape)?,
        DurationKind::Unary(UnaryOp::Minus, inner) => -evaluate(inner, shape)?,
        DurationKind::Binary(op, lhs, rhs) => {
            let (a, b) = (evaluate(lhs, shape)?, evaluate(rhs, shape)?);
            match op {
                BinaryOp::Add => a + b,
                BinaryOp::Sub => a - b,
                BinaryOp::Mul => a * b,
                BinaryOp::Div if b == 0.0 => return Err(error(expr, "division by zero")),
                BinaryOp::Div => a / b,
                BinaryOp::Mod if b == 0.0 => return Err(error(expr, "modulo by zero")),
                BinaryOp::Mod => a % b,
                BinaryOp::Pow => a.powf(b),
                _ => return Err(error(expr, "unexpected operator in duration expression")),
            }
        }
    })
}

fn error(expr: &DurationExpr, message: &str) -> DurationError {
    let (start, end) = place(expr);
    DurationError {
        start,
        end,
        message: message.to_owned(),
    }
}

/// Where upstream says that an expression stands: from its first operand to its last, without a function's name.
fn place(expr: &DurationExpr) -> (usize, usize) {
    match &expr.kind {
        DurationKind::Binary(_, a, b) | DurationKind::MinOf(a, b) | DurationKind::MaxOf(a, b) => {
            (place(a).0, place(b).1)
        }
        DurationKind::Unary(_, inner) => (expr.span.start, place(inner).1),
        _ => (expr.span.start, expr.span.end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Result<Duration, String> {
        let mut expr = crate::parse(text, &crate::ParseOptions::default()).unwrap();
        let shape = QueryShape {
            step_ms: 1000,
            range_ms: 0,
        };
        resolve_durations(&mut expr, shape).map_err(|error| error.to_string())?;
        let Expr::Matrix(matrix) = expr else {
            panic!("{text} is no range");
        };
        Ok(matrix.range)
    }

    #[test]
    fn what_is_computed_loses_what_is_below_a_millisecond() {
        assert_eq!(range("up[1m / 7]"), Ok(Duration::Millis(8571)));
        assert_eq!(range("up[1m / 9 + 0.0004]"), Ok(Duration::Millis(6667)));
        assert_eq!(range("up[2m / 7 / 2]"), Ok(Duration::Millis(8571)));
        assert_eq!(range("up[8.9999 * step()]"), Ok(Duration::Millis(8999)));
    }

    #[test]
    fn a_fault_is_placed_from_the_first_operand_to_the_last() {
        let positive = "duration must be greater than 0";
        for (text, place, message) in [
            ("up[min_of(range(), 1m)]", "10:21", positive),
            ("up[step() - 1m]", "3:14", positive),
            ("up[step() / range()]", "3:19", "division by zero"),
            (
                "up[10 ^ (400 * step())]",
                "3:21",
                "duration is NaN or infinite",
            ),
        ] {
            assert_eq!(range(text), Err(format!("{place}: {message}")), "{text}");
        }
    }
}

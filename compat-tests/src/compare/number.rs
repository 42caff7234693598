//! When two numbers of answers are the same.

use serde_json::Value;

const RELATIVE: f64 = 1e-10;
const ABSOLUTE: f64 = 1e-12;

/// The number that a JSON number or a text such as `"+Inf"` holds.
fn number(v: &Value) -> Option<f64> {
    match v {
        Value::Number(n) => n.to_string().parse().ok(),
        Value::String(s) => s.trim().parse().ok(),
        _ => None,
    }
}

/// Written with at most 14 digits and no exponent: such a number carries no rounding noise.
fn short(v: &Value) -> bool {
    let text = match v {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    };
    let digits = text.trim_start_matches('-').replace('.', "");
    !text.contains('e') && digits.trim_start_matches('0').len() <= 14
}

/// Whether two scalars (numbers, or texts that hold numbers) are the same: relative 1e-10, absolute
/// 1e-12 around zero, two short ones to the last digit; `NaN` equals `NaN`. What is no number must
/// be equal as it stands.
#[must_use]
pub fn same_number(a: &Value, b: &Value) -> bool {
    let (Some(x), Some(y)) = (number(a), number(b)) else {
        return a == b;
    };
    if x.is_nan() || y.is_nan() {
        return x.is_nan() && y.is_nan();
    }
    if x.is_infinite() || y.is_infinite() {
        return x == y;
    }
    let largest = x.abs().max(y.abs());
    if x != 0.0 && y != 0.0 && short(a) && short(b) {
        return (x - y).abs() <= 1e-15 * largest;
    }
    (x - y).abs() <= f64::max(ABSOLUTE, RELATIVE * largest)
}

//! Functions of one float.

use super::Func;
use super::time::{Civil, whole_seconds};

/// The function of a sample's value, where it is one of those.
pub(crate) fn of_value(func: Func) -> Option<fn(f64) -> f64> {
    let f: fn(f64) -> f64 = match func {
        Func::Abs => f64::abs,
        Func::Ceil => f64::ceil,
        Func::Floor => f64::floor,
        Func::Exp => f64::exp,
        Func::Sqrt => f64::sqrt,
        Func::Ln => ln,
        Func::Log2 => f64::log2,
        Func::Log10 => log10,
        Func::Sin => f64::sin,
        Func::Cos => f64::cos,
        Func::Tan => f64::tan,
        Func::Asin => f64::asin,
        Func::Acos => f64::acos,
        Func::Atan => f64::atan,
        Func::Sinh => f64::sinh,
        Func::Cosh => f64::cosh,
        Func::Tanh => f64::tanh,
        Func::Asinh => f64::asinh,
        Func::Acosh => f64::acosh,
        Func::Atanh => f64::atanh,
        Func::Rad => |v| v * std::f64::consts::PI / 180.0,
        Func::Deg => |v| v * 180.0 / std::f64::consts::PI,
        Func::Sgn => |v| {
            if v < 0.0 {
                -1.0
            } else if v > 0.0 {
                1.0
            } else {
                v
            }
        },
        _ => return of_time(func),
    };
    Some(f)
}

/// The function of a time in seconds, where it is one of the calendar's.
pub(crate) fn of_time(func: Func) -> Option<fn(f64) -> f64> {
    macro_rules! calendar {
        ($part:ident) => {
            |v| Civil::from_seconds(whole_seconds(v)).$part() as f64
        };
    }
    let f: fn(f64) -> f64 = match func {
        Func::DaysInMonth => calendar!(days_in_month),
        Func::DayOfMonth => calendar!(day_of_month),
        Func::DayOfWeek => calendar!(day_of_week),
        Func::DayOfYear => calendar!(day_of_year),
        Func::Hour => calendar!(hour),
        Func::Minute => calendar!(minute),
        Func::Month => calendar!(month),
        Func::Year => calendar!(year),
        _ => return None,
    };
    Some(f)
}

/// The natural logarithm. Of subnormal numbers it is the upstream's on amd64, which takes their
/// fraction for that of a normal number.
fn ln(v: f64) -> f64 {
    if !v.is_subnormal() || v < 0.0 {
        return v.ln();
    }
    let fraction = f64::from_bits(v.to_bits() | 0.5_f64.to_bits());
    fraction.ln() - 1022.0 * std::f64::consts::LN_2
}

fn log10(v: f64) -> f64 {
    if v.is_subnormal() {
        return ln(v) / std::f64::consts::LN_10;
    }
    v.log10()
}

/// `round(v, to_nearest)`: halves go up.
pub(crate) fn round(v: f64, to_nearest: f64) -> f64 {
    let inverse = 1.0 / to_nearest;
    (v * inverse + 0.5).floor() / inverse
}

/// `clamp(v, low, high)`: NaN stays.
pub(crate) fn clamp(v: f64, low: f64, high: f64) -> f64 {
    max(low, min(high, v))
}

/// The larger of two; NaN if one is NaN.
pub(crate) fn max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

/// The smaller of two; NaN if one is NaN.
pub(crate) fn min(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.min(b)
    }
}

//! Numbers for humans, as the `humanize…` functions write them.

use logql::template::{Time, Value, sprintf};

const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];
const BINARY: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];

/// Four significant digits.
fn four(value: f64) -> String {
    // Go writes the sign of an infinity.
    if value == f64::INFINITY {
        return "+Inf".to_owned();
    }
    sprintf("%.4g", &[Value::Float(value)])
}

/// The number that a value is, or that its text reads as.
///
/// # Errors
/// In Go's words.
pub(super) fn to_float(value: &Value) -> Result<f64, String> {
    match value {
        Value::Float(number) => Ok(*number),
        Value::Int(number) => Ok(*number as f64),
        Value::Text(text) => parse_float(text),
        Value::Nil => Err("can't convert <nil> to float".to_owned()),
        Value::Duration(_) => Err("can't convert *time.Duration to float".to_owned()),
        Value::Time(_) => Err("can't convert *time.Time to float".to_owned()),
        other => Err(format!("can't convert {} to float", other.type_name())),
    }
}

fn parse_float(text: &str) -> Result<f64, String> {
    let fault = |what| {
        format!(
            "strconv.ParseFloat: parsing {}: {what}",
            promql::lexer::quote(text)
        )
    };
    let number: f64 = text.parse().map_err(|_| fault("invalid syntax"))?;
    if number.is_infinite() && text.contains(|c: char| c.is_ascii_digit()) {
        return Err(fault("value out of range"));
    }
    Ok(number)
}

/// `1.235M`, `120u`
pub(super) fn humanize(mut value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return four(value);
    }
    let mut prefix = "";
    if value.abs() >= 1.0 {
        for p in LARGE {
            if value.abs() < 1000.0 {
                break;
            }
            prefix = p;
            value /= 1000.0;
        }
    } else {
        (value, prefix) = enlarged(value);
    }
    format!("{}{prefix}", four(value))
}

/// A number below 1 in the unit in which it is not.
fn enlarged(mut value: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for p in SMALL {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = p;
        value *= 1000.0;
    }
    (value, prefix)
}

/// `1.5ki`
pub(super) fn humanize_1024(mut value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return four(value);
    }
    let mut prefix = "";
    for p in BINARY {
        if value.abs() < 1024.0 {
            break;
        }
        prefix = p;
        value /= 1024.0;
    }
    format!("{}{prefix}", four(value))
}

/// Seconds as `1d 2h 3m 4s`, `1.2ms`.
pub(super) fn duration(value: f64) -> String {
    if !value.is_finite() {
        return four(value);
    }
    if value == 0.0 {
        return format!("{}s", four(value));
    }
    if value.abs() < 1.0 {
        let (value, prefix) = enlarged(value);
        return format!("{}{prefix}s", four(value));
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let whole = value.abs() as i64;
    let (days, hours) = (whole / 86_400, whole / 3600 % 24);
    let (minutes, seconds) = (whole / 60 % 60, whole % 60);
    if days != 0 {
        format!("{sign}{days}d {hours}h {minutes}m {seconds}s")
    } else if hours != 0 {
        format!("{sign}{hours}h {minutes}m {seconds}s")
    } else if minutes != 0 {
        format!("{sign}{minutes}m {seconds}s")
    } else {
        format!("{sign}{}s", four(value.abs()))
    }
}

/// `12.35%`
pub(super) fn percentage(value: f64) -> String {
    format!("{}%", four(value * 100.0))
}

/// Seconds since the epoch as a time, cut to milliseconds.
///
/// # Errors
/// In upstream's words.
pub(super) fn time(value: f64) -> Result<Time, String> {
    if !value.is_finite() {
        return Err("value is NaN or Inf".to_owned());
    }
    let ns = value * 1e9;
    if ns.abs() > i64::MAX as f64 {
        let shown = Value::Float(value).show();
        return Err(format!(
            "{shown} cannot be represented as a nanoseconds timestamp since it overflows int64"
        ));
    }
    Ok(Time::from_ns(ns as i64 / 1_000_000 * 1_000_000))
}

/// Seconds since the epoch as `2026-11-01 00:00:00 +0000 UTC`.
///
/// # Errors
/// As [`time`].
pub(super) fn timestamp(value: f64) -> Result<String, String> {
    if !value.is_finite() {
        return Ok(four(value));
    }
    time(value).map(|time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_humans() {
        for (value, expected) in [
            (0.0, "0"),
            (1.0, "1"),
            (1_234_567.8, "1.235M"),
            (0.00012, "120u"),
            (-1500.0, "-1.5k"),
            (999.99, "1000"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
            (1e-30, "1e-06y"),
        ] {
            assert_eq!(humanize(value), expected, "{value}");
        }
        for (value, expected) in [(1536.0, "1.5ki"), (0.5, "0.5"), (1e20, "86.74Ei")] {
            assert_eq!(humanize_1024(value), expected, "{value}");
        }
        for (value, expected) in [
            (93_784.0, "1d 2h 3m 4s"),
            (3661.0, "1h 1m 1s"),
            (-90.0, "-1m 30s"),
            (59.5, "59.5s"),
            (0.0012, "1.2ms"),
            (0.0, "0s"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(duration(value), expected, "{value}");
        }
        assert_eq!(percentage(0.12345), "12.35%");
        assert_eq!(
            timestamp(1.0005).as_deref(),
            Ok("1970-01-01 00:00:01 +0000 UTC")
        );
        assert_eq!(
            timestamp(1.25).as_deref(),
            Ok("1970-01-01 00:00:01.25 +0000 UTC")
        );
        assert_eq!(timestamp(f64::NAN).as_deref(), Ok("NaN"));
        assert!(timestamp(1e30).is_err());
    }

    #[test]
    fn texts_are_read_as_numbers() {
        let text = |t: &str| Value::Text(t.to_owned());
        assert_eq!(to_float(&text("1.5")), Ok(1.5));
        assert_eq!(
            to_float(&text("abc")),
            Err("strconv.ParseFloat: parsing \"abc\": invalid syntax".to_owned())
        );
        assert_eq!(
            to_float(&text("1e999")),
            Err("strconv.ParseFloat: parsing \"1e999\": value out of range".to_owned())
        );
        assert_eq!(
            to_float(&Value::Bool(true)),
            Err("can't convert bool to float".to_owned())
        );
    }
}

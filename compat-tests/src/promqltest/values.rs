//! The values of a series line: `1 2+3x4 _x2 stale {{...}}x3`.

use super::histogram::FloatHistogram;
use super::script::{Value, duration_ms};

/// The longest expansion of one item; a script with more is a mistake.
const MOST: usize = 1_000_000;

/// Cuts at blanks outside of `{{...}}`.
fn items(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut start = None;
    let mut deep = false;
    for (i, c) in text.char_indices() {
        match c {
            '{' if text[i..].starts_with("{{") => deep = true,
            '}' if text[i..].starts_with("}}") => deep = false,
            _ => {}
        }
        if c.is_whitespace() && !deep {
            if let Some(s) = start.take() {
                out.push(&text[s..i]);
            }
        } else if start.is_none() {
            start = Some(i);
        }
    }
    if let Some(s) = start {
        out.push(&text[s..]);
    }
    out
}

/// Splits a trailing `xN` off.
fn repeated(item: &str) -> Result<(&str, Option<usize>), String> {
    let Some((head, times)) = item.rsplit_once('x') else {
        return Ok((item, None));
    };
    let times: usize = times
        .parse()
        .map_err(|_| format!("{item:?}: no number after x"))?;
    if times > MOST {
        return Err(format!("{item:?}: more than {MOST}"));
    }
    Ok((head, Some(times)))
}

/// Splits `10-2` into its start and its signed step; a sign in front or in an exponent splits not.
fn stepped(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    (1..bytes.len())
        .find(|&i| {
            matches!(bytes[i], b'+' | b'-') && !matches!(bytes[i - 1], b'e' | b'E' | b'+' | b'-')
        })
        .map(|i| text.split_at(i))
}

fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("{text:?} is no value"))
}

/// The values of one line, expanded.
pub(super) fn values(text: &str) -> Result<Vec<Value>, String> {
    let mut out = Vec::new();
    for item in items(text) {
        if item.starts_with("{{") {
            histograms(item, &mut out)?;
            continue;
        }
        let (head, times) = repeated(item)?;
        match (head, times) {
            ("_", times) => out.extend(vec![Value::Omitted; times.unwrap_or(1)]),
            ("stale", times) => out.extend(vec![Value::Stale; times.map_or(1, |n| n + 1)]),
            (head, None) => out.push(Value::Float(number(head)?)),
            (head, Some(times)) => {
                let (start, step) = match stepped(head) {
                    Some((start, step)) => (number(start)?, number(step)?),
                    None => (number(head)?, 0.0),
                };
                let plain = stepped(head).is_none();
                let mut value = start;
                for _ in 0..=times {
                    out.push(Value::Float(value));
                    if !plain {
                        value += step;
                    }
                }
            }
        }
    }
    Ok(out)
}

fn histograms(item: &str, out: &mut Vec<Value>) -> Result<(), String> {
    let (mut current, rest) = FloatHistogram::parse(item).map_err(|e| e.to_string())?;
    let (step, sign, rest) = match rest.as_bytes().first() {
        Some(b'+' | b'-') => {
            let sign = if rest.starts_with('-') { -1.0 } else { 1.0 };
            let (step, rest) = FloatHistogram::parse(&rest[1..]).map_err(|e| e.to_string())?;
            (Some(step), sign, rest)
        }
        _ => (None, 1.0, rest),
    };
    let times = match rest.strip_prefix('x') {
        Some(n) => n
            .parse::<usize>()
            .map_err(|_| format!("{item:?}: no number after x"))?,
        None if rest.is_empty() && step.is_none() => 0,
        None => return Err(format!("{item:?}: {rest:?} after a histogram")),
    };
    if times > MOST {
        return Err(format!("{item:?}: more than {MOST}"));
    }
    out.push(Value::Histogram(Box::new(current.clone())));
    for _ in 0..times {
        if let Some(step) = &step {
            current = current.combine(step, sign).map_err(|e| e.to_string())?;
        }
        out.push(Value::Histogram(Box::new(current.clone())));
    }
    Ok(())
}

/// Start timestamps as milliseconds relative to each sample, expanded as numbers are.
pub(super) fn start_offsets(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut out = Vec::new();
    for item in items(text) {
        let (head, times) = repeated(item)?;
        if head == "_" {
            out.extend(vec![None; times.unwrap_or(1)]);
            continue;
        }
        let (start, step) = match stepped(head) {
            Some((start, step)) => (duration_ms(start)?, duration_ms(step)?),
            None => (duration_ms(head)?, 0),
        };
        for k in 0..=times.unwrap_or(0) {
            out.push(Some(start + step * i64::try_from(k).unwrap_or(0)));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(text: &str) -> Vec<f64> {
        values(text)
            .unwrap()
            .into_iter()
            .map(|v| match v {
                Value::Float(x) => x,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn numbers_expand_as_the_language_says() {
        assert_eq!(floats("1 -2.5"), [1.0, -2.5]);
        assert_eq!(floats("1x4"), [1.0; 5]);
        assert_eq!(floats("1+2x3"), [1.0, 3.0, 5.0, 7.0]);
        assert_eq!(floats("10-2x3"), [10.0, 8.0, 6.0, 4.0]);
        assert_eq!(floats("-1e-3x1"), [-0.001, -0.001]);
        assert_eq!(floats("-4-1x2"), [-4.0, -5.0, -6.0]);
        assert_eq!(floats("1e+2+1e1x1"), [100.0, 110.0]);
        assert_eq!(
            floats("+Inf -Inf Inf .5"),
            [f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY, 0.5]
        );
        assert!(floats("NaN")[0].is_nan());
        assert_eq!(
            values("_ _x2 stale").unwrap(),
            [Value::Omitted, Value::Omitted, Value::Omitted, Value::Stale]
        );
        assert!(values("abc").is_err());
        assert!(values("1x").is_err());
    }

    #[test]
    fn histograms_expand_as_numbers_do() {
        let counts = |text: &str| -> Vec<f64> {
            let counts = values(text).unwrap().into_iter().map(|v| match v {
                Value::Histogram(h) => h.count,
                other => panic!("{other:?}"),
            });
            counts.collect()
        };
        assert_eq!(counts("{{count:1}}x2"), [1.0; 3]);
        assert_eq!(
            counts("{{count:1 buckets:[1 2]}}+{{count:2 buckets:[1]}}x2 {{}}"),
            [1.0, 3.0, 5.0, 0.0]
        );
        assert_eq!(counts("{{count:9}}-{{count:2}}x1"), [9.0, 7.0]);
    }

    #[test]
    fn start_timestamps_are_relative_and_expand() {
        assert_eq!(
            start_offsets("_ -30s-1mx2 0 -0ms +1m 1ms -1mx1").unwrap(),
            [
                None,
                Some(-30_000),
                Some(-90_000),
                Some(-150_000),
                Some(0),
                Some(0),
                Some(60_000),
                Some(1),
                Some(-60_000),
                Some(-60_000)
            ]
        );
    }
}

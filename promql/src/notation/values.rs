//! The values of a series: items between blanks, and what each expands to.

use std::sync::Arc;

use storage::model::STALE_NAN;

use super::Written;
use super::histogram;
use crate::error::ParseError;
use crate::lexer::parse_number;

/// A longer series is a mistake of whoever wrote it.
const MAX_VALUES: usize = 1_000_000;

/// An item, and where it begins in the whole text.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    whole: &'a str,
    at: usize,
    text: &'a str,
}

impl<'a> Item<'a> {
    pub(super) fn fault(self, message: impl Into<String>) -> ParseError {
        ParseError::new(self.whole, self.at, self.at + self.text.len(), message)
    }

    /// The rest of the item from a byte of it on.
    pub(super) fn from(self, start: usize) -> Self {
        self.part(start, self.text.len())
    }

    pub(super) fn part(self, start: usize, end: usize) -> Self {
        Self {
            at: self.at + start,
            text: &self.text[start..end],
            ..self
        }
    }

    pub(super) const fn text(self) -> &'a str {
        self.text
    }
}

/// The values of a text from a byte on.
pub(super) fn parse(whole: &str, start: usize) -> Result<Vec<Written>, ParseError> {
    let mut out = Vec::new();
    for item in items(whole, start) {
        expand(item, &mut out)?;
        if out.len() > MAX_VALUES {
            return Err(item.fault(format!("more than {MAX_VALUES} values")));
        }
    }
    Ok(out)
}

/// Cuts at blanks outside of `{{...}}`.
fn items(whole: &str, start: usize) -> Vec<Item<'_>> {
    let mut out = Vec::new();
    let (mut begun, mut in_histogram) = (None, false);
    let mut end = |begun: &mut Option<usize>, end: usize| {
        if let Some(at) = begun.take() {
            out.push(Item {
                whole,
                at,
                text: &whole[at..end],
            });
        }
    };
    for (at, c) in whole.char_indices().skip_while(|(at, _)| *at < start) {
        in_histogram = match c {
            '{' => true,
            '}' => false,
            _ => in_histogram,
        };
        if c.is_whitespace() && !in_histogram {
            end(&mut begun, at);
        } else if begun.is_none() {
            begun = Some(at);
        }
    }
    end(&mut begun, whole.len());
    out
}

fn expand(item: Item<'_>, out: &mut Vec<Written>) -> Result<(), ParseError> {
    if item.text.starts_with("{{") {
        return expand_histogram(item, out);
    }
    let (head, times) = repetition(item)?;
    match head.text {
        "_" => {
            out.extend((0..times.unwrap_or(1)).map(|_| Written::Omitted));
            return Ok(());
        }
        "stale" => {
            let times = times.map_or(1, |n| n + 1);
            out.extend((0..times).map(|_| Written::Float(STALE_NAN)));
            return Ok(());
        }
        _ => {}
    }
    let Some(times) = times else {
        out.push(Written::Float(number(head)?));
        return Ok(());
    };
    let Some(at) = step_start(head.text) else {
        let value = number(head)?;
        out.extend((0..=times).map(|_| Written::Float(value)));
        return Ok(());
    };
    let (mut value, step) = (number(head.part(0, at))?, number(head.from(at))?);
    for _ in 0..=times {
        out.push(Written::Float(value));
        value += step;
    }
    Ok(())
}

/// Splits a trailing `xN` off.
fn repetition(item: Item<'_>) -> Result<(Item<'_>, Option<usize>), ParseError> {
    let Some(at) = item.text.rfind('x') else {
        return Ok((item, None));
    };
    let digits = &item.text[at + 1..];
    if digits.is_empty() {
        return Err(item.fault("unexpected end of input in series values"));
    }
    let times: usize = match digits.parse() {
        Ok(times) => times,
        Err(_) => return Err(unexpected(item)),
    };
    if times > MAX_VALUES {
        return Err(item.fault(format!("more than {MAX_VALUES} values")));
    }
    Ok((item.part(0, at), Some(times)))
}

/// Where the signed step of `10-2` begins; a sign in front or in an exponent is none.
fn step_start(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    (1..bytes.len()).find(|&at| {
        matches!(bytes[at], b'+' | b'-') && !matches!(bytes[at - 1], b'e' | b'E' | b'+' | b'-')
    })
}

/// A number with a sign or without.
pub(super) fn number(item: Item<'_>) -> Result<f64, ParseError> {
    let (sign, digits) = match item.text.strip_prefix(['+', '-']) {
        Some(rest) if item.text.starts_with('-') => (-1.0, rest),
        Some(rest) => (1.0, rest),
        None => (1.0, item.text),
    };
    let starts_well = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if !starts_well && !digits.eq_ignore_ascii_case("inf") && !digits.eq_ignore_ascii_case("nan") {
        return Err(unexpected(item));
    }
    match parse_number(digits) {
        Ok(number) => Ok(sign * number),
        Err(message) => Err(item.fault(message)),
    }
}

fn unexpected(item: Item<'_>) -> ParseError {
    let digits = item.text.trim_start_matches(['+', '-']);
    match digits.chars().next() {
        Some(c) if c.is_alphabetic() => item.fault(format!(
            "unexpected identifier {} in series values, expected number or \"stale\"",
            crate::lexer::quote(digits)
        )),
        Some(c) if !c.is_ascii_digit() => {
            item.fault(format!("unexpected character in series sequence: {c:?}"))
        }
        _ => item.fault(format!(
            "unexpected {} in series values",
            crate::lexer::quote(item.text)
        )),
    }
}

fn expand_histogram(item: Item<'_>, out: &mut Vec<Written>) -> Result<(), ParseError> {
    let (first, end) = histogram::parse(item)?;
    let mut behind = item.from(end);
    let mut step = None;
    if behind.text.starts_with("+{{") || behind.text.starts_with("-{{") {
        let (histogram, end) = histogram::parse(behind.from(1))?;
        step = Some((behind.text.starts_with('+'), histogram));
        behind = behind.from(1 + end);
    }
    let (rest, times) = repetition(behind)?;
    if !rest.text.is_empty() || (step.is_some() && times.is_none()) {
        return Err(unexpected(behind));
    }
    let mut current = first;
    out.push(Written::Histogram(Arc::new(current.clone())));
    for _ in 0..times.unwrap_or(0) {
        if let Some((adds, step)) = &step {
            if current.schema > step.schema {
                return Err(item.fault(format!(
                    "error combining histograms: cannot merge from schema {} to {}",
                    step.schema, current.schema
                )));
            }
            let combined = if *adds {
                current.add(step)
            } else {
                current.subtract(step)
            };
            if combined.is_err() {
                return Err(item.fault("error combining histograms: custom and other buckets"));
            }
        }
        out.push(Written::Histogram(Arc::new(current.clone())));
    }
    Ok(())
}

//! `{{schema:1 sum:-0.5 count:7 z_bucket:2 offset:-3 buckets:[1 2]}}`: what is left out is zero.

use std::sync::Arc;

use storage::model::ResetHint;

use super::values::{Item, number};
use crate::error::ParseError;
use crate::histogram::FloatHistogram;
use crate::number::format_g;

/// The histogram at the start of an item, and where it ends there.
pub(super) fn parse(item: Item<'_>) -> Result<(FloatHistogram, usize), ParseError> {
    let Some(end) = item.text().find("}}") else {
        return Err(item.fault("histogram description incomplete"));
    };
    let mut histogram = FloatHistogram::empty(0, Arc::from([]));
    let (mut offset, mut n_offset) = (0, 0);
    let (mut buckets, mut n_buckets) = (Vec::new(), Vec::new());
    let mut seen: Vec<&str> = Vec::new();
    let mut rest = item.part(2, end);
    loop {
        let blanks = rest.text().len() - rest.text().trim_start().len();
        rest = rest.from(blanks);
        if rest.text().is_empty() {
            break;
        }
        let letters = rest
            .text()
            .find(|c: char| !(c.is_ascii_alphabetic() || c == '_'))
            .unwrap_or(rest.text().len());
        let key = rest.part(0, letters);
        let Some(value) = rest.text()[letters..].strip_prefix(':') else {
            return Err(key.fault("missing `:` for histogram descriptor"));
        };
        let start = letters + 1;
        let len = if value.starts_with('[') {
            match value.find(']') {
                Some(end) => end + 1,
                None => return Err(key.fault("histogram description incomplete")),
            }
        } else {
            value.find(char::is_whitespace).unwrap_or(value.len())
        };
        let value = rest.part(start, start + len);
        rest = rest.from(start + len);
        match key.text() {
            "schema" => histogram.schema = integer(value)?,
            "sum" => histogram.sum = number(value)?,
            "count" => histogram.count = number(value)?,
            "z_bucket" => histogram.zero_count = number(value)?,
            "z_bucket_w" => histogram.zero_threshold = number(value)?,
            "custom_values" => histogram.custom_values = list(value)?.into(),
            "offset" => offset = integer(value)?,
            "n_offset" => n_offset = integer(value)?,
            "buckets" => buckets = list(value)?,
            "n_buckets" => n_buckets = list(value)?,
            "counter_reset_hint" => histogram.reset_hint = reset_hint(value)?,
            other => {
                let quoted = crate::lexer::quote(other);
                return Err(key.fault(format!("bad histogram descriptor found: {quoted}")));
            }
        }
        if seen.contains(&key.text()) {
            let quoted = crate::lexer::quote(key.text());
            return Err(key.fault(format!("duplicate key {quoted} in histogram")));
        }
        seen.push(key.text());
    }
    histogram.positive = (offset..).zip(buckets).collect();
    histogram.negative = (n_offset..).zip(n_buckets).collect();
    Ok((histogram, end + 2))
}

fn integer(value: Item<'_>) -> Result<i32, ParseError> {
    let fault = || value.fault(format!("error parsing number: {}", value.text()));
    value.text().parse().map_err(|_| fault())
}

fn list(value: Item<'_>) -> Result<Vec<f64>, ParseError> {
    let text = value.text();
    let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) else {
        return Err(value.fault("unexpected value of a list of buckets, expected \"[\""));
    };
    let mut out = Vec::new();
    let mut at = 1;
    for part in inner.split(char::is_whitespace) {
        if !part.is_empty() {
            out.push(number(value.part(at, at + part.len()))?);
        }
        at += part.len() + 1;
    }
    Ok(out)
}

fn reset_hint(value: Item<'_>) -> Result<ResetHint, ParseError> {
    Ok(match value.text() {
        "unknown" => ResetHint::Unknown,
        "reset" => ResetHint::Yes,
        "not_reset" => ResetHint::No,
        "gauge" => ResetHint::Gauge,
        other => {
            let quoted = crate::lexer::quote(other);
            return Err(value.fault(format!("bad histogram descriptor found: {quoted}")));
        }
    })
}

impl FloatHistogram {
    /// The histogram in the notation that [`super::parse_series`] reads, by which tests compare histograms: fields that are
    /// zero are left out, and so are empty buckets at both ends.
    #[must_use]
    pub fn notation(&self) -> String {
        let mut fields = Vec::new();
        if self.schema != 0 {
            fields.push(format!("schema:{}", self.schema));
        }
        for (key, value) in [
            ("count", self.count),
            ("sum", self.sum),
            ("z_bucket", self.zero_count),
            ("z_bucket_w", self.zero_threshold),
        ] {
            if value != 0.0 {
                fields.push(format!("{key}:{}", format_g(value)));
            }
        }
        if self.has_custom_buckets() {
            let values = self.custom_values.iter().map(|v| format_g(*v));
            fields.push(format!(
                "custom_values:[{}]",
                values.collect::<Vec<_>>().join(" ")
            ));
        }
        match self.reset_hint {
            ResetHint::Unknown => {}
            ResetHint::Yes => fields.push("counter_reset_hint:reset".to_owned()),
            ResetHint::No => fields.push("counter_reset_hint:not_reset".to_owned()),
            ResetHint::Gauge => fields.push("counter_reset_hint:gauge".to_owned()),
        }
        for (key, offset_key, side) in [
            ("buckets", "offset", &self.positive),
            ("n_buckets", "n_offset", &self.negative),
        ] {
            let filled: Vec<&(i32, f64)> = side.iter().filter(|(_, n)| *n != 0.0).collect();
            let (Some(first), Some(last)) = (filled.first(), filled.last()) else {
                continue;
            };
            if first.0 != 0 {
                fields.push(format!("{offset_key}:{}", first.0));
            }
            let mut filled = filled.iter().peekable();
            let counts = (first.0..=last.0).map(|index| {
                let count = filled
                    .next_if(|(i, _)| *i == index)
                    .map_or(0.0, |(_, n)| *n);
                format_g(count)
            });
            fields.push(format!("{key}:[{}]", counts.collect::<Vec<_>>().join(" ")));
        }
        format!("{{{{{}}}}}", fields.join(" "))
    }
}

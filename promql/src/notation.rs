//! The notation of series in unit tests of rules and in scripts of tests:
//! `up{job="a"} 1+2x3 _x4 stale {{schema:0 sum:3 count:2 buckets:[1 1]}}x2`.
//!
//! Source: prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules, "Series".

mod histogram;
mod values;

use std::sync::Arc;

use storage::model::{Labels, MatchOp};

use crate::error::ParseError;
use crate::histogram::FloatHistogram;
use crate::parser::parse_selector;

/// One place of a series: a step after the one before.
#[derive(Clone, Debug)]
pub enum Written {
    /// `_`: no sample.
    Omitted,
    /// A float; `stale` is the staleness marker.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

/// Reads labels and values of a series. Linear in what the values expand to, which is bounded.
///
/// # Errors
/// The first fault, with its place.
pub fn parse_series(text: &str) -> Result<(Labels, Vec<Written>), ParseError> {
    let end = labels_end(text);
    let labels =
        parse_labels(&text[..end]).map_err(|e| ParseError::new(text, e.start, e.end, e.message))?;
    Ok((labels, values::parse(text, end)?))
}

/// Reads the labels of one series, `up{job="a"}`: the name may be left out, and so may the braces.
///
/// # Errors
/// The first fault, with its place.
pub fn parse_labels(text: &str) -> Result<Labels, ParseError> {
    let written: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    if written == "{}" {
        return Ok(Labels::empty());
    }
    let matchers = parse_selector(text)?;
    if let Some(other) = matchers.iter().find(|m| m.op() != MatchOp::Equal) {
        let message = format!(
            "unexpected matcher on label {:?} in label set, expected \"=\"",
            other.name()
        );
        return Err(ParseError::new(text, 0, text.len(), message));
    }
    Ok(Labels::from_pairs(
        matchers.iter().map(|m| (m.name(), m.value())),
    ))
}

/// Where name and braces end and the values begin.
fn labels_end(text: &str) -> usize {
    let name = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.')))
        .unwrap_or(text.len());
    let behind = &text[name..];
    if !behind.starts_with('{') || behind.starts_with("{{") {
        return name;
    }
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in behind.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(q), '\\') if q != '`' => escaped = true,
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '}') => return name + at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match parse_series(text) {
            Err(e) => e.to_string(),
            Ok((labels, values)) => {
                let values = values.iter().map(|v| match v {
                    Written::Omitted => "_".to_owned(),
                    Written::Float(v) if storage::model::is_stale(*v) => "stale".to_owned(),
                    Written::Float(v) => v.to_string(),
                    Written::Histogram(h) => h.notation(),
                });
                format!("{labels} {}", values.collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn values_expand_as_the_notation_says() {
        for (text, expected) in [
            ("a 1 -2.5 +Inf NaN", r#"{__name__="a"} 1 -2.5 inf NaN"#),
            ("a 1x2", r#"{__name__="a"} 1 1 1"#),
            ("a 1+2x3 10-2x2", r#"{__name__="a"} 1 3 5 7 10 8 6"#),
            ("a -4-1x2 1e+2+1e1x1", r#"{__name__="a"} -4 -5 -6 100 110"#),
            ("a _ _x2 stale", r#"{__name__="a"} _ _ _ stale"#),
            (
                r#"a{b="x } y",c='z'}  1"#,
                r#"{__name__="a", b="x } y", c="z"} 1"#,
            ),
            (r#"{"a.b", c="d"} 1"#, r#"{__name__="a.b", c="d"} 1"#),
            ("{} 1", "{} 1"),
            ("a", r#"{__name__="a"} "#),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn histograms_expand_as_numbers_do() {
        for (text, expected) in [
            ("a {{}}", r#"{__name__="a"} {{}}"#),
            (
                "a {{schema:1 sum:-0.5 count:7 z_bucket:2 z_bucket_w:0.05 buckets:[1 0 3] offset:-3 n_buckets:[1] n_offset:2 counter_reset_hint:gauge}}",
                r#"{__name__="a"} {{schema:1 count:7 sum:-0.5 z_bucket:2 z_bucket_w:0.05 counter_reset_hint:gauge offset:-3 buckets:[1 0 3] n_offset:2 n_buckets:[1]}}"#,
            ),
            (
                "a {{count:1 buckets:[1]}}+{{count:2 buckets:[2]}}x2",
                r#"{__name__="a"} {{count:1 buckets:[1]}} {{count:3 buckets:[3]}} {{count:5 buckets:[5]}}"#,
            ),
            (
                "a {{schema:-53 count:3 custom_values:[1 5] buckets:[1 2]}}x1",
                r#"{__name__="a"} {{schema:-53 count:3 custom_values:[1 5] buckets:[1 2]}} {{schema:-53 count:3 custom_values:[1 5] buckets:[1 2]}}"#,
            ),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn faults_are_placed() {
        for (text, expected) in [
            (
                "a 1 q",
                "1:5: parse error: unexpected identifier \"q\" in series values, expected number or \"stale\"",
            ),
            (
                "a 1 ?",
                "1:5: parse error: unexpected character in series sequence: '?'",
            ),
            (
                "a 1x",
                "1:3: parse error: unexpected end of input in series values",
            ),
            (
                "a{b=~\"c\"} 1",
                "1:1: parse error: unexpected matcher on label \"b\" in label set, expected \"=\"",
            ),
            (
                "a {{shema:1}}",
                "1:5: parse error: bad histogram descriptor found: \"shema\"",
            ),
            (
                "a {{schema:1 schema:2}}",
                "1:14: parse error: duplicate key \"schema\" in histogram",
            ),
            (
                "a {{sum:1",
                "1:3: parse error: histogram description incomplete",
            ),
            (
                "a 1x100000001",
                "1:3: parse error: more than 1000000 values",
            ),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }
}

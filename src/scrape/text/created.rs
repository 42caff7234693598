//! When the series of an OpenMetrics body began: what its `_created` lines say.

use std::collections::HashMap;

use storage::model::MetricType;

use super::{Entry, Exposition as _, Parser, Value};

/// Start times by family and labels.
#[derive(Clone, Debug, Default)]
pub(super) struct Created(HashMap<Box<[u8]>, i64>);

impl Created {
    /// Walks once over a body. Where the body ends in an error, what came before counts; the error is met again.
    pub(super) fn read(mut parser: Parser<'_>) -> Self {
        let mut out = HashMap::new();
        parser.options.created_timestamps = false;
        while let Ok(Some(entry)) = parser.next_entry() {
            let Entry::Sample(sample) = entry else {
                continue;
            };
            if let (true, Value::Float(seconds)) = (parser.is_created(), sample.value) {
                let name = parser.slice(parser.name.clone().unwrap_or(0..0));
                let family = name.strip_suffix(b"_created").unwrap_or(name);
                out.insert(key(&parser, family), (seconds * 1000.0) as i64);
            }
        }
        Self(out)
    }

    /// The start of the parser's last sample.
    pub(super) fn get(&self, parser: &Parser<'_>) -> Option<i64> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&key(parser, parser.family)).copied()
    }
}

/// Family and labels as they are written, but for the label that tells the parts of a family apart.
fn key(parser: &Parser<'_>, family: &[u8]) -> Box<[u8]> {
    let part: &[u8] = match parser.metric_type {
        MetricType::Histogram => b"le",
        MetricType::Summary => b"quantile",
        _ => b"",
    };
    let mut out = family.to_vec();
    for (name, value) in &parser.labels {
        let name = parser.slice(name.clone());
        if name != part {
            out.push(0xff);
            out.extend_from_slice(name);
            out.push(0xff);
            out.extend_from_slice(parser.slice(value.clone()));
        }
    }
    out.into_boxed_slice()
}

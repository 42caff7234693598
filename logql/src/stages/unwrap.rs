//! `| unwrap bytes(x) | filters`: the value of a line in a metric query.

use super::label_filter::Condition;
use crate::ast::{Conversion, Unwrap};
use crate::labels::LabelBuilder;
use crate::units::{parse_bytes, parse_float, parse_go_duration};

/// A compiled unwrap.
pub(crate) struct Value {
    label: String,
    conversion: Conversion,
    filters: Vec<Condition>,
}

impl Value {
    pub(crate) fn new(unwrap: &Unwrap) -> Result<Self, String> {
        Ok(Self {
            label: unwrap.label.clone(),
            conversion: unwrap.conversion,
            filters: unwrap
                .filters
                .iter()
                .map(Condition::new)
                .collect::<Result<_, _>>()?,
        })
    }

    /// The value of the line that these labels belong to; its label goes. Nothing where the label is missing or a
    /// filter leaves the line out.
    pub(crate) fn extract(&self, labels: &mut LabelBuilder) -> Option<f64> {
        let text = labels.get(&self.label)?;
        let value = match self.conversion {
            Conversion::Number => parse_float(text),
            Conversion::Bytes => parse_bytes(text).map(|bytes| bytes as f64),
            Conversion::Duration | Conversion::DurationSeconds => {
                parse_go_duration(text).map(|ns| ns as f64 / 1e9)
            }
        };
        let value = value.unwrap_or_else(|details| {
            labels.set_error("SampleExtractionErr", &details);
            0.0
        });
        if !self.filters.iter().all(|f| f.passes(labels)) {
            return None;
        }
        labels.remove(&self.label);
        Some(value)
    }
}

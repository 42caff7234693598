//! `detected_fields`: which fields lines have, found by metadata and by trying parsers on each line.
//!
//! It works on the answer of a log query with categorized labels, newest lines first. A line that is
//! no JSON object is tried as logfmt; labels that the query itself has parsed count for the parser
//! that took the line.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::answer::{EntryResult, StreamResult};
use crate::ast::StageExpr;
use crate::labels::{LabelBuilder, LabelSet};
use crate::stages::{Hints, compile, json_paths};
use crate::units::{parse_bytes, parse_float, parse_go_duration};

/// What kind of values a field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// `int`
    Int,
    /// `float`
    Float,
    /// `boolean`
    Boolean,
    /// `duration`
    Duration,
    /// `bytes`
    Bytes,
    /// `string`
    Text,
}

impl FieldType {
    /// Its name in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::Duration => "duration",
            Self::Bytes => "bytes",
            Self::Text => "string",
        }
    }

    fn of(value: &str) -> Self {
        if value.parse::<i64>().is_ok() {
            Self::Int
        } else if parse_float(value).is_ok() {
            Self::Float
        } else if matches!(
            value,
            "true" | "false" | "True" | "False" | "TRUE" | "FALSE" | "t" | "f" | "T" | "F"
        ) {
            Self::Boolean
        } else if parse_go_duration(value).is_ok() {
            Self::Duration
        } else if parse_bytes(value).is_ok() {
            Self::Bytes
        } else {
            Self::Text
        }
    }
}

/// A field that lines have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectedField {
    /// The label that a parser makes of it.
    pub label: String,
    /// Kind of the value seen last.
    pub field_type: FieldType,
    /// Number of different values.
    pub cardinality: u64,
    /// `json`, `logfmt`; empty for structured metadata.
    pub parsers: Vec<&'static str>,
    /// Keys that lead to it; empty unless it is from JSON.
    pub json_path: Vec<String>,
}

#[derive(Default)]
struct Field {
    field_type: Option<FieldType>,
    values: BTreeSet<String>,
    parsers: BTreeSet<&'static str>,
    json_path: Vec<String>,
}

impl Field {
    fn see(&mut self, value: &str) {
        self.field_type = Some(FieldType::of(value));
        if !self.values.contains(value) {
            self.values.insert(value.to_owned());
        }
    }
}

/// The fields of an answer with categorized labels, sorted by label, at most `limit`.
#[must_use]
pub fn detected_fields(streams: &[StreamResult], limit: usize) -> Vec<DetectedField> {
    collect(streams, limit)
        .into_iter()
        .map(|(label, field)| DetectedField {
            label,
            field_type: field.field_type.unwrap_or(FieldType::Text),
            cardinality: field.values.len() as u64,
            parsers: field.parsers.into_iter().collect(),
            json_path: field.json_path,
        })
        .collect()
}

/// The values of one field of such an answer, sorted, at most `limit`.
#[must_use]
pub fn detected_field_values(streams: &[StreamResult], label: &str, limit: usize) -> Vec<String> {
    let mut fields = collect(streams, usize::MAX);
    let field = fields.remove(label).unwrap_or_default();
    field.values.into_iter().take(limit).collect()
}

fn collect(streams: &[StreamResult], limit: usize) -> BTreeMap<String, Field> {
    let mut fields: BTreeMap<String, Field> = BTreeMap::new();
    let logfmt = StageExpr::Logfmt {
        strict: false,
        keep_empty: false,
        extract: Vec::new(),
    };
    let Ok(logfmt) = compile(&logfmt, &Hints::default()) else {
        return fields;
    };
    for stream in streams {
        let mut labels = LabelBuilder::new(stream.labels.clone());
        for entry in &stream.entries {
            let mut see =
                |label: &str, value: &str, parser: Option<&'static str>, path: &[String]| {
                    if !fields.contains_key(label) {
                        if fields.len() >= limit {
                            return;
                        }
                        fields.insert(label.to_owned(), Field::default());
                    }
                    if let Some(field) = fields.get_mut(label) {
                        field.see(value);
                        field.parsers.extend(parser);
                        if field.json_path.is_empty() {
                            field.json_path = path.to_vec();
                        }
                    }
                };
            for (name, value) in metadata(entry).iter() {
                see(name, value, None, &[]);
            }
            let found = json_paths(&entry.line).ok();
            let parser = if found.is_some() { "json" } else { "logfmt" };
            start(&mut labels, entry);
            if let Some(found) = found {
                for (name, path, value) in found {
                    labels.set_found(&name, &value);
                    let extracted = format!("{name}_extracted");
                    let label = if labels.get(&extracted).is_some() {
                        &extracted
                    } else {
                        &name
                    };
                    see(label, &value, Some(parser), &path);
                }
            } else {
                logfmt.process(entry.t_ns, Cow::Borrowed(&entry.line), &mut labels);
                for (name, value) in labels.categorized().2.iter() {
                    see(name, value, Some(parser), &[]);
                }
            }
            for (name, value) in parsed(entry)
                .iter()
                .filter(|(name, _)| !name.starts_with("__error"))
            {
                see(name, value, Some(parser), &[]);
            }
        }
    }
    fields
}

fn metadata(entry: &EntryResult) -> LabelSet {
    entry
        .categories
        .as_ref()
        .map_or_else(LabelSet::empty, |c| c.structured_metadata.clone())
}

fn parsed(entry: &EntryResult) -> LabelSet {
    entry
        .categories
        .as_ref()
        .map_or_else(LabelSet::empty, |c| c.parsed.clone())
}

fn start(labels: &mut LabelBuilder, entry: &EntryResult) {
    labels.reset();
    for (name, value) in metadata(entry).iter() {
        labels.set_metadata(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_tell_their_kind() {
        for (value, kind) in [
            ("12", "int"),
            ("1e3", "float"),
            ("true", "boolean"),
            ("1m30s", "duration"),
            ("2KiB", "bytes"),
            ("0x10", "string"),
        ] {
            assert_eq!(FieldType::of(value).as_str(), kind, "{value}");
        }
    }

    #[test]
    fn lines_are_tried_as_json_and_logfmt() {
        let entry = |line: &str| EntryResult {
            t_ns: 0,
            line: line.to_owned(),
            categories: None,
        };
        let streams = [StreamResult {
            labels: [("app", "a")].into_iter().collect(),
            entries: vec![
                entry(r#"{"app":"x","u":{"id":1}}"#),
                entry("u_id=2 took=5ms"),
            ],
        }];
        let fields = detected_fields(&streams, 10);
        let names: Vec<_> = fields.iter().map(|f| f.label.as_str()).collect();
        assert_eq!(names, ["app_extracted", "took", "u_id"]);
        assert_eq!(
            (fields[2].cardinality, &fields[2].parsers),
            (2, &vec!["json", "logfmt"])
        );
        assert_eq!(fields[2].json_path, ["u", "id"]);
        assert_eq!(detected_field_values(&streams, "u_id", 10), ["1", "2"]);
    }
}

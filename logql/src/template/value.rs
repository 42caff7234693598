//! What a template computes with.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::date::Time;
use crate::units::format_float;

#[derive(Clone, Debug)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Arc<Vec<Self>>),
    Map(Arc<BTreeMap<String, Self>>),
    Time(Time),
    /// The labels of the line; they are not copied.
    Labels,
}

impl Value {
    /// As `%v` prints it.
    pub(super) fn show(&self) -> String {
        match self {
            Self::Nil => "<no value>".to_owned(),
            Self::Bool(b) => b.to_string(),
            Self::Int(i) => i.to_string(),
            Self::Float(f) => format_float(*f),
            Self::Text(text) => text.clone(),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(Self::show_inside).collect();
                format!("[{}]", items.join(" "))
            }
            Self::Map(map) => {
                let items: Vec<_> = map
                    .iter()
                    .map(|(k, v)| format!("{k}:{}", v.show_inside()))
                    .collect();
                format!("map[{}]", items.join(" "))
            }
            Self::Time(time) => time.to_string(),
            Self::Labels => "map[]".to_owned(),
        }
    }

    fn show_inside(&self) -> String {
        match self {
            Self::Nil => "<nil>".to_owned(),
            other => other.show(),
        }
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(b) => *b,
            Self::Int(i) => *i != 0,
            Self::Float(f) => *f != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Time(_) | Self::Labels => true,
        }
    }

    /// Go's name of its type.
    pub(super) const fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
            Self::Time(_) => "time.Time",
            Self::Labels => "map[string]string",
        }
    }

    pub(super) fn from_json(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Nil,
            serde_json::Value::Bool(b) => Self::Bool(b),
            serde_json::Value::Number(n) => Self::Float(n.to_string().parse().unwrap_or(f64::NAN)),
            serde_json::Value::String(text) => Self::Text(text),
            serde_json::Value::Array(items) => {
                Self::List(Arc::new(items.into_iter().map(Self::from_json).collect()))
            }
            serde_json::Value::Object(members) => Self::Map(Arc::new(
                members
                    .into_iter()
                    .map(|(k, v)| (k, Self::from_json(v)))
                    .collect(),
            )),
        }
    }
}

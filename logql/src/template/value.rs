//! What a template computes with.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::date::Time;
use crate::units::{format_float, format_go_duration};

/// A value of a template, of one of the kinds that Go would have.
#[derive(Clone, Debug)]
pub enum Value {
    /// No value.
    Nil,
    /// `bool`
    Bool(bool),
    /// `int`
    Int(i64),
    /// `float64`
    Float(f64),
    /// `string`
    Text(String),
    /// A slice.
    List(Arc<Vec<Self>>),
    /// `map[string]interface {}`: what it does not have is nil.
    Map(Arc<BTreeMap<String, Self>>),
    /// `map[string]string`: what it does not have is the empty text.
    Texts(Arc<BTreeMap<String, String>>),
    /// A struct.
    Record(Arc<Record>),
    /// `time.Time`
    Time(Time),
    /// `time.Duration`, in nanoseconds.
    Duration(i64),
    /// The texts that the host has under [`super::Host::member`]; they are not copied.
    Data,
}

/// A struct of Go: named fields in their order.
#[derive(Clone, Debug)]
pub struct Record {
    type_name: &'static str,
    fields: Vec<(&'static str, Value)>,
    shown: Option<String>,
}

impl Record {
    /// With Go's name of the type, for errors. `shown` is how it prints, where that is not as any struct.
    #[must_use]
    pub const fn new(
        type_name: &'static str,
        fields: Vec<(&'static str, Value)>,
        shown: Option<String>,
    ) -> Self {
        Self {
            type_name,
            fields,
            shown,
        }
    }

    /// The value of a field, where there is one of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Value> {
        let field = self.fields.iter().find(|(n, _)| *n == name);
        field.map(|(_, value)| value.clone())
    }

    /// Go's name of the type.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        self.type_name
    }

    fn show(&self) -> String {
        if let Some(shown) = &self.shown {
            return shown.clone();
        }
        let values: Vec<_> = self.fields.iter().map(|(_, v)| v.show_inside()).collect();
        format!("{{{}}}", values.join(" "))
    }
}

/// Why a function gave no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The function says so.
    Call(String),
    /// It takes another number of arguments.
    Count {
        /// How many it takes.
        want: usize,
        /// It takes more than these, too.
        at_least: bool,
    },
    /// An argument is of another kind.
    Type {
        /// Which one, from 0.
        at: usize,
        /// What it should be, as Go names the type.
        expected: &'static str,
    },
}

impl Value {
    /// As `%v` prints it; nil is `<no value>`, as a template prints it.
    #[must_use]
    pub fn show(&self) -> String {
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
            Self::Texts(texts) => {
                let items: Vec<_> = texts.iter().map(|(k, v)| format!("{k}:{v}")).collect();
                format!("map[{}]", items.join(" "))
            }
            Self::Record(record) => record.show(),
            Self::Time(time) => time.to_string(),
            Self::Duration(ns) => format_go_duration(*ns),
            Self::Data => "map[]".to_owned(),
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
            Self::Texts(texts) => !texts.is_empty(),
            Self::Duration(ns) => *ns != 0,
            Self::Record(_) | Self::Time(_) | Self::Data => true,
        }
    }

    /// Go's name of its type.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
            Self::Texts(_) | Self::Data => "map[string]string",
            Self::Record(record) => record.type_name,
            Self::Time(_) => "time.Time",
            Self::Duration(_) => "time.Duration",
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

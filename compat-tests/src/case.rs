//! A recorded case: a request, how its answer is compared, and the upstream's answer.
//!
//! A case file is JSON Lines, one case a line; the order is that of the recording.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One case.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Case {
    /// Unique in its file.
    pub id: String,
    /// What is asked.
    pub request: Request,
    /// The compare mode; `json` when absent.
    #[serde(default = "default_mode")]
    pub compare: String,
    /// Dotted paths of members that are not looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// Replacements made in both texts before lines are compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sub: Vec<(String, String)>,
    /// Names of response headers that must be the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub check_headers: Vec<String>,
    /// The upstream's answer.
    #[serde(default)]
    pub expect: Expect,
}

fn default_mode() -> String {
    "json".to_owned()
}

/// The request of a case.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Request {
    /// An HTTP method, or `FORM`: POST with the parameters as a form.
    #[serde(default = "default_method")]
    pub method: String,
    /// The path, already escaped.
    pub path: String,
    /// Parameters in order, not escaped.
    #[serde(default, deserialize_with = "params")]
    pub params: Vec<(String, String)>,
    /// Request headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// A body of text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// A body of bytes, as base64; wins over `body`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_b64: Option<String>,
}

fn default_method() -> String {
    "GET".to_owned()
}

/// Parameter values may be written as numbers.
fn params<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<(String, String)>, D::Error> {
    let raw: Option<Vec<(String, Value)>> = Option::deserialize(from)?;
    Ok(raw
        .unwrap_or_default()
        .into_iter()
        .map(|(k, v)| match v {
            Value::String(s) => (k, s),
            other => (k, other.to_string()),
        })
        .collect())
}

/// The expected answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Expect {
    /// The status code.
    #[serde(default)]
    pub status: u16,
    /// The body, where it is JSON. `null` is a body too, hence the nesting.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub json: Option<Value>,
    /// The body, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The checked headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// Reads a case file.
///
/// # Errors
/// When the file cannot be read, or a line is no case; the message names the line.
pub fn load(path: &Path) -> Result<Vec<Case>> {
    read_lines(path)
}

/// Reads any JSON Lines file into values of one type.
///
/// # Errors
/// When the file cannot be read, or a line does not fit; the message names the line.
pub fn read_lines<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(i, line)| {
            serde_json::from_str(line).with_context(|| format!("{}:{}", path.display(), i + 1))
        })
        .collect()
}

//! Jaeger's gRPC cases.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::feed::clients::Outcome;
use crate::replay::Selection;

/// One call with what the upstream answered.
#[derive(Debug, Clone, Deserialize)]
pub struct GrpcCase {
    /// Unique in its file.
    pub id: String,
    /// Full name of the service.
    pub service: String,
    /// The method.
    pub method: String,
    /// The request message in protobuf's JSON.
    pub request: Value,
    /// `messages` or `error`.
    pub expect: Value,
}

#[derive(Deserialize)]
struct File {
    cases: Vec<GrpcCase>,
}

/// Reads a case file.
///
/// # Errors
/// When it cannot be read or is no such file.
pub fn load(path: &Path) -> Result<Vec<GrpcCase>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let file: File = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    Ok(file.cases)
}

/// Asks each case and compares.
///
/// # Errors
/// When the file cannot be read.
pub async fn cases(_base: &str, path: &Path, selection: &Selection) -> Result<Vec<Outcome>> {
    let cases = load(path)?;
    Ok(cases
        .into_iter()
        .filter(|c| selection.takes(&c.id))
        .map(|c| (c.id, Some("gRPC is not asked yet".to_owned())))
        .collect())
}

//! `GET /api/v1/metadata`: type, help and unit of metric families.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::format::success;
use super::params::Ask;
use crate::app::AppState;

pub(super) async fn handle(State(app): State<AppState>, ask: Ask) -> Result<Response, ApiError> {
    let limit = number(&ask, "limit")?;
    let limit_per_metric = number(&ask, "limit_per_metric")?;
    let metric = Some(ask.params.get("metric")).filter(|m| !m.is_empty());
    let mut families: Map<String, Value> = Map::new();
    for metadata in app.storage.metadata(&ask.tenant, metric) {
        let is_new = !families.contains_key(&metadata.family);
        if is_new && limit.is_some_and(|limit| families.len() >= limit) {
            break;
        }
        let entry = json!({
            "type": metadata.metric_type.as_str(),
            "help": metadata.help,
            "unit": metadata.unit,
        });
        let entries = families.entry(metadata.family).or_insert_with(|| json!([]));
        if let Value::Array(entries) = entries
            && limit_per_metric.is_none_or(|limit| entries.len() < limit)
            && !entries.contains(&entry)
        {
            entries.push(entry);
        }
    }
    Ok(success(&families))
}

/// A limit; none where absent or not positive.
pub(super) fn number(ask: &Ask, name: &str) -> Result<Option<usize>, ApiError> {
    let text = ask.params.get(name);
    if text.is_empty() {
        return Ok(None);
    }
    let number: i64 = text
        .parse()
        .map_err(|_| ApiError::BadData(format!("{name} must be a number")))?;
    Ok(usize::try_from(number).ok().filter(|&n| n > 0))
}

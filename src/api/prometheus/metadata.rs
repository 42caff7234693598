//! `GET /api/v1/metadata`: type, help and unit of metric families, as active targets show them and as senders told.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use storage::model::{Metadata, Tenant};

use super::error::ApiError;
use super::format::success;
use super::params::Ask;
use super::targets;
use crate::app::AppState;

pub(super) async fn handle(State(app): State<AppState>, ask: Ask) -> Result<Response, ApiError> {
    let limit = targets::limit(&ask)?;
    let per_metric = number(&ask, "limit_per_metric")?;
    let metric = Some(ask.params.get("metric")).filter(|m| !m.is_empty());
    let mut families = Families {
        found: BTreeMap::new(),
        limit,
        per_metric,
    };
    // What is scraped belongs to the tenant without a name.
    if ask.tenant == Tenant::anonymous() {
        for target in app.scrapes.all().values().flat_map(|pool| &pool.active) {
            let of_target = target.families.lock();
            match metric {
                Some(metric) => of_target
                    .get(metric)
                    .into_iter()
                    .for_each(|m| families.add(m)),
                None => of_target.iter().for_each(|m| families.add(m)),
            }
        }
    }
    for metadata in app.storage.metadata(&ask.tenant, metric) {
        families.add(&metadata);
    }
    Ok(success(&families.found))
}

struct Families {
    /// Sorted by name, as upstream's are.
    found: BTreeMap<String, Vec<Value>>,
    limit: Option<usize>,
    per_metric: Option<usize>,
}

impl Families {
    fn add(&mut self, metadata: &Metadata) {
        let is_new = !self.found.contains_key(&metadata.family);
        if is_new && self.limit.is_some_and(|limit| self.found.len() >= limit) {
            return;
        }
        let entry = json!({
            "type": metadata.metric_type.as_str(),
            "unit": metadata.unit,
            "help": metadata.help,
        });
        let entries = self.found.entry(metadata.family.clone()).or_default();
        if self.per_metric.is_none_or(|limit| entries.len() < limit) && !entries.contains(&entry) {
            entries.push(entry);
        }
    }
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

//! `GET /api/v1/status/self_metrics`: what `/metrics` says, as JSON, in the protobuf mapping of upstream's metric families.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::format::success;
use super::params::Ask;
use crate::app::{App, AppState};
use crate::telemetry::Family;

pub(super) async fn handle(State(app): State<AppState>, ask: Ask) -> Result<Response, ApiError> {
    let pattern = ask.params.get("metric_name_pattern");
    let wanted = match pattern {
        "" => None,
        _ => Some(
            storage::model::compile_anchored(pattern)
                .map_err(|e| ApiError::parameter("metric_name_pattern", e))?,
        ),
    };
    let families: Vec<Value> = families(&app)
        .iter()
        .filter(|f| wanted.as_ref().is_none_or(|w| w.is_match(f.name)))
        .map(to_json)
        .collect();
    Ok(success(&families))
}

fn to_json(family: &Family) -> Value {
    let kind = family.metric_type.as_str();
    let metrics: Vec<Value> = family
        .samples
        .iter()
        .map(|(labels, value)| {
            let pairs: Vec<Value> = labels
                .iter()
                .map(|(n, v)| json!({"name": n, "value": v}))
                .collect();
            let mut metric = Map::new();
            metric.insert("label".to_owned(), Value::from(pairs));
            metric.insert(kind.to_owned(), json!({"value": value}));
            Value::Object(metric)
        })
        .collect();
    json!({
        "name": family.name,
        "help": family.help,
        "type": kind.to_uppercase(),
        "metric": metrics,
    })
}

/// The families of `/metrics`, in its order.
pub(super) fn families(app: &App) -> Vec<Family> {
    app.families()
}

#[cfg(test)]
mod tests {
    use storage::model::{Labels, MetricType};

    use super::*;

    #[test]
    fn families_have_labels_and_values_by_type() {
        let family = Family {
            name: "a_total",
            metric_type: MetricType::Counter,
            help: "Some help.",
            samples: vec![(Labels::from_pairs([("x", "y")]), 2.0)],
        };
        assert_eq!(
            to_json(&family),
            json!({
                "name": "a_total",
                "help": "Some help.",
                "type": "COUNTER",
                "metric": [{"label": [{"name": "x", "value": "y"}], "counter": {"value": 2.0}}],
            })
        );
    }
}

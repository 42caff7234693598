//! Remote sampling: which share of traces a client should keep, from a file of strategies.
//!
//! The file is read at each request, so that a change counts without a restart; clients ask once a
//! minute.

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::in_plain_text;
use super::params::Params;
use crate::app::AppState;

/// The file of strategies, in Jaeger's form.
#[derive(Debug, Default, Deserialize)]
struct Strategies {
    #[serde(default)]
    default_strategy: Option<Strategy>,
    #[serde(default)]
    service_strategies: Vec<Strategy>,
}

#[derive(Clone, Debug, Deserialize)]
struct Strategy {
    /// Empty in the default.
    #[serde(default)]
    service: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    param: f64,
    #[serde(default)]
    operation_strategies: Vec<OperationStrategy>,
}

#[derive(Clone, Debug, Deserialize)]
struct OperationStrategy {
    operation: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    param: f64,
}

pub(super) async fn answer(State(app): State<AppState>, RawQuery(query): RawQuery) -> Response {
    let params = Params::new(query.as_deref());
    let mut services = params.all("service");
    let (Some(service), None) = (services.next(), services.next()) else {
        let words = "'service' parameter must be provided once\n".to_owned();
        return in_plain_text(StatusCode::BAD_REQUEST, words);
    };
    let strategies = match &app.config.jaeger_sampling_file {
        None => Ok(Strategies::default()),
        Some(path) => tokio::fs::read(path)
            .await
            .map_err(|e| e.to_string())
            .and_then(|text| serde_json::from_slice(&text).map_err(|e| e.to_string()))
            .map_err(|e| format!("--jaeger.sampling-file={}: {e}", path.display())),
    };
    match strategies {
        Ok(strategies) => {
            let body = strategies.of(service).to_string();
            ([(CONTENT_TYPE, "application/json")], body).into_response()
        }
        Err(e) => {
            tracing::warn!("{e}");
            in_plain_text(StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n"))
        }
    }
}

impl Strategies {
    /// The answer for a service. A service's operations come before the default's, which hold for every service.
    fn of(&self, service: &str) -> Value {
        let fallback = self.default_strategy.clone().unwrap_or(Strategy {
            service: String::new(),
            kind: "probabilistic".to_owned(),
            param: 1.0,
            operation_strategies: Vec::new(),
        });
        let own = self
            .service_strategies
            .iter()
            .find(|s| s.service == service);
        let strategy = own.unwrap_or(&fallback);
        let mut answer = if strategy.kind == "ratelimiting" {
            json!({
                "strategyType": "RATE_LIMITING",
                "rateLimitingSampling": { "maxTracesPerSecond": strategy.param as i64 },
            })
        } else {
            json!({
                "strategyType": "PROBABILISTIC",
                "probabilisticSampling": { "samplingRate": strategy.param },
            })
        };
        let mut operations: Vec<&OperationStrategy> = Vec::new();
        let all = own
            .into_iter()
            .chain([&fallback])
            .flat_map(|s| &s.operation_strategies);
        for operation in all.filter(|o| o.kind == "probabilistic") {
            if !operations
                .iter()
                .any(|o| o.operation == operation.operation)
            {
                operations.push(operation);
            }
        }
        if !operations.is_empty() {
            let share = if strategy.kind == "ratelimiting" {
                fallback.param
            } else {
                strategy.param
            };
            let each = operations.iter().map(|o| {
                json!({
                    "operation": o.operation,
                    "probabilisticSampling": { "samplingRate": o.param },
                })
            });
            answer["operationSampling"] = json!({
                "defaultSamplingProbability": share,
                "defaultLowerBoundTracesPerSecond": 0,
                "perOperationStrategies": each.collect::<Vec<_>>(),
                "defaultUpperBoundTracesPerSecond": 0,
            });
        }
        answer
    }
}

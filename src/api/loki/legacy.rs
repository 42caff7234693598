//! `/api/prom/query`, the query endpoint of old clients.

use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::Response;
use chrono::{DateTime, SecondsFormat, Utc};
use logql::{Data, quote};
use serde_json::{Value, json};

use super::error::ApiError;
use super::params::Params;
use super::{format, query};
use crate::app::AppState;

pub(super) async fn query(
    State(app): State<AppState>,
    request: Request,
) -> Result<Response, ApiError> {
    let started = Instant::now();
    let mut asked = Params::read(&app, request).await?;
    asked.categorize = false;
    let mut text = asked.query().to_owned();
    if !logql::parse(&text)?.is_log() {
        return Err(ApiError::bad(
            "rpc error: code = Code(400) desc = legacy endpoints only support streams result type",
        ));
    }
    if let Some(regexp) = asked.given("regexp") {
        text.push_str(" |~ ");
        text.push_str(&quote(regexp));
    }
    let answer = query::range_answer(&app, &asked, &text).await?;
    let Data::Streams(streams) = &answer.data else {
        return Err(ApiError::bad(
            "legacy endpoints only support streams result type",
        ));
    };
    let streams: Vec<Value> = streams
        .iter()
        .map(|stream| {
            let entries: Vec<Value> = stream
                .entries
                .iter()
                .map(|e| json!({"ts": go_time(e.t_ns), "line": e.line}))
                .collect();
            json!({"labels": stream.labels.to_string(), "entries": entries})
        })
        .collect();
    let stats = format::stats(&answer, streams.len(), started.elapsed());
    Ok(format::json(
        json!({"streams": streams, "stats": stats}).to_string(),
    ))
}

/// RFC 3339 without trailing zeros of the fraction.
fn go_time(t_ns: i64) -> String {
    let text =
        DateTime::<Utc>::from_timestamp_nanos(t_ns).to_rfc3339_opts(SecondsFormat::Nanos, true);
    let text = text.trim_end_matches('Z').trim_end_matches('0');
    format!("{}Z", text.trim_end_matches('.'))
}

//! The archive: `POST /api/archive/{id}` writes a trace once more, to a place that retention leaves alone, and a read by
//! id looks there where the trace is found no more.
//!
//! What is archived are the spans as they were stored; adjusters run when they are read.

use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use http::HeaderMap;
use storage::model::{Tenant, Trace, TraceId};

use super::error::ApiError;
use super::params::Params;
use super::{format, ids, otlp};
use crate::app::AppState;
use crate::ingest::spans;
use crate::tenant;
use crate::wire::otlp::ExportTraceServiceRequest;

pub(super) async fn handle(
    State(app): State<AppState>,
    headers: HeaderMap,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let params = Params::new(query.as_deref());
    let id = ids::from_path(&id).map_err(ApiError::bad_request)?;
    params.integer("start")?;
    params.integer("end")?;
    let tenant = tenant::of(&headers, &app.config)?;
    keep(&app, &tenant, id).await?;
    Ok(format::envelope("[]", 0, "[]", params.pretty()))
}

/// Archives a trace. Spans that lie there already are not written twice.
///
/// # Errors
/// 500 without an archive, 404 for an unknown trace, or what storage says.
pub(super) async fn keep(app: &AppState, tenant: &Tenant, id: TraceId) -> Result<(), ApiError> {
    if !app.config.jaeger_archive {
        return Err(ApiError::internal(
            "archive span storage was not configured",
        ));
    }
    let archive = tenant.archive();
    let kept = app.storage.trace(&archive, id).await?;
    let Some(mut trace) = app.storage.trace(tenant, id).await? else {
        return kept.map(|_| ()).ok_or_else(ApiError::trace_not_found);
    };
    let kept = kept.unwrap_or_default();
    trace.spans.retain(|span| !kept.spans.contains(span));
    let request = ExportTraceServiceRequest {
        resource_spans: otlp::message(&trace).resource_spans,
    };
    spans::append(app, &archive, request)
        .await
        .map_err(|e| ApiError {
            status: e.http_status(),
            message: e.to_string(),
        })
}

/// An archived trace.
///
/// # Errors
/// What storage says.
pub(super) async fn find(
    app: &AppState,
    tenant: &Tenant,
    id: TraceId,
) -> Result<Option<Trace>, ApiError> {
    if !app.config.jaeger_archive {
        return Ok(None);
    }
    Ok(app.storage.trace(&tenant.archive(), id).await?)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::{Method, Request, StatusCode};
    use serde_json::{Value, json};

    use super::*;
    use crate::app::testing;
    use crate::wire::otlp::json as otlp_json;

    const ID: &str = "0000000000000000000000000000000a";

    async fn ask(app: &AppState, method: Method, path: &str) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(path);
        let request = request.body(Body::empty()).unwrap();
        let answer = testing::call(app, crate::api::jaeger::router(), request).await;
        let (status, body) = testing::read(answer).await;
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn write(app: &AppState, tenant: &Tenant, span_id: &str) {
        let text = json!({"resourceSpans": [{"scopeSpans": [{"spans": [
            {"traceId": ID, "spanId": span_id, "name": "n", "startTimeUnixNano": "5", "endTimeUnixNano": "9"}
        ]}]}]});
        let request = otlp_json::decode_traces(text.to_string().as_bytes()).unwrap();
        spans::append(app, tenant, request).await.unwrap();
    }

    fn span_ids(answer: &Value) -> Vec<&str> {
        let spans = answer["data"][0]["spans"].as_array().unwrap();
        spans
            .iter()
            .map(|s| s["spanID"].as_str().unwrap())
            .collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_trace_is_archived_once_and_read_from_there_when_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let args = ["--storage.min-free=0", "--jaeger.archive"];
        let app = testing::open(folder.path(), &args).await;
        let tenant = Tenant::anonymous();
        let archive_path = format!("/api/archive/{ID}");

        let (status, answer) = ask(&app, Method::POST, &archive_path).await;
        assert_eq!(
            (status, &answer["errors"][0]["msg"]),
            (StatusCode::NOT_FOUND, &json!("trace not found"))
        );

        write(&app, &tenant, "0000000000000001").await;
        for _ in 0..2 {
            let (status, answer) = ask(&app, Method::POST, &archive_path).await;
            assert_eq!(status, StatusCode::OK);
            assert_eq!(
                answer,
                json!({"data": [], "total": 0, "limit": 0, "offset": 0, "errors": []})
            );
        }
        write(&app, &tenant, "0000000000000002").await;
        ask(&app, Method::POST, &archive_path).await;
        let id = ids::from_hex(ID).unwrap();
        let archived = find(&app, &tenant, id).await.unwrap().unwrap();
        assert_eq!(archived.spans.len(), 2);
        assert_eq!(
            Some(archived),
            app.storage.trace(&tenant, id).await.unwrap()
        );

        // To another tenant's eyes the trace was never here; what lies in its archive alone is found by id.
        let other = Tenant::new("other").unwrap();
        assert_eq!(find(&app, &other, id).await.unwrap(), None);
        app.storage.close().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_trace_that_only_the_archive_has_is_found_by_id() {
        let folder = tempfile::tempdir().unwrap();
        let path = format!("/api/traces/{ID}");
        let app = testing::open(folder.path(), &["--storage.min-free=0", "--jaeger.archive"]).await;
        write(&app, &Tenant::anonymous().archive(), "0000000000000003").await;
        let (_, answer) = ask(&app, Method::GET, &path).await;
        assert_eq!(span_ids(&answer), ["0000000000000003"]);
        let (status, _) = ask(&app, Method::POST, &format!("/api/archive/{ID}")).await;
        assert_eq!(status, StatusCode::OK);
        app.storage.close().await.unwrap();
        drop(app);

        // Without the setting there is no archive.
        let app = testing::open(folder.path(), &["--storage.min-free=0"]).await;
        assert_eq!(ask(&app, Method::GET, &path).await.0, StatusCode::NOT_FOUND);
        let (status, answer) = ask(&app, Method::POST, &format!("/api/archive/{ID}")).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(
            answer["errors"][0]["msg"],
            "archive span storage was not configured"
        );
        app.storage.close().await.unwrap();
    }
}

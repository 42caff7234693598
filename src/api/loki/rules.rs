//! Rules of logs. No rule file is read by this version, so that there are none.

use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;

use super::error::ApiError;
use super::format;

pub(super) async fn list() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "no rule groups found")
}

pub(super) async fn namespace(Path(namespace): Path<String>) -> ApiError {
    ApiError::bad(format!("error reading rules: no namespace {namespace}"))
}

pub(super) async fn group() -> ApiError {
    ApiError::bad("GetRuleGroup unsupported in rule local store")
}

pub(super) async fn prometheus_rules() -> Response {
    format::json(r#"{"status":"success","data":{"groups":[]},"errorType":"","error":""}"#)
}

pub(super) async fn prometheus_alerts() -> Response {
    format::json(r#"{"status":"success","data":{"alerts":[]},"errorType":"","error":""}"#)
}

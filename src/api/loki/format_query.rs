//! `format_query`: the only endpoint that words its errors as JSON.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::error::ApiError;
use super::format;
use super::params::Params;
use crate::app::AppState;

pub(super) async fn handle(
    State(app): State<AppState>,
    request: Request,
) -> Result<Response, ApiError> {
    let asked = Params::read(&app, request).await?;
    match logql::parse(asked.query()) {
        Ok(expr) => Ok(format::success(logql::pretty(&expr).into())),
        Err(e) => {
            let body = serde_json::json!({"status": "invalid-query", "error": e.to_string()});
            let headers = [(CONTENT_TYPE, "application/json; charset=UTF-8")];
            Ok((StatusCode::BAD_REQUEST, headers, body.to_string() + "\n").into_response())
        }
    }
}

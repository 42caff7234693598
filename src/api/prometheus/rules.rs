//! `GET /api/v1/rules`, `/alerts`, `/alertmanagers`. No rule is evaluated by this version, so the lists are empty; the
//! parameters are checked all the same.

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::error::ApiError;
use super::format::success;
use super::params::Ask;
use crate::app::AppState;

pub(super) async fn handle(State(_app): State<AppState>, ask: Ask) -> Result<Response, ApiError> {
    let params = &ask.params;
    let kind = params.get("type").to_lowercase();
    if !matches!(kind.as_str(), "" | "alert" | "record") {
        let quoted = promql::lexer::quote(params.get("type"));
        return Err(ApiError::parameter(
            "type",
            format!("not supported value {quoted}"),
        ));
    }
    params.selectors().map_err(ApiError::BadData)?;
    exclude_alerts(params.get("exclude_alerts"))?;
    page(params.get("group_limit"), params.get("group_next_token"))?;
    Ok(success(&json!({"groups": []})))
}

/// A boolean as Go reads one; false where absent.
fn exclude_alerts(text: &str) -> Result<bool, ApiError> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(ApiError::parameter(
            "exclude_alerts",
            format!(
                "error converting exclude_alerts: strconv.ParseBool: parsing {}: invalid syntax",
                promql::lexer::quote(text)
            ),
        )),
    }
}

/// How many groups are wanted (none: all), and after which.
fn page(limit: &str, token: &str) -> Result<Option<u64>, ApiError> {
    if limit.is_empty() {
        if token.is_empty() {
            return Ok(None);
        }
        return Err(ApiError::parameter(
            "group_next_token",
            "group_limit needs to be present in order to paginate over the groups",
        ));
    }
    let Ok(number) = limit.parse::<i64>() else {
        return Err(ApiError::parameter(
            "group_limit",
            format!(
                "group_limit needs to be a valid number: strconv.ParseInt: parsing {}: invalid syntax",
                promql::lexer::quote(limit)
            ),
        ));
    };
    match u64::try_from(number) {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(ApiError::parameter(
            "group_limit",
            "group_limit needs to be greater than 0",
        )),
    }
}

pub(super) async fn alerts() -> Response {
    success(&json!({"alerts": []}))
}

pub(super) async fn alertmanagers() -> Response {
    success(&json!({"activeAlertmanagers": [], "droppedAlertmanagers": []}))
}

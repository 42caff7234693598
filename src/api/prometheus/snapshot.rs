//! `POST|PUT /api/v1/admin/tsdb/snapshot`: a folder that holds everything, made beside the blocks.

use axum::extract::State;
use axum::response::Response;
use promql::lexer::quote;
use serde_json::json;

use super::admin::tsdb_enabled;
use super::error::ApiError;
use super::format::success;
use super::params::Ask;
use crate::app::AppState;

pub(super) async fn handle(State(app): State<AppState>, ask: Ask) -> Result<Response, ApiError> {
    tsdb_enabled(&app)?;
    let skip_head = match ask.params.get("skip_head") {
        "" => false,
        text => parse_bool(text).map_err(|reason| ApiError::parameter("skip_head", reason))?,
    };
    let random = rand::random::<u64>() >> 1;
    let name = format!("{}-{random:x}", chrono::Utc::now().format("%Y%m%dT%H%M%SZ"));
    app.storage
        .snapshot(&name, skip_head)
        .await
        .map_err(ApiError::changing)?;
    Ok(success(&json!({ "name": name })))
}

/// The words that Go takes.
fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!(
            "unable to parse boolean: strconv.ParseBool: parsing {}: invalid syntax",
            quote(text)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_those_of_go() {
        assert_eq!(parse_bool("True"), Ok(true));
        assert_eq!(parse_bool("0"), Ok(false));
        assert_eq!(
            parse_bool("abc").unwrap_err(),
            "unable to parse boolean: strconv.ParseBool: parsing \"abc\": invalid syntax"
        );
        assert!(parse_bool("yes").is_err());
    }
}

//! `GET|POST /api/v1/series`: the label sets that selectors match.

use axum::extract::State;
use axum::response::Response;

use super::error::ApiError;
use super::format::{json, write_labels};
use super::params::Ask;
use crate::app::AppState;

/// Words of upstream's for an answer that was cut.
pub(super) const TRUNCATED: &str = "results truncated due to limit";

pub(super) async fn handle(State(app): State<AppState>, ask: Ask) -> Result<Response, ApiError> {
    ask.params.are_whole()?;
    if ask.params.all("match[]").next().is_none() {
        return Err(ApiError::BadData(
            "no match[] parameter provided".to_owned(),
        ));
    }
    let limit = ask.params.limit()?;
    let range = ask.params.range()?;
    let selectors = ask
        .params
        .selectors()
        .map_err(|e| ApiError::parameter("match[]", e))?;
    // One more than wanted tells whether there are more.
    let most = if limit == 0 {
        0
    } else {
        limit.saturating_add(1)
    };
    let mut series = app
        .storage
        .series_labels(&ask.tenant, &selectors, range, most)
        .await?;
    let cut = limit > 0 && series.len() > limit;
    if cut {
        series.truncate(limit);
    }
    let mut out = b"{\"status\":\"success\",\"data\":[".to_vec();
    for (index, labels) in series.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_labels(&mut out, labels);
    }
    out.push(b']');
    if cut {
        out.extend_from_slice(format!(",\"warnings\":[\"{TRUNCATED}\"]").as_bytes());
    }
    out.push(b'}');
    Ok(json(out.into()))
}

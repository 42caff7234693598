//! `GET /api/v1/label/{name}/values`: values of a label, sorted.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::labels::truncated;
use super::params::Ask;
use crate::app::AppState;

pub(super) async fn handle(
    State(app): State<AppState>,
    name: Result<Path<String>, PathRejection>,
    ask: Ask,
) -> Result<Response, ApiError> {
    let Path(name) = name.map_err(|e| ApiError::BadData(format!("invalid label name: {e}")))?;
    if name.is_empty() {
        return Ok(crate::api::not_found().await.into_response());
    }
    let name = unescape(&name);
    if name.is_empty() {
        return Err(ApiError::BadData("invalid label name: \"\"".to_owned()));
    }
    let limit = ask.params.limit()?;
    let range = ask.params.range()?;
    let selectors = ask.params.selectors().map_err(ApiError::BadData)?;
    let values = app
        .storage
        .label_values(&ask.tenant, &name, &selectors, range)
        .await?;
    Ok(truncated(values, limit))
}

/// A name written with `U__` in front: `__` is an underscore, `_2e_` the character U+002E. Anything else stays as it is.
fn unescape(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else {
        return name.to_owned();
    };
    decode(escaped).unwrap_or_else(|| name.to_owned())
}

fn decode(mut rest: &str) -> Option<String> {
    let mut out = String::new();
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let end = rest.find('_').filter(|end| (1..=6).contains(end))?;
        out.push(char::from_u32(u32::from_str_radix(&rest[..end], 16).ok()?)?);
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_read_back() {
        for (name, expected) in [
            ("job", "job"),
            ("U__service_2e_name", "service.name"),
            ("U__a__b", "a_b"),
            ("U___e9_tiquette", "étiquette"),
            ("U__0digit", "0digit"),
            ("U__zz", "zz"),
            ("U__bad_zz_x", "U__bad_zz_x"),
            ("U__open_2e", "U__open_2e"),
        ] {
            assert_eq!(unescape(name), expected);
        }
    }
}

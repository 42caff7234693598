//! Parameters of a request: the query string, and the form of a POST.

use axum::extract::Request;
use http::Method;
use http::header::CONTENT_TYPE;
use logql::params::{DEFAULT_SINCE_NS, parse_bounds, parse_time};
use storage::model::{Matcher, NsRange, Tenant};

use super::error::ApiError;
use crate::app::AppState;
use crate::{body, tenant};

/// What every handler needs of a request.
pub(super) struct Params {
    pub(super) tenant: Tenant,
    pub(super) now_ns: i64,
    /// Whether entries are to tell where their labels come from.
    pub(super) categorize: bool,
    pairs: Vec<(String, String)>,
}

impl Params {
    pub(super) async fn read(app: &AppState, request: Request) -> Result<Self, ApiError> {
        let (parts, sent) = request.into_parts();
        let tenant = tenant::of(&parts.headers, &app.config)?;
        let mut pairs = Vec::new();
        let content_type = parts
            .headers
            .get(CONTENT_TYPE)
            .and_then(|v| v.to_str().ok());
        let is_form =
            content_type.is_none_or(|t| t.starts_with("application/x-www-form-urlencoded"));
        if parts.method == Method::POST && is_form {
            let limit = usize::try_from(app.config.max_body_bytes).unwrap_or(usize::MAX);
            let form = body::read(sent, limit)
                .await
                .map_err(|e| ApiError::bad(e.to_string()))?;
            pairs.extend(form_urlencoded::parse(&form).into_owned());
        }
        let query = parts.uri.query().unwrap_or_default();
        pairs.extend(form_urlencoded::parse(query.as_bytes()).into_owned());
        let flags = parts.headers.get("x-loki-response-encoding-flags");
        let categorize = flags
            .and_then(|v| v.to_str().ok())
            .is_some_and(|v| v.split(',').any(|f| f.trim() == "categorize-labels"));
        Ok(Self {
            tenant,
            now_ns: now_ns(),
            categorize,
            pairs,
        })
    }

    /// The first value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A value that is there and not empty.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|v| !v.is_empty())
    }

    /// All values of a parameter.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.pairs.iter().filter(move |(n, _)| n == name);
        named.map(|(_, value)| value.as_str())
    }

    /// `query`, or nothing.
    pub(super) fn query(&self) -> &str {
        self.get("query").unwrap_or_default()
    }

    /// `start`, `end` and `since` as asked.
    pub(super) fn bounds(&self) -> Result<(i64, i64), ApiError> {
        Ok(parse_bounds(|name| self.get(name), self.now_ns)?)
    }

    /// The streams of an index question: those from start to end, both in.
    pub(super) fn range(&self) -> Result<NsRange, ApiError> {
        let (start, end) = self.bounds()?;
        Ok(NsRange::new(start, end.saturating_add(1)))
    }

    /// As [`Self::range`], six hours back where nothing is said, as Loki does for labels.
    pub(super) fn label_range(&self) -> Result<NsRange, ApiError> {
        if self.given("start").is_some() || self.given("since").is_some() {
            return self.range();
        }
        let end = match self.given("end") {
            Some(text) => parse_time(text)
                .map_err(|e| ApiError::bad(format!("could not parse 'end' parameter: {e}")))?,
            None => self.now_ns,
        };
        let start = end.saturating_sub(6 * DEFAULT_SINCE_NS);
        Ok(NsRange::new(start, end.saturating_add(1)))
    }
}

/// The wall clock in nanoseconds.
pub(super) fn now_ns() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    now.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}

const ONLY_MATCHERS: &str = "only label matchers are supported";

/// A selector. `{}` is taken where `empty_is_all` says so.
pub(super) fn matchers(text: &str, empty_is_all: bool) -> Result<Vec<Matcher>, ApiError> {
    let matchers = logql::parse_matchers(text).map_err(|e| match e.message.as_str() {
        ONLY_MATCHERS => ApiError::bad(ONLY_MATCHERS),
        _ => e.into(),
    })?;
    if matchers.is_empty() && empty_is_all {
        return Ok(matchers);
    }
    if matchers.iter().all(Matcher::matches_empty) {
        // The parser words it.
        logql::parse(text)?;
    }
    Ok(matchers)
}

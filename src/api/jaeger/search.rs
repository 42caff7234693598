//! What a search asks for, from whichever door, as storage's selection; and reads with their
//! adjusters.

use std::collections::BTreeMap;

use http::StatusCode;
use storage::model::{SpanKind, Tenant, Trace, TraceId};
use storage::read::{SpanMatch, TraceSelect};

use super::adjust::{self, Limits};
use super::error::ApiError;
use super::{archive, go};
use crate::app::AppState;

/// Traces of a search that asks for no number.
pub(super) const DEFAULT_LIMIT: i64 = 100;
/// Most traces of a search.
const MAX_LIMIT: i64 = 100_000;

/// A search in the words of the API.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    pub(super) service: String,
    pub(super) operation: String,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) start_min_ns: Option<i64>,
    pub(super) start_max_ns: Option<i64>,
    /// Zero is absent.
    pub(super) duration_min_ns: i64,
    pub(super) duration_max_ns: i64,
    pub(super) limit: i64,
    pub(super) raw: bool,
}

impl Query {
    /// # Errors
    /// 500 where the number of traces is out of bounds, as memory storage has it.
    fn select(&self) -> Result<TraceSelect, ApiError> {
        if self.limit <= 0 || self.limit > MAX_LIMIT {
            return Err(ApiError::internal(
                "search depth must be greater than 0 and less than max traces",
            ));
        }
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        let bound = |ns: i64| u64::try_from(ns).ok().filter(|ns| *ns > 0);
        Ok(TraceSelect {
            service: some(&self.service),
            operation: some(&self.operation),
            start_min_ns: self.start_min_ns,
            start_max_ns: self.start_max_ns,
            duration_min_ns: bound(self.duration_min_ns),
            duration_max_ns: bound(self.duration_max_ns),
            matches: self.tags.iter().map(|(k, v)| condition(k, v)).collect(),
            limit: usize::try_from(self.limit).unwrap_or_default(),
        })
    }
}

/// A tag as a condition: some keys have a meaning of their own.
fn condition(key: &str, value: &str) -> SpanMatch {
    match key {
        "error" => match go::parse_bool(value) {
            Ok(true) => SpanMatch::StatusIn(vec![2]),
            Ok(false) => SpanMatch::StatusIn(vec![1]),
            Err(_) => SpanMatch::Never,
        },
        "span.status" => SpanMatch::StatusIn(vec![match value.to_ascii_lowercase().as_str() {
            "ok" => 1,
            "error" => 2,
            _ => 0,
        }]),
        "span.kind" => SpanMatch::Kind(SpanKind(match value.to_ascii_lowercase().as_str() {
            "internal" => 1,
            "server" => 2,
            "client" => 3,
            "producer" => 4,
            "consumer" => 5,
            _ => 0,
        })),
        "scope.name" => SpanMatch::ScopeName(value.to_owned()),
        "scope.version" => SpanMatch::ScopeVersion(value.to_owned()),
        _ => match key.strip_prefix("resource.") {
            Some(key) => SpanMatch::ResourceAttribute(key.to_owned(), value.to_owned()),
            None => SpanMatch::Attribute(key.to_owned(), value.to_owned()),
        },
    }
}

fn limits(app: &AppState) -> Limits {
    let skew = app.config.jaeger_max_clock_skew_adjustment.0;
    Limits {
        max_skew_ns: i64::try_from(skew.as_nanos()).unwrap_or(i64::MAX),
        max_spans: app.config.jaeger_max_trace_size,
    }
}

/// Traces of a search, adjusted unless raw ones are wanted.
///
/// # Errors
/// A bad limit, or what storage says.
pub(super) async fn search(
    app: &AppState,
    tenant: &Tenant,
    query: &Query,
) -> Result<Vec<Trace>, ApiError> {
    let select = query.select()?;
    let mut traces = app.storage.search_traces(tenant, &select).await?;
    if !query.raw {
        for trace in &mut traces {
            adjust::adjust(trace, limits(app));
        }
    }
    Ok(traces)
}

/// A trace by id, from the archive where it is found no more; adjusted unless a raw one is wanted.
///
/// # Errors
/// 404, or what storage says.
pub(super) async fn trace(
    app: &AppState,
    tenant: &Tenant,
    id: TraceId,
    raw: bool,
) -> Result<Trace, ApiError> {
    let found = match app.storage.trace(tenant, id).await? {
        Some(trace) => Some(trace),
        None => archive::find(app, tenant, id).await?,
    };
    let mut trace = found.ok_or_else(ApiError::trace_not_found)?;
    if !raw {
        adjust::adjust(&mut trace, limits(app));
    }
    Ok(trace)
}

/// Calls between services in the traces that lie wholly within a time.
///
/// # Errors
/// 500 where the end lies before the start.
pub(super) async fn dependencies(
    app: &AppState,
    tenant: &Tenant,
    start_ns: i64,
    end_ns: i64,
) -> Result<Vec<storage::Dependency>, ApiError> {
    if end_ns < start_ns {
        return Err(ApiError {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            message: "end time must be greater than start time".to_owned(),
        });
    }
    let range = storage::model::NsRange::new(start_ns, end_ns);
    Ok(app.storage.dependencies(tenant, range).await?)
}

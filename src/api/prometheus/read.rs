//! `POST /api/v1/read`: remote read, for other Prometheus servers.
//!
//! ```text
//!  body ─▶ snappy ─▶ ReadRequest ─▶ which kind of answer ─▶ samples: one message, snappy
//!                                                        └▶ stream:  frames with chunks, series by series
//! ```
//! Errors are bare text, as Prometheus gives them here.

mod samples;
mod snappy_blocks;
mod stream;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use storage::model::{Labels, MatchOp, Matcher, MsRange, Tenant};
use storage::read::SeriesSelect;
use tokio::sync::Semaphore;

use super::error::TextError;
use crate::app::{App, AppState};
use crate::body::{self, BodyError};
use crate::tenant;
use crate::wire::remote_read::{self, ReadRequest};

/// Requests that are answered at once, over all readers; `storage.remote.read-concurrent-limit` of Prometheus.
const MAX_CONCURRENT: usize = 10;
/// Samples of one query in an answer of one message; `storage.remote.read-sample-limit`.
const MAX_SAMPLES: usize = 50_000_000;
/// Bytes of a frame; `storage.remote.read-max-bytes-in-frame`.
const MAX_FRAME_BYTES: usize = 1 << 20;
/// The limit of a request's body, compressed or not.
const MAX_BODY_BYTES: usize = 32 << 20;

static ROOM: Semaphore = Semaphore::const_new(MAX_CONCURRENT);

/// A request, ready to be carried out.
struct Reading {
    app: AppState,
    tenant: Tenant,
    queries: Vec<Selection>,
    /// Labels that every series gets which does not have them, sorted.
    external: Labels,
    /// Bytes of an answer that may be held in memory.
    held_bytes: usize,
}

/// One query of a request.
#[derive(Clone, Debug)]
struct Selection {
    select: SeriesSelect,
    /// Labels alone are wanted.
    only_labels: bool,
}

pub(super) async fn handle(
    State(app): State<AppState>,
    headers: HeaderMap,
    sent: Body,
) -> Response {
    // Fails only when it is closed, which it never is.
    let Ok(room) = ROOM.acquire().await else {
        return TextError::internal("no room").into_response();
    };
    let (reading, accepted) = match read(&app, &headers, sent).await {
        Ok(read) => read,
        Err(e) => return e.into_response(),
    };
    let answer = match negotiate(&accepted) {
        Ok(remote_read::STREAMED_XOR_CHUNKS) => stream::answer(reading, room).await,
        Ok(_) => samples::answer(&reading).await,
        Err(e) => Err(e),
    };
    answer.unwrap_or_else(IntoResponse::into_response)
}

async fn read(
    app: &AppState,
    headers: &HeaderMap,
    sent: Body,
) -> Result<(Reading, Vec<u64>), TextError> {
    let tenant = tenant::of(headers, &app.config).map_err(TextError::bad)?;
    let sent = body::read(sent, MAX_BODY_BYTES)
        .await
        .map_err(TextError::bad)?;
    if sent.is_empty() {
        return Err(TextError::bad("snappy: corrupt input"));
    }
    let inflated = body::snappy(&sent, MAX_BODY_BYTES).map_err(|e| match e {
        BodyError::TooLarge { limit_bytes } => TextError::bad(format!(
            "snappy: decoded length exceeds limit {limit_bytes}"
        )),
        e => TextError::bad(e),
    })?;
    let request = ReadRequest::decode(&inflated).map_err(TextError::bad)?;
    let external = Labels::from_pairs(app.file().global.external_labels.iter().cloned());
    let queries = request
        .queries
        .iter()
        .map(|q| selection(q, &external))
        .collect::<Result<_, _>>()?;
    let reading = Reading {
        app: AppState::clone(app),
        tenant,
        queries,
        external,
        held_bytes: held_bytes(app),
    };
    Ok((reading, request.accepted))
}

/// A share of the memory limit: as many answers as are given at once take no more than an eighth of it.
fn held_bytes(app: &App) -> usize {
    let (_, limit) = app.storage.memory();
    let share = limit / 8 / MAX_CONCURRENT as u64;
    usize::try_from(share).map_or(usize::MAX, |share| share.clamp(1 << 20, 64 << 20))
}

/// The first kind of answer that is known here.
fn negotiate(accepted: &[u64]) -> Result<u64, TextError> {
    const KNOWN: [u64; 2] = [remote_read::SAMPLES, remote_read::STREAMED_XOR_CHUNKS];
    if accepted.is_empty() {
        return Ok(remote_read::SAMPLES);
    }
    let known = accepted.iter().copied().find(|kind| KNOWN.contains(kind));
    known.ok_or_else(|| {
        let asked: Vec<String> = accepted.iter().map(u64::to_string).collect();
        TextError::bad(format!(
            "server does not support any of the requested response types: [{}]; supported: map[SAMPLES:{{}} STREAMED_XOR_CHUNKS:{{}}]",
            asked.join(" ")
        ))
    })
}

fn selection(query: &remote_read::Query, external: &Labels) -> Result<Selection, TextError> {
    let matchers = query
        .matchers
        .iter()
        .map(|m| matcher(m, external))
        .collect::<Result<_, _>>()?;
    let mut range = MsRange::new(query.start_ms, query.end_ms);
    let mut only_labels = false;
    if let Some(hints) = &query.hints {
        // The query's range is that of the whole expression, the hints' that of this selector.
        range = MsRange::new(
            range.min_ms.max(hints.start_ms),
            range.max_ms.min(hints.end_ms),
        );
        only_labels = hints.func == "series";
    }
    Ok(Selection {
        select: SeriesSelect { matchers, range },
        only_labels,
    })
}

/// A reader that added external labels asks for them; the stored series do not have them.
fn matcher(m: &remote_read::Matcher, external: &Labels) -> Result<Matcher, TextError> {
    let op = match m.op {
        0 => MatchOp::Equal,
        1 => MatchOp::NotEqual,
        2 => MatchOp::Regex,
        3 => MatchOp::NotRegex,
        _ => return Err(TextError::internal("invalid matcher type")),
    };
    if op == MatchOp::Equal && external.get(&m.name) == Some(&*m.value) {
        return Ok(Matcher::equal(&*m.name, ""));
    }
    Matcher::new(op, &*m.name, &*m.value).map_err(TextError::internal)
}

/// The labels of a series as they leave: its own, and external ones that it does not have.
fn with_external(own: &Labels, external: &Labels) -> Vec<u8> {
    if external.is_empty() {
        return remote_read::labels(own.iter());
    }
    let mut pairs: Vec<(&str, &str)> = own.iter().collect();
    pairs.extend(external.iter().filter(|(name, _)| own.get(name).is_none()));
    pairs.sort_unstable();
    remote_read::labels(pairs)
}

#[cfg(test)]
mod tests;

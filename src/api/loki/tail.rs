//! `tail`: entries as they are written, over a WebSocket.

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::HeaderMap;
use logql::{Data, Expr, Plan};
use storage::TailEntries;
use storage::model::{EntryBuf, Matcher, StreamRef, Tenant};
use storage::read::{Direction, LogPage, ReadError};
use tokio::sync::broadcast::error::RecvError;

use super::error::ApiError;
use super::format;
use super::params::now_ns;
use crate::app::AppState;
use crate::tenant;

/// Entries of one message.
const MAX_ENTRIES: usize = 5000;

/// A page of the entries that were just written.
struct Fresh(TailEntries);

impl LogPage for Fresh {
    fn stream(&self) -> &StreamRef {
        &self.0.stream
    }

    fn bounds_ns(&self) -> (i64, i64) {
        let times = || self.0.entries.iter().map(|e| e.t_ns());
        (times().min().unwrap_or(0), times().max().unwrap_or(0))
    }

    fn entries(&self, out: &mut EntryBuf) -> Result<(), ReadError> {
        out.clear();
        let mut all: Vec<_> = self.0.entries.iter().collect();
        all.sort_by_key(storage::model::EntryView::t_ns);
        for e in all {
            out.push(e.t_ns(), e.line(), e.metadata());
        }
        Ok(())
    }
}

pub(super) async fn handle(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let tenant = tenant::of(&headers, &app.config)?;
    let query = query.unwrap_or_default();
    let text = form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "query")
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default();
    let expr = logql::parse(&text)?;
    let Expr::Log(log) = &expr else {
        return Err(ApiError::bad("only log selector is supported"));
    };
    let matchers = log.matchers.clone();
    let upgrade = upgrade.map_err(|_| ApiError::bad("Bad Request"))?;
    Ok(upgrade.on_upgrade(move |socket| serve(app, tenant, expr, matchers, socket)))
}

async fn serve(
    app: AppState,
    tenant: Tenant,
    expr: Expr,
    matchers: Vec<Matcher>,
    mut socket: WebSocket,
) {
    let mut fresh = app.storage.tail_logs();
    loop {
        let entries = tokio::select! {
            entries = fresh.recv() => entries,
            message = socket.recv() => match message {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
        };
        let entries = match entries {
            Ok(entries) => entries,
            // What a slow reader misses is gone; the next message goes on.
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => break,
        };
        let wanted = entries.tenant == tenant
            && matchers
                .iter()
                .all(|m| m.matches_labels(&entries.stream.labels));
        if !wanted {
            continue;
        }
        match message(&expr, entries) {
            Ok(None) => {}
            Ok(Some(text)) => {
                if socket.send(Message::Text(text.into())).await.is_err() {
                    return;
                }
            }
            Err(e) => {
                // A close frame has room for 123 bytes.
                let reason: String = e.to_string().chars().take(30).collect();
                let frame = CloseFrame {
                    code: close_code::ERROR,
                    reason: reason.into(),
                };
                let _ = socket.send(Message::Close(Some(frame))).await;
                return;
            }
        }
    }
    let _ = socket.send(Message::Close(None)).await;
}

fn message(expr: &Expr, entries: TailEntries) -> Result<Option<String>, logql::Error> {
    let page = Fresh(entries);
    let (first, last) = page.bounds_ns();
    let params = logql::Params {
        start_ns: first,
        end_ns: last.saturating_add(1),
        limit: MAX_ENTRIES,
        direction: Direction::Forward,
        instant: false,
        now_ns: now_ns(),
        ..logql::Params::default()
    };
    let mut plan = Plan::new(expr.clone(), params)?;
    let _ = plan.push(0, &page)?;
    let Data::Streams(streams) = plan.finish()?.data else {
        return Ok(None);
    };
    if streams.is_empty() {
        return Ok(None);
    }
    let mut out = String::from("{\"streams\":");
    format::push_streams(&mut out, &streams);
    out.push_str(",\"dropped_entries\":null}");
    Ok(Some(out))
}

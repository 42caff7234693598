//! Runs a query: pages from storage, work on threads that may block, the answer at the end.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use http::StatusCode;
use logql::{Answer, Expr, Params, Plan};
use storage::model::Tenant;

use super::error::ApiError;
use crate::app::AppState;

/// The answer of a query.
pub(super) async fn run(
    app: &AppState,
    tenant: &Tenant,
    expr: Expr,
    params: Params,
) -> Result<Answer, ApiError> {
    app.telemetry.queries.fetch_add(1, Ordering::Relaxed);
    let timeout = app.config.query_timeout.0;
    match tokio::time::timeout(timeout, read_all(app, tenant, expr, params)).await {
        Ok(answer) => answer,
        Err(_) => Err(ApiError::new(
            StatusCode::GATEWAY_TIMEOUT,
            "request timed out, decrease the duration of the request or add more label matchers (prefer exact match over regex match) to reduce the amount of data processed",
        )),
    }
}

async fn read_all(
    app: &AppState,
    tenant: &Tenant,
    expr: Expr,
    params: Params,
) -> Result<Answer, ApiError> {
    let mut plan = Plan::new(expr, params)?;
    for (at, select) in plan.selects().into_iter().enumerate() {
        let mut pages = app.storage.select_logs(tenant, &select).await?;
        while let Some(page) = pages.next_page().await? {
            let pushed = tokio::task::spawn_blocking(move || {
                let flow = plan.push(at, &*page);
                (plan, flow)
            });
            let flow;
            (plan, flow) = pushed.await.map_err(stopped)?;
            if flow? == ControlFlow::Break(()) {
                break;
            }
        }
    }
    let finished = tokio::task::spawn_blocking(move || plan.finish());
    Ok(finished.await.map_err(stopped)??)
}

fn stopped(e: tokio::task::JoinError) -> ApiError {
    tracing::error!("a log query broke off: {e}");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the query broke off")
}

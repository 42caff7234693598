//! The first query after a start meets code, threads and indexes that nobody has touched yet, and takes several times as long as the
//! next. A small one of our own goes ahead of it.

use promql::EvalOptions;
use storage::model::Tenant;

use crate::app::AppState;
use crate::query::{self, Limits};

/// Reads every target that is asked for in a scrape's own metric, as a dashboard does.
const QUERY: &str = "sum by (job) (rate(up[5m]))";
const RANGE_MS: i64 = 3_600_000;
const STEP_MS: i64 = 60_000;

/// Reads what the first queries need ahead, and asks one. What fails is left to whoever asks next.
pub(crate) async fn run(app: AppState) {
    let Some(end_ms) = app.storage.warm_up().await else {
        return;
    };
    let Ok(expr) = promql::parse(QUERY, &query::parse_options(&app.config)) else {
        return;
    };
    let options = EvalOptions::range(end_ms - RANGE_MS, end_ms, STEP_MS);
    let limits = Limits::of(&app.config);
    let asked = query::run(&app, &Tenant::anonymous(), expr, options, &limits).await;
    if let Err(e) = asked {
        tracing::debug!("the first query of our own failed: {e}");
    }
}

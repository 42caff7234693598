//! The first query after a start meets code, threads and indexes that nobody has touched yet, and takes several times as long as the
//! next. A few small ones of our own go ahead of it, on each thread that may get it: each has memory of its own for what it unpacks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use promql::EvalOptions;
use promql::lexer::quote;
use storage::Newest;
use storage::model::{Labels, Tenant};
use tokio::task::JoinSet;

use crate::app::{App, AppState};
use crate::query::{self, Limits};

const RANGE_MS: i64 = 3_600_000;
const STEP_MS: i64 = 60_000;

/// How long a thread waits for the others, which may be busy.
const MEETS_FOR: Duration = Duration::from_millis(5);

/// Reads what the first queries need ahead, and asks some. What fails is left to whoever asks next.
pub(crate) async fn run(app: AppState) {
    let threads = tokio::runtime::Handle::current().metrics().num_workers();
    let count = u32::try_from(threads).unwrap_or(1);
    let Some(newest) = app.storage.warm_up(count).await else {
        return;
    };
    let Newest {
        end_ms,
        tenant,
        series,
    } = newest;
    let (met, tasks) = (Arc::new(AtomicUsize::new(0)), series.len());
    let mut asking = JoinSet::new();
    // A series of its own for each: what one has read is kept, and would not be read again.
    for series in series {
        let (app, met, tenant) = (Arc::clone(&app), Arc::clone(&met), tenant.clone());
        asking.spawn(async move {
            meet(&met, tasks);
            ask(&app, &tenant, &series, end_ms).await;
        });
    }
    while asking.join_next().await.is_some() {}
}

/// Holds this thread until so many have come here, so that each of them takes one of as many tasks.
fn meet(met: &AtomicUsize, tasks: usize) {
    met.fetch_add(1, Ordering::Relaxed);
    let until = Instant::now() + MEETS_FOR;
    while met.load(Ordering::Relaxed) < tasks && Instant::now() < until {
        std::thread::yield_now();
    }
}

/// Asks a few things about a series.
async fn ask(app: &App, tenant: &Tenant, series: &Labels, end_ms: i64) {
    let over_time = EvalOptions::range(end_ms - RANGE_MS, end_ms, STEP_MS);
    let at_once = EvalOptions::instant(end_ms);
    let selector = selector_of(series);
    for (expr, options) in [
        (selector.clone(), &over_time),
        (format!("sum by (job) (rate({selector}[5m]))"), &over_time),
        (format!("topk(1, avg_over_time({selector}[10m]))"), &at_once),
    ] {
        let Ok(expr) = promql::parse(&expr, &query::parse_options(&app.config)) else {
            return;
        };
        let limits = Limits::of(&app.config);
        let asked = query::run(app, tenant, expr, options.clone(), &limits).await;
        if let Err(e) = asked {
            tracing::debug!("a first query of our own failed: {e}");
        }
    }
}

/// What selects a series alone. Its names may be any text.
fn selector_of(series: &Labels) -> String {
    let matcher = |(name, value)| format!("{}={}", quote(name), quote(value));
    let matchers: Vec<String> = series.iter().map(matcher).collect();
    format!("{{{}}}", matchers.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_has_all_labels_of_its_series_whatever_they_are() {
        let labels = Labels::from_pairs([("__name__", "up"), ("a.b", "\"\n\\"), ("ü", "é\u{1}")]);
        let selector = selector_of(&labels);
        let parsed = promql::parse(&selector, &promql::ParseOptions::default()).unwrap();
        assert_eq!(
            parsed.to_string(),
            r#"{"a.b"="\"\n\\","ü"="é\x01",__name__="up"}"#
        );
    }
}

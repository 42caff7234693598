//! Carries out a query: plans it, feeds it the series that it selects, and takes the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use promql::{Answer, EvalOptions, Expr, Interrupt, Plan, Stop};
use storage::model::Tenant;

use super::error::ApiError;
use super::format::Extras;
use super::params::{Ask, parse_duration, parse_options};
use crate::app::App;

/// What `timeout`, `lookback_delta` and the settings say about an evaluation.
pub(super) struct Limits {
    timeout: Duration,
    lookback_ms: i64,
}

impl Limits {
    pub(super) fn read(ask: &Ask, app: &App) -> Result<Self, ApiError> {
        let mut timeout = app.config.query_timeout.0;
        let text = ask.params.get("timeout");
        if !text.is_empty() {
            let wanted = parse_duration(text).map_err(|e| ApiError::parameter("timeout", e))?;
            timeout = timeout.min(Duration::from_nanos(u64::try_from(wanted).unwrap_or(0)));
        }
        let mut lookback_ms = millis(app.config.query_lookback_delta.0);
        let text = ask.params.get("lookback_delta");
        if !text.is_empty() {
            let wanted = parse_duration(text).map_err(|e| {
                ApiError::BadData(format!("error parsing lookback delta duration: {e}"))
            })?;
            if wanted > 0 {
                lookback_ms = wanted / 1_000_000;
            }
        }
        Ok(Self {
            timeout,
            lookback_ms,
        })
    }
}

/// The query of a request, parsed.
pub(super) fn parse(ask: &Ask, app: &App) -> Result<Expr, ApiError> {
    promql::parse(ask.params.get("query"), &parse_options(&app.config))
        .map_err(|e| ApiError::parameter("query", e))
}

/// Where the time of a query went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timings {
    queue: Duration,
    preparation: Duration,
    evaluation: Duration,
}

/// Answers a query; the times of `options` are set, the rest is filled in here.
pub(super) async fn evaluate(
    app: &App,
    ask: &Ask,
    expr: Expr,
    options: EvalOptions,
    limits: &Limits,
) -> Result<(Answer, Timings), ApiError> {
    let started = Instant::now();
    let deadline = started + limits.timeout;
    let gone = Gone::default();
    let options = options_for(app, ask, options, limits, deadline, &gone);
    let permit = tokio::time::timeout_at(deadline.into(), app.queries.acquire()).await;
    let Ok(Ok(_permit)) = permit else {
        return Err(ApiError::Timeout(
            "query timed out in query queue".to_owned(),
        ));
    };
    let _running = Running::new(&app.telemetry.queries_running);
    let mut timings = Timings {
        queue: started.elapsed(),
        ..Timings::default()
    };
    let prepared = Instant::now();
    let mut plan = Plan::new(expr, options)?;
    timings.preparation = prepared.elapsed();
    let evaluated = Instant::now();
    feed(app, &ask.tenant, &mut plan).await?;
    let answer = tokio::task::block_in_place(|| plan.finish())?;
    timings.evaluation = evaluated.elapsed();
    app.telemetry.queries.fetch_add(1, Ordering::Relaxed);
    Ok((answer, timings))
}

/// Hands the plan what it selects, batch by batch.
async fn feed(app: &App, tenant: &Tenant, plan: &mut Plan) -> Result<(), ApiError> {
    for planned in plan.selects().to_vec() {
        let selected = app.storage.select_series(tenant, &planned.select).await;
        let mut set = selected.map_err(ApiError::expanding_series)?;
        while let Some(batch) = set.next_batch().await.map_err(ApiError::expanding_series)? {
            tokio::task::block_in_place(|| plan.push(planned.id, batch))?;
        }
    }
    Ok(())
}

fn options_for(
    app: &App,
    ask: &Ask,
    options: EvalOptions,
    limits: &Limits,
    deadline: Instant,
    gone: &Gone,
) -> EvalOptions {
    let config = &app.config;
    let flag = Arc::clone(&gone.0);
    EvalOptions {
        lookback_ms: limits.lookback_ms,
        subquery_step_ms: millis(app.file().global.evaluation_interval),
        max_samples: config.query_max_samples,
        delayed_name_removal: config.feature("promql-delayed-name-removal"),
        use_start_timestamps: config.feature("use-start-timestamps"),
        type_and_unit_labels: config.feature("type-and-unit-labels"),
        closed_ranges: ask.version_2,
        interrupt: Interrupt::new(move || {
            if flag.load(Ordering::Relaxed) {
                Some(Stop::Canceled)
            } else if Instant::now() >= deadline {
                Some(Stop::TimedOut)
            } else {
                None
            }
        }),
        ..options
    }
}

/// The parts of an answer beside the result. `stats` of the request decides whether figures are among them.
pub(super) fn extras(ask: &Ask, answer: &Answer, timings: Timings) -> Extras {
    let query = ask.params.get("query");
    let stats = (!ask.params.get("stats").is_empty()).then(|| {
        let seconds = |d: Duration| d.as_secs_f64();
        serde_json::json!({
            "timings": {
                "evalTotalTime": seconds(timings.preparation + timings.evaluation),
                "resultSortTime": 0,
                "queryPreparationTime": seconds(timings.preparation),
                "innerEvalTime": seconds(timings.evaluation),
                "execQueueTime": seconds(timings.queue),
                "execTotalTime": seconds(timings.queue + timings.preparation + timings.evaluation),
            },
            "samples": {
                "totalQueryableSamples": answer.stats.total_samples,
                "samplesRead": answer.stats.samples_read,
                "peakSamples": answer.stats.peak_samples,
            }
        })
    });
    Extras {
        stats,
        warnings: answer.annotations.warnings(query),
        infos: answer.annotations.infos(query),
    }
}

/// Set when the request is dropped, that is when the client went away.
#[derive(Default)]
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Counts as a running query until dropped.
struct Running<'a>(&'a std::sync::atomic::AtomicU64);

impl<'a> Running<'a> {
    fn new(count: &'a std::sync::atomic::AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

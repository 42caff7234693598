//! Carries out a PromQL query: plans it, feeds it the series that it selects, and takes the answer. For whoever asks one, an
//! API or a rule.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use promql::{Answer, EvalError, EvalOptions, Expr, Interrupt, ParseOptions, Plan, Stop};
use storage::model::Tenant;

use crate::app::App;
use crate::config::Config;

/// How long a query may take, and how far back its selectors look.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Time from now on, waiting for room included.
    pub timeout: Duration,
    /// How far back an instant selector looks.
    pub lookback_ms: i64,
    /// Set when nobody wants the answer any more.
    pub canceled: Arc<AtomicBool>,
}

impl Limits {
    /// What the settings say.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            timeout: config.query_timeout.0,
            lookback_ms: millis(config.query_lookback_delta.0),
            canceled: Arc::default(),
        }
    }
}

/// Where the time of a query went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    /// Waiting for room.
    pub queue: Duration,
    /// Planning.
    pub preparation: Duration,
    /// Reading and computing.
    pub evaluation: Duration,
}

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// There was no room for it in time.
    #[error("query timed out in query queue")]
    Queue,
    /// The query or its data is at fault, or it took too long.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// Storage failed.
    #[error(transparent)]
    Storage(#[from] storage::Error),
}

/// The parts of the language that are switched on.
#[must_use]
pub fn parse_options(config: &Config) -> ParseOptions {
    ParseOptions {
        experimental_functions: config.feature("promql-experimental-functions"),
        extended_range_selectors: config.feature("promql-extended-range-selectors"),
        fill_modifiers: config.feature("promql-binop-fill-modifiers"),
    }
}

/// Answers a query; times and kind of ranges of `options` are set, the rest is filled in here.
///
/// # Errors
/// See [`QueryError`].
pub async fn run(
    app: &App,
    tenant: &Tenant,
    expr: Expr,
    options: EvalOptions,
    limits: &Limits,
) -> Result<(Answer, Timings), QueryError> {
    let started = Instant::now();
    let deadline = started + limits.timeout;
    let gone = Gone::default();
    let options = options_for(app, options, limits, deadline, &gone);
    let permit = tokio::time::timeout_at(deadline.into(), app.queries.acquire()).await;
    let Ok(Ok(_permit)) = permit else {
        return Err(QueryError::Queue);
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
    feed(app, tenant, &mut plan).await?;
    let answer = tokio::task::block_in_place(|| plan.finish())?;
    timings.evaluation = evaluated.elapsed();
    app.telemetry.queries.fetch_add(1, Ordering::Relaxed);
    Ok((answer, timings))
}

/// Hands the plan what it selects, batch by batch.
async fn feed(app: &App, tenant: &Tenant, plan: &mut Plan) -> Result<(), QueryError> {
    for planned in plan.selects().to_vec() {
        let mut set = app.storage.select_series(tenant, &planned.select).await?;
        let mut next = set.next_batch().await?;
        while let Some(batch) = next {
            // While this one is computed, the next one is read and unpacked.
            let reading = tokio::spawn(async move {
                let next = set.next_batch().await;
                (set, next)
            });
            if let Err(e) = tokio::task::block_in_place(|| plan.push(planned.id, batch)) {
                reading.abort();
                return Err(e.into());
            }
            let read = reading.await.map_err(|e| match e.try_into_panic() {
                // A broken invariant of ours: it has to reach whoever runs this task.
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => storage::Error::Closed,
            })?;
            set = read.0;
            next = read.1?;
        }
    }
    Ok(())
}

fn options_for(
    app: &App,
    options: EvalOptions,
    limits: &Limits,
    deadline: Instant,
    gone: &Gone,
) -> EvalOptions {
    let config = &app.config;
    let (gone, canceled) = (Arc::clone(&gone.0), Arc::clone(&limits.canceled));
    let storage = Arc::clone(&app.storage);
    let (_, memory_limit) = storage.memory();
    // A quarter of all memory at 16 bytes a sample, however many the settings allow.
    let affordable = usize::try_from(memory_limit / 4 / 16).unwrap_or(usize::MAX);
    EvalOptions {
        lookback_ms: limits.lookback_ms,
        subquery_step_ms: millis(app.file().global.evaluation_interval),
        max_samples: config.query_max_samples.min(affordable),
        delayed_name_removal: config.feature("promql-delayed-name-removal"),
        use_start_timestamps: config.feature("use-start-timestamps"),
        type_and_unit_labels: config.feature("type-and-unit-labels"),
        interrupt: Interrupt::new(move || {
            if gone.load(Ordering::Relaxed) || canceled.load(Ordering::Relaxed) {
                Some(Stop::Canceled)
            } else if Instant::now() >= deadline {
                Some(Stop::TimedOut)
            } else if storage.is_out_of_memory() {
                Some(Stop::OutOfMemory)
            } else {
                None
            }
        }),
        ..options
    }
}

/// Set when the query is dropped, that is when the client went away.
#[derive(Default)]
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Counts as a running query until dropped.
struct Running<'a>(&'a AtomicU64);

impl<'a> Running<'a> {
    fn new(count: &'a AtomicU64) -> Self {
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

//! Carries out a PromQL query: plans it, feeds it the series that it selects, and takes the answer. For whoever asks one, an
//! API or a rule.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use promql::{
    Answer, EvalError, EvalOptions, EvaluatedSeries, Expr, Interrupt, ParseOptions, Plan,
    SeriesEvaluator, Stats, Stop,
};
use storage::model::Tenant;
use storage::read::SeriesBatch;

use crate::app::App;
use crate::config::Config;
use crate::query_log::{Logged, Origin};

/// How long a query may take, and how far back its selectors look.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Time from now on, waiting for room included.
    pub timeout: Duration,
    /// How far back an instant selector looks.
    pub lookback_ms: i64,
    /// Set when nobody wants the answer any more.
    pub canceled: Arc<AtomicBool>,
    /// The text and the origin of the query, where it is to be logged.
    pub logged: Option<(String, Origin)>,
}

impl Limits {
    /// What the settings say.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            timeout: config.query_timeout.0,
            lookback_ms: millis(config.query_lookback_delta.0),
            canceled: Arc::default(),
            logged: None,
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

impl Timings {
    /// With the figures of the work done, as answers and the log of queries show them.
    pub(crate) fn with(&self, stats: &Stats) -> serde_json::Value {
        let seconds = |d: Duration| d.as_secs_f64();
        serde_json::json!({
            "timings": {
                "evalTotalTime": seconds(self.preparation + self.evaluation),
                "resultSortTime": 0,
                "queryPreparationTime": seconds(self.preparation),
                "innerEvalTime": seconds(self.evaluation),
                "execQueueTime": seconds(self.queue),
                "execTotalTime": seconds(self.queue + self.preparation + self.evaluation),
            },
            "samples": {
                "totalQueryableSamples": stats.total_samples,
                "samplesRead": stats.samples_read,
                "peakSamples": stats.peak_samples,
            }
        })
    }
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
    let mut timings = Timings::default();
    let Some((query, origin)) = &limits.logged else {
        let answer = answer(app, tenant, expr, options, limits, &mut timings).await?;
        return Ok((answer, timings));
    };
    let asked = options.clone();
    let answer = answer(app, tenant, expr, options, limits, &mut timings).await;
    let none = Stats::default();
    app.query_log.write(Logged {
        query,
        options: &asked,
        error: answer.as_ref().err().map(ToString::to_string),
        stats: timings.with(answer.as_ref().map_or(&none, |a| &a.stats)),
        origin,
    });
    Ok((answer?, timings))
}

async fn answer(
    app: &App,
    tenant: &Tenant,
    expr: Expr,
    options: EvalOptions,
    limits: &Limits,
    timings: &mut Timings,
) -> Result<Answer, QueryError> {
    let started = Instant::now();
    let deadline = started + limits.timeout;
    let gone = Gone::default();
    let options = options_for(app, options, limits, deadline, &gone);
    let permit = tokio::time::timeout_at(deadline.into(), app.queries.acquire()).await;
    let Ok(Ok(_permit)) = permit else {
        return Err(QueryError::Queue);
    };
    let _running = Running::new(&app.telemetry.queries_running);
    timings.queue = started.elapsed();
    let prepared = Instant::now();
    let mut plan = Plan::new(expr, options)?;
    timings.preparation = prepared.elapsed();
    let evaluated = Instant::now();
    feed(app, tenant, &mut plan).await?;
    let answer = finish(plan)?;
    timings.evaluation = evaluated.elapsed();
    app.telemetry.queries.fetch_add(1, Ordering::Relaxed);
    Ok(answer)
}

/// Reads what the plan selects and has it evaluated, on all cores where it is worth it.
async fn feed(app: &App, tenant: &Tenant, plan: &mut Plan) -> Result<(), QueryError> {
    let cores = tokio::runtime::Handle::current().metrics().num_workers();
    for planned in plan.selects().to_vec() {
        let set = app.storage.select_series(tenant, &planned.select).await?;
        let evaluator = Arc::new(plan.series_evaluator(planned.id));
        let batches = set.into_stream().map_err(QueryError::from);
        let jobs = batches.map_ok(|batch| {
            let jobs = split(batch, cores, &evaluator).into_iter();
            futures::stream::iter(jobs.map(Ok::<Job, QueryError>))
        });
        let jobs = jobs.try_flatten();
        // The next batch is read as soon as the last job of this one has begun.
        let evaluate = |job: Job| job.run(Arc::clone(&evaluator));
        let mut evaluated = jobs.map_ok(evaluate).try_buffered(cores).boxed();
        while let Some(some) = evaluated.try_next().await? {
            plan.take(some)?;
        }
    }
    Ok(())
}

/// Series that one thread evaluates at a time.
struct Job {
    series: SeriesBatch,
    /// Whether it is over so soon that no other thread is worth being woken.
    is_small: bool,
}

impl Job {
    async fn run(self, evaluator: Arc<SeriesEvaluator>) -> Result<EvaluatedSeries, QueryError> {
        if self.is_small {
            return Ok(evaluator.evaluate(&self.series)?);
        }
        let evaluate = move || evaluator.evaluate(&self.series);
        match tokio::task::spawn_blocking(evaluate).await {
            Ok(evaluated) => Ok(evaluated?),
            Err(e) => match e.try_into_panic() {
                // A broken invariant of ours: it has to reach whoever runs this task.
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(storage::Error::Closed.into()),
            },
        }
    }
}

/// Bytes read and written by a job up to which it is small: some tens of thousands of samples, about a millisecond.
const SMALL_JOB_BYTES: usize = 256 * 1024;
/// Series of a job at most: about two pages of a block where there is an hour of each.
const JOB_SERIES: usize = 128;

/// Cuts a batch into jobs for several threads.
fn split(batch: SeriesBatch, cores: usize, evaluator: &SeriesEvaluator) -> Vec<Job> {
    // Unpacking costs less by the byte than what comes after it.
    let read = batch.iter().map(|s| s.held_bytes() + s.packed_bytes() / 4);
    let read: usize = read.sum();
    let written = batch.len() * evaluator.width() * size_of::<f64>();
    if read + written <= SMALL_JOB_BYTES {
        let series = batch;
        let is_small = true;
        return vec![Job { series, is_small }];
    }
    let size = batch.len().div_ceil(2 * cores).clamp(1, JOB_SERIES);
    let mut jobs = Vec::with_capacity(batch.len().div_ceil(size));
    let mut rest = batch.into_iter();
    loop {
        let series: SeriesBatch = rest.by_ref().take(size).collect();
        if series.is_empty() {
            return jobs;
        }
        let is_small = false;
        jobs.push(Job { series, is_small });
    }
}

/// Samples held up to which the rest of a plan is computed at once rather than on a thread that may be busy for long.
const SMALL_PLAN_SAMPLES: usize = 20_000;

fn finish(plan: Plan) -> Result<Answer, EvalError> {
    if plan.held_samples() <= SMALL_PLAN_SAMPLES {
        plan.finish()
    } else {
        tokio::task::block_in_place(|| plan.finish())
    }
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

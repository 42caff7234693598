//! `GET /api/v1/targets`, `/targets/metadata`, `/scrape_pools`: what is scraped, which is this process itself or nothing.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use storage::model::{Labels, METRIC_NAME, Matcher, MsRange, SampleBuf, Tenant};
use storage::read::SeriesSelect;

use super::error::ApiError;
use super::format::success;
use super::metadata::number;
use super::params::{Ask, now_ms};
use super::self_metrics;
use crate::app::{App, AppState};
use crate::scrape::JOB as SELF_JOB;

pub(super) async fn handle(State(app): State<AppState>, ask: Ask) -> Result<Response, ApiError> {
    let state = ask.params.get("state").to_lowercase();
    let pool = ask.params.get("scrapePool");
    let show = |wanted: &str| matches!(state.as_str(), "" | "any") || state == wanted;
    let wanted = |_: &Value| pool.is_empty() || pool == SELF_JOB;
    let active: Vec<Value> = own_target(&app)
        .await?
        .into_iter()
        .filter(wanted)
        .filter(|_| show("active"))
        .collect();
    // Upstream leaves the counts out where dropped targets are not asked for.
    let dropped_counts = match (show("dropped"), scrapes_itself(&app)) {
        (false, _) => Value::Null,
        (true, true) => json!({SELF_JOB: 0}),
        (true, false) => json!({}),
    };
    Ok(success(&json!({
        "activeTargets": active,
        "droppedTargets": [],
        "droppedTargetCounts": dropped_counts,
    })))
}

fn scrapes_itself(app: &App) -> bool {
    app.config.scrape_self && app.config.config_file.is_none()
}

/// The built-in target, where it is on.
async fn own_target(app: &App) -> Result<Option<Value>, ApiError> {
    if !scrapes_itself(app) {
        return Ok(None);
    }
    let interval = crate::config::format_duration(crate::scrape::INTERVAL);
    let url = format!("http://{}/metrics", app.web_address);
    let last = last_scrape(app).await?;
    // Upstream shows the zero time until the first scrape is through.
    let when = last.t_ms.and_then(chrono::DateTime::from_timestamp_millis);
    let when = when.map_or_else(
        || "0001-01-01T00:00:00Z".to_owned(),
        |t| t.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
    );
    Ok(Some(json!({
        "discoveredLabels": {
            "__address__": app.web_address,
            "__metrics_path__": "/metrics",
            "__scheme__": "http",
            "__scrape_interval__": interval,
            "__scrape_timeout__": interval,
            "job": SELF_JOB,
        },
        "labels": {"instance": app.web_address, "job": SELF_JOB},
        "scrapePool": SELF_JOB,
        "scrapeUrl": url,
        "globalUrl": url,
        "lastError": "",
        "lastScrape": when,
        "lastScrapeDuration": last.seconds,
        "health": if last.t_ms.is_some() { "up" } else { "unknown" },
        "scrapeInterval": interval,
        "scrapeTimeout": interval,
    })))
}

/// The newest self-scrape, as its own series tell it.
#[derive(Default)]
struct LastScrape {
    t_ms: Option<i64>,
    seconds: f64,
}

async fn last_scrape(app: &App) -> Result<LastScrape, ApiError> {
    let now = now_ms();
    let select = SeriesSelect {
        matchers: vec![
            Matcher::equal(METRIC_NAME, "scrape_duration_seconds"),
            Matcher::equal("job", SELF_JOB),
            Matcher::equal("instance", app.web_address.as_str()),
        ],
        range: MsRange::new(now - 300_000, now),
    };
    let mut last = LastScrape::default();
    let mut set = app
        .storage
        .select_series(&Tenant::anonymous(), &select)
        .await?;
    while let Some(batch) = set.next_batch().await? {
        let mut buf = SampleBuf::default();
        for series in batch {
            buf.clear();
            series
                .samples(&mut buf)
                .map_err(|e| ApiError::Internal(e.to_string()))?;
            if let (Some(&t_ms), Some(&seconds)) = (buf.t_ms.last(), buf.values.last()) {
                last = LastScrape {
                    t_ms: Some(t_ms),
                    seconds,
                };
            }
        }
    }
    Ok(last)
}

/// Metadata by target: that of the own families, where this process scrapes itself.
pub(super) async fn metadata(State(app): State<AppState>, ask: Ask) -> Result<Response, ApiError> {
    let limit = number(&ask, "limit")?.unwrap_or(usize::MAX);
    let text = ask.params.get("match_target");
    let mut matchers: Vec<Matcher> = Vec::new();
    if !text.is_empty() {
        matchers =
            promql::parse_selector(text).map_err(|e| ApiError::parameter("match_target", e))?;
    }
    let target = Labels::from_pairs([("instance", app.web_address.as_str()), ("job", SELF_JOB)]);
    let mut entries: Vec<Value> = Vec::new();
    if scrapes_itself(&app) && matchers.iter().all(|m| m.matches_labels(&target)) {
        let metric = ask.params.get("metric");
        let families = self_metrics::families(&app);
        let wanted = families
            .iter()
            .filter(|f| metric.is_empty() || f.name == metric);
        for family in wanted.take(limit) {
            let mut entry = json!({
                "target": {"instance": app.web_address, "job": SELF_JOB},
                "type": family.metric_type.as_str(),
                "help": family.help,
                "unit": "",
            });
            if metric.is_empty() {
                entry["metric"] = json!(family.name);
            }
            entries.push(entry);
        }
    }
    Ok(success(&entries))
}

pub(super) async fn scrape_pools(State(app): State<AppState>) -> Response {
    let pools: &[&str] = if scrapes_itself(&app) {
        &[SELF_JOB]
    } else {
        &[]
    };
    success(&json!({"scrapePools": pools}))
}

pub(super) async fn scrape_pool_config(
    State(app): State<AppState>,
    ask: Ask,
) -> Result<Response, ApiError> {
    let pool = pool_of(&ask)?;
    if !scrapes_itself(&app) || pool != SELF_JOB {
        return Err(unknown_pool(pool));
    }
    let interval = crate::config::format_duration(crate::scrape::INTERVAL);
    let yaml = format!(
        "job_name: {SELF_JOB}\nscrape_interval: {interval}\nscrape_timeout: {interval}\nmetrics_path: /metrics\nscheme: http\nstatic_configs:\n- targets:\n  - {}\n",
        app.web_address
    );
    Ok(success(&json!({"yaml": yaml})))
}

/// No target is relabelled by this version.
pub(super) async fn relabel_steps(
    State(app): State<AppState>,
    ask: Ask,
) -> Result<Response, ApiError> {
    let pool = pool_of(&ask)?;
    if !scrapes_itself(&app) || pool != SELF_JOB {
        return Err(unknown_pool(pool));
    }
    Ok(success(&json!({"steps": []})))
}

fn pool_of(ask: &Ask) -> Result<&str, ApiError> {
    match ask.params.get("scrapePool") {
        "" => Err(ApiError::BadData(
            "no scrapePool parameter provided".to_owned(),
        )),
        pool => Ok(pool),
    }
}

fn unknown_pool(pool: &str) -> ApiError {
    ApiError::BadData(format!(
        "scrape pool {} not found",
        promql::lexer::quote(pool)
    ))
}

//! `GET /api/v1/targets`, `/targets/metadata`, `/scrape_pools`: what is scraped, which is this process itself or nothing.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use storage::model::{Labels, Matcher};

use super::error::ApiError;
use super::format::success;
use super::metadata::number;
use super::params::Ask;
use crate::app::{App, AppState};

/// Job of the built-in scrape.
const SELF_JOB: &str = "trilobite";

pub(super) async fn handle(State(app): State<AppState>, ask: Ask) -> Result<Response, ApiError> {
    let state = ask.params.get("state").to_lowercase();
    let pool = ask.params.get("scrapePool");
    let show = |wanted: &str| matches!(state.as_str(), "" | "any") || state == wanted;
    let wanted = |_: &Value| pool.is_empty() || pool == SELF_JOB;
    let active: Vec<Value> = own_target(&app)
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
fn own_target(app: &App) -> Option<Value> {
    if !scrapes_itself(app) {
        return None;
    }
    let global = app.file().global.clone();
    let interval = crate::config::format_duration(global.scrape_interval);
    let timeout = crate::config::format_duration(global.scrape_timeout);
    let url = format!("http://{}/metrics", app.web_address);
    Some(json!({
        "discoveredLabels": {
            "__address__": app.web_address,
            "__metrics_path__": "/metrics",
            "__scheme__": "http",
            "__scrape_interval__": interval,
            "__scrape_timeout__": timeout,
            "job": SELF_JOB,
        },
        "labels": {"instance": app.web_address, "job": SELF_JOB},
        "scrapePool": SELF_JOB,
        "scrapeUrl": url,
        "globalUrl": url,
        "lastError": "",
        "lastScrape": "0001-01-01T00:00:00Z",
        "lastScrapeDuration": 0,
        "health": "unknown",
        "scrapeInterval": interval,
        "scrapeTimeout": timeout,
    }))
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
        let families = own_families(&app);
        for (family, kind, help) in families
            .iter()
            .filter(|(f, _, _)| metric.is_empty() || f == metric)
            .take(limit)
        {
            let mut entry = json!({
                "target": {"instance": app.web_address, "job": SELF_JOB},
                "type": kind,
                "help": help,
                "unit": "",
            });
            if metric.is_empty() {
                entry["metric"] = json!(family);
            }
            entries.push(entry);
        }
    }
    Ok(success(&entries))
}

/// Name, type and help of what `/metrics` says.
fn own_families(app: &App) -> Vec<(String, String, String)> {
    let text = app.telemetry.exposition(&app.storage, app.started_at);
    let mut families = Vec::new();
    let mut help = ("", "");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').unwrap_or((rest, ""));
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            let about = if help.0 == name { help.1 } else { "" };
            families.push((name.to_owned(), kind.to_owned(), about.to_owned()));
        }
    }
    families
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
    let global = app.file().global.clone();
    let yaml = format!(
        "job_name: {SELF_JOB}\nscrape_interval: {}\nscrape_timeout: {}\nmetrics_path: /metrics\nscheme: http\nstatic_configs:\n- targets:\n  - {}\n",
        crate::config::format_duration(global.scrape_interval),
        crate::config::format_duration(global.scrape_timeout),
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

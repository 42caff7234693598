//! `GET /api/v1/targets`, `/targets/metadata`, `/targets/relabel_steps`, `/scrape_pools` and `/scrape_pools/config`: what is
//! scraped, and how it fares.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};
use storage::model::{Labels, Matcher, Metadata};

use super::error::ApiError;
use super::format::success;
use super::params::Ask;
use crate::app::{App, AppState};
use crate::relabel::{RelabelConfig, relabel};
use crate::scrape::{PoolView, Target};

/// Hosts that are this machine and nobody else's.
const LOCALHOST: [&str; 3] = ["127.0.0.1", "localhost", "::1"];

pub(super) async fn handle(State(app): State<AppState>, ask: Ask) -> Response {
    let state = ask.params.get("state").to_lowercase();
    let show = |wanted: &str| matches!(state.as_str(), "" | "any") || state == wanted;
    let pools = app.scrapes.all();
    let wanted = ask.params.get("scrapePool");
    let chosen = pools
        .iter()
        .filter(|(name, _)| wanted.is_empty() || *name == wanted);
    let own = OwnAddress::of(&app);
    let (mut active, mut dropped) = (Vec::new(), Vec::new());
    for (name, pool) in chosen {
        if show("active") {
            let targets = pool.active.iter();
            active.extend(targets.map(|target| active_target(name, target, &own)));
        }
        if show("dropped") {
            let labels = pool.dropped.iter();
            dropped
                .extend(labels.map(
                    |labels| json!({"discoveredLabels": to_json(labels), "scrapePool": name}),
                ));
        }
    }
    // The counts are those of all jobs, and absent where dropped targets are not asked for.
    let counts = show("dropped").then(|| {
        let counts = pools.iter();
        let counts = counts.map(|(name, pool)| (name.clone(), json!(pool.dropped_count)));
        Value::Object(counts.collect())
    });
    success(&json!({
        "activeTargets": active,
        "droppedTargets": dropped,
        "droppedTargetCounts": counts,
    }))
}

fn active_target(pool: &str, target: &Target, own: &OwnAddress) -> Value {
    let status = target.status();
    // Upstream shows the zero time until the first scrape is through.
    let when = status
        .at_ms
        .and_then(chrono::DateTime::from_timestamp_millis);
    let when = when.map_or_else(
        || "0001-01-01T00:00:00Z".to_owned(),
        |t| t.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
    );
    json!({
        "discoveredLabels": to_json(&target.discovered()),
        "labels": to_json(&target.public),
        "scrapePool": pool,
        "scrapeUrl": target.url,
        "globalUrl": own.global(&target.url),
        "lastError": status.error.as_deref().unwrap_or(""),
        "lastScrape": when,
        "lastScrapeDuration": status.took.as_secs_f64(),
        "health": status.health(),
        "scrapeInterval": target.interval_text(),
        "scrapeTimeout": target.timeout_text(),
    })
}

fn to_json(labels: &Labels) -> Value {
    let pairs = labels.iter();
    Value::Object(pairs.map(|(n, v)| (n.to_owned(), json!(v))).collect())
}

/// Under which address others reach what is local here.
struct OwnAddress {
    host: String,
    port: String,
}

impl OwnAddress {
    fn of(app: &App) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let port = app
            .web_address
            .rsplit_once(':')
            .map_or("", |(_, port)| port);
        Self {
            host: host.trim().to_owned(),
            port: port.to_owned(),
        }
    }

    /// A URL as others can use it.
    fn global(&self, url: &str) -> String {
        let Some((scheme, rest)) = url.split_once("://") else {
            return url.to_owned();
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (address, path) = rest.split_at(end);
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (address, ""),
        };
        let plain = host.trim_start_matches('[').trim_end_matches(']');
        if !LOCALHOST.contains(&plain) {
            return url.to_owned();
        }
        // What listens on our own port is this process, whose scheme we know.
        let scheme = if port == self.port { "http" } else { scheme };
        let colon = if port.is_empty() { "" } else { ":" };
        format!("{scheme}://{}{colon}{port}{path}", self.host)
    }
}

pub(super) async fn metadata(State(app): State<AppState>, ask: Ask) -> Result<Response, ApiError> {
    let limit = limit(&ask)?.unwrap_or(usize::MAX);
    let text = ask.params.get("match_target");
    let mut matchers: Vec<Matcher> = Vec::new();
    if !text.is_empty() {
        matchers =
            promql::parse_selector(text).map_err(|e| ApiError::parameter("match_target", e))?;
    }
    let metric = ask.params.get("metric");
    let mut entries: Vec<Value> = Vec::new();
    for target in app.scrapes.all().values().flat_map(|pool| &pool.active) {
        // The limit is for targets: the last one is told whole.
        if entries.len() >= limit {
            break;
        }
        if !matchers.iter().all(|m| m.matches_labels(&target.public)) {
            continue;
        }
        let families = target.families.lock();
        if metric.is_empty() {
            entries.extend(families.iter().map(|m| entry(target, m, true)));
        } else if let Some(found) = families.get(metric) {
            entries.push(entry(target, found, false));
        }
    }
    Ok(success(&entries))
}

fn entry(target: &Target, metadata: &Metadata, named: bool) -> Value {
    let mut entry = Map::new();
    entry.insert("target".to_owned(), to_json(&target.public));
    if named {
        entry.insert("metric".to_owned(), json!(metadata.family));
    }
    entry.insert("type".to_owned(), json!(metadata.metric_type.as_str()));
    entry.insert("help".to_owned(), json!(metadata.help));
    entry.insert("unit".to_owned(), json!(metadata.unit));
    Value::Object(entry)
}

/// A limit of metadata: 0 is one, a negative number is none.
pub(super) fn limit(ask: &Ask) -> Result<Option<usize>, ApiError> {
    let text = ask.params.get("limit");
    if text.is_empty() {
        return Ok(None);
    }
    let number: i64 = text
        .parse()
        .map_err(|_| ApiError::BadData("limit must be a number".to_owned()))?;
    Ok(usize::try_from(number).ok())
}

pub(super) async fn scrape_pools(State(app): State<AppState>) -> Response {
    let names: Vec<String> = app.scrapes.all().into_keys().collect();
    success(&json!({"scrapePools": names}))
}

pub(super) async fn scrape_pool_config(
    State(app): State<AppState>,
    ask: Ask,
) -> Result<Response, ApiError> {
    let pool = pool_of(&app, pool_name(&ask)?)?;
    Ok(success(&json!({"yaml": pool.config.to_yaml().to_string()})))
}

/// What each rule makes of a label set.
pub(super) async fn relabel_steps(
    State(app): State<AppState>,
    ask: Ask,
) -> Result<Response, ApiError> {
    let name = pool_name(&ask)?;
    let text = ask.params.get("labels");
    if text.is_empty() {
        let fault = "no labels parameter provided";
        return Err(ApiError::BadData(fault.to_owned()));
    }
    let labels: std::collections::BTreeMap<String, String> = serde_json::from_str(text)
        .map_err(|e| ApiError::BadData(format!("error parsing labels: {e}")))?;
    let pool = pool_of(&app, name)?;
    let mut labels = Some(Labels::from_pairs(labels));
    let rules = pool.config.relabel_configs.iter();
    let steps: Vec<Value> = rules.map(|rule| step(rule, &mut labels)).collect();
    Ok(success(&json!({"steps": steps})))
}

fn step(rule: &RelabelConfig, labels: &mut Option<Labels>) -> Value {
    *labels = labels
        .take()
        .and_then(|l| relabel(std::slice::from_ref(rule), &l));
    json!({
        "rule": rule.to_json(),
        "output": to_json(labels.as_ref().unwrap_or(&Labels::empty())),
        "keep": labels.is_some(),
    })
}

fn pool_name(ask: &Ask) -> Result<&str, ApiError> {
    match ask.params.get("scrapePool") {
        "" => Err(ApiError::BadData(
            "no scrapePool parameter provided".to_owned(),
        )),
        name => Ok(name),
    }
}

fn pool_of(app: &App, name: &str) -> Result<PoolView, ApiError> {
    app.scrapes.get(name).ok_or_else(|| {
        ApiError::BadData(format!(
            "error retrieving scrape config: scrape pool {} not found",
            promql::lexer::quote(name)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_urls_are_shown_as_others_reach_them() {
        let own = OwnAddress {
            host: "box".to_owned(),
            port: "9090".to_owned(),
        };
        for (url, expected) in [
            ("http://127.0.0.1:19501/metrics", "http://box:19501/metrics"),
            ("https://localhost:9090/m?x=1", "http://box:9090/m?x=1"),
            ("https://[::1]:1/m", "https://box:1/m"),
            ("http://localhost/m", "http://box/m"),
            ("http://example.org:80/m", "http://example.org:80/m"),
        ] {
            assert_eq!(own.global(url), expected);
        }
    }
}

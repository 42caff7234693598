//! `GET /api/v1/status/*`, `/features` and `/notifications`: what runs here and how it is set up.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::SystemTime;

use axum::extract::State;
use axum::response::Response;
use clap::CommandFactory;
use serde_json::{Map, Value, json};
use storage::model::{Labels, METRIC_NAME};
use storage::{MemoryUse, SignalKind};

use super::error::ApiError;
use super::format::success;
use super::params::{Ask, parse_options};
use crate::app::AppState;
use crate::config::Config;

/// The version whose API this is: clients decide by it what they may ask for.
const PROMETHEUS_VERSION: &str = "3.14.0";

pub(super) async fn build_info() -> Response {
    success(&json!({
        "version": PROMETHEUS_VERSION,
        "revision": concat!("trilobite-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}

pub(super) async fn runtime_info(State(app): State<AppState>) -> Response {
    let cwd = std::env::current_dir().map_or_else(|_| String::new(), |p| p.display().to_string());
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (_, memory_limit) = app.storage.memory();
    success(&json!({
        "startTime": rfc3339(app.started_at),
        "CWD": cwd,
        "hostname": hostname.trim(),
        "serverTime": rfc3339(SystemTime::now()),
        "reloadConfigSuccess": app.telemetry.last_reload().is_some(),
        "lastConfigTime": rfc3339(
            app.telemetry.last_reload().unwrap_or(app.started_at)
        ),
        "corruptionCount": app.storage.stats(SignalKind::Metrics).wal_corrupt_records,
        "goroutineCount": 0,
        "GOMAXPROCS": threads,
        "GOMEMLIMIT": memory_limit,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": retention(&app.config),
    }))
}

/// What upstream says of it: `30d`, `10GiB`, `30d or 10GiB`.
fn retention(config: &Config) -> String {
    let time = config.retention_metrics.unless_zero();
    let time = time.map(crate::config::format_duration);
    let size =
        (config.retention_bytes > 0).then(|| crate::config::format_bytes(config.retention_bytes));
    let limits: Vec<String> = time.into_iter().chain(size).collect();
    limits.join(" or ")
}

fn rfc3339(time: SystemTime) -> String {
    chrono::DateTime::<chrono::Utc>::from(time).to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

pub(super) async fn config(State(app): State<AppState>) -> Response {
    success(&json!({"yaml": app.file().to_yaml()}))
}

/// Every flag with its value, as the command line or the default sets it.
pub(super) async fn flags() -> Response {
    let command = Config::command();
    let given = Config::command()
        .try_get_matches_from(std::env::args_os())
        .ok();
    let mut flags: BTreeMap<String, String> = BTreeMap::new();
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let Some(name) = arg.get_long() else { continue };
        let join = |values: Vec<String>| values.join(",");
        let value = given
            .as_ref()
            .and_then(|matches| matches.try_get_raw(arg.get_id().as_str()).ok().flatten())
            .map(|values| join(values.map(|v| v.to_string_lossy().into_owned()).collect()));
        let value = value.unwrap_or_else(|| {
            join(
                arg.get_default_values()
                    .iter()
                    .map(|v| v.to_string_lossy().into_owned())
                    .collect(),
            )
        });
        flags.insert(name.to_owned(), value);
    }
    success(&flags)
}

pub(super) async fn wal_replay() -> Response {
    // Whoever gets here asks after the replay: see `crate::starting` for the time before.
    success(&json!({"min": 0, "max": 0, "current": 0}))
}

pub(super) async fn notifications() -> Response {
    success(&json!([]))
}

/// What is on and off, by upstream's names.
pub(super) async fn features(State(app): State<AppState>) -> Response {
    let config = &app.config;
    let options = parse_options(config);
    let functions: Map<String, Value> = promql::functions::FUNCTIONS
        .iter()
        .map(|f| {
            (
                f.name.to_owned(),
                json!(!f.experimental || options.experimental_functions),
            )
        })
        .collect();
    let aggregations: Map<String, Value> = promql::ast::AggregateOp::ALL
        .iter()
        .map(|op| {
            (
                op.as_str().to_owned(),
                json!(!op.experimental() || options.experimental_functions),
            )
        })
        .collect();
    let operators: Map<String, Value> = promql::ast::BinaryOp::ALL
        .iter()
        .map(|op| (op.as_str().to_owned(), json!(true)))
        .collect();
    success(&json!({
        "api": {
            "admin": config.enable_admin_api,
            "exclude_alerts": true,
            "label_values_match": true,
            "lifecycle": config.enable_lifecycle,
            "otlp_write_receiver": true,
            "query_stats": true,
            "query_warnings": true,
            "remote_write_receiver": true,
            "time_range_labels": true,
            "time_range_series": true,
        },
        "promql": {
            "anchored": options.extended_range_selectors,
            "at_modifier": true,
            "bool": true,
            "by": true,
            "delayed_name_removal": config.feature("promql-delayed-name-removal"),
            "duration_expr": true,
            "fill": options.fill_modifiers,
            "group_left": true,
            "group_right": true,
            "ignoring": true,
            "negative_offset": true,
            "offset": true,
            "on": true,
            "smoothed": options.extended_range_selectors,
            "subqueries": true,
            "without": true,
        },
        "promql_functions": functions,
        "promql_operators": operators,
        "promql_aggregations": aggregations,
        "tsdb": {"exemplars": true, "native_histograms": true, "out_of_order": true},
    }))
}

/// Figures of the head, and which names and labels weigh most.
pub(super) async fn tsdb(State(app): State<AppState>, ask: Ask) -> Result<Response, ApiError> {
    let text = ask.params.get("limit");
    let limit = match text {
        "" => 10,
        _ => text
            .parse::<usize>()
            .ok()
            .filter(|&limit| limit > 0)
            .ok_or_else(|| ApiError::BadData("limit must be a positive number".to_owned()))?,
    };
    let stats = app.storage.head_stats(SignalKind::Metrics, &ask.tenant);
    // Where memory does not allow to look at all series, the rest is told all the same.
    let series = app.storage.all_series(&ask.tenant).await?;
    let series = series.unwrap_or_default();
    let weights = tokio::task::block_in_place(|| Weights::of(&series));
    let mut data = json!({
        "headStats": {
            "numSeries": stats.groups,
            "numLabelPairs": stats.label_pairs,
            "chunkCount": stats.chunks,
            "minTime": stats.min_time,
            "maxTime": stats.max_time,
        },
        "seriesCountByMetricName": top(&weights.series_by_metric, limit),
        "labelValueCountByLabelName": top(&weights.values_by_label, limit),
        "memoryInBytesByLabelName": top(&weights.bytes_by_label, limit),
        "seriesCountByLabelValuePair": top(&weights.series_by_pair, limit),
    });
    if ask.params.get("memory") == "true" {
        data["memory"] = memory(&app.storage.memory_use());
    }
    Ok(success(&data))
}

/// Who holds memory: not upstream's, so it is told where it is asked for.
fn memory(held: &MemoryUse) -> Value {
    let named = |all: &[(&str, u64)]| -> Vec<Value> {
        all.iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect()
    };
    json!({
        "limitBytes": held.limit_bytes,
        "usedBytes": held.used_bytes,
        "residentBytes": held.resident_bytes,
        "usedBytesByHolder": named(&held.holders),
        "refused": named(&held.refused),
    })
}

#[derive(Default)]
struct Weights {
    series_by_metric: HashMap<String, u64>,
    values_by_label: HashMap<String, u64>,
    bytes_by_label: HashMap<String, u64>,
    series_by_pair: HashMap<String, u64>,
}

impl Weights {
    fn of(series: &[Labels]) -> Self {
        let mut weights = Self::default();
        let mut pairs: HashMap<(&str, &str), u64> = HashMap::new();
        let mut values: HashMap<&str, HashSet<&str>> = HashMap::new();
        for labels in series {
            for (name, value) in labels {
                *pairs.entry((name, value)).or_default() += 1;
                values.entry(name).or_default().insert(value);
                *weights.bytes_by_label.entry(name.to_owned()).or_default() += value.len() as u64;
            }
        }
        for (name, values) in values {
            weights
                .values_by_label
                .insert(name.to_owned(), values.len() as u64);
        }
        for ((name, value), count) in pairs {
            if name == METRIC_NAME {
                weights.series_by_metric.insert(value.to_owned(), count);
            } else {
                weights
                    .series_by_pair
                    .insert(format!("{name}={value}"), count);
            }
        }
        weights
    }
}

/// The largest first; equal ones by name.
fn top(counts: &HashMap<String, u64>, limit: usize) -> Vec<Value> {
    let mut entries: Vec<(&String, &u64)> = counts.iter().collect();
    entries.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    entries.truncate(limit);
    entries
        .into_iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_names_come_first() {
        let series = [
            Labels::from_pairs([("__name__", "a"), ("job", "x")]),
            Labels::from_pairs([("__name__", "a"), ("job", "y")]),
            Labels::from_pairs([("__name__", "b"), ("job", "x")]),
        ];
        let weights = Weights::of(&series);
        assert_eq!(
            top(&weights.series_by_metric, 1),
            [json!({"name": "a", "value": 2})]
        );
        assert_eq!(top(&weights.series_by_pair, 9).len(), 2);
        assert_eq!(weights.values_by_label["job"], 2);
    }
}

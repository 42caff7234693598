//! The log of queries: a JSON object a line for each query that was evaluated, in the file that `global.query_log_file` names, in the form in
//! which Prometheus writes it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use chrono::{DateTime, SecondsFormat, Utc};
use parking_lot::Mutex;
use promql::EvalOptions;
use serde::Serialize;
use serde_json::Value;

use crate::telemetry::{COUNTER, Collector, Family, GAUGE};

/// Who asked a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Origin {
    /// A request.
    #[serde(rename = "httpRequest")]
    Http {
        /// Where it came from.
        #[serde(rename = "clientIP")]
        client_ip: Option<IpAddr>,
        /// Its method.
        method: String,
        /// Its path.
        path: String,
    },
    /// A rule.
    #[serde(rename = "ruleGroup")]
    Rule {
        /// The file of its group.
        file: PathBuf,
        /// The name of its group.
        name: String,
    },
}

/// What is told of a query.
pub(crate) struct Logged<'a> {
    pub(crate) query: &'a str,
    pub(crate) options: &'a EvalOptions,
    pub(crate) error: Option<String>,
    /// As `stats=1` gives them.
    pub(crate) stats: Value,
    pub(crate) origin: &'a Origin,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    level: &'static str,
    msg: &'static str,
    params: Params<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    stats: Value,
    #[serde(flatten)]
    origin: &'a Origin,
}

#[derive(Serialize)]
struct Params<'a> {
    end: String,
    query: &'a str,
    start: String,
    /// In seconds.
    step: i64,
}

/// The log; off until it is given a file.
#[derive(Debug, Default)]
pub struct QueryLog {
    is_on: AtomicBool,
    file: Mutex<Option<File>>,
    failures: AtomicU64,
}

impl QueryLog {
    /// Goes on in a file, which is opened anew even if it is the one from before (somebody may have moved that away), or stops.
    ///
    /// # Errors
    /// When the file cannot be opened; all stays as it was then.
    pub fn set_file(&self, path: Option<&Path>) -> Result<(), String> {
        let open = |path: &Path| {
            let file = OpenOptions::new().append(true).create(true).open(path);
            file.map_err(|e| format!("query_log_file {}: {e}", path.display()))
        };
        let opened = path.map(open).transpose()?;
        let mut file = self.file.lock();
        self.is_on.store(opened.is_some(), Ordering::Relaxed);
        *file = opened;
        Ok(())
    }

    /// Whether queries are logged.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Logs a query. A failure is counted and said once.
    pub(crate) fn write(&self, logged: Logged<'_>) {
        let options = logged.options;
        let line = Line {
            time: Utc::now().to_rfc3339_opts(SecondsFormat::AutoSi, true),
            level: "INFO",
            msg: "promql query logged",
            params: Params {
                end: date(options.end_ms),
                query: logged.query,
                start: date(options.start_ms),
                step: options.step_ms / 1000,
            },
            error: logged.error,
            stats: logged.stats,
            origin: logged.origin,
        };
        let Ok(mut text) = serde_json::to_vec(&line) else {
            return;
        };
        text.push(b'\n');
        let written = match &mut *self.file.lock() {
            Some(file) => file.write_all(&text),
            None => Ok(()),
        };
        if let Err(e) = written
            && self.failures.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::error!("the log of queries cannot be written: {e}");
        }
    }

    /// What `/metrics` tells of it.
    pub(crate) fn families(&self) -> Vec<Family> {
        let mut out = Collector::default();
        out.one(
            "prometheus_engine_query_log_enabled",
            GAUGE,
            "Whether queries are logged.",
            f64::from(u8::from(self.is_on())),
        );
        out.one(
            "prometheus_engine_query_log_failures_total",
            COUNTER,
            "Queries that could not be logged.",
            self.failures.load(Ordering::Relaxed) as f64,
        );
        out.finish()
    }
}

fn date(t_ms: i64) -> String {
    let date = DateTime::from_timestamp_millis(t_ms);
    date.map_or_else(
        || t_ms.to_string(),
        |date| date.to_rfc3339_opts(SecondsFormat::Millis, true),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(log: &QueryLog, error: Option<&str>, origin: &Origin) {
        log.write(Logged {
            query: "rate(up[5m])",
            options: &EvalOptions::range(1_700_000_000_000, 1_700_000_600_500, 15_000),
            error: error.map(str::to_owned),
            stats: serde_json::json!({"timings": {}}),
            origin,
        });
    }

    #[test]
    fn a_line_tells_query_times_and_origin() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("q.log"), folder.path().join("old"));
        let log = QueryLog::default();
        let rule = Origin::Rule {
            file: "r.yml".into(),
            name: "g".to_owned(),
        };
        logged(&log, None, &rule);
        log.set_file(Some(&path)).unwrap();
        logged(&log, None, &rule);
        std::fs::rename(&path, &moved).unwrap();
        log.set_file(Some(&path)).unwrap();
        let http = Origin::Http {
            client_ip: Some([127, 0, 0, 1].into()),
            method: "GET".to_owned(),
            path: "/api/v1/query_range".to_owned(),
        };
        logged(&log, Some("no"), &http);
        let line = |path: &Path| -> Value {
            let text = std::fs::read_to_string(path).unwrap();
            let mut line: Value = serde_json::from_str(text.strip_suffix('\n').unwrap()).unwrap();
            let time = line.as_object_mut().unwrap().remove("time").unwrap();
            assert!(time.as_str().unwrap().ends_with('Z'));
            line
        };
        let params = serde_json::json!({
            "end": "2023-11-14T22:23:20.500Z",
            "query": "rate(up[5m])",
            "start": "2023-11-14T22:13:20.000Z",
            "step": 15,
        });
        let msg = "promql query logged";
        assert_eq!(
            line(&moved),
            serde_json::json!({
                "level": "INFO", "msg": msg, "params": params, "stats": {"timings": {}},
                "ruleGroup": {"file": "r.yml", "name": "g"},
            })
        );
        assert_eq!(
            line(&path),
            serde_json::json!({
                "level": "INFO", "msg": msg, "params": params, "error": "no", "stats": {"timings": {}},
                "httpRequest": {"clientIP": "127.0.0.1", "method": "GET", "path": "/api/v1/query_range"},
            })
        );
        assert!(log.set_file(Some(folder.path())).is_err());
        assert!(log.is_on(), "a file that cannot be opened changes nothing");
        log.set_file(None).unwrap();
        assert!(!log.is_on());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_request_is_logged_with_its_path_and_a_failure_with_its_error() {
        let folder = tempfile::tempdir().unwrap();
        let app = crate::app::testing::open(&folder.path().join("data"), &[]).await;
        let path = folder.path().join("q.log");
        app.query_log.set_file(Some(&path)).unwrap();
        for query in [
            "vector(1)",
            "label_replace(vector(1),%22a%22,%22%22,%22b%22,%22(%22)",
        ] {
            let uri = format!("/api/v1/query?query={query}&time=5");
            let request = http::Request::get(uri).body(axum::body::Body::empty());
            crate::app::testing::call(
                &app,
                crate::api::prometheus::router(&app.config),
                request.unwrap(),
            )
            .await;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        for line in &lines {
            assert_eq!(line["httpRequest"]["path"], "/api/v1/query");
            assert_eq!(line["params"]["start"], "1970-01-01T00:00:05.000Z");
            assert!(line["stats"]["timings"]["execTotalTime"].is_number());
        }
        assert_eq!(lines[0]["params"]["query"], "vector(1)");
        assert_eq!(lines[0].get("error"), None);
        let error = lines[1]["error"].as_str().unwrap();
        assert!(error.contains("label_replace"), "{error}");
    }
}

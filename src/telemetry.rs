//! Logging, and what Trilobite says about itself on `/metrics`: the upstreams' own names where
//! people alert on them and they have a meaning here.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use storage::{SignalKind, Storage};
use tracing_subscriber::EnvFilter;

use crate::config::Config;

/// Starts logging to standard error.
pub fn init_logging(config: &Config) {
    let filter = EnvFilter::try_new(&config.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second call (in tests) keeps the first subscriber.
    let _ = if config.log_format == "json" {
        builder.json().try_init()
    } else {
        builder.with_ansi(false).with_target(false).try_init()
    };
}

/// A counter by handler and status code, in a fixed number of cells.
#[derive(Debug, Default)]
pub struct Telemetry {
    requests: parking_lot::Mutex<std::collections::BTreeMap<(String, u16), u64>>,
    /// Queries under way.
    pub queries_running: AtomicU64,
    /// Queries answered.
    pub queries: AtomicU64,
    /// Samples taken through any door.
    pub samples_in: AtomicU64,
    /// Log lines taken.
    pub lines_in: AtomicU64,
    /// Bytes of log lines taken.
    pub line_bytes_in: AtomicU64,
    /// Spans taken.
    pub spans_in: AtomicU64,
    reload_failed: AtomicBool,
    reload_seconds: AtomicU64,
}

/// Most distinct handlers that are counted apart; what comes later counts as `other`.
const MAX_HANDLERS: usize = 400;

impl Telemetry {
    /// Counts a request. `handler` is the route's pattern, never the raw path.
    pub fn request(&self, handler: &str, code: u16) {
        let mut requests = self.requests.lock();
        let full = requests.len() >= MAX_HANDLERS;
        let key = (handler.to_owned(), code);
        if full && !requests.contains_key(&key) {
            *requests.entry(("other".to_owned(), code)).or_default() += 1;
        } else {
            *requests.entry(key).or_default() += 1;
        }
    }

    /// Counts samples that were taken through any door.
    pub fn samples_taken(&self, n: usize) {
        self.samples_in.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// Notes how a read of the configuration went.
    pub fn config_reloaded(&self, ok: bool) {
        self.reload_failed.store(!ok, Ordering::Relaxed);
        if ok {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            self.reload_seconds
                .store(now.map_or(0, |d| d.as_secs()), Ordering::Relaxed);
        }
    }

    /// Everything in the Prometheus text format.
    #[must_use]
    pub fn exposition(&self, storage: &Storage, started_at: SystemTime) -> String {
        let mut out = Exposition::default();
        let load = |a: &AtomicU64| a.load(Ordering::Relaxed) as f64;
        let version = env!("CARGO_PKG_VERSION");
        let labels = format!(
            "{{version=\"{version}\",revision=\"\",branch=\"\",goversion=\"\",goos=\"linux\",goarch=\"amd64\",tags=\"\"}}"
        );
        out.one(
            "prometheus_build_info",
            "gauge",
            "What runs here.",
            &labels,
            1.0,
        );
        out.one(
            "trilobite_build_info",
            "gauge",
            "What runs here.",
            &format!("{{version=\"{version}\"}}"),
            1.0,
        );
        out.head(
            "prometheus_http_requests_total",
            "counter",
            "Requests by handler and status code.",
        );
        for ((handler, code), n) in self.requests.lock().iter() {
            let labels = format!("{{code=\"{code}\",handler={handler:?}}}");
            out.value("prometheus_http_requests_total", &labels, *n as f64);
        }
        out.one(
            "prometheus_config_last_reload_successful",
            "gauge",
            "Whether the last read of the configuration succeeded.",
            "",
            if self.reload_failed.load(Ordering::Relaxed) {
                0.0
            } else {
                1.0
            },
        );
        out.one(
            "prometheus_config_last_reload_success_timestamp_seconds",
            "gauge",
            "When the configuration was last read well.",
            "",
            load(&self.reload_seconds),
        );
        out.one(
            "prometheus_engine_queries",
            "gauge",
            "Queries under way.",
            "",
            load(&self.queries_running),
        );
        out.one(
            "trilobite_queries_total",
            "counter",
            "Queries answered.",
            "",
            load(&self.queries),
        );
        out.one(
            "loki_distributor_lines_received_total",
            "counter",
            "Log lines taken.",
            "{tenant=\"\"}",
            load(&self.lines_in),
        );
        out.one(
            "loki_distributor_bytes_received_total",
            "counter",
            "Bytes of log lines taken.",
            "{tenant=\"\"}",
            load(&self.line_bytes_in),
        );
        out.one(
            "jaeger_collector_spans_received_total",
            "counter",
            "Spans taken.",
            "",
            load(&self.spans_in),
        );

        let m = storage.stats(SignalKind::Metrics);
        out.one(
            "prometheus_tsdb_head_series",
            "gauge",
            "Series in the head.",
            "",
            m.head.groups as f64,
        );
        out.one(
            "prometheus_tsdb_head_chunks",
            "gauge",
            "Chunks in the head.",
            "",
            m.head.chunks as f64,
        );
        out.one(
            "prometheus_tsdb_head_samples_appended_total",
            "counter",
            "Samples taken.",
            "{type=\"float\"}",
            m.accepted as f64,
        );
        if m.head.min_time <= m.head.max_time {
            out.one(
                "prometheus_tsdb_head_min_time",
                "gauge",
                "First time in the head, milliseconds.",
                "",
                m.head.min_time as f64,
            );
            out.one(
                "prometheus_tsdb_head_max_time",
                "gauge",
                "Last time in the head, milliseconds.",
                "",
                m.head.max_time as f64,
            );
        }
        out.one(
            "prometheus_tsdb_blocks_loaded",
            "gauge",
            "Visible blocks.",
            "",
            m.blocks as f64,
        );
        out.one(
            "prometheus_tsdb_storage_blocks_bytes",
            "gauge",
            "Bytes of visible blocks.",
            "",
            m.block_bytes as f64,
        );
        out.one(
            "prometheus_tsdb_wal_corruptions_total",
            "counter",
            "Records found corrupt.",
            "",
            m.wal_corrupt_records as f64,
        );
        out.one(
            "prometheus_tsdb_compactions_total",
            "counter",
            "Compactions.",
            "",
            m.compactions as f64,
        );
        out.one(
            "prometheus_tsdb_compactions_failed_total",
            "counter",
            "Failed compactions.",
            "",
            m.compaction_failures as f64,
        );
        let figures: [(&str, &str, fn(&storage::SignalStats) -> f64); 9] = [
            ("trilobite_head_bytes", "gauge", |s| s.head_bytes as f64),
            ("trilobite_head_groups", "gauge", |s| s.head.groups as f64),
            ("trilobite_items_accepted_total", "counter", |s| {
                s.accepted as f64
            }),
            ("trilobite_items_refused_total", "counter", |s| {
                s.refused as f64
            }),
            ("trilobite_wal_bytes", "gauge", |s| s.wal_bytes as f64),
            ("trilobite_wal_syncs_total", "counter", |s| {
                s.wal_syncs as f64
            }),
            ("trilobite_blocks", "gauge", |s| s.blocks as f64),
            ("trilobite_block_bytes", "gauge", |s| s.block_bytes as f64),
            ("trilobite_cut_failures_total", "counter", |s| {
                s.cut_failures as f64
            }),
        ];
        for (name, kind, value) in figures {
            out.head(name, kind, "By signal.");
            for signal in SignalKind::ALL {
                let labels = format!("{{signal=\"{}\"}}", signal.as_str());
                out.value(name, &labels, value(&storage.stats(signal)));
            }
        }
        let (used, limit) = storage.memory();
        out.one(
            "trilobite_memory_used_bytes",
            "gauge",
            "Bytes drawn from the memory budget.",
            "",
            used as f64,
        );
        out.one(
            "trilobite_memory_limit_bytes",
            "gauge",
            "The memory budget.",
            "",
            limit as f64,
        );
        out.process(started_at);
        out.text
    }
}

#[derive(Default)]
struct Exposition {
    text: String,
}

impl Exposition {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, labels: &str, value: f64) {
        let _ = writeln!(self.text, "{name}{labels} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, labels: &str, value: f64) {
        self.head(name, kind, help);
        self.value(name, labels, value);
    }

    /// The process's own figures from `/proc`; absent elsewhere.
    fn process(&mut self, started_at: SystemTime) {
        let start = started_at
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0.0, |d| d.as_secs_f64());
        self.one(
            "process_start_time_seconds",
            "gauge",
            "Start time since the Unix epoch.",
            "",
            start,
        );
        if let Ok(stat) = std::fs::read_to_string("/proc/self/stat") {
            // The fields after the command's name, which may itself hold blanks.
            let fields: Vec<&str> = stat
                .rsplit(')')
                .next()
                .unwrap_or("")
                .split_whitespace()
                .collect();
            let field = |i: usize| {
                fields
                    .get(i)
                    .and_then(|f| f.parse::<f64>().ok())
                    .unwrap_or(0.0)
            };
            // The kernel's tick in user space is 100 Hz on every Linux.
            self.one(
                "process_cpu_seconds_total",
                "counter",
                "User and system CPU time.",
                "",
                (field(11) + field(12)) / 100.0,
            );
            self.one(
                "process_virtual_memory_bytes",
                "gauge",
                "Virtual memory.",
                "",
                field(20),
            );
        }
        if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
            let kib = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
            let kib = kib.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
            self.one(
                "process_resident_memory_bytes",
                "gauge",
                "Resident memory.",
                "",
                kib.unwrap_or(0.0) * 1024.0,
            );
        }
        if let Ok(fds) = std::fs::read_dir("/proc/self/fd") {
            self.one(
                "process_open_fds",
                "gauge",
                "Open file descriptors.",
                "",
                fds.count() as f64,
            );
        }
    }
}

//! Logging, and what Trilobite says about itself on `/metrics`: the upstreams' own names where
//! people alert on them and they have a meaning here.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use storage::model::{Labels, MetricType};
use storage::{BucketStatus, DamageStats, MemoryUse, SignalKind, SignalStats, Storage};
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
    /// What scraping counts.
    pub scrape: crate::scrape::Counters,
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

    /// When the configuration was last read well; none where the last read failed.
    #[must_use]
    pub fn last_reload(&self) -> Option<SystemTime> {
        let seconds = self.reload_seconds.load(Ordering::Relaxed);
        let failed = self.reload_failed.load(Ordering::Relaxed);
        (!failed).then(|| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
    }

    /// Everything, family by family.
    #[must_use]
    pub fn families(&self, storage: &Storage, started_at: SystemTime) -> Vec<Family> {
        let mut out = Collector::default();
        self.own(&mut out);
        self.scrape.collect(&mut out);
        of_storage(storage, &mut out);
        of_process(started_at, &mut out);
        out.finish()
    }

    fn own(&self, out: &mut Collector) {
        let load = |a: &AtomicU64| a.load(Ordering::Relaxed) as f64;
        let version = ("version", env!("CARGO_PKG_VERSION"));
        out.family("prometheus_build_info", GAUGE, "What runs here.");
        out.value(
            &[
                version,
                ("revision", "unknown"),
                ("goos", std::env::consts::OS),
            ],
            1.0,
        );
        out.family("trilobite_build_info", GAUGE, "What runs here.");
        out.value(&[version], 1.0);
        out.family(
            "prometheus_http_requests_total",
            COUNTER,
            "Requests by handler and code.",
        );
        for ((handler, code), n) in self.requests.lock().iter() {
            out.value(
                &[("code", &code.to_string()), ("handler", handler)],
                *n as f64,
            );
        }
        let reloaded = !self.reload_failed.load(Ordering::Relaxed);
        out.one(
            "prometheus_config_last_reload_successful",
            GAUGE,
            "Whether the last read of the configuration succeeded.",
            f64::from(u8::from(reloaded)),
        );
        out.one(
            "prometheus_config_last_reload_success_timestamp_seconds",
            GAUGE,
            "When the configuration was last read well.",
            load(&self.reload_seconds),
        );
        out.one(
            "prometheus_engine_queries",
            GAUGE,
            "Queries under way.",
            load(&self.queries_running),
        );
        out.one(
            "trilobite_queries_total",
            COUNTER,
            "Queries answered.",
            load(&self.queries),
        );
        out.one(
            "loki_distributor_lines_received_total",
            COUNTER,
            "Log lines taken.",
            load(&self.lines_in),
        );
        out.one(
            "loki_distributor_bytes_received_total",
            COUNTER,
            "Bytes of log lines taken.",
            load(&self.line_bytes_in),
        );
        out.one(
            "jaeger_collector_spans_received_total",
            COUNTER,
            "Spans taken.",
            load(&self.spans_in),
        );
    }
}

/// Type word of a counter.
pub(crate) const COUNTER: MetricType = MetricType::Counter;
/// Type word of a gauge.
pub(crate) const GAUGE: MetricType = MetricType::Gauge;

/// A metric family with its samples of this moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Name, the same for all samples.
    pub name: &'static str,
    /// Type.
    pub metric_type: MetricType,
    /// Help text.
    pub help: &'static str,
    /// Labels (without the name) and value.
    pub samples: Vec<(Labels, f64)>,
}

/// Families in the Prometheus text format 0.0.4.
#[must_use]
pub fn exposition(families: &[Family]) -> String {
    let mut out = String::new();
    for family in families {
        let Family {
            name,
            metric_type,
            help,
            samples,
        } = family;
        let _ = writeln!(
            out,
            "# HELP {name} {help}\n# TYPE {name} {}",
            metric_type.as_str()
        );
        for (labels, value) in samples {
            out.push_str(name);
            for (i, (label, text)) in labels.iter().enumerate() {
                let text = text
                    .replace('\\', "\\\\")
                    .replace('"', "\\\"")
                    .replace('\n', "\\n");
                let _ = write!(out, "{}{label}=\"{text}\"", if i == 0 { '{' } else { ',' });
            }
            let _ = writeln!(out, "{} {value}", if labels.is_empty() { "" } else { "}" });
        }
    }
    out
}

/// Families while they are collected.
#[derive(Default)]
pub(crate) struct Collector {
    families: Vec<Family>,
}

impl Collector {
    /// Begins a family.
    pub(crate) fn family(
        &mut self,
        name: &'static str,
        metric_type: MetricType,
        help: &'static str,
    ) {
        self.families.push(Family {
            name,
            metric_type,
            help,
            samples: Vec::new(),
        });
    }

    /// Adds a sample to the family begun last.
    pub(crate) fn value(&mut self, labels: &[(&str, &str)], value: f64) {
        if let Some(family) = self.families.last_mut() {
            family
                .samples
                .push((Labels::from_pairs(labels.iter().copied()), value));
        }
    }

    /// A family of one sample without labels.
    pub(crate) fn one(
        &mut self,
        name: &'static str,
        kind: MetricType,
        help: &'static str,
        value: f64,
    ) {
        self.family(name, kind, help);
        self.value(&[], value);
    }

    /// All of them.
    pub(crate) fn finish(self) -> Vec<Family> {
        self.families
    }
}

type Figure = (
    &'static str,
    MetricType,
    &'static str,
    fn(&SignalStats) -> f64,
);

/// What Prometheus says of its TSDB, here of the metrics storage.
const TSDB: [Figure; 10] = [
    (
        "prometheus_tsdb_head_series",
        GAUGE,
        "Series in the head.",
        |s| s.head.groups as f64,
    ),
    (
        "prometheus_tsdb_head_chunks",
        GAUGE,
        "Chunks in the head.",
        |s| s.head.chunks as f64,
    ),
    (
        "prometheus_tsdb_head_samples_appended_total",
        COUNTER,
        "Samples taken.",
        |s| s.accepted as f64,
    ),
    (
        "prometheus_tsdb_head_min_time",
        GAUGE,
        "First time in the head, milliseconds.",
        |s| s.head.min_time as f64,
    ),
    (
        "prometheus_tsdb_head_max_time",
        GAUGE,
        "Last time in the head, milliseconds.",
        |s| s.head.max_time as f64,
    ),
    (
        "prometheus_tsdb_blocks_loaded",
        GAUGE,
        "Visible blocks.",
        |s| s.blocks as f64,
    ),
    (
        "prometheus_tsdb_storage_blocks_bytes",
        GAUGE,
        "Bytes of visible blocks.",
        |s| s.block_bytes as f64,
    ),
    (
        "prometheus_tsdb_wal_corruptions_total",
        COUNTER,
        "Records found corrupt.",
        |s| s.wal_corrupt_records as f64,
    ),
    (
        "prometheus_tsdb_compactions_total",
        COUNTER,
        "Compactions.",
        |s| s.compactions as f64,
    ),
    (
        "prometheus_tsdb_compactions_failed_total",
        COUNTER,
        "Failed compactions.",
        |s| s.compaction_failures as f64,
    ),
];

/// What is said of each of the three signals.
const BY_SIGNAL: [Figure; 13] = [
    ("trilobite_head_bytes", GAUGE, "Memory of the head.", |s| {
        s.head_bytes as f64
    }),
    (
        "trilobite_head_groups",
        GAUGE,
        "Series, streams or traces in the head.",
        |s| s.head.groups as f64,
    ),
    (
        "trilobite_items_accepted_total",
        COUNTER,
        "Items taken.",
        |s| s.accepted as f64,
    ),
    (
        "trilobite_items_refused_total",
        COUNTER,
        "Items refused.",
        |s| s.refused as f64,
    ),
    (
        "trilobite_wal_bytes",
        GAUGE,
        "Write-ahead log on disk.",
        |s| s.wal_bytes as f64,
    ),
    (
        "trilobite_wal_syncs_total",
        COUNTER,
        "Fsyncs of the log.",
        |s| s.wal_syncs as f64,
    ),
    ("trilobite_blocks", GAUGE, "Visible blocks.", |s| {
        s.blocks as f64
    }),
    (
        "trilobite_block_bytes",
        GAUGE,
        "Bytes of visible blocks.",
        |s| s.block_bytes as f64,
    ),
    (
        "trilobite_block_rows",
        GAUGE,
        "Rows of visible blocks.",
        |s| s.block_rows as f64,
    ),
    (
        "trilobite_tombstones",
        GAUGE,
        "Deletions whose rows may still lie in blocks.",
        |s| s.tombstones as f64,
    ),
    (
        "trilobite_cuts_total",
        COUNTER,
        "Cuts of the head into blocks.",
        |s| s.cuts as f64,
    ),
    (
        "trilobite_cut_failures_total",
        COUNTER,
        "Cuts that failed.",
        |s| s.cut_failures as f64,
    ),
    (
        "trilobite_head_snapshots_total",
        COUNTER,
        "Snapshots of the head, each in place of the write-ahead log before it.",
        |s| s.head_snapshots as f64,
    ),
];

fn of_storage(storage: &Storage, out: &mut Collector) {
    let metrics = storage.stats(SignalKind::Metrics);
    for (name, kind, help, value) in TSDB {
        out.one(name, kind, help, value(&metrics));
    }
    let (limit, retentions) = storage.size_limit();
    out.one(
        "prometheus_tsdb_retention_limit_bytes",
        GAUGE,
        "Bytes that all blocks may take together; 0 is no limit.",
        limit.unwrap_or(0) as f64,
    );
    out.one(
        "prometheus_tsdb_size_retentions_total",
        COUNTER,
        "How often blocks were dropped because all of them took more.",
        retentions as f64,
    );
    for (name, kind, help, value) in BY_SIGNAL {
        out.family(name, kind, help);
        for signal in SignalKind::ALL {
            out.value(
                &[("signal", signal.as_str())],
                value(&storage.stats(signal)),
            );
        }
    }
    of_damage(&storage.damage(), out);
    if let Some(status) = storage.bucket_status() {
        of_bucket(&status, out);
        for (name, help, value) in WAITING {
            out.family(name, GAUGE, help);
            for signal in SignalKind::ALL {
                let stats = storage.stats(signal);
                out.value(&[("signal", signal.as_str())], value(&stats));
            }
        }
    }
    of_memory(&storage.memory_use(), out);
}

fn of_memory(memory: &MemoryUse, out: &mut Collector) {
    out.family(
        "trilobite_memory_used_bytes",
        GAUGE,
        "Counted memory, by who holds it; what the process takes besides is resident, not here.",
    );
    for (holder, bytes) in &memory.holders {
        out.value(&[("holder", holder)], *bytes as f64);
    }
    out.one(
        "trilobite_memory_limit_bytes",
        GAUGE,
        "What the process may take: --memory.limit.",
        memory.limit_bytes as f64,
    );
    out.family(
        "trilobite_memory_refusals_total",
        COUNTER,
        "What was refused for want of memory: writes, new series (each counts), queries; and merges that were put off.",
    );
    for (what, times) in &memory.refused {
        out.value(&[("what", what)], *times as f64);
    }
}

/// Takes a figure out of a signal's.
type Reading = fn(&SignalStats) -> f64;

/// What waits for the bucket.
const WAITING: [(&str, &str, Reading); 2] = [
    (
        "trilobite_bucket_waiting_blocks",
        "Blocks on local disk that wait for their upload.",
        |s| s.waiting_blocks as f64,
    ),
    (
        "trilobite_bucket_waiting_bytes",
        "Bytes of blocks on local disk that wait for their upload.",
        |s| s.waiting_bytes as f64,
    ),
];

fn of_bucket(status: &BucketStatus, out: &mut Collector) {
    let reached = status.outage.is_none();
    out.one(
        "trilobite_bucket_reachable",
        GAUGE,
        "Whether the bucket answered when it was last asked.",
        f64::from(u8::from(reached)),
    );
    out.one(
        "trilobite_bucket_owned",
        GAUGE,
        "Whether the bucket belongs to this storage folder; 0 where another one has taken it over.",
        f64::from(u8::from(status.refused.is_none())),
    );
    let requests = |pick: fn(&(&'static str, u64, u64)) -> u64| {
        let requests = status.requests.iter();
        requests.map(move |r| (r.0, pick(r) as f64))
    };
    out.family(
        "trilobite_bucket_requests_total",
        COUNTER,
        "Requests to the bucket, behind the client's own brief retries.",
    );
    for (operation, n) in requests(|r| r.1) {
        out.value(&[("operation", operation)], n);
    }
    out.family(
        "trilobite_bucket_request_failures_total",
        COUNTER,
        "Requests to the bucket that failed.",
    );
    for (operation, n) in requests(|r| r.2) {
        out.value(&[("operation", operation)], n);
    }
    out.one(
        "trilobite_bucket_uploaded_bytes_total",
        COUNTER,
        "Bytes of files that went up.",
        status.uploaded_bytes as f64,
    );
    out.one(
        "trilobite_bucket_fetched_bytes_total",
        COUNTER,
        "Bytes read from the bucket, beside the cache.",
        status.fetched_bytes as f64,
    );
    out.one(
        "trilobite_bucket_cache_bytes",
        GAUGE,
        "Local disk that keeps what lies in the bucket.",
        status.cached_bytes as f64,
    );
}

fn of_damage(damage: &DamageStats, out: &mut Collector) {
    out.one(
        "trilobite_damage_found_total",
        COUNTER,
        "Reads that met a file which is not what was written.",
        damage.found as f64,
    );
    out.family(
        "trilobite_damaged_file",
        GAUGE,
        "1 for each file found damaged since start, a hundred at most.",
    );
    for file in &damage.files {
        out.value(&[("file", file)], 1.0);
    }
}

/// The process's own figures from `/proc`; absent elsewhere.
fn of_process(started_at: SystemTime, out: &mut Collector) {
    let start = started_at
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |d| d.as_secs_f64());
    out.one(
        "process_start_time_seconds",
        GAUGE,
        "Start time since the Unix epoch.",
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
        // The kernel counts 100 ticks a second in what it shows to user space.
        let cpu = (field(11) + field(12)) / 100.0;
        out.one(
            "process_cpu_seconds_total",
            COUNTER,
            "User and system CPU time.",
            cpu,
        );
        out.one(
            "process_virtual_memory_bytes",
            GAUGE,
            "Virtual memory.",
            field(20),
        );
    }
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let bytes = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name));
            let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
            kib.unwrap_or(0.0) * 1024.0
        };
        out.one(
            "process_resident_memory_bytes",
            GAUGE,
            "Resident memory.",
            bytes("VmRSS:"),
        );
        out.one(
            "trilobite_memory_peak_bytes",
            GAUGE,
            "The most that resident memory has been since start.",
            bytes("VmHWM:"),
        );
    }
    if let Ok(fds) = std::fs::read_dir("/proc/self/fd") {
        out.one(
            "process_open_fds",
            GAUGE,
            "Open file descriptors.",
            fds.count() as f64,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_labels_are_escaped() {
        let labels = Labels::from_pairs([("a", "x\"y\\z\n")]);
        let family = Family {
            name: "m",
            metric_type: GAUGE,
            help: "Help.",
            samples: vec![(labels, 1.5), (Labels::empty(), 2.0)],
        };
        let expected = "# HELP m Help.\n# TYPE m gauge\nm{a=\"x\\\"y\\\\z\\n\"} 1.5\nm 2\n";
        assert_eq!(exposition(&[family]), expected);
    }
}

//! The suite's own small dataset: three signals, the same bytes on every run.
//!
//! Most values follow a rule that can be worked out by hand, because the expectations of the own
//! cases are; a few are drawn from a seeded generator, so that nothing is suspiciously smooth.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

/// Seconds since the epoch at which the dataset begins: 2024-01-01T00:00:00Z.
pub const T0: i64 = 1_704_067_200;
const SEED: u64 = 0x7472_696c_6f62_6974;

/// A xorshift generator: small, and the same everywhere and for ever.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// An hour at a sample every 30 s: k is 0 to 120.
const SAMPLES: i64 = 121;

fn series(labels: &Value, value: impl Fn(i64) -> Option<Value>) -> Value {
    let samples: Vec<Value> = (0..SAMPLES)
        .filter_map(|k| Some(json!([(T0 + 30 * k) * 1000, value(k)?])))
        .collect();
    json!({"labels": labels, "samples": samples})
}

/// The lines of the metrics dataset.
#[must_use]
pub fn metrics() -> Vec<Value> {
    let mut random = Random(SEED);
    let mut out = vec![
        json!({"metadata": {"family": "requests_total", "type": "counter", "help": "Requests.", "unit": ""}}),
        json!({"metadata": {"family": "temperature", "type": "gauge", "help": "Degrees.", "unit": ""}}),
        json!({"metadata": {"family": "latency_seconds", "type": "histogram", "help": "Latency.", "unit": "seconds"}}),
    ];
    for (n, instance) in ["a", "b", "c"].into_iter().enumerate() {
        let slope = 10 * (n as i64 + 1);
        for (code, slope) in [("200", slope), ("500", n as i64 + 1)] {
            let labels = json!({"__name__": "requests_total", "job": "api", "instance": instance, "code": code});
            out.push(series(&labels, |k| Some(json!(slope * k))));
        }
        // Instance c goes away half way, with a staleness marker.
        let labels = json!({"__name__": "alive", "job": "api", "instance": instance});
        out.push(series(&labels, |k| match (instance, k) {
            ("c", 60) => Some(json!("stale")),
            ("c", 61..) => None,
            _ => Some(json!(1)),
        }));
    }
    out.push(series(&json!({"__name__": "restarts_total"}), |k| {
        Some(json!(k % 40 * 5))
    }));
    for (room, base, swing) in [("kitchen", 20, 1), ("attic", 15, 10), ("cellar", 10, 1)] {
        let labels = json!({"__name__": "temperature", "room": room});
        out.push(series(&labels, |k| Some(json!(base + k % swing))));
    }
    let drawn: Vec<u64> = (0..SAMPLES).map(|_| random.below(1000)).collect();
    out.push(series(&json!({"__name__": "noise"}), |k| {
        usize::try_from(k)
            .ok()
            .and_then(|k| drawn.get(k))
            .map(|v| json!(v))
    }));
    out.push(series(&json!({"__name__": "sparse"}), |k| {
        (k % 20 == 0).then(|| json!(k))
    }));
    for (kind, value) in [("nan", "NaN"), ("inf", "+Inf"), ("neg", "-Inf")] {
        let labels = json!({"__name__": "special", "kind": kind});
        out.push(series(&labels, |_| Some(json!(value))));
    }
    for (le, slope) in [("0.1", 5), ("0.5", 8), ("1", 9), ("+Inf", 10)] {
        let labels = json!({"__name__": "latency_seconds_bucket", "job": "api", "le": le});
        out.push(series(&labels, |k| Some(json!(slope * k))));
    }
    out.push(series(
        &json!({"__name__": "latency_seconds_count", "job": "api"}),
        |k| Some(json!(10 * k)),
    ));
    out.push(series(
        &json!({"__name__": "latency_seconds_sum", "job": "api"}),
        |k| Some(json!(3 * k)),
    ));
    // Buckets (0.5, 1] and (1, 2] of schema 0 hold k and 2k observations.
    let histograms: Vec<Value> = (0..SAMPLES)
        .map(|k| {
            json!([(T0 + 30 * k) * 1000, {"schema": 0, "count": 3 * k, "sum": 4 * k, "zero_threshold": 0.001,
                "zero_count": 0, "positive_spans": [[0, 2]], "positive_deltas": [k, k], "reset_hint": "unknown"}])
        })
        .collect();
    out.push(json!({"labels": {"__name__": "size_bytes", "job": "api"}, "histograms": histograms}));
    out
}

/// The lines of the logs dataset.
#[must_use]
pub fn logs() -> Vec<Value> {
    let mut random = Random(SEED + 1);
    let ns = |seconds: i64| format!("{}000000000", T0 + seconds);
    let mut out = Vec::new();
    for pod in ["p0", "p1"] {
        let values: Vec<Value> = (0..100)
            .map(|k| {
                let (level, status) = if k % 10 == 9 { ("error", 500) } else { ("info", 200) };
                let line = json!({"level": level, "status": status, "ms": k, "user": format!("u{}", random.below(7))});
                json!([ns(10 * k), line.to_string()])
            })
            .collect();
        out.push(json!({"stream": {"app": "shop", "env": "prod", "pod": pod}, "values": values}));
    }
    let values: Vec<Value> = (0..60)
        .map(|k| {
            let level = if k % 6 == 5 { "warn" } else { "info" };
            json!([
                ns(20 * k),
                format!("level={level} ms={} path=\"/p{}\"", k * 2, k % 3)
            ])
        })
        .collect();
    out.push(json!({"stream": {"app": "proxy", "env": "prod"}, "values": values}));
    let values: Vec<Value> = (0..30)
        .map(|k| match k % 5 {
            0 => json!([ns(30 * k), format!("tick {k}"), {"trace_id": format!("t{k}")}]),
            _ => json!([ns(30 * k), format!("tick {k}")]),
        })
        .collect();
    out.push(json!({"stream": {"app": "clock", "env": "dev"}, "values": values}));
    out
}

/// The trace id of trace `i`, and the span ids of its two spans.
#[must_use]
pub fn trace_ids(i: u64) -> (String, String, String) {
    let mut random = Random(SEED + 2 + i * 7919);
    let trace = format!("{:016x}{:016x}", random.next(), random.next());
    (
        trace,
        format!("{:016x}", random.next()),
        format!("{:016x}", random.next()),
    )
}

/// The lines of the traces dataset: trace `i` of 20 starts at T0 + 60 i seconds, its root takes
/// 100 + i ms, the call within it 50 ms; every fifth has an error.
#[must_use]
pub fn traces() -> Vec<Value> {
    let service = |name: &str, version: &str| {
        let attribute = |k: &str, v: &str| json!({"key": k, "value": {"stringValue": v}});
        json!({"attributes": [attribute("service.name", name), attribute("service.version", version)]})
    };
    (0..20_u64)
        .map(|i| {
            let (trace, root, child) = trace_ids(i);
            let start = (T0 as u64 + 60 * i) * 1_000_000_000;
            let ms = 1_000_000;
            let status = if i % 5 == 4 { json!({"code": 2, "message": "boom"}) } else { json!({}) };
            json!({"resourceSpans": [
                {"resource": service("front", "1.0"), "scopeSpans": [{"scope": {"name": "own"}, "spans": [{
                    "traceId": trace, "spanId": root, "name": "GET /home", "kind": 2,
                    "startTimeUnixNano": start.to_string(),
                    "endTimeUnixNano": (start + (100 + i) * ms).to_string(),
                    "attributes": [{"key": "turn", "value": {"intValue": i.to_string()}}],
                    "status": status}]}]},
                {"resource": service("back", "2.0"), "scopeSpans": [{"scope": {"name": "own"}, "spans": [{
                    "traceId": trace, "spanId": child, "parentSpanId": root, "name": "query", "kind": 2,
                    "startTimeUnixNano": (start + 10 * ms).to_string(),
                    "endTimeUnixNano": (start + 60 * ms).to_string(),
                    "attributes": [{"key": "db.table", "value": {"stringValue": format!("t{}", i % 3)}}],
                    "events": [{"timeUnixNano": (start + 20 * ms).to_string(), "name": "row"}],
                    "status": {}}]}]}]})
        })
        .collect()
}

/// Writes the three datasets below a folder.
///
/// # Errors
/// When a file cannot be written.
pub fn write(folder: &Path) -> Result<()> {
    for (name, lines) in [
        ("metrics", metrics()),
        ("logs", logs()),
        ("traces", traces()),
    ] {
        std::fs::create_dir_all(folder.join(name))?;
        std::fs::write(folder.join(name).join("dataset.jsonl"), text(&lines))?;
    }
    Ok(())
}

fn text(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_datasets_are_what_the_generator_writes() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
        for (name, lines) in [
            ("metrics", metrics()),
            ("logs", logs()),
            ("traces", traces()),
        ] {
            let committed =
                std::fs::read_to_string(folder.join(name).join("dataset.jsonl")).unwrap();
            assert_eq!(committed, text(&lines), "{name}: run `compat-tests sample`");
        }
    }
}

//! Answers as JSON, key by key in Loki's order: readers that stream depend on it.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use logql::{Answer, Categories, Data, LabelSet, StreamResult, format_value};
use serde_json::Value;

/// A JSON answer.
pub(super) fn json(body: impl Into<axum::body::Body>) -> Response {
    let headers = [(CONTENT_TYPE, "application/json; charset=UTF-8")];
    (StatusCode::OK, headers, body.into()).into_response()
}

/// `{"status":"success","data":..}`, without `data` where there is nothing.
pub(super) fn list(data: &[String]) -> Response {
    if data.is_empty() {
        return json("{\"status\":\"success\"}\n");
    }
    json(serde_json::json!({"status": "success", "data": data}).to_string() + "\n")
}

/// `{"status":"success","data":..}`.
pub(super) fn success(data: Value) -> Response {
    json(serde_json::json!({"status": "success", "data": data}).to_string() + "\n")
}

/// The answer of a query.
pub(super) fn answer(answer: &Answer, categorized: bool, took: Duration) -> Response {
    let mut out = String::with_capacity(4096);
    out.push_str("{\"status\":\"success\",");
    if !answer.warnings.is_empty() {
        out.push_str("\"warnings\":");
        out.push_str(&serde_json::json!(answer.warnings).to_string());
        out.push(',');
    }
    out.push_str("\"data\":{\"resultType\":");
    let mut entries = 0;
    match &answer.data {
        Data::Streams(streams) => {
            out.push_str("\"streams\",");
            if categorized {
                out.push_str("\"encodingFlags\":[\"categorize-labels\"],");
            }
            out.push_str("\"result\":");
            push_streams(&mut out, streams);
            entries = streams.iter().map(|s| s.entries.len()).sum();
        }
        Data::Vector(t_ns, vector) => {
            out.push_str("\"vector\",\"result\":[");
            for (i, (labels, value)) in vector.iter().enumerate() {
                out.push_str(if i == 0 {
                    "{\"metric\":"
                } else {
                    ",{\"metric\":"
                });
                push_labels(&mut out, labels);
                out.push_str(",\"value\":");
                push_point(&mut out, *t_ns, *value);
                out.push('}');
            }
            out.push(']');
        }
        Data::Matrix(matrix) => {
            out.push_str("\"matrix\",\"result\":[");
            for (i, series) in matrix.iter().enumerate() {
                out.push_str(if i == 0 {
                    "{\"metric\":"
                } else {
                    ",{\"metric\":"
                });
                push_labels(&mut out, &series.labels);
                out.push_str(",\"values\":[");
                for (k, (t_ns, value)) in series.points.iter().enumerate() {
                    if k > 0 {
                        out.push(',');
                    }
                    push_point(&mut out, *t_ns, *value);
                }
                out.push_str("]}");
            }
            out.push(']');
        }
        Data::Scalar(t_ns, value) => {
            // Loki writes the milliseconds of a bare scalar.
            let t_ms = t_ns.div_euclid(1_000_000);
            out.push_str("\"scalar\",\"result\":[");
            out.push_str(&t_ms.to_string());
            out.push_str(",\"");
            out.push_str(&format_value(*value));
            out.push_str("\"]");
        }
    }
    out.push_str(",\"stats\":");
    out.push_str(&stats(answer, entries, took).to_string());
    out.push_str("}}\n");
    json(out)
}

/// What the query read, in the form of Loki's statistics.
pub(super) fn stats(answer: &Answer, entries: usize, took: Duration) -> Value {
    let seconds = took.as_secs_f64();
    let per_second = |n: u64| (n as f64 / seconds.max(1e-9)) as u64;
    let (bytes, lines) = (answer.stats.bytes, answer.stats.lines);
    serde_json::json!({
        "summary": {
            "bytesProcessedPerSecond": per_second(bytes),
            "linesProcessedPerSecond": per_second(lines),
            "totalBytesProcessed": bytes,
            "totalLinesProcessed": lines,
            "execTime": seconds,
            "queueTime": 0,
            "subqueries": 0,
            "totalEntriesReturned": entries,
            "splits": 0,
            "shards": 0,
        },
        "querier": {"store": {"totalChunksRef": 0, "totalChunksDownloaded": 0}},
        "ingester": {"totalReached": 1},
    })
}

/// Streams with their entries.
pub(super) fn push_streams(out: &mut String, streams: &[StreamResult]) {
    out.push('[');
    for (i, stream) in streams.iter().enumerate() {
        out.push_str(if i == 0 {
            "{\"stream\":"
        } else {
            ",{\"stream\":"
        });
        push_labels(out, &stream.labels);
        out.push_str(",\"values\":[");
        for (k, entry) in stream.entries.iter().enumerate() {
            if k > 0 {
                out.push(',');
            }
            out.push_str("[\"");
            out.push_str(&entry.t_ns.to_string());
            out.push_str("\",");
            push_text(out, &entry.line);
            if let Some(categories) = &entry.categories {
                out.push(',');
                push_categories(out, categories);
            }
            out.push(']');
        }
        out.push_str("]}");
    }
    out.push(']');
}

fn push_categories(out: &mut String, categories: &Categories) {
    out.push('{');
    let sets = [
        ("\"structuredMetadata\":", &categories.structured_metadata),
        ("\"parsed\":", &categories.parsed),
    ];
    let mut first = true;
    for (name, set) in sets.into_iter().filter(|(_, set)| !set.is_empty()) {
        if !first {
            out.push(',');
        }
        first = false;
        out.push_str(name);
        push_labels(out, set);
    }
    out.push('}');
}

fn push_labels(out: &mut String, labels: &LabelSet) {
    out.push('{');
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        push_text(out, name);
        out.push(':');
        push_text(out, value);
    }
    out.push('}');
}

fn push_text(out: &mut String, text: &str) {
    storage::model::push_json_string(out, text);
}

fn push_point(out: &mut String, t_ns: i64, value: f64) {
    let t_ms = t_ns.div_euclid(1_000_000);
    let (seconds, ms) = (t_ms.div_euclid(1000), t_ms.rem_euclid(1000));
    out.push('[');
    if ms == 0 {
        out.push_str(&seconds.to_string());
    } else {
        out.push_str(&format!("{}", t_ms as f64 / 1000.0));
    }
    out.push_str(",\"");
    out.push_str(&format_value(value));
    out.push_str("\"]");
}

//! The mode for Loki's query answers.

use serde_json::Value;

use super::promql;
use super::value::{canonical, keyed};

/// Streams are known by their labels; entries of one timestamp have no defined order and are text,
/// compared as such. Metric answers compare as Prometheus's do.
pub(super) fn compare(a: &Value, b: &Value) -> Option<String> {
    let kind = a
        .get("data")
        .and_then(|d| d.get("resultType"))
        .and_then(Value::as_str);
    if matches!(kind, Some("matrix" | "vector" | "scalar")) {
        return promql::compare(a, b, false);
    }
    if a.get("status") != b.get("status") {
        return Some(format!(
            "status: {:?} expected, got {:?}",
            a.get("status"),
            b.get("status")
        ));
    }
    let null = Value::Null;
    let (a, b) = (
        a.get("data").unwrap_or(&null),
        b.get("data").unwrap_or(&null),
    );
    if a.get("resultType") != b.get("resultType") {
        return Some(format!(
            "resultType: {:?} expected, got {:?}",
            a.get("resultType"),
            b.get("resultType")
        ));
    }
    keyed(
        a.get("result"),
        b.get("result"),
        "result",
        &|s| canonical(s.get("stream").unwrap_or(&Value::Null)),
        &|x, y, p| entries(x, y, p),
    )
}

fn entries(x: &Value, y: &Value, path: &str) -> Option<String> {
    let sorted = |s: &Value| {
        let mut values: Vec<(String, String)> = s
            .get("values")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|v| {
                let time = v.get(0).map_or(String::new(), canonical);
                (time, canonical(v))
            })
            .collect();
        values.sort();
        values
    };
    let (x, y) = (sorted(x), sorted(y));
    if x.len() != y.len() {
        return Some(format!(
            "{path}: {} entries expected, got {}",
            x.len(),
            y.len()
        ));
    }
    let cut = |s: &str| s.chars().take(160).collect::<String>();
    x.iter()
        .zip(&y)
        .enumerate()
        .find(|(_, (v, w))| v != w)
        .map(|(i, (v, w))| format!("{path}[{i}]: {} expected, got {}", cut(&v.1), cut(&w.1)))
}

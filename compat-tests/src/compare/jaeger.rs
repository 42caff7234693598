//! The modes for Jaeger's answers.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::value::{bag, canonical, keyed, strict};

fn list<'a>(v: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    v.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn get(v: &Value, name: &str) -> Value {
    v.get(name).cloned().unwrap_or(Value::Null)
}

/// Key, type and value of each tag, sorted.
fn tags(v: &Value, name: &str) -> Value {
    let mut out: Vec<String> = list(v, name)
        .map(|t| canonical(&json!([get(t, "key"), get(t, "type"), get(t, "value")])))
        .collect();
    out.sort();
    json!(out)
}

/// The spans of a trace by id, each with its process spelled out; no list has an order.
fn canonical_trace(trace: &Value) -> Value {
    let mut spans: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for span in list(trace, "spans") {
        let process = span
            .get("processID")
            .and_then(Value::as_str)
            .and_then(|id| trace.get("processes")?.get(id))
            .filter(|p| p.as_object().is_some_and(|m| !m.is_empty()))
            .cloned()
            .unwrap_or_else(|| get(span, "process"));
        let mut logs: Vec<String> = list(span, "logs")
            .map(|l| canonical(&json!([get(l, "timestamp"), tags(l, "fields")])))
            .collect();
        logs.sort();
        let mut references: Vec<String> = list(span, "references").map(canonical).collect();
        references.sort();
        let flags = match get(span, "flags") {
            Value::Null => json!(0),
            other => other,
        };
        let warnings: Vec<Value> = list(span, "warnings").cloned().collect();
        let id = span
            .get("spanID")
            .map_or_else(String::new, |v| v.as_str().unwrap_or("").into());
        spans.entry(id).or_default().push(json!({
            "operation": get(span, "operationName"),
            "start": get(span, "startTime"),
            "duration": get(span, "duration"),
            "references": references,
            "tags": tags(span, "tags"),
            "logs": logs,
            "service": get(&process, "serviceName"),
            "process": tags(&process, "tags"),
            "warnings": bag(json!(warnings)),
            "flags": flags,
        }));
    }
    json!(
        spans
            .into_iter()
            .map(|(id, s)| (id, bag(json!(s))))
            .collect::<BTreeMap<_, _>>()
    )
}

/// Errors exactly, the envelope, and traces by id in any order.
pub(super) fn compare(a: &Value, b: &Value) -> Option<String> {
    let errors = |v: &Value| match get(v, "errors") {
        Value::Null => json!([]),
        other => bag(other),
    };
    if let Some(d) = strict(&errors(a), &errors(b), "errors") {
        return Some(d);
    }
    for field in ["total", "limit", "offset"] {
        if let Some(d) = strict(&get(a, field), &get(b, field), field) {
            return Some(d);
        }
    }
    keyed(
        a.get("data"),
        b.get("data"),
        "data",
        &|t| get(t, "traceID").as_str().unwrap_or("").to_owned(),
        &|x, y, p| strict(&canonical_trace(x), &canonical_trace(y), p),
    )
}

/// The number of spans of each trace; a recorded case may hold just that, as `ids`.
pub(super) fn ids(v: &Value) -> Value {
    if let Some(ids) = v.get("ids") {
        return ids.clone();
    }
    let counts: BTreeMap<String, usize> = list(v, "data")
        .map(|t| {
            (
                get(t, "traceID").as_str().unwrap_or("").to_owned(),
                list(t, "spans").count(),
            )
        })
        .collect();
    json!(counts)
}

//! The modes for Prometheus's query answers.

use serde_json::{Value, json};

use super::value::{canonical, close, keyed};

fn field<'a>(v: &'a Value, name: &str) -> &'a Value {
    v.get(name).unwrap_or(&Value::Null)
}

/// Whether a list or text is there and not empty.
fn filled(v: &Value) -> bool {
    match v {
        Value::Array(a) => !a.is_empty(),
        Value::String(s) => !s.is_empty(),
        Value::Object(o) => !o.is_empty(),
        _ => false,
    }
}

fn outcome(a: &Value, b: &Value) -> Option<String> {
    ["status", "errorType"]
        .into_iter()
        .find(|f| field(a, f) != field(b, f))
        .map(|f| {
            let error: String = field(b, "error")
                .as_str()
                .unwrap_or("")
                .chars()
                .take(120)
                .collect();
            format!("{f}: {} expected, got {} {error}", field(a, f), field(b, f))
        })
}

fn annotations(a: &Value, b: &Value, names: &[&str]) -> Option<String> {
    names
        .iter()
        .find(|f| filled(field(a, f)) != filled(field(b, f)))
        .map(|f| format!("{f}: {} expected, got {}", field(a, f), field(b, f)))
}

/// Status, error type, result type, and every series with every timestamp and value; texts of errors
/// and annotations are free, their presence is not.
pub(super) fn compare(a: &Value, b: &Value, ordered: bool) -> Option<String> {
    if let Some(d) = outcome(a, b).or_else(|| annotations(a, b, &["warnings", "infos"])) {
        return Some(d);
    }
    if field(a, "status") != "success" {
        return None;
    }
    let (a, b) = (field(a, "data"), field(b, "data"));
    if !a.is_object() || !b.is_object() {
        return close(a, b, "data");
    }
    let (ta, tb) = (field(a, "resultType"), field(b, "resultType"));
    if ta != tb {
        return Some(format!("resultType: {ta} expected, got {tb}"));
    }
    if ordered || ta == "scalar" || ta == "string" {
        return close(field(a, "result"), field(b, "result"), "result");
    }
    let without_metric = |v: &Value| {
        let mut v = v.clone();
        if let Some(m) = v.as_object_mut() {
            m.shift_remove("metric");
        }
        v
    };
    keyed(
        a.get("result"),
        b.get("result"),
        "result",
        &|s| canonical(field(s, "metric")),
        &|x, y, p| close(&without_metric(x), &without_metric(y), p),
    )
}

/// Sets the time of every instant value to zero, for answers that were asked "now".
pub(super) fn forget_times(v: &mut Value) {
    let result = v
        .get_mut("data")
        .and_then(|d| d.get_mut("result"))
        .and_then(Value::as_array_mut);
    for entry in result.into_iter().flatten() {
        for name in ["value", "histogram"] {
            if let Some(t) = entry.get_mut(name).and_then(|pair| pair.get_mut(0)) {
                *t = json!(0);
            }
        }
    }
}

/// How many entries, not which.
pub(super) fn count(a: &Value, b: &Value) -> Option<String> {
    if let Some(d) = outcome(a, b).or_else(|| annotations(a, b, &["warnings"])) {
        return Some(d);
    }
    let entries = |v: &Value| {
        let data = field(v, "data");
        let list = data.get("result").unwrap_or(data);
        match list {
            Value::Array(items) => items.len(),
            Value::Object(members) => members.len(),
            _ => 0,
        }
    };
    let (n, m) = (entries(a), entries(b));
    (n != m).then(|| format!("{n} entries expected, got {m}"))
}

/// The same members of `data`, whatever they hold.
pub(super) fn keys(a: &Value, b: &Value) -> Option<String> {
    let names = |v: &Value| {
        let mut names: Vec<String> = match field(v, "data") {
            Value::Object(m) => m.keys().cloned().collect(),
            Value::Array(items) => items.iter().map(canonical).collect(),
            _ => Vec::new(),
        };
        names.sort();
        json!({"status": field(v, "status"), "keys": names})
    };
    close(&names(a), &names(b), "$")
}

/// The same series, each with the same exemplars in order.
pub(super) fn exemplars(a: &Value, b: &Value) -> Option<String> {
    if field(a, "status") != field(b, "status") {
        return Some(format!(
            "status: {} expected, got {}",
            field(a, "status"),
            field(b, "status")
        ));
    }
    keyed(
        a.get("data"),
        b.get("data"),
        "data",
        &|s| canonical(field(s, "seriesLabels")),
        &|x, y, p| close(field(x, "exemplars"), field(y, "exemplars"), p),
    )
}

//! The mode for traces in OTLP's JSON: spans with resource and scope, in no order.

use serde_json::{Map, Value, json};

use super::value::{canonical, strict};

fn list<'a>(v: Option<&'a Value>, name: &str) -> impl Iterator<Item = &'a Value> {
    v.and_then(|v| v.get(name))
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// 64-bit integers are text, whichever way they were written.
fn as_text(v: &Value) -> Value {
    match v {
        Value::String(_) => v.clone(),
        other => Value::String(other.to_string()),
    }
}

fn any_value(v: &Value) -> Value {
    match v {
        Value::Array(items) => items.iter().map(any_value).collect(),
        Value::Object(m) => {
            if let Some(n) = m.get("intValue") {
                json!({"intValue": as_text(n)})
            } else if let Some(inner) = m.get("kvlistValue") {
                json!({"kvlistValue": attributes(inner.get("values"))})
            } else {
                Value::Object(m.iter().map(|(k, v)| (k.clone(), any_value(v))).collect())
            }
        }
        other => other.clone(),
    }
}

fn attributes(v: Option<&Value>) -> Value {
    let mut out: Vec<Value> = v
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|kv| {
            let value = kv.get("value").map_or_else(|| json!({}), any_value);
            json!([kv.get("key"), value])
        })
        .collect();
    out.sort_by_cached_key(canonical);
    Value::Array(out)
}

fn is_empty(v: &Value) -> bool {
    match v {
        Value::Null => true,
        Value::String(s) => s.is_empty(),
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        Value::Bool(b) => !b,
    }
}

/// A span, scope, event or link: what is empty is left out, lists have one order.
fn item(v: &Value) -> Value {
    let Value::Object(members) = v else {
        return v.clone();
    };
    let mut out = Map::new();
    for (name, value) in members.iter().filter(|(_, value)| !is_empty(value)) {
        let value = match name.as_str() {
            "attributes" => attributes(Some(value)),
            "events" | "links" => {
                let mut items: Vec<Value> =
                    value.as_array().into_iter().flatten().map(item).collect();
                items.sort_by_cached_key(canonical);
                Value::Array(items)
            }
            "startTimeUnixNano" | "endTimeUnixNano" | "timeUnixNano" => as_text(value),
            _ => value.clone(),
        };
        out.insert(name.clone(), value);
    }
    Value::Object(out)
}

fn spans(v: &Value) -> Value {
    let mut out = Vec::new();
    for rs in list(v.get("result"), "resourceSpans") {
        let resource = attributes(rs.get("resource").and_then(|r| r.get("attributes")));
        for ss in list(Some(rs), "scopeSpans") {
            let scope = ss.get("scope").map_or_else(|| json!({}), item);
            for span in list(Some(ss), "spans") {
                out.push(json!({"resource": resource, "scope": scope, "span": item(span)}));
            }
        }
    }
    out.sort_by_cached_key(|s| {
        let id = s["span"]
            .get("spanId")
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned();
        (id, canonical(s))
    });
    Value::Array(out)
}

/// Errors compare exactly.
pub(super) fn compare(a: &Value, b: &Value) -> Option<String> {
    if a.get("result").is_none() {
        return strict(a, b, "$");
    }
    strict(&spans(a), &spans(b), "spans")
}
